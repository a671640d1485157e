// The AXI4 read master: spans of the memory image, in order, as one stream of beats.
//
// A span is `span_beats_i` beats from beat `span_offset_i` of the image on; none is legal. With `span_page_i` it is a
// code page, whose first beat tells its length (`span_beats_i` is ignored): the first beat is read ahead of the spans
// before it, so that a page costs no wait if it is asked for in time. Beats at or beyond `image_beats_i` are delivered
// as zeros. Requests queue (eight of them, those of about four steps); `image_base_i` and `image_beats_i` must
// stay while one is under way.
//
// Bursts are INCR, of whole beats, inside a page of 4096 bytes. A burst is asked for only where the data FIFO has
// room for all of it, so that `rready_o` is always high; with 2^FifoLog2 beats of room and a memory that gives a beat a
// cycle, so does the reader, up to a latency of about 3/4 of that room. RRESP is ignored.
//
// `flush_i` drops all requests and data; hold it until `idle_o`: nothing under way, nothing in the FIFO.
module memory_reader #(
    parameter BeatBytes = 8,
    parameter FifoLog2 = 9
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    input  wire [63:0]            image_base_i,
    input  wire [31:0]            image_beats_i,
    input  wire                   flush_i,
    output wire                   idle_o,

    input  wire                   span_valid_i,
    output wire                   span_ready_o,
    input  wire [31:0]            span_offset_i,
    input  wire [31:0]            span_beats_i,
    input  wire                   span_page_i,

    output wire                   data_valid_o,
    input  wire                   data_ready_i,
    output wire [8*BeatBytes-1:0] data_o,

    output wire [63:0]            araddr_o,
    output wire [7:0]             arlen_o,
    output wire                   arvalid_o,
    input  wire                   arready_i,
    input  wire [8*BeatBytes-1:0] rdata_i,
    input  wire                   rlast_i,
    input  wire                   rvalid_i,
    output wire                   rready_o
);

    localparam BeatLog2 = $clog2(BeatBytes);
    localparam PageBeats = 4096 / BeatBytes;
    localparam FifoBeats = 1 << FifoLog2;
    // A quarter of the FIFO: bursts that wait for room leave no gap.
    localparam BurstLimit = FifoBeats / 4 < 256 ? FifoBeats / 4 : 256;
    localparam MaxBurst = PageBeats < BurstLimit ? PageBeats : BurstLimit;
    localparam [31:0] MaxBurstWord = MaxBurst;
    localparam [31:0] PageBeatsWord = PageBeats;
    localparam [31:0] FifoBeatsWord = FifoBeats;
    localparam OrderLog2 = 5;
    localparam QueueLog2 = 3;
    localparam Queue = 1 << QueueLog2;
    localparam [15:0] MaxShapes = 4, MaxEntries = 256;
    localparam [2:0] Idle = 0, Length = 1, Issue = 2, Zeros = 3, Bound = 4, Split = 5;

    // Requests: `fill_q` is written next, `probe_q` is the first whose length may be unknown, `head_q` is next to read.
    reg [31:0] offset_q [0:Queue-1];
    reg [31:0] beats_q [0:Queue-1];
    reg [Queue-1:0]     page_q;
    reg [QueueLog2:0]   fill_q, probe_q, head_q;
    reg                 probing_q;

    // The span that is being read.
    reg [2:0]        state_q;
    reg [63:0]       address_q;
    reg [31:0]       left_q, zeros_q, span_offset_q, span_beats_q, image_left_q;
    reg [8:0]        burst_q;
    reg [FifoLog2:0] space_q;

    // The address channel, and which of the bursts under way are first beats of pages.
    reg        arvalid_q;
    reg [63:0] araddr_q;
    reg [7:0]  arlen_q;
    reg [(1 << OrderLog2)-1:0] order_q;
    reg [OrderLog2:0]          order_fill_q, order_head_q;

    wire [OrderLog2:0] under_way = order_fill_q - order_head_q;
    wire order_room = !under_way[OrderLog2];
    wire ar_free = !arvalid_q || arready_i;
    wire head_probe = order_q[order_head_q[OrderLog2-1:0]];

    wire queued = head_q != fill_q;
    wire [31:0] probe_offset = offset_q[probe_q[QueueLog2-1:0]];
    wire probe_open = probe_q != fill_q;
    wire probe_needed = probe_open && page_q[probe_q[QueueLog2-1:0]];
    wire probe_issue = probe_needed && !probing_q && ar_free && order_room && !flush_i;

    // Pages beyond the limits count as one beat; the loader reports them.
    wire [15:0] shapes = rdata_i[15:0];
    wire [15:0] entries = rdata_i[31:16];
    wire page_valid = shapes <= MaxShapes && entries <= MaxEntries;
    wire [31:0] page_bytes = {16'd0, 16'd1 + shapes + entries} << 3;
    wire [31:0] page_length = page_valid ? (page_bytes + BeatBytes - 1) >> BeatLog2 : 32'd1;
    wire probe_answer = rvalid_i && head_probe;

    wire [31:0] head_offset = offset_q[head_q[QueueLog2-1:0]];
    wire [31:0] head_beats = beats_q[head_q[QueueLog2-1:0]];
    wire        beyond = span_beats_q > image_left_q;
    wire start = state_q == Idle && head_q != probe_q && !flush_i;

    wire [31:0] to_boundary = PageBeatsWord - {{(20 + BeatLog2){1'b0}}, address_q[11:BeatLog2]};
    wire [31:0] short_burst = left_q < MaxBurstWord ? left_q : MaxBurstWord;
    wire [31:0] next_burst = short_burst < to_boundary ? short_burst : to_boundary;
    wire [31:0] burst_word = {23'd0, burst_q};
    wire [31:0] space_word = {{(31 - FifoLog2){1'b0}}, space_q};
    wire burst_issue = state_q == Issue && ar_free && !probe_issue && order_room && burst_word <= space_word && !flush_i;

    wire zero_push = state_q == Zeros && under_way == {5'd0, probing_q} && space_q != 0 && !flush_i;
    wire push = (rvalid_i && !head_probe && !flush_i) || zero_push;
    wire fifo_valid, slice_ready;
    wire pop = fifo_valid && slice_ready;
    wire [8*BeatBytes-1:0] fifo_data;
    wire [31:0] taken = burst_issue ? burst_word : {31'd0, zero_push};
    wire fifo_ready;

    assign araddr_o = araddr_q;
    assign arlen_o = arlen_q;
    assign arvalid_o = arvalid_q;
    assign rready_o = 1'b1;
    assign span_ready_o = !(fill_q[QueueLog2-1:0] == head_q[QueueLog2-1:0] && queued) && !flush_i;
    assign idle_o = !queued && state_q == Idle && !arvalid_q && under_way == 0 && space_word == FifoBeatsWord
        && !data_valid_o;

    fifo #(.Width(8 * BeatBytes), .DepthLog2(FifoLog2)) data_fifo (
        .clk_i(clk_i),
        .rst_ni(rst_ni && !flush_i),
        .valid_i(push),
        .ready_o(fifo_ready),
        .data_i(zero_push ? {8 * BeatBytes{1'b0}} : rdata_i),
        .valid_o(fifo_valid),
        .ready_i(slice_ready),
        .data_o(fifo_data)
    );

    // A block RAM gives its word late, and the units behind this one take it late.
    stream_slice #(.Width(8 * BeatBytes)) slice (
        .clk_i(clk_i),
        .rst_ni(rst_ni && !flush_i),
        .valid_i(fifo_valid),
        .ready_o(slice_ready),
        .data_i(fifo_data),
        .valid_o(data_valid_o),
        .ready_i(data_ready_i),
        .data_o(data_o)
    );

    always @(posedge clk_i) begin
        if (span_valid_i && span_ready_o) begin
            offset_q[fill_q[QueueLog2-1:0]] <= span_offset_i;
            beats_q[fill_q[QueueLog2-1:0]] <= span_beats_i;
            page_q[fill_q[QueueLog2-1:0]] <= span_page_i;
        end
        if (probe_answer && probing_q) beats_q[probe_q[QueueLog2-1:0]] <= page_length;

        // A span's numbers take three cycles: the span, what is left of the image, and what of the span is in it.
        if (start) begin
            span_offset_q <= head_offset;
            span_beats_q <= head_beats;
        end
        image_left_q <= span_offset_q < image_beats_i ? image_beats_i - span_offset_q : 32'd0;
        if (state_q == Bound) begin
            address_q <= image_base_i + ({32'd0, span_offset_q} << BeatLog2);
        end else if (state_q == Split) begin
            left_q <= beyond ? image_left_q : span_beats_q;
        end else if (burst_issue) begin
            address_q <= address_q + ({55'd0, burst_q} << BeatLog2);
            left_q <= left_q - burst_word;
        end
        if (state_q == Split) zeros_q <= beyond ? span_beats_q - image_left_q : 32'd0;
        else if (zero_push) zeros_q <= zeros_q - 32'd1;
        if (state_q == Length) burst_q <= next_burst[8:0];

        if (probe_issue) begin
            araddr_q <= image_base_i + ({32'd0, probe_offset} << BeatLog2);
            arlen_q <= 8'd0;
        end else if (burst_issue) begin
            araddr_q <= address_q;
            arlen_q <= burst_q[7:0] - 8'd1;
        end
        if (probe_issue || burst_issue) order_q[order_fill_q[OrderLog2-1:0]] <= probe_issue;

        if (!rst_ni) begin
            arvalid_q <= 1'b0;
            order_fill_q <= 0;
            order_head_q <= 0;
        end else begin
            if (ar_free) arvalid_q <= probe_issue || burst_issue;
            if (probe_issue || burst_issue) order_fill_q <= order_fill_q + 1'b1;
            if (rvalid_i && rlast_i) order_head_q <= order_head_q + 1'b1;
        end

        if (!rst_ni || flush_i) begin
            fill_q <= 0;
            probe_q <= 0;
            head_q <= 0;
            probing_q <= 1'b0;
            state_q <= Idle;
            space_q <= FifoBeatsWord[FifoLog2:0];
        end else begin
            if (span_valid_i && span_ready_o) fill_q <= fill_q + 1'b1;
            if (probe_issue) probing_q <= 1'b1;
            else if (probe_answer) probing_q <= 1'b0;
            if ((probe_open && !probe_needed) || (probe_answer && probing_q)) probe_q <= probe_q + 1'b1;
            space_q <= space_q - taken[FifoLog2:0] + {{FifoLog2{1'b0}}, pop};
            case (state_q)
                Idle: if (start) begin
                    head_q <= head_q + 1'b1;
                    state_q <= Bound;
                end
                Bound: state_q <= Split;
                Split: state_q <= Length;
                Length: state_q <= left_q != 0 ? Issue : zeros_q != 0 ? Zeros : Idle;
                Issue: if (burst_issue) state_q <= Length;
                default: if (zero_push && zeros_q == 32'd1) state_q <= Idle;
            endcase
        end
    end

    // Room is booked before data are asked for; the length of a burst fits its register.
    wire unused = &{1'b0, fifo_ready, next_burst[31:9], taken[31:FifoLog2+1]};

endmodule
