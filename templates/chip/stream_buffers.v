// Words of the host to beats of the engine's input stream, and beats of its output stream to words of the host.
//
// Words to the engine gather to beats, the first one lowest, in a FIFO of 2^BufferLog2 beats; `send_room_o` says how many
// words it takes. Beats of the engine stay in a memory of as many until the host says that it has them: `commit_i` with
// the number of words, from reset on, that may be forgotten. `receive_word_o` is the word `receive_address_i`, two
// cycles later.
module stream_buffers #(
    parameter StreamBytes = 8,
    parameter BufferLog2 = 8
) (
    input  wire                     clk_i,
    input  wire                     rst_ni,

    input  wire                     send_valid_i,
    input  wire [31:0]              send_word_i,
    output wire [15:0]              send_room_o,
    output wire                     stream_valid_o,
    input  wire                     stream_ready_i,
    output wire [8*StreamBytes-1:0] stream_data_o,

    input  wire                     stream_valid_i,
    output wire                     stream_ready_o,
    input  wire [8*StreamBytes-1:0] stream_data_i,
    input  wire                     commit_i,
    input  wire [31:0]              receive_address_i,
    output wire [31:0]              received_o,
    output wire [31:0]              committed_o,
    output wire [31:0]              receive_word_o
);

    localparam StreamWords = StreamBytes / 4;
    localparam WordLog2 = $clog2(StreamWords);
    localparam StreamBits = 8 * StreamBytes;
    localparam [BufferLog2:0] Full = 1 << BufferLog2;
    localparam [31:0] Step = StreamWords;
    localparam [31:0] FullWords = Step << BufferLog2;

    // ---- to the engine
    wire                  push;
    wire [StreamBits-1:0] beat;
    generate
        if (StreamWords > 1) begin : gather
            reg [StreamBits-33:0] words_q;
            reg [WordLog2-1:0]    at_q;
            assign push = send_valid_i && (&at_q);
            assign beat = {send_word_i, words_q};
            always @(posedge clk_i) begin
                if (send_valid_i) words_q <= beat[StreamBits-1:32];
                if (!rst_ni) at_q <= 0;
                else if (send_valid_i) at_q <= at_q + 1'b1;
            end
        end else begin : pass
            assign push = send_valid_i;
            assign beat = send_word_i;
        end
    endgenerate

    reg [BufferLog2:0] room_q;
    wire               pop = stream_valid_o && stream_ready_i;
    wire               fifo_ready;
    always @(posedge clk_i) begin
        if (!rst_ni) room_q <= Full;
        else room_q <= room_q - {{BufferLog2{1'b0}}, push} + {{BufferLog2{1'b0}}, pop};
    end
    assign send_room_o = {{(15-BufferLog2){1'b0}}, room_q} << WordLog2;

    fifo #(.Width(StreamBits), .DepthLog2(BufferLog2)) beats (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(push),
        .ready_o(fifo_ready),
        .data_i(beat),
        .valid_o(stream_valid_o),
        .ready_i(stream_ready_i),
        .data_o(stream_data_o)
    );

    // ---- from the engine
    reg [31:0]            received_q, committed_q;
    // Both count words, modulo 2^32.
    wire [31:0]           held = received_q - committed_q;
    reg                   ready_q;
    wire                  take = stream_valid_i && stream_ready_o;
    wire [StreamBits-1:0] kept;

    assign stream_ready_o = ready_q;
    assign received_o = received_q;
    assign committed_o = committed_q;
    always @(posedge clk_i) begin
        if (!rst_ni) begin
            received_q <= 32'd0;
            committed_q <= 32'd0;
            ready_q <= 1'b0;
        end else begin
            if (take) received_q <= received_q + Step;
            if (commit_i) committed_q <= receive_address_i;
            // A cycle late: places are left for the beats that come meanwhile.
            ready_q <= held < FullWords - 2 * Step;
        end
    end

    ram_1r1w #(.Width(StreamBits), .Depth(1 << BufferLog2), .AddressBits(BufferLog2)) words (
        .clk_i(clk_i),
        .we_i(take),
        .waddr_i(received_q[WordLog2 +: BufferLog2]),
        .wdata_i(stream_data_i),
        .re_i(1'b1),
        .raddr_i(receive_address_i[WordLog2 +: BufferLog2]),
        .rdata_o(kept)
    );
    reg [31:0] word_q;
    generate
        if (StreamWords > 1) begin : select
            always @(posedge clk_i) word_q <= kept[{receive_address_i[WordLog2-1:0], 5'd0} +: 32];
        end else begin : whole
            always @(posedge clk_i) word_q <= kept;
        end
    endgenerate
    assign receive_word_o = word_q;

    // Room is booked before words are sent.
    wire unused = &{1'b0, fifo_ready};

endmodule
