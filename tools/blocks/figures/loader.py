"""The weight loader, what it is made of, and where it writes."""

from __future__ import annotations

from blocks.description import Box, Figure, Wire

LOADER = Figure(
    name="weight-loader",
    module="weight_loader",
    gaps=(8, 5),
    title="From the beats of a step's weights to the row buffer and the constants ring",
    boxes=(
        Box("data", (0, 0), "a beat a cycle", ports="data_*", beyond="memory_reader"),
        Box("front", (1, 0), "code page, table,\nweight stream in order", module="loader_front"),
        Box("post", (0, 1), "tables, parameters", ports="table_*_o stage_*_o", beyond="post_pipeline"),
        Box(
            "router",
            (2, 0),
            "which words belong\nto which section:\n8 stages",
            module="record_router",
            supposes="Stages=7",
        ),
        Box("constants", (3, 0), "54 bits a row", ports="constants_*", beyond="constants_ring"),
        Box("requests", (0, 2), "8 maps", module="fifo", memory=True, supposes="DepthLog2=3"),
        Box("map_beats", (1, 2), "32 beats of maps", module="fifo", memory=True, supposes="DepthLog2=5"),
        Box("code_beats", (2, 1), "beats of codes", module="fifo", memory=True),
        Box("records", (3, 1), "16 records", module="fifo", memory=True, supposes="DepthLog2=4"),
        Box("weight_beats", (4, 1), "beats of weights", module="stream_slice"),
        Box("lengths", (5, 1), "64 groups' cycles", module="fifo", memory=True, supposes="DepthLog2=6"),
        Box("map", (0, 3), "lists and bitmaps\nto lists of offsets", module="column_map"),
        Box("lists", (1, 4), "offsets that each bank\nkeeps", module="column_lists", memory=True),
        Box("page", (3, 3), "members of\neach code", module="code_table", memory=True),
        Box("expander", (2, 3), "a row's codes\nto offsets", module="code_expander"),
        Box("unpacker", (4, 3), "weights of 4 or 8 bits", module="weight_unpacker"),
        Box(
            "rows",
            (3, 4),
            "offsets and weights,\na ring",
            ports="offset_*_o weight_*_o",
            beyond="row_buffer",
            span=(2, 1),
        ),
        Box("linear", (5, 4), "whole groups", ports="group_*", beyond="linear_issue"),
    ),
    wires=(
        Wire("data", "front router", "data_i", "beats", bare=True, sides="ll"),
        Wire("front", "post", "table_data_o", sides="rb"),
        Wire("front", "router", "beat_valid", "records", control=True, sides="bt"),
        Wire("router", "constants", "constants_data_o", "constants", sides="bt", bare=True),
        Wire("router", "code_beats weight_beats map_beats", "beat", "beats", sides="rl", bare=True),
        Wire("router", "requests", "push_kind", "maps", control=True, sides="rl", bare=True),
        Wire("router", "records", "push_shape", control=True, sides="rl", bare=True),
        Wire("router", "lengths", "push_cycles", control=True, sides="rl"),
        Wire("map_beats", "map", "map_beat"),
        Wire("requests", "map", "request_kind", control=True),
        Wire("map", "lists", "list_data", "words of 16", sides="rt", bare=True),
        Wire("code_beats", "expander", "code_beat", "codes", bare=True),
        Wire("records", "expander", "record_shape", "shapes", control=True, bare=True),
        Wire("map", "expander", "list_base", "lists that stand", control=True, bare=True, sides="bt"),
        Wire("expander", "page", "table_addresses", "entries", back="table_members", bare=True, sides="bt"),
        Wire("expander", "lists", "columns", "columns", sides="rb", bare=True),
        Wire("lists", "rows", "offset_data_o", "offsets", sides="bt", bare=True),
        Wire("weight_beats", "unpacker", "weights_beat", "beats", bare=True),
        Wire("unpacker", "rows", "weight_data_o", "weights", bare=True),
        Wire("lengths", "linear", "group_cycles_o", "cycles of a group", bare=True, control=True),
        Wire("front", "page", "page_data", "code page", sides="rt", control=True),
    ),
)

MAP = Figure(
    name="column-map",
    module="column_map",
    title="A column map's bits to words of a bank's list",
    boxes=(
        Box("beats", (0, 0), "32 beats", ports="beat_*", beyond="fifo"),
        Box("requests", (1, 0), "kind, columns", ports="request_* kind_i columns_i", title="requests"),
        Box("bits", (0, 1), "the next 16 entries\nor 16 columns", module="field_window"),
        Box(
            "take",
            (1, 1),
            "how many bits come next:\ntwo lengths to choose from",
            signals="full_q tail_q ends_q",
            title="lengths",
        ),
        Box("chunks", (0, 2), "two chunks", module="stream_slice"),
        Box(
            "sums",
            (0, 3),
            "fields; or for each bit\nhow many are set before it",
            signals="fields_q below_q set_q",
            title="sums",
        ),
        Box(
            "put",
            (0, 4),
            "columns of the set bits,\nmoved together",
            signals="put_q range_q",
            title="entries",
        ),
        Box(
            "word",
            (1, 4),
            "16 entries; the last one\nrepeated to the end",
            signals="stage_q data_q we_q list_valid_q",
            title="words of a list",
        ),
        Box(
            "lists", (1, 3), "a word a cycle, of one bank", ports="we_o word_o data_o", beyond="column_lists"
        ),
        Box("expander", (1, 2), "the list is taken", ports="list_*", beyond="code_expander"),
    ),
    wires=(
        Wire("beats", "bits", "beat_i"),
        Wire("requests", "take", "columns_i", control=True, bare=True),
        Wire("take", "bits", "full_q", "lengths", control=True, bare=True, sides="tb"),
        Wire("bits", "chunks", "window"),
        Wire("chunks", "sums", "raw"),
        Wire("sums", "put", "below_q"),
        Wire("put", "word", "put_q", sides="bt"),
        Wire("word", "lists", "data_q", "a word", bare=True),
        Wire("word", "expander", "", "a list stands", control=True, sides="bb"),
    ),
)

LISTS = Figure(
    name="column-lists",
    module="column_lists",
    title="The column lists in force",
    boxes=(
        Box("map", (0, 0), "a word of 16 offsets", ports="we_i word_i data_i", beyond="column_map"),
        Box(
            "columns",
            (0, 1),
            "a bank's list, a copy a lane",
            module="column_list",
            times="Lanes B",
            memory=True,
        ),
        Box(
            "expander", (0, 2), "a column for each", ports="columns_i re_i identity_i", beyond="code_expander"
        ),
        Box("rows", (1, 2), "a cycle later", ports="offsets_o", title="row_buffer"),
    ),
    wires=(
        Wire("map", "columns", "data_i", "written", bare=True),
        Wire("expander", "columns", "columns_i", "columns", bare=True),
        Wire("columns", "rows", "offsets_o", "offsets", bare=True),
    ),
)

TABLES = Figure(
    name="code-table",
    module="code_table",
    title="The code page",
    boxes=(
        Box("front", (0, 0), "eight members a write", ports="we_i waddress_i wdata_i", beyond="loader_front"),
        Box("table_words", (0, 1), "one for two look-ups", module="ram_2rw", memory=True),
        Box("expander", (0, 2), "a cycle later", ports="addresses_i members_o re_i", beyond="code_expander"),
    ),
    wires=(
        Wire("front", "table_words", "wdata_i"),
        Wire("expander", "table_words", "addresses_i", "addresses,\nmembers", back="members", bare=True),
    ),
)

EXPANDER = Figure(
    name="code-expander",
    module="code_expander",
    title="Codes to operand offsets, a member of the codes of several rows a cycle",
    boxes=(
        Box("beats", (0, 0), "beats of codes", ports="beat_*", beyond="fifo"),
        Box("codes", (0, 1), "the next row's codes", module="field_window", when="X"),
        Box("raw", (0, 2), "of 0 to 12 bits", signals="raw_q", title="codes", when="1"),
        Box(
            "code",
            (0, 3),
            "code and entry's address",
            signals="code2_q code3_q",
            title="addresses",
            when="2, 3",
        ),
        Box("page", (1, 3), "the code page", ports="table_*", beyond="code_table"),
        Box(
            "member",
            (0, 4),
            "member of the entry,\nplus the group's base",
            signals="member4_q column5_q",
            title="columns",
            when="4, 5",
        ),
        Box(
            "lists",
            (1, 4),
            "offset of the column;\nit goes on to row_buffer",
            ports="column_* columns_o",
            beyond="column_lists",
        ),
        Box("words", (1, 1), "room in the ring,\nclaimed before the look-up", module="ring_room"),
        Box(
            "record",
            (1, 0),
            "the record: shape,\ngroups, lists",
            ports="record_* groups_i take_i code_bits_i",
            title="records",
        ),
        Box(
            "write",
            (2, 4),
            "word and rows, beside the offset",
            signals="info1_q info2_q info3_q info4_q info5_q info6_q",
            title="write",
            when="6",
        ),
        Box("rows", (2, 3), "", ports="we_o address_o", beyond="row_buffer"),
        Box(
            "work",
            (2, 1),
            "group, member, turn;\nword of the ring",
            signals="left_q member_q turn_q word_q",
            title="the record in work",
        ),
    ),
    wires=(
        Wire("beats", "codes", "beat_i"),
        Wire("codes", "raw", "window"),
        Wire("raw", "code", "raw_q"),
        Wire("code", "page", "", "entries", sides="bt"),
        Wire("page", "member", "table_members_i", "members", bare=True),
        Wire("member", "lists", "column5_q", sides="bt"),
        Wire("words", "codes", "room", control=True, sides="tb"),
        Wire("record", "work", "groups_i", bare=True),
        Wire("work", "words", "", "claims", control=True, sides="tb"),
        Wire("work", "write", "word_q", "5 stages", control=True, bare=True, sides="bb"),
        Wire("write", "rows", "info6_q"),
    ),
)

UNPACKER = Figure(
    name="weight-unpacker",
    module="weight_unpacker",
    title="A record's weights to words of the row buffer",
    boxes=(
        Box("beats", (0, 0), "beats of weights", ports="valid_i beat_i start_i", beyond="stream_slice"),
        Box("window", (0, 1), "the next weights,\nof 8 or 4 bits", module="field_window"),
        Box("data", (0, 2), "widened to 8 bits", signals="data_q we_q address_q", title="chunk"),
        Box("rows", (0, 3), "even and odd chunks", ports="we_o address_o data_o", beyond="row_buffer"),
        Box("words", (1, 1), "a word's first chunk\nclaims it", module="ring_room"),
        Box("free", (1, 0), "words read for\nthe last time", ports="free_i", title="linear_issue"),
    ),
    wires=(
        Wire("beats", "window", "beat_i"),
        Wire("window", "data", "fields"),
        Wire("data", "rows", "data_q"),
        Wire("words", "window", "room", control=True, sides="tb"),
        Wire("free", "words", "free_i", control=True, bare=True),
    ),
)

STORES = Figure(
    name="row-buffer",
    module="row_buffer",
    title="The ring of row groups",
    boxes=(
        Box("unpacker", (0, 0), "chunks of weights", ports="weight_*", title="weights"),
        Box("lists", (1, 0), "of some rows", ports="offset_*", title="offsets"),
        Box("weight", (0, 1), "a word: P x B bytes", module="ram_1r1w", memory=True),
        Box("offset", (1, 1), "P x B offsets", module="ram_1r1w", memory=True),
        Box("slot", (0, 2), "a word of the ring", ports="re_i address_i", beyond="linear_issue"),
        Box("array", (1, 2), "a cycle later", ports="weights_o offsets_o", beyond="multiplier_array"),
    ),
    wires=(
        Wire("unpacker", "weight", "weight_data_i", "written", bare=True),
        Wire("lists", "offset", "offset_data_i", "written", bare=True),
        Wire("slot", "weight offset", "address_i", control=True),
        Wire("weight", "array", "weights_o", "weights"),
        Wire("offset", "array", "offsets_o", "offsets"),
    ),
)

FIGURES = (LOADER, MAP, LISTS, TABLES, EXPANDER, UNPACKER, STORES)
