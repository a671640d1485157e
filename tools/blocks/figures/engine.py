"""The whole engine, and what stands in front of its units: registers, program, sequencer, memory reader."""

from __future__ import annotations

from blocks.description import Box, Figure, Wire

ENGINE = Figure(
    name="engine",
    module="flow_engine",
    title="The engine's units and memories, and what goes between them",
    leaves_out="registers control loader program_memory front queue check store_readers",
    boxes=(
        Box("axi", (0, 0), "the image", ports="m_axi_gmem_*", title="AXI4"),
        Box("reader", (1, 0), "spans of the image\nas one stream of beats", module="memory_reader"),
        Box("weights", (0, 1), "records to weights,\noffsets, constants", module="weight_loader"),
        Box("rows", (0, 2), "a ring of row groups", module="row_buffer", memory=True),
        Box("constants", (0, 3), "of 64 row groups", module="constants_ring", memory=True),
        Box("dispatch", (3, 0), "what comes before it:\nthe sequencer's figure", module="step_dispatch"),
        Box("linear", (1, 1), "a slot a cycle", module="linear_issue"),
        Box("array", (1, 2), "T x B x P products", module="multiplier_array"),
        Box("post", (1, 3), "bias, scale, residual,\ntable, saturation", module="post_pipeline"),
        Box("results", (1, 4), "planes, keys", module="result_writer"),
        Box("attention", (2, 1), "slots of the same array;\nsoftmax", module="attention_unit"),
        Box(
            "operand0",
            (2, 2),
            "B banks, P reads each",
            module="operand_memory",
            title="OPERAND0",
            memory=True,
        ),
        Box("operand1", (3, 2), "the same", module="operand_memory", title="OPERAND1", memory=True),
        Box("values", (2, 3), "B banks, a line a cycle", module="line_memory", title="VALUES", memory=True),
        Box("store", (4, 2), "B banks, a line a cycle", module="line_memory", title="STORE", memory=True),
        Box("writers", (3, 4), "results first", module="write_arbiter", span=(2, 1)),
        Box("norm", (3, 1), "two passes over a tile", module="norm_unit"),
        Box("pool", (4, 1), "sums over tokens", module="pool_unit"),
        Box("in", (5, 0), "", ports="stream_in_*", title="stream in"),
        Box("tensor_in", (5, 1), "INPUT, CONSTANT", module="tensor_reader"),
        Box("tensor_out", (5, 3), "OUTPUT", module="tensor_writer"),
        Box("out", (5, 4), "", ports="stream_out_*", title="stream out"),
    ),
    wires=(
        Wire("axi", "reader", "m_axi_gmem_RDATA", sides="bt"),
        Wire("reader", "weights attention norm tensor_in", "data", "beats", sides="rl"),
        Wire("weights", "rows", "weight_data", "weights,\noffsets", bare=True),
        Wire("rows", "array", "row_weight", "weights", sides="bt"),
        Wire("weights", "constants", "constants_data", "constants", sides="tt"),
        Wire("weights", "linear", "group_cycles", "row groups", control=True, bare=True, sides="bt"),
        Wire("linear", "array", "linear_tag", "slots", bare=True),
        Wire("array", "post", "result_sum", "sums", bare=True),
        Wire("post", "results", "value", "values", bare=True),
        Wire("constants", "post", "row_bias", "bias, scale", bare=True, sides="bt"),
        Wire("attention", "array", "attention_operand", "operands", bare=True, sides="rl"),
        Wire(
            "array", "operand0 operand1", "array_operand_line", "lines", control=True, bare=True, sides="b."
        ),
        Wire("operand0", "array tensor_out", "operand0_data", "operands", bare=True),
        Wire("operand1", "array", "operand1_data"),
        Wire("post", "attention", "value", "scores", sides="br", bare=True),
        Wire("values", "attention", "values_data", "values", sides="lr"),
        Wire("results", "values", "values_write_data", "keys", sides="br", bare=True),
        Wire("results", "writers", "result_write_data", "planes", sides="bt"),
        Wire("writers", "operand1 operand0 store", "write_data", "lines", sides="lr"),
        Wire("norm", "writers", "norm_write_data"),
        Wire("pool", "writers", "pool_write_data"),
        Wire("tensor_in", "writers", "reader_write_data"),
        Wire("store", "post attention norm pool tensor_out", "store_data", "lines read"),
        Wire("in", "tensor_in", "stream_in_TDATA"),
        Wire("tensor_out", "out", "stream_out_TDATA"),
        Wire("dispatch", "linear attention norm pool tensor_in", "", "starts", control=True, sides="rl"),
    ),
)

SEQUENCER = Figure(
    name="sequencer",
    module="flow_engine",
    title="From the program to the units: front, checker, queue and dispatch",
    leaves_out=(
        "registers control operand0 operand1 store_readers store values writers rows constants array post results"
    ),
    boxes=(
        Box("loader", (0, 0), "LOAD: header and records,\nchecked on the way", module="program_loader"),
        Box("program_memory", (2, 0), "16 words of 64 bits a step", module="ram_1r1w", memory=True),
        Box("length", (4, 0), "a frame's length", ports="stream_in_*", title="stream in"),
        Box(
            "front", (2, 1), "the length, then record by\nrecord; up to five steps ahead", module="step_front"
        ),
        Box("check", (4, 1), "about 60 cycles a record,\nnobody waits for it", module="step_checker"),
        Box("queue", (2, 2), "four steps,\nand what kind each is", module="step_queue"),
        Box("dispatch", (2, 3), "two steps load ahead of\nthe one that executes", module="step_dispatch"),
        Box("reader", (0, 1), "spans of data,\nin order", module="memory_reader"),
        Box("weights", (0, 2), "LINEAR", module="weight_loader"),
        Box("linear", (0, 4), "LINEAR", module="linear_issue"),
        Box("attention", (1, 4), "ATTENTION", module="attention_unit"),
        Box("norm", (2, 4), "NORM", module="norm_unit"),
        Box("pool", (3, 4), "POOL", module="pool_unit"),
        Box("tensor_in", (4, 4), "INPUT, CONSTANT", module="tensor_reader"),
        Box("tensor_out", (5, 4), "OUTPUT", module="tensor_writer"),
    ),
    wires=(
        Wire("loader", "program_memory", "record_wdata", "words", sides="bt"),
        Wire("program_memory", "front", "record_rdata", "records"),
        Wire("length", "front", "stream_in_TDATA", "length", bare=True, sides="rb"),
        Wire("front", "check", "front_record", "a record", back="check_ok", sides="bt", bare=True),
        Wire("front", "queue", "front_record", "records", bare=True),
        Wire("queue", "dispatch", "entry_record", "records", bare=True),
        Wire("front", "reader", "front_span_offset", "spans", control=True, bare=True, sides="tb"),
        Wire("reader", "loader", "data", "header, records", bare=True),
        Wire("reader", "weights", "data", "beats", bare=True),
        Wire("weights", "linear", "group_cycles", "row groups", control=True, bare=True),
        Wire("dispatch", "weights", "load_record", "what loads", control=True, sides="tb", bare=True),
        Wire(
            "dispatch",
            "linear attention norm pool tensor_in tensor_out",
            "record",
            "what runs",
            sides="rl",
            bare=True,
        ),
        Wire(
            "norm",
            "dispatch",
            "norm_ready",
            "tiles that stand,\nissued, done",
            control=True,
            sides="br",
            bare=True,
        ),
    ),
)

CONTROL = Figure(
    name="control",
    module="flow_engine",
    title="Registers and commands",
    leaves_out=(
        "program_memory queue check operand0 operand1 store_readers store values writers rows constants array post "
        "results weights linear attention norm pool tensor_in tensor_out"
    ),
    boxes=(
        Box("axi", (0, 0), "32 bits", ports="s_axi_control_*", title="AXI4-Lite"),
        Box(
            "registers",
            (0, 1),
            "start, interrupts, arguments,\nthe information block",
            module="control_registers",
        ),
        Box("irq", (1, 0), ports="interrupt", title="interrupt"),
        Box(
            "control",
            (0, 2),
            "IDENTIFY, LOAD, RUN;\nstatus, counters; resets the units\nwhere data are damaged",
            module="command_control",
            span=(2, 1),
        ),
        Box("loader", (0, 3), "LOAD", module="program_loader"),
        Box("front", (1, 3), "RUN", module="step_front"),
        Box("dispatch", (2, 3), "frames done, steps that fail", module="step_dispatch"),
        Box("reader", (2, 2), "dropped after damage", module="memory_reader"),
    ),
    wires=(
        Wire(
            "axi", "registers", "s_axi_control_WDATA", "writes, reads", back="s_axi_control_RDATA", bare=True
        ),
        Wire("registers", "irq", "interrupt", control=True, sides="bb"),
        Wire("registers", "control", "command", "command", back="finish"),
        Wire("control", "loader", "load_start", "start", back="load_status", control=True),
        Wire("control", "front", "run_start", "start, stop", back="front_status", control=True),
        Wire("dispatch", "control", "frame_done", "frames,\nfailures", control=True, sides="l."),
        Wire("control", "reader", "flush", "flush", back="reader_idle", control=True, sides="bt"),
        Wire("registers", "reader", "image_base", "base of the image", control=True, sides="bl"),
        Wire("control", "registers", "info_status", "status, counters", sides="tt", bare=True),
    ),
)

READER = Figure(
    name="memory-reader",
    module="memory_reader",
    title="The AXI4 read master",
    boxes=(
        Box(
            "spans",
            (0, 0),
            "offset, beats;\npages tell theirs",
            ports="span_*",
            beyond="step_front program_loader",
        ),
        Box(
            "queue",
            (0, 1),
            "eight spans",
            signals="offset_q beats_q page_q",
            title="requests",
            memory=True,
            supposes="QueueLog2=3",
        ),
        Box(
            "probe",
            (1, 1),
            "the first beat of a code page,\nahead of the spans before it",
            signals="probe_issue probing_q",
            title="probe",
        ),
        Box("span", (0, 2), "cut at the image's end:\nzeros beyond", signals="left_q zeros_q", title="span"),
        Box(
            "burst",
            (0, 3),
            "inside a page of 4 KiB,\nonly what the FIFO has room for",
            signals="burst_q address_q",
            title="burst",
        ),
        Box("ar", (0, 4), "address", ports="araddr_o arlen_o arvalid_o arready_i", title="AXI4"),
        Box("r", (2, 4), "data", ports="rdata_i rlast_i rvalid_i rready_o", title="AXI4"),
        Box("space", (1, 3), "booked before data are asked for", signals="space_q", title="room"),
        Box(
            "data_fifo",
            (2, 3),
            "512 beats",
            module="fifo",
            memory=True,
            supposes="DepthLog2=FifoLog2 FifoLog2=9",
        ),
        Box("slice", (2, 2), "behind the block RAM", module="stream_slice"),
        Box("beats", (2, 1), "a beat a cycle", ports="data_*", title="beats"),
    ),
    wires=(
        Wire("spans", "queue", "span_beats_i", "spans", bare=True),
        Wire("queue", "span", "beats_q"),
        Wire("queue", "probe", "page_q", control=True, sides="bt"),
        Wire("span", "burst", "left_q"),
        Wire("burst", "ar", "burst_q", "bursts", bare=True),
        Wire("probe", "ar", "probe_issue", "one beat", control=True, sides="bb"),
        Wire("space", "burst", "space_q", control=True, sides="tb"),
        Wire("r", "data_fifo", "rdata_i", "data"),
        Wire("span", "data_fifo", "zeros_q", "zeros", control=True, sides="b.", bare=True),
        Wire("data_fifo", "slice", "fifo_data"),
        Wire("slice", "beats", "data_o"),
        Wire("data_fifo", "space", "fifo_valid", control=True, sides="tb"),
    ),
)

FIGURES = (ENGINE, SEQUENCER, CONTROL, READER)
