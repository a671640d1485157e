// A memory of lines: B banks, all read at one address, data two cycles later; a line is written at the same time, in the
// banks of the mask. STORE (words of T tokens) and VALUES (words of P channels) are such memories.
module line_memory #(
    parameter Banks = 4,
    parameter WordBits = 16,
    parameter Depth = 64,
    parameter AddressBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                      clk_i,
    input  wire                      re_i,
    input  wire [AddressBits-1:0]    read_line_i,
    output wire [Banks*WordBits-1:0] read_data_o,
    input  wire [Banks-1:0]          we_i,
    input  wire [AddressBits-1:0]    write_line_i,
    input  wire [Banks*WordBits-1:0] write_data_i
);

    genvar b;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : banks
            ram_1wnr #(
                .Width(WordBits),
                .Depth(Depth),
                .Reads(1),
                .AddressBits(AddressBits)
            ) bank (
                .clk_i(clk_i),
                .we_i(we_i[b]),
                .waddr_i(write_line_i),
                .wdata_i(write_data_i[WordBits*b +: WordBits]),
                .re_i(re_i),
                .raddr_i(read_line_i),
                .rdata_o(read_data_o[WordBits*b +: WordBits])
            );
        end
    endgenerate

endmodule
