"""Attention."""

from __future__ import annotations

from blocks.description import Box, Figure, Frame, Wire

ATTENTION = Figure(
    name="attention",
    module="attention_unit",
    title="Attention: slots of the array, and softmax beside it",
    boxes=(
        Box("setup", (0, 0), "layout of the heads", module="attention_setup"),
        Box("pairs", (0, 1), "queries, scores,\nsoftmax, context", module="attention_pairs", times="4"),
        Box("store", (1, 0), "queries and keys", ports="store_*", title="STORE"),
        Box("queries", (1, 1), "two pairs", module="attention_queries", memory=True),
        Box("values", (2, 0), "a line of values", ports="values_*", title="VALUES"),
        Box("issue", (0, 2), "scores and context\nin turn, whole results", module="attention_issue"),
        Box("feed", (1, 2), "operands and weights,\ncycle t + 4", module="attention_feed"),
        Box("array", (1, 3), "slots", ports="slot_* attention_*", beyond="multiplier_array"),
        Box("post", (2, 3), "scores", ports="score_*", beyond="post_pipeline"),
        Box("score_mask", (3, 3), "keys that queries see", module="key_mask"),
        Box("maxima", (4, 3), "of each query", module="softmax_maximum"),
        Box("scores", (4, 2), "four pairs", module="score_memory", memory=True),
        Box("exponential_pass", (5, 2), "P keys of T queries\nand A heads a cycle", module="softmax_pass"),
        Box("pass_mask", (5, 1), "", module="key_mask"),
        Box("exponent", (4, 1), "table[max - score]", module="softmax_exponent"),
        Box("loader", (5, 0), "the table, an entry a cycle", module="exp_loader"),
        Box("beats", (6, 0), "", ports="data_*", beyond="memory_reader"),
        Box("numerators", (3, 1), "two pairs", module="numerator_memory", memory=True),
        Box("sums", (4, 0), "Z and 1/Z, one a cycle", module="softmax_sum"),
        Box("scale", (3, 0), "r, n of two pairs", ports="scale_*", beyond="post_pipeline"),
        Box("clear", (6, 2), "zeros beyond the last head", module="attention_clear"),
        Box("writers", (6, 3), "", ports="write_*", beyond="write_arbiter"),
    ),
    wires=(
        Wire("setup", "pairs", "tiles", control=True),
        Wire("pairs", "issue", "pair_channel", "pairs", control=True, bare=True),
        Wire("pairs", "queries", "pair_tile_line", control=True, sides="bt"),
        Wire("store", "queries", "store_data_i"),
        Wire("store", "feed", "store_data_i", "keys", sides="b.", bare=True),
        Wire("values", "feed", "values_data_i", "values"),
        Wire("queries", "feed", "query_data"),
        Wire("issue", "feed", "slot_part", control=True, sides="bt", bare=True),
        Wire("issue", "array", "slot_valid_o", "slots", sides="rt"),
        Wire("feed", "array", "attention_operand_o"),
        Wire("post", "score_mask", "score_tag_i", control=True, sides="bt"),
        Wire("score_mask", "maxima", "score_seen", sides="bt"),
        Wire("post", "scores", "score_value_i", "scores", sides="lt", bare=True),
        Wire("post", "maxima", "score_value_i", sides="rr"),
        Wire("scores", "exponent", "score"),
        Wire("maxima", "exponent", "maximum", "maximum", sides="bb", bare=True),
        Wire("exponential_pass", "scores", "pass_group", control=True, sides="tb"),
        Wire("exponential_pass", "pass_mask", "pass_tile", control=True),
        Wire("pass_mask", "exponent", "pass_seen", control=True, sides="tb"),
        Wire("loader", "exponent", "table_data", "table", sides="rb", bare=True),
        Wire("beats", "loader", "data_i", sides="tb"),
        Wire("exponent", "numerators", "numerator_low", sides="tb"),
        Wire("exponent", "sums", "numerator_low"),
        Wire("numerators", "feed", "line_low", "numerators", sides="tb", bare=True),
        Wire("sums", "scale", "scale_r", sides="tb"),
        Wire("pairs", "exponential_pass", "pair_keys", control=True, sides="rr"),
        Wire("clear", "writers", "clear_line", control=True),
    ),
)

ISSUE = Figure(
    name="attention-issue",
    module="attention_issue",
    title="Whose result attention computes next",
    boxes=(
        Box(
            "pairs",
            (0, 0),
            "of scores, of context",
            ports="score_valid_i score_keys_i score_channel_i context_valid_i context_keys_i",
            beyond="attention_pairs",
        ),
        Box(
            "softmax",
            (1, 0),
            "numerators are there,\nreciprocals in time",
            ports="context_ready_i score_start_i query_full_i",
            beyond="softmax_pass softmax_sum",
        ),
        Box(
            "scores",
            (0, 1),
            "the next result of scores:\ngroup of keys, head, part",
            signals="s_active_q s_group_q s_cycle_q s_take",
            title="scores",
        ),
        Box(
            "context",
            (1, 1),
            "the next result of context:\nchannels, row of keys, plane",
            signals="c_active_q c_row_q c_plane_q c_take",
            title="context",
        ),
        Box("c_left", (2, 1), "chunks of a head", module="countdown"),
        Box(
            "out",
            (0, 2),
            "slots, lines; no result\ninterrupts another one",
            ports="slot_*_o",
            beyond="attention_feed multiplier_array",
            span=(2, 1),
        ),
        Box("store", (2, 2), "the key's line,\na cycle before its slot", ports="store_*", title="STORE"),
    ),
    wires=(
        Wire("pairs", "scores context", "", control=True, sides="rl"),
        Wire("softmax", "context", "context_ready_i", control=True, sides="rl"),
        Wire("scores", "out", "s_take", "slots", bare=True),
        Wire("context", "out", "c_take", "slots", bare=True),
        Wire("c_left", "context", "c_left_one", control=True, sides="tb"),
        Wire("context", "store", "", control=True, sides="rl"),
    ),
)

SOFTMAX = Figure(
    name="softmax",
    module="attention_unit",
    title="Maximum, exponential, sums and reciprocals",
    leaves_out="setup pairs queries issue feed score_mask pass_mask exponential_pass clear scores",
    boxes=(
        Box("post", (0, 0), "scores, with tags", ports="score_*", beyond="post_pipeline"),
        Box(
            "maxima.tree", (0, 1), "largest of P keys:\nlog₂P + 1 cycles", module="maximum_tree", times="A T"
        ),
        Box("held", (0, 2), "of the slot's pair", signals="maximum_q seen2_q", title="maximum", when="e2"),
        Box("loader.beats", (1, 0), "a whole table", module="fifo", memory=True),
        Box(
            "exponent.two",
            (0, 3),
            "min(max - score, 255),\nmask",
            module="softmax_lanes",
            times="P T A / 2",
            when="e3 to e5",
        ),
        Box("exponent.two.entries", (1, 3), "two reads", module="exp_table", memory=True, when="e4"),
        Box("numerators.low_plane", (0, 4), "numerators", module="ram_1r1w", memory=True),
        Box("numerators.high_plane", (1, 4), "numerators", module="ram_1r1w", memory=True),
        Box("sums.tree", (2, 3), "P numerators of a query:\nlog₂P cycles", module="sum_tree", times="A T"),
        Box("sums.divider", (2, 2), "19 cycles,\none query a cycle", module="reciprocal"),
        Box("out", (2, 1), "r, n of two pairs", ports="scale_*", beyond="post_pipeline"),
    ),
    wires=(
        Wire("post", "maxima.tree", "score_value_i", "scores", bare=True),
        Wire("maxima.tree", "held", "maximum", bare=True),
        Wire("held", "exponent.two", "maximum_q", "maximum", bare=True),
        Wire("loader.beats", "exponent.two.entries", "table_data", "table"),
        Wire(
            "exponent.two", "numerators.low_plane numerators.high_plane", "numerator_low", "bytes", bare=True
        ),
        Wire("exponent.two", "sums.tree", "numerator_high", sides="rr", bare=True),
        Wire("sums.tree", "sums.divider", "sum", "Z", bare=True),
        Wire("sums.divider", "out", "scale_r", "1/Z", bare=True),
    ),
    gaps=(5, 7),
    frames=(
        Frame("softmax_exponent", "exponent.two exponent.two.entries", key="exponent"),
        Frame("numerator_memory", "numerators.low_plane numerators.high_plane", key="numerators"),
        Frame("softmax_sum", "sums.tree sums.divider", key="sums"),
        Frame("softmax_maximum", "maxima.tree", key="maxima"),
        Frame("exp_loader", "loader.beats", key="loader"),
    ),
)

FIGURES = (ATTENTION, ISSUE, SOFTMAX)
