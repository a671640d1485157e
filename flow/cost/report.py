"""What `flow estimate` says about a laid-out program on a board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from flow.boards import Board
from flow.cost.cycles import StepCycles, beat_cycles, memory_latency, program_cycles
from flow.cost.energy import Activity, Energy, energy_of
from flow.cost.image import image_bram18
from flow.cost.machine import LATENCY_CYCLES
from flow.cost.resources import Usage, available, budget, engine_usage, slrs_of, stages, usage
from flow.engine import Engine
from flow.passes.lay_out import Layout

CYCLES_METHOD = "the Verilog engine's timing, walked row group by row group"
METHOD = (
    "resources by Yosys' rules for memories and multipliers; logic fitted to eight synthesised engines a family "
    "(UltraScale+, whose figures 7 series takes, and ECP5), within 4 % of Yosys on four others of each"
)
LIMITS = {
    "multipliers": "compute",
    "memory bandwidth": "weight bandwidth",
    "weights": "weight loading",
    "code look-ups": "weight loading",
    "column maps": "weight loading",
    "ports": "memory ports",
    "source": "order of steps",
}
"""What a step's `bound` is called in a summary; others keep their names."""


@dataclass(frozen=True)
class StepEstimate:
    """One step of the program. `utilisation` = macs / (T*B*P * cycles), both for one sample of the model's
    full length; `full_rate_cycles` beside the memory of `flow sim --backend rtl`: a beat every cycle, 100 cycles
    behind its address."""

    name: str
    kind: str
    cycles: int
    full_rate_cycles: int
    macs: int
    utilisation: float
    bound: str


@dataclass(frozen=True)
class ResourceEstimate:
    """A resource of the device: what the engine takes, what the board has, what an engine may take."""

    used: int
    available: int
    budget: int

    @property
    def percent(self) -> float:
        """Share of the device, in percent; 0 where it has none and none is used."""
        return 100.0 * self.used / self.available if self.available else 0.0


@dataclass(frozen=True)
class EstimateReport:
    """Cycles, latency, multiplier utilisation and device resources of a program.

    All cycles are those beside the board's memory, counted as if it answered after `memory_latency_cycles`.
    `interval_cycles` lie between the first steps of frames back to back; `full_rate_interval_cycles` beside the memory
    of `flow sim --backend rtl`.

    `energy` is None where the board's file says nothing of power. `slrs` are those that the engine lies across at
    least. `barrier` is the resource of which twice the multipliers would take too much, where that was asked for and
    they could be faster; empty otherwise.

    `weight_bits` are the streamed records of all matrices, requantise constants and padding included,
    `image_bits` the whole memory image. `stage_usage` is each stage alone, memories in block RAM while that
    lasts; `resources` is the whole engine.
    """

    board: str
    level: str
    engine: Engine
    clock_mhz: float
    tokens: int
    steps: tuple[StepEstimate, ...]
    interval_cycles: int
    full_rate_interval_cycles: int
    memory_latency_cycles: int
    resources: dict[str, ResourceEstimate]
    stage_usage: dict[str, Usage]
    weight_bits: int
    image_bits: int
    energy: Energy | None
    slrs: int
    cycles_method: str
    barrier: str = ""

    @property
    def cycles(self) -> int:
        """Engine cycles of one sample alone, from its first step's start to the end of the command."""
        return sum(step.cycles for step in self.steps)

    @property
    def macs(self) -> int:
        """Useful int8 products of one sample."""
        return sum(step.macs for step in self.steps)

    @property
    def utilisation(self) -> float:
        """Useful products over what T*B*P multipliers make in all cycles, 0 to 1."""
        return self.macs / (self.engine.multipliers * self.cycles)

    @property
    def latency_ms(self) -> float:
        """Milliseconds of one sample at the board's clock."""
        return self.cycles / self.clock_mhz / 1000.0

    @property
    def samples_per_s(self) -> float:
        """Samples a second, frames back to back."""
        return self.clock_mhz * 1e6 / self.interval_cycles

    @property
    def limit(self) -> str:
        """What most cycles wait for, such as `compute` or `weight bandwidth`; behind compute, in brackets, the resource
        that keeps a larger engine away."""
        cycles: dict[str, int] = {}
        for step in self.steps:
            name = LIMITS.get(step.bound, step.bound)
            cycles[name] = cycles.get(name, 0) + step.cycles
        most = max(cycles, key=lambda name: cycles[name])
        return f"{most} ({self.barrier})" if self.barrier and most == LIMITS["multipliers"] else most

    @property
    def fits(self) -> bool:
        """Whether every resource is within its budget."""
        return all(resource.used <= resource.budget for resource in self.resources.values())

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return {
            "method": METHOD,
            "board": self.board,
            "level": self.level,
            "engine": self.engine.to_json(),
            "clock_mhz": self.clock_mhz,
            "tokens": self.tokens,
            "cycles": self.cycles,
            "latency_ms": round(self.latency_ms, 6),
            "interval_cycles": self.interval_cycles,
            "samples_per_s": round(self.samples_per_s, 3),
            "full_rate_interval_cycles": self.full_rate_interval_cycles,
            "memory_latency_cycles": self.memory_latency_cycles,
            "cycles_method": f"{self.cycles_method}; memory of {self.memory_latency_cycles} cycles latency",
            "limit": self.limit,
            "macs": self.macs,
            "multipliers": self.engine.multipliers,
            "utilisation": round(self.utilisation, 4),
            "fits": self.fits,
            "slrs": self.slrs,
            "energy": self.energy.to_json() if self.energy is not None else None,
            "resources": {
                name: {**asdict(resource), "percent": round(resource.percent, 2)}
                for name, resource in self.resources.items()
            },
            "stages": {name: asdict(used) for name, used in self.stage_usage.items()},
            "weight_bits": self.weight_bits,
            "image_bits": self.image_bits,
            "steps": [{**asdict(step), "utilisation": round(step.utilisation, 4)} for step in self.steps],
        }


Walks = dict[tuple[float, int], tuple[list[StepCycles], int]]
"""What `program_cycles` counted for one layout, by the cycles between beats and the latency of the memory."""


def estimate_layout(layout: Layout, board: Board, walks: Walks | None = None) -> EstimateReport:
    """Cycles of every step, and the engine's resources on `board`.

    `walks` of the same layout carry over what was counted beside a memory, from one board or level to the next.
    """
    program = layout.program
    engine = program.engine
    memory = beat_cycles(engine, board), memory_latency(board)
    known: Walks = {} if walks is None else walks
    for beside in (memory, (1.0, LATENCY_CYCLES)):
        if beside not in known:
            known[beside] = program_cycles(layout, *beside)
    found, interval = known[memory]
    full_rate, full_rate_interval = known[1.0, LATENCY_CYCLES]
    steps = [
        StepEstimate(
            placed.step.name,
            placed.record.opcode.name.lower(),
            step.cycles,
            quick.cycles,
            step.macs,
            step.macs / (engine.multipliers * step.cycles),
            step.bound,
        )
        for placed, step, quick in zip(layout.placed, found, full_rate, strict=True)
    ]
    linears = [placed.record.words for placed in layout.placed if placed.encoded is not None]
    beats = sum(
        {words["weights"]: words["weight_beats"] for words in linears}.values()
    )  # equal streams are stored once
    return report_of(
        board,
        engine,
        steps,
        intervals=(interval, full_rate_interval),
        image=(engine.beat_bytes * beats, len(program.image)),
        latency=memory[1],
        tokens=program.tokens,
        cycles_method=CYCLES_METHOD,
    )


def report_of(
    board: Board,
    engine: Engine,
    steps: Sequence[StepEstimate],
    *,
    intervals: tuple[int, int],
    image: tuple[int, int],
    latency: int,
    tokens: int,
    cycles_method: str,
) -> EstimateReport:
    """The report of steps counted in one way or the other: resources, and energy at the board's level.

    Args:
        intervals: cycles of a frame among frames back to back, beside the board's memory and beside a full-rate one.
        image: bytes of all weight streams, and of the whole memory image.
        latency: cycles from a burst's address to its first beat, of the memory that steps were counted beside.
    """
    used = engine_usage(engine, board)
    cycles, macs = sum(step.cycles for step in steps), sum(step.macs for step in steps)
    activity = Activity(engine, cycles, macs, image[1])
    return EstimateReport(
        board=board.name,
        level=board.level,
        engine=engine,
        clock_mhz=board.clock_mhz,
        tokens=tokens,
        steps=tuple(steps),
        interval_cycles=intervals[0],
        full_rate_interval_cycles=intervals[1],
        memory_latency_cycles=latency,
        resources=resource_table(engine, board, image[1] // engine.beat_bytes),
        stage_usage={name: usage(resources, board) for name, resources in stages(engine).items()},
        weight_bits=8 * image[0],
        image_bits=8 * image[1],
        energy=energy_of(activity, board),
        slrs=slrs_of(used, board),
        cycles_method=cycles_method,
    )


def resource_table(engine: Engine, board: Board, image_beats: int = 0) -> dict[str, ResourceEstimate]:
    """Used, available and allowed, by the names of `Usage`.

    Where the board keeps the image on chip, its block RAM is counted too, and all that there is may be taken.
    """
    used, have, allowed = engine_usage(engine, board), available(board), budget(board)
    image = image_bram18(image_beats, board)
    if image:
        used, allowed = used + Usage(0, 0, 0, image, 0), replace(allowed, bram18=have.bram18)
    return {
        f.name: ResourceEstimate(getattr(used, f.name), getattr(have, f.name), getattr(allowed, f.name))
        for f in fields(Usage)
    }
