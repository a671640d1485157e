"""The laws of single steps against cycles counted by hand, and reports that add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.boards import load_board
from flow.cost import estimate_layout
from flow.cost.cycles import StepForm, beat_cycles, chained, program_cycles, step_estimate, step_work
from flow.cost.machine import Task, Walk
from flow.cost.machine.records import record_shapes, row_groups
from flow.cost.resources import CALIBRATED, CALIBRATION
from flow.emit.lower import lay_out
from flow.engine import Engine, Opcode
from flow.engine.timing import Timing
from flow.formats import encode
from flow.ir import Graph
from flow.ops import Attention, DeviceConstant, DeviceOutput, Linear, Norm, Pool
from flow.ops.device import RowGroups, Work
from flow.ops.examples import attention_graph, linear_graph, norm_graph, pool_graph

ROOT = Path(__file__).resolve().parents[2]

ENGINE = Engine(4, 8, 2, norm_lanes=2, heads=2, beat_bytes=16, stream_bytes=8, sequence=64)
WAY = 9 + 3 + 14
"""The array with three adder levels over 8 banks, and the stages behind it."""


def work(groups: RowGroups | None = None, **changes: float) -> Work:
    values = {"tokens": 16, "channels": 16, "depth": 2, "planes": 1, "out_planes": 1, "least": 1}
    rest: dict[str, Any] = {**values, "preload": 0, "beat_cycles": 1.0, **changes}
    return Work(row_groups=groups or RowGroups.none(), **rest)


def groups(cycles: list[int], **others: list[int]) -> RowGroups:
    blank = [0] * len(cycles)
    columns = (cycles, *(others.get(name, blank) for name in ("beats", "lookups", "maps")))
    return RowGroups(*(np.array(column, np.int64) for column in columns))


def linear(rows: int = 6, channels: int = 16) -> Linear:
    return Linear(np.ones((rows, channels), np.int8), np.zeros(rows, np.int64))


def test_a_linear_step_takes_its_weights_times_tiles() -> None:
    """100 row groups of 2 cycles hide everything else but the wait for the first tile of the step before: the way of a
    result and its write, 34 cycles, less the 3 tiles behind it and the 11 cycles of a start."""
    estimate = linear().estimate(ENGINE, work(groups([2] * 100)))
    assert estimate.cycles == 4 * 2 * 100 + (WAY + 8 - 11 - 3 * 2) + 11
    assert estimate.bound == "multipliers"
    assert estimate.macs == 16 * 6 * 16


def test_two_byte_planes_take_twice_as_long() -> None:
    estimate = linear().estimate(ENGINE, work(groups([5] * 20), planes=2))
    assert (estimate.cycles, estimate.macs) == (4 * 2 * 5 * 20 + 11, 2 * 16 * 6 * 16)


def test_an_empty_row_group_writes_its_bias() -> None:
    assert linear().estimate(ENGINE, work(groups([0, 3, 0] * 20 + [10]))).cycles == 4 * (5 * 20 + 10) + 11


def test_results_of_two_planes_take_turns() -> None:
    """Two row groups of one slot, so that none waits for a high plane; not where all rows lie in the same banks."""
    wide = work(groups([1] * 50 + [10]), out_planes=2, least=2)
    estimate = linear().estimate(ENGINE, wide)
    assert (estimate.cycles, estimate.bound) == (4 * (50 + 10) + 11, "multipliers")
    narrow = linear().estimate(Engine(4, 2, 2, 2, 1, beat_bytes=16, stream_bytes=8), wide)
    assert (narrow.cycles, narrow.bound) == (4 * (2 * 50 + 10) + 11, "ports")


@pytest.mark.parametrize(
    ("column", "feed"),
    [("beats", "memory bandwidth"), ("lookups", "code look-ups"), ("maps", "column maps")],
)
def test_the_slowest_unit_of_the_loader_bounds(column: str, feed: str) -> None:
    """Beats, look-ups and maps are worked on side by side; page and table come before them."""
    fed = groups([1] * 10, **{"beats": [3] * 10, column: [50] * 10})
    estimate = linear().estimate(ENGINE, work(fed, preload=20))
    assert (estimate.load, estimate.feed) == (20 + 500 + 35, feed)
    assert estimate.cycles < estimate.load == estimate.alone


def test_a_slow_memory_stretches_beats() -> None:
    fed = groups([1] * 10, beats=[50] * 10)
    estimate = linear().estimate(ENGINE, work(fed, beat_cycles=1.5))
    assert (estimate.fetch, estimate.load, estimate.feed) == (750, 535, "memory bandwidth")
    # Short bursts wait for the memory's latency: three at a time, 3 beside those of the weights, 128 beats each.
    assert linear().estimate(ENGINE, work(groups([1], beats=[129]))).fetch == 4 * 35


def test_steps_are_loaded_behind_those_before_them() -> None:
    """A long step hides the loading of the next one, but not that of the one after, whose row groups find no room."""
    long = StepForm(Opcode.LINEAR, cycles=1000, load=500, groups=80, words=80, ring=512)
    fed = StepForm(Opcode.LINEAR, cycles=10, load=700, groups=80, words=80, ring=512)
    # The first step's last half waits in the ring: the next one is loaded from its middle on.
    assert chained([long, fed]) == [1000, 500 - 300]
    assert chained([fed]) == [700]
    assert chained([long, StepForm(Opcode.NORM, 300, 30, 20, 300), fed]) == [1000, 300, 10]
    # Of the first step, nothing was fetched before.
    assert chained([StepForm(Opcode.LINEAR, 10, fetch=50, load=20, groups=1, words=1, ring=512)]) == [
        335 + 50
    ]
    assert chained([]) == []


def test_a_step_waits_for_its_loading_where_most_of_its_cycles_go_there() -> None:
    step = StepForm(Opcode.LINEAR, 100, fetch=400, load=300, bound="ports", feed="code look-ups")
    assert [step.waits_for(cycles) for cycles in (100, 200, 201)] == ["ports", "ports", "code look-ups"]


def test_a_norm_sweeps_its_lanes_or_its_ports() -> None:
    (graph, *_) = Norm.examples()
    norm = next(n.op for n in graph if isinstance(n.op, Norm))
    # The first tile of a sum comes late. Four lines of 8 banks in 4 pieces a tile; the first tile's scale takes
    # log2 L + (T - 1)*F + 67 cycles: its tokens come every F cycles, which four lines have time for.
    wait = WAY + 3 - 2 * 3
    assert Timing(ENGINE).norm_fold == 4
    deep = norm.estimate(ENGINE, work(planes=2, depth=4))
    assert deep.cycles == wait + 5 + 16 + (1 + 3 * 4 + 67) + 4 * 16
    # With two lines tiles wait for each other: they have fewer pieces than their tokens take.
    shallow = norm.estimate(ENGINE, work(planes=2))
    assert shallow.cycles == wait + 5 + 8 + (1 + 3 * 4 + 67) + 4 * 8 + 3 * (1 + 3 * 4 + 67 - 58)
    wide = Engine(4, 8, 2, norm_lanes=8, heads=1)
    ported = norm.estimate(wide, work(planes=2, depth=4))
    # A line in one piece: but two readers take a line pair of the port in four cycles.
    assert ported.bound == "ports"
    assert ported.cycles == wait + 5 + 4 + (3 + 3 + 67) + 4 * 4 * 4
    slow = norm.estimate(ENGINE, work(planes=2, preload=1000, beat_cycles=1.5))
    assert (slow.fetch, slow.load, slow.feed) == (1500, 1000, "memory bandwidth")
    assert slow.lag == slow.cycles


@pytest.mark.parametrize(
    ("tokens", "lanes", "channels", "frame", "simulated"),
    [(4, 1, 20, 33, 614), (2, 1, 8, 17, 422), (4, 2, 20, 30, 362), (4, 1, 60, 33, 758)],
)
def test_folded_norms_take_what_simulation_found(
    tokens: int, lanes: int, channels: int, frame: int, simulated: int
) -> None:
    """Cycles of the Verilog (`simulate` of tools/bench/cycles.py): tiles that are too short for their tokens wait for
    each other, those of 60 channels do not."""
    engine = Engine(
        tokens, 8, 2, lanes, 1, 8, 8, ("add", "norm"), 64, 512, 512, 256, 16, 16
    )  # fmt: skip
    assert Timing(engine).norm_fold > 1
    layout = lay_out(norm_graph(tokens=frame, channels=channels), engine)
    tasks = [Task.of(engine, placed.record, frame, placed.encoded) for placed in layout.placed]
    (alone,) = Walk(engine, tasks).frames(1)
    assert alone[1].cycles == simulated
    # The closed form leaves out what a program that begins with a norm waits for its constants.
    form = step_estimate(layout, layout.placed[1])
    assert abs(form.cycles - (simulated - alone[1].waits["memory bandwidth"])) <= 0.013 * simulated


def test_attention_by_pairs_of_heads_and_tiles() -> None:
    graph = attention_graph(tokens=16, heads=4, width=4)
    op = next(n.op for n in graph if isinstance(n.op, Attention))
    # Two heads abreast, 4 channels each: 16/2 slots of scores, ceil(16/4) * 4/2 of context. A pass: 8 groups, one
    # reciprocal for 4 queries of 2 heads less one, 4 before the last is there, a level over 2 rows, 8 stages.
    estimate = op.estimate(ENGINE, work())
    pairs, scores, context, held = 4 * 2, 8, 8, 8 + (8 - 1 + 4 + 1 + 8)
    period = max(scores + context, (context + held + 1) // 2, 8)
    drain = WAY + 4 + 8
    assert estimate.cycles == drain + scores + held + WAY + 2 + (pairs - 1) * period + context + 8
    assert estimate.bound == "post lanes"
    assert estimate.macs == 2 * 16 * 16 * 16
    long = op.estimate(ENGINE, work(tokens=64))
    assert long.bound == "multipliers"
    assert long.cycles == drain + 32 + (32 + 20) + WAY + 2 + (32 - 1) * (32 + 32) + 32 + 8


def test_causal_attention_counts_half_the_products_and_keys() -> None:
    plain, causal = (
        next(
            n.op
            for n in attention_graph(tokens=16, heads=2, width=8, causal=hides)
            if isinstance(n.op, Attention)
        )
        for hides in (False, True)
    )
    assert causal.estimate(ENGINE, work()).macs == 2 * (16 * 17 // 2) * 16
    tokens = work(tokens=64)
    assert 0.5 < causal.estimate(ENGINE, tokens).cycles / plain.estimate(ENGINE, tokens).cycles < 0.6


def test_pool_reads_every_tile_or_one() -> None:
    ops = {g.name: next(n.op for n in g if isinstance(n.op, Pool)) for g in Pool.examples()}
    mean, first = ops["pool_7x12_mean"], ops["pool_7x10_first"]
    # Two lines; 4 tiles in 4 pieces each are read while the 8 sums of the line before leave: 8 + 7 + 2 and one more.
    assert mean.estimate(ENGINE, work(planes=2, out_planes=2)).cycles == 16 + 18 + 17 + 15
    assert first.estimate(ENGINE, work(planes=2)).cycles == 4 + 17 + 16 + 15


def test_streams_and_constants_take_a_beat_each() -> None:
    # 4 tiles x 2 planes x 2 words x 8 banks x 4 bytes.
    assert DeviceOutput("y").estimate(ENGINE, work(planes=2)).cycles == 512 // 8 + 4 + 10
    constant = DeviceConstant(np.zeros((16, 16), np.int16), 1.0)
    assert constant.estimate(ENGINE, work(planes=2)).cycles == 512 // 16 + 113
    assert constant.estimate(ENGINE, work(planes=2, beat_cycles=2.5)).cycles == 80 + 113
    # A beat of two lines takes two cycles.
    wide = Engine(4, 8, 2, 2, 1, beat_bytes=64, stream_bytes=64)
    assert DeviceOutput("y").estimate(wide, work(planes=2)).cycles == 16 + 4 + 10


def test_what_a_record_takes() -> None:
    dense = row_groups(record_shapes(encode(np.ones((4, 16), np.int8), banks=8, rows_per_group=2), ENGINE))
    # Header and two constants 24 bytes, 2*2*8 weights of a byte: 4 beats; both rows read the same columns at once.
    assert [column.tolist() for column in (dense.cycles, dense.beats, dense.lookups, dense.maps)] == [
        [2, 2], [4, 4], [2, 2], [0, 0],
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    weights = (rng.random((8, 64)) < 0.2).astype(np.int8)
    sparse = record_shapes(encode(weights, banks=8, rows_per_group=2), ENGINE)
    # A beat holds two banks' worth of 8: codes of both rows are looked up at once.
    assert all(record.lookups >= record.cycles for record in sparse)
    assert all(record.code_first >= 1 and record.code_need >= record.code_first for record in sparse)


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
    assert data["method"].endswith(
        "logic fitted to eight synthesised engines a family (UltraScale+, whose figures 7 series takes, and ECP5), "
        "within 4 % of Yosys on four others of each"
    )
    # What that says is what was measured.
    fitted = json.loads(CALIBRATION.read_text())["fitted_engines"]
    assert fitted == {"xcup": 8, "ecp5": 8}
    assert set(CALIBRATED.values()) == set(fitted)
    measured = json.loads((ROOT / "tools/bench/results/resources.json").read_text())
    for family in fitted:
        others = measured[family]["held_out"]
        assert len(others) == 4
        assert max(abs(other[error]) for other in others for error in ("lut_error", "ff_error")) <= 0.04
    assert data["interval_cycles"] > 0
    assert data["cycles_method"].startswith("the Verilog engine's timing")
    assert data["resources"]["dsp"]["available"] == 2520
    assert data["resources"]["dsp"]["used"] > ENGINE.multipliers // 2
    assert [step["kind"] for step in data["steps"]] == [step.kind for step in report.steps]


def test_a_layout_counts_as_its_steps_do() -> None:
    """9 tokens are 3 tiles, 7 rows 4 row groups, 20 channels 3 words: 36 slots."""
    graph = linear_graph(tokens=9, channels=20, rows=7)
    layout = lay_out(graph, ENGINE)
    placed = next(p for p in layout.placed if p.encoded is not None)
    found = step_work(layout, placed)
    # A record: header 8, 2 constants 16, 3*2*8 weights 48 bytes in beats of 16; the code page has two words, the first
    # of which takes two cycles.
    assert found.row_groups.beats.tolist() == [5] * 4
    assert (found.row_groups.cycles.tolist(), found.preload, found.least) == ([3] * 4, 3, 1)
    step = next(s for s in estimate_layout(layout, load_board("zcu102")).steps if s.kind == "linear")
    op = next(n.op for n in graph if isinstance(n.op, Linear))
    assert step.macs == 9 * int(np.count_nonzero(op.weight))
    assert step.utilisation == step.macs / (64 * step.cycles)
    # The step begins before its first beat is on its way: nothing hides the memory's latency.
    assert step.bound == "memory bandwidth"
    assert step_estimate(layout, placed).cycles < step.cycles


def test_a_beat_every_other_cycle_is_slower_where_weights_bound(encoder: Callable[..., Graph]) -> None:
    layout = lay_out(encoder(1, 16, 64, 1, 128), Engine(8, 16, 4, 16, 1, 16, 64, sequence=128))
    fast, slow = (sum(step.cycles for step in program_cycles(layout, pace)[0]) for pace in (1.0, 2.0))
    assert 1.2 < slow / fast < 2.0
    near, far = (
        sum(step.cycles for step in program_cycles(layout, 1.0, latency)[0]) for latency in (10, 200)
    )
    assert near < fast < far


def test_an_image_on_chip_answers_at_once(encoder: Callable[..., Graph]) -> None:
    """The memory of `flow sim` answers after 100 cycles all the same."""
    layout = lay_out(encoder(1, 16, 64, 1, 128), Engine(4, 16, 4, 16, 1, 8, 64, sequence=128))
    near, far = (estimate_layout(layout, load_board(name)) for name in ("ulx3s-85f", "pynq-z2"))
    assert (near.to_json()["memory_latency_cycles"], far.to_json()["memory_latency_cycles"]) == (7, 100)
    assert near.to_json()["cycles_method"].endswith("; memory of 7 cycles latency")
    assert near.cycles < far.cycles == sum(step.full_rate_cycles for step in near.steps)
    # The first weights wait for a page's length, and for the page.
    assert far.cycles - near.cycles >= 2 * (100 - 7)
    assert near.interval_cycles <= near.full_rate_interval_cycles == far.interval_cycles


def test_utilisation_nears_one_where_nothing_else_bounds(encoder: Callable[..., Graph]) -> None:
    graph = encoder(1, 128, 64, 1, 128)
    engine = Engine(8, 16, 4, 16, 1, 64, 64, sequence=128, depth=8, row_cycles=8)
    report = estimate_layout(lay_out(graph, engine), load_board("u250"))
    linears = [s for s in report.steps if s.kind == "linear"]
    assert len(linears) == 6
    assert all(0.9 < s.utilisation < 1 for s in linears)
    assert all(s.utilisation <= 1 for s in report.steps)


def test_pool_graph_reports_its_single_token() -> None:
    """The records' check takes longer than a short input: the pool starts 61 cycles behind it."""
    report = estimate_layout(
        lay_out(pool_graph(tokens=7, channels=20, mean=True), ENGINE), load_board("zcu102")
    )
    by_kind = {s.kind: s.cycles for s in report.steps}
    # Three lines of 2 tiles in 4 pieces: the first leaves when 2^16 is divided by the length, from cycle 21 on,
    # for 8 + 7 cycles and two writes, the others behind it. An output's only tile is known a cycle late.
    assert by_kind == {
        "input": 61,
        "pool": 21 + 3 * (8 + 7 + 2 + 1) + 3,
        "output": 3 * 2 * 8 * 4 // 8 + 1 + 10,
    }
    # Nothing but the header and the checks of its records follows an input: frames are three of them apart.
    assert report.interval_cycles == 3 * 61 + 3
