// An operand memory: B banks of words of T bytes. Each of P rows reads every bank at an address of its own, data two
// cycles later; a line is written at the same time, in the banks of the mask.
module operand_memory #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Depth = 64,
    parameter AddressBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                              clk_i,
    input  wire                              re_i,
    // Row p, bank b: index p*B + b.
    input  wire [Rows*Banks*AddressBits-1:0] read_line_i,
    output wire [Rows*Banks*Tokens*8-1:0]    read_data_o,
    input  wire [Banks-1:0]                  we_i,
    input  wire [AddressBits-1:0]            write_line_i,
    input  wire [Banks*Tokens*8-1:0]         write_data_i
);

    localparam WordBits = 8 * Tokens;

    genvar b, p;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : banks
            wire [Rows*AddressBits-1:0] line;
            wire [Rows*WordBits-1:0]    data;
            for (p = 0; p < Rows; p = p + 1) begin : rows
                assign line[AddressBits*p +: AddressBits] = read_line_i[AddressBits*(p*Banks + b) +: AddressBits];
                assign read_data_o[WordBits*(p*Banks + b) +: WordBits] = data[WordBits*p +: WordBits];
            end
            ram_1wnr #(
                .Width(WordBits),
                .Depth(Depth),
                .Reads(Rows),
                .AddressBits(AddressBits)
            ) bank (
                .clk_i(clk_i),
                .we_i(we_i[b]),
                .waddr_i(write_line_i),
                .wdata_i(write_data_i[WordBits*b +: WordBits]),
                .re_i(re_i),
                .raddr_i(line),
                .rdata_o(data)
            );
        end
    endgenerate

endmodule
