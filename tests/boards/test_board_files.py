"""A board of the user's own: one file, which every command takes and a build on it carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.boards import load_board, read_board
from flow.emit.build import BOARD_FILE, Build
from flow.errors import FlowError

Flow = Callable[..., Any]


@pytest.fixture
def mine(flow: Flow, tmp_path: Path) -> Path:
    """`mine.toml`, made as `flow boards show --help` says."""
    shown = flow("boards", "show", "pynq-z2", "--toml")
    assert (shown.status, shown.err) == (0, "")
    path = tmp_path / "mine.toml"
    path.write_text(
        shown.out.replace('name = "pynq-z2"', 'name = "mine"').replace(
            "clock_mhz = 100.0", "clock_mhz = 125.0"
        )
    )
    return path


def test_a_build_carries_it(flow: Flow, models: Path, mine: Path, tmp_path: Path) -> None:
    made = flow(
        "lower", models / "digits_vit_hp80.pt2", "--board-file", mine, "-o", tmp_path / "build", "--json"
    )
    assert (made.status, made.json()["board"]) == (0, "mine")
    build = Build.open(tmp_path / "build")
    assert build.read(BOARD_FILE) == mine.read_bytes()
    mine.unlink()
    assert build.board.clock_mhz == 125.0
    assert not build.board.bundled
    (row,) = flow("estimate", tmp_path / "build", "--json").json()["boards"]
    assert (row["board"], row["clock_mhz"]) == ("mine", 125.0)
    again = flow(
        "lower",
        models / "digits_vit_dense.pt2",
        "--engine",
        tmp_path / "build",
        "-o",
        tmp_path / "b2",
        "--json",
    )
    assert (again.status, again.json()["board"]) == (0, "mine")


def test_a_bundled_board_is_not_carried(digits_build: Path) -> None:
    build = Build.open(digits_build)
    assert BOARD_FILE not in build.manifest["files"]
    assert build.board is load_board("pynq-z2")


def test_estimates_beside_bundled_boards(flow: Flow, models: Path, mine: Path) -> None:
    found = flow(
        "estimate",
        models / "digits_vit_hp80.pt2",
        "--board",
        "u250",
        "--board-file",
        mine,
        "--board",
        "u250",
        "--json",
    )
    assert [row["board"] for row in found.json()["boards"]] == ["u250", "mine"]


def test_refused(flow: Flow, models: Path, mine: Path, tmp_path: Path) -> None:
    mine.write_text(mine.read_text().replace("dsp = 220\n", "dps = 220\n"))
    found = flow("lower", models / "digits_vit_hp80.pt2", "--board-file", mine, "-o", tmp_path / "build")
    assert found.status == 2
    assert found.err == (
        f"error: {mine}: the board file is not valid\n"
        "  - resources.dsp: missing; expected an integer of at least 1; add the key\n"
        "  - resources.dps: unknown key; expected a key of another board file; "
        "did you mean resources.dsp or resources.slrs?\n"
    )
    assert not (tmp_path / "build").exists()
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(FlowError) as caught:
        read_board(tmp_path / "raw.toml")
    assert (
        str(caught.value)
        == f"{tmp_path / 'raw.toml'}: no text; expected a readable board file; check the path"
    )
