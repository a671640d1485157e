// Two bits of ECP5's carry chain (FPGA-DS-02012, "Ripple Mode").
//
// Of each bit the look-up table gives the sum without its carry, and the lower quarter of its content (inputs C and D at 0)
// what the carry becomes where that is 0. INJECT1_x = "YES" cuts the chain in front of bit x: its sum is the table's, and
// its carry that of the chain only where the table says 1.
/* verilator lint_off WIDTH */
module CCU2C #(
    parameter [15:0] INIT0 = 16'd0,
    parameter [15:0] INIT1 = 16'd0,
    parameter INJECT1_0 = "YES",
    parameter INJECT1_1 = "YES"
) (
    input  wire CIN,
    input  wire A0,
    input  wire B0,
    input  wire C0,
    input  wire D0,
    input  wire A1,
    input  wire B1,
    input  wire C1,
    input  wire D1,
    output wire S0,
    output wire S1,
    output wire COUT
);

    localparam Cut0 = INJECT1_0 == "YES";
    localparam Cut1 = INJECT1_1 == "YES";

    wire propagate0 = INIT0[{D0, C0, B0, A0}];
    wire generate0 = INIT0[{2'b00, B0, A0}] && !Cut0;
    wire carry = propagate0 ? CIN : generate0;
    wire propagate1 = INIT1[{D1, C1, B1, A1}];
    wire generate1 = INIT1[{2'b00, B1, A1}] && !Cut1;

    assign S0 = propagate0 ^ (CIN && !Cut0);
    assign S1 = propagate1 ^ (carry && !Cut1);
    assign COUT = propagate1 ? carry : generate1;

endmodule
