"""`flow estimate`: many boards at once, levels of clock and voltage, energy and what is unknown of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.boards import list_boards, load_board

Flow = Callable[..., Any]


@pytest.fixture
def model(models: Path) -> Path:
    return models / "digits_vit_hp80.pt2"


def test_all_boards(flow: Flow, model: Path) -> None:
    """Every board has a row: an estimate by closed forms, near the walked one, or why it cannot hold the model."""
    rows = {row["board"]: row for row in flow("estimate", model, "--all-boards", "--json").json()["boards"]}
    assert tuple(rows) == list_boards()
    refused = {name for name, row in rows.items() if not row["fits"]}
    assert refused == {"ulx3s-25f", "ulx3s-45f"}
    assert all(" LUT, expected at most " in rows[name]["refusal"] for name in refused)
    for name in set(rows) - refused:
        row = rows[name]
        assert row["limit"]
        assert row["samples_per_s"] > 0
        assert 0 < row["energy"]["average_w"] < row["energy"]["peak_w"]
        assert row["energy"]["sample_mj"] == pytest.approx(sum(row["energy"]["parts_mj"].values()), abs=1e-5)
        assert "its error is not known" in row["energy"]["method"]
        assert "closed forms" in row["cycles_method"]
        assert 1 <= row["slrs"] <= load_board(name).slrs
    (walked,) = flow("estimate", model, "--board", "pynq-z2", "--json").json()["boards"]
    assert "walked" in walked["cycles_method"]
    quick = rows["pynq-z2"]
    assert walked["engine"] == quick["engine"]
    assert quick["cycles"] == pytest.approx(walked["cycles"], rel=0.1)
    assert (walked["limit"], quick["limit"]) == ("compute (LUT)", "compute (LUT)")
    shown = flow("estimate", model, "--all-boards")
    assert shown.status == 0
    for column in ("latency ms", "samples/s", "limited by", "mJ/sample", "peak W", "SLRs"):
        assert column in shown.out
    assert "not measured on any board, so its error is not known" in shown.out
    assert "ulx3s-25f: found no engine that fits" in shown.out


def test_exact_walks_every_board(flow: Flow, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flow.boards.list_boards", lambda: ("pynq-z2", "zedboard"))
    found = flow("estimate", models / "digits_vit_hp80.pt2", "--all-boards", "--exact", "--json").json()
    assert [row["board"] for row in found["boards"]] == ["pynq-z2", "zedboard"]
    assert all("walked" in row["cycles_method"] for row in found["boards"])


def test_a_level(flow: Flow, model: Path, digits_build: Path) -> None:
    """Half the clock: twice the time for as many cycles, less power, and a build can be asked too."""
    full, half = (
        flow("estimate", model, "--board", "pynq-z2", "--level", level, "--json").json()["boards"][0]
        for level in ("nominal", "half")
    )
    assert (full["level"], half["level"]) == ("nominal", "half")
    assert (full["clock_mhz"], half["clock_mhz"]) == (100.0, 50.0)
    assert half["latency_ms"] / full["latency_ms"] == pytest.approx(2, rel=0.1)
    assert half["energy"]["peak_w"] < full["energy"]["peak_w"]
    assert half["energy"]["average_w"] < full["energy"]["average_w"]
    (built,) = flow("estimate", digits_build, "--level", "half", "--json").json()["boards"]
    assert (built["level"], built["clock_mhz"]) == ("half", 50.0)


def test_a_level_that_a_board_has_not(flow: Flow, model: Path) -> None:
    """Asked of one board it is an error; among all it is the reason why a board has no estimate."""
    message = "board pynq-z2: found no level 'low-voltage'; expected one of nominal, half"
    refused = flow("estimate", model, "--board", "pynq-z2", "--level", "low-voltage")
    assert (refused.status, refused.err) == (2, f"error: {message}\n")
    found = flow("estimate", model, "--all-boards", "--level", "low-voltage", "--json").json()["boards"]
    rows = {row["board"]: row for row in found}
    assert {name for name, row in rows.items() if row["fits"]} == {"vcu118", "vcu128"}
    assert rows["pynq-z2"]["refusal"] == message
    assert rows["vcu118"]["clock_mhz"] == pytest.approx(0.83 * load_board("vcu118").clock_mhz)


def test_energy_is_unknown_where_the_file_says_nothing(
    flow: Flow, model: Path, tmp_path: Path, powerless: Callable[[Path], Path]
) -> None:
    mine = powerless(tmp_path / "mine.toml")
    (row,) = flow("estimate", model, "--board-file", mine, "--json").json()["boards"]
    assert row["energy"] is None
    table = flow("estimate", model, "--board-file", mine)
    assert table.out.splitlines()[1].split()[-3:] == ["unknown", "unknown", "unknown"]
    shown = flow("boards", "show", "u250")
    for text in ("power.static_w", "power.levels.half", "0.5 of the clock at 0.85 V"):
        assert text in shown.out


def test_a_level_that_no_board_has(flow: Flow, model: Path, digits_build: Path) -> None:
    """A mistake and no board's lack: an error that names the levels, of a build's own board and among all boards."""
    refused = flow("estimate", digits_build, "--level", "hafl")
    assert (refused.status, refused.out, refused.err) == (
        2,
        "",
        "error: board pynq-z2: found no level 'hafl'; expected one of nominal, half; did you mean half?\n",
    )
    refused = flow("estimate", model, "--all-boards", "--level", "low-volt")
    assert (refused.status, refused.out) == (2, "")
    assert refused.err == (
        "error: --level: found 'low-volt', which no board has; expected one of nominal, half, low-voltage; "
        "did you mean low-voltage?\n"
    )


def test_a_boards_figures_are_those_of_its_file(flow: Flow) -> None:
    """Neither the file's text nor what was chosen of it."""
    shown, data = flow("boards", "show", "u250").out, flow("boards", "show", "u250", "--json").json()
    rows = {line.split()[0] for line in shown.split("Sources")[0].splitlines() if line.strip()}
    assert {"clock_mhz", "memory.kind", "power.levels.half"} <= rows
    assert not rows & {"text", "bundled", "level"}
    assert {"clock_mhz", "memory", "power", "sources"} <= set(data)
    assert not set(data) & {"text", "bundled", "level"}
