"""`flow sim --backend rtl`: the Verilog engine that lies in a build, cycle by cycle.

The build's bench and driver are those of cosim; a monitor beside the engine tells when each step starts and what the
multipliers did meanwhile.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from flow.cost.machine import LATENCY_CYCLES
from flow.emit.build import Build
from flow.emit.cosim import cosim_files
from flow.emit.manifest import IMAGE
from flow.emit.rtl import require_modules, rtl_files
from flow.engine import Program
from flow.errors import ToolError
from flow.ir import Array
from flow.sim.cosim import Bench, Stalls, run_job
from flow.sim.csim import CSim
from flow.sim.verilator import Model, compile_model

TOP = "flow_bench"
UNITS = ("sim/flow_bench.sv", "sim/axi_memory.sv", "sim/step_monitor.sv")
FLAGS = ("-O3", "-march=native", "-mtune=generic")
STEPS_LOG = "steps.log"
PATIENCE = 1_000_000
"""Cycles without a beat: a long attention step moves none."""
QUIET = Stalls(0, 0, 0, LATENCY_CYCLES)
"""Nothing but the engine and the latency of the memory that estimates suppose."""


@dataclass(frozen=True)
class StepCycles:
    """One step of one frame, from its start to the next one's.

    Attributes:
        index: of the record in the program; -1 between a command's end and the first step.
        start: clock cycle.
        cycles: to the start of the next step, or to the end of the command.
        slots: cycles in which the array took operands; `idle` of them only kept a pace.
        data: cycles without a slot in which an array step waited for weights.
        source: the same for the step before it.
    """

    index: int
    start: int
    cycles: int
    slots: int
    idle: int
    data: int
    source: int


@dataclass(frozen=True)
class Run:
    """Cycle counts of a simulation: every step of every frame in order.

    Attributes:
        frames: steps by frame.
        alone: index of the frame that had the engine to itself, the first of full length.
        latency_cycles: of that frame, from its first step to the end of the command.
        interval_cycles: between the first steps of frames back to back, on average; 0 where there are not two of full
            length, or shorter ones among them.
    """

    frames: tuple[tuple[StepCycles, ...], ...]
    alone: int
    latency_cycles: int
    interval_cycles: float

    @property
    def steps(self) -> tuple[StepCycles, ...]:
        """Steps of the frame that ran alone."""
        return self.frames[self.alone]


def model_of(files: Mapping[str, bytes], waves: bool = False) -> Model:
    """The simulation model of a build's files (by path relative to the build)."""
    verilog = sorted(p for p in files if p.startswith("rtl/") and p.endswith(".v"))
    sources = {path: files[path] for path in (*verilog, *UNITS)}
    return Model(sources, (*UNITS, *verilog), TOP, FLAGS, waves, ports_only=not waves)


def build_model(build: Build, waves: bool = False) -> Path:
    """The compiled model of a build.

    Raises:
        UnsupportedError: a plug-in's stage has no Verilog. ToolError: see `compile_model`.
    """
    require_modules(build.engine)
    names = [name for name in build.manifest["files"] if name.startswith(("rtl/", "sim/"))]
    return compile_model(model_of({name: build.read(name) for name in names}, waves))


def run_program(program: Program, frames: Sequence[bytes], bench: Bench | None = None) -> list[bytes]:
    """Output frames of a program that lies in no build, on the engine as flow emits it.

    Raises:
        UnsupportedError: a plug-in's stage has no Verilog. ToolError: see `Rtl.run`.
    """
    require_modules(program.engine)
    bench = bench or Bench()
    files = rtl_files(program.engine) | cosim_files(program.engine)
    with tempfile.TemporaryDirectory(prefix="flow-rtl-") as scratch:
        for path, content in {**files, IMAGE: program.image}.items():
            (Path(scratch) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(scratch) / path).write_bytes(content)
        return run_job(Path(scratch), compile_model(model_of(files)), frames, bench).outputs


class Rtl:
    """A build's Verilog engine behind its ports, and its program. `cycles` are those of the last `run`."""

    def __init__(self, build: Build, bench: Bench) -> None:
        self._build = build
        self._bench = bench
        self.cycles: Run | None = None
        self._model = build_model(build, bench.waves is not None)

    @cached_property
    def _csim(self) -> CSim:
        return CSim(self._build)

    def run(self, frames: Sequence[bytes], lengths: Sequence[int]) -> list[bytes]:
        """Output frames, one for each input frame: one of full length by itself, the others back to back.

        Cycles are always of full length, as estimates are: where no frame has it, a blank one goes first.

        Raises:
            ToolError: the simulation failed, got stuck at a port, or moved another number of beats than it should.
        """
        program = self._build.program
        blank = [] if program.tokens in lengths else [program.blank_frame()]
        alone = 0 if blank else list(lengths).index(program.tokens)
        given = [*blank, *frames]
        batches = [count for count in (alone, 1, len(given) - alone - 1) if count]
        done = run_job(self._build.path, self._model, given, self._bench, batches, (STEPS_LOG,))
        run = read_steps(done.files[STEPS_LOG].decode(), len(given), alone)
        whole = all(length == program.tokens for length in lengths[alone + 1 - len(blank) :])
        self.cycles = run if whole else replace(run, interval_cycles=0.0)
        return done.outputs[len(blank) :]

    def trace(self, frame: bytes, length: int) -> list[dict[str, Array]]:
        """What every step should have written, by the C simulation of the same program."""
        return self._csim.trace(frame, length)


def read_steps(log: str, count: int, alone: int) -> Run:
    """The monitor's log as `count` frames, of which the one of index `alone` was a RUN of its own.

    Raises:
        ToolError: the log holds another number of frames.
    """
    rows = [tuple(map(int, line.split())) for line in log.splitlines()]
    steps = [
        StepCycles(row[1], row[0], after[0] - row[0], *after[2:])
        for row, after in pairwise(rows)
        if row[1] >= 0
    ]
    frames = tuple(_frames(steps))
    if len(frames) != count:
        raise ToolError(f"rtl: found {len(frames)} frames in the monitor's log; expected {count}")
    latency = sum(step.cycles for step in frames[alone])
    starts = [frame[0].start for frame in frames[alone + 1 :]]
    interval = (starts[-1] - starts[0]) / (len(starts) - 1) if len(starts) > 1 else 0.0
    return Run(frames, alone, latency, interval)


def cycles_json(run: Run, build: Build) -> dict[str, Any]:
    """Cycles of the frame that ran alone, by step and in all, with the useful products that lowering counted.

    `utilisation` = macs / (multipliers * cycles); both are of a sequence of full length.
    """
    engine, estimate = build.program.engine, json.loads(build.read("report.json"))["estimate"]
    steps = []
    for step in run.steps:
        known = estimate["steps"][step.index]
        steps.append(
            {
                "name": known["name"],
                "kind": known["kind"],
                "cycles": step.cycles,
                "estimated_cycles": known["full_rate_cycles"],
                "macs": known["macs"],
                "utilisation": _utilisation(known["macs"], step.cycles, engine.multipliers),
                "slots": step.slots,
                "idle_slots": step.idle,
                "waits_data": step.data,
                "waits_source": step.source,
            }
        )
    return {
        "cycles": run.latency_cycles,
        "interval_cycles": round(run.interval_cycles, 1),
        "estimated_cycles": sum(known["full_rate_cycles"] for known in estimate["steps"]),
        "estimated_interval_cycles": estimate["full_rate_interval_cycles"],
        "macs": estimate["macs"],
        "multipliers": engine.multipliers,
        "utilisation": _utilisation(estimate["macs"], run.latency_cycles, engine.multipliers),
        "steps": steps,
    }


def _utilisation(macs: int, cycles: int, multipliers: int) -> float:
    return round(macs / (multipliers * max(cycles, 1)), 4)


def _frames(steps: Iterable[StepCycles]) -> Iterable[tuple[StepCycles, ...]]:
    """Cut where the index starts again."""
    current: list[StepCycles] = []
    for step in steps:
        if current and step.index <= current[-1].index:
            yield tuple(current)
            current = []
        current.append(step)
    if current:
        yield tuple(current)
