"""`flow synth`: what a build's engine, or its whole chip, takes of a device; for ECP5 down to a bitstream."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flow.boards import Board
from flow.emit.build import Build
from flow.emit.chip import CHIP
from flow.emit.contexts import TOP
from flow.errors import FlowError
from flow.resources import alone_at
from flow.sim.chip import ChipRun, description, netlist_model, run_frames
from flow.synth import place as placing
from flow.synth.place import Placed, find_tools, place_and_route
from flow.synth.primitives import Counts, counts_of, target_of
from flow.synth.yosys import Synthesis, Yosys, synthesise

TARGETS = ("xilinx", "ecp5")
_UNCOUNTED = ("EHXPLLL", "$scopeinfo")
"""Of a chip beside its resources: the clock's loop, and Yosys' notes of names."""
_RESOURCES = ("lut", "ff", "bram18", "dsp", "uram")
_LOCK_SECONDS = 600.0
REPORT = "report.json"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Resource:
    """A resource of the device: what synthesis found, what flow had estimated, what the device has."""

    found: int
    estimate: int
    available: int


@dataclass(frozen=True)
class SynthReport:
    """What `flow synth` found.

    Attributes:
        scope: "engine", the sum over its modules, or "chip", one netlist with image memory and shell.
        clock_mhz: the board's clock.
        cycles: of one sample, as the build's report estimates them.
        placed: the routed chip, where it was asked for.
        run: what the netlist answered in simulation, where it was asked for.
    """

    build: Path
    board: str
    target: str
    scope: str
    resources: Mapping[str, Resource]
    clock_mhz: float
    cycles: int
    tools: Mapping[str, str]
    placed: Placed | None = None
    run: ChipRun | None = None

    @property
    def latency_ms(self) -> float:
        """Of one sample at the board's clock: by the engine's own count where the netlist ran, else as estimated."""
        cycles = max(self.run.cycles) if self.run is not None else self.cycles
        return cycles / self.clock_mhz / 1000.0

    @property
    def timing_met(self) -> bool:
        """Whether the routed chip runs at the board's clock; true where nothing was routed."""
        return self.placed is None or self.placed.clock.achieved_mhz >= self.clock_mhz

    @property
    def mismatches(self) -> int:
        """Frames of the netlist that differ from golden."""
        return self.run.mismatches if self.run is not None else 0

    def to_json(self) -> dict[str, Any]:
        """The object of `flow synth --json`."""
        data: dict[str, Any] = {
            "build": str(self.build),
            "board": self.board,
            "target": self.target,
            "scope": self.scope,
            "tools": dict(self.tools),
            "resources": {name: asdict(resource) for name, resource in self.resources.items()},
            "clock_mhz": self.clock_mhz,
            "cycles": max(self.run.cycles) if self.run is not None else self.cycles,
            "cycles_from": "netlist" if self.run is not None else "estimate",
            "latency_ms": round(self.latency_ms, 6),
        }
        if self.placed is not None:
            bits = self.placed.bitstream.read_bytes()
            data |= {
                "fmax_mhz": round(self.placed.clock.achieved_mhz, 2),
                "timing_met": self.timing_met,
                "utilisation": {
                    kind: {"used": used, "available": have}
                    for kind, (used, have) in self.placed.utilisation.items()
                },
                "bitstream": str(self.placed.bitstream),
                "bitstream_bytes": len(bits),
                "bitstream_sha256": hashlib.sha256(bits).hexdigest(),
            }
        if self.run is not None:
            data |= {"frames": len(self.run.outputs), "mismatches": self.mismatches}
        return data


def synth(
    build: Build,
    *,
    target: str | None = None,
    route: bool = False,
    check: int = 0,
    output: Path | None = None,
    progress: Progress | None = None,
) -> SynthReport:
    """Synthesise a build: on a board with a shell the whole chip, else the engine.

    `route` places, routes and packs the chip; `check` frames run through its netlist after synthesis. With `output` a
    folder gets the report, the netlist and what routing made.

    Raises:
        FlowError: the target is not the board's, or the build has no chip and one is needed. ToolError: a tool is
            missing or fails.
    """
    board = build.board
    chosen = _target(board, target)
    if output is not None:
        check_output(output)
    tell = progress or (lambda _: None)
    chip = chosen == "ecp5" and CHIP in build.manifest["files"]
    if (route or check) and not chip:
        description(build)  # says what is missing
    if not chip:
        return _written(_engine(build, board, chosen, tell), output, None)
    return _chip(build, board, route, check, output, tell)


def _target(board: Board, target: str | None) -> str:
    """The family of tools: the board's own.

    Raises:
        FlowError: another one was asked for.
    """
    own = "ecp5" if board.vendor == "lattice" else "xilinx"
    if target is not None and target != own:
        raise FlowError(
            f"--target: found {target}; expected {own}, which {board.name} has; leave the option out, or lower the "
            "model to another board"
        )
    return own


def _engine(build: Build, board: Board, target: str, tell: Progress) -> SynthReport:
    """The engine alone, module by module."""
    files = {name: build.read(name) for name in build.manifest["files"] if name.startswith("rtl/")}
    found: Synthesis = synthesise(
        files, TOP, target_of(board), lambda done, total, what: tell(f"{done} of {total} modules: {what}")
    )
    return _report(build, board, target, "engine", found.totals, {"yosys": found.tool})


def _chip(
    build: Build, board: Board, route: bool, check: int, output: Path | None, tell: Progress
) -> SynthReport:
    """The whole chip as one netlist."""
    about = description(build)
    yosys = Yosys.find()
    tools = find_tools() if route else {}
    names = [
        n for n in build.manifest["files"] if n.startswith(("rtl/", "chip/")) and n.endswith((".v", ".hex"))
    ]
    netlist = placing.synthesise({name: build.read(name) for name in names}, about["top"], yosys, tell)
    report = _report(build, board, "ecp5", "chip", _counts(netlist, about["top"]), {"yosys": yosys.version})
    placed = run = None
    if check:
        tell("simulate the netlist")
        model = netlist_model((netlist / placing.NETLIST).read_text(), about["top"])
        run = run_frames(build, check, model)
    if route:
        options = [f"--{about['device']}", "--package", about["package"], "--speed", str(about["speed"])]
        options += ["--freq", f"{about['clock_mhz']:g}"]
        lut = report.resources["lut"]
        pins = build.read(f"chip/{about['constraints']}")
        placed = place_and_route(netlist, pins, options, lut.found / lut.available, tools, tell)
    versions = {**report.tools, **{name: tool.version for name, tool in tools.items()}}
    return _written(replace(report, placed=placed, run=run, tools=versions), output, netlist)


def _counts(netlist: Path, top: str) -> Counts:
    """Primitives of a netlist."""
    cells = json.loads((netlist / placing.NETLIST).read_text())["modules"][top]["cells"]
    found = Counter(cell["type"] for cell in cells.values() if cell["type"] not in _UNCOUNTED)
    return counts_of(found, top)


def _report(
    build: Build, board: Board, target: str, scope: str, found: Counts, tools: Mapping[str, str]
) -> SynthReport:
    """Counts beside the build's own estimate."""
    estimate = build.report["estimate"]
    resources = {
        name: Resource(getattr(found, name), used["used"], used["available"])
        for name, used in ((name, estimate["resources"][name]) for name in _RESOURCES)
    }
    return SynthReport(
        build.path, board.name, target, scope, resources, board.clock_mhz, estimate["cycles"], dict(tools)
    )


def check_output(output: Path) -> None:
    """Refuse, before any work, to replace what `flow synth` has not written.

    Raises:
        FlowError: something else is in the way.
    """
    if output.is_dir() and (not any(output.iterdir()) or (output / REPORT).is_file()):
        return
    if output.exists() or output.is_symlink():
        raise FlowError(
            f"{output}: found something that flow synth has not written; expected nothing, or an earlier result; "
            "choose another place with -o"
        )


def _written(report: SynthReport, output: Path | None, netlist: Path | None) -> SynthReport:
    """The report, with its files copied to `output`: whole or not at all."""
    if output is None:
        return report
    output = output.absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{output}: found another run writing it; expected it to end; try again"
    with alone_at(output, _LOCK_SECONDS, busy), tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        new, old = Path(scratch) / "new", Path(scratch) / "old"
        new.mkdir()
        if netlist is not None:
            shutil.copyfile(netlist / placing.NETLIST_VERILOG, new / placing.NETLIST_VERILOG)
        if report.placed is not None:
            for item in report.placed.folder.iterdir():
                shutil.copyfile(item, new / item.name)
        data, moved = report.to_json(), report
        if report.placed is not None:
            moved = replace(report, placed=replace(report.placed, folder=output))
            data["bitstream"] = str(output / placing.BITSTREAM)
        (new / REPORT).write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
        check_output(output)
        if output.exists():
            output.rename(old)
        new.rename(output)
    return moved
