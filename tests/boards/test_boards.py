"""Boards: the bundled files, their figures, and every fault of a board file by its message."""

from __future__ import annotations

import itertools
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from flow.boards import DSP_KINDS, Board, figures_of, list_boards, load_board, read_board
from flow.errors import FlowError
from flow.resources import asset_dir

BOARDS = (
    "kv260", "pynq-z2", "u200", "u250", "u280", "u50", "u55c", "ultra96-v2", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f",
    "vcu118", "vcu128", "zcu102", "zcu104", "zcu111", "zedboard",
)  # fmt: skip

# name: LUT, FF, BRAM of 18 Kibit, URAM, DSP, DSP kind, SLRs. Typed in a second time, from the data sheets.
RESOURCES = {
    "u50": (871_680, 1_743_360, 2_688, 640, 5_952, "DSP48E2", 2),
    "u55c": (1_303_680, 2_607_360, 4_032, 960, 9_024, "DSP48E2", 3),
    "u200": (1_182_240, 2_364_480, 4_320, 960, 6_840, "DSP48E2", 3),
    "u250": (1_728_000, 3_456_000, 5_376, 1_280, 12_288, "DSP48E2", 4),
    "u280": (1_303_680, 2_607_360, 4_032, 960, 9_024, "DSP48E2", 3),
    "vcu118": (1_182_240, 2_364_480, 4_320, 960, 6_840, "DSP48E2", 3),
    "vcu128": (1_303_680, 2_607_360, 4_032, 960, 9_024, "DSP48E2", 3),
    "zcu111": (425_280, 850_560, 2_160, 80, 4_272, "DSP48E2", 1),
    "ultra96-v2": (70_560, 141_120, 432, 0, 360, "DSP48E2", 1),
    "zedboard": (53_200, 106_400, 280, 0, 220, "DSP48E1", 1),
    "zcu102": (274_080, 548_160, 1_824, 0, 2_520, "DSP48E2", 1),
    "zcu104": (230_400, 460_800, 624, 96, 1_728, "DSP48E2", 1),
    "kv260": (117_120, 234_240, 288, 64, 1_248, "DSP48E2", 1),
    "pynq-z2": (53_200, 106_400, 280, 0, 220, "DSP48E1", 1),
    "ulx3s-25f": (24_288, 24_288, 56, 0, 28, "MULT18X18D", 1),
    "ulx3s-45f": (43_848, 43_848, 108, 0, 72, "MULT18X18D", 1),
    "ulx3s-85f": (83_640, 83_640, 208, 0, 156, "MULT18X18D", 1),
}


@pytest.fixture
def valid() -> str:
    """Return the text of a board file without faults."""
    return (asset_dir("boards") / "pynq-z2.toml").read_text(encoding="utf-8")


def refusal(tmp_path: Path, text: str) -> str:
    """Return the message with which a board file of this text is refused, its path shortened to `x.toml`."""
    path = tmp_path / "pynq-z2.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FlowError) as caught:
        read_board(path)
    return str(caught.value).replace(str(path), "x.toml")


def test_all_boards_are_listed() -> None:
    assert list_boards() == BOARDS
    assert set(RESOURCES) == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_resources(name: str) -> None:
    board = load_board(name)
    found = (board.lut, board.ff, board.bram18, board.uram, board.dsp, board.dsp_kind, board.slrs)
    assert found == RESOURCES[name]


@pytest.mark.parametrize("name", BOARDS)
def test_every_figure_has_a_document(name: str) -> None:
    board = load_board(name)
    for figure in figures_of(board):
        source = board.source(figure)
        assert source.document
        assert source.title
        assert source.place


def test_a_board_is_frozen_and_hashable() -> None:
    board = load_board("u250")
    assert hash(board) == hash(load_board("U250"))
    with pytest.raises(FrozenInstanceError):
        board.lut = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "multipliers", "spacing"),
    [("u250", 24_576, 18), ("pynq-z2", 440, 16), ("ulx3s-85f", 156, 0)],
)
def test_products_per_dsp(name: str, multipliers: int, spacing: int) -> None:
    board = load_board(name)
    assert (board.multipliers, board.product_spacing) == (multipliers, spacing)


@pytest.mark.parametrize("name", ["DSP48E2", "DSP48E1"])
def test_two_products_fit_the_multiplier(name: str) -> None:
    """Packed operands stay within the ports, and both products come back exactly at every corner."""
    kind = DSP_KINDS[name]
    half = 2 ** (kind.spacing - 1)
    for high, low in itertools.product((-128, -1, 0, 1, 255), repeat=2):
        packed = high * 2**kind.spacing + low
        assert -(2 ** (kind.wide_bits - 1)) <= packed < 2 ** (kind.wide_bits - 1)
        for weight in (-128, -127, -1, 0, 1, 127):
            total = kind.packed_terms * packed * weight
            carry = (total >> (kind.spacing - 1)) & 1
            assert (total >> kind.spacing) + carry == kind.packed_terms * high * weight
            assert (total + half) % (2 * half) - half == kind.packed_terms * low * weight


def test_packed_terms() -> None:
    assert {name: kind.packed_terms for name, kind in DSP_KINDS.items()} == {
        "DSP48E2": 4,
        "DSP48E1": 1,
        "MULT18X18D": 0,
    }


@pytest.mark.parametrize(
    ("name", "clock_mhz", "expected"),
    [
        ("u250", 300.0, 64.0),  # the port's 64 bytes: 77 GB/s / 4 channels / 300 MHz = 64.17 is a little more
        ("u280", 300.0, 14.375 / 0.3),  # one of 32 pseudo-channels
        ("pynq-z2", 100.0, 8.0),
        ("pynq-z2", 300.0, 7.0),
        ("ulx3s-85f", 50.0, 5.72),
    ],
)
def test_weight_bandwidth(name: str, clock_mhz: float, expected: float) -> None:
    assert load_board(name).weight_bytes_per_cycle(clock_mhz) == pytest.approx(expected, rel=1e-9)


def test_on_chip_bytes() -> None:
    assert load_board("ulx3s-85f").on_chip_bytes == 208 * 18 * 1024 // 8
    assert load_board("kv260").on_chip_bytes == (144 * 36 + 64 * 288) * 1024 // 8


def test_unknown_board_offers_the_nearest_names() -> None:
    with pytest.raises(FlowError) as caught:
        load_board("u25")
    assert str(caught.value) == (
        "board 'u25': unknown; expected one of kv260, pynq-z2, u200, u250, u280, u50, u55c, ultra96-v2, "
        "ulx3s-25f, ulx3s-45f, ulx3s-85f, vcu118, vcu128, zcu102, zcu104, zcu111, zedboard; "
        "did you mean u250 or u50?"
    )


def test_unknown_board_far_from_all() -> None:
    with pytest.raises(FlowError) as caught:
        load_board("stratix")
    assert str(caught.value) == (
        "board 'stratix': unknown; expected one of kv260, pynq-z2, u200, u250, u280, u50, u55c, ultra96-v2, "
        "ulx3s-25f, ulx3s-45f, ulx3s-85f, vcu118, vcu128, zcu102, zcu104, zcu111, zedboard"
    )


def test_unknown_figure() -> None:
    with pytest.raises(
        FlowError, match=r"^board u250: no figure 'resources\.luts'; .*; did you mean resources\.lut or"
    ):
        load_board("u250").source("resources.luts")


def test_all_faults_at_once(tmp_path: Path, valid: str) -> None:
    text = valid
    for old, new in (
        ("lut = 53_200", 'lut = "many"'),
        ("ff = 106_400\n", ""),
        ("dsp = 220", "dsp = true"),
        ('dsp_kind = "DSP48E1"', 'dsp_kind = "DSP48"'),
        ("slrs = 1", "slrs = 1\nslr = 1"),
        ("max_utilisation = 0.8", "max_utilisation = 1.5"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    assert refusal(tmp_path, text) == (
        "x.toml: the board file is not valid\n"
        "  - max_utilisation: found 1.5; expected a number above 0 and at most 1; correct the value\n"
        "  - resources.lut: found 'many'; expected an integer of at least 1; correct the value\n"
        "  - resources.ff: missing; expected an integer of at least 1; add the key\n"
        "  - resources.dsp: found True; expected an integer of at least 1; correct the value\n"
        "  - resources.dsp_kind: found 'DSP48'; expected one of DSP48E2, DSP48E1, MULT18X18D; correct the value\n"
        "  - resources.slr: unknown key; expected a key of another board file; did you mean "
        "resources.slrs or resources.lut?"
    )


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            "bandwidth_gb_s = 2.1",
            "bandwidth_gb_s = 4.2",
            (
                "memory.bandwidth_gb_s: found 4.2; expected 2.1 within 1 %, which is channels * width_bits * "
                "data_rate_mt_s / 8000; correct one of the four"
            ),
        ),
        (
            "axi_beat_bytes = 8",
            "axi_beat_bytes = 24",
            "axi_beat_bytes: found 24; expected a power of two; correct the value",
        ),
        (
            "bram_kbit = 36",
            "bram_kbit = 20",
            "resources.bram_kbit: found 20; expected 18 or 36; correct the value",
        ),
        (
            'flow_target = "vivado"',
            'flow_target = "vitis"',
            "platform: empty; expected a platform for the vitis flow; name the platform",
        ),
        (
            'flow_target = "vivado"',
            'flow_target = "quartus"',
            "flow_target: found 'quartus'; expected one of open, vivado, vitis; correct the value",
        ),
        (
            'name = "pynq-z2"',
            'name = "pynq-z1"',
            "name: found 'pynq-z1'; expected 'pynq-z2' as the file; rename one of them",
        ),
        (
            'figures = ["axi_beat_bytes"]',
            "figures = []",
            "axi_beat_bytes: 0 sources; expected exactly one; name it in one [[sources]]",
        ),
        (
            'figures = ["axi_beat_bytes"]',
            'figures = ["axi_beat_bytes", "resources.luts"]',
            (
                "sources: 'resources.luts' is no figure; expected the key of a figure; "
                "did you mean resources.lut or resources.lut_inputs?"
            ),
        ),
    ],
)
def test_one_fault(tmp_path: Path, valid: str, old: str, new: str, fault: str) -> None:
    assert valid.count(old) == 1
    assert refusal(tmp_path, valid.replace(old, new)) == f"x.toml: the board file is not valid\n  - {fault}"


def test_a_source_without_its_title(tmp_path: Path, valid: str) -> None:
    message = refusal(tmp_path, valid.replace('title = "7 Series DSP48E1 Slice User Guide"\n', ""))
    assert "  - sources[5]: found {'document': 'UG479'" in message
    assert "expected a table with the strings document, title and place and the list figures" in message
    assert message.endswith("resources.dsp_kind: 0 sources; expected exactly one; name it in one [[sources]]")


def test_no_toml(tmp_path: Path) -> None:
    assert re.fullmatch(
        r"x\.toml: .*line 1.*; expected a TOML file; correct the syntax", refusal(tmp_path, "lut 1\n")
    )


def test_no_such_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(FlowError) as caught:
        read_board(path)
    assert (
        str(caught.value)
        == f"{path}: No such file or directory; expected a readable board file; check the path"
    )


def test_a_folder_of_ones_own(tmp_path: Path, valid: str) -> None:
    (tmp_path / "mine.toml").write_text(valid.replace('name = "pynq-z2"', 'name = "mine"'), encoding="utf-8")
    assert list_boards(tmp_path) == ("mine",)
    board = load_board("mine", tmp_path)
    assert isinstance(board, Board)
    assert board.name == "mine"
