"""What the C++ templates place: one frozen dataclass per template, everything computed from the engine."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from flow.boards import DSP_KINDS, DspKind
from flow.engine import (
    HEADER_BYTES,
    INFO,
    INFO_WORDS,
    MAX_CODE_ENTRIES,
    MAX_SHAPES,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    RECORD_WORDS,
    RECORDS,
    REGISTERS,
    STAGE_WORDS,
    STAGES,
    Command,
    Engine,
    Opcode,
    Record,
    Space,
    Status,
)
from flow.engine.ports import CONTROL, MEMORY

TOP = "flow_engine"
"""Name of the kernel's top function."""


@dataclass(frozen=True)
class Constant:
    """`constexpr type name = value;  // comment`."""

    type: str
    name: str
    value: str
    comment: str = ""


@dataclass(frozen=True)
class ConstantGroup:
    """Constants that belong together, under a title."""

    title: str
    constants: tuple[Constant, ...]


@dataclass(frozen=True)
class Enumeration:
    """An `enum class` over uint32_t."""

    name: str
    comment: str
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class RecordField:
    """One word of a step record."""

    type: str
    name: str


@dataclass(frozen=True)
class RecordType:
    """A step record as a C++ structure; field i is word i."""

    name: str
    function: str
    fields: tuple[RecordField, ...]


def camel(name: str) -> str:
    """`BAD_STEP` or `bad_step` to `BadStep`."""
    return "".join(part.capitalize() for part in name.split("_"))


def signed_words(opcode: Opcode) -> frozenset[str]:
    """Words of a record that are two's complement, as `Record.unpack` reads them."""
    ones = struct.pack(f"<{RECORD_WORDS}I", int(opcode), *[0xFFFFFFFF] * (RECORD_WORDS - 1))
    return frozenset(name for name, value in Record.unpack(ones).words.items() if value < 0)


def record_type(opcode: Opcode) -> RecordType:
    """The C++ structure of an opcode's record."""
    signed = signed_words(opcode)
    fields = (RecordField("int32_t" if name in signed else "uint32_t", name) for name in RECORDS[opcode])
    return RecordType(camel(opcode.name), opcode.name.lower(), tuple(fields))


def enumeration(kind: type[IntEnum], comment: str) -> Enumeration:
    """An `IntEnum` of the program format in C++."""
    return Enumeration(kind.__name__, comment, tuple((camel(member.name), int(member)) for member in kind))


def _int(name: str, value: int, comment: str = "") -> Constant:
    return Constant("int", name, str(value), comment)


def _word(name: str, value: int, comment: str = "") -> Constant:
    return Constant("uint32_t", name, f"0x{value:08x}", comment)


@dataclass(frozen=True)
class ConfigContext:
    """Everything that config.hpp states.

    Attributes:
        engine: the engine; two programs for one engine give the same header.
        packing: how one DSP primitive takes two products; it changes no result.

    Raises:
        FlowError: the kernel cannot be built for this engine.
    """

    engine: Engine
    packing: DspKind = DSP_KINDS["DSP48E2"]

    @cached_property
    def constants(self) -> tuple[ConstantGroup, ...]:
        """The header's constants in reading order."""
        return (*self._engine_groups(), *self._format_groups())

    def _engine_groups(self) -> tuple[ConstantGroup, ...]:
        e = self.engine
        parallel = (
            _int("Tokens", e.tokens, "token lanes"),
            _int("Banks", e.banks, "memory banks; physical channel c lies in bank c % Banks"),
            _int("Rows", e.rows, "output rows at a time"),
            _int("NormLanes", e.norm_lanes, "channels a cycle in norm and pool"),
            _int("Heads", e.heads, "attention heads side by side, at most"),
            _int("BeatBytes", e.beat_bytes, "one read of the AXI4 master"),
            _int("StreamBytes", e.stream_bytes, "one beat of the AXI4-Streams"),
        )
        capacities = (
            _int("Sequence", e.sequence, "tokens"),
            _int("OperandDepth", e.operand_depth, "words per bank"),
            _int("StoreDepth", e.store_depth, "words per bank"),
            _int("ValuesDepth", e.values_depth, "words per bank"),
            _int("Depth", e.depth, "words per bank of one tensor and token tile"),
            _int("RowCycles", e.row_cycles, "weights per row and bank"),
            _int("MaxColumns", e.column_entries, "entries of a bank's column list"),
            _int("MaxSteps", e.steps, "step records"),
            _int("TableBits", e.table_bits, "index bits of a lookup table"),
        )
        packing = (
            _int("DspProducts", self.packing.products, f"{self.packing.name}: {self.packing.source}"),
            _int("DspSpacing", self.packing.spacing, "bits between two packed products"),
        )
        outside = _int("OutsideStages", len(e.outside), "of plug-ins: " + (", ".join(e.outside) or "none"))
        stages = tuple(
            Constant("bool", f"Has{camel(stage)}", "true" if stage in e.features else "false")
            for stage in STAGES
        )
        return (
            ConstantGroup("Parallelism", parallel),
            ConstantGroup("Capacities", capacities),
            ConstantGroup("Packing of products into DSP primitives", packing),
            ConstantGroup("Stages compiled in", (*stages, outside)),
        )

    def _format_groups(self) -> tuple[ConstantGroup, ...]:
        program = (
            _word("ProgramMagic", PROGRAM_MAGIC, '"FLOW"'),
            _word("ProgramVersion", PROGRAM_VERSION),
            Constant("uint64_t", "EngineHash", f"0x{self.engine.hash:016x}"),
            _word("FeatureBits", self.engine.feature_bits),
            _int("HeaderBytes", HEADER_BYTES),
            _int("RecordWords", RECORD_WORDS),
            _int("MaxShapes", MAX_SHAPES, "group shapes of a code page"),
            _int("StageWords", STAGE_WORDS, "parameters of a plug-in's stage"),
            _int("MaxCodeEntries", MAX_CODE_ENTRIES, "subset table entries of a code page"),
        )
        info = (
            *(_int(f"Info{camel(name)}", index) for index, name in enumerate(INFO)),
            _int("InfoWords", INFO_WORDS),
        )
        return ConstantGroup("Program format", program), ConstantGroup("Words of the information block", info)

    @property
    def enumerations(self) -> tuple[Enumeration, ...]:
        """Enumerations of the program format."""
        return (
            enumeration(Opcode, "First word of a step record."),
            enumeration(Space, "On-chip memories that a step can name."),
            enumeration(Status, "Word 0 of the information block."),
            enumeration(Command, "What the host asks the kernel to do."),
        )

    @property
    def records(self) -> tuple[RecordType, ...]:
        """Step records by opcode."""
        return tuple(record_type(opcode) for opcode in Opcode if opcode is not Opcode.END)


@dataclass(frozen=True)
class StorageContext:
    """What the memories that steps name lie in; `ultra` names those in UltraRAM (`flow.cost.ultra_memories`)."""

    ultra: frozenset[str] = frozenset()

    def implementation(self, memory: str) -> str:
        """What BIND_STORAGE calls it."""
        return "uram" if memory in self.ultra else "bram"


@dataclass(frozen=True)
class DispatchContext:
    """Which stages dispatch.hpp wires in."""

    engine: Engine

    def has(self, stage: str) -> bool:
        """Whether the engine has a stage compiled in."""
        return stage in self.engine.features

    @property
    def outside(self) -> tuple[str, ...]:
        """Stages of plug-ins, in the order in which a linear step's word `stage` counts them from 1."""
        return self.engine.outside


@dataclass(frozen=True)
class KernelContext:
    """The top level: its name, the engine that it serves, and its registers."""

    engine: Engine
    top: str = TOP

    @property
    def control_bundle(self) -> str:
        """What HLS makes the AXI4-Lite port's name of."""
        return CONTROL.removeprefix("s_axi_")

    @property
    def memory_bundle(self) -> str:
        """What HLS makes the AXI4 master's name of."""
        return MEMORY.removeprefix("m_axi_")

    def offset(self, register: str) -> int:
        """Byte offset of a register."""
        return next(offset for name, offset, _, _ in REGISTERS if name == register)


@dataclass(frozen=True)
class TestbenchContext:
    """The C simulation's driver."""

    engine: Engine
    top: str = TOP
