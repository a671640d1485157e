// A memory with one write and one read port of its own address: block or distributed RAM, as the tools find fit.
//
// Read data come one cycle after `re_i` and stay until the next read. A word that is read in the cycle in which it is
// written is without meaning: nobody who has such a memory does it.
module ram_1r1w #(
    parameter Width = 8,
    parameter Depth = 16,
    parameter AddressBits = 4,
    // verilator lint_off UNUSEDPARAM
    // What it shall lie in: "auto", or "ultra" for UltraRAM. Synthesis alone looks at the attribute that names it.
    parameter Style = "auto"
    // verilator lint_on UNUSEDPARAM
) (
    input  wire                   clk_i,
    input  wire                   we_i,
    input  wire [AddressBits-1:0] waddr_i,
    input  wire [Width-1:0]       wdata_i,
    input  wire                   re_i,
    input  wire [AddressBits-1:0] raddr_i,
    output wire [Width-1:0]       rdata_o
);

    // A block RAM of ECP5 knows no old word: Yosys would add registers and a choice behind it, late in a cycle.
    (* no_rw_check *)
    (* ram_style = Style *)
    reg [Width-1:0] word [0:Depth-1];
    reg [Width-1:0] rdata_q;

    assign rdata_o = rdata_q;

    always @(posedge clk_i) begin
        if (we_i) word[waddr_i] <= wdata_i;
        if (re_i) rdata_q <= word[raddr_i];
    end

endmodule
