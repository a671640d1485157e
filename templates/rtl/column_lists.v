// The column lists in force: for every bank the offsets of the columns that it keeps.
//
// A bank's memory has words of 16 entries, written whole: `we_i` says which bank. Every look-up l*B + b reads its own
// column c of `columns_i` in the list of bank b (word c/16, entry c%16) while `re_i`; `offsets_o` are there a cycle later
// and stay. With `identity_i` the offset is the column itself. A bank has a copy of its list for each lane l.
module column_lists #(
    parameter Banks = 2,
    parameter Depth = 4,
    parameter Lanes = 1,
    parameter OffsetBits = Depth > 1 ? $clog2(Depth) : 1,
    parameter Words = (4 * Depth + 31) / 16,
    parameter WordBits = $clog2(Words),
    parameter ColumnBits = WordBits + 4
) (
    input  wire                        clk_i,
    input  wire [Banks-1:0]            we_i,
    input  wire [WordBits-1:0]         word_i,
    input  wire [16*OffsetBits-1:0]    data_i,
    input  wire                        re_i,
    input  wire                        identity_i,
    input  wire [Lanes*Banks*ColumnBits-1:0] columns_i,
    output wire [Lanes*Banks*OffsetBits-1:0] offsets_o
);

    genvar b;
    generate
        for (b = 0; b < Lanes * Banks; b = b + 1) begin : bank
            column_list #(.OffsetBits(OffsetBits), .Words(Words), .WordBits(WordBits)) columns (
                .clk_i(clk_i),
                .we_i(we_i[b%Banks]),
                .word_i(word_i),
                .data_i(data_i),
                .re_i(re_i),
                .identity_i(identity_i),
                .column_i(columns_i[b*ColumnBits +: ColumnBits]),
                .offset_o(offsets_o[b*OffsetBits +: OffsetBits])
            );
        end
    endgenerate

endmodule
