"""Power figures of board files: what is there, what is refused, and what a level is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flow.boards import NOMINAL, Level, figures_of, list_boards, load_board, read_board
from flow.errors import FlowError
from flow.resources import asset_dir

# name: core voltage, W of the device, W beside it, pJ a bit of memory. Typed in a second time.
POWER = {
    "kv260": (0.72, 0.301, 2.215, 15.6),
    "pynq-z2": (1.0, 0.113, 1.569, 70.0),
    "u200": (0.85, 3.56, 35.27, 15.6),
    "u250": (0.85, 5.20, 35.27, 15.6),
    "u280": (0.85, 3.93, 35.27, 3.9),
    "u50": (0.85, 2.63, 10.57, 3.9),
    "u55c": (0.85, 3.93, 10.57, 3.9),
    "ultra96-v2": (0.85, 0.213, 2.215, 15.6),
    "ulx3s-25f": (1.1, 0.077 * 1.1, 0.04, 0.0),
    "ulx3s-45f": (1.1, 0.116 * 1.1, 0.04, 0.0),
    "ulx3s-85f": (1.1, 0.212 * 1.1, 0.04, 0.0),
    "vcu118": (0.85, 3.56, 35.27, 15.6),
    "vcu128": (0.85, 3.93, 35.27, 3.9),
    "zcu102": (0.85, 0.826, 2.215, 15.6),
    "zcu104": (0.85, 0.694, 2.215, 15.6),
    "zcu111": (0.85, 1.281, 2.215, 15.6),
    "zedboard": (1.0, 0.113, 1.569, 70.0),
}


@pytest.fixture
def valid() -> str:
    """Return the text of a board file without faults."""
    return (asset_dir("boards") / "pynq-z2.toml").read_text(encoding="utf-8")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pynq-z2.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_figures() -> None:
    assert set(POWER) == set(list_boards())
    for name, figures in POWER.items():
        power = load_board(name).power
        assert power is not None
        found = (power.vccint_v, power.static_w, power.rest_w, power.memory_pj_per_bit)
        assert found == pytest.approx(figures, rel=1e-3), name
        assert (power.memory_pj_per_bit == 0) == (load_board(name).weights == "on-chip")


@pytest.mark.parametrize("name", list_boards())
def test_levels(name: str) -> None:
    """Nominal is the board itself; another level has another clock, and leakage in the ratio of the voltages."""
    board = load_board(name)
    assert board.power is not None
    assert board.at(NOMINAL) is board
    assert board.levels == (NOMINAL, *(level.name for level in board.power.levels))
    assert "half" in board.levels
    for level in board.power.levels:
        at = board.at(level.name)
        assert at.power is not None
        assert (at.level, at.clock_mhz) == (level.name, board.clock_mhz * level.clock_share)
        assert at.power.static_w / board.power.static_w == pytest.approx(
            at.power.vccint_v / board.power.vccint_v
        )
        assert at.power.rest_w == board.power.rest_w
        assert at.at(level.name) is at


def test_leakage_follows_the_voltage_within_a_percent() -> None:
    """The one check that there is: Vivado's figures of two devices of one family at two voltages."""
    small, large = load_board("kv260"), load_board("zcu104")
    assert small.power is not None
    assert large.power is not None
    expected = large.power.static_w * small.logic_cells / large.logic_cells * 0.72 / 0.85
    assert small.power.static_w == pytest.approx(expected, rel=0.01)


def test_an_unknown_level_offers_the_nearest() -> None:
    with pytest.raises(FlowError) as caught:
        load_board("vcu118").at("low-volt")
    assert str(caught.value) == (
        "board vcu118: found no level 'low-volt'; expected one of nominal, half, low-voltage; did you mean low-voltage?"
    )


def test_a_file_without_power_is_a_board_whose_energy_is_unknown(
    tmp_path: Path, powerless: Callable[[Path], Path]
) -> None:
    board = read_board(powerless(tmp_path / "pynq-z2.toml"))
    assert board.power is None
    assert board.levels == (NOMINAL,)
    assert not any(figure.startswith("power") for figure in figures_of(board))
    with pytest.raises(FlowError) as caught:
        board.at("half")
    assert str(caught.value) == "board pynq-z2: found no level 'half'; expected one of nominal"


@pytest.mark.parametrize(
    ("old", "new", "faults"),
    [
        (
            "static_w = 0.113",
            "static_w = 0",
            ["power.static_w: found 0; expected a number above 0 and at most 1000; correct the value"],
        ),
        (
            "rest_w = 1.569\n",
            "",
            ["power.rest_w: missing; expected a number above 0 and at most 1000; add the key"],
        ),
        (
            "vccint_v = 1.0\nstatic",
            "vccint_v = 1000\nstatic",
            ["power.vccint_v: found 1000; expected a number above 0 and at most 1.5; correct the value"],
        ),
        (
            "memory_pj_per_bit = 70.0",
            "memory_pj_per_byte = 70.0",
            [
                "power.memory_pj_per_bit: missing; expected a number above 0 and at most 1000; add the key",
                (
                    "power.memory_pj_per_byte: unknown key; expected a key of another board file; did you mean "
                    "power.memory_pj_per_bit or memory.port?"
                ),
            ],
        ),
        (
            "clock_share = 0.5",
            "clock_share = 2",
            [
                "power.levels.half.clock_share: found 2; expected a number above 0 and at most 1; correct the value"
            ],
        ),
        (
            "[power.levels.half]",
            "[power.levels.nominal]",
            [
                (
                    "power.levels.nominal: found 'nominal'; expected small letters, digits and dashes, and not "
                    "'nominal'; correct the value"
                )
            ],
        ),
        (
            'figures = ["power.levels"]',
            'figures = ["power.level"]',
            [
                "power.levels: 0 sources; expected exactly one; name it in one [[sources]]",
                (
                    "sources: 'power.level' is no figure; expected the key of a figure; did you mean "
                    "power.levels or power.rest_w?"
                ),
            ],
        ),
    ],
)
def test_faults(tmp_path: Path, valid: str, old: str, new: str, faults: list[str]) -> None:
    assert valid.count(old) == 1
    path = write(tmp_path, valid.replace(old, new))
    with pytest.raises(FlowError) as caught:
        read_board(path)
    assert str(caught.value) == "\n  - ".join([f"{path}: the board file is not valid", *faults])


def test_levels_that_are_no_tables(tmp_path: Path, valid: str) -> None:
    text = valid.replace("[power.levels.half]\nclock_share = 0.5\nvccint_v = 1.0\n", "levels = 2\n")
    with pytest.raises(FlowError) as caught:
        read_board(write(tmp_path, text))
    assert "  - power.levels: found 2; expected tables such as [power.levels.half]; correct the value" in str(
        caught.value
    )


def test_memory_energy_where_nothing_is_read_from_there(tmp_path: Path) -> None:
    text = (asset_dir("boards") / "ulx3s-85f.toml").read_text(encoding="utf-8")
    path = tmp_path / "ulx3s-85f.toml"
    path.write_text(
        text.replace("rest_w = 0.04\n", "rest_w = 0.04\nmemory_pj_per_bit = 5.0\n"), encoding="utf-8"
    )
    with pytest.raises(FlowError, match=r"power\.memory_pj_per_bit: unknown key"):
        read_board(path)


def test_a_level_is_plain_data() -> None:
    board = load_board("vcu128")
    assert board.power is not None
    assert board.power.levels[-1] == Level("low-voltage", 0.83, 0.72)
