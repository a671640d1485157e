// Which of P neighbouring keys the T queries of a tile see: keys below the length and, if causal, up to the query's own
// position. Combinational.
module key_mask #(
    parameter Tokens = 2,
    parameter Rows = 1,
    parameter LengthBits = 5,
    parameter TileBits = 4,
    parameter GroupBits = 5
) (
    input  wire [LengthBits-1:0]  length_i,
    input  wire                   causal_i,
    input  wire [TileBits-1:0]    tile_i,
    input  wire [GroupBits-1:0]   group_i,
    // Key p, query t: bit p*T + t.
    output wire [Rows*Tokens-1:0] seen_o
);

    localparam RowsLog2 = $clog2(Rows);
    localparam TokensLog2 = $clog2(Tokens);
    localparam LastRow = Rows - 1;
    // Wide enough for every key and query.
    localparam Bits = (LengthBits > GroupBits ? LengthBits : GroupBits) + TileBits + 1;

    wire [Bits-1:0] length = {{(Bits-LengthBits){1'b0}}, length_i};
    wire [Bits-1:0] group = {{(Bits-GroupBits){1'b0}}, group_i};
    wire [Bits-1:0] first_query = {{(Bits-TileBits){1'b0}}, tile_i} << TokensLog2;

    // Groups that lie wholly below the length, and keys of the one that does not.
    wire [Bits-1:0] whole = length >> RowsLog2;
    wire [Bits-1:0] rest = length & LastRow[Bits-1:0];

    genvar p, t;
    generate
        for (p = 0; p < Rows; p = p + 1) begin : key
            localparam [Bits-1:0] Key = p;
            wire below = group < whole || (group == whole && Key < rest);
            for (t = 0; t < Tokens; t = t + 1) begin : query
                localparam Sub = t / Rows;
                localparam [Bits-1:0] SubGroup = Sub;
                // P divides T: query t belongs to a group of P tokens at a fixed place of the tile.
                wire [Bits-1:0] own = (first_query >> RowsLog2) + SubGroup;
                wire earlier = p <= t % Rows ? group <= own : group < own;
                assign seen_o[p*Tokens+t] = below && (!causal_i || earlier);
            end
        end
    endgenerate

endmodule
