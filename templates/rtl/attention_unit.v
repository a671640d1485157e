// Attention: softmax(Q K^T) V on the multiplier array, for pairs of a query tile and a round of heads side by side.
//
//     attention_setup      layout of the heads            score_memory        int16 scores of four pairs
//     attention_pairs      which pair comes next (4x)     softmax_pass        control of the exponential pass
//     attention_queries    query buffer, two pairs        softmax_exponent    look-ups, P*T*A a cycle
//     attention_issue      slots for the array            numerator_memory    numerators of two pairs
//     attention_feed       operands and weights           softmax_sum         sums and reciprocals
//     softmax_maximum      maximum of each query          attention_clear     zeros beyond the last head
//
// A pair goes through queries, scores, exponential pass and context; while one is in softmax, the array works on the
// scores of the next ones and on the context of those before, result by result (attention_issue). With G groups of P
// keys (whole rows of keys), A heads abreast and both latencies as in multiplier_array.v and post_pipeline.v, there are
//
//     ArrayLatency + ScoreLatency + 2*log2(P) + G + A*T + max(16 - ArrayLatency, 1 - A*T) + 9
//
// cycles from the last slot of a pair's scores to the first of its context (63 for T=8, B=64, P=8 and 128 keys), and
// from one pair to the next but one the slots of a context and, from the beginning of its exponential pass on,
//
//     log2(P) + G + A*T + max(16 - ArrayLatency, 1 - A*T) + 8
//
// at least: where two pairs have fewer slots than that, the array waits. Exponential passes take max(G, A*T) cycles.
//
// Timing of the slot in cycle t: multiplier_array.v and post_pipeline.v. The store line of keys is requested in t-1;
// where it is not granted, the slot waits. attention_operand_o and attention_weight_o are there in t + 4, scale_r_o and
// scale_n_o of the slot's pair (of both: (pair*Heads + head)*Tokens + token) in t + ArrayLatency + 1. A context
// result is written in t + ArrayLatency + WriteLatency.
//
// Tags: of context as in post_pipeline.v; of scores from bit 1 on the slot, the group of P keys, the head of lane 0
// where heads follow one another, and whether the pair's scores are complete.
//
// `load_start_i` takes the exponential table, which waits until the step before has finished with its own. `start_i`
// starts a step once source_tiles_i is 0xFFFF; the record's words are kept, parity_i too. It is to come only when
// done_o is high; the table may come before or after.
module attention_unit #(
    parameter Tokens = 2,
    parameter Banks = 4,
    parameter Rows = 1,
    parameter Heads = 2,
    parameter BeatBytes = 8,
    parameter Sequence = 16,
    // Of a line in the tag.
    parameter TagLineBits = 6,
    parameter ValuesDepth = 64,
    parameter Depth = 4,
    parameter ArrayLatency = 9 + $clog2(Banks),
    // From the array's result to the end of the cycle in which it is written.
    parameter WriteLatency = 15,
    parameter TagBits = 40
) (
    input  wire                          clk_i,
    input  wire                          rst_ni,

    input  wire                          load_start_i,
    output wire                          load_done_o,
    input  wire                          data_valid_i,
    output wire                          data_ready_o,
    input  wire [8*BeatBytes-1:0]        data_i,

    input  wire                          start_i,
    input  wire                          parity_i,
    input  wire [31:0]                   length_i,
    input  wire [31:0]                   query_base_i,
    input  wire [31:0]                   key_base_i,
    input  wire [31:0]                   value_base_i,
    input  wire [31:0]                   depth_i,
    input  wire [31:0]                   heads_i,
    input  wire [31:0]                   pitch_i,
    input  wire [31:0]                   exp_bits_i,
    input  wire [31:0]                   causal_i,
    input  wire [31:0]                   space_i,
    input  wire [31:0]                   base_i,
    input  wire [15:0]                   source_tiles_i,
    output wire                          issued_o,
    output wire [15:0]                   ready_tiles_o,
    output wire                          done_o,

    output wire                          store_re_o,
    output wire [31:0]                   store_line_o,
    input  wire                          store_grant_i,
    input  wire [Banks*Tokens*8-1:0]     store_data_i,
    output wire                          values_re_o,
    output wire [31:0]                   values_line_o,
    input  wire [Banks*Rows*8-1:0]       values_data_i,

    output wire                          slot_valid_o,
    output wire [1:0]                    slot_kind_o,
    output wire                          slot_first_o,
    output wire                          slot_last_o,
    output wire                          slot_high_o,
    output wire                          slot_signed_o,
    output wire                          slot_zero_o,
    output wire [3:0]                    slot_merge_o,
    output wire [TagBits-1:0]            slot_tag_o,
    output wire [Banks*Tokens*8-1:0]     attention_operand_o,
    output wire [Rows*Banks*8-1:0]       attention_weight_o,

    input  wire                          score_valid_i,
    input  wire [TagBits-1:0]            score_tag_i,
    // Heads that never lie side by side have no scores.
    // verilator lint_off UNUSEDSIGNAL
    input  wire [Heads*Rows*Tokens*16-1:0] score_value_i,
    // verilator lint_on UNUSEDSIGNAL
    output wire [2*Heads*Tokens*17-1:0]  scale_r_o,
    output wire [2*Heads*Tokens*6-1:0]   scale_n_o,

    output wire                          write_valid_o,
    input  wire                          write_ready_i,
    output wire [1:0]                    write_space_o,
    output wire [31:0]                   write_line_o,
    output wire [Banks-1:0]              write_mask_o,
    output wire [Banks*Tokens*8-1:0]     write_data_o
);

    // Heads that can lie side by side: each has P banks at least.
    localparam BankGroups = Banks / Rows;
    localparam Abreast = Heads < BankGroups ? Heads : BankGroups;
    localparam Lanes = Rows * Tokens;

    // A count of lines, of which the lowest bits are an address.
    localparam LineBits = TagLineBits + 1;
    localparam ValueBits = ValuesDepth > 1 ? $clog2(ValuesDepth) : 1;
    localparam CycleBits = $clog2(Depth + 1);
    localparam ChannelBits = $clog2(Depth * Banks + 1);
    localparam HeadBits = $clog2(Depth * BankGroups + 1);
    localparam MostTokens = Sequence > Tokens ? Sequence : Tokens;
    localparam LengthBits = $clog2(MostTokens + 1);
    localparam TileBits = $clog2((Sequence + Tokens - 1) / Tokens + 1);
    localparam GroupBits = $clog2((Sequence + Banks) / Rows + 1) + 1;
    localparam ScoreBits = $clog2((Sequence + Rows - 1) / Rows) > 0 ? $clog2((Sequence + Rows - 1) / Rows) : 1;
    localparam SegmentBanks = Banks / Abreast;
    localparam Lines = (Sequence + SegmentBanks - 1) / SegmentBanks;
    localparam RowBits = $clog2(Lines + 1);
    localparam LineIndexBits = Lines > 1 ? $clog2(Lines) : 1;
    localparam PartBits = Tokens > Rows ? $clog2(Tokens / Rows) : 1;
    localparam SweepBits = Abreast > 1 ? $clog2(Abreast) : 1;
    localparam ShiftBits = $clog2($clog2(Banks) + 1) + 1;
    localparam KeyBits = $clog2(Tokens) + 1;
    localparam BanksLog2 = $clog2(Banks);

    // ---- the step
    // The layout stands, a cycle behind the start.
    reg                   started_q;
    reg                   parity_q, running_q, issuing_q;
    wire                  setup_ready, two_planes, causal, together;
    wire [1:0]            space;
    wire [LengthBits-1:0] length;
    wire [TileBits-1:0]   tiles;
    wire [LineBits-1:0]   query_base, key_base, base, depth;
    wire [ValueBits-1:0]  value_base, value_stride;
    wire [HeadBits-1:0]   heads, chunks;
    wire [ShiftBits-1:0]  abreast_log2, key_shift, line_chunks_log2, pitch_log2;
    wire [31:0]           key_row;
    wire [ChannelBits-1:0] channel_step, used;
    wire [CycleBits-1:0]  head_lines;

    attention_setup #(
        .Tokens(Tokens), .Banks(Banks), .Rows(Rows), .Heads(Abreast), .LineBits(LineBits), .ValueBits(ValueBits),
        .ChannelBits(ChannelBits), .HeadBits(HeadBits), .CycleBits(CycleBits), .LengthBits(LengthBits),
        .TileBits(TileBits), .ShiftBits(ShiftBits)
    ) setup (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(start_i), .length_i(length_i), .query_base_i(query_base_i),
        .key_base_i(key_base_i), .value_base_i(value_base_i), .depth_i(depth_i), .heads_i(heads_i), .pitch_i(pitch_i),
        .exp_bits_i(exp_bits_i), .causal_i(causal_i), .space_i(space_i), .base_i(base_i), .length_o(length),
        .tiles_o(tiles), .query_base_o(query_base), .key_base_o(key_base), .value_base_o(value_base), .depth_o(depth),
        .heads_o(heads), .base_o(base), .space_o(space), .two_planes_o(two_planes), .causal_o(causal),
        .abreast_log2_o(abreast_log2), .key_shift_o(key_shift), .key_row_o(key_row), .channel_step_o(channel_step),
        .chunks_o(chunks), .line_chunks_log2_o(line_chunks_log2), .pitch_log2_o(pitch_log2), .head_lines_o(head_lines),
        .together_o(together), .ready_o(setup_ready), .used_o(used), .value_stride_o(value_stride)
    );

    // ---- the next pair of queries (0), scores (1), exponential pass (2) and context (3)
    // Nobody asks for every field of every walk.
    // verilator lint_off UNUSEDSIGNAL
    wire [3:0]               pair_valid, pair_next, pair_last_round, pair_last;
    wire [4*TileBits-1:0]    pair_tile;
    wire [4*LineBits-1:0]    pair_tile_line;
    wire [4*ChannelBits-1:0] pair_channel;
    wire [4*ValueBits-1:0]   pair_chunk;
    wire [4*HeadBits-1:0]    pair_heads_left;
    wire [4*LengthBits-1:0]  pair_keys;
    // verilator lint_on UNUSEDSIGNAL
    genvar i;
    generate
        for (i = 0; i < 4; i = i + 1) begin : walk
            attention_pairs #(
                .Tokens(Tokens), .LineBits(LineBits), .ValueBits(ValueBits), .ChannelBits(ChannelBits),
                .HeadBits(HeadBits), .LengthBits(LengthBits), .TileBits(TileBits), .ShiftBits(ShiftBits)
            ) pairs (
                .clk_i(clk_i), .rst_ni(rst_ni), .start_i(started_q), .next_i(pair_next[i]), .length_i(length),
                .tiles_i(tiles), .causal_i(causal), .depth_i(depth), .heads_i(heads), .abreast_log2_i(abreast_log2),
                .channel_step_i(channel_step), .chunks_i(chunks), .valid_o(pair_valid[i]),
                .tile_o(pair_tile[i*TileBits +: TileBits]), .tile_line_o(pair_tile_line[i*LineBits +: LineBits]),
                .channel_o(pair_channel[i*ChannelBits +: ChannelBits]), .chunk_o(pair_chunk[i*ValueBits +: ValueBits]),
                .heads_left_o(pair_heads_left[i*HeadBits +: HeadBits]),
                .keys_o(pair_keys[i*LengthBits +: LengthBits]), .last_round_o(pair_last_round[i]),
                .last_o(pair_last[i])
            );
        end
    endgenerate

    // ---- queries
    wire                      issue_re, query_want, query_free, query_re, query_pair;
    wire [1:0]                query_full;
    wire [LineBits-1:0]       issue_line, query_store_line;
    wire [CycleBits-1:0]      query_line;
    wire [Banks*Tokens*8-1:0] query_data;
    wire [ChannelBits-1:0]    query_lines = pair_channel[0 +: ChannelBits] >> BanksLog2;
    // Lines are counted modulo the memory.
    // verilator lint_off UNUSEDSIGNAL
    wire [ChannelBits+LineBits-1:0] query_head_line = {{LineBits{1'b0}}, query_lines};
    // verilator lint_on UNUSEDSIGNAL
    wire                      score_start, context_finish;
    wire [1:0]                score_load_slot;
    wire                      source_ready = source_tiles_i == 16'hFFFF;

    attention_queries #(
        .Tokens(Tokens), .Banks(Banks), .Lines(Depth), .CycleBits(CycleBits), .LineBits(LineBits)
    ) queries (
        .clk_i(clk_i), .rst_ni(rst_ni), .pair_valid_i(pair_valid[0] && source_ready), .pair_next_o(pair_next[0]),
        .pair_line_i(query_base + pair_tile_line[0 +: LineBits] + query_head_line[LineBits-1:0]),
        .lines_i(head_lines), .store_re_o(query_want), .store_line_o(query_store_line),
        .store_grant_i(store_grant_i && !issue_re), .store_data_i(store_data_i), .full_o(query_full),
        .free_i(query_free), .free_slot_i(~score_load_slot[0]), .re_i(query_re), .slot_i(query_pair),
        .cycle_i(query_line), .data_o(query_data)
    );

    // Keys first: queries are fetched while context is computed.
    // Its lowest bits are the address.
    // verilator lint_off UNUSEDSIGNAL
    wire [LineBits-1:0] store_line = issue_re ? issue_line : query_store_line;
    // verilator lint_on UNUSEDSIGNAL
    assign store_re_o = issue_re || query_want;
    assign store_line_o = {{(32-TagLineBits){1'b0}}, store_line[TagLineBits-1:0]};

    // ---- slots
    wire                  context_ready, clear_busy, tile_finish, finish;
    wire                  slot_context, slot_pair, slot_pair_last, slot_high;
    wire [1:0]            slot_score;
    wire [GroupBits-1:0]  slot_key_group;
    wire [SweepBits-1:0]  slot_sweep;
    wire [CycleBits-1:0]  slot_head_line;
    wire [PartBits-1:0]   slot_part;
    wire [BankGroups-1:0] slot_key_banks, slot_groups;
    wire [RowBits-1:0]    slot_row;
    wire [ValueBits-1:0]  slot_value_line;
    // Its lowest bits are the address.
    // verilator lint_off UNUSEDSIGNAL
    wire [LineBits-1:0]   slot_line;
    // verilator lint_on UNUSEDSIGNAL

    attention_issue #(
        .Tokens(Tokens), .Banks(Banks), .Rows(Rows), .LineBits(LineBits), .ValueBits(ValueBits),
        .ChannelBits(ChannelBits), .HeadBits(HeadBits), .CycleBits(CycleBits), .LengthBits(LengthBits),
        .ShiftBits(ShiftBits), .GroupBits(GroupBits), .PartBits(PartBits), .RowBits(RowBits), .SweepBits(SweepBits)
    ) issue (
        .clk_i(clk_i), .rst_ni(rst_ni), .ready_i(setup_ready), .key_base_i(key_base), .value_base_i(value_base),
        .base_i(base), .depth_i(depth), .two_planes_i(two_planes), .abreast_log2_i(abreast_log2),
        .key_shift_i(key_shift), .key_row_i(key_row), .chunks_i(chunks), .line_chunks_log2_i(line_chunks_log2),
        .head_lines_i(head_lines), .together_i(together), .value_stride_i(value_stride),
        .score_valid_i(pair_valid[1]), .score_next_o(pair_next[1]),
        .score_channel_i(pair_channel[ChannelBits +: ChannelBits]),
        .score_keys_i(pair_keys[LengthBits +: LengthBits]),
        .context_valid_i(pair_valid[3]), .context_next_o(pair_next[3]),
        .context_tile_line_i(pair_tile_line[3*LineBits +: LineBits]),
        .context_channel_i(pair_channel[3*ChannelBits +: ChannelBits]),
        .context_chunk_i(pair_chunk[3*ValueBits +: ValueBits]),
        .context_heads_left_i(pair_heads_left[3*HeadBits +: HeadBits]),
        .context_keys_i(pair_keys[3*LengthBits +: LengthBits]),
        .context_last_round_i(pair_last_round[3]), .context_last_i(pair_last[3]),
        .query_full_i(query_full), .query_free_o(query_free), .score_start_i(score_start),
        .context_ready_i(context_ready), .clear_busy_i(clear_busy), .score_load_slot_o(score_load_slot),
        .context_finish_o(context_finish), .tile_finish_o(tile_finish), .finish_o(finish),
        .store_re_o(issue_re), .store_line_o(issue_line), .store_grant_i(store_grant_i),
        .slot_valid_o(slot_valid_o), .slot_context_o(slot_context), .slot_first_o(slot_first_o),
        .slot_last_o(slot_last_o), .slot_high_o(slot_high), .slot_pair_o(slot_pair),
        .slot_score_o(slot_score), .slot_key_group_o(slot_key_group), .slot_sweep_o(slot_sweep),
        .slot_pair_last_o(slot_pair_last),
        .slot_head_line_o(slot_head_line), .slot_part_o(slot_part), .slot_key_banks_o(slot_key_banks),
        .slot_row_o(slot_row), .slot_value_line_o(slot_value_line), .slot_line_o(slot_line),
        .slot_groups_o(slot_groups)
    );

    localparam ContextTagBits = 4 + TagLineBits + BankGroups + 6 + KeyBits + 1;
    localparam ScoreTagBits = 3 + GroupBits + SweepBits + 1;
    // `final`: the last result of a tile; the issue registers it beside the slot.
    reg slot_final_q;
    wire [5:0] extra = {{(6-ShiftBits){1'b0}}, pitch_log2};
    wire [ContextTagBits-1:0] context_tag = {slot_final_q, {KeyBits{1'b0}}, extra, slot_groups,
        slot_line[TagLineBits-1:0], space, slot_pair, parity_q};
    wire [ScoreTagBits-1:0] score_tag = {slot_pair_last, slot_sweep, slot_key_group, slot_score, parity_q};
    // Zeros beyond the tag.
    // verilator lint_off UNUSEDSIGNAL
    wire [TagBits+ContextTagBits-1:0] context_tag_wide = {{TagBits{1'b0}}, context_tag};
    wire [TagBits+ScoreTagBits-1:0] score_tag_wide = {{TagBits{1'b0}}, score_tag};
    // verilator lint_on UNUSEDSIGNAL

    assign slot_kind_o = slot_context ? 2'd2 : 2'd1;
    assign slot_high_o = slot_high;
    assign slot_signed_o = !slot_context;
    assign slot_zero_o = 1'b0;
    // One after the other, heads have all banks to themselves: the others' keys count 0.
    assign slot_merge_o = slot_context || together ? {{(4-ShiftBits){1'b0}}, abreast_log2} : 4'd0;
    assign slot_tag_o = slot_context ? context_tag_wide[TagBits-1:0] : score_tag_wide[TagBits-1:0];

    // ---- operands and weights
    wire                      numerator_re, numerator_pair;
    // Its lowest bits are the address.
    // verilator lint_off UNUSEDSIGNAL
    wire [RowBits-1:0]        numerator_row;
    // verilator lint_on UNUSEDSIGNAL
    wire [Banks*Tokens*8-1:0] line_low, line_high;
    wire [ValueBits-1:0]      values_line;
    assign values_line_o = {{(32-ValueBits){1'b0}}, values_line};

    attention_feed #(
        .Tokens(Tokens), .Banks(Banks), .Rows(Rows), .CycleBits(CycleBits), .PartBits(PartBits), .RowBits(RowBits),
        .ValueBits(ValueBits)
    ) feed (
        .clk_i(clk_i), .rst_ni(rst_ni), .slot_valid_i(slot_valid_o), .slot_context_i(slot_context),
        .slot_high_i(slot_high), .slot_pair_i(slot_pair), .slot_head_line_i(slot_head_line), .slot_part_i(slot_part),
        .slot_key_banks_i(slot_key_banks), .slot_row_i(slot_row), .slot_value_line_i(slot_value_line),
        .store_data_i(store_data_i), .values_re_o(values_re_o), .values_line_o(values_line),
        .values_data_i(values_data_i), .query_re_o(query_re), .query_pair_o(query_pair), .query_line_o(query_line),
        .query_data_i(query_data), .numerator_re_o(numerator_re), .numerator_pair_o(numerator_pair),
        .numerator_row_o(numerator_row), .numerator_low_i(line_low), .numerator_high_i(line_high),
        .operand_o(attention_operand_o), .weight_o(attention_weight_o)
    );

    // ---- scores
    wire [1:0]           score_slot = score_tag_i[2:1];
    wire [GroupBits-1:0] score_group = score_tag_i[3 +: GroupBits];
    wire [SweepBits-1:0] score_sweep = score_tag_i[3 + GroupBits +: SweepBits];
    wire                 score_last = score_tag_i[3 + GroupBits + SweepBits];
    wire                 complete;
    wire [Lanes-1:0]     score_seen;
    wire [4*Abreast*Tokens*16-1:0] maximum;
    // Tiles of the pairs in the score buffers.
    // A memory, not a slice of a vector: Yosys spends an ECP5 multiplier on the slice's place.
    reg [TileBits-1:0]   score_tile_q [0:3];

    key_mask #(
        .Tokens(Tokens), .Rows(Rows), .LengthBits(LengthBits), .TileBits(TileBits), .GroupBits(GroupBits)
    ) score_mask (
        .length_i(length), .causal_i(causal), .tile_i(score_tile_q[score_slot]),
        .group_i(score_group), .seen_o(score_seen)
    );

    softmax_maximum #(.Tokens(Tokens), .Rows(Rows), .Heads(Abreast), .SweepBits(SweepBits)) maxima (
        .clk_i(clk_i), .rst_ni(rst_ni), .valid_i(score_valid_i), .score_i(score_value_i[0 +: Abreast*Lanes*16]),
        .seen_i(score_seen), .together_i(together), .sweep_i(score_sweep), .first_i(score_group == {GroupBits{1'b0}}),
        .last_i(score_last), .slot_i(score_slot), .complete_o(complete), .maximum_o(maximum)
    );

    // ---- the exponential pass, e0
    wire                  table_valid, table_release, table_we;
    wire [7:0]            table_address;
    wire [15:0]           table_data;
    wire                  pass_valid, pass_first, pass_last;
    wire [1:0]            pass_slot;
    wire [TileBits-1:0]   pass_tile;
    wire [GroupBits-1:0]  pass_group;
    wire [Lanes-1:0]      pass_seen;

    exp_loader #(.BeatBytes(BeatBytes)) loader (
        .clk_i(clk_i), .rst_ni(rst_ni), .load_start_i(load_start_i), .load_done_o(load_done_o),
        .data_valid_i(data_valid_i), .data_ready_o(data_ready_o), .data_i(data_i), .release_i(table_release),
        .valid_o(table_valid), .we_o(table_we), .address_o(table_address), .data_o(table_data)
    );

    softmax_pass #(
        .Tokens(Tokens), .Rows(Rows), .Heads(Abreast), .LengthBits(LengthBits), .TileBits(TileBits),
        .GroupBits(GroupBits), .ShiftBits(ShiftBits)
    ) exponential_pass (
        .clk_i(clk_i), .rst_ni(rst_ni), .abreast_log2_i(abreast_log2), .key_row_i(key_row),
        .pair_valid_i(pair_valid[2]), .pair_next_o(pair_next[2]), .pair_tile_i(pair_tile[2*TileBits +: TileBits]),
        .pair_keys_i(pair_keys[2*LengthBits +: LengthBits]), .pair_last_i(pair_last[2]), .complete_i(complete),
        .context_finish_i(context_finish), .table_valid_i(table_valid), .table_release_o(table_release),
        .start_o(score_start), .valid_o(pass_valid), .first_o(pass_first), .last_o(pass_last), .slot_o(pass_slot),
        .tile_o(pass_tile), .group_o(pass_group)
    );

    key_mask #(
        .Tokens(Tokens), .Rows(Rows), .LengthBits(LengthBits), .TileBits(TileBits), .GroupBits(GroupBits)
    ) pass_mask (
        .length_i(length), .causal_i(causal), .tile_i(pass_tile), .group_i(pass_group), .seen_o(pass_seen)
    );

    // ---- e2: scores, maximum and mask; to e5 what numerators and sums want
    localparam PassBits = GroupBits + 3;
    reg  [Abreast*Tokens*16-1:0] maximum_q;
    reg  [Lanes-1:0]             seen1_q, seen2_q;
    reg  [1:0]                   slot1_q;
    reg                          valid1_q, valid2_q, valid3_q, valid4_q, valid5_q, first1_q;
    reg  [PassBits-1:0]          pass1_q, pass2_q, pass3_q, pass4_q, pass5_q;
    wire [Abreast*Lanes*16-1:0]  score;
    wire [Abreast*Lanes*8-1:0]   numerator_low, numerator_high;
    wire                         write_first, write_last, write_pair;
    wire [GroupBits-1:0]         write_group;
    assign {write_first, write_last, write_pair, write_group} = pass5_q;

    score_memory #(
        .Tokens(Tokens), .Rows(Rows), .Heads(Abreast), .AddressBits(ScoreBits + 2), .SweepBits(SweepBits)
    ) scores (
        .clk_i(clk_i), .we_i(score_valid_i), .waddr_i({score_slot, score_group[ScoreBits-1:0]}),
        .together_i(together), .sweep_i(score_sweep), .wdata_i(score_value_i[0 +: Abreast*Lanes*16]),
        .re_i(pass_valid), .raddr_i({pass_slot, pass_group[ScoreBits-1:0]}), .rdata_o(score)
    );

    softmax_exponent #(.Tokens(Tokens), .Rows(Rows), .Heads(Abreast)) exponent (
        .clk_i(clk_i), .table_we_i(table_we), .table_address_i(table_address), .table_data_i(table_data),
        .valid2_i(valid2_q), .valid3_i(valid3_q), .valid4_i(valid4_q), .score_i(score), .maximum_i(maximum_q),
        .seen_i(seen2_q), .low_o(numerator_low), .high_o(numerator_high)
    );

    numerator_memory #(
        .Tokens(Tokens), .Banks(Banks), .Rows(Rows), .Heads(Abreast), .RowBits(LineIndexBits), .GroupBits(GroupBits),
        .ShiftBits(ShiftBits)
    ) numerators (
        .clk_i(clk_i), .abreast_log2_i(abreast_log2), .we_i(valid5_q), .write_pair_i(write_pair),
        .group_i(write_group), .numerator_low_i(numerator_low), .numerator_high_i(numerator_high),
        .re_i(numerator_re), .read_pair_i(numerator_pair), .row_i(numerator_row[LineIndexBits-1:0]),
        .low_o(line_low), .high_o(line_high)
    );

    wire [2*Abreast*Tokens*17-1:0] scale_r;
    wire [2*Abreast*Tokens*6-1:0]  scale_n;
    softmax_sum #(
        .Tokens(Tokens), .Rows(Rows), .Heads(Abreast), .Sequence(Sequence), .ArrayLatency(ArrayLatency),
        .ShiftBits(ShiftBits)
    ) sums (
        .clk_i(clk_i), .rst_ni(rst_ni), .abreast_log2_i(abreast_log2), .valid_i(valid5_q), .first_i(write_first),
        .last_i(write_last), .low_i(numerator_low), .high_i(numerator_high), .ready_o(context_ready),
        .scale_r_o(scale_r), .scale_n_o(scale_n)
    );

    genvar s, h;
    generate
        for (s = 0; s < 2; s = s + 1) begin : slot
            for (h = 0; h < Heads; h = h + 1) begin : head
                if (h < Abreast) begin : divided
                    assign scale_r_o[(s*Heads + h)*Tokens*17 +: Tokens*17] =
                        scale_r[(s*Abreast + h)*Tokens*17 +: Tokens*17];
                    assign scale_n_o[(s*Heads + h)*Tokens*6 +: Tokens*6] =
                        scale_n[(s*Abreast + h)*Tokens*6 +: Tokens*6];
                end else begin : never
                    assign scale_r_o[(s*Heads + h)*Tokens*17 +: Tokens*17] = {(Tokens*17){1'b0}};
                    assign scale_n_o[(s*Heads + h)*Tokens*6 +: Tokens*6] = {(Tokens*6){1'b0}};
                end
            end
        end
    endgenerate

    // ---- zeros beyond the last head, and what is written
    wire                clear_start = pair_next[3] && pair_last_round[3];
    wire                cleared;
    // Its lowest bits are the address.
    // verilator lint_off UNUSEDSIGNAL
    wire [LineBits-1:0] clear_line;
    // verilator lint_on UNUSEDSIGNAL
    attention_clear #(.Banks(Banks), .LineBits(LineBits), .ChannelBits(ChannelBits)) clear (
        .clk_i(clk_i), .rst_ni(rst_ni), .start_i(clear_start),
        .tile_line_i(base + pair_tile_line[3*LineBits +: LineBits]), .depth_i(depth), .used_i(used),
        .busy_o(clear_busy), .done_o(cleared), .write_valid_o(write_valid_o), .write_ready_i(write_ready_i),
        .write_line_o(clear_line), .write_mask_o(write_mask_o)
    );
    assign write_space_o = space;
    assign write_line_o = {{(32-TagLineBits){1'b0}}, clear_line[TagLineBits-1:0]};
    assign write_data_o = 0;

    // Results of the slot chosen in cycle t - 1 are written in t + ArrayLatency + WriteLatency.
    localparam Way = ArrayLatency + WriteLatency + 1;
    reg [Way-1:0]      written_q;
    reg                issued_q;
    reg [TileBits-1:0] written_tiles_q, cleared_tiles_q;
    wire [TileBits-1:0] ready_tiles = written_tiles_q < cleared_tiles_q ? written_tiles_q : cleared_tiles_q;

    assign issued_o = !issuing_q;
    assign done_o = !running_q;
    assign ready_tiles_o = {{(16-TileBits){1'b0}}, ready_tiles};

    always @(posedge clk_i) begin
        slot_final_q <= tile_finish;
        if (start_i) parity_q <= parity_i;
        if (pair_next[1]) score_tile_q[score_load_slot] <= pair_tile[TileBits +: TileBits];
        slot1_q <= pass_slot;
        first1_q <= pass_valid && pass_first;
        if (first1_q) maximum_q <= maximum[slot1_q*Abreast*Tokens*16 +: Abreast*Tokens*16];
        seen1_q <= pass_seen;
        seen2_q <= seen1_q;
        pass1_q <= {pass_first, pass_last, pass_slot[0], pass_group};
        pass2_q <= pass1_q;
        pass3_q <= pass2_q;
        pass4_q <= pass3_q;
        pass5_q <= pass4_q;
        if (start_i) begin
            written_tiles_q <= {TileBits{1'b0}};
            cleared_tiles_q <= {TileBits{1'b0}};
        end else begin
            if (written_q[Way-1]) written_tiles_q <= written_tiles_q + {{(TileBits-1){1'b0}}, 1'b1};
            if (cleared) cleared_tiles_q <= cleared_tiles_q + {{(TileBits-1){1'b0}}, 1'b1};
        end
        if (!rst_ni) begin
            running_q <= 1'b0;
            issuing_q <= 1'b0;
            started_q <= 1'b0;
            issued_q <= 1'b0;
            written_q <= {Way{1'b0}};
            valid1_q <= 1'b0;
            valid2_q <= 1'b0;
            valid3_q <= 1'b0;
            valid4_q <= 1'b0;
            valid5_q <= 1'b0;
        end else begin
            written_q <= {written_q[Way-2:0], tile_finish};
            // The last values line is requested a cycle after the slot.
            issued_q <= finish;
            started_q <= start_i;
            if (start_i) issuing_q <= 1'b1;
            else if (issued_q) issuing_q <= 1'b0;
            if (start_i) running_q <= 1'b1;
            else if (!issuing_q && ready_tiles == tiles) running_q <= 1'b0;
            valid1_q <= pass_valid;
            valid2_q <= valid1_q;
            valid3_q <= valid2_q;
            valid4_q <= valid3_q;
            valid5_q <= valid4_q;
        end
    end

endmodule
