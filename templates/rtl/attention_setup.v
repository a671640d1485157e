// What an attention step needs of its record, narrowed and kept from `start_i` on, and the layout of its heads.
//
// Fields are there one cycle after `start_i`, those of a row of keys two cycles behind them; the products of heads and
// pitch take a cycle a bit, until `ready_o`.
module attention_setup #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 2,
    parameter LineBits = 8,
    parameter ValueBits = 8,
    parameter ChannelBits = 8,
    parameter HeadBits = 8,
    parameter CycleBits = 4,
    parameter LengthBits = 5,
    parameter TileBits = 4,
    parameter ShiftBits = 3
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   start_i,
    // Words of a record, cut to what the engine holds.
    // verilator lint_off UNUSEDSIGNAL
    input  wire [31:0]            length_i,
    input  wire [31:0]            query_base_i,
    input  wire [31:0]            key_base_i,
    input  wire [31:0]            value_base_i,
    input  wire [31:0]            depth_i,
    input  wire [31:0]            heads_i,
    input  wire [31:0]            pitch_i,
    input  wire [31:0]            exp_bits_i,
    input  wire [31:0]            causal_i,
    input  wire [31:0]            space_i,
    input  wire [31:0]            base_i,
    // verilator lint_on UNUSEDSIGNAL
    output reg  [LengthBits-1:0]  length_o,
    output reg  [TileBits-1:0]    tiles_o,
    output reg  [LineBits-1:0]    query_base_o,
    output reg  [LineBits-1:0]    key_base_o,
    output reg  [ValueBits-1:0]   value_base_o,
    output reg  [LineBits-1:0]    depth_o,
    output reg  [HeadBits-1:0]    heads_o,
    output reg  [LineBits-1:0]    base_o,
    output reg  [1:0]             space_o,
    output reg                    two_planes_o,
    output reg                    causal_o,
    // Heads abreast A = 2^abreast_log2 of B / A banks each.
    output reg  [ShiftBits-1:0]   abreast_log2_o,
    // Keys of a row, one for each bank of a head: their log2, and one less than they are.
    output reg  [ShiftBits-1:0]   key_shift_o,
    output reg  [31:0]            key_row_o,
    // Channels from one round of heads to the next: A * pitch.
    output reg  [ChannelBits-1:0] channel_step_o,
    // Words of P channels of a head, and log2 of those in one line.
    output reg  [HeadBits-1:0]    chunks_o,
    output reg  [ShiftBits-1:0]   line_chunks_log2_o,
    output reg  [ShiftBits-1:0]   pitch_log2_o,
    // Lines of a head, and whether heads abreast fill the banks in the scores.
    output reg  [CycleBits-1:0]   head_lines_o,
    output reg                    together_o,
    output wire                   ready_o,
    // Channels of all heads; lines from one row of keys to the next in the values memory.
    output wire [ChannelBits-1:0] used_o,
    output wire [ValueBits-1:0]   value_stride_o
);

    localparam BanksLog2 = $clog2(Banks);
    localparam RowsLog2 = $clog2(Rows);
    localparam TokensLog2 = $clog2(Tokens);
    localparam HeadsLog2 = $clog2(Heads);

    wire [ChannelBits-1:0] pitch = pitch_i[ChannelBits-1:0];
    wire [HeadBits-1:0] heads = heads_i[HeadBits-1:0];

    reg [ShiftBits-1:0] shift, pitch_log2;
    integer i;
    always @* begin
        shift = {ShiftBits{1'b0}};
        for (i = 1; i <= HeadsLog2; i = i + 1) begin
            if (pitch_i <= (Banks >> i)) shift = i[ShiftBits-1:0];
        end
        pitch_log2 = BanksLog2[ShiftBits-1:0];
        for (i = 0; i < BanksLog2; i = i + 1) begin
            if (pitch_i == (1 << i)) pitch_log2 = i[ShiftBits-1:0];
        end
    end

    wire [HeadBits-1:0] chunks = pitch_i[RowsLog2 +: HeadBits];
    wire wide = pitch_i >= Banks;
    // Counts are cut to what the engine holds.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] round_up = heads_i + (32'd1 << shift) - 32'd1;
    wire [31:0] rounds = round_up >> shift;
    wire [31:0] tiles = length_i + (Tokens - 1);
    // verilator lint_on UNUSEDSIGNAL

    // used = heads * pitch and stride = rounds * chunks, a bit of heads and rounds a cycle.
    reg [HeadBits-1:0]    heads_left_q, rounds_left_q;
    reg [ChannelBits-1:0] pitch_q, used_q;
    reg [ValueBits-1:0]   chunks_q, stride_q;

    always @(posedge clk_i) begin
        key_shift_o <= BanksLog2[ShiftBits-1:0] - abreast_log2_o;
        key_row_o <= (32'd1 << key_shift_o) - 32'd1;
        if (start_i) begin
            length_o <= length_i[LengthBits-1:0];
            tiles_o <= tiles[TokensLog2 +: TileBits];
            query_base_o <= query_base_i[LineBits-1:0];
            key_base_o <= key_base_i[LineBits-1:0];
            value_base_o <= value_base_i[ValueBits-1:0];
            depth_o <= depth_i[LineBits-1:0];
            heads_o <= heads;
            base_o <= base_i[LineBits-1:0];
            space_o <= space_i[1:0];
            two_planes_o <= exp_bits_i > 32'd8;
            causal_o <= causal_i != 32'd0;
            abreast_log2_o <= shift;
            channel_step_o <= pitch << shift;
            chunks_o <= chunks;
            line_chunks_log2_o <= pitch_log2 - RowsLog2[ShiftBits-1:0];
            pitch_log2_o <= pitch_log2;
            head_lines_o <= wide ? pitch_i[BanksLog2 +: CycleBits] : {{(CycleBits-1){1'b0}}, 1'b1};
            together_o <= (pitch_i << shift) >= Banks;
            pitch_q <= pitch;
            chunks_q <= chunk_lines;
            used_q <= {ChannelBits{1'b0}};
            stride_q <= {ValueBits{1'b0}};
        end else begin
            pitch_q <= pitch_q << 1;
            chunks_q <= chunks_q << 1;
            if (heads_left_q[0]) used_q <= used_q + pitch_q;
            if (rounds_left_q[0]) stride_q <= stride_q + chunks_q;
        end
        if (!rst_ni) begin
            heads_left_q <= {HeadBits{1'b0}};
            rounds_left_q <= {HeadBits{1'b0}};
        end else if (start_i) begin
            heads_left_q <= heads;
            rounds_left_q <= rounds[HeadBits-1:0];
        end else begin
            heads_left_q <= heads_left_q >> 1;
            rounds_left_q <= rounds_left_q >> 1;
        end
    end

    // Lines are counted modulo the memory.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] all_chunks = pitch_i >> RowsLog2;
    // verilator lint_on UNUSEDSIGNAL
    wire [ValueBits-1:0] chunk_lines = all_chunks[ValueBits-1:0];

    // There is never a round where no head is.
    assign ready_o = heads_left_q == {HeadBits{1'b0}};
    assign used_o = used_q;
    assign value_stride_o = stride_q;

endmodule
