// The stages behind the array: bias and scale, residual, table, saturation; scores to int16; attention's deferred
// division. One result a cycle, no stall.
//
// THE TAG travels with a slot from its issue to the write (it counts where slot_last is high). Least significant first:
//
//     field      bits          from      meaning
//     parity     1             0         which of the two sets of step words applies
//     pair       1             1         pair slot of attention (reciprocals, score buffer)
//     space      2             2         0 OPERAND0, 1 OPERAND1, 2 STORE, 3 VALUES (linear only)
//     line       LineBits      4         line of the (low) byte plane; of VALUES: line of the first keys
//     groups     Banks/Rows    GroupAt   bank groups of P banks that are written
//     extra      6             ExtraAt   linear: index in the constants ring; context: log2 of the pitch
//     keys       KeyBits       KeysAt    VALUES: tokens of the tile below the length, 0..T (others: ignored)
//     final      1             FinalAt   result of the last pass of a step: with it a token tile is complete
//
//     LineBits = $clog2 of the lines of the deepest memory of bytes, at least 1
//     GroupAt = 4 + LineBits, ExtraAt = GroupAt + Banks/Rows, KeysAt = ExtraAt + 6, KeyBits = $clog2(Tokens) + 1,
//     FinalAt = KeysAt + KeyBits; TagBits = max(FinalAt + 1, 40)
//
// Of a score's tag only `parity` has a meaning here; bits TagBits-1..1 are the attention unit's own. Context writes one
// byte plane; bank group g takes head (result_merge == 0 ? 0 : ((g*P) >> extra) & ((1 << result_merge) - 1)). A linear
// result of two byte planes writes the high one out_depth lines further in the next cycle; a result that follows it at once
// goes to other banks. `final` of a context result
// is set on the last one of a query tile.
//
// TIMING. A slot at the array's input in cycle t (slot_valid high, registered):
//     result_valid              t + ArrayLatency                  ArrayLatency = 9 + $clog2(Banks)
//     constants of the rows     used in cycle r + 1, r = t + ArrayLatency: read in cycle r - 1 (constants_ring.v)
//     scale_r, scale_n          used in cycle r + 1, and in no other
//     residual                  low plane requested in r + 3, high plane in r + 4
//     score_valid               r + PostLatency
//     value_valid               r + PostLatency                   PostLatency = 14, see below
//     write_valid (low plane)   r + PostLatency + 1
//
// Two steps may be in flight: `step_load_i` takes the words of the step whose slots carry `step_parity_i`.
//
// STAGES OF PLUG-INS stand beside the lanes of the first head. They get every lane's sat(r, 16) in cycle r + 9, with the
// parameters of its step, and answer StageLatency cycles later, each of them; the step says whose answer counts. With
// them every result, whatever it is, takes as long as theirs: PostLatency = 11 + StageLatency, at least 15.
module post_pipeline #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 1,
    // Of a tag's line.
    parameter LineBits = 6,
    parameter TableBits = 8,
    parameter HasAdd = 1,
    parameter HasAttention = 1,
    parameter HasTable = 1,
    // Stages of plug-ins, and cycles from their values to their results: at least 4, the same for all.
    parameter OutsideStages = 0,
    parameter StageLatency = 4,
    parameter TagBits = 40,
    // Of the array's sums, at least 32.
    parameter AccBits = 32
) (
    input  wire                            clk_i,
    input  wire                            rst_ni,

    input  wire                            step_load_i,
    input  wire                            step_parity_i,
    // verilator lint_off UNUSEDSIGNAL
    // Words as they stand in a record, which the sequencer has bounded; without tables nobody writes them.
    input  wire [31:0]                     out_bits_i,
    input  wire [31:0]                     out_signed_i,
    input  wire [31:0]                     out_zero_i,
    input  wire [31:0]                     out_depth_i,
    input  wire [31:0]                     base_i,
    input  wire [31:0]                     table_bits_i,
    input  wire [31:0]                     stage_i,
    input  wire [31:0]                     has_residual_i,
    input  wire [31:0]                     residual_base_i,
    input  wire [31:0]                     residual_multiplier_i,
    input  wire [31:0]                     residual_shift_i,
    input  wire [31:0]                     score_multiplier_i,
    input  wire [31:0]                     score_shift_i,
    input  wire [31:0]                     multiplier_i,
    input  wire [31:0]                     shift_i,

    input  wire                            table_we_i,
    input  wire                            table_bank_i,
    input  wire [TableBits-3:0]            table_address_i,
    input  wire [63:0]                     table_data_i,

    input  wire                            stage_we_i,
    input  wire                            stage_bank_i,
    input  wire [3:0]                      stage_index_i,
    input  wire [31:0]                     stage_data_i,
    // Results of stage s, row p, token t at (s*Rows + p)*Tokens + t, 48 bits each.
    input  wire [(OutsideStages > 0 ? OutsideStages : 1)*Rows*Tokens*48-1:0] stage_result_i,
    // verilator lint_on UNUSEDSIGNAL
    output wire [Rows*Tokens*16-1:0]       stage_value_o,
    output wire [511:0]                    stage_parameters_o,

    input  wire                            result_valid_i,
    input  wire [1:0]                      result_kind_i,
    input  wire [3:0]                      result_merge_i,
    input  wire [TagBits-1:0]              result_tag_i,
    input  wire [Heads*Rows*Tokens*AccBits-1:0] result_sum_i,

    input  wire [32*Rows-1:0]              bias_i,
    input  wire [16*Rows-1:0]              constants_multiplier_i,
    input  wire [6*Rows-1:0]               constants_shift_i,
    input  wire [2*Heads*Tokens*17-1:0]    scale_r_i,
    input  wire [2*Heads*Tokens*6-1:0]     scale_n_i,

    // The low plane of one result, and the high plane of the one before it in its bank group alone.
    output wire                            residual_re_o,
    output wire [31:0]                     residual_line_o,
    output wire [Banks/Rows-1:0]           residual_high_groups_o,
    output wire [31:0]                     residual_high_line_o,
    input  wire [Banks*Tokens*8-1:0]       store_data_i,

    output wire                            score_valid_o,
    output wire                            value_valid_o,
    output wire [3:0]                      value_merge_o,
    output wire [TagBits-1:0]              value_tag_o,
    output wire [Heads*Rows*Tokens*16-1:0] value_o
);

    localparam [1:0] Linear = 0, Scores = 1, Context = 2;
    // What a result waits for stages of plug-ins.
    localparam Extra = OutsideStages > 0 ? StageLatency - 3 : 0;
    localparam Stages = 14 + Extra;
    localparam ValueBits = Heads * Rows * Tokens * 16;
    localparam Groups = Banks / Rows;
    localparam GroupAt = 4 + LineBits;
    localparam WordBits = 8 * Tokens;

    // ---- valid, kind, merge and tag: stage k is k cycles behind the result
    localparam ControlBits = TagBits + 7;
    reg  [Stages*ControlBits-1:0]     control_q;
    wire [(Stages+1)*ControlBits-1:0] control = {
        control_q, result_valid_i, result_kind_i, result_merge_i, result_tag_i
    };
    // verilator lint_off UNUSEDSIGNAL
    // Not every stage asks.
    wire [Stages:0]                   valid, parity, linear, scores, is_context;
    // verilator lint_on UNUSEDSIGNAL
    genvar k, h, p, t;
    generate
        for (k = 0; k <= Stages; k = k + 1) begin : stages
            assign valid[k] = control[(k+1)*ControlBits - 1];
            assign linear[k] = control[(k+1)*ControlBits - 3 +: 2] == Linear;
            assign scores[k] = control[(k+1)*ControlBits - 3 +: 2] == Scores;
            assign is_context[k] = control[(k+1)*ControlBits - 3 +: 2] == Context;
            assign parity[k] = control[k*ControlBits];
        end
    endgenerate

    integer i;
    always @(posedge clk_i) begin
        control_q <= control[Stages*ControlBits-1:0];
        if (!rst_ni) begin
            for (i = 1; i <= Stages; i = i + 1) control_q[i*ControlBits - 1] <= 1'b0;
        end
    end

    // ---- words of the two steps: index 0 and 1 by parity
    reg [31:0]        zero_q [0:1];
    reg [31:0]        depth_q [0:1];
    reg [31:0]        residual_at_q [0:1];
    reg signed [15:0] residual_multiplier_q [0:1];
    reg [5:0]         residual_shift_q [0:1];
    reg signed [15:0] score_multiplier_q [0:1];
    reg [5:0]         score_shift_q [0:1];
    reg signed [15:0] multiplier_q [0:1];
    reg [5:0]         shift_q [0:1];
    reg [16:0]        high_q [0:1];
    reg [16:0]        low_q [0:1];
    reg [15:0]        table_first_q [0:1];
    reg [15:0]        table_last_q [0:1];
    reg [1:0]         has_residual_q, has_table_q;
    wire has_stage = OutsideStages != 0 && stage_i != 0;
    // Limits take three cycles; no result of the step is that near.
    reg        load1_q, load2_q, load3_q, parity1_q, parity2_q, parity3_q, signed1_q, signed2_q, signed3_q;
    reg        stage1_q, stage2_q, stage3_q;
    reg [4:0]  bits1_q;
    reg [3:0]  table_bits1_q;
    reg [16:0] power2_q, high3_q;
    reg [15:0] table_power2_q, last3_q;
    always @(posedge clk_i) begin
        load1_q <= rst_ni && step_load_i;
        load2_q <= rst_ni && load1_q;
        load3_q <= rst_ni && load2_q;
        parity1_q <= step_parity_i;
        parity2_q <= parity1_q;
        parity3_q <= parity2_q;
        signed1_q <= out_signed_i != 0;
        signed2_q <= signed1_q;
        signed3_q <= signed2_q;
        stage1_q <= has_stage;
        stage2_q <= stage1_q;
        stage3_q <= stage2_q;
        bits1_q <= out_signed_i != 0 ? out_bits_i[4:0] - 5'd1 : out_bits_i[4:0];
        table_bits1_q <= table_bits_i[3:0];
        power2_q <= 17'd1 << bits1_q;
        table_power2_q <= 16'd1 << table_bits1_q;
        high3_q <= power2_q - 17'd1;
        last3_q <= table_power2_q - 16'd1;
        if (load3_q) begin
            high_q[parity3_q] <= high3_q;
            low_q[parity3_q] <= signed3_q ? -high3_q : 17'd0;
            // A stage takes numbers of 16 bits.
            table_first_q[parity3_q] <= stage3_q ? -16'd32767 : 16'd0;
            table_last_q[parity3_q] <= stage3_q ? 16'd32767 : last3_q;
        end
    end
    always @(posedge clk_i) begin
        if (step_load_i) begin
            zero_q[step_parity_i] <= has_residual_i != 0 || has_stage ? 32'd0 : out_zero_i;
            depth_q[step_parity_i] <= out_depth_i;
            residual_at_q[step_parity_i] <= residual_base_i - base_i;
            residual_multiplier_q[step_parity_i] <= residual_multiplier_i[15:0];
            residual_shift_q[step_parity_i] <= residual_shift_i[5:0];
            score_multiplier_q[step_parity_i] <= score_multiplier_i[15:0];
            score_shift_q[step_parity_i] <= score_shift_i[5:0];
            multiplier_q[step_parity_i] <= multiplier_i[15:0];
            shift_q[step_parity_i] <= shift_i[5:0];
            has_residual_q[step_parity_i] <= has_residual_i != 0;
            has_table_q[step_parity_i] <= table_bits_i != 0;
        end
    end

    // ---- 0, 1: constants of the rows, scales of the queries
    wire                      pair = control[ControlBits+1];
    wire [Heads*Tokens*17-1:0] scale_r = pair ? scale_r_i[Heads*Tokens*17+:Heads*Tokens*17]
        : scale_r_i[0+:Heads*Tokens*17];
    wire [Heads*Tokens*6-1:0]  scale_n = pair ? scale_n_i[Heads*Tokens*6+:Heads*Tokens*6]
        : scale_n_i[0+:Heads*Tokens*6];

    // ---- 3, 4: the residual is asked for, 5, 6: it comes; P words of the row's bank group
    // Requests come from registers: the arbiter of the store stands behind them.
    wire [31:0]       line2 = {{(32-LineBits){1'b0}}, control[2*ControlBits+4+:LineBits]};
    reg               low_re_q, high_re_q;
    reg  [31:0]       low_line_q, high_line_q;
    reg  [Groups-1:0] high_groups_q;
    assign residual_re_o = low_re_q || high_re_q;
    assign residual_line_o = low_line_q;
    assign residual_high_line_o = high_line_q;
    assign residual_high_groups_o = high_groups_q;
    always @(posedge clk_i) begin
        low_re_q <= rst_ni && HasAdd != 0 && valid[2] && linear[2] && has_residual_q[parity[2]];
        high_re_q <= rst_ni && low_re_q;
        low_line_q <= line2 + residual_at_q[parity[2]];
        high_line_q <= low_line_q + depth_q[parity[3]];
        high_groups_q <= low_re_q ? control[3*ControlBits+GroupAt+:Groups] : {Groups{1'b0}};
    end

    wire low4 = HasAdd != 0 && valid[4] && linear[4] && has_residual_q[parity[4]];
    reg  [Groups-1:0] low_groups5_q, high_groups6_q;
    always @(posedge clk_i) begin
        low_groups5_q <= low4 ? control[4*ControlBits+GroupAt+:Groups] : {Groups{1'b0}};
        high_groups6_q <= low_groups5_q;
    end
    reg [Rows*WordBits-1:0] low_words, high_words, low6_q, low7_q, high7_q;
    integer n;
    always @* begin
        low_words = {Rows * WordBits{1'b0}};
        high_words = {Rows * WordBits{1'b0}};
        // The loop stands outside of any condition: Yosys takes its variable for a latch otherwise.
        for (n = 0; n < Groups; n = n + 1) begin
            if (low_groups5_q[n]) low_words = low_words | store_data_i[Rows*WordBits*n+:Rows*WordBits];
            if (high_groups6_q[n]) high_words = high_words | store_data_i[Rows*WordBits*n+:Rows*WordBits];
        end
    end
    always @(posedge clk_i) begin
        low6_q <= low_words;
        low7_q <= low6_q;
        high7_q <= high_words;
    end

    // ---- the lanes
    wire [15:0] step_multiplier = score_multiplier_q[parity[1]];
    wire [5:0]  step_shift = score_shift_q[parity[1]];
    // Of a step's words, each stage finds what it wants in registers.
    reg  [15:0] second_multiplier7_q, table_first8_q, table_last8_q;
    reg  [5:0]  second_shift9_q;
    reg  [31:0] zero7_q;
    reg         second12_q, table13_q;
    reg  [16:0] high13_q, low13_q;
    always @(posedge clk_i) begin
        second_multiplier7_q <= HasAttention != 0 && is_context[6] ? multiplier_q[parity[6]]
            : residual_multiplier_q[parity[6]];
        zero7_q <= linear[6] ? zero_q[parity[6]] : 32'd0;
        table_first8_q <= table_first_q[parity[7]];
        table_last8_q <= table_last_q[parity[7]];
        second_shift9_q <= HasAttention != 0 && is_context[8] ? shift_q[parity[8]] : residual_shift_q[parity[8]];
        second12_q <= is_context[11] || (linear[11] && has_residual_q[parity[11]]);
        high13_q <= linear[12] ? high_q[parity[12]] : scores[12] ? 17'd32767 : 17'd127;
        low13_q <= linear[12] ? low_q[parity[12]] : scores[12] ? -17'd32767 : -17'd127;
        table13_q <= linear[12] && has_table_q[parity[12]];
    end

    wire [ValueBits-1:0] value14;
    generate
        for (h = 0; h < Heads; h = h + 1) begin : heads
            for (p = 0; p < Rows; p = p + 1) begin : rows
                wire [Tokens*16-1:0] residual, entry;
                wire [15:0] multiplier = linear[1] ? constants_multiplier_i[16*p+:16] : step_multiplier;
                wire [5:0]  shift = linear[1] ? constants_shift_i[6*p+:6] : step_shift;
                // Linear results have one head.
                wire [13:0] present = h == 0 ? valid[13:0] : valid[13:0] & ~linear[13:0];
                // verilator lint_off UNUSEDSIGNAL
                // Only the first head's lanes have tables and stages.
                wire [Tokens*16-1:0] index;
                // verilator lint_on UNUSEDSIGNAL
                for (t = 0; t < Tokens; t = t + 1) begin : tokens
                    assign residual[t*16+:16] = {high7_q[8*(p*Tokens+t)+:8], low7_q[8*(p*Tokens+t)+:8]};
                end
                requantise_row #(
                    .Tokens(Tokens),
                    .AccBits(AccBits),
                    .Attends(HasAttention),
                    .Adds(h == 0 ? HasAdd : 0),
                    .LooksUp(h == 0 ? HasTable : 0)
                ) lanes (
                    .clk_i(clk_i),
                    .valid_i(present),
                    .linear_i(linear[13:0]),
                    .context_i(is_context[13:0]),
                    .sum_i(result_sum_i[AccBits*Tokens*(h*Rows+p)+:AccBits*Tokens]),
                    .bias_i(bias_i[32*p+:32]),
                    .multiplier_i(multiplier),
                    .shift_i(shift),
                    .scale_r_i(scale_r[17*Tokens*h+:17*Tokens]),
                    .scale_n_i(scale_n[6*Tokens*h+:6*Tokens]),
                    .residual_i(residual),
                    .second_multiplier_i(second_multiplier7_q),
                    .zero_i(zero7_q),
                    .table_first_i(table_first8_q),
                    .table_last_i(table_last8_q),
                    .index_o(index),
                    .second_shift_i(second_shift9_q),
                    .second_i(second12_q),
                    .table_i(table13_q),
                    .entry_i(entry),
                    .low_i(low13_q),
                    .high_i(high13_q),
                    .value_o(value14[16*Tokens*(h*Rows+p)+:16*Tokens])
                );
                if (h == 0) begin : first
                    assign stage_value_o[16*Tokens*p+:16*Tokens] = index;
                end
                if (h == 0 && HasTable != 0) begin : lookup
                    wire re = valid[9] && linear[9];
                    table_row #(.Tokens(Tokens), .TableBits(TableBits)) pointwise (
                        .clk_i(clk_i),
                        .we_i(table_we_i),
                        .bank_i(table_bank_i),
                        .address_i(table_address_i),
                        .data_i(table_data_i),
                        .re_i(re),
                        .read_bank_i(parity[9]),
                        .index_i(index),
                        .entry_o(entry)
                    );
                end else begin : plain
                    assign entry = {Tokens * 16{1'b0}};
                end
            end
        end
    endgenerate

    // ---- stages of plug-ins
    generate
        if (OutsideStages == 0) begin : alone
            assign stage_parameters_o = 512'd0;
            assign value_o = value14;
        end else begin : outside
            localparam Lanes = Rows * Tokens;
            reg  [511:0]           parameters_q [0:1];
            reg  [511:0]           parameters9_q;
            reg  [4:0]             stage_q [0:1];
            reg  [31:0]            stage_zero_q [0:1];
            reg  [Lanes*48-1:0]    result;
            // Of a result two cycles and one cycle before it leaves.
            wire                   before2 = parity[Stages-2];
            wire                   before1 = parity[Stages-1];
            wire                   staged = linear[Stages-1] && stage_q[before1] != 5'd0;
            wire signed [48:0]     least = {{32{low_q[before1][16]}}, low_q[before1]};
            wire signed [48:0]     most = {{32{high_q[before1][16]}}, high_q[before1]};
            wire signed [48:0]     stage_zero = {{17{stage_zero_q[before2][31]}}, stage_zero_q[before2]};
            wire [ValueBits-1:0]   late;
            reg  [ValueBits-1:0]   value_q;
            reg  [Lanes*49-1:0]    total_q;
            integer                s, lane;

            assign stage_parameters_o = parameters9_q;
            assign value_o = value_q;
            delay_line #(.Width(ValueBits), .Length(Extra - 1)) values (
                .clk_i(clk_i), .value_i(value14), .value_o(late)
            );

            always @* begin
                result = {Lanes * 48{1'b0}};
                for (s = 0; s < OutsideStages; s = s + 1) begin
                    if (stage_q[before2] == s[4:0] + 5'd1) result = stage_result_i[s*Lanes*48+:Lanes*48];
                end
            end
            always @(posedge clk_i) begin
                if (stage_we_i) parameters_q[stage_bank_i][32*stage_index_i+:32] <= stage_data_i;
                if (step_load_i) begin
                    stage_q[step_parity_i] <= stage_i[4:0];
                    stage_zero_q[step_parity_i] <= out_zero_i;
                end
                parameters9_q <= parameters_q[parity[8]];
                for (lane = 0; lane < Lanes; lane = lane + 1) begin
                    total_q[lane*49+:49] <= $signed({result[lane*48+47], result[lane*48+:48]}) + stage_zero;
                end
                value_q <= late;
                for (lane = 0; lane < Lanes; lane = lane + 1) begin
                    if (staged) begin
                        value_q[lane*16+:16] <= $signed(total_q[lane*49+:49]) > most ? most[15:0]
                            : $signed(total_q[lane*49+:49]) < least ? least[15:0] : total_q[lane*49+:16];
                    end
                end
            end
        end
    endgenerate

    assign score_valid_o = valid[Stages] && scores[Stages];
    assign value_valid_o = valid[Stages] && !scores[Stages];
    assign value_merge_o = control[Stages*ControlBits+TagBits+:4];
    assign value_tag_o = control[Stages*ControlBits+:TagBits];

endmodule
