// The pairs of query tile and round of heads abreast of an attention step, in order: tiles outermost.
//
// The pair shown is the next one to be taken; `next_i` moves on, one pair a cycle if need be. `valid_o` falls after the
// last pair. The fields of the step are stable from `start_i` on; the first pair is there a cycle later. All of it comes
// from registers.
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

    localparam [31:0] Two = 2;
    localparam ChunkLineBits = ValueBits > HeadBits ? ValueBits : HeadBits;

    reg                   valid_q;
    reg [TileBits-1:0]    tile_q;
    reg [LineBits-1:0]    tile_line_q;
    reg [ChannelBits-1:0] channel_q;
    reg [ValueBits-1:0]   chunk_q;
    // Heads from the round's first one to the last; whether the round is the last, and the tile.
    reg [HeadBits-1:0]    left_q;
    reg                   last_round_q, one_round_q, last_tile_q;
    // Keys that the tile sees, and the tile behind it.
    reg [LengthBits-1:0]  keys_q;
    reg [LengthBits:0]    seen_q;

    wire [HeadBits:0] abreast = {{HeadBits{1'b0}}, 1'b1} << abreast_log2_i;
    wire last = last_round_q && last_tile_q;
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
    assign heads_left_o = left_q;
    assign keys_o = keys_q;
    assign last_round_o = last_round_q;
    assign last_o = last;

    // The tile behind the next one.
    wire [TileBits-1:0] next_tile = tile_q + Two[TileBits-1:0];

    always @(posedge clk_i) begin
        if (start_i) begin
            tile_q <= {TileBits{1'b0}};
            tile_line_q <= {LineBits{1'b0}};
            last_tile_q <= tiles_i == {{(TileBits-1){1'b0}}, 1'b1};
            keys_q <= causal_i && Tokens[LengthBits:0] < length ? Tokens[LengthBits-1:0] : length_i;
            seen_q <= {Tokens[LengthBits-1:0], 1'b0};
        end else if (next_i && last_round_q) begin
            tile_q <= tile_q + {{(TileBits-1){1'b0}}, 1'b1};
            last_tile_q <= next_tile == tiles_i;
            tile_line_q <= tile_line_q + depth_i;
            keys_q <= beyond ? length_i : seen_q[LengthBits-1:0];
            // Stays above the length once it is: no overflow.
            if (!beyond) seen_q <= seen_q + Tokens[LengthBits:0];
        end
        if (start_i || (next_i && last_round_q)) begin
            channel_q <= {ChannelBits{1'b0}};
            chunk_q <= {ValueBits{1'b0}};
            left_q <= heads_i;
            last_round_q <= start_i ? {1'b0, heads_i} <= abreast : one_round_q;
        end else if (next_i) begin
            channel_q <= channel_q + channel_step_i;
            chunk_q <= chunk_q + chunks[ValueBits-1:0];
            left_q <= left_q - abreast[HeadBits-1:0];
            last_round_q <= {1'b0, left_q} <= {abreast[HeadBits-1:0], 1'b0};
        end
        if (start_i) one_round_q <= {1'b0, heads_i} <= abreast;
        if (!rst_ni) begin
            valid_q <= 1'b0;
        end else if (start_i) begin
            valid_q <= 1'b1;
        end else if (next_i && last) begin
            valid_q <= 1'b0;
        end
    end

endmodule
