// y = sat((z*G + Bq + 2^(k-1)) >> k, bits), symmetric; k is 0 .. 63 (0: neither shifted nor rounded), bits 2 .. 16.
//
// A value every cycle, never stalled: y_o is 5 cycles after z_i and gain_i, bias_i comes one cycle after them. Everything
// keeps still without run_i. One multiplier of 16 x ZBits with registers before (the user's) and behind it.
module norm_gain #(
    parameter ZBits = 21
) (
    input  wire             clk_i,
    input  wire             run_i,
    input  wire [5:0]       shift_i,
    input  wire [4:0]       bits_i,
    input  wire [ZBits-1:0] z_i,
    input  wire [15:0]      gain_i,
    input  wire [47:0]      bias_i,
    output wire [15:0]      y_o
);
    /* verilator no_inline_module */

    localparam ProductBits = ZBits + 16;
    // One bit more than the bias has: |z*G| is below 2^47.
    localparam SumBits = 49;
    // With a bit below the point, so that rounding is one more addition after the shift.
    localparam PointBits = SumBits + 1;
    // Enough for a rounded int16 and to see that a value is beyond it.
    localparam NearBits = 18;
    // Numbers of so many bits may still be near when they have been shifted.
    localparam FineBits = NearBits + 7;

    reg signed [ProductBits-1:0] product_q;
    reg        [SumBits-1:0]     sum_q;
    reg        [PointBits-1:0]   coarse_q;
    reg        [NearBits-1:0]    near_q;
    reg        [15:0]            y_q;

    wire signed [ProductBits-1:0] z = {{16{z_i[ZBits-1]}}, z_i};
    wire signed [ProductBits-1:0] gain = {{ZBits{gain_i[15]}}, gain_i};

    wire signed [PointBits-1:0] pointed = {sum_q, 1'b0};
    wire signed [PointBits-1:0] coarse = pointed >>> {shift_i[5:3], 3'd0};
    wire                        sign = coarse_q[PointBits-1];
    wire                        far = coarse_q[PointBits-2:FineBits-1] != {(PointBits-FineBits){sign}};
    wire signed [FineBits-1:0]  settled = coarse_q[FineBits-1:0];
    wire signed [FineBits-1:0]  fine = settled >>> shift_i[2:0];
    wire                        beyond = far || fine[FineBits-1:NearBits-1] != {(FineBits-NearBits+1){sign}};

    // Half up.
    wire signed [NearBits:0] raised = {near_q[NearBits-1], near_q} + {{NearBits{1'b0}}, 1'b1};
    wire signed [NearBits:0] rounded = raised >>> 1;
    // The step's words stand still: its limits come from registers.
    reg         [4:0]        high_bit_q;
    reg signed  [NearBits:0] limit_q, floor_q;
    wire signed [NearBits:0] limit = limit_q;
    wire signed [NearBits:0] floor = floor_q;

    always @(posedge clk_i) if (run_i) begin
        high_bit_q <= bits_i - 5'd1;
        limit_q <= $signed((19'd1 << high_bit_q) - 19'd1);
        floor_q <= $signed(19'd1 - (19'd1 << high_bit_q));
        product_q <= z * gain;
        sum_q <= {{(SumBits-ProductBits){product_q[ProductBits-1]}}, product_q} + {bias_i[47], bias_i};
        coarse_q <= coarse;
        near_q <= beyond ? {sign, {(NearBits-1){~sign}}} : fine[NearBits-1:0];
        y_q <= rounded > limit ? limit[15:0] : rounded < floor ? floor[15:0] : rounded[15:0];
    end

    assign y_o = y_q;

endmodule
