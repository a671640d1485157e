// The pairs of query tile and round of heads abreast of an attention step, in order: tiles outermost.
//
// The pair shown is the next one to be taken; `next_i` moves on, one pair a cycle if need be. `valid_o` falls after the
// last pair. The fields of the step are stable from `start_i` on; the first pair is there a cycle later.
module attention_pairs #(
    parameter Tokens = 2,
    parameter LineBits = 8,
    parameter ValueBits = 8,
    parameter ChannelBits = 8,
    parameter HeadBits = 8,
    parameter LengthBits = 5,
    parameter TileBits = 4,
    parameter ShiftBits = 3
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    input  wire                   start_i,
    input  wire                   next_i,
    input  wire [LengthBits-1:0]  length_i,
    input  wire [TileBits-1:0]    tiles_i,
    input  wire                   causal_i,
    input  wire [LineBits-1:0]    depth_i,
    input  wire [HeadBits-1:0]    heads_i,
    input  wire [ShiftBits-1:0]   abreast_log2_i,
    input  wire [ChannelBits-1:0] channel_step_i,
    input  wire [HeadBits-1:0]    chunks_i,
    output wire                   valid_o,
    output wire [TileBits-1:0]    tile_o,
    // Lines from the first tile to this one.
    output wire [LineBits-1:0]    tile_line_o,
    // First channel of the round's first head.
    output wire [ChannelBits-1:0] channel_o,
    // Words of P channels before the round's.
    output wire [ValueBits-1:0]   chunk_o,
    // Heads from the round's first one to the last.
    output wire [HeadBits-1:0]    heads_left_o,
    // Keys that some query of the tile sees.
    output wire [LengthBits-1:0]  keys_o,
    output wire                   last_round_o,
    output wire                   last_o
);

    localparam ChunkLineBits = ValueBits > HeadBits ? ValueBits : HeadBits;

    reg                   valid_q;
    reg [TileBits-1:0]    tile_q;
    reg [LineBits-1:0]    tile_line_q;
    reg [ChannelBits-1:0] channel_q;
    reg [ValueBits-1:0]   chunk_q;
    reg [HeadBits-1:0]    gone_q;
    reg [LengthBits:0]    seen_q;

    wire [HeadBits:0] abreast = {{HeadBits{1'b0}}, 1'b1} << abreast_log2_i;
    wire [HeadBits:0] through = {1'b0, gone_q} + abreast;
    wire last_round = through >= {1'b0, heads_i};
    wire last = last_round && tile_q + {{(TileBits-1){1'b0}}, 1'b1} == tiles_i;
    // Lines are counted modulo the memory.
    // verilator lint_off UNUSEDSIGNAL
    wire [ChunkLineBits-1:0] chunks = {{(ChunkLineBits-HeadBits){1'b0}}, chunks_i};
    // verilator lint_on UNUSEDSIGNAL
    wire [LengthBits:0] length = {1'b0, length_i};
    wire beyond = !causal_i || seen_q >= length;

    assign valid_o = valid_q;
    assign tile_o = tile_q;
    assign tile_line_o = tile_line_q;
    assign channel_o = channel_q;
    assign chunk_o = chunk_q;
    assign heads_left_o = heads_i - gone_q;
    assign keys_o = beyond ? length_i : seen_q[LengthBits-1:0];
    assign last_round_o = last_round;
    assign last_o = last;

    always @(posedge clk_i) begin
        if (start_i) begin
            tile_q <= {TileBits{1'b0}};
            tile_line_q <= {LineBits{1'b0}};
            seen_q <= Tokens[LengthBits:0];
        end else if (next_i && last_round) begin
            tile_q <= tile_q + {{(TileBits-1){1'b0}}, 1'b1};
            tile_line_q <= tile_line_q + depth_i;
            // Stays above the length once it is: no overflow.
            if (!beyond) seen_q <= seen_q + Tokens[LengthBits:0];
        end
        if (start_i || (next_i && last_round)) begin
            channel_q <= {ChannelBits{1'b0}};
            chunk_q <= {ValueBits{1'b0}};
            gone_q <= {HeadBits{1'b0}};
        end else if (next_i) begin
            channel_q <= channel_q + channel_step_i;
            chunk_q <= chunk_q + chunks[ValueBits-1:0];
            gone_q <= through[HeadBits-1:0];
        end
        if (!rst_ni) begin
            valid_q <= 1'b0;
        end else if (start_i) begin
            valid_q <= 1'b1;
        end else if (next_i && last) begin
            valid_q <= 1'b0;
        end
    end

endmodule
