"""Boards that carry a chip: one shell and one set of pins for three sizes of the die."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow.boards import load_board
from flow.emit.chip import CHIP, SHELLS, chip_files
from flow.emit.lower import lower
from flow.engine import Engine
from flow.resources import asset_dir
from flow.synth.place import find_tools, place_and_route, synthesise
from flow.synth.yosys import Yosys

ENGINE = Engine(
    2, 4, 1, 1, 1, beat_bytes=8, stream_bytes=8, sequence=16, depth=8, operand_depth=32, store_depth=32, values_depth=32
)  # fmt: skip
ROOT = Path(__file__).resolve().parents[2]
BLINK = b"""
module ulx3s (input clk_25mhz, input ftdi_txd, output reg ftdi_rxd, input btn_n, output [7:0] led);
    reg [7:0] count_q;
    assign led = count_q;
    always @(posedge clk_25mhz) begin
        count_q <= count_q + ftdi_txd + btn_n;
        ftdi_rxd <= count_q[7];
    end
endmodule
"""


def test_the_chip_on_record_is_the_one_that_lowering_fits() -> None:
    """What docs/chip.md says came of two commands has the engine that the first of them chooses."""
    chip = json.loads((ROOT / "tools/bench/results/chip.json").read_text())["chip"]
    made = lower(ROOT / "models" / chip["model"], load_board("ulx3s-85f"))
    assert made.manifest["engine"] == chip["engine"]


def test_every_size_of_the_die_has_the_shell() -> None:
    assert sorted(SHELLS) == ["ulx3s-25f", "ulx3s-45f", "ulx3s-85f"]
    assert all(load_board(name).weights == "on-chip" for name in SHELLS)
    found = {name: chip_files(ENGINE, load_board(name), b"\1" * 64) for name in SHELLS}
    about = {name: json.loads(files[CHIP]) for name, files in found.items()}
    assert {name: chip["device"] for name, chip in about.items()} == {
        "ulx3s-25f": "25k",
        "ulx3s-45f": "45k",
        "ulx3s-85f": "85k",
    }
    pins = {files["chip/ulx3s.lpf"] for files in found.values()}
    assert len(pins) == 1


@pytest.mark.parametrize("name", sorted(SHELLS))
def test_the_pins_exist_on_the_die(name: str) -> None:
    """nextpnr places a blinker at the shell's pins, and has as much to give as the board's file says."""
    board, shell = load_board(name), SHELLS[name]
    pins = (asset_dir("templates") / "chip" / shell.constraints).read_bytes()
    netlist = synthesise({"ulx3s.v": BLINK}, shell.top, Yosys.find())
    options = (f"--{shell.device}", "--package", shell.package, "--speed", str(shell.speed))
    placed = place_and_route(netlist, pins, options, 0.0, find_tools())
    assert placed.bitstream.stat().st_size > 1000
    report = json.loads((placed.bitstream.parent / "nextpnr.json").read_text(encoding="utf-8"))
    have = {cell: counts["available"] for cell, counts in report["utilization"].items()}
    assert (have["TRELLIS_COMB"], have["TRELLIS_FF"]) == (board.lut, board.ff)
    assert (have["DP16KD"], have["MULT18X18D"]) == (board.bram, board.dsp)
