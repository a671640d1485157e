"""Who writes and who reads the memories."""

from __future__ import annotations

from blocks.description import Box, Figure, Wire

MEMORIES = Figure(
    name="memories",
    module="flow_engine",
    title="Who writes and who reads the memories",
    leaves_out=(
        "registers control loader program_memory front queue check dispatch weights rows constants linear reader post "
        "store_readers"
    ),
    boxes=(
        Box("results", (0, 0), "1: never waits", module="result_writer"),
        Box("norm", (1, 0), "2", module="norm_unit"),
        Box("pool", (2, 0), "3", module="pool_unit"),
        Box("attention", (3, 0), "4: zeros beyond the last head", module="attention_unit"),
        Box("tensor_in", (4, 0), "5", module="tensor_reader"),
        Box(
            "writers",
            (0, 1),
            "one a cycle, the lowest number\nfirst; a register behind it",
            module="write_arbiter",
            span=(5, 1),
        ),
        Box(
            "operand0",
            (0, 2),
            "B banks, words of T bytes",
            module="operand_memory",
            title="OPERAND0",
            memory=True,
        ),
        Box("operand1", (1, 2), "the same", module="operand_memory", title="OPERAND1", memory=True),
        Box("store", (3, 2), "B banks, words of T bytes", module="line_memory", title="STORE", memory=True),
        Box("values", (5, 2), "B banks, words of P bytes", module="line_memory", title="VALUES", memory=True),
        Box("array", (0, 3), "P reads a bank, two cycles", module="multiplier_array"),
        Box("tensor_out", (1, 3), "one address for all rows", module="tensor_writer"),
    ),
    wires=(
        Wire("results", "writers", "result_write_data"),
        Wire("norm", "writers", "norm_write_data"),
        Wire("pool", "writers", "pool_write_data"),
        Wire("attention", "writers", "clear_write_data"),
        Wire("tensor_in", "writers", "reader_write_data"),
        Wire("writers", "operand0", "write_data", "lines"),
        Wire("writers", "operand1", "write_data"),
        Wire("writers", "store", "write_data"),
        Wire("results", "values", "values_write_data", "keys", sides="lb"),
        Wire("operand0", "array", "operand0_data", "operands", bare=True),
        Wire("operand0", "tensor_out", "operand0_data", sides="rl"),
        Wire("operand1", "array", "operand1_data", sides="rl"),
        Wire("operand1", "tensor_out", "operand1_data"),
    ),
)

READS = Figure(
    name="store-readers",
    module="flow_engine",
    title="Who reads STORE and VALUES",
    leaves_out=(
        "registers control loader program_memory front queue check dispatch weights rows constants linear reader array "
        "results writers operand0 operand1 tensor_in"
    ),
    boxes=(
        Box("post", (0, 0), "1: residual", module="post_pipeline"),
        Box("attention", (1, 0), "2: keys, then queries", module="attention_unit"),
        Box("norm", (2, 0), "3: statistics, values", module="norm_unit"),
        Box("pool", (3, 0), "4", module="pool_unit"),
        Box("tensor_out", (4, 0), "5", module="tensor_writer"),
        Box(
            "store_readers",
            (0, 1),
            "the lowest number\nis granted, in the\nsame cycle",
            module="read_arbiter",
            span=(5, 1),
        ),
        Box(
            "store",
            (2, 2),
            "a line of B words, two\ncycles after its address",
            module="line_memory",
            title="STORE",
            memory=True,
        ),
        Box("values", (0, 2), "a line of B words", module="line_memory", title="VALUES", memory=True),
    ),
    wires=(
        Wire("post", "store_readers", "residual_line", "line", control=True, bare=True),
        Wire(
            "attention",
            "store_readers",
            "attention_store_line",
            "line",
            control=True,
            back="attention_grant",
            bare=True,
        ),
        Wire("norm", "store_readers", "norm_store_line", "line", control=True, back="norm_grant", bare=True),
        Wire("pool", "store_readers", "pool_store_line", "line", control=True, back="pool_grant", bare=True),
        Wire(
            "tensor_out",
            "store_readers",
            "output_store_line",
            "line",
            control=True,
            back="output_grant",
            bare=True,
        ),
        Wire("store_readers", "store", "store_line", "line", control=True),
        Wire("store", "tensor_out pool norm attention post", "store_data", "lines read", sides="bl"),
        Wire("values", "attention", "values_data", "values", sides="tt"),
    ),
)

FIGURES = (MEMORIES, READS)
