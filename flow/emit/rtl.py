"""The `rtl/` folder of a build: the engine in Verilog-2005, static modules copied and the templates' files written.

Nothing here depends on a program: two models on one engine get identical Verilog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from flow.boards import DSP_KINDS, DspKind
from flow.emit.contexts import TOP, camel
from flow.emit.cosim import Pin
from flow.emit.rendering import render
from flow.emit.sources import Sources, outside_module
from flow.engine import (
    INFO,
    INFO_WORDS,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    RECORDS,
    REGISTERS,
    STAGE_WORDS,
    Command,
    Engine,
    Opcode,
    Space,
    Status,
    interfaces,
    outside_stages,
)
from flow.engine.ports import (
    CLOCK,
    CONTROL,
    INTERRUPT,
    MEMORY,
    RESET,
    STREAM_IN,
    STREAM_OUT,
    control_address_bits,
)
from flow.engine.timing import Timing
from flow.errors import UnsupportedError
from flow.ops.post import OUTSIDE, PostStage


@dataclass(frozen=True)
class RtlContext:
    """What the Verilog templates place.

    Attributes:
        engine: the engine; two programs for one engine give the same Verilog.
        packing: how one DSP primitive takes two products; it changes no result.
        ultra: names of the memories that shall lie in UltraRAM; that changes no result either.
    """

    engine: Engine
    packing: DspKind = DSP_KINDS["DSP48E2"]
    ultra: frozenset[str] = frozenset()
    top: str = TOP
    clock: str = CLOCK
    reset: str = RESET
    interrupt: str = INTERRUPT
    control: str = CONTROL
    memory: str = MEMORY
    stream_in: str = STREAM_IN
    stream_out: str = STREAM_OUT
    info_words: int = INFO_WORDS
    stage_words: int = STAGE_WORDS
    magic: int = PROGRAM_MAGIC
    version: int = PROGRAM_VERSION

    @property
    def opcodes(self) -> tuple[tuple[str, int], ...]:
        """Name and number of every opcode."""
        return tuple((camel(opcode.name), int(opcode)) for opcode in Opcode)

    @property
    def spaces(self) -> tuple[tuple[str, int], ...]:
        """Name and number of every memory."""
        return tuple((camel(space.name), int(space)) for space in Space)

    @staticmethod
    def camel(name: str) -> str:
        """`bad_step` to `BadStep`."""
        return camel(name)

    @staticmethod
    def status(name: str) -> int:
        """Number of a status."""
        return int(Status[name])

    @staticmethod
    def opcode(name: str) -> int:
        """Number of an opcode."""
        return int(Opcode[name])

    @staticmethod
    def space(name: str) -> int:
        """Number of a memory."""
        return int(Space[name])

    @property
    def tag_line_bits(self) -> int:
        """Width of a line in the tag that travels with a slot: of any of the memories, at least 1."""
        e = self.engine
        return max(1, (max(e.operand_depth, e.store_depth, e.values_depth) - 1).bit_length())

    @property
    def tag_extra_at(self) -> int:
        """First bit of the tag behind parity, pair and space (4 bits), the line, and the bank groups."""
        return 4 + self.tag_line_bits + self.engine.banks // self.engine.rows

    @property
    def tag_bits(self) -> int:
        """Width of the tag: what lies below `tag_extra_at`, 6 bits, the keys of a tile, and whether it ends a pass; at
        least 40 (`post_pipeline.v`)."""
        return max(self.tag_extra_at + 6 + self.engine.tokens.bit_length() + 1, 40)

    @property
    def acc_bits(self) -> int:
        """Width of the array's accumulators, sign included: 32, or what attention over the longest sequence takes.

        - linear: lowering proves |bias| + sum |w|*|x| < 2^31 for every row, so 32.
        - context: a sum of at most `sequence` products of a numerator (<= 2^16 - 1) and a value (>= -2^7); 32 hold
          up to 256 keys, 24 + ceil(log2 sequence) any.
        - scores: `pitch` <= depth*B products of two int8 (<= 2^14); 32 hold any head of fewer than 2^17 channels.

        What the accumulator passes is as wide: sum*r (r <= 2^16) takes 18 bits more, its division by 2^(n+7) leaves
        |t| <= 2^15, as |sum| <= 2^7 * Z and r <= 2^(n+15) / Z. Z and n are of `softmax_sum.v` (16 + log2 sequence).
        """
        e = self.engine
        if not self.has("attention"):
            return 32
        largest = max(e.sequence * (2**16 - 1) * 2**7, e.depth * e.banks * 2**14)
        return max(32, largest.bit_length() + 1)

    @property
    def opcode_mask(self) -> int:
        """Bit i set: the engine runs opcode i."""
        staged = {Opcode.NORM: "norm", Opcode.ATTENTION: "attention", Opcode.POOL: "pool"}
        return sum(1 << opcode for opcode in Opcode if opcode not in staged or self.has(staged[opcode]))

    def style(self, memory: str) -> str:
        """What a memory of `flow.ops.blocks` shall lie in, as its module's parameter says it."""
        return "ultra" if memory in self.ultra else "auto"

    def has(self, stage: str) -> bool:
        """Whether a stage is compiled in."""
        return stage in self.engine.features

    @property
    def outside(self) -> tuple[type[PostStage], ...]:
        """Stages of plug-ins, in the order in which a linear step's word `stage` counts them from 1.

        None where one of them has no Verilog: the engine then refuses every step that asks for one (BAD_STEP).
        """
        stages = tuple(OUTSIDE[name] for name in self.engine.outside if name in OUTSIDE)
        return () if missing_modules(self.engine) else stages

    @property
    def stage_latency(self) -> int:
        """Cycles from the values that stages of plug-ins take to their results: of the slowest, at least 4."""
        return max(4, *(stage.latency for stage in self.outside), 0)

    @property
    def norm_fold(self) -> int:
        """Cycles from one token to the next in a norm's root and division."""
        return Timing(self.engine).norm_fold

    @property
    def parameters(self) -> tuple[tuple[str, int], ...]:
        """Name and value of the engine's parameters as the modules call them."""
        e = self.engine
        fields = (
            "tokens banks rows heads beat_bytes stream_bytes sequence operand_depth store_depth values_depth "
            " depth row_cycles steps table_bits"
        )
        return (
            *((camel(name), getattr(e, name)) for name in fields.split()),
            *([("NormLanes", e.norm_lanes)] if self.has("norm") or self.has("pool") else []),
            ("DspProducts", self.packing.products),
            ("DspSpacing", self.packing.spacing or 18),
            ("HasAdd", int(self.has("add"))),
            ("HasAttention", int(self.has("attention"))),
            ("HasTable", int(self.has("table"))),
            ("OutsideStages", len(self.outside)),
        )

    @property
    def beat_size(self) -> int:
        """ARSIZE of a whole beat."""
        return self.engine.beat_bytes.bit_length() - 1

    @property
    def info_values(self) -> tuple[str, ...]:
        """Words of the information block as Verilog, the last one first, as a concatenation takes them."""
        e = self.engine
        static = {
            "hash_low": f"32'h{e.hash & 0xFFFFFFFF:08x}",
            "hash_high": f"32'h{e.hash >> 32:08x}",
            "version": f"32'd{self.version}",
            "steps_capacity": f"32'd{e.steps}",
            "features": f"32'h{e.feature_bits:08x}",
            "cycles_low": "info_cycles[31:0]",
            "cycles_high": "info_cycles[63:32]",
            "steps_loaded": "steps_loaded",
        }
        lanes = "tokens banks rows norm_lanes heads beat_bytes stream_bytes sequence"
        static |= {name: f"32'd{getattr(e, name)}" for name in lanes.split()}
        words = [static.get(name, f"info_{name}") for name in INFO]
        return tuple(reversed(words + ["32'd0"] * (INFO_WORDS - len(words))))

    @property
    def commands(self) -> tuple[tuple[str, int], ...]:
        """Name and number of every command."""
        return tuple((camel(command.name), int(command)) for command in Command)

    @cached_property
    def registers(self) -> dict[str, int]:
        """Byte offset of every register."""
        return {name: offset for name, offset, _, _ in REGISTERS}

    @property
    def address_bits(self) -> int:
        """Of the AXI4-Lite port."""
        return control_address_bits()

    @cached_property
    def signals(self) -> tuple[Pin, ...]:
        """Ports of the engine in order."""
        return tuple(Pin(signal) for interface in interfaces(self.engine) for signal in interface.signals)

    def word(self, opcode: str, name: str, record: str = "record_i") -> str:
        """The bits of a record's word on a bus of 32 words."""
        return f"{record}[{32 * RECORDS[Opcode[opcode]].index(name)} +: 32]"

    @property
    def checked_words(self) -> tuple[tuple[str, str, str], ...]:
        """(wire, opcode, word) of every word that the checker looks at."""
        return tuple(
            (f"{opcode.name.lower()}_{word}", opcode.name, word)
            for opcode, words in RECORDS.items()
            for word in words
            if word in _CHECKED.get(opcode, ())
        )


def missing_modules(engine: Engine) -> tuple[str, ...]:
    """Stages of plug-ins that the engine has and that bring no Verilog module."""
    return tuple(name for name in engine.outside if name not in OUTSIDE or not OUTSIDE[name].module)


def require_modules(engine: Engine) -> None:
    """Refuse an engine whose Verilog lacks a stage.

    Raises:
        UnsupportedError: names the stages.
    """
    missing = missing_modules(engine)
    if missing:
        raise UnsupportedError(
            f"rtl: found no Verilog of the stages {', '.join(missing)}; expected a module from each plug-in; "
            "name its file in the class (`module`, docs/templates.md), or use --backend csim or cosim"
        )


_CHECKED: Mapping[Opcode, tuple[str, ...]] = {
    opcode: tuple(words.split())
    for opcode, words in {
        Opcode.INPUT: "planes depth space base",
        Opcode.CONSTANT: "planes depth space base data tiles",
        Opcode.LINEAR: (
            "source_space source_base source_planes depth row_groups weight_bits page weights weight_beats out_bits "
            "table table_bits has_residual residual_base space base out_depth heads pitch first_tile tiles stage "
            "stage_data"
        ),
        Opcode.NORM: (
            "source_base depth channels outputs constants0 bits0 space0 base0 constants1 bits1 space1 base1"
        ),
        Opcode.ATTENTION: "query_base key_base value_base depth heads pitch exp exp_bits space base",
        Opcode.POOL: "source_base depth bits space base",
        Opcode.OUTPUT: "source_space source_base planes depth",
    }.items()
}


def rtl_files(
    engine: Engine,
    *,
    packing: DspKind = DSP_KINDS["DSP48E2"],
    ultra: frozenset[str] = frozenset(),
    sources: Sources | None = None,
) -> dict[str, bytes]:
    """Every Verilog file of the engine by path relative to the build, deterministic and in sorted order; the memories
    that `ultra` names (`flow.cost.ultra_memories`) are told to lie in UltraRAM.

    Raises:
        FlowError: a template fails.
    """
    sources = sources or Sources.of()
    context = RtlContext(engine, packing, ultra)
    absent = {outside_module(name) for name in outside_stages() if name not in engine.features}
    files = {
        s.emits: s.content
        for s in sources.copied.values()
        if s.emits.startswith("rtl/") and s.name not in absent
    }
    files |= {
        source.emits: render(name, context, sources).encode()
        for name, source in sources.templates.items()
        if source.emits.startswith("rtl/")
    }
    return dict(sorted(files.items()))
