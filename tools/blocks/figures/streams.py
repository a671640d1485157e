"""Tensors in and out."""

from __future__ import annotations

from blocks.description import Box, Figure, Wire

TENSOR_IN = Figure(
    name="tensor-reader",
    module="tensor_reader",
    title="INPUT and CONSTANT",
    boxes=(
        Box("in", (0, 0), "INPUT", ports="stream_*", title="stream in"),
        Box("image_in", (1, 0), "CONSTANT", ports="data_*", beyond="memory_reader"),
        Box("stream", (0, 1), "beats to pieces of a line", module="tensor_split"),
        Box("image", (1, 1), "beats to pieces of a line", module="tensor_split"),
        Box("line", (0, 2), "space and line", signals="line_q space_q busy_q", title="place"),
        Box("tiles_left", (2, 2), "tiles of the tensor", module="countdown"),
        Box("lines_left", (2, 1), "lines of a tile", module="countdown"),
        Box("writers", (1, 2), "a piece a cycle,\na mask of banks", ports="write_*", beyond="write_arbiter"),
    ),
    wires=(
        Wire("in", "stream", "stream_data_i", "beats"),
        Wire("image_in", "image", "data_i", "beats"),
        Wire("stream", "writers", "stream_line", "pieces", sides="rl"),
        Wire("image", "writers", "image_line", "pieces"),
        Wire("line", "writers", "line_q", control=True, sides="bt"),
        Wire("lines_left", "tiles_left", "last_line", control=True),
    ),
)

TENSOR_OUT = Figure(
    name="tensor-writer",
    module="tensor_writer",
    title="OUTPUT",
    boxes=(
        Box(
            "store",
            (0, 0),
            "two cycles after its address",
            ports="store_data_i store_line_o store_re_o store_grant_i",
            title="STORE",
        ),
        Box("operand", (1, 0), "the same", ports="operand_*", title="OPERAND0, OPERAND1"),
        Box("piece", (0, 1), "what a beat holds", signals="chosen data_q", title="piece of a line"),
        Box("clean", (0, 2), "0 beyond the length", signals="clean beat_q", title="beat"),
        Box(
            "beats",
            (0, 3),
            "8 places",
            module="fifo",
            memory=True,
            supposes="DepthLog2=PlacesLog2 PlacesLog2=3",
        ),
        Box("out", (0, 4), "a beat a cycle", ports="stream_*", title="stream out"),
        Box(
            "read",
            (1, 1),
            "a beat that holds less than\na line reads it anew",
            signals="line_q piece_q reading_q want read",
            title="reads",
        ),
        Box("places", (1, 2), "where beats go that are read", signals="places_q", title="places"),
        Box("lines_left", (2, 1), "lines of a tile", module="countdown"),
        Box("tiles_left", (2, 2), "tiles of the tensor", module="countdown"),
    ),
    wires=(
        Wire("store", "piece", "store_data_i", "lines"),
        Wire("operand", "piece", "operand_data_i", sides="tb"),
        Wire("piece", "clean", "data_q"),
        Wire("clean", "beats", "beat_q"),
        Wire("beats", "out", "stream_data_o"),
        Wire("read", "operand", "line_q", "line", control=True, bare=True),
        Wire("places", "read", "places_q", control=True, bare=True),
        Wire("lines_left", "read", "last_line", control=True, sides="tb"),
        Wire("lines_left", "tiles_left", "last_line", control=True),
    ),
)

FIGURES = (TENSOR_IN, TENSOR_OUT)
