// One channel of one token through NORM: z = (x*(C*r) - centre*r + 2^(n+2)) >> (n+3), then one `norm_gain` an output.
//
// A value every cycle, never stalled; `y*_o` are 11 cycles after `x_i`. A user gives, counted from the cycle of x_i:
// factor_i = C*r in cycle 0, offset_i = centre*r in cycle 2, round_i = n + 2 in cycle 3, gain*_i in cycle 6, bias*_i in
// cycle 7; the words of the step stay the same. Without run_i, between two steps, everything keeps still: a simulator has
// nothing to do then. Four multipliers with registers before and behind: x times the halves of the factor (16 x 18 and
// 16 x (CountBits + 1) bits), and in each norm_gain one of 16 x ZBits.
//
// |C*x - centre| <= 2*sqrt(C)*sd bounds z for the channels that exist. For a channel that is padding, z may lose high
// bits: its gain is 0.
module norm_lane #(
    // Bits of the number of channels.
    parameter CountBits = 12
) (
    input  wire                  clk_i,
    input  wire                  run_i,
    input  wire [5:0]            shift0_i,
    input  wire [5:0]            shift1_i,
    input  wire [4:0]            bits0_i,
    input  wire [4:0]            bits1_i,
    input  wire [15:0]           x_i,
    input  wire [CountBits+16:0] factor_i,
    input  wire [CountBits+31:0] offset_i,
    input  wire [5:0]            round_i,
    input  wire [15:0]           gain0_i,
    input  wire [15:0]           gain1_i,
    input  wire [47:0]           bias0_i,
    input  wire [47:0]           bias1_i,
    output wire [15:0]           y0_o,
    output wire [15:0]           y1_o
);
    /* verilator no_inline_module */

    localparam FactorBits = CountBits + 17;
    // C*r is below 2^(CountBits+16).
    localparam HighBits = CountBits + 15;
    localparam OffsetBits = CountBits + 32;
    localparam ProductBits = OffsetBits + 1;
    localparam ZBits = 15 + (CountBits + 1) / 2;
    // One bit below the point is kept until z is rounded, seven more until the fine shift.
    localparam FineBits = ZBits + 1;
    localparam CoarseBits = FineBits + 7;
    // Up to the highest bit that a shift of 32 and a fine shift may reach.
    localparam PaddedBits = 32 + CoarseBits;

    reg signed [HighBits-1:0]     high_q;
    reg signed [32:0]             low_q;
    reg        [OffsetBits-1:0]   scaled_q;
    reg        [ProductBits-1:0]  product_q;
    reg        [2:0]              round_q;
    reg        [CoarseBits-1:0]   coarse_q;
    reg        [FineBits-1:0]     fine_q;
    reg        [ZBits-1:0]        z_q;

    wire signed [HighBits-1:0] high_factor = {15'd0, factor_i[FactorBits-1:17]};
    wire signed [HighBits-1:0] high_x = {{(HighBits-16){x_i[15]}}, x_i};
    wire signed [32:0]         low_factor = {16'd0, factor_i[16:0]};
    wire signed [32:0]         low_x = {{17{x_i[15]}}, x_i};

    // The shift is at most 34.
    wire [PaddedBits-1:0] padded = {{(PaddedBits-ProductBits){product_q[ProductBits-1]}}, product_q};
    reg  [CoarseBits-1:0] coarse;
    always @* begin
        case (round_i[5:3])
            3'd0: coarse = padded[0 +: CoarseBits];
            3'd1: coarse = padded[8 +: CoarseBits];
            3'd2: coarse = padded[16 +: CoarseBits];
            3'd3: coarse = padded[24 +: CoarseBits];
            default: coarse = padded[32 +: CoarseBits];
        endcase
    end

    always @(posedge clk_i) if (run_i) begin
        high_q <= high_factor * high_x;
        low_q <= low_factor * low_x;
        scaled_q <= {high_q, 17'd0} + {{(OffsetBits-33){low_q[32]}}, low_q};
        product_q <= {scaled_q[OffsetBits-1], scaled_q} - {offset_i[OffsetBits-1], offset_i};
        round_q <= round_i[2:0];
        coarse_q <= coarse;
        // Bits above are lost as said in the head.
        /* verilator lint_off WIDTHTRUNC */
        fine_q <= coarse_q >> round_q;
        z_q <= (fine_q + {{ZBits{1'b0}}, 1'b1}) >> 1;
        /* verilator lint_on WIDTHTRUNC */
    end

    norm_gain #(.ZBits(ZBits)) output0 (
        .clk_i(clk_i), .run_i(run_i), .shift_i(shift0_i), .bits_i(bits0_i), .z_i(z_q), .gain_i(gain0_i), .bias_i(bias0_i),
        .y_o(y0_o)
    );
    norm_gain #(.ZBits(ZBits)) output1 (
        .clk_i(clk_i), .run_i(run_i), .shift_i(shift1_i), .bits_i(bits1_i), .z_i(z_q), .gain_i(gain1_i), .bias_i(bias1_i),
        .y_o(y1_o)
    );

endmodule
