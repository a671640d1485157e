// ECP5's multiplexer of a slice's two look-up tables (FPGA-DS-02012, "Slice").
module PFUMX (
    input  wire ALUT,
    input  wire BLUT,
    input  wire C0,
    output wire Z
);

    assign Z = C0 ? ALUT : BLUT;

endmodule
