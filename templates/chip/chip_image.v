// The memory image on chip: block RAM behind the engine's AXI4 read port, preset from files, open to the shell.
//
// The image lies at address 0, `Beats` beats of `BeatBytes`; addresses count modulo what the address bits hold, and beats
// beyond the image read as whatever lies there (the engine asks for none and drops what a burst brings beyond its end).
// A burst's beats follow one another, one a cycle; the next burst's follow without a gap.
//
// The RAM is cut into blocks of `BlockBeats`, preset from PREFIX_00.hex, PREFIX_01.hex and so on (`$readmemh`, a beat a
// line): a block's word comes from its own registers, and the blocks are put together in two steps, four to one each,
// because a block RAM gives its word late in a cycle. Data leave four cycles after their address, into a FIFO.
//
// The shell's port reads and writes words of 32 bits: `we_i` writes; `re_i` is answered by `rvalid_o`. It waits for a pause
// of the engine's reads.
module chip_image #(
    parameter BeatBytes = 8,
    parameter Beats = 1024,
    parameter BlockBeats = 1024,
    parameter Prefix = "image",
    parameter WordBits = 12
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,

    // verilator lint_off UNUSEDSIGNAL
    // The image is smaller than what an AXI4 address may say.
    input  wire [63:0]            araddr_i,
    // verilator lint_on UNUSEDSIGNAL
    input  wire [7:0]             arlen_i,
    input  wire                   arvalid_i,
    output wire                   arready_o,
    output wire [8*BeatBytes-1:0] rdata_o,
    output wire                   rlast_o,
    output wire                   rvalid_o,
    input  wire                   rready_i,

    input  wire                   we_i,
    input  wire                   re_i,
    input  wire [WordBits-1:0]    word_i,
    input  wire [31:0]            wdata_i,
    output wire                   word_ready_o,
    output wire                   word_valid_o,
    output wire [31:0]            word_o
);

    localparam BeatBits = 8 * BeatBytes;
    localparam Words = BeatBytes / 4;
    localparam LaneBits = $clog2(Words);
    localparam BlockLog2 = $clog2(BlockBeats);
    localparam Blocks = (Beats + BlockBeats - 1) / BlockBeats;
    localparam AddressBits = WordBits - LaneBits;
    localparam BeatLog2 = $clog2(BeatBytes);
    // Blocks in fours of fours.
    localparam Quarters = (Blocks + 3) / 4;
    localparam Sixteenths = (Quarters + 3) / 4;
    localparam PaddedBlocks = 16 * Sixteenths;
    localparam Latency = 5;
    localparam FifoLog2 = 4;

    // ---- a burst's addresses
    reg                   busy_q;
    reg [AddressBits-1:0] address_q;
    reg [7:0]             left_q;
    reg [FifoLog2:0]      room_q;
    reg                   any_q, last_beat_q;

    wire step = busy_q && any_q;
    wire last = last_beat_q;
    wire pop = rvalid_o && rready_i;

    assign arready_o = !busy_q || (step && last);

    // The shell's accesses fill pauses.
    wire shell = !step && (we_i || re_i);
    assign word_ready_o = !step;

    always @(posedge clk_i) begin
        if (arvalid_i && arready_o) begin
            address_q <= araddr_i[BeatLog2 +: AddressBits];
            left_q <= arlen_i;
            last_beat_q <= arlen_i == 8'd0;
        end else if (step) begin
            address_q <= address_q + 1'b1;
            left_q <= left_q - 8'd1;
            last_beat_q <= left_q == 8'd1;
        end
        if (!rst_ni) begin
            busy_q <= 1'b0;
            room_q <= 1 << FifoLog2;
            any_q <= 1'b1;
        end else begin
            if (arvalid_i && arready_o) busy_q <= 1'b1;
            else if (step && last) busy_q <= 1'b0;
            room_q <= room_q - {{FifoLog2{1'b0}}, step} + {{FifoLog2{1'b0}}, pop};
            any_q <= pop || (step ? room_q != 1 : any_q);
        end
    end

    // ---- 1: the access in registers
    reg [AddressBits-1:0] address1_q;
    reg [31:0]            wdata1_q;
    reg [Words-1:0]       we1_q;
    wire [AddressBits-1:0] word_address = word_i[WordBits-1:LaneBits];
    wire [Words-1:0]       lane;
    genvar w, k;
    generate
        if (Words > 1) begin : wide
            for (w = 0; w < Words; w = w + 1) begin : lanes
                localparam Number = w;
                assign lane[w] = word_i[LaneBits-1:0] == Number[LaneBits-1:0];
            end
        end else begin : narrow
            assign lane = 1'b1;
        end
    endgenerate
    always @(posedge clk_i) begin
        address1_q <= step ? address_q : word_address;
        wdata1_q <= wdata_i;
        we1_q <= shell && we_i ? lane : {Words{1'b0}};
    end

    // ---- 2: the blocks; 3: four to one; 4: four to one; 5: all in one
    wire [PaddedBlocks*BeatBits-1:0] block_data;
    wire [AddressBits+BlockLog2:0]   extended = {{(BlockLog2+1){1'b0}}, address1_q};
    wire [AddressBits:0]             block_number = extended[AddressBits+BlockLog2:BlockLog2];
    generate
        for (k = 0; k < PaddedBlocks; k = k + 1) begin : blocks
            if (k < Blocks) begin : present
                localparam Number = k;
                localparam [7:0] Tens = 48 + (k / 10) % 10;
                localparam [7:0] Ones = 48 + k % 10;
                image_block #(
                    .BeatBytes(BeatBytes),
                    .Depth(BlockBeats),
                    .File({Prefix, "_", Tens, Ones, ".hex"})
                ) ram (
                    .clk_i(clk_i),
                    .we_i(block_number == Number[AddressBits:0] ? we1_q : {Words{1'b0}}),
                    .address_i(extended[BlockLog2-1:0]),
                    .wdata_i({Words{wdata1_q}}),
                    .rdata_o(block_data[k*BeatBits +: BeatBits])
                );
            end else begin : absent
                assign block_data[k*BeatBits +: BeatBits] = {BeatBits{1'b0}};
            end
        end
    endgenerate

    reg [AddressBits:0]                block2_q;
    reg [AddressBits:2]                block3_q;
    reg [AddressBits:4]                block4_q;
    reg [4*Sixteenths*BeatBits-1:0]    quarter3_q;
    reg [Sixteenths*BeatBits-1:0]      sixteenth4_q;
    reg [BeatBits-1:0]                 data5_q;
    integer                            q;
    integer                            s;
    integer                            t;
    reg [BeatBits-1:0]                 all;
    always @* begin
        all = {BeatBits{1'b0}};
        for (t = 0; t < Sixteenths; t = t + 1) begin
            if (block4_q == t[AddressBits-4:0]) all = all | sixteenth4_q[t*BeatBits +: BeatBits];
        end
    end
    always @(posedge clk_i) begin
        block2_q <= block_number;
        block3_q <= block2_q[AddressBits:2];
        block4_q <= block3_q[AddressBits:4];
        for (q = 0; q < 4 * Sixteenths; q = q + 1) begin
            quarter3_q[q*BeatBits +: BeatBits] <= block2_q[1]
                ? (block2_q[0] ? block_data[(4*q+3)*BeatBits +: BeatBits] : block_data[(4*q+2)*BeatBits +: BeatBits])
                : (block2_q[0] ? block_data[(4*q+1)*BeatBits +: BeatBits] : block_data[4*q*BeatBits +: BeatBits]);
        end
        for (s = 0; s < Sixteenths; s = s + 1) begin
            sixteenth4_q[s*BeatBits +: BeatBits] <= block3_q[3]
                ? (block3_q[2] ? quarter3_q[(4*s+3)*BeatBits +: BeatBits] : quarter3_q[(4*s+2)*BeatBits +: BeatBits])
                : (block3_q[2] ? quarter3_q[(4*s+1)*BeatBits +: BeatBits] : quarter3_q[4*s*BeatBits +: BeatBits]);
        end
        data5_q <= all;
    end

    // ---- what becomes of the data
    reg [Latency-1:0] read_q, last_q, shell_q;
    always @(posedge clk_i) begin
        last_q <= {last_q[Latency-2:0], last};
        if (!rst_ni) begin
            read_q <= {Latency{1'b0}};
            shell_q <= {Latency{1'b0}};
        end else begin
            read_q <= {read_q[Latency-2:0], step};
            shell_q <= {shell_q[Latency-2:0], shell && re_i};
        end
    end

    wire fifo_ready;
    fifo #(.Width(BeatBits + 1), .DepthLog2(FifoLog2)) beats (
        .clk_i(clk_i),
        .rst_ni(rst_ni),
        .valid_i(read_q[Latency-1]),
        .ready_o(fifo_ready),
        .data_i({last_q[Latency-1], data5_q}),
        .valid_o(rvalid_o),
        .ready_i(rready_i),
        .data_o({rlast_o, rdata_o})
    );

    // One access of the shell at a time: its word still stands.
    assign word_valid_o = shell_q[Latency-1];
    generate
        if (Words > 1) begin : select
            assign word_o = data5_q[{word_i[LaneBits-1:0], 5'd0} +: 32];
        end else begin : whole
            assign word_o = data5_q[31:0];
        end
    endgenerate

    // Room is booked before a beat is read.
    wire unused = &{1'b0, fifo_ready};

endmodule
