// The chip's clock: ECP5's phase-locked loop (EHXPLLL; FPGA-TN-02200, "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage
// Guide").
//
//     detector = input / InputDivider,  oscillator = detector * FeedbackDivider * LoopDivider,
//     output = oscillator / OutputDivider
//
// The loop closes over the primary output, which runs at detector * FeedbackDivider; the secondary one is the chip's
// clock. A simulation brings a model of EHXPLLL or a module in this one's place.
module chip_clock #(
    parameter InputDivider = 1,
    parameter FeedbackDivider = 2,
    parameter LoopDivider = 16,
    parameter OutputDivider = 10
) (
    input  wire clk_i,
    output wire clk_o,
    output wire locked_o
);

    wire feedback;

    // Values of the loop filter for all of the oscillator's range, as Lattice's tools set them.
    (* ICP_CURRENT = "12" *)
    (* LPF_RESISTOR = "8" *)
    (* MFG_ENABLE_FILTEROPAMP = "1" *)
    (* MFG_GMCREF_SEL = "2" *)
    EHXPLLL #(
        .CLKI_DIV(InputDivider),
        .CLKFB_DIV(FeedbackDivider),
        .CLKOP_ENABLE("ENABLED"),
        .CLKOP_DIV(LoopDivider),
        .CLKOP_CPHASE(LoopDivider - 1),
        .CLKOP_FPHASE(0),
        .CLKOS_ENABLE("ENABLED"),
        .CLKOS_DIV(OutputDivider),
        .CLKOS_CPHASE(OutputDivider - 1),
        .CLKOS_FPHASE(0),
        .FEEDBK_PATH("CLKOP"),
        .OUTDIVIDER_MUXA("DIVA"),
        .OUTDIVIDER_MUXB("DIVB"),
        .PLLRST_ENA("DISABLED"),
        .INTFB_WAKE("DISABLED"),
        .STDBY_ENABLE("DISABLED"),
        .DPHASE_SOURCE("DISABLED")
    ) loop (
        .CLKI(clk_i),
        .CLKFB(feedback),
        .CLKOP(feedback),
        .CLKOS(clk_o),
        .LOCK(locked_o),
        .RST(1'b0),
        .STDBY(1'b0),
        .PHASESEL0(1'b0),
        .PHASESEL1(1'b0),
        .PHASEDIR(1'b1),
        .PHASESTEP(1'b1),
        .PHASELOADREG(1'b1),
        .PLLWAKESYNC(1'b0),
        .ENCLKOP(1'b0),
        .ENCLKOS(1'b0)
    );

endmodule
