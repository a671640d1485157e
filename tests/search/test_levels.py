"""Levels of clock and voltage: their order, what they share, that none is faster than nominal; old journals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flow.boards import Board, Level, load_board
from flow.cost import EstimateReport, estimate_layout, fit
from flow.cost.energy import METHOD
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.engine import Engine
from flow.errors import FlowError
from flow.ir import Graph
from flow.search import candidates
from flow.search.candidates import MODEL, Source, levels_of
from flow.search.choose import Place
from flow.search.journal import Entry, Journal
from flow.search.loop import Constraints, Means, SelectOptions, select


@pytest.fixture(scope="module")
def graph(models: Path) -> Graph:
    return integerise(read_model(models / "digits_vit_hp80.pt2"), LowerOptions())


def reports(graph: Graph, board: Board) -> list[EstimateReport]:
    return candidates._Pricing.of(graph).reports(levels_of(board))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The levels that engines are fitted at."""
    found: list[str] = []

    def counted(graph: Graph, board: Board, *rest: Any) -> Engine:
        found.append(board.level)
        return fit(graph, board, *rest)

    monkeypatch.setattr(candidates, "fit", counted)
    return found


def with_levels(board: Board, *levels: Level) -> Board:
    assert board.power is not None
    return replace(board, power=replace(board.power, levels=levels))


def test_their_order() -> None:
    assert [at.level for at in levels_of(load_board("vcu118"))] == ["nominal", "low-voltage", "half"]
    alike = with_levels(
        load_board("vcu118"), Level("b", 1.0, 0.8), Level("a", 1.0, 0.8), Level("c", 0.5, 0.8)
    )
    assert [at.level for at in levels_of(alike)] == ["nominal", "a", "b", "c"]
    assert levels_of(replace(alike, power=None)) == (replace(alike, power=None),)
    boards = [load_board(name) for name in ("u50", "pynq-z2")]
    assert SelectOptions().places(boards) == (
        Place("u50"), Place("u50", "half"), Place("pynq-z2"), Place("pynq-z2", "half")
    )  # fmt: skip
    assert SelectOptions(levels="nominal").places(boards) == (Place("u50"), Place("pynq-z2"))


@pytest.mark.parametrize(("name", "fitted"), [("pynq-z2", ["nominal"]), ("u50", ["nominal", "half"])])
def test_a_level_is_estimated_as_by_itself(
    graph: Graph, fits: list[str], name: str, fitted: list[str]
) -> None:
    """An engine is fitted again only where memory is faster beside the slower clock."""
    found = reports(graph, load_board(name))
    assert fits == fitted
    assert [report.level for report in found] == ["nominal", "half"]
    assert found[1].latency_ms >= found[0].latency_ms
    for report in found:
        board = load_board(name).at(report.level)
        engine = fit(graph, board)
        assert report == estimate_layout(lay_out(graph, engine), board)


def test_no_level_is_faster_than_nominal(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a fit gives a slower clock a faster engine it has nominal's, so that it never serves for latency's sake."""
    board = with_levels(load_board("u50"), Level("near", 0.9, 0.85))
    best = fit(graph, board)
    least = fit(graph, board, {"tokens": 4, "banks": 4, "rows": 4})
    monkeypatch.setattr(candidates, "fit", lambda _, board, *__: least if board.level == "nominal" else best)
    found = reports(graph, board)
    assert [report.engine for report in found] == [least, least]
    assert found[1].latency_ms >= found[0].latency_ms
    near = board.at("near")
    assert estimate_layout(lay_out(graph, best), near).latency_ms < found[0].latency_ms


def test_a_journal_of_an_earlier_version_is_not_believed(models: Path, tmp_path: Path) -> None:
    """It knew the nominal levels alone, under an identity without levels."""
    source = Source(
        models / "digits_vit_hp80.pt2", tmp_path / "j", (load_board("pynq-z2"),), 0, {"data": "x"}
    )
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / MODEL).write_bytes(source.model.read_bytes())
    entry = Entry({"sha256": "1"}, tmp_path / "made")
    identity = {"data": "x", "candidate": "1", "boards": source.boards_identity, "energy": METHOD}
    old: Mapping[str, Any] = {"latency_ms": {"pynq-z2": 1e-9}, "draws": {}, "refusals": {}, "engines": {}}
    Journal(source.journal).entry("cost", identity, lambda _: old)
    costs = candidates._costs(source, entry)
    latencies = candidates.latencies_of(costs)
    assert set(latencies) == {Place("pynq-z2"), Place("pynq-z2", "half")}
    assert 0.01 < latencies[Place("pynq-z2")] <= latencies[Place("pynq-z2", "half")]
    assert candidates.nominal_latencies(costs) == {"pynq-z2": latencies[Place("pynq-z2")]}
    assert set(candidates.draws_of(costs)) == set(latencies)


def test_boards_come_at_their_nominal_level(tmp_path: Path) -> None:
    boards = [load_board("u50"), load_board("pynq-z2").at("half")]
    with pytest.raises(FlowError) as caught:
        select(
            tmp_path / "m", tmp_path / "d", boards, Constraints(1.0, 0.5), tmp_path / "o", Means(tmp_path / "j")
        )  # fmt: skip
    assert str(caught.value) == (
        "flow select: found boards that cannot be used\n  - pynq-z2: found it at level 'half'; expected nominal"
    )
