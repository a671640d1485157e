// ECP5's register as Project Trellis names it: clock, enable and local set or reset, each straight or inverted.
/* verilator lint_off UNUSEDSIGNAL */
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off WIDTH */
module TRELLIS_FF #(
    parameter GSR = "ENABLED",
    parameter CEMUX = "1",
    parameter CLKMUX = "CLK",
    parameter LSRMUX = "LSR",
    parameter LSRMODE = "LSR",
    parameter SRMODE = "LSR_OVER_CE",
    parameter REGSET = "RESET"
) (
    input  wire CLK,
    input  wire LSR,
    input  wire CE,
    input  wire DI,
    input  wire M,
    output wire Q
);

    localparam Set = REGSET == "SET";
    // The set or reset waits for the enable under "CE_OVER_LSR"; "ASYNC" does not wait for the clock.
    localparam Waits = SRMODE == "CE_OVER_LSR";

    reg  q;
    wire enable = CEMUX == "1" ? 1'b1 : CEMUX == "0" ? 1'b0 : CEMUX == "INV" ? !CE : CE;
    wire set = LSRMUX == "INV" ? !LSR : LSR;

    assign Q = q;
    initial q = Set;

    generate
        if (SRMODE == "ASYNC") begin : asynchronous
            always @(posedge CLK or posedge set) begin
                if (set) q <= Set;
                else if (enable) q <= DI;
            end
        end else if (CLKMUX == "INV") begin : falling
            always @(negedge CLK) begin
                if (set && (enable || !Waits)) q <= Set;
                else if (enable) q <= DI;
            end
        end else begin : rising
            always @(posedge CLK) begin
                if (set && (enable || !Waits)) q <= Set;
                else if (enable) q <= DI;
            end
        end
    endgenerate

endmodule
