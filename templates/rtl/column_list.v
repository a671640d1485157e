// The columns that one bank keeps: words of 16 offsets. Column c of `column_i` is entry c % 16 of word c / 16, or c itself
// with `identity_i`; its offset is there a cycle after `re_i` and stays.
module column_list #(
    parameter OffsetBits = 2,
    parameter Words = 3,
    parameter WordBits = 2,
    parameter ColumnBits = WordBits + 4
) (
    input  wire                     clk_i,
    input  wire                     we_i,
    input  wire [WordBits-1:0]      word_i,
    input  wire [16*OffsetBits-1:0] data_i,
    input  wire                     re_i,
    input  wire                     identity_i,
    input  wire [ColumnBits-1:0]    column_i,
    output wire [OffsetBits-1:0]    offset_o
);
    /* verilator no_inline_module */

    reg [16*OffsetBits-1:0] list [0:Words-1];
    reg [OffsetBits-1:0]    offset_q;

    wire [16*OffsetBits-1:0] entries = list[column_i[ColumnBits-1:4]];

    assign offset_o = offset_q;

    always @(posedge clk_i) begin
        if (we_i) list[word_i] <= data_i;
        if (re_i) offset_q <= identity_i ? column_i[OffsetBits-1:0] : entries[column_i[3:0]*OffsetBits +: OffsetBits];
    end

endmodule
