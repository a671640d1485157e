// An operand memory: B banks of words of T bytes. Each of P rows reads every bank at an address of its own, data two
// cycles later; a line is written at the same time, in the banks of the mask, and another one, the high one, where banks
// are told so. A word may be read from the cycle after its write on.
//
// A bank is one array with P read ports, of which tools make as many copies as they need.
module operand_memory #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Depth = 64,
    // verilator lint_off UNUSEDPARAM
    // What it shall lie in: "auto", or "ultra" for UltraRAM. Synthesis alone looks at the attribute that names it.
    parameter Style = "auto",
    // verilator lint_on UNUSEDPARAM
    parameter AddressBits = Depth > 1 ? $clog2(Depth) : 1
) (
    input  wire                              clk_i,
    input  wire                              re_i,
    // Row p, bank b: index p*B + b.
    input  wire [Rows*Banks*AddressBits-1:0] read_line_i,
    output wire [Rows*Banks*Tokens*8-1:0]    read_data_o,
    input  wire [Banks-1:0]                  we_i,
    input  wire [AddressBits-1:0]            write_line_i,
    input  wire [Banks-1:0]                  write_high_i,
    input  wire [AddressBits-1:0]            write_high_line_i,
    input  wire [Banks*Tokens*8-1:0]         write_data_i
);
    /* verilator no_inline_module */

    localparam WordBits = 8 * Tokens;

    // The output register has to follow in the cycle after a read alone.
    reg read_q;
    always @(posedge clk_i) read_q <= re_i;

    genvar b, p;
    generate
        for (b = 0; b < Banks; b = b + 1) begin : banks
            // Nobody reads a word in the cycle in which it is written.
            (* no_rw_check *)
            (* ram_style = Style *)
            reg [WordBits-1:0] word [0:Depth-1];
            wire [AddressBits-1:0] write_line = write_high_i[b] ? write_high_line_i : write_line_i;
            always @(posedge clk_i) if (we_i[b]) word[write_line] <= write_data_i[WordBits*b+:WordBits];

            for (p = 0; p < Rows; p = p + 1) begin : rows
                localparam Lane = p * Banks + b;
                reg [WordBits-1:0] word_q, data_q;
                always @(posedge clk_i) begin
                    if (re_i) word_q <= word[read_line_i[AddressBits*Lane+:AddressBits]];
                    if (read_q) data_q <= word_q;
                end
                assign read_data_o[WordBits*Lane+:WordBits] = data_q;
            end
        end
    endgenerate

endmodule
