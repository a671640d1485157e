// ECP5's distributed RAM as Project Trellis names it: 16 words of 4 bits, written at the clock, read without one.
/* verilator lint_off WIDTH */
module TRELLIS_DPR16X4 #(
    parameter WCKMUX = "WCK",
    parameter WREMUX = "WRE",
    parameter [63:0] INITVAL = 64'd0
) (
    input  wire [3:0] DI,
    input  wire [3:0] WAD,
    input  wire       WRE,
    input  wire       WCK,
    input  wire [3:0] RAD,
    output wire [3:0] DO
);

    reg [3:0] word [0:15];
    wire      write = WREMUX == "INV" ? !WRE : WREMUX == "1" ? 1'b1 : WREMUX == "0" ? 1'b0 : WRE;
    wire      clock = WCKMUX == "INV" ? !WCK : WCK;

    integer i;
    initial for (i = 0; i < 16; i = i + 1) word[i] = INITVAL[4*i +: 4];

    always @(posedge clock) if (write) word[WAD] <= DI;
    assign DO = word[RAD];

endmodule
