// The T x B x P multiplier array: from slots to results, for linear steps and for attention. A slot enters every cycle
// and nothing stalls.
//
//     cycle    what is there
//     t        slot_* (registers of the issuing unit); the row buffer gets its address from the same slot
//     t+1      row_offset_i, row_weight_i
//     t+2      operand_line_o = slot_line + offset per row and bank, operand_re_o[1:0] for OPERAND1, OPERAND0
//     t+4      operand0_data_i, operand1_data_i; attention_operand_i and attention_weight_i
//     t+5      operand and weight registers in front of array_row
//     t+8+log2(Banks)              sums of a slot, merged as slot_merge says
//     t+9+log2(Banks) (r)          result_valid, if the slot was the last one of its result
//
// coming_o and coming_group_o tell a cycle ahead of a result of its row group, six bits of the tag from ExtraAt on.
//
// result_sum holds totals of head h, row p, token t at (h*Rows + p)*Tokens + t, AccBits bits each, in cycle r only.
// A slot with slot_zero counts 0. WeightStages 3: row_weight_i comes at t+1 and is delayed here; 0: it comes at t+4.
module multiplier_array #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 1,
    parameter OperandDepth = 64,
    parameter Depth = 8,
    parameter DspProducts = 2,
    parameter DspSpacing = 18,
    parameter HasAttention = 1,
    parameter WeightStages = 3,
    parameter TagBits = 40,
    parameter ExtraAt = 8,
    parameter AccBits = 32,
    parameter OffsetBits = Depth > 1 ? $clog2(Depth) : 1,
    parameter AddressBits = OperandDepth > 1 ? $clog2(OperandDepth) : 1
) (
    input  wire                              clk_i,
    input  wire                              rst_ni,

    input  wire                              slot_valid_i,
    input  wire [1:0]                        slot_kind_i,
    input  wire                              slot_first_i,
    input  wire                              slot_last_i,
    input  wire                              slot_high_i,
    input  wire                              slot_signed_i,
    input  wire                              slot_zero_i,
    input  wire [3:0]                        slot_merge_i,
    input  wire [TagBits-1:0]                slot_tag_i,
    input  wire                              slot_operand_i,
    input  wire [31:0]                       slot_line_i,

    input  wire [Rows*Banks*8-1:0]           row_weight_i,
    input  wire [Rows*Banks*OffsetBits-1:0]  row_offset_i,

    output wire [1:0]                        operand_re_o,
    output wire [Rows*Banks*AddressBits-1:0] operand_line_o,
    input  wire [Rows*Banks*Tokens*8-1:0]    operand0_data_i,
    input  wire [Rows*Banks*Tokens*8-1:0]    operand1_data_i,

    input  wire [Banks*Tokens*8-1:0]         attention_operand_i,
    input  wire [Rows*Banks*8-1:0]           attention_weight_i,

    output wire                              coming_o,
    output wire [5:0]                        coming_group_o,
    output wire                              result_valid_o,
    output wire [1:0]                        result_kind_o,
    output wire [3:0]                        result_merge_o,
    output wire [TagBits-1:0]                result_tag_o,
    output wire [Heads*Rows*Tokens*AccBits-1:0] result_sum_o
);

    localparam TreeLevels = $clog2(Banks);
    localparam HeadLevels = $clog2(Heads);
    localparam MergeLevels = Heads > 1 ? HeadLevels : 1;
    // Cycle of the accumulator's input, counted from the slot.
    localparam SumCycle = 8 + TreeLevels;

    // Which slots are there: bit n is the one that entered n+1 cycles ago.
    reg [SumCycle:0] valid_q, last_q;

    always @(posedge clk_i) begin
        if (!rst_ni) valid_q <= {(SumCycle + 1){1'b0}};
        else valid_q <= {valid_q[SumCycle-1:0], slot_valid_i};
        last_q <= {last_q[SumCycle-1:0], slot_last_i};
    end

    // Addresses.
    // verilator lint_off UNUSEDSIGNAL
    // Lines are computed modulo 2^32, the memory has fewer.
    reg  [31:0] line_q;
    // verilator lint_on UNUSEDSIGNAL
    wire        is_linear = HasAttention == 0 || slot_kind_i == 2'd0;
    reg  [1:0]  pick_q [0:3];
    reg  [1:0]  re_q;
    reg  [Rows*Banks*AddressBits-1:0] address_q;

    // Offsets are narrower than lines in most engines, but need not be.
    localparam SpanBits = AddressBits > OffsetBits ? AddressBits : OffsetBits;

    assign operand_re_o = re_q;
    assign operand_line_o = address_q;

    always @(posedge clk_i) begin
        line_q <= slot_line_i;
        pick_q[0] <= !is_linear ? 2'd2 : {1'b0, slot_operand_i};
        pick_q[1] <= pick_q[0];
        pick_q[2] <= pick_q[1];
        pick_q[3] <= pick_q[2];
        re_q <= {valid_q[0] && pick_q[0] == 2'd1, valid_q[0] && pick_q[0] == 2'd0};
    end

    genvar lane;
    generate
        for (lane = 0; lane < Rows * Banks; lane = lane + 1) begin : address
            // verilator lint_off UNUSEDSIGNAL
            // The upper bits of an offset that is wider than the memory's addresses.
            wire [SpanBits-1:0] line = line_q[SpanBits-1:0]
                + {{(SpanBits - OffsetBits){1'b0}}, row_offset_i[lane*OffsetBits+:OffsetBits]};
            // verilator lint_on UNUSEDSIGNAL
            always @(posedge clk_i) address_q[lane*AddressBits+:AddressBits] <= line[AddressBits-1:0];
        end
    endgenerate

    // Weights and operands.
    wire [Rows*Banks*8-1:0] row_weight;
    wire                    zero;

    // Both are registered in array_row.
    wire attends = HasAttention != 0 && pick_q[3][1];
    wire [Rows*Banks*8-1:0] weight = attends ? attention_weight_i : row_weight;

    delay_line #(.Width(Rows * Banks * 8), .Length(WeightStages)) weights (
        .clk_i(clk_i), .value_i(row_weight_i), .value_o(row_weight)
    );
    delay_line #(.Width(1), .Length(4)) zeros (.clk_i(clk_i), .value_i(slot_zero_i), .value_o(zero));

    // What else a slot carries, at the cycles where it counts.
    wire       sign, first, high;
    wire [3:0] merge;

    delay_line #(.Width(1), .Length(4)) signs (.clk_i(clk_i), .value_i(slot_signed_i), .value_o(sign));
    delay_line #(.Width(2), .Length(SumCycle)) parts (
        .clk_i(clk_i), .value_i({slot_first_i, slot_high_i}), .value_o({first, high})
    );
    // Head h of the tree's top is added up with its neighbour in level n where fewer than Heads >> n are abreast.
    delay_line #(.Width(4), .Length(SumCycle - HeadLevels)) merges (
        .clk_i(clk_i), .value_i(slot_merge_i), .value_o(merge)
    );

    wire [MergeLevels-1:0] add;
    genvar level, row, head;
    generate
        if (HeadLevels == 0) begin : single
            assign add = 1'b0;
            delay_line #(.Width(4), .Length(1)) merge_last (
                .clk_i(clk_i), .value_i(merge), .value_o(result_merge_o)
            );
        end else begin : levels
            for (level = 0; level < HeadLevels; level = level + 1) begin : at
                wire [3:0] now;
                delay_line #(.Width(4), .Length(level)) later (.clk_i(clk_i), .value_i(merge), .value_o(now));
                assign add[level] = {28'd0, now} < HeadLevels - level;
            end
            delay_line #(.Width(4), .Length(HeadLevels + 1)) merge_last (
                .clk_i(clk_i), .value_i(merge), .value_o(result_merge_o)
            );
        end

        for (row = 0; row < Rows; row = row + 1) begin : rows
            wire [Heads*Tokens*AccBits-1:0] result;
            wire [Banks*Tokens*8-1:0] operand = attends ? attention_operand_i
                : pick_q[3][0] ? operand1_data_i[row*Banks*Tokens*8+:Banks*Tokens*8]
                : operand0_data_i[row*Banks*Tokens*8+:Banks*Tokens*8];
            array_row #(
                .Tokens(Tokens), .Banks(Banks), .Heads(Heads), .DspProducts(DspProducts), .DspSpacing(DspSpacing),
                .AccBits(AccBits)
            ) lanes (
                .clk_i(clk_i),
                .sign_i(sign),
                .zero_i(zero),
                .operand_i(operand),
                .weight_i(weight[row*Banks*8+:Banks*8]),
                .add_i(add),
                .valid_i(valid_q[SumCycle-1]),
                .first_i(first),
                .high_i(high),
                .result_o(result)
            );
            for (head = 0; head < Heads; head = head + 1) begin : totals
                assign result_sum_o[(head*Rows+row)*Tokens*AccBits+:Tokens*AccBits]
                    = result[head*Tokens*AccBits+:Tokens*AccBits];
            end
        end
    endgenerate

    assign result_valid_o = valid_q[SumCycle] && last_q[SumCycle];
    delay_line #(.Width(2), .Length(SumCycle + 1)) kinds (
        .clk_i(clk_i), .value_i(slot_kind_i), .value_o(result_kind_o)
    );
    wire [TagBits-1:0] coming_tag;
    delay_line #(.Width(TagBits), .Length(SumCycle)) tags (
        .clk_i(clk_i), .value_i(slot_tag_i), .value_o(coming_tag)
    );
    delay_line #(.Width(TagBits), .Length(1)) tag_last (
        .clk_i(clk_i), .value_i(coming_tag), .value_o(result_tag_o)
    );
    assign coming_o = valid_q[SumCycle-1] && last_q[SumCycle-1];
    assign coming_group_o = coming_tag[ExtraAt+:6];

endmodule
