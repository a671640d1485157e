"""Cycles of every step of a laid-out program, and what it waits for.

Steps follow one another: an engine that starts a step before the last one has drained is a little faster. The
model counts issue slots of the array, memory ports, beats of the weight stream, code look-ups, and fill and
drain.
"""

from __future__ import annotations

import numpy as np

from flow.boards import Board
from flow.engine import STAGE_WORDS, Engine, Opcode, Record
from flow.formats import EncodedMatrix, record_beats
from flow.ops.boundary import stream_cycles
from flow.ops.device import DeviceOp, RowGroups, Work
from flow.passes.lay_out import Layout, Placed


def beat_cycles(engine: Engine, board: Board) -> float:
    """Engine cycles between two beats of the image, at least 1: what the AXI4 master or the memory channel
    behind it allows.

    Where weights lie on chip a beat comes every cycle.
    """
    if board.weights == "on-chip":
        return 1.0
    return max(1.0, engine.beat_bytes / board.weight_bytes_per_cycle())


def row_groups(encoded: EncodedMatrix, beat_bytes: int) -> RowGroups:
    """The row groups of a stored matrix."""
    lookups = []
    for group in encoded.row_groups:
        shape = encoded.shapes[group.shape]
        maps = group.map.offsets.size if group.map is not None and group.map.bits else 0
        lookups.append(maps + (group.weights.size if shape.code_bits else 0))
    counts = (encoded.row_group_cycles, lookups, record_beats(encoded, beat_bytes))
    return RowGroups(*(np.array(column, np.int64) for column in counts))


def step_work(layout: Layout, placed: Placed, cycles_a_beat: float) -> Work:
    """What one record has to do, in the units of its operators' `estimate`."""
    engine, words = layout.program.engine, placed.record.words
    values = placed.step.reads or placed.step.writes
    order = layout.orders[values[0]]
    results = [w for name, w in words.items() if name in ("out_bits", "bits0", "bits1")]
    return Work(
        tokens=1 if words["single_token"] else layout.program.tokens,
        channels=len(order.physical),
        depth=order.depth,
        planes=_planes(placed.record),
        out_planes=2 if any(bits > 8 for bits in results) else 1,
        outputs=words.get("outputs", 1),
        row_groups=RowGroups.none()
        if placed.encoded is None
        else row_groups(placed.encoded, engine.beat_bytes),
        preload_beats=_preload_beats(engine, placed),
        beat_cycles=cycles_a_beat,
    )


def _planes(record: Record) -> int:
    if record.opcode in (Opcode.NORM, Opcode.POOL):
        return 2  # the residual stream is int16
    return record.words.get("source_planes", record.words.get("planes", 1))


def _preload_beats(engine: Engine, placed: Placed) -> int:
    """Beats of code page, tables and norm constants, which a step needs before its first result."""
    words, beat = placed.record.words, engine.beat_bytes
    sizes = {
        Opcode.LINEAR: [
            2 << words["table_bits"] if words.get("table_bits") else 0,
            4 * STAGE_WORDS if words.get("stage") else 0,
        ],
        Opcode.NORM: [8 * words.get("depth", 0) * engine.banks] * words.get("outputs", 0),
        Opcode.ATTENTION: [2 * 256],
    }.get(placed.record.opcode, [])
    page = len(placed.encoded.page.pack(beat)) if placed.encoded is not None else 0
    return -(-page // beat) + sum(-(-size // beat) for size in sizes)


def step_cost(layout: Layout, placed: Placed, cycles_a_beat: float) -> tuple[int, int, str]:
    """(cycles, useful int8 products, what it waits for) of one record: the slowest of its operators, and
    their products together."""
    engine = layout.program.engine
    work = step_work(layout, placed, cycles_a_beat)
    if placed.record.opcode is Opcode.INPUT:
        return stream_cycles(engine, work), 0, "stream"
    costs = [node.op.estimate(engine, work) for node in placed.step.nodes if isinstance(node.op, DeviceOp)]
    slowest = max(costs, key=lambda cost: cost.cycles)
    return slowest.cycles, sum(cost.macs for cost in costs), slowest.bound
