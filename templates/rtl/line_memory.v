// A memory of lines: B banks, all read at one address, data two cycles later; a line is written at the same time, in the
// banks of the mask. Banks may be told to read or write another line, the high one. STORE (words of T tokens) and VALUES
// (words of P channels) are such memories. A word may be read from the cycle after its write on.
module line_memory #(
    parameter Banks = 4,
    parameter WordBits = 16,
    parameter Depth = 64,
    // verilator lint_off UNUSEDPARAM
    // What it shall lie in: "auto", or "ultra" for UltraRAM. Synthesis alone looks at the attribute that names it.
    parameter Style = "auto",
    // verilator lint_on UNUSEDPARAM
    parameter AddressBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                      clk_i,
    input  wire                      re_i,
    input  wire [AddressBits-1:0]    read_line_i,
    input  wire [Banks-1:0]          read_high_i,
    input  wire [AddressBits-1:0]    read_high_line_i,
    output wire [Banks*WordBits-1:0] read_data_o,
    input  wire [Banks-1:0]          we_i,
    input  wire [AddressBits-1:0]    write_line_i,
    input  wire [Banks-1:0]          write_high_i,
    input  wire [AddressBits-1:0]    write_high_line_i,
    input  wire [Banks*WordBits-1:0] write_data_i
);
    /* verilator no_inline_module */

    // The output register has to follow in the cycle after a read alone.
    reg read_q;
    always @(posedge clk_i) read_q <= re_i;

    genvar b;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : banks
            // Nobody reads a word in the cycle in which it is written.
            (* no_rw_check *)
            (* ram_style = Style *)
            reg [WordBits-1:0] word [0:Depth-1];
            reg [WordBits-1:0] word_q, data_q;
            wire [AddressBits-1:0] read_line = read_high_i[b] ? read_high_line_i : read_line_i;
            wire [AddressBits-1:0] write_line = write_high_i[b] ? write_high_line_i : write_line_i;
            always @(posedge clk_i) begin
                if (we_i[b]) word[write_line] <= write_data_i[WordBits*b+:WordBits];
                if (re_i) word_q <= word[read_line];
                if (read_q) data_q <= word_q;
            end
            assign read_data_o[WordBits*b+:WordBits] = data_q;
        end
    endgenerate

endmodule
