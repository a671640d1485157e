"""The engine and the binary contract between compiler, golden model, C++, Verilog, loader and drivers.

An engine is T token lanes x B banks x P output rows of multipliers plus the stages compiled in. A *program* is a list
of step records with the data they name, packed into one memory image. `docs/program-format.md` is the same contract in
prose; `tests/test_program_format.py` keeps the two together.

Memories (a word of `operand` and `store` is T bytes, T tokens of one channel; a word of `values` is P bytes):

- `operand0`, `operand1`: ping-pong inputs of linear steps, B banks of `operand_depth` words, ceil(P/2) copies.
- `store`: residual stream, queries and keys, B banks of `store_depth` words.
- `values`: the V of attention, transposed, B banks of `values_depth` words.

Channel c of a tensor of `depth` D (physical channels / B) lies in bank `c % B`. Byte plane p (0 low, 1 high) of token
tile i is at `base + (i*planes + p)*D + c//B`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from flow.errors import FitError, FlowError, raise_all

PROGRAM_MAGIC = 0x574F4C46  # "FLOW", little endian
PROGRAM_VERSION = 1
HEADER_BYTES = 64
RECORD_WORDS = 32
RECORD_BYTES = 4 * RECORD_WORDS
MAX_SHAPES = 4
MAX_CODE_ENTRIES = 256
STAGES = ("add", "attention", "norm", "pool", "table")
"""Stages that an engine may have compiled in; `linear`, `input`, `constant` and `output` are always there."""


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


NORM_OUTPUT = ("constants", "shift", "bits", "space", "base")
# fmt: off
RECORDS: Mapping[Opcode, tuple[str, ...]] = {
    Opcode.END: ("opcode",),
    Opcode.INPUT: ("opcode", "single_token", "planes", "depth", "space", "base"),
    Opcode.CONSTANT: ("opcode", "single_token", "planes", "depth", "space", "base", "data", "tiles"),
    Opcode.LINEAR: (
        "opcode", "single_token", "source_space", "source_base", "source_planes", "source_signed", "depth", "row_groups",
        "weight_bits", "page", "weights", "weight_beats", "out_bits", "out_signed", "out_zero", "table", "table_bits",
        "has_residual", "residual_base", "residual_multiplier", "residual_shift", "space", "base", "out_depth", "heads", "pitch",
        "first_tile", "tiles",
    ),
    Opcode.NORM: (
        "opcode", "single_token", "source_base", "depth", "channels", "centred", "epsilon_low", "epsilon_high", "outputs",
        *(f"{name}{i}" for i in range(2) for name in NORM_OUTPUT),
    ),
    Opcode.ATTENTION: (
        "opcode", "single_token", "query_base", "key_base", "value_base", "depth", "heads", "pitch", "score_multiplier",
        "score_shift", "exp", "exp_bits", "multiplier", "shift", "causal", "space", "base",
    ),
    Opcode.POOL: ("opcode", "single_token", "source_base", "depth", "mean", "multiplier", "shift", "bits", "space", "base"),
    Opcode.OUTPUT: ("opcode", "single_token", "source_space", "source_base", "planes", "depth"),
}
"""Words of each step record by name, in order. Offsets (`data`, `weights`, `page`, `table`, `exp`, `constants*`) are in beats
from the start of the image. `tiles` = 0 in LINEAR means all tiles of the sequence. `single_token` = 1: the step works on one token."""

INFO = (
    "status", "hash_low", "hash_high", "version", "tokens", "banks", "rows", "norm_lanes", "heads", "beat_bytes",
    "stream_bytes", "sequence", "steps_capacity", "features", "failed_step", "frames_done", "cycles_low", "cycles_high",
    "stall_input", "stall_output", "stall_memory", "steps_loaded",
)
# fmt: on
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
"""AXI4-Lite registers: name, byte offset, bytes, access; the offsets that Vitis HLS gives to the kernel's arguments."""


@dataclass(frozen=True)
class Engine:
    """Everything that is fixed at synthesis. Equal engines run each other's programs; `hash` names them.

    Units: `operand_depth`, `store_depth`, `values_depth` in words per bank; `depth` in words per bank of one tensor
    (the widest input is `depth * banks` channels); `row_cycles` is the largest G*K of a row group; `sequence` in tokens.
    """

    tokens: int
    banks: int
    rows: int
    norm_lanes: int
    heads: int
    beat_bytes: int = 64
    stream_bytes: int = 16
    features: tuple[str, ...] = STAGES
    sequence: int = 128
    operand_depth: int = 1024
    store_depth: int = 1024
    values_depth: int = 1024
    depth: int = 64
    row_cycles: int = 64
    steps: int = 256
    table_bits: int = 8

    def __post_init__(self) -> None:
        faults = [
            f"{name} = {value}: expected a power of two"
            for name, value in (
                (n, getattr(self, n))
                for n in ("tokens", "banks", "rows", "norm_lanes", "heads", "beat_bytes", "stream_bytes")
            )
            if value < 1 or value & (value - 1)
        ]
        faults += [
            f"{f.name} = {getattr(self, f.name)}: expected at least 1"
            for f in fields(self)
            if f.type == "int" and getattr(self, f.name) < 1
        ]
        if self.tokens % self.rows:
            faults.append(f"rows = {self.rows}: expected a divisor of tokens = {self.tokens}")
        if self.rows > self.banks:
            faults.append(f"rows = {self.rows}: expected at most banks = {self.banks}")
        if self.heads > self.banks:
            faults.append(f"heads = {self.heads}: expected at most banks = {self.banks}")
        if not 8 <= self.beat_bytes <= 128:
            faults.append(f"beat_bytes = {self.beat_bytes}: expected 8, 16, 32, 64 or 128")
        if not 8 <= self.table_bits <= 12:
            faults.append(f"table_bits = {self.table_bits}: expected 8 to 12")
        faults += [
            f"features: found {f!r}; expected some of {', '.join(STAGES)}"
            for f in self.features
            if f not in STAGES
        ]
        raise_all(
            FlowError, f"engine {self.tokens}x{self.banks}x{self.rows}: found {len(faults)} faults", faults
        )

    @property
    def multipliers(self) -> int:
        """T*B*P: int8 products per cycle."""
        return self.tokens * self.banks * self.rows

    @property
    def hash(self) -> int:
        """64 bits that name the engine and the version of the program format."""
        text = json.dumps([PROGRAM_VERSION, asdict(self)], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")

    @property
    def feature_bits(self) -> int:
        """Bit i set: stage `STAGES[i]` is compiled in."""
        return sum(1 << i for i, stage in enumerate(STAGES) if stage in self.features)

    def tiles(self, tokens: int) -> int:
        """Token tiles of T that cover `tokens`."""
        return -(-tokens // self.tokens)

    def words(self, channels: int) -> int:
        """Words per bank and token tile that `channels` physical channels take: ceil(channels / B)."""
        return -(-channels // self.banks)

    def head_pitch(self, width: int) -> int:
        """Physical channels between heads of `width` d: the next power of two (at least P) where d < B, else the next multiple of B."""
        if width >= self.banks:
            return self.words(width) * self.banks
        return max(1 << (width - 1).bit_length(), self.rows)

    def heads_abreast(self, pitch: int) -> int:
        """Heads that attention computes side by side: min(H, B/pitch), at least 1."""
        return max(1, min(self.heads, self.banks // pitch))

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary; `from_json` reads it back."""
        return {**asdict(self), "features": list(self.features)}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Engine:
        """The engine of a manifest.

        Raises:
            FlowError: a field is unknown, missing or out of range.
        """
        names = {f.name for f in fields(Engine)}
        if set(data) != names:
            raise FlowError(
                f"engine: found fields {sorted(set(data) ^ names)} unknown or missing; expected {sorted(names)}"
            )
        return Engine(**{**data, "features": tuple(data["features"])})


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


def require(what: str, needed: int, available: int, name: str, unit: str = "") -> None:
    """Refuse what an engine cannot hold, by the name of the capacity.

    Raises:
        FitError: `needed` exceeds `available`.
    """
    if needed > available:
        raise FitError(
            f"{what}: found {needed}{unit} needed; expected at most {available}{unit} (engine capacity {name!r}), "
            f"{needed - available} too many; use a larger engine, board or --set engine.{name}={needed}"
        )


def pack_header(engine: Engine, steps: int, offset: int, beats: int) -> bytes:
    """The image's first 64 bytes: u32 magic, u32 version, u64 engine hash, u32 steps, u32 byte offset of the records, u32 beats of the image."""
    body = struct.pack("<IIQIII", PROGRAM_MAGIC, PROGRAM_VERSION, engine.hash, steps, offset, beats)
    return body.ljust(HEADER_BYTES, b"\0")


@dataclass(frozen=True)
class Port:
    """A device input or output: how its tensor travels as stream beats.

    `physical[c]` is the physical channel of logical channel c; `depth` words per bank and tile; `planes` bytes per
    element; `single_token` tensors have one token whatever the sequence length. Quantised type: `bits`, `signed`.
    """

    name: str
    physical: tuple[int, ...]
    depth: int
    planes: int
    signed: bool
    single_token: bool

    def frame_bytes(self, engine: Engine, length: int) -> int:
        """Bytes of this tensor in a frame of `length` tokens, padded to whole stream beats."""
        words = engine.tiles(1 if self.single_token else length) * self.planes * self.depth * engine.banks
        return -(-words * engine.tokens // engine.stream_bytes) * engine.stream_bytes

    def pack(self, engine: Engine, tensor: npt.NDArray[Any], length: int) -> bytes:
        """[tokens, C] integers to the stream bytes `[tile][plane][depth][bank][token]`; tokens >= length are sent as 0."""
        count = 1 if self.single_token else length
        tiles = engine.tiles(count)
        padded = np.zeros((tiles * engine.tokens, self.depth * engine.banks), np.int64)
        padded[:count, list(self.physical)] = tensor[:count]
        planes = np.stack([(padded >> (8 * p)) & 0xFF for p in range(self.planes)]).astype(np.uint8)
        words = planes.reshape(self.planes, tiles, engine.tokens, self.depth, engine.banks).transpose(
            1, 0, 3, 4, 2
        )
        return words.tobytes().ljust(self.frame_bytes(engine, length), b"\0")

    def unpack(self, engine: Engine, data: bytes, length: int, tokens: int) -> npt.NDArray[np.int64]:
        """Stream bytes back to [tokens, C] integers; tokens that no tile covers are 0."""
        count = 1 if self.single_token else length
        tiles = engine.tiles(count)
        size = tiles * self.planes * self.depth * engine.banks * engine.tokens
        words = np.frombuffer(data[:size], np.uint8).reshape(
            tiles, self.planes, self.depth, engine.banks, engine.tokens
        )
        planes = (
            words.transpose(1, 0, 4, 2, 3)
            .reshape(self.planes, tiles * engine.tokens, self.depth * engine.banks)
            .astype(np.int64)
        )
        value = sum((planes[p] << (8 * p) for p in range(self.planes)), np.zeros_like(planes[0]))
        if self.signed:
            sign = 1 << (8 * self.planes - 1)
            value = (value ^ sign) - sign
        out = np.zeros((tokens, len(self.physical)), np.int64)
        rows = min(tokens, len(value))
        out[:rows] = value[:rows, list(self.physical)]
        return out


@dataclass(frozen=True)
class Program:
    """What an engine runs: records and the memory image that holds them, and the tensors that go in and out.

    `image` = 64-byte header, records packed from byte 64, then data blocks on beat boundaries. `steps[i]` names record i.
    """

    engine: Engine
    records: tuple[Record, ...]
    image: bytes
    steps: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tokens: int
    """Static sequence length S of the model (1 .. engine.sequence)."""

    def frame(self, tensors: Mapping[str, npt.NDArray[Any]], length: int) -> bytes:
        """One input frame: a header beat whose first u32 is `length`, then every input tensor in order."""
        header = struct.pack("<I", length).ljust(self.engine.stream_bytes, b"\0")
        return header + b"".join(port.pack(self.engine, tensors[port.name], length) for port in self.inputs)

    def read_frame(self, data: bytes, length: int) -> dict[str, npt.NDArray[np.int64]]:
        """Output tensors by name from one output frame (no header)."""
        result, offset = {}, 0
        for port in self.outputs:
            size = port.frame_bytes(self.engine, length)
            tokens = 1 if port.single_token else self.tokens
            result[port.name] = port.unpack(self.engine, data[offset : offset + size], length, tokens)
            offset += size
        return result

    def output_bytes(self, length: int) -> int:
        """Bytes of one output frame."""
        return sum(port.frame_bytes(self.engine, length) for port in self.outputs)


class ImageBuilder:
    """Lays data blocks into a memory image on beat boundaries; equal blocks are stored once."""

    def __init__(self, engine: Engine, steps: int) -> None:
        self._engine = engine
        self._steps = steps
        first = HEADER_BYTES + steps * RECORD_BYTES
        self._next = -(-first // engine.beat_bytes)
        self._blocks: list[bytes] = []
        self._known: dict[bytes, int] = {}

    def place(self, data: bytes) -> int:
        """Append a block (or find its equal) and return its offset in beats."""
        beat = self._engine.beat_bytes
        padded = data.ljust(-(-len(data) // beat) * beat, b"\0")
        key = hashlib.sha256(padded).digest()
        if key not in self._known:
            self._known[key] = self._next
            self._blocks.append(padded)
            self._next += len(padded) // beat
        return self._known[key]

    def finish(self, records: Sequence[Record]) -> bytes:
        """The whole image. The number of records must be the one promised.

        Raises:
            FlowError: another number of records.
        """
        if len(records) != self._steps:
            raise FlowError(f"image: found {len(records)} records; expected {self._steps}")
        beat = self._engine.beat_bytes
        head = pack_header(self._engine, len(records), HEADER_BYTES, self._next) + b"".join(
            r.pack() for r in records
        )
        return head.ljust(-(-len(head) // beat) * beat, b"\0") + b"".join(self._blocks)
