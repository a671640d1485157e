// The lanes of one row and head behind the array, T tokens wide: bias or division, scale, residual, saturation.
//
//     linear     y = sat(R(sum + bias, m, s) + R(residual, m', s') + zero)     or   table[clip(R(..) + zero)]
//                or, behind these lanes, a plug-in's stage of clip(R(..) + zero): index_o
//     scores     y = sat(R(sum, m, s))
//     context    y = sat(R((sum*r + 2^(n+6)) >> (n+7), m', s'))
//
// with R(a, m, s) = (a*m + 2^(s-1)) >> s, computed as ((2*a*m >> s) + 1) >> 1. All kinds share a product of AccBits x 18
// bits (two DSP primitives up to 44 bits), and one of 18 x 16 behind it: a context's |sum| <= 2^7 * Z leaves at most 2^15
// after the division.
//
// Every input belongs to the stage that its comment names: stage k is k cycles behind sum_i. Bit k of valid_i, linear_i
// and context_i says what stage k holds; stages without a result keep still. value_o belongs to stage 14, index_o to 9.
module requantise_row #(
    parameter Tokens = 2,
    // Of a sum, at least 32.
    parameter AccBits = 32,
    // 1: the step may be attention; it may add residuals; it may look up a table.
    parameter Attends = 1,
    parameter Adds = 1,
    parameter LooksUp = 1
) (
    input  wire                 clk_i,
    input  wire [13:0]          valid_i,
    // verilator lint_off UNUSEDSIGNAL
    // Few stages ask what they hold, and a lane may lack what an input is for.
    input  wire [13:0]          linear_i,
    input  wire [13:0]          context_i,
    input  wire [Tokens*AccBits-1:0] sum_i,           // 0
    input  wire [31:0]          bias_i,               // 1
    input  wire [15:0]          multiplier_i,         // 1
    input  wire [5:0]           shift_i,              // 1
    input  wire [Tokens*17-1:0] scale_r_i,            // 1
    input  wire [Tokens*6-1:0]  scale_n_i,            // 1
    input  wire [Tokens*16-1:0] residual_i,           // 7
    input  wire [15:0]          second_multiplier_i,  // 7
    input  wire [31:0]          zero_i,               // 7
    input  wire [15:0]          table_first_i,        // 8: least index, signed
    input  wire [15:0]          table_last_i,         // 8: largest index
    output wire [Tokens*16-1:0] index_o,
    input  wire [5:0]           second_shift_i,       // 9
    input  wire                 second_i,             // 12: count the second product
    input  wire                 table_i,              // 13: take the table's entry
    input  wire [Tokens*16-1:0] entry_i,              // 13
    // verilator lint_on UNUSEDSIGNAL
    input  wire [16:0]          low_i,                // 13
    input  wire [16:0]          high_i,               // 13
    output wire [Tokens*16-1:0] value_o
);
    /* verilator no_inline_module */

    localparam HasSecond = Attends != 0 || Adds != 0;
    // A first product beyond 2^32 saturates, whatever is added: a zero below 2^31, a residual's product of at most 2^30.
    // It is kept with a bit below the point until it is rounded; it may still be near while the fine shift is to come.
    localparam NearBits = 34;
    localparam FineBits = NearBits + 7;
    localparam CoarseBits = AccBits + 19;
    localparam KeptBits = 35;
    // Limits of 17 bits are compared with numbers that are as near.
    localparam LimitBits = 18;

    // Names end with the stage that the register belongs to.
    reg signed [AccBits-1:0] sum1_q [0:Tokens-1], x2_q [0:Tokens-1];
    reg signed [17:0] factor2_q [0:Tokens-1];
    reg        [5:0]  shift2_q [0:Tokens-1], shift3_q [0:Tokens-1], shift4_q [0:Tokens-1], shift5_q [0:Tokens-1];
    reg signed [35:0] lower3_q [0:Tokens-1];
    reg signed [AccBits:0] upper3_q [0:Tokens-1];
    reg signed [AccBits+17:0] product4_q [0:Tokens-1];
    reg signed [CoarseBits-1:0] coarse5_q [0:Tokens-1];
    reg signed [NearBits-1:0] fine6_q [0:Tokens-1], scaled7_q [0:Tokens-1];
    reg signed [KeptBits-1:0] kept8_q [0:Tokens-1], kept9_q [0:Tokens-1], kept10_q [0:Tokens-1], kept11_q [0:Tokens-1];
    reg signed [KeptBits-1:0] kept12_q [0:Tokens-1];
    reg signed [KeptBits:0]   total13_q [0:Tokens-1];
    reg signed [17:0] second8_q [0:Tokens-1];
    reg signed [33:0] second9_q [0:Tokens-1];
    reg signed [34:0] coarse10_q [0:Tokens-1], fine11_q [0:Tokens-1], second12_q [0:Tokens-1];
    reg signed [15:0] factor8_q;
    reg        [2:0]  shift10_q;
    reg [Tokens*16-1:0] index9_q, value14_q;

    // Blocking temporaries of one token.
    reg                        far, sign;
    reg signed [FineBits-1:0]  fine;
    reg signed [LimitBits-1:0] limited;

    wire signed [LimitBits-1:0] low = {low_i[16], low_i};
    wire signed [LimitBits-1:0] high = {high_i[16], high_i};
    wire signed [LimitBits-1:0] first = {{(LimitBits-16){table_first_i[15]}}, table_first_i};
    wire signed [LimitBits-1:0] last = {{(LimitBits-16){1'b0}}, table_last_i};

    assign index_o = index9_q;
    assign value_o = value14_q;

    reg [31:0] t;

    // verilator lint_off BLKSEQ
    // Arrays written in loops, the last stage first, as in array_row; only index9_q and value14_q leave the block.
    // verilator lint_off WIDTH
    // Signed numbers are extended to what they are assigned to.
    always @(posedge clk_i) begin
        if (valid_i[13]) begin
            /* verilator unroll_full */
            for (t = 0; t < Tokens; t = t + 1) begin
                sign = total13_q[t][KeptBits];
                far = total13_q[t][KeptBits:LimitBits-1] != {(KeptBits-LimitBits+2){sign}};
                limited = total13_q[t][LimitBits-1:0];
                value14_q[t*16+:16] <= LooksUp != 0 && table_i ? entry_i[t*16+:16]
                    : (far ? !sign : limited > high) ? high[15:0] : (far ? sign : limited < low) ? low[15:0]
                    : limited[15:0];
            end
        end
        if (valid_i[12]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                total13_q[t] = HasSecond && second_i ? kept12_q[t] + second12_q[t] : kept12_q[t];
            end
        end
        if (valid_i[11]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                kept12_q[t] = kept11_q[t];
                second12_q[t] = (fine11_q[t] >>> 1) + $signed({1'b0, fine11_q[t][0]});
            end
        end
        if (valid_i[10]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                kept11_q[t] = kept10_q[t];
                fine11_q[t] = coarse10_q[t] >>> shift10_q;
            end
        end
        if (valid_i[9]) begin
            shift10_q = second_shift_i[2:0];
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                kept10_q[t] = kept9_q[t];
                coarse10_q[t] = $signed({second9_q[t], 1'b0}) >>> {second_shift_i[5:3], 3'd0};
            end
        end
        if (valid_i[8]) begin
            /* verilator unroll_full */
            for (t = 0; t < Tokens; t = t + 1) begin
                kept9_q[t] = kept8_q[t];
                second9_q[t] = second8_q[t] * factor8_q;
                sign = kept8_q[t][KeptBits-1];
                far = kept8_q[t][KeptBits-1:LimitBits-1] != {(KeptBits-LimitBits+1){sign}};
                limited = kept8_q[t][LimitBits-1:0];
                index9_q[t*16+:16] <= (far ? sign : limited < first) ? table_first_i
                    : (far ? !sign : limited > last) ? table_last_i : limited[15:0];
            end
        end
        if (valid_i[7]) begin
            factor8_q = second_multiplier_i;
            /* verilator unroll_full */
            for (t = 0; t < Tokens; t = t + 1) begin
                kept8_q[t] = Attends != 0 && context_i[7] ? $signed({KeptBits{1'b0}}) : scaled7_q[t] + $signed(zero_i);
                second8_q[t] = Attends != 0 && (context_i[7] || Adds == 0) ? $signed(scaled7_q[t][17:0])
                    : $signed(residual_i[t*16+:16]);
            end
        end
        if (valid_i[6]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                scaled7_q[t] = (fine6_q[t] >>> 1) + $signed({1'b0, fine6_q[t][0]});
            end
        end
        if (valid_i[5]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                sign = coarse5_q[t][CoarseBits-1];
                fine = $signed(coarse5_q[t][FineBits-1:0]) >>> shift5_q[t][2:0];
                far = coarse5_q[t][CoarseBits-1:FineBits-1] != {(CoarseBits-FineBits+1){sign}}
                    || fine[FineBits-1:NearBits-1] != {(FineBits-NearBits+1){sign}};
                fine6_q[t] = far ? {sign, {(NearBits-1){~sign}}} : fine[NearBits-1:0];
            end
        end
        if (valid_i[4]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                shift5_q[t] = shift4_q[t];
                coarse5_q[t] = $signed({product4_q[t], 1'b0}) >>> {shift4_q[t][5:3], 3'd0};
            end
        end
        if (valid_i[3]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                shift4_q[t] = shift3_q[t];
                product4_q[t] = $signed({upper3_q[t], 17'd0}) + lower3_q[t];
            end
        end
        if (valid_i[2]) begin
            /* verilator unroll_disable */
            for (t = 0; t < Tokens; t = t + 1) begin
                shift3_q[t] = shift2_q[t];
                lower3_q[t] = $signed({1'b0, x2_q[t][16:0]}) * factor2_q[t];
                upper3_q[t] = $signed(x2_q[t][AccBits-1:17]) * factor2_q[t];
            end
        end
        if (valid_i[1]) begin
            /* verilator unroll_full */
            for (t = 0; t < Tokens; t = t + 1) begin
                x2_q[t] = linear_i[1] ? sum1_q[t] + $signed(bias_i) : sum1_q[t];
                factor2_q[t] = Attends != 0 && context_i[1] ? $signed({1'b0, scale_r_i[t*17+:17]})
                    : $signed(multiplier_i);
                shift2_q[t] = Attends != 0 && context_i[1] ? scale_n_i[t*6+:6] + 6'd7 : shift_i;
            end
        end
        if (valid_i[0]) begin
            /* verilator unroll_full */
            for (t = 0; t < Tokens; t = t + 1) sum1_q[t] = sum_i[t*AccBits+:AccBits];
        end
    end
    // verilator lint_on WIDTH
    // verilator lint_on BLKSEQ

endmodule
