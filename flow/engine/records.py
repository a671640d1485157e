"""Step records, status codes and registers: every word that crosses the border between software and engine."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from flow.engine.parameters import PROGRAM_VERSION, Engine
from flow.errors import FlowError

PROGRAM_MAGIC = 0x574F4C46  # "FLOW", little endian
HEADER_BYTES = 64
RECORD_WORDS = 32
RECORD_BYTES = 4 * RECORD_WORDS
MAX_SHAPES = 4
MAX_CODE_ENTRIES = 256
STAGE_WORDS = 16
"""int32 parameters of a plug-in stage."""


class Opcode(IntEnum):
    """First word of a step record."""

    END = 0
    INPUT = 1
    CONSTANT = 2
    LINEAR = 3
    NORM = 4
    ATTENTION = 5
    POOL = 6
    OUTPUT = 7


class Space(IntEnum):
    """On-chip memories that a step can name."""

    OPERAND0 = 0
    OPERAND1 = 1
    STORE = 2
    VALUES = 3


class Status(IntEnum):
    """Word 0 of the information block after a command."""

    OK = 0
    BAD_MAGIC = 1
    BAD_VERSION = 2
    WRONG_ENGINE = 3
    TOO_MANY_STEPS = 4
    BAD_STEP = 5
    BAD_LENGTH = 6
    NOT_LOADED = 7
    BAD_COMMAND = 8


class Command(IntEnum):
    """Argument `command` of the kernel."""

    IDENTIFY = 0
    LOAD = 1
    RUN = 2


_NORM_OUTPUT = "constants shift bits space base".split()
RECORDS: Mapping[Opcode, tuple[str, ...]] = {
    opcode: ("opcode", *words)
    for opcode, words in {
        Opcode.END: (),
        Opcode.INPUT: "single_token planes depth space base".split(),
        Opcode.CONSTANT: "single_token planes depth space base data tiles".split(),
        Opcode.LINEAR: (
            "single_token source_space source_base source_planes source_signed depth row_groups "
            "weight_bits page weights weight_beats out_bits out_signed out_zero table table_bits "
            "has_residual residual_base residual_multiplier residual_shift space base out_depth heads "
            "pitch first_tile tiles stage stage_data"
        ).split(),
        Opcode.NORM: [
            *"single_token source_base depth channels centred epsilon_low epsilon_high outputs".split(),
            *(f"{word}{output}" for output in range(2) for word in _NORM_OUTPUT),
        ],
        Opcode.ATTENTION: (
            "single_token query_base key_base value_base depth heads pitch score_multiplier "
            "score_shift exp exp_bits multiplier shift causal space base"
        ).split(),
        Opcode.POOL: "single_token source_base depth mean multiplier shift bits space base".split(),
        Opcode.OUTPUT: "single_token source_space source_base planes depth".split(),
    }.items()
}
"""Words of each step record by name, in order. Offsets (`data`, `weights`, `page`, `table`, `exp`,
`constants*`) are in beats from the start of the image. `tiles` = 0 in LINEAR means all tiles of the sequence.
`single_token` = 1: the step works on one token."""

INFO = tuple(
    (
        "status hash_low hash_high version tokens banks rows norm_lanes heads beat_bytes stream_bytes "
        "sequence steps_capacity features failed_step frames_done cycles_low cycles_high stall_input "
        "stall_output stall_memory steps_loaded"
    ).split()
)
"""Words of the information block that the kernel writes after every command."""
INFO_WORDS = 32
REGISTERS: tuple[tuple[str, int, int, str], ...] = (
    ("ap_ctrl", 0x00, 4, "rw"),
    ("gie", 0x04, 4, "rw"),
    ("ier", 0x08, 4, "rw"),
    ("isr", 0x0C, 4, "rw"),
    ("memory", 0x10, 8, "rw"),
    ("command", 0x1C, 4, "rw"),
    ("frames", 0x24, 4, "rw"),
    ("info", 0x80, 4 * INFO_WORDS, "r"),
)
"""AXI4-Lite registers: name, byte offset, bytes, access; the offsets that Vitis HLS gives to the kernel's
arguments."""


@dataclass(frozen=True)
class Record:
    """One step record: an opcode and its named words (int, -2^31 .. 2^32 - 1)."""

    opcode: Opcode
    words: Mapping[str, int] = field(default_factory=dict)

    def pack(self) -> bytes:
        """`RECORD_BYTES` bytes, little endian; unnamed words are 0.

        Raises:
            FlowError: a word is unknown to the opcode.
        """
        names = RECORDS[self.opcode]
        unknown = set(self.words) - set(names)
        if unknown:
            raise FlowError(
                f"step record {self.opcode.name}: found words {sorted(unknown)}; expected some of {', '.join(names)}"
            )
        values = {"opcode": int(self.opcode), **self.words}
        return struct.pack(
            f"<{RECORD_WORDS}I",
            *(values.get(n, 0) & 0xFFFFFFFF for n in names),
            *([0] * (RECORD_WORDS - len(names))),
        )

    @staticmethod
    def unpack(data: bytes) -> Record:
        """The record of `RECORD_BYTES` bytes; words are unsigned except the signed ones named below.

        Raises:
            FlowError: the length or opcode is wrong.
        """
        if len(data) != RECORD_BYTES:
            raise FlowError(f"step record: found {len(data)} bytes; expected {RECORD_BYTES}")
        raw = struct.unpack(f"<{RECORD_WORDS}I", data)
        if raw[0] not in Opcode._value2member_map_:
            raise FlowError(f"step record: found opcode {raw[0]}; expected 0 to {max(Opcode)}")
        opcode = Opcode(raw[0])
        signed = {"out_zero", "residual_multiplier", "score_multiplier", "multiplier"}
        words = {
            n: raw[i] - (raw[i] >> 31 << 32) if n in signed else raw[i] for i, n in enumerate(RECORDS[opcode])
        }
        return Record(opcode, words)


def pack_header(engine: Engine, steps: int, offset: int, beats: int) -> bytes:
    """The image's first 64 bytes: u32 magic, u32 version, u64 engine hash, u32 steps, u32 byte offset of the
    records, u32 beats of the image."""
    body = struct.pack("<IIQIII", PROGRAM_MAGIC, PROGRAM_VERSION, engine.hash, steps, offset, beats)
    return body.ljust(HEADER_BYTES, b"\0")
