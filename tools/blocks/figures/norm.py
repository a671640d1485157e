"""Norm and pool."""

from __future__ import annotations

from blocks.description import Box, Figure, Frame, Wire

NORM = Figure(
    name="norm",
    module="norm_unit",
    title="Two passes over a tile: statistics, and values",
    boxes=(
        Box("store", (0, 0), "lines, in turns", ports="store_*", title="STORE", span=(3, 1)),
        Box("scan", (0, 1), "L channels of T tokens a cycle", module="line_reader"),
        Box("statistics.moments", (0, 2), "sums of x and x²", module="norm_moments", times="T"),
        Box(
            "statistics.deviation",
            (0, 3),
            "A, root, reciprocal:\n58 cycles, a token every F",
            module="norm_deviation",
        ),
        Box("centres", (1, 2), "of 128 tokens", module="fifo", memory=True),
        Box(
            "product", (1, 3), "C r, centre r", signals="factor2_q offset_q centre_q", title="token's factors"
        ),
        Box(
            "tokens",
            (2, 3),
            "128 tokens, at least 4 tiles",
            module="fifo",
            memory=True,
            supposes="DepthLog2=AheadLog2 AheadLog2=TokensLog2+2>7?TokensLog2+2:7",
        ),
        Box(
            "tile",
            (2, 2),
            "of the next tile, of this one",
            signals="next_factor_q factor_q tile_offset_q",
            title="tile's factors",
        ),
        Box("apply", (2, 1), "the second pass", module="line_reader"),
        Box(
            "lane",
            (3, 1),
            "normalised: 11 cycles",
            module="norm_lane",
            times="L T",
            supposes="LaneLatency=11",
        ),
        Box("constants", (4, 1), "gains and biases", module="norm_constants", memory=True),
        Box("beats", (4, 0), "", ports="data_*", beyond="memory_reader"),
        Box(
            "collect",
            (3, 2),
            "32 places; one or two\noutputs, byte planes",
            module="norm_collect",
            supposes="Places=32",
        ),
        Box("writers", (3, 3), "at most one write a cycle", ports="write_*", beyond="write_arbiter"),
    ),
    wires=(
        Wire("store", "scan", "store_data_i", "lines", bare=True),
        Wire("store", "apply", "store_data_i", "lines", bare=True),
        Wire("scan", "statistics.moments", "scan_x", "x"),
        Wire("statistics.moments", "statistics.deviation", "sums", "sums", bare=True),
        Wire("statistics.moments", "centres", "centre", "centre", sides="bt", bare=True),
        Wire("statistics.deviation", "product", "scale_r", "r, n", sides="bt", bare=True),
        Wire("centres", "product", "centre_next"),
        Wire("product", "tokens", "factor2_q", sides="bt"),
        Wire("tokens", "tile", "token_next"),
        Wire("tile", "lane", "factor_q", sides="bt", bare=True),
        Wire("apply", "lane", "apply_x", "x", sides="bt"),
        Wire("constants", "lane", "gain", "gains, biases", sides="tb", bare=True),
        Wire("beats", "constants", "data_i"),
        Wire("lane", "collect", "y0", "y"),
        Wire("collect", "writers", "write_data_o"),
    ),
    frames=(Frame("norm_statistics", "statistics.moments statistics.deviation", key="statistics"),),
    gaps=(5, 6),
)

DEVIATION = Figure(
    name="norm-deviation",
    module="norm_deviation",
    title="1/sd of a token from its sums",
    boxes=(
        Box("sums", (0, 0), "centre, sum of x²", ports="centre_i squares_i", beyond="norm_moments"),
        Box(
            "parts",
            (0, 1),
            "six multipliers",
            signals="part0_q part1_q part2_q high_q cross_q low_q",
            title="C sum x², centre²",
            when="2",
        ),
        Box(
            "spread",
            (0, 2),
            "C sum x² - centre² + epsilon",
            signals="spread4_q spread5_q spread6_q square4_q square5_q",
            title="A",
            when="4, 5, 6",
            supposes="Steps=6",
        ),
        Box("square_root", (1, 2), "a bit a stage: 32", module="isqrt", supposes="Width=64"),
        Box("deviation", (1, 1), "at least 1", signals="deviation_q", title="sd", when="+ 1"),
        Box("divider", (1, 0), "a bit a stage: 19", module="reciprocal", supposes="Latency=19"),
        Box("out", (2, 0), "r, n", ports="r_o n_o valid_o", title="1/sd", when="58"),
    ),
    wires=(
        Wire("sums", "parts", "squares_i", bare=True),
        Wire("parts", "spread", "part0_q", bare=True),
        Wire("spread", "square_root", "spread6_q", sides="bt"),
        Wire("square_root", "deviation", "root"),
        Wire("deviation", "divider", "deviation_q"),
        Wire("divider", "out", "r_o", sides="bt"),
    ),
)

LANE = Figure(
    name="norm-lane",
    module="norm_lane",
    title="A channel of a token through a norm",
    boxes=(
        Box("x", (0, 0), "a channel of a token", ports="x_i", beyond="line_reader", when="0"),
        Box(
            "factor",
            (1, 0),
            "C r (0), centre r (2),\nn + 2 (3)",
            ports="factor_i offset_i round_i",
            title="the token's factors",
        ),
        Box(
            "product",
            (0, 1),
            "two multipliers",
            signals="high_q low_q scaled_q",
            title="x times C r",
            when="1, 2",
        ),
        Box("centred", (0, 2), "less centre r", signals="product_q", title="centred", when="3"),
        Box(
            "shift",
            (0, 3),
            "by eights, the rest,\nrounded",
            signals="coarse_q fine_q z_q",
            title="z",
            when="4, 5, 6",
        ),
        Box("output0", (0, 4), "gain, bias, shift:\n5 cycles", module="norm_gain"),
        Box("output1", (1, 4), "of the second output", module="norm_gain"),
        Box("gains", (1, 3), "gain (6), bias (7)", ports="gain* bias*", beyond="norm_constants"),
        Box("y", (0, 5), "", ports="y0_o y1_o", beyond="norm_collect", when="11"),
    ),
    wires=(
        Wire("x", "product", "x_i"),
        Wire("factor", "product", "factor_i", sides="rb", bare=True),
        Wire("product", "centred", "scaled_q"),
        Wire("factor", "centred", "offset_i", sides="rb", bare=True),
        Wire("centred", "shift", "product_q"),
        Wire("shift", "output0 output1", "z_q"),
        Wire("gains", "output1", "gain1_i"),
        Wire("gains", "output0", "gain0_i", sides="tl"),
        Wire("output0", "y", "y0_o"),
        Wire("output1", "y", "y1_o", sides="rb"),
    ),
)

COLLECT = Figure(
    name="norm-collect",
    module="norm_collect",
    title="Normalised values to lines of the memories",
    boxes=(
        Box(
            "y", (0, 0), "L channels of T tokens,\ntwo outputs", ports="y0_i y1_i valid_i", beyond="norm_lane"
        ),
        Box("queue", (0, 1), "32 places", module="fifo", memory=True, supposes="DepthLog2=5"),
        Box(
            "slots", (0, 2), "plane s waits s cycles", signals="slot1_q slot2_q slot3_q", title="planes apart"
        ),
        Box("group", (0, 3), "up to 4 L banks of each plane", signals="group_q data_q", title="banks"),
        Box("writers", (0, 4), "", ports="write_*", beyond="write_arbiter"),
        Box("lines_left", (1, 1), "lines of a tile", module="countdown"),
        Box("tiles", (1, 2), "", signals="tile_end_q ready_q", title="tiles that stand"),
        Box(
            "round",
            (1, 3),
            "four cycles: takes in,\nwrites those before",
            signals="phase_q full_q filling_q write_valid_q",
            title="round",
        ),
    ),
    wires=(
        Wire("y", "queue", "y0_i", "y", bare=True),
        Wire("queue", "slots", "queue_data"),
        Wire("slots", "group", "slot1_q", bare=True),
        Wire("group", "writers", "data_q"),
        Wire("round", "group", "phase_q", control=True, sides="tb", bare=True),
        Wire("lines_left", "tiles", "row_end", control=True),
    ),
)

LINES = Figure(
    name="line-reader",
    module="line_reader",
    title="An int16 tensor, L channels of T tokens a cycle",
    boxes=(
        Box(
            "store",
            (0, 0),
            "a line two cycles after\nits grant",
            ports="grant_i data_i want_o line_o",
            title="STORE",
        ),
        Box("ask", (1, 1), "low plane, then high plane", signals="line_q mid_q idle_q", title="reads"),
        Box("inner_left", (1, 2), "of a tile's lines", module="countdown"),
        Box("low", (0, 1), "one pair does", signals="low_q high_q", title="line pair"),
        Box("x", (0, 2), "L channels of the pair", signals="x_q piece_q whole_q", title="piece"),
        Box("out", (0, 3), "int16", ports="x_o first_o last_o fire_o", title="norm_unit, pool_unit"),
        Box("piece_left", (1, 3), "of a tile's pieces", module="countdown"),
    ),
    wires=(
        Wire("store", "low", "data_i", "lines"),
        Wire("low", "x", "low_q"),
        Wire("x", "out", "x_q"),
        Wire("ask", "store", "line_q", "line", control=True, sides="lb"),
        Wire("inner_left", "ask", "", control=True),
        Wire("x", "piece_left", "", control=True, sides="bt"),
    ),
)

POOL = Figure(
    name="pool",
    module="pool_unit",
    title="Sums over tokens, scaled",
    boxes=(
        Box("store", (0, 0), "a line's tiles,\nthen the next line", ports="store_*", title="STORE"),
        Box("reader", (0, 1), "L channels of T tokens a cycle", module="line_reader"),
        Box("token", (0, 2), "0 beyond the length", signals="token_q", title="tokens"),
        Box("sum", (0, 3), "T tokens to one", signals="sum_q", title="sums of a piece"),
        Box(
            "sums",
            (1, 3),
            "of two lines: one is added\nto while one leaves",
            signals="sums sum_new",
            title="sums of a line",
            memory=True,
        ),
        Box(
            "factor",
            (2, 1),
            "floor(2^16 / length),\na bit a cycle",
            signals="factor_q remainder_q division_q",
            title="factor",
        ),
        Box("mean", (1, 2), "one sum a cycle", signals="value_q mean_q", title="mean"),
        Box("scale", (1, 1), "rescaled, saturated", module="norm_gain"),
        Box("result", (1, 0), "low plane, high plane", signals="low_q high_q", title="line"),
        Box("writers", (2, 0), "token 0 of one tile", ports="write_*", beyond="write_arbiter"),
    ),
    wires=(
        Wire("store", "reader", "store_data_i", "lines"),
        Wire("reader", "token", "x"),
        Wire("token", "sum", "token_q"),
        Wire("sum", "sums", "sum_q", sides="bt"),
        Wire("sums", "mean", "sums"),
        Wire("factor", "mean", "factor_q", sides="rb"),
        Wire("mean", "scale", "mean_q"),
        Wire("scale", "result", "y"),
        Wire("result", "writers", "low_q", sides="bt"),
    ),
)

FIGURES = (NORM, DEVIATION, LANE, COLLECT, LINES, POOL)
