"""`flow select` with energy and power: what serves, what is refused by name, and what the JSON says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.boards import load_board
from flow.emit.build import Build
from flow.errors import FlowError
from flow.search.loop import Constraints
from tests.search.test_loop import BOARDS, place, run

Flow = Callable[..., Any]
__all__ = ["place"]


def points(found: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Energy and power by board, level and candidate."""
    return {(point["board"], point["level"], point["candidate"]): point["draw"] for point in found["points"]}


def test_energy_and_power_bound_the_choice(flow: Flow, place: Path) -> None:
    """The first board that serves takes too much of one, the next one of the other; least energy asks for all."""
    plain = run(flow, place, "100ms", 0.0).json()
    known = points(plain)
    assert plain["energy_constraint_mj"] is None
    assert {(board, level) for board, level, _ in known} == {
        (board, level) for board in BOARDS for level in ("nominal", "half")
    }
    assert all(draw["energy_mj"] > 0 and draw["peak_w"] > 0 for draw in known.values())
    first = plain["winner"]
    assert (first["board"], first["level"]) == (BOARDS[0], "nominal")
    assert first["draw"] == known[first["board"], "nominal", first["candidate"]]

    peaks = {b: min(draw["peak_w"] for (board, *_), draw in known.items() if board == b) for b in BOARDS}
    assert peaks["ulx3s-85f"] < peaks["pynq-z2"] < peaks["u250"]
    least = run(flow, place, "100ms", 0.0, "--objective", "least-energy").json()
    lowest = min(draw["energy_mj"] for draw in known.values())
    assert least["winner"]["draw"]["energy_mj"] == lowest
    assert [verdict["board"] for verdict in least["boards"]] == list(BOARDS)

    tight = f"{lowest * 1.0001:.9f}mJ"
    bounded = run(flow, place, "100ms", 0.0, "--energy", tight).json()
    assert bounded["winner"]["draw"]["energy_mj"] == lowest
    assert bounded["energy_constraint_mj"] == pytest.approx(lowest, rel=1e-3)
    power = f"{peaks['ulx3s-85f'] / 2:.9f}W"
    missed = run(flow, place, "100ms", 0.0, "--power", power)
    assert missed.status == 1
    assert {verdict["reason"] for verdict in missed.json()["boards"]} == {"too much power"}
    (gives,) = [r for r in missed.json()["relaxed"] if r["constraint"] == "power"]
    assert gives["draw"]["peak_w"] == min(draw["peak_w"] for draw in known.values())


def test_a_slower_level_wins_where_power_is_short(flow: Flow, place: Path) -> None:
    """Its build is lowered at that level; with the nominal levels alone nothing serves."""
    power = ("--power", "0.2W", "--board", "ulx3s-45f")
    plain = run(flow, place, "100ms", 0.0, *power, "--levels", "nominal")
    known = points(run(flow, place, "100ms", 0.0).json())
    at = {
        level: min(
            draw["peak_w"]
            for (board, name, _), draw in known.items()
            if (board, name) == ("ulx3s-85f", level)
        )
        for level in ("nominal", "half")
    }
    assert at["half"] < at["nominal"]
    limit = f"{(at['half'] + at['nominal']) / 2:.9f}W"
    assert plain.status == 1
    assert {point["level"] for point in plain.json()["points"]} == {"nominal"}
    refused = run(flow, place, "100ms", 0.0, "--power", limit, "--levels", "nominal").json()
    assert refused["boards"][0]["reason"] == "too much power"
    found = run(flow, place, "100ms", 0.0, "--power", limit).json()
    best = found["winner"]
    assert (best["board"], best["level"]) == ("ulx3s-85f", "half")

    build = Build.open(place / "out")
    assert (build.manifest["level"], build.board) == ("half", load_board("ulx3s-85f").at("half"))
    estimate = build.report["estimate"]
    assert (estimate["level"], estimate["clock_mhz"]) == ("half", load_board("ulx3s-85f").clock_mhz / 2)
    assert estimate["latency_ms"] == pytest.approx(best["latency_ms"], abs=1e-6)
    assert estimate["energy"]["peak_w"] == pytest.approx(best["draw"]["peak_w"], abs=1e-4)
    told = flow("estimate", place / "out", "--json").json()["boards"][0]
    assert (told["level"], told["latency_ms"]) == ("half", estimate["latency_ms"])
    told = flow("estimate", place / "out", "--level", "nominal", "--json").json()["boards"][0]
    assert (told["level"], told["clock_mhz"]) == ("nominal", 2 * estimate["clock_mhz"])

    page = (place / "out.html").read_text()
    assert f"<h1>ulx3s-85f at level half with {best['candidate']}</h1>" in page
    assert f"<dd>half, {estimate['clock_mhz']:g} MHz</dd>" in page
    words = [str(w) for w in ("--journal", place / "journal", "-o", place / "out", "--board", "ulx3s-85f")]
    text = flow(
        "select", place / "float.pt2", "--data", place / "data.npz", "--latency", "100ms", "--accuracy", 0.0,
        "--jobs", 1, "--sparsity", 0, "--sparsity", 0.5, "--power", limit, *words,
    ).out  # fmt: skip
    assert "ulx3s-85f at level half with" in text


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--energy",
            "5",
            "--energy: found '5'; expected a number with uJ, mJ or J, such as 5mJ",
        ),
        (
            "--power",
            "10",
            "--power: found '10'; expected a number with mW or W, such as 10W",
        ),
    ],
)
def test_units(flow: Flow, place: Path, option: str, value: str, message: str) -> None:
    refused = run(flow, place, "1ms", 0.5, option, value)
    assert (refused.status, refused.err) == (2, f"error: {message}\n")


def test_impossible_constraints() -> None:
    with pytest.raises(FlowError) as caught:
        Constraints(1.0, 0.5, energy_mj=0.0, power_w=float("nan"))
    assert str(caught.value) == (
        "flow select: found constraints that cannot be used\n"
        "  - --energy: found 0 mJ; expected an energy above 0, such as 5mJ\n"
        "  - --power: found nan W; expected a power above 0, such as 10W"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--energy", "5mJ"), "--energy"),
        (("--power", "5W"), "--power"),
        (
            ("--energy", "5mJ", "--objective", "least-energy"),
            "--energy and --objective least-energy",
        ),
    ],
)
def test_a_board_without_power_figures_is_refused_by_name(
    flow: Flow,
    place: Path,
    tmp_path: Path,
    powerless: Callable[[Path], Path],
    options: tuple[str, ...],
    named: str,
) -> None:
    mine = powerless(tmp_path / "mine.toml")
    assert load_board(str(mine)).power is None
    refused = run(flow, place, "1ms", 0.5, "--board-file", mine, *options)
    assert (refused.status, refused.err) == (
        2,
        (
            f"error: {named}: found no power figures of mine; expected [power] in the file of every board "
            "(docs/boards.md); add it, leave the board out, or leave the option out\n"
        ),
    )
