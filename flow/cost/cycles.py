"""Cycles of every step of a laid-out program, and what it waits for.

Two forms of one law. The operators' `estimate` counts a step by itself, in closed form: for fits and comparisons.
`program_cycles` walks the records of a program in order, row group by row group, as the Verilog engine's units
hand them to each other (`flow.cost.machine`): steps overlap, weights are prefetched, a step follows the one before
it tile by tile. Both suppose a memory of fixed latency that gives a beat every `beat_cycles`, and streams that
never wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from flow.boards import Board
from flow.cost.machine import LATENCY_CYCLES, ON_CHIP_CYCLES, Task, Walk
from flow.cost.machine.loader import AHEAD
from flow.cost.machine.records import row_groups
from flow.engine import Engine, Opcode
from flow.ops.boundary import WRITTEN_CYCLES, stream_cycles
from flow.ops.device import DeviceOp, Estimate, RowGroups, Work, timing_of
from flow.passes.fuse_steps import Step
from flow.passes.lay_out import Layout, Placed


def beat_cycles(engine: Engine, board: Board) -> float:
    """Engine cycles between two beats of the image, at least 1: what the AXI4 master or the memory channel
    behind it allows.

    Where weights lie on chip a beat comes every cycle.
    """
    if board.weights == "on-chip":
        return 1.0
    return max(1.0, engine.beat_bytes / board.weight_bytes_per_cycle())


def memory_latency(board: Board) -> int:
    """Cycles from a burst's address to its first beat: of the image on chip, or those supposed of any other memory."""
    return ON_CHIP_CYCLES if board.weights == "on-chip" else LATENCY_CYCLES


@dataclass(frozen=True)
class StepCycles:
    """A step of a program.

    Attributes:
        cycles: from its start to the next one's, or to the end of the command.
        macs: useful int8 products.
        bound: what it spends most cycles on: multipliers, ports, weights, source, norm lanes, post lanes, memory
            bandwidth, stream or latency.
    """

    cycles: int
    macs: int
    bound: str


def program_cycles(
    layout: Layout, cycles_a_beat: float = 1.0, latency: int = LATENCY_CYCLES
) -> tuple[list[StepCycles], int]:
    """The steps of one frame of full length that has the engine to itself, and the interval of frames back to
    back, from one's first step to the next one's."""
    engine = layout.program.engine
    tasks = [
        Task.of(engine, placed.record, layout.program.tokens, placed.encoded) for placed in layout.placed
    ]
    walk = Walk(engine, tasks, cycles_a_beat, latency)
    alone, behind = walk.frames(2, 1)
    # With nothing behind it, the last step ends with the command.
    alone[-1] = replace(alone[-1], cycles=walk.ended(len(tasks) - 1) - alone[-1].start)
    steps = [
        StepCycles(timed.cycles, macs(layout, placed), timed.bound)
        for placed, timed in zip(layout.placed, alone, strict=True)
    ]
    return steps, sum(timed.cycles for timed in behind)


def macs(layout: Layout, placed: Placed) -> int:
    """Useful int8 products of one record."""
    return sum(cost.macs for cost in _costs(layout, placed))


def step_work(layout: Layout, placed: Placed, cycles_a_beat: float = 1.0) -> Work:
    """What one record has to do, in the units of its operators' `estimate`."""
    engine, words = layout.program.engine, placed.record.words
    values = placed.step.reads or placed.step.writes
    order = layout.orders[values[0]]
    task = Task.of(engine, placed.record, layout.program.tokens, placed.encoded)
    groups, least = RowGroups.none(), 1
    if task.records:
        groups, least = row_groups(list(task.records)), task.sweep(engine).least
    return Work(
        tokens=task.tokens,
        channels=len(order.physical),
        depth=order.depth,
        planes=2
        if placed.record.opcode in (Opcode.NORM, Opcode.POOL)  # the residual stream is int16
        else words.get("source_planes", words.get("planes", 1)),
        out_planes=1
        + any(bits > 8 for name, bits in words.items() if name in ("out_bits", "bits", "bits0", "bits1")),
        least=least,
        row_groups=groups,
        preload=task.preload(engine),
        beat_cycles=cycles_a_beat,
    )


def step_estimate(layout: Layout, placed: Placed, cycles_a_beat: float = 1.0) -> StepForm:
    """One record by its operators' closed forms."""
    engine, work = layout.program.engine, step_work(layout, placed, cycles_a_beat)
    return step_form(engine, placed.step, work)


@dataclass(frozen=True)
class StepForm:
    """A step in closed form: cycles of the slowest of its operators, those to fetch and to load it and from there to
    its end (`Estimate`), and how many row groups and words of the row buffer's `ring` that is; useful products of all
    operators, and what the slowest and its loading wait for."""

    opcode: Opcode
    cycles: int
    fetch: int = 0
    load: int = 0
    lag: int = 0
    groups: int = 0
    words: int = 0
    ring: int = 0
    macs: int = 0
    bound: str = "stream"
    feed: str = "memory bandwidth"

    def waits_for(self, cycles: int) -> str:
        """What most of the cycles go to that the step takes in a program: those beyond its own wait for its loading."""
        return self.feed if cycles > 2 * self.cycles else self.bound


def step_form(engine: Engine, step: Step, work: Work) -> StepForm:
    """A step's closed form."""
    if step.opcode is Opcode.INPUT:
        return StepForm(step.opcode, stream_cycles(engine, work) + WRITTEN_CYCLES)
    costs = [node.op.estimate(engine, work) for node in step.nodes if isinstance(node.op, DeviceOp)]
    slowest = max(costs, key=lambda cost: cost.cycles)
    groups = work.row_groups.cycles
    return StepForm(
        step.opcode,
        cycles=slowest.cycles,
        fetch=slowest.fetch,
        load=slowest.load,
        lag=slowest.lag,
        groups=len(groups),
        words=int(groups.sum()),
        ring=timing_of(engine).ring_words,
        macs=sum(cost.macs for cost in costs),
        bound=slowest.bound,
        feed=slowest.feed,
    )


AHEAD_STEPS = 6
"""Steps that the front may be ahead of the one at work: four queued, one in front of them, one that is loaded."""


FIRST_WEIGHTS = 135 + 2 * LATENCY_CYCLES
"""From a frame's first step to the first beat of weights, where nothing was fetched before: the checks of two
records behind the first, and the memory's latency for a page's length, and for the page."""


def chained(steps: Iterable[StepForm]) -> list[int]:
    """Cycles of each of some steps in a row, from their closed forms.

    Steps are fetched and loaded one after the other: fetched as far ahead as the front is (`step_queue`), loaded
    two at most ahead of the one at work (`step_dispatch`), and as far as the row buffer holds row groups.
    """
    fetched = loaded = 0
    starts = [0] * AHEAD_STEPS
    found: list[int] = []
    for step in steps:
        fetched = max(fetched, starts[-AHEAD_STEPS], FIRST_WEIGHTS if step.groups else 0) + step.fetch
        begin, start = max(loaded, starts[-3]), starts[-1]
        loaded = max(begin + step.load, fetched)
        end = max(start + step.cycles, loaded + step.lag)
        if step.groups:
            share = min(1.0, AHEAD / step.groups, step.ring / max(step.words, 1))
            loaded = max(loaded, end - int(share * step.cycles))
        starts.append(end)
        found.append(end - start)
    return found


def _costs(layout: Layout, placed: Placed, cycles_a_beat: float = 1.0) -> list[Estimate]:
    engine, work = layout.program.engine, step_work(layout, placed, cycles_a_beat)
    return [node.op.estimate(engine, work) for node in placed.step.nodes if isinstance(node.op, DeviceOp)]
