"""The step model against cycles counted by hand on small engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flow.boards import load_board
from flow.cost import estimate_layout
from flow.cost.cycles import beat_cycles, row_groups
from flow.emit.lower import lay_out
from flow.engine import Engine
from flow.formats import encode
from flow.ir import Graph
from flow.ops import Attention, DeviceConstant, DeviceOutput, Linear, Norm, Pool
from flow.ops.device import RowGroups, Work
from flow.ops.examples import attention_graph, linear_graph, norm_graph, pool_graph

ENGINE = Engine(4, 8, 2, norm_lanes=2, heads=2, beat_bytes=16, stream_bytes=8, sequence=64)
FILL = 15 + 3  # the pipeline, and three adder levels over 8 banks


def work(groups: RowGroups | None = None, **changes: float) -> Work:
    values = {"tokens": 16, "channels": 16, "depth": 2, "planes": 1, "out_planes": 1, "outputs": 1}
    rest: dict[str, Any] = {**values, "preload_beats": 0, "beat_cycles": 1.0, **changes}
    return Work(row_groups=groups or RowGroups.none(), **rest)


def groups(cycles: list[int], lookups: list[int] | None = None, beats: list[int] | None = None) -> RowGroups:
    blank = [0] * len(cycles)
    return RowGroups(*(np.array(c, np.int64) for c in (cycles, lookups or blank, beats or blank)))


def linear(rows: int = 6, channels: int = 16) -> Linear:
    return Linear(np.ones((rows, channels), np.int8), np.zeros(rows, np.int64))


def test_a_linear_step_takes_its_weights_times_tiles() -> None:
    estimate = linear().estimate(ENGINE, work(groups([2, 2, 1])))
    assert estimate.cycles == 4 * (2 + 2 + 1) + FILL
    assert estimate.bound == "multipliers"
    assert estimate.macs == 16 * 6 * 16


def test_two_byte_planes_take_twice_as_long() -> None:
    estimate = linear().estimate(ENGINE, work(groups([2, 2, 1]), planes=2))
    assert (estimate.cycles, estimate.macs) == (4 * 2 * 5 + FILL, 2 * 16 * 6 * 16)


def test_an_empty_row_group_writes_its_bias() -> None:
    assert linear().estimate(ENGINE, work(groups([0, 3, 0]))).cycles == 4 * (1 + 3 + 1) + FILL


def test_an_int16_result_needs_two_cycles_of_the_write_port() -> None:
    estimate = linear().estimate(ENGINE, work(groups([1, 1, 3]), out_planes=2))
    assert (estimate.cycles, estimate.bound) == (4 * (2 + 2 + 3) + FILL, "ports")


def test_records_load_while_the_row_group_before_runs() -> None:
    # 5 exposed, then max(8, 20), max(8, 6), and the last one with nothing to load.
    estimate = linear().estimate(ENGINE, work(groups([2, 2, 2], beats=[5, 20, 6])))
    assert (estimate.cycles, estimate.bound) == (5 + 20 + 8 + 8 + FILL, "memory bandwidth")
    slow = linear().estimate(
        ENGINE, work(groups([2, 2, 2], beats=[5, 20, 6]), beat_cycles=1.5, preload_beats=3)
    )
    assert slow.cycles == 5 + 8 + 30 + 9 + 8 + FILL


def test_code_look_ups_bound_a_short_sequence() -> None:
    # min(B, beat/2) = 8 look-ups a cycle; 160 take 20 cycles, more than one tile's 2.
    estimate = linear().estimate(ENGINE, work(groups([2, 2, 2], lookups=[160] * 3, beats=[1] * 3), tokens=1))
    assert (estimate.cycles, estimate.bound) == (20 + 20 + 20 + 2 + FILL, "code look-ups")


def test_a_norm_sweeps_its_lanes_or_its_ports() -> None:
    (graph, *_) = Norm.examples()
    norm = next(n.op for n in graph if isinstance(n.op, Norm))
    assert norm.estimate(ENGINE, work(planes=2)).cycles == 4 * (16 // 2) + 72
    wide = Engine(4, 8, 2, norm_lanes=8, heads=1)
    # 16 channels on 8 lanes are 2 cycles, but 2 words of 2 planes each pass one read port.
    ported = norm.estimate(wide, work(planes=2))
    assert (ported.cycles, ported.bound) == (4 * 4 + 72, "ports")
    assert norm.estimate(ENGINE, work(planes=2, preload_beats=10)).cycles == 10 + 4 * 8 + 72


def test_attention_by_pairs_of_heads_and_tiles() -> None:
    graph = attention_graph(tokens=16, heads=4, width=4)
    op = next(n.op for n in graph if isinstance(n.op, Attention))
    # Two heads abreast, 4 channels each: 16/2 cycles of scores, ceil(16/4) * 4/2 of context, exp 16/2 + 17 + 4*2.
    estimate = op.estimate(ENGINE, work())
    pairs, scores, context, exp = 4 * 2, 8, 8, 8 + 17 + 8
    assert estimate.cycles == pairs * max(scores + context, exp) + (exp - context) + 52
    assert estimate.bound == "post lanes"
    assert estimate.macs == 2 * 16 * 16 * 16
    long = op.estimate(ENGINE, work(tokens=64))
    assert long.cycles == 16 * 2 * (32 + 16 * 2) + (32 + 17 + 8 - 32) + 52
    assert long.bound == "multipliers"


def test_causal_attention_counts_half_the_products() -> None:
    op = next(
        n.op for n in attention_graph(tokens=16, heads=2, width=8, causal=True) if isinstance(n.op, Attention)
    )
    assert op.estimate(ENGINE, work()).macs == 2 * (16 * 17 // 2) * 16


def test_pool_reads_every_tile_or_one() -> None:
    ops = {g.name: next(n.op for n in g if isinstance(n.op, Pool)) for g in Pool.examples()}
    mean, first = ops["pool_7x12_mean"], ops["pool_7x10_first"]
    assert mean.estimate(ENGINE, work(planes=2)).cycles == 4 * (16 // 2) + 16
    assert first.estimate(ENGINE, work(planes=2)).cycles == 16 // 2 + 16


def test_streams_and_constants_take_a_beat_each() -> None:
    # 4 tiles x 2 planes x 2 words x 8 banks x 4 bytes.
    assert DeviceOutput("y").estimate(ENGINE, work(planes=2)).cycles == 512 // 8
    constant = DeviceConstant(np.zeros((16, 16), np.int16), 1.0)
    assert constant.estimate(ENGINE, work(planes=2)).cycles == 512 // 16
    assert constant.estimate(ENGINE, work(planes=2, beat_cycles=2.5)).cycles == 80


def test_look_ups_are_counted_only_where_a_code_names_columns() -> None:
    dense = encode(np.ones((4, 16), np.int8), banks=4, rows_per_group=2)
    assert row_groups(dense, 16).lookups.tolist() == [0, 0]
    assert row_groups(dense, 16).cycles.tolist() == [4, 4]
    rng = np.random.default_rng(0)
    sparse = encode((rng.random((8, 64)) < 0.2).astype(np.int8), banks=4, rows_per_group=2)
    assert row_groups(sparse, 16).lookups.min() > 0


@pytest.mark.parametrize(
    ("name", "cycles"), [("u250", 1.0), ("zcu102", 1.0), ("pynq-z2", 1.0), ("ulx3s-85f", 1.0)]
)
def test_beats_come_as_fast_as_one_channel(name: str, cycles: float) -> None:
    board = load_board(name)
    engine = Engine(4, 8, 2, 2, 1, beat_bytes=board.axi_beat_bytes)
    assert beat_cycles(engine, board) == pytest.approx(cycles)


@pytest.mark.parametrize(
    "graph", [linear_graph(tokens=9, channels=20, rows=7), norm_graph(tokens=9, channels=20, bits=(16, 8))]
)
def test_a_report_adds_up(graph: Graph) -> None:
    report = estimate_layout(lay_out(graph, ENGINE), load_board("zcu102"))
    assert report.cycles == sum(step.cycles for step in report.steps)
    assert all(step.cycles > 0 for step in report.steps)
    assert report.latency_ms == pytest.approx(report.cycles / 200e3)
    assert 0 <= report.utilisation <= 1
    data = report.to_json()
    assert data["method"] == "first-principles, not yet calibrated against synthesis"
    assert data["resources"]["dsp"]["available"] == 2520
    assert data["resources"]["dsp"]["used"] > ENGINE.multipliers // 2
    assert [step["kind"] for step in data["steps"]] == [step.kind for step in report.steps]


def test_a_layout_counts_as_its_steps_do() -> None:
    """9 tokens are 3 tiles, 7 rows 4 row groups, 20 channels 3 words: 36 cycles hide all but the first record."""
    graph = linear_graph(tokens=9, channels=20, rows=7)
    step = next(
        s for s in estimate_layout(lay_out(graph, ENGINE), load_board("zcu102")).steps if s.kind == "linear"
    )
    op = next(n.op for n in graph if isinstance(n.op, Linear))
    # A record: header 8, 2 constants 16, 3*2*8 weights 48 bytes in beats of 16; the code page is one beat; 9 a group.
    assert step.cycles == 1 + 5 + 4 * 3 * 3 + FILL
    assert step.macs == 9 * int(np.count_nonzero(op.weight))
    assert step.utilisation == step.macs / (64 * step.cycles)


def test_utilisation_nears_one_where_nothing_else_bounds(encoder: Callable[..., Graph]) -> None:
    graph = encoder(1, 128, 64, 1, 128)
    engine = Engine(8, 16, 4, 16, 1, 64, 64, sequence=128, depth=8, row_cycles=8)
    report = estimate_layout(lay_out(graph, engine), load_board("u250"))
    linears = [s for s in report.steps if s.kind == "linear"]
    assert len(linears) == 6
    assert all(0.9 < s.utilisation < 1 for s in linears)
    assert all(s.utilisation <= 1 for s in report.steps)


def test_pool_graph_reports_its_single_token() -> None:
    report = estimate_layout(
        lay_out(pool_graph(tokens=7, channels=12, mean=True), ENGINE), load_board("zcu102")
    )
    by_kind = {s.kind: s.cycles for s in report.steps}
    assert by_kind == {"input": 2 * 2 * 2 * 8 * 4 // 8, "pool": 2 * 6 + 16, "output": 2 * 2 * 8 * 4 // 8}
