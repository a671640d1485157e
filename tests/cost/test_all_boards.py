"""Many boards at once: a fit by bounds is the exhaustive one, closed forms are near the walk, and both take seconds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from flow.boards import Board, list_boards, load_board
from flow.cost import (
    StepForms,
    barrier,
    budget,
    engine_usage,
    estimate_layout,
    estimate_quickly,
    fit,
)
from flow.cost.cycles import beat_cycles
from flow.cost.fit import SLOWER, Candidate, _Search
from flow.cost.resources import Usage, available, slr_budget, slrs_of
from flow.emit.lower import lay_out
from flow.engine import Engine, Opcode
from flow.errors import FitError
from flow.ir import Graph

Digits = Callable[[str], Graph]
Encode = Callable[..., Graph]


def exhaustive(graph: Graph, board: Board) -> Engine | None:
    """The engine of a search that counts every engine and then looks."""
    forms = StepForms.of(graph)
    search = _Search(forms, board, {})
    beats = beat_cycles(next(search.arrays()), board)
    fitting = []
    for array in search.arrays():
        most = min(array.banks, search.shape.widest), min(array.banks, search.shape.heads)
        counts = ([1 << i for i in range((limit - 1).bit_length() + 1)] for limit in most)
        for lanes, heads in itertools.product(*counts):
            engine = replace(array, norm_lanes=lanes, heads=heads)
            sized = search.sized(engine)
            if search.array_fits(array) and not search.missing(sized):
                cycles = forms.row(engine, beats).cycles
                share = engine_usage(sized, board).share(budget(board))
                fitting.append((share, Candidate(cycles, engine), sized))
    least = min((candidate.cycles for _, candidate, _ in fitting), default=0)
    near = [found for found in fitting if found[1].cycles <= SLOWER * least]
    return min(near, key=lambda found: (found[0], found[1].rank))[2] if near else None


FITTED = (("ultra96-v2", 1.0), ("ulx3s-85f", 1.0), ("zcu104", 0.3))
REFUSED = (("ulx3s-85f", 0.5), ("ultra96-v2", 0.2))
"""Boards, and the share of their multipliers and look-up tables that there is."""
SIZES = ((1, 8, 16, 2, 32), (2, 12, 24, 4, 48))


def part_of(name: str, share: float) -> Board:
    board = load_board(name)
    return replace(board, dsp=int(board.dsp * share), lut=int(board.lut * share))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("name", "share"), FITTED)
def test_the_fit_is_the_exhaustive_one(
    encoder: Encode, name: str, share: float, sizes: tuple[int, ...]
) -> None:
    graph, board = encoder(*sizes), part_of(name, share)
    wanted = exhaustive(graph, board)
    assert wanted is not None
    assert fit(graph, board) == wanted


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize(("name", "share"), REFUSED)
def test_nothing_fits_where_no_engine_does(
    encoder: Encode, name: str, share: float, sizes: tuple[int, ...]
) -> None:
    graph, board = encoder(*sizes), part_of(name, share)
    assert exhaustive(graph, board) is None
    with pytest.raises(FitError):
        fit(graph, board)


@pytest.mark.parametrize("name", ["u250", "pynq-z2"])
def test_engines_come_in_ascending_order(digits: Digits, name: str) -> None:
    """Of cycles, then of what is preferred among equals; each once, and the first is the least of all."""
    graph, board = digits("hp80"), load_board(name)
    forms = StepForms.of(graph)
    search = _Search(forms, board, {})
    arrays = [array for array in search.arrays() if search.array_fits(array)]
    come = list(itertools.islice(search._ascending(arrays), 150))
    ranks = [candidate.rank for candidate in come]
    assert len(ranks) == 150
    assert ranks == sorted(set(ranks))
    beat = beat_cycles(come[0].engine, board)
    assert all(
        candidate.cycles == StepForms.of(graph).row(candidate.engine, beat).cycles for candidate in come[:5]
    )
    some = (
        row
        for array in arrays[::7]
        if search._may_fit(array)
        for row in forms.rows(array, [1, array.banks], [1], beat)
    )
    assert come[0].cycles <= min(row.cycles for row in some)


def test_bounds_are_bounds(digits: Digits) -> None:
    """Of an array under every engine of it, and of an engine under its cycles."""
    forms = StepForms.of(digits("hp80"))
    search = _Search(forms, load_board("u250"), {})
    counted = 0
    for array in search.arrays():
        for beat in (1.0, 2.5):
            for row in forms.rows(array, [1, array.banks], [1], beat):
                assert forms.bound(array) <= row.least <= row.cycles
                counted += 1
    assert counted > 100


def test_an_engine_of_many_counts_as_by_itself(digits: Digits, encoder: Encode) -> None:
    """Norms, pool, attention, and results of values that take longer where a head has fewer banks."""
    for graph, arrays, changed in (
        (digits("hp80"), [Engine(8, 16, 4, 1, 1), Engine(16, 8, 8, 1, 1)], {Opcode.POOL}),
        (
            encoder(1, 32, 16, 4, 32),
            [Engine(32, 8, 1, 1, 1), Engine(32, 16, 2, 1, 1)],
            {Opcode.ATTENTION, Opcode.LINEAR},
        ),
    ):
        many, kinds = StepForms.of(graph), set()
        for array in arrays:
            rows = list(many.rows(array, [1, 2, 8], [1, 2, 4], 1.0))
            assert len(rows) == 9
            for row in rows:
                assert row.forms == StepForms.of(graph).row(row.engine, 1.0).forms
                kinds |= {a.opcode for a, b in zip(rows[0].forms, row.forms, strict=True) if a != b}
        assert kinds == {Opcode.NORM, *changed}


def test_shared_forms_change_no_answer(digits: Digits) -> None:
    forms = StepForms.of(digits("hp80"))
    for name in ("u250", "pynq-z2", "u280", "u250"):
        board = load_board(name)
        assert fit(digits("hp80"), board, None, forms) == fit(digits("hp80"), board)


@pytest.mark.parametrize("name", ["u250", "kv260", "pynq-z2", "ulx3s-85f"])
@pytest.mark.parametrize("model", ["dense", "hp80"])
def test_closed_forms_are_near_the_walk(digits: Digits, model: str, name: str) -> None:
    board, forms = load_board(name), StepForms.of(digits(model))
    engine = fit(digits(model), board, None, forms)
    quick, walked = (
        estimate_quickly(forms, engine, board),
        estimate_layout(lay_out(digits(model), engine), board),
    )
    assert quick.cycles == pytest.approx(walked.cycles, rel=0.1)
    assert quick.interval_cycles == pytest.approx(walked.interval_cycles, rel=0.15)
    assert quick.full_rate_interval_cycles == pytest.approx(walked.full_rate_interval_cycles, rel=0.15)
    # With what is loaded ahead at its back, a frame takes no longer than alone; and not less than its steps take by
    # themselves, one after the other.
    least = forms.row(engine, beat_cycles(engine, board)).least
    assert least <= quick.interval_cycles <= quick.cycles
    if name in ("u250", "kv260"):
        # There the first weights of a frame alone are waited for.
        assert quick.interval_cycles < quick.cycles
    assert quick.limit == walked.limit
    assert (quick.memory_latency_cycles, walked.memory_latency_cycles) == (
        100,
        7 if name == "ulx3s-85f" else 100,
    )
    assert quick.image_bits == pytest.approx(walked.image_bits, rel=0.25)
    assert (quick.macs, quick.engine, quick.tokens) == (walked.macs, walked.engine, walked.tokens)
    logic = ("dsp", "lut", "ff", "uram")
    assert all(quick.resources[key] == walked.resources[key] for key in logic)
    assert [(s.name, s.kind) for s in quick.steps] == [(s.name, s.kind) for s in walked.steps]
    assert "closed forms" in quick.to_json()["cycles_method"]


def test_all_boards_in_seconds(encoder: Encode) -> None:
    """A 12-layer, 768-wide encoder of HP 90 % on every board; what is too small says so."""
    graph = encoder(12, 128, 768, 12, 3072, banks=64, density=1 / 12)
    start = time.process_time()
    forms = StepForms.of(graph)
    reports, refused = {}, []
    for name in list_boards():
        board = load_board(name)
        try:
            engine = fit(graph, board, None, forms)
        except FitError:
            refused.append(name)
            continue
        found = estimate_quickly(forms, engine, board)
        reports[name] = replace(found, barrier=barrier(forms, board, engine))
    assert time.process_time() - start < 15
    assert refused == ["pynq-z2", "ultra96-v2", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f", "zedboard"]
    assert all(report.fits and report.energy is not None for report in reports.values())
    assert reports["kv260"].limit.startswith("compute (")
    assert reports["u280"].barrier
    assert reports["u280"].limit in ("weight bandwidth", f"compute ({reports['u280'].barrier})")
    # A larger device of one family and clock is no slower than a fit gives up for a smaller engine.
    assert reports["u250"].latency_ms < SLOWER * reports["u200"].latency_ms
    assert reports["u280"].cycles == reports["u55c"].cycles


def test_what_keeps_a_larger_engine_away(digits: Digits) -> None:
    graph = digits("dense")
    forms = StepForms.of(graph)
    board = load_board("pynq-z2")
    engine = fit(graph, board, None, forms)
    assert barrier(forms, board, engine) == "LUT"
    vast = replace(board, lut=10**7, ff=10**7, bram=10**5)
    # Its multipliers take the image as fast as it comes; behind a wide port they are what lacks.
    assert barrier(forms, vast, fit(graph, vast, None, forms)) == ""
    poor = replace(vast, axi_beat_bytes=64, memory=replace(board.memory, bandwidth_gb_s=64.0))
    assert barrier(forms, poor, fit(graph, poor, None, forms)) == "DSP"
    rich = replace(poor, dsp=10**6)
    assert barrier(forms, rich, fit(graph, rich, None, forms)) == ""


@pytest.mark.parametrize("model", ["dense", "hp80"])
def test_nothing_keeps_away_what_waits_for_the_memory(digits: Digits, model: str) -> None:
    """Behind a memory of a fiftieth, twice the multipliers of the same engine would be no faster."""
    graph, board = digits(model), load_board("pynq-z2")
    forms = StepForms.of(graph)
    engine = fit(graph, board, None, forms)
    assert barrier(forms, board, engine) == "LUT"
    slow = replace(board, memory=replace(board.memory, bandwidth_gb_s=board.memory.bandwidth_gb_s / 50))
    assert barrier(forms, slow, engine) == ""
    quick, walked = estimate_quickly(forms, engine, slow), estimate_layout(lay_out(graph, engine), slow)
    assert (quick.limit, walked.limit) == ("weight bandwidth", "weight bandwidth")
    # The memory gives no frame its weights faster.
    pace = beat_cycles(engine, slow)
    assert pace > 10
    for report in (quick, walked):
        assert report.interval_cycles >= report.weight_bits / 8 / engine.beat_bytes * pace


def test_headroom_of_every_super_logic_region() -> None:
    """The budget is whole SLRs' budgets, and an engine lies across as many as its scarcest resource takes."""
    board = load_board("u250")
    one = slr_budget(board)
    assert one == Usage(2304, 324_000, 648_000, 1008, 240)
    assert budget(board) == Usage(*(4 * getattr(one, key) for key in ("dsp", "lut", "ff", "bram18", "uram")))
    odd = replace(board, dsp=11, max_utilisation=0.5)
    assert (slr_budget(odd).dsp, budget(odd).dsp) == (1, 4)
    assert slrs_of(one, board) == 1
    assert slrs_of(replace(one, lut=one.lut + 1), board) == 2
    assert slrs_of(available(board), board) == 4
    assert slrs_of(Usage(1, 1, 1, 1, 1), load_board("zedboard")) == 1
