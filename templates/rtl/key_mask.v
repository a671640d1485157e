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
    localparam PartsLog2 = $clog2(Tokens / Rows);
    localparam LastRow = Rows - 1;
    // Wide enough for every key and query.
    localparam Bits = (LengthBits > GroupBits ? LengthBits : GroupBits) + TileBits + 1;

    wire [Bits-1:0] length = {{(Bits-LengthBits){1'b0}}, length_i};
    wire [Bits-1:0] group = {{(Bits-GroupBits){1'b0}}, group_i};
    wire [Bits-1:0] first_part = {{(Bits-TileBits){1'b0}}, tile_i} << PartsLog2;

    // Groups that lie wholly below the length, and keys of the one that does not.
    wire [Bits-1:0] whole = length >> RowsLog2;
    wire [Bits-1:0] rest = length & LastRow[Bits-1:0];
    wire            below_all = group < whole;
    wire            below_some = group == whole;
    wire [Rows-1:0] below;

    genvar p, part, t;
    generate
        for (p = 0; p < Rows; p = p + 1) begin : key
            localparam [Bits-1:0] Key = p;
            assign below[p] = below_all || (below_some && Key < rest);
        end
        // P divides T: the queries of a part of the tile are the tokens of a group of keys.
        for (part = 0; part < Tokens / Rows; part = part + 1) begin : queries
            localparam [Bits-1:0] Part = part;
            wire [Bits-1:0] own = first_part + Part;
            wire after = !causal_i || group < own;
            wire same = group == own;
            for (p = 0; p < Rows; p = p + 1) begin : seen_key
                for (t = 0; t < Rows; t = t + 1) begin : query
                    assign seen_o[p*Tokens + part*Rows + t] = below[p] && (after || (same && p <= t));
                end
            end
        end
    endgenerate

endmodule
