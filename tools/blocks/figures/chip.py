"""The chip around the engine."""

from __future__ import annotations

from blocks.description import Box, Figure, Frame, Wire

CHIP = Figure(
    name="chip",
    module="ulx3s",
    title="A chip without a host",
    boxes=(
        Box("osc", (0, 0), "25 MHz", ports="clk_25mhz", title="oscillator"),
        Box("clock", (0, 1), "the board's clock", module="chip_clock"),
        Box("rx", (1, 0), "from the host", ports="ftdi_txd", title="UART"),
        Box("shell.receiver", (1, 1), "8N1", module="uart_receiver"),
        Box("shell.packets", (1, 2), "whole requests;\nchecksum first", module="packet_receiver"),
        Box("shell.commands", (1, 3), "carries out, answers", module="shell_commands"),
        Box("shell.transmitter", (2, 1), "8N1", module="uart_transmitter"),
        Box("tx", (2, 0), "to the host", ports="ftdi_rxd", title="UART"),
        Box(
            "shell.image", (2, 2), "the image in block RAM,\na beat a cycle", module="chip_image", memory=True
        ),
        Box(
            "shell.streams",
            (2, 3),
            "256 beats each way",
            module="stream_buffers",
            memory=True,
            supposes="BufferLog2=StreamLog2 StreamLog2=8",
        ),
        Box("engine", (3, 2), "registers, AXI4, streams", module="flow_engine", span=(1, 2)),
        Box("led", (3, 0), "what happened", ports="led", title="lights"),
    ),
    wires=(
        Wire("osc", "clock", "clk_25mhz"),
        Wire("rx", "shell.receiver", "ftdi_txd"),
        Wire("shell.receiver", "shell.packets", "rx_byte", "bytes", bare=True),
        Wire("shell.packets", "shell.commands", "request_word", "requests", bare=True),
        Wire("shell.commands", "shell.transmitter", "tx_byte", "answers", sides="bt", bare=True),
        Wire("shell.transmitter", "tx", "ftdi_rxd"),
        Wire(
            "shell.commands", "shell.image", "image_wdata", "words", back="image_data", sides="bt", bare=True
        ),
        Wire(
            "shell.commands",
            "shell.streams",
            "send_word",
            "words",
            back="receive_word",
            sides="bt",
            bare=True,
        ),
        Wire(
            "shell.image",
            "engine",
            "m_axi_gmem_rdata",
            "AXI4",
            back="m_axi_gmem_araddr",
            sides="bt",
            bare=True,
        ),
        Wire(
            "shell.streams",
            "engine",
            "stream_in_tdata",
            "streams",
            back="stream_out_tdata",
            sides="bt",
            bare=True,
        ),
        Wire(
            "shell.commands",
            "engine",
            "s_axi_control_wdata",
            "AXI4-Lite",
            back="s_axi_control_rdata",
            sides="rr",
            bare=True,
        ),
        Wire("clock", "engine", "clk", control=True, sides="r."),
        Wire("shell.receiver", "led", "led", control=True, sides="lr"),
    ),
    frames=(
        Frame(
            "chip_shell",
            "shell.receiver shell.packets shell.commands shell.transmitter shell.image shell.streams",
            key="shell",
        ),
    ),
    gaps=(6, 6),
)

PACKETS = Figure(
    name="packet-receiver",
    module="packet_receiver",
    title="Bytes to requests",
    boxes=(
        Box("bytes", (0, 0), "a byte now and then", ports="byte_*", beyond="uart_receiver"),
        Box("crc_step", (0, 1), "a byte further", module="crc16"),
        Box("crc", (1, 1), "begun anew after a\nsilence", signals="crc_q", title="checksum"),
        Box("buffer", (0, 2), "payload, read once\nthe checksum holds", module="ram_1r1w", memory=True),
        Box(
            "out",
            (1, 2),
            "opcode, count, address",
            ports="opcode_o count_o address_o intact_o word_o",
            beyond="shell_commands",
        ),
    ),
    wires=(
        Wire("bytes", "crc_step", "byte_i"),
        Wire("crc_step", "crc", "crc", back="crc_q", sides="bt", bare=True),
        Wire("crc", "out", "crc_q", control=True, bare=True),
        Wire("bytes", "buffer", "byte_i", sides="tt"),
        Wire("buffer", "out", "word_o", sides="bt"),
    ),
)

IMAGE = Figure(
    name="chip-image",
    module="chip_image",
    title="The memory image on chip",
    boxes=(
        Box(
            "axi", (0, 0), "bursts of the engine", ports="araddr_i arlen_i arvalid_i arready_o", title="AXI4"
        ),
        Box(
            "shell",
            (1, 0),
            "words of 32 bits,\nin the engine's pauses",
            ports="we_i re_i word_i wdata_i word_o",
            beyond="shell_commands",
        ),
        Box("ram", (0, 1), "2,048 beats, preset\nfrom a file", module="image_block", memory=True),
        Box("beats", (0, 2), "", module="fifo", memory=True),
        Box("r", (0, 3), "a beat a cycle", ports="rdata_o rvalid_o rlast_o rready_i", title="AXI4"),
    ),
    wires=(
        Wire("axi", "ram", "araddr_i", bare=True),
        Wire("shell", "ram", "wdata_i", sides="rb"),
        Wire("ram", "beats", "", "4 cycles after\nthe address"),
        Wire("beats", "r", "rdata_o"),
    ),
)

FIGURES = (CHIP, PACKETS, IMAGE)
