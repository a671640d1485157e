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
from flow.emit.sources import Sources
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
)
from flow.engine.ports import control_address_bits


@dataclass(frozen=True)
class RtlContext:
    """What the Verilog templates place.

    Attributes:
        engine: the engine; two programs for one engine give the same Verilog.
        packing: how one DSP primitive takes two products; it changes no result.
    """

    engine: Engine
    packing: DspKind = DSP_KINDS["DSP48E2"]
    top: str = TOP
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

    @property
    def statuses(self) -> tuple[tuple[str, int], ...]:
        """Name and number of what a command reports."""
        return tuple((camel(status.name), int(status)) for status in Status)

    @property
    def commands(self) -> tuple[tuple[str, int], ...]:
        """Name and number of every command."""
        return tuple((camel(command.name), int(command)) for command in Command)

    @cached_property
    def registers(self) -> dict[str, int]:
        """Byte offset of every register."""
        return {name: offset for name, offset, _, _ in REGISTERS}

    @cached_property
    def info(self) -> dict[str, int]:
        """Word of every value of the information block."""
        return {name: index for index, name in enumerate(INFO)}

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
    engine: Engine, *, packing: DspKind = DSP_KINDS["DSP48E2"], sources: Sources | None = None
) -> dict[str, bytes]:
    """Every Verilog file of the engine by path relative to the build, deterministic and in sorted order.

    Raises:
        FlowError: a template fails.
    """
    sources = sources or Sources.of()
    context = RtlContext(engine, packing)
    files = {s.emits: s.content for s in sources.copied.values() if s.emits.startswith("rtl/")}
    files |= {
        source.emits: render(name, context, sources).encode()
        for name, source in sources.templates.items()
        if source.emits.startswith("rtl/")
    }
    return dict(sorted(files.items()))
