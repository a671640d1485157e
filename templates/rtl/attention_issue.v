// Slots of attention for the array: which result is computed next, and where its operands and weights lie.
//
// Results of scores and of context alternate as they can: context as soon as a pair's numerators are there and its
// reciprocals will be in time (`context_ready_i`, a pulse for each pair), else scores if their buffer is free. No
// result interrupts another one, as the array has one set of accumulators. Slot outputs are registered (cycle t of
// the array's timing); the key's line is requested the cycle before, and without the grant there is no slot.
//
// Pairs have slots 0 and 1 in turn, of queries, numerators and reciprocals, and slots 0 to 3 of scores: with as many
// the scores run ahead far enough that the order of results never waits for softmax in the long run. `score_start_i`
// says that softmax has begun to read a score buffer: it reads a group a cycle, so scores issued from then on do not
// overtake it.
module attention_issue #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter LineBits = 8,
    parameter ValueBits = 8,
    parameter ChannelBits = 8,
    parameter HeadBits = 8,
    parameter CycleBits = 2,
    parameter LengthBits = 5,
    parameter ShiftBits = 3,
    parameter GroupBits = 5,
    parameter PartBits = 1,
    parameter RowBits = 4,
    parameter SweepBits = 1,
    parameter BankGroups = Banks / Rows
) (
    input  wire                   clk_i,
    input  wire                   rst_ni,
    // The step.
    input  wire                   ready_i,
    input  wire [LineBits-1:0]    key_base_i,
    input  wire [ValueBits-1:0]   value_base_i,
    input  wire [LineBits-1:0]    base_i,
    input  wire [LineBits-1:0]    depth_i,
    input  wire                   two_planes_i,
    input  wire [ShiftBits-1:0]   abreast_log2_i,
    input  wire [ShiftBits-1:0]   key_shift_i,
    input  wire [31:0]            key_row_i,
    input  wire [HeadBits-1:0]    chunks_i,
    input  wire [ShiftBits-1:0]   line_chunks_log2_i,
    input  wire [CycleBits-1:0]   head_lines_i,
    input  wire                   together_i,
    input  wire [ValueBits-1:0]   value_stride_i,
    // The next pair for scores, and the one for context.
    input  wire                   score_valid_i,
    output wire                   score_next_o,
    input  wire [ChannelBits-1:0] score_channel_i,
    input  wire [LengthBits-1:0]  score_keys_i,
    input  wire                   context_valid_i,
    output wire                   context_next_o,
    input  wire [LineBits-1:0]    context_tile_line_i,
    input  wire [ChannelBits-1:0] context_channel_i,
    input  wire [ValueBits-1:0]   context_chunk_i,
    input  wire [HeadBits-1:0]    context_heads_left_i,
    input  wire [LengthBits-1:0]  context_keys_i,
    input  wire                   context_last_round_i,
    input  wire                   context_last_i,
    // Buffers.
    input  wire [1:0]             query_full_i,
    output wire                   query_free_o,
    input  wire                   score_start_i,
    input  wire                   context_ready_i,
    input  wire                   clear_busy_i,
    // Slot of the scores that begin with score_next_o. Pulses beside the last slot's choice, a cycle before the slot:
    // of a pair's context, of a tile's and of the whole step's.
    output wire [1:0]             score_load_slot_o,
    output wire                   context_finish_o,
    output wire                   tile_finish_o,
    output wire                   finish_o,
    // Keys.
    output wire                   store_re_o,
    output wire [LineBits-1:0]    store_line_o,
    input  wire                   store_grant_i,
    // The slot.
    output reg                    slot_valid_o,
    output reg                    slot_context_o,
    output reg                    slot_first_o,
    output reg                    slot_last_o,
    output reg                    slot_high_o,
    output reg                    slot_pair_o,
    output reg  [1:0]             slot_score_o,
    // Scores: group of P keys, head slot of the first result lane, the last result of the pair, and where operands
    // and weights are: line of the head, part of the key tile, bank groups whose keys count.
    output reg  [GroupBits-1:0]   slot_key_group_o,
    output reg  [SweepBits-1:0]   slot_sweep_o,
    output reg                    slot_pair_last_o,
    output reg  [CycleBits-1:0]   slot_head_line_o,
    output reg  [PartBits-1:0]    slot_part_o,
    output reg  [BankGroups-1:0]  slot_key_banks_o,
    // Context: row of keys, values line, and where the result goes.
    output reg  [RowBits-1:0]     slot_row_o,
    output reg  [ValueBits-1:0]   slot_value_line_o,
    output reg  [LineBits-1:0]    slot_line_o,
    output reg  [BankGroups-1:0]  slot_groups_o
);

    localparam [31:0] Two = 2;
    localparam RowsLog2 = $clog2(Rows);
    localparam BanksLog2 = $clog2(Banks);
    localparam Parts = Tokens / Rows;
    localparam PositionBits = $clog2(BankGroups) + 1;
    localparam LineGroups = BankGroups - 1;
    localparam LastPart = Parts - 1;

    // What may start.
    reg [2:0] score_used_q;
    reg [1:0] context_pending_q;
    wire      score_load, context_load;

    // ---- scores of one pair
    reg                    s_active_q, s_middle_q;
    reg [1:0]              s_slot_q;
    reg [SweepBits-1:0]    s_sweep_q;
    reg [CycleBits-1:0]    s_cycle_q;
    reg [PartBits-1:0]     s_part_q;
    reg [GroupBits-1:0]    s_group_q, s_groups_q;
    reg [LineBits-1:0]     s_start_q, s_line_q, s_address_q;
    reg [PositionBits-1:0] s_position_q;

    // What ends with the slot at hand comes from registers, which are worked out for the next slot.
    reg s_result_last_q, s_sweep_end_q, s_sweep_last_q, s_one_group_q;
    // Of the step, a cycle late: nothing is issued that early.
    reg [31:0] abreast_q;
    reg one_line_q, one_sweep_q;
    always @(posedge clk_i) begin
        abreast_q <= 32'd1 << abreast_log2_i;
        one_line_q <= head_lines_i == {{(CycleBits-1){1'b0}}, 1'b1};
        one_sweep_q <= together_i || abreast_log2_i == {ShiftBits{1'b0}};
    end
    wire s_part_last = s_part_q == LastPart[PartBits-1:0];
    wire s_last = s_result_last_q && s_sweep_end_q && s_sweep_last_q;

    // ---- context of one pair
    reg                    c_active_q, c_slot_q, c_plane_q;
    reg                    c_last_round_q, c_last_q;
    reg [RowBits-1:0]      c_row_q, c_rows_q;
    reg [PositionBits-1:0] c_chunk_q, c_position_q, c_heads_q;
    reg [ValueBits-1:0]    c_start_q, c_values_q;
    reg [LineBits-1:0]     c_line_q;

    wire c_plane_end = c_row_q + {{(RowBits-1){1'b0}}, 1'b1} == c_rows_q;
    wire c_result_last = c_plane_end && (c_plane_q || !two_planes_i);
    wire c_left_one;
    wire c_last = c_result_last && c_left_one;
    wire [PositionBits-1:0] c_chunk_next = c_chunk_q + {{(PositionBits-1){1'b0}}, 1'b1};
    wire c_line_end = c_chunk_next == BankGroups[PositionBits-1:0];

    // ---- the choice
    wire c_take = c_active_q && !s_middle_q;
    wire s_choose = s_active_q && !c_take;
    wire s_take = s_choose && store_grant_i;
    wire s_finish = s_take && s_last;
    wire c_finish = c_take && c_last;
    // Results of the pair.
    countdown #(.Bits(HeadBits)) c_left (
        .clk_i(clk_i), .start_i(context_load), .count_i(chunks_i), .step_i(c_take && c_result_last), .last_o(c_left_one)
    );

    wire [1:0] s_next = s_slot_q + 2'd1;
    assign score_load = score_valid_i && query_full_i[s_next[0]] && !score_used_q[2]
        && (!s_active_q || s_finish);
    assign context_load = ready_i && context_valid_i && context_pending_q != 2'd0
        && !(context_last_round_i && clear_busy_i) && (!c_active_q || c_finish);

    assign store_re_o = s_choose;
    assign store_line_o = s_address_q;
    assign score_next_o = score_load;
    assign score_load_slot_o = s_next;
    assign context_next_o = context_load;
    assign query_free_o = s_finish;
    assign context_finish_o = c_finish;
    assign tile_finish_o = c_finish && c_last_round_q;
    assign finish_o = c_finish && c_last_q;

    // Lengths and channels to what is counted.
    // Counts are cut to what the engine holds.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] score_groups = ({{(32-LengthBits){1'b0}}, score_keys_i} + (Rows - 1)) >> RowsLog2;
    // verilator lint_on UNUSEDSIGNAL
    wire one_group = score_groups[GroupBits-1:0] == {{(GroupBits-1){1'b0}}, 1'b1};
    wire [31:0] context_keys_up = {{(32-LengthBits){1'b0}}, context_keys_i} + key_row_i;
    // Counts are cut to what the engine holds.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] context_rows = context_keys_up >> key_shift_i;
    // verilator lint_on UNUSEDSIGNAL

    function [PositionBits-1:0] position_of;
        input [ChannelBits-1:0] channel;
        input [ShiftBits-1:0] line_chunks_log2;
        reg [ChannelBits-1:0] group;
        begin
            group = (channel >> RowsLog2) & LineGroups[ChannelBits-1:0];
            group = group >> line_chunks_log2;
            position_of = group[PositionBits-1:0];
        end
    endfunction

    function [LineBits-1:0] line_of;
        input [ChannelBits-1:0] channel;
        // Lines are counted modulo the memory.
        // verilator lint_off UNUSEDSIGNAL
        reg [ChannelBits+LineBits-1:0] line;
        // verilator lint_on UNUSEDSIGNAL
        begin
            line = {{LineBits{1'b0}}, channel >> BanksLog2};
            line_of = line[LineBits-1:0];
        end
    endfunction

    wire [LineBits-1:0] score_start = key_base_i + line_of(score_channel_i);
    wire few = {{(32-HeadBits){1'b0}}, context_heads_left_i} < abreast_q;
    // No more than the bank groups.
    // verilator lint_off UNUSEDSIGNAL
    wire [31:0] context_heads = few ? {{(32-HeadBits){1'b0}}, context_heads_left_i} : abreast_q;
    // verilator lint_on UNUSEDSIGNAL

    always @(posedge clk_i) begin
        if (score_load) begin
            s_cycle_q <= {CycleBits{1'b0}};
            s_sweep_q <= {SweepBits{1'b0}};
            s_part_q <= {PartBits{1'b0}};
            s_group_q <= {GroupBits{1'b0}};
            s_groups_q <= score_groups[GroupBits-1:0];
            s_result_last_q <= one_line_q;
            s_one_group_q <= one_group;
            s_sweep_end_q <= one_group;
            s_sweep_last_q <= one_sweep_q;
            s_start_q <= score_start;
            s_line_q <= score_start;
            s_address_q <= score_start;
            s_position_q <= position_of(score_channel_i, line_chunks_log2_i);
        end else if (s_take && !s_result_last_q) begin
            s_cycle_q <= s_cycle_q + {{(CycleBits-1){1'b0}}, 1'b1};
            s_result_last_q <= s_cycle_q + Two[CycleBits-1:0] == head_lines_i;
            s_address_q <= s_address_q + {{(LineBits-1){1'b0}}, 1'b1};
        end else if (s_take) begin
            s_cycle_q <= {CycleBits{1'b0}};
            s_result_last_q <= one_line_q;
            s_sweep_end_q <= s_sweep_end_q ? s_one_group_q
                : s_group_q + Two[GroupBits-1:0] == s_groups_q;
            s_part_q <= s_part_last || s_sweep_end_q ? {PartBits{1'b0}} : s_part_q + {{(PartBits-1){1'b0}}, 1'b1};
            s_group_q <= s_sweep_end_q ? {GroupBits{1'b0}} : s_group_q + {{(GroupBits-1){1'b0}}, 1'b1};
            if (s_sweep_end_q) begin
                s_sweep_q <= s_sweep_q + {{(SweepBits-1){1'b0}}, 1'b1};
                s_sweep_last_q <= {{(32-SweepBits){1'b0}}, s_sweep_q} + 32'd2 == abreast_q;
                s_position_q <= s_position_q + {{(PositionBits-1){1'b0}}, 1'b1};
                s_line_q <= s_start_q;
                s_address_q <= s_start_q;
            end else if (s_part_last) begin
                s_line_q <= s_line_q + depth_i;
                s_address_q <= s_line_q + depth_i;
            end else begin
                s_address_q <= s_line_q;
            end
        end

        if (context_load) begin
            c_row_q <= {RowBits{1'b0}};
            c_rows_q <= context_rows[RowBits-1:0];
            c_plane_q <= 1'b0;
            c_chunk_q <= {PositionBits{1'b0}};
            c_position_q <= position_of(context_channel_i, line_chunks_log2_i);
            c_heads_q <= context_heads[PositionBits-1:0];
            c_start_q <= value_base_i + context_chunk_i;
            c_values_q <= value_base_i + context_chunk_i;
            c_line_q <= base_i + context_tile_line_i + line_of(context_channel_i);
            c_last_round_q <= context_last_round_i;
            c_last_q <= context_last_i;
        end else if (c_take) begin
            if (!c_plane_end) begin
                c_row_q <= c_row_q + {{(RowBits-1){1'b0}}, 1'b1};
                c_values_q <= c_values_q + value_stride_i;
            end else begin
                c_row_q <= {RowBits{1'b0}};
                c_plane_q <= !c_result_last;
                c_values_q <= c_result_last ? c_start_q + {{(ValueBits-1){1'b0}}, 1'b1} : c_start_q;
            end
            if (c_result_last) begin
                c_start_q <= c_start_q + {{(ValueBits-1){1'b0}}, 1'b1};
                c_chunk_q <= c_line_end ? {PositionBits{1'b0}} : c_chunk_next;
                if (c_line_end) c_line_q <= c_line_q + {{(LineBits-1){1'b0}}, 1'b1};
            end
        end

        if (!rst_ni) begin
            s_active_q <= 1'b0;
            s_middle_q <= 1'b0;
            s_slot_q <= 2'd3;
            c_active_q <= 1'b0;
            c_slot_q <= 1'b1;
            score_used_q <= 3'd0;
            context_pending_q <= 2'd0;
        end else begin
            if (score_load) begin
                s_active_q <= 1'b1;
                s_slot_q <= s_next;
            end else if (s_finish) begin
                s_active_q <= 1'b0;
            end
            if (s_take) s_middle_q <= !s_result_last_q;
            if (context_load) begin
                c_active_q <= 1'b1;
                c_slot_q <= ~c_slot_q;
            end else if (c_finish) begin
                c_active_q <= 1'b0;
            end
            score_used_q <= score_used_q + {2'b00, score_load} - {2'b00, score_start_i};
            context_pending_q <= context_pending_q + {1'b0, context_ready_i} - {1'b0, context_load};
        end
    end

    // ---- the slot
    wire [BankGroups-1:0] key_banks, groups;
    genvar g;
    generate
        for (g = 0; g < BankGroups; g = g + 1) begin : bank_group
            localparam [PositionBits-1:0] Index = g;
            wire [PositionBits-1:0] head = Index >> line_chunks_log2_i;
            wire [PositionBits-1:0] side = head - c_position_q;
            assign key_banks[g] = together_i || head == s_position_q;
            assign groups[g] = Index - (head << line_chunks_log2_i) == c_chunk_q && head >= c_position_q
                && side < c_heads_q;
        end
    endgenerate

    always @(posedge clk_i) begin
        slot_context_o <= c_take;
        slot_first_o <= c_take ? c_row_q == {RowBits{1'b0}} && !c_plane_q : !s_middle_q;
        slot_last_o <= c_take ? c_result_last : s_result_last_q;
        slot_high_o <= c_take && c_plane_q;
        slot_pair_o <= c_take ? c_slot_q : s_slot_q[0];
        slot_score_o <= s_slot_q;
        slot_key_group_o <= s_group_q;
        slot_sweep_o <= s_sweep_q;
        slot_pair_last_o <= s_last;
        slot_head_line_o <= s_cycle_q;
        slot_part_o <= s_part_q;
        slot_key_banks_o <= key_banks;
        slot_row_o <= c_row_q;
        slot_value_line_o <= c_values_q;
        slot_line_o <= c_line_q;
        slot_groups_o <= groups;
        if (!rst_ni) slot_valid_o <= 1'b0;
        else slot_valid_o <= c_take || s_take;
    end

endmodule
