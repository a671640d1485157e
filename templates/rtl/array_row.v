// One output row of the array: T x B products a cycle, packed in DSP primitives, summed over banks for every token, and
// accumulated over the cycles of a result.
//
// Packing. Token t shares a primitive with token t + T/2 (DspProducts 2): the wide operand is
// high * 2^DspSpacing + low, mere wiring as both are unsigned bytes, and one product with the shared weight carries
// both. Up to four products (one at spacing 16) are summed before the halves part: the lower sum then still is a signed
// number of DspSpacing bits. Where it is negative it has borrowed 1 from the upper one, which bit DspSpacing-1 gives
// back: as the carry input of the next adder, whose own second carry goes on to the next level, so that the correction
// costs no adder.
//
// Signs. A signed byte s is (s ^ 128) - 128 as an unsigned one: bytes come in with their top bits flipped, and 128
// times the sum of a row's weights is taken off its totals.
//
// Merging. The tree ends in Heads segments of Banks/Heads banks (at most 256); where fewer heads lie side by side
// their sums are added up: total[s] = total[2s] + total[2s+1] a level, so that total[j] belongs to head j. Accumulators
// have AccBits bits and wrap; a high byte plane counts 256 times.
//
// Timing. operand_i, weight_i, zero_i (count nothing) and sign_i (operand bytes are signed) belong to cycle c-1 and are
// registered here. Products are there in c+1, sums of a segment in c+1+log2(Banks/Heads), with their carry a cycle
// later, and without what signs add in the next; then one merge level a cycle, add_i[n] being that of the sums in level
// n. valid_i, first_i and high_i belong to cycle c+3+log2(Banks), and result_o shows it in the next.
//
// The registers of the tree are arrays that one block writes in loops, the last stage first, so that each reads what
// the cycle before has left: a simulator then runs a few loops where it would run thousands of statements. Only
// result_q leaves the block. A level is written out in full, since arrays of a generate loop would each need a block.
module array_row #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Heads = 1,
    parameter DspProducts = 2,
    parameter DspSpacing = 18,
    parameter AccBits = 32,
    parameter MergeLevels = Heads > 1 ? $clog2(Heads) : 1
) (
    input  wire                       clk_i,
    input  wire                       sign_i,
    input  wire                       zero_i,
    input  wire [Banks*Tokens*8-1:0]  operand_i,
    input  wire [Banks*8-1:0]         weight_i,
    // verilator lint_off UNUSEDSIGNAL
    // One segment has nothing to merge with.
    input  wire [MergeLevels-1:0]     add_i,
    // verilator lint_on UNUSEDSIGNAL
    input  wire                       valid_i,
    input  wire                       first_i,
    input  wire                       high_i,
    output wire [Heads*Tokens*AccBits-1:0] result_o
);
    /* verilator no_inline_module */

    localparam SegmentBanks = Banks / Heads;
    localparam Levels = $clog2(SegmentBanks);
    localparam HeadLevels = $clog2(Heads);
    // Token pairs; without them each token has a primitive of its own.
    localparam Pairs = DspProducts == 2 ? Tokens / 2 : 0;
    localparam Parts = Pairs > 0 ? Pairs : Tokens;
    // Levels of the tree whose sums are packed.
    localparam ChainMost = DspSpacing >= 18 ? 2 : 0;
    localparam Chain = Pairs == 0 ? 0 : Levels < ChainMost ? Levels : ChainMost;
    // The upper half of a packed sum.
    localparam Upper = Pairs > 0 ? DspSpacing : 1;
    localparam TotalBits = 16 + Levels + HeadLevels;

    // Node i of level n sums 2^n banks in 16 + n bits; i = (bank*Heads + segment)*Parts + part. It and the node half
    // a level further make one of level n + 1.
    localparam Nodes = Banks * Parts;
    localparam Nodes1 = Levels >= 1 ? Nodes >> 1 : 1;
    localparam Nodes2 = Levels >= 2 ? Nodes >> 2 : 1;
    localparam Nodes3 = Levels >= 3 ? Nodes >> 3 : 1;
    localparam Nodes4 = Levels >= 4 ? Nodes >> 4 : 1;
    localparam Nodes5 = Levels >= 5 ? Nodes >> 5 : 1;
    localparam Nodes6 = Levels >= 6 ? Nodes >> 6 : 1;
    localparam Nodes7 = Levels >= 7 ? Nodes >> 7 : 1;
    localparam Nodes8 = Levels >= 8 ? Nodes >> 8 : 1;
    localparam Sums1 = Levels >= 1 ? Banks >> 1 : 1;
    localparam Sums2 = Levels >= 2 ? Banks >> 2 : 1;
    localparam Sums3 = Levels >= 3 ? Banks >> 3 : 1;
    localparam Sums4 = Levels >= 4 ? Banks >> 4 : 1;
    localparam Sums5 = Levels >= 5 ? Banks >> 5 : 1;
    localparam Sums6 = Levels >= 6 ? Banks >> 6 : 1;
    localparam Sums7 = Levels >= 7 ? Banks >> 7 : 1;
    localparam Sums8 = Levels >= 8 ? Banks >> 8 : 1;

    // Products are as wide as a simulator's word: tools see that their upper bits are copies of the sign.
    reg        [Tokens*8-1:0]   word_q [0:Banks-1];
    reg signed [7:0]            weight_q [0:Banks-1];
    // verilator lint_off UNUSEDSIGNAL
    // 9 x 8 bits leave a bit more than 255 x -128 needs.
    reg signed [63:0]           product_q [0:Nodes-1];
    reg signed [63:0]           chain1_q [0:Nodes1-1];
    reg signed [63:0]           chain2_q [0:Nodes2-1];
    // verilator lint_on UNUSEDSIGNAL
    reg signed [16:0]           lower1_q [0:Nodes1-1], upper1_q [0:Nodes1-1];
    reg signed [17:0]           lower2_q [0:Nodes2-1], upper2_q [0:Nodes2-1];
    reg signed [18:0]           lower3_q [0:Nodes3-1], upper3_q [0:Nodes3-1];
    reg signed [19:0]           lower4_q [0:Nodes4-1], upper4_q [0:Nodes4-1];
    reg signed [20:0]           lower5_q [0:Nodes5-1], upper5_q [0:Nodes5-1];
    reg signed [21:0]           lower6_q [0:Nodes6-1], upper6_q [0:Nodes6-1];
    reg signed [22:0]           lower7_q [0:Nodes7-1], upper7_q [0:Nodes7-1];
    reg signed [23:0]           lower8_q [0:Nodes8-1], upper8_q [0:Nodes8-1];
    // What an upper sum lacks.
    reg                         carry1_q [0:Nodes1-1];
    reg                         carry2_q [0:Nodes2-1];
    reg                         carry3_q [0:Nodes3-1];
    reg                         carry4_q [0:Nodes4-1];
    reg                         carry5_q [0:Nodes5-1];
    reg                         carry6_q [0:Nodes6-1];
    reg                         carry7_q [0:Nodes7-1];
    reg                         carry8_q [0:Nodes8-1];
    // Sums of 2^n weights: bank * Heads + segment.
    reg signed [8:0]            weights1_q [0:Sums1-1];
    reg signed [9:0]            weights2_q [0:Sums2-1];
    reg signed [10:0]           weights3_q [0:Sums3-1];
    reg signed [11:0]           weights4_q [0:Sums4-1];
    reg signed [12:0]           weights5_q [0:Sums5-1];
    reg signed [13:0]           weights6_q [0:Sums6-1];
    reg signed [14:0]           weights7_q [0:Sums7-1];
    reg signed [15:0]           weights8_q [0:Sums8-1];
    reg signed [7+Levels:0]     weights_q [0:Heads-1];
    reg signed [TotalBits-1:0]  sum_q [0:Heads*Tokens-1], excess_q [0:Heads-1];
    // Totals of level n of merging, head h and token t: index (n*Heads + h)*Tokens + t.
    reg signed [TotalBits-1:0]  merge_q [0:(HeadLevels+1)*Heads*Tokens-1];
    reg [Heads*Tokens*AccBits-1:0] result_q;
    // Bit n: signs of cycle c + n.
    reg [Levels+1:0]            sign_q;

    // Variables of the block. `i` is unsigned: simulators compare such a counter in one instruction.
    reg        [31:0]           i;
    integer                     level, segment, token;
    reg        [Tokens*8-1:0]   flip;

    assign result_o = result_q;

    // verilator lint_off BLKSEQ
    // Blocking, for the loops' sake: see above.
    // verilator lint_off WIDTH
    // Signed sums are extended to what they are assigned to.
    always @(posedge clk_i) begin
        if (valid_i) begin
            /* verilator unroll_full */
            for (i = 0; i < Heads * Tokens; i = i + 1) begin
                result_q[i*AccBits+:AccBits] <= $signed(first_i ? {AccBits{1'b0}} : result_q[i*AccBits+:AccBits])
                    + (high_i ? $signed({merge_q[HeadLevels*Heads*Tokens+i], 8'd0})
                        : merge_q[HeadLevels*Heads*Tokens+i]);
            end
        end
        for (level = HeadLevels; level > 0; level = level - 1) begin
            for (segment = 0; segment < Heads; segment = segment + 1) begin
                for (token = 0; token < Tokens; token = token + 1) begin
                    if (add_i[level-1] && segment < (Heads >> level)) begin
                        merge_q[(level*Heads+segment)*Tokens+token] =
                            merge_q[((level-1)*Heads+2*segment)*Tokens+token]
                            + merge_q[((level-1)*Heads+2*segment+1)*Tokens+token];
                    end else begin
                        merge_q[(level*Heads+segment)*Tokens+token] =
                            merge_q[((level-1)*Heads+segment)*Tokens+token];
                    end
                end
            end
        end
        for (segment = 0; segment < Heads; segment = segment + 1) begin
            for (token = 0; token < Tokens; token = token + 1) begin
                merge_q[segment*Tokens+token] = sum_q[segment*Tokens+token] - excess_q[segment];
            end
            excess_q[segment] = sign_q[Levels+1] ? $signed({weights_q[segment], 7'd0}) : $signed({TotalBits{1'b0}});
            if (Levels == 0) weights_q[segment] = weight_q[segment];
            else if (Levels == 1) weights_q[segment] = weights1_q[segment];
            else if (Levels == 2) weights_q[segment] = weights2_q[segment];
            else if (Levels == 3) weights_q[segment] = weights3_q[segment];
            else if (Levels == 4) weights_q[segment] = weights4_q[segment];
            else if (Levels == 5) weights_q[segment] = weights5_q[segment];
            else if (Levels == 6) weights_q[segment] = weights6_q[segment];
            else if (Levels == 7) weights_q[segment] = weights7_q[segment];
            else if (Levels == 8) weights_q[segment] = weights8_q[segment];
        end
        for (segment = 0; segment < Heads; segment = segment + 1) begin
            for (token = 0; token < Parts; token = token + 1) begin
                if (Levels == 0) begin
                    sum_q[segment*Tokens+token] = $signed(product_q[segment*Parts+token][15:0]);
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = $signed(product_q[segment*Parts+token][Upper+:16])
                            + $signed({1'b0, product_q[segment*Parts+token][Upper-1]});
                    end
                end else if (Chain == 1) begin
                    sum_q[segment*Tokens+token] = $signed(chain1_q[segment*Parts+token][16:0]);
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = $signed(chain1_q[segment*Parts+token][Upper+:17])
                            + $signed({1'b0, chain1_q[segment*Parts+token][Upper-1]});
                    end
                end else if (Chain == 2 && Levels == 2) begin
                    sum_q[segment*Tokens+token] = $signed(chain2_q[segment*Parts+token][17:0]);
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = $signed(chain2_q[segment*Parts+token][Upper+:18])
                            + $signed({1'b0, chain2_q[segment*Parts+token][Upper-1]});
                    end
                end else if (Levels == 1) begin
                    sum_q[segment*Tokens+token] = lower1_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper1_q[segment*Parts+token]
                            + $signed({1'b0, carry1_q[segment*Parts+token]});
                    end
                end else if (Levels == 2) begin
                    sum_q[segment*Tokens+token] = lower2_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper2_q[segment*Parts+token]
                            + $signed({1'b0, carry2_q[segment*Parts+token]});
                    end
                end else if (Levels == 3) begin
                    sum_q[segment*Tokens+token] = lower3_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper3_q[segment*Parts+token]
                            + $signed({1'b0, carry3_q[segment*Parts+token]});
                    end
                end else if (Levels == 4) begin
                    sum_q[segment*Tokens+token] = lower4_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper4_q[segment*Parts+token]
                            + $signed({1'b0, carry4_q[segment*Parts+token]});
                    end
                end else if (Levels == 5) begin
                    sum_q[segment*Tokens+token] = lower5_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper5_q[segment*Parts+token]
                            + $signed({1'b0, carry5_q[segment*Parts+token]});
                    end
                end else if (Levels == 6) begin
                    sum_q[segment*Tokens+token] = lower6_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper6_q[segment*Parts+token]
                            + $signed({1'b0, carry6_q[segment*Parts+token]});
                    end
                end else if (Levels == 7) begin
                    sum_q[segment*Tokens+token] = lower7_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper7_q[segment*Parts+token]
                            + $signed({1'b0, carry7_q[segment*Parts+token]});
                    end
                end else if (Levels == 8) begin
                    sum_q[segment*Tokens+token] = lower8_q[segment*Parts+token];
                    if (Pairs > 0) begin
                        sum_q[segment*Tokens+token+Pairs] = upper8_q[segment*Parts+token]
                            + $signed({1'b0, carry8_q[segment*Parts+token]});
                    end
                end
            end
        end
        if (Levels >= 8) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes8; i = i + 1) begin
                lower8_q[i] = lower7_q[i] + lower7_q[i+Nodes8];
                if (Pairs > 0) begin
                    upper8_q[i] = upper7_q[i] + upper7_q[i+Nodes8]
                        + $signed({1'b0, carry7_q[i]});
                    carry8_q[i] = carry7_q[i+Nodes8];
                end
            end
        end
        if (Levels >= 7) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes7; i = i + 1) begin
                lower7_q[i] = lower6_q[i] + lower6_q[i+Nodes7];
                if (Pairs > 0) begin
                    upper7_q[i] = upper6_q[i] + upper6_q[i+Nodes7]
                        + $signed({1'b0, carry6_q[i]});
                    carry7_q[i] = carry6_q[i+Nodes7];
                end
            end
        end
        if (Levels >= 6) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes6; i = i + 1) begin
                lower6_q[i] = lower5_q[i] + lower5_q[i+Nodes6];
                if (Pairs > 0) begin
                    upper6_q[i] = upper5_q[i] + upper5_q[i+Nodes6]
                        + $signed({1'b0, carry5_q[i]});
                    carry6_q[i] = carry5_q[i+Nodes6];
                end
            end
        end
        if (Levels >= 5) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes5; i = i + 1) begin
                lower5_q[i] = lower4_q[i] + lower4_q[i+Nodes5];
                if (Pairs > 0) begin
                    upper5_q[i] = upper4_q[i] + upper4_q[i+Nodes5]
                        + $signed({1'b0, carry4_q[i]});
                    carry5_q[i] = carry4_q[i+Nodes5];
                end
            end
        end
        if (Levels >= 4) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes4; i = i + 1) begin
                lower4_q[i] = lower3_q[i] + lower3_q[i+Nodes4];
                if (Pairs > 0) begin
                    upper4_q[i] = upper3_q[i] + upper3_q[i+Nodes4]
                        + $signed({1'b0, carry3_q[i]});
                    carry4_q[i] = carry3_q[i+Nodes4];
                end
            end
        end
        if (Levels >= 3 && Chain == 2) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes3; i = i + 1) begin
                lower3_q[i] = $signed(chain2_q[i][17:0]) + $signed(chain2_q[i+Nodes3][17:0]);
                if (Pairs > 0) begin
                    upper3_q[i] = $signed(chain2_q[i][Upper+:18]) + $signed(chain2_q[i+Nodes3][Upper+:18])
                        + $signed({1'b0, chain2_q[i][Upper-1]});
                    carry3_q[i] = chain2_q[i+Nodes3][Upper-1];
                end
            end
        end
        if (Levels >= 3 && Chain == 0) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes3; i = i + 1) begin
                lower3_q[i] = lower2_q[i] + lower2_q[i+Nodes3];
                if (Pairs > 0) begin
                    upper3_q[i] = upper2_q[i] + upper2_q[i+Nodes3]
                        + $signed({1'b0, carry2_q[i]});
                    carry3_q[i] = carry2_q[i+Nodes3];
                end
            end
        end
        if (Levels >= 2 && Chain == 0) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes2; i = i + 1) begin
                lower2_q[i] = lower1_q[i] + lower1_q[i+Nodes2];
                if (Pairs > 0) begin
                    upper2_q[i] = upper1_q[i] + upper1_q[i+Nodes2]
                        + $signed({1'b0, carry1_q[i]});
                    carry2_q[i] = carry1_q[i+Nodes2];
                end
            end
        end
        if (Chain >= 2) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes2; i = i + 1) begin
                chain2_q[i] = chain1_q[i] + chain1_q[i+Nodes2];
            end
        end
        if (Levels >= 1 && Chain == 0) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes1; i = i + 1) begin
                lower1_q[i] = $signed(product_q[i][15:0]) + $signed(product_q[i+Nodes1][15:0]);
                if (Pairs > 0) begin
                    upper1_q[i] = $signed(product_q[i][Upper+:16]) + $signed(product_q[i+Nodes1][Upper+:16])
                        + $signed({1'b0, product_q[i][Upper-1]});
                    carry1_q[i] = product_q[i+Nodes1][Upper-1];
                end
            end
        end
        if (Chain >= 1) begin
            /* verilator unroll_disable */
            for (i = 0; i < Nodes1; i = i + 1) begin
                chain1_q[i] = product_q[i] + product_q[i+Nodes1];
            end
        end
        if (Levels >= 8) begin
            for (i = 0; i < Sums8; i = i + 1) begin
                weights8_q[i] = weights7_q[i] + weights7_q[i+Sums8];
            end
        end
        if (Levels >= 7) begin
            for (i = 0; i < Sums7; i = i + 1) begin
                weights7_q[i] = weights6_q[i] + weights6_q[i+Sums7];
            end
        end
        if (Levels >= 6) begin
            for (i = 0; i < Sums6; i = i + 1) begin
                weights6_q[i] = weights5_q[i] + weights5_q[i+Sums6];
            end
        end
        if (Levels >= 5) begin
            for (i = 0; i < Sums5; i = i + 1) begin
                weights5_q[i] = weights4_q[i] + weights4_q[i+Sums5];
            end
        end
        if (Levels >= 4) begin
            for (i = 0; i < Sums4; i = i + 1) begin
                weights4_q[i] = weights3_q[i] + weights3_q[i+Sums4];
            end
        end
        if (Levels >= 3) begin
            for (i = 0; i < Sums3; i = i + 1) begin
                weights3_q[i] = weights2_q[i] + weights2_q[i+Sums3];
            end
        end
        if (Levels >= 2) begin
            for (i = 0; i < Sums2; i = i + 1) begin
                weights2_q[i] = weights1_q[i] + weights1_q[i+Sums2];
            end
        end
        if (Levels >= 1) begin
            for (i = 0; i < Sums1; i = i + 1) begin
                weights1_q[i] = weight_q[i] + weight_q[i+Sums1];
            end
        end
        /* verilator unroll_disable */
        for (i = 0; i < Banks; i = i + 1) begin
            /* verilator unroll_full */
            for (token = 0; token < Parts; token = token + 1) begin
                if (Pairs > 0) begin
                    product_q[i*Parts+token] = weight_q[i] * $signed({1'b0, word_q[i][(token+Pairs)*8+:8],
                                                                      {(DspSpacing-8){1'b0}}, word_q[i][token*8+:8]});
                end else begin
                    product_q[i*Parts+token] = weight_q[i] * $signed({1'b0, word_q[i][token*8+:8]});
                end
            end
        end
        sign_q = {sign_q[Levels:0], sign_i};
        flip = {Tokens{sign_i, 7'd0}};
        // Slices at constant places.
        /* verilator unroll_full */
        for (i = 0; i < Banks; i = i + 1) begin
            word_q[i] = operand_i[(i%Heads*SegmentBanks+i/Heads)*Tokens*8+:Tokens*8] ^ flip;
            weight_q[i] = zero_i ? 8'd0 : weight_i[(i%Heads*SegmentBanks+i/Heads)*8+:8];
        end
    end
    // verilator lint_on WIDTH
    // verilator lint_on BLKSEQ

endmodule
