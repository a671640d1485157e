// One lane behind the array: bias, attention's deferred division, rescaling, residual, zero point and saturation.
//
//     x = is_context ? (sum*r + 2^(n+6)) >> (n+7) : sum + bias
//     y = sat(((x*m + 2^(s-1)) >> s) + ((residual*rm + 2^(rs-1)) >> rs) + zero, bits)
//
// Data move every cycle; each input is taken in the cycle that its comment names, counted from `sum_i`. `index_o` is
// y before saturation, clipped to 0 .. table_last_i, `value_o` is y. Products have registers before and behind them.
module requantise_lane #(
    // 1: the lane divides for attention.
    parameter Divides = 1,
    // 1: the lane adds residuals.
    parameter Adds = 1
) (
    input  wire               clk_i,
    input  wire signed [31:0] sum_i,           // 0
    input  wire signed [31:0] bias_i,          // 1
    input  wire [16:0]        r_i,             // 1
    input  wire [5:0]         n_i,             // 1
    input  wire               is_context_i,    // 5
    input  wire signed [15:0] multiplier_i,    // 6
    input  wire [5:0]         shift_i,         // 8
    input  wire signed [15:0] residual_i,      // 7
    input  wire signed [15:0] residual_multiplier_i, // 7
    input  wire [5:0]         residual_shift_i,      // 9
    input  wire               has_residual_i,  // 11
    input  wire signed [31:0] zero_i,          // 11
    input  wire [15:0]        table_last_i,    // 12
    input  wire signed [16:0] high_i,          // 12
    input  wire signed [16:0] low_i,           // 12
    output wire [15:0]        index_o,         // 12
    output wire [15:0]        value_o          // 13
);
    /* verilator no_inline_module */

    // sum + bias, and its way beside the division: 2 .. 5.
    reg signed [31:0] sum_q, biased2_q, biased3_q, biased4_q, biased5_q, x_q;
    always @(posedge clk_i) begin
        sum_q <= sum_i;
        biased2_q <= sum_q + bias_i;
        biased3_q <= biased2_q;
        biased4_q <= biased3_q;
        biased5_q <= biased4_q;
    end

    generate
        if (Divides != 0) begin : division
            reg signed [31:0] factor_q;
            reg signed [17:0] r_q;
            reg [5:0]         n2_q, n3_q, n4_q, n5_q;
            reg signed [49:0] product3_q, product4_q, rounded_q;
            wire signed [49:0] quotient = rounded_q >>> (n5_q + 6'd7);
            always @(posedge clk_i) begin
                factor_q <= sum_q;
                r_q <= {1'b0, r_i};
                n2_q <= n_i;
                n3_q <= n2_q;
                n4_q <= n3_q;
                n5_q <= n4_q;
                product3_q <= factor_q * r_q;
                product4_q <= product3_q;
                rounded_q <= product4_q + $signed(50'd1 << (n4_q + 6'd6));
                x_q <= is_context_i ? quotient[31:0] : biased5_q;
            end
            wire unused = &{1'b0, quotient};
        end else begin : plain
            always @(posedge clk_i) x_q <= biased5_q;
            wire unused = &{1'b0, r_i, n_i, is_context_i};
        end
    endgenerate

    // x*m, rounded and shifted: 7 .. 10.
    reg signed [47:0] product7_q, product8_q;
    reg signed [48:0] rounded_q, scaled10_q, scaled11_q;
    reg [5:0]         shift9_q;
    always @(posedge clk_i) begin
        product7_q <= x_q * multiplier_i;
        product8_q <= product7_q;
        // A shift is at least 1.
        rounded_q <= {product8_q[47], product8_q} + $signed(49'd1 << (shift_i - 6'd1));
        shift9_q <= shift_i;
        scaled10_q <= rounded_q >>> shift9_q;
        scaled11_q <= scaled10_q;
    end

    // The residual beside it: 8 .. 11.
    wire signed [48:0] residual;
    generate
        if (Adds != 0) begin : addition
            reg signed [31:0] product8r_q, product9r_q;
            reg signed [48:0] rounded10_q, scaled_q;
            reg [5:0]         shift10_q;
            always @(posedge clk_i) begin
                product8r_q <= residual_i * residual_multiplier_i;
                product9r_q <= product8r_q;
                rounded10_q <= {{17{product9r_q[31]}}, product9r_q} + $signed(49'd1 << (residual_shift_i - 6'd1));
                shift10_q <= residual_shift_i;
                scaled_q <= rounded10_q >>> shift10_q;
            end
            assign residual = has_residual_i ? scaled_q : 49'sd0;
        end else begin : nothing
            assign residual = 49'sd0;
            wire unused = &{1'b0, residual_i, residual_multiplier_i, residual_shift_i, has_residual_i};
        end
    endgenerate

    // Sum and saturation: 12, 13.
    reg signed [50:0] total_q;
    reg [15:0]        value_q;
    wire signed [50:0] high = {{34{high_i[16]}}, high_i};
    wire signed [50:0] low = {{34{low_i[16]}}, low_i};
    wire signed [50:0] last = {35'd0, table_last_i};
    always @(posedge clk_i) begin
        total_q <= {{2{scaled11_q[48]}}, scaled11_q} + {{2{residual[48]}}, residual} + {{19{zero_i[31]}}, zero_i};
        value_q <= total_q > high ? high[15:0] : total_q < low ? low[15:0] : total_q[15:0];
    end
    assign index_o = total_q[50] ? 16'd0 : total_q > last ? table_last_i : total_q[15:0];
    assign value_o = value_q;

endmodule
