// ECP5's look-up table of four inputs (FPGA-DS-02012, "Slice").
module LUT4 #(
    parameter [15:0] INIT = 16'd0
) (
    input  wire A,
    input  wire B,
    input  wire C,
    input  wire D,
    output wire Z
);

    assign Z = INIT[{D, C, B, A}];

endmodule
