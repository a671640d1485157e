"""The `sim/` and `driver/` folders of a build: simulation beside a clock, and what loads and runs the engine.

The shell and the bench are placed from the one description of ports and registers (`flow.engine.ports`); the rest is
copied. Nothing here depends on a program, but for the frames that `flow.emit.lower` adds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flow.emit.contexts import TOP, camel
from flow.emit.rendering import Segment, line_map, render
from flow.emit.sources import Sources
from flow.engine import (
    INFO,
    INFO_WORDS,
    PROGRAM_MAGIC,
    PROGRAM_VERSION,
    REGISTERS,
    Command,
    Engine,
    Signal,
    Status,
    interfaces,
)
from flow.engine.ports import (
    CLOCK,
    CONTROL,
    INTERRUPT,
    MEMORY,
    PAGE_BYTES,
    RESET,
    STREAM_IN,
    STREAM_OUT,
    control_address_bits,
)


@dataclass(frozen=True)
class Pin:
    """A signal as SystemVerilog declares it."""

    signal: Signal

    @property
    def name(self) -> str:
        """The signal's name."""
        return self.signal.name

    @property
    def range(self) -> str:
        """`[W-1:0] `, or nothing for a single bit."""
        return f"[{self.signal.bits - 1}:0] " if self.signal.bits > 1 else ""

    @property
    def declaration(self) -> str:
        """Direction and type, as in a module's header."""
        return f"{self.signal.direction:<6} logic {self.range}".rstrip()


@dataclass(frozen=True)
class Address:
    """A register's name in the shell and its byte offset."""

    name: str
    offset: int


@dataclass(frozen=True)
class Promise:
    """A handshake that the engine has to keep: VALID and its payload stay until READY."""

    name: str
    bus: str
    valid: str
    ready: str
    payload: tuple[str, ...]


@dataclass(frozen=True)
class ShellContext:
    """What the SystemVerilog shell and bench place: every width and name comes from `flow.engine`."""

    engine: Engine
    top: str = TOP
    clock: str = CLOCK
    reset: str = RESET
    interrupt: str = INTERRUPT
    control: str = CONTROL
    memory: str = MEMORY
    stream_in: str = STREAM_IN
    stream_out: str = STREAM_OUT
    info_words: int = INFO_WORDS

    @cached_property
    def signals(self) -> tuple[Pin, ...]:
        """Ports of the kernel in order."""
        return tuple(Pin(signal) for interface in interfaces(self.engine) for signal in interface.signals)

    @property
    def inner_signals(self) -> tuple[Pin, ...]:
        """Those that stay inside the bench: the memory's, and TSTRB of the input."""
        return tuple(p for p in self.signals if p.name.startswith(MEMORY) or p.name == f"{STREAM_IN}_TSTRB")

    @property
    def outer_signals(self) -> tuple[Pin, ...]:
        """Those that a bench drives and watches."""
        return tuple(p for p in self.signals if p not in self.inner_signals)

    @property
    def registers(self) -> tuple[Address, ...]:
        """The register map."""
        return tuple(Address(camel(name), offset) for name, offset, _, _ in REGISTERS)

    @property
    def address_bits(self) -> int:
        """Width of an AXI4-Lite address."""
        return control_address_bits()

    @property
    def info_index_bits(self) -> int:
        """Bits that choose a word of the information block."""
        return (INFO_WORDS - 1).bit_length()

    @property
    def stream_bits(self) -> int:
        """Width of TDATA."""
        return 8 * self.engine.stream_bytes

    @property
    def beat_bits(self) -> int:
        """Width of RDATA."""
        return 8 * self.engine.beat_bytes

    @property
    def beat_size(self) -> int:
        """ARSIZE of a whole beat."""
        return self.engine.beat_bytes.bit_length() - 1

    @property
    def promises(self) -> tuple[Promise, ...]:
        """Handshakes of the engine's outputs."""
        channels = (
            (MEMORY, "AR", ("ADDR", "LEN")),
            (STREAM_OUT, "T", ("DATA", "LAST", "KEEP", "STRB")),
            (CONTROL, "R", ("DATA",)),
            (CONTROL, "B", ()),
        )
        return tuple(
            Promise(
                f"{bus}_{channel.lower()}_holds",
                bus,
                f"{bus}_{channel}VALID",
                f"{bus}_{channel}READY",
                tuple(f"{bus}_{channel}{payload}" for payload in payloads),
            )
            for bus, channel, payloads in channels
        )


@dataclass(frozen=True)
class DriverContext:
    """What the C header states: registers, commands, status codes, information words and the engine."""

    engine: Engine
    top: str = TOP
    magic: int = PROGRAM_MAGIC
    version: int = PROGRAM_VERSION
    page_bytes: int = PAGE_BYTES
    info_words: int = INFO_WORDS

    @property
    def registers(self) -> tuple[tuple[str, int], ...]:
        """Name and byte offset."""
        return tuple((name.upper(), offset) for name, offset, _, _ in REGISTERS)

    @property
    def commands(self) -> tuple[tuple[str, int], ...]:
        """Name and number."""
        return tuple((member.name, int(member)) for member in Command)

    @property
    def statuses(self) -> tuple[tuple[str, int], ...]:
        """Name and number."""
        return tuple((member.name, int(member)) for member in Status)

    @property
    def info(self) -> tuple[tuple[str, int], ...]:
        """Name and word of the information block."""
        return tuple((name.upper(), index) for index, name in enumerate(INFO))


def description(engine: Engine) -> bytes:
    """`driver/engine.json`: what the Python driver and the bench have to know of the engine."""
    data = {
        "top": TOP,
        "version": PROGRAM_VERSION,
        "engine": engine.to_json(),
        "engine_hash": f"{engine.hash:016x}",
        "page_bytes": PAGE_BYTES,
        "registers": {name: offset for name, offset, _, _ in REGISTERS},
        "commands": {member.name: int(member) for member in Command},
        "statuses": {member.name: int(member) for member in Status},
        "info": list(INFO),
        "info_words": INFO_WORDS,
    }
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _written(engine: Engine) -> dict[str, Any]:
    """Context of every template here."""
    shell = ShellContext(engine)
    return {
        "sim/flow_engine.sv.j2": shell,
        "sim/flow_bench.sv.j2": shell,
        "driver/flow_engine.h.j2": DriverContext(engine),
    }


def cosim_lines(engine: Engine, sources: Sources) -> dict[str, tuple[Segment, ...]]:
    """Where the lines of every file that a template writes came from, by path relative to the build."""
    return {
        sources.templates[name].emits: line_map(name, context, sources)
        for name, context in _written(engine).items()
    }


def cosim_files(engine: Engine, *, sources: Sources | None = None) -> dict[str, bytes]:
    """Everything of `sim/` and `driver/` that depends on the engine alone, by path relative to the build.

    Raises:
        FlowError: a template fails.
    """
    sources = sources or Sources.of()
    files = {
        sources.templates[name].emits: render(name, context, sources).encode()
        for name, context in _written(engine).items()
    }
    folders = ("sim/", "driver/")
    files |= {s.emits: s.content for s in sources.copied.values() if s.emits.startswith(folders)}
    return dict(sorted((files | {"driver/engine.json": description(engine)}).items()))
