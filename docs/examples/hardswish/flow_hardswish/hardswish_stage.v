// Stage `hardswish`: x * clip(x + 3, 0, 6) / 6, a value of every lane each cycle.
//
//     result = (x*clip(x + three, 0, six)*m + 2^(s-1)) >> s
//
// Parameters as in hardswish.hpp: three, six, m, s. `three` and `six` are below 2^23 (steps of 2^-20 and more), m has 16
// bits, s is 1 to 46. The shift is made in eights and ones, of twice the product, whose last bit then rounds.
//
//     cycle   1: x + three   2: gate   3: x*gate   4: *m   5: >> s in eights   6: >> s in ones   7: rounded
//
// Parameters belong to the values that come with them, and so travel with them.
module hardswish_stage #(
    parameter Lanes = 1
) (
    input  wire                clk_i,
    input  wire [16*Lanes-1:0] value_i,
    // verilator lint_off UNUSEDSIGNAL
    // Four of sixteen words, and of them the bits that count.
    input  wire [511:0]        parameters_i,
    // verilator lint_on UNUSEDSIGNAL
    output wire [48*Lanes-1:0] result_o
);

    reg signed [23:0] six1_q;
    reg signed [15:0] multiplier1_q, multiplier2_q, multiplier3_q;
    reg        [5:0]  shift1_q, shift2_q, shift3_q, shift4_q;
    reg        [2:0]  shift5_q;

    always @(posedge clk_i) begin
        six1_q <= parameters_i[32+:24];
        multiplier1_q <= parameters_i[64+:16];
        multiplier2_q <= multiplier1_q;
        multiplier3_q <= multiplier2_q;
        shift1_q <= parameters_i[96+:6];
        shift2_q <= shift1_q;
        shift3_q <= shift2_q;
        shift4_q <= shift3_q;
        shift5_q <= shift4_q[2:0];
    end

    genvar lane;
    generate
        for (lane = 0; lane < Lanes; lane = lane + 1) begin : lanes
            wire signed [24:0] three = {parameters_i[23], parameters_i[23:0]};
            wire signed [24:0] value = {{9{value_i[16*lane+15]}}, value_i[16*lane+:16]};
            reg  signed [15:0] value1_q, value2_q;
            reg  signed [24:0] moved1_q, gate2_q;
            reg  signed [40:0] gated3_q;
            reg  signed [56:0] product4_q;
            reg  signed [57:0] coarse5_q, fine6_q;
            reg  signed [47:0] result7_q;
            wire signed [57:0] twice = {product4_q, 1'b0};
            // verilator lint_off UNUSEDSIGNAL
            // A result has fewer than 48 bits.
            wire signed [57:0] rounded = (fine6_q >>> 1) + $signed({57'd0, fine6_q[0]});
            // verilator lint_on UNUSEDSIGNAL

            assign result_o[48*lane+:48] = result7_q;

            always @(posedge clk_i) begin
                value1_q <= value[15:0];
                moved1_q <= value + three;
                value2_q <= value1_q;
                gate2_q <= moved1_q[24] ? 25'sd0
                    : moved1_q > $signed({six1_q[23], six1_q}) ? $signed({six1_q[23], six1_q}) : moved1_q;
                gated3_q <= value2_q * gate2_q;
                product4_q <= gated3_q * multiplier3_q;
                coarse5_q <= twice >>> {shift4_q[5:3], 3'd0};
                fine6_q <= coarse5_q >>> shift5_q;
                result7_q <= rounded[47:0];
            end
        end
    endgenerate

endmodule
