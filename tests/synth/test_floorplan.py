"""Blocks that change sites: on placements made up here, and with nextpnr itself."""

from __future__ import annotations

import json
import random
import re
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.errors import ToolError
from flow.synth.floorplan import Wires, plan, top_of
from flow.synth.place import _SETTINGS, find_tools, placer
from flow.synth.yosys import Yosys

Cells = dict[str, dict[str, Any]]


def cell(kind: str, bel: str | None, *wires: int) -> dict[str, Any]:
    """A cell on a site, with an end of each wire."""
    attributes = {} if bel is None else {"NEXTPNR_BEL": bel}
    return {
        "type": kind,
        "attributes": attributes,
        "connections": {f"P{n}": [w] for n, w in enumerate(wires)},
    }


def chip(cells: Cells) -> bytes:
    """A netlist of these cells."""
    return json.dumps(
        {"modules": {"top": {"attributes": {"top": "01"}, "cells": cells, "netnames": {}}}}
    ).encode()


def boxes(cells: Cells, sites: dict[str, tuple[int, int]]) -> int:
    """Half the perimeters of the boxes around the wires' ends, from the definition."""
    ends: dict[int, list[str]] = {}
    for name, found in cells.items():
        for (wire,) in found["connections"].values():
            ends.setdefault(wire, []).append(name)
    return sum(
        max(sites[n][axis] for n in names) - min(sites[n][axis] for n in names)
        for names in ends.values()
        for axis in (0, 1)
    )


@st.composite
def placements(draw: st.DrawFn) -> Cells:
    """Up to four block RAMs and three multipliers, each with wires of its own to logic."""
    cells: Cells = {}
    wire = 0
    for kind, rows, most in (("DP16KD", (22, 46), 4), ("MULT18X18D", (10, 34), 3)):
        sites = draw(st.permutations([(x, y) for y in rows for x in (4, 6, 30, 60)]))
        for n in range(draw(st.integers(0, most))):
            x, y = sites[n]
            mine = list(range(wire, wire + draw(st.integers(1, 3))))
            wire += len(mine)
            cells[f"{kind}.{n}"] = cell(kind, f"X{x}/Y{y}/EBR0", *mine)
            for w in mine:
                at = f"X{draw(st.integers(2, 70))}/Y{draw(st.sampled_from([5, 20, 30, 45]))}/SLICEA.K{w % 2}"
                cells[f"logic.{w}"] = cell("TRELLIS_COMB", at, w)
    return cells


@settings(max_examples=60)
@given(cells=placements())
def test_blocks_take_the_sites_of_least_wire(cells: Cells) -> None:
    """No permutation of a kind's sites is shorter, where every wire has one block."""
    wires = Wires(cells)
    at = {name: (site.x, site.y) for name, site in wires.site.items()}
    assert wires.length() == boxes(cells, at)
    found = wires.assign()
    for kind in ("DP16KD", "MULT18X18D"):
        names = [name for name in cells if cells[name]["type"] == kind]
        taken = [at[name] for name in names]
        now = [(found[name].x, found[name].y) for name in names]
        assert sorted(now) == sorted(taken)
        at |= dict(zip(names, now, strict=True))
        best = min(
            (boxes(cells, {**at, **dict(zip(names, order, strict=True))}) for order in permutations(taken)),
            default=0,
        )
        assert boxes(cells, at) == best or not names
    assert wires.length() == boxes(cells, at)


@pytest.mark.parametrize("seed", range(6))
def test_wires_between_blocks_never_grow_longer(seed: int) -> None:
    """Eight blocks full of wires to each other: each goes where the others were, and what that lengthens is undone."""
    rng = random.Random(seed)
    sites = [(x, y) for y in (22, 46) for x in (4, 6, 30, 60)]
    rng.shuffle(sites)
    ends: list[list[int]] = [[] for _ in sites]
    for wire in range(16):
        ends[wire // 2].append(wire)
        ends[rng.randrange(8)].append(wire)
    cells = {}
    for n, (x, y) in enumerate(sites):
        cells[f"b{n}"] = cell("DP16KD", f"X{x}/Y{y}/EBR0", *ends[n], 16 + n)
        at = f"X{rng.randrange(2, 70)}/Y{rng.choice((5, 20, 30, 45))}/SLICEA.K0"
        cells[f"l{n}"] = cell("TRELLIS_COMB", at, 16 + n)
    wires = Wires(cells)
    before = wires.length()
    wires.assign()
    assert wires.length() <= before


def test_only_blocks_are_told_where_to_stand() -> None:
    """The other cells are as they were; the router's settings go into the top module."""
    cells = {
        "logic": cell("LUT4", None, 1), "memory": cell("DP16KD", None, 1), "reset": cell("DCCA", None)
    }  # fmt: skip
    placed = {
        "logic$pack": cell("TRELLIS_COMB", "X7/Y6/SLICEC.K1", 1), "memory": cell("DP16KD", "X9/Y5/EBR1", 1)
    }  # fmt: skip
    made = plan(chip(cells), chip(placed), {"a/b": "15"})
    assert (made.blocks, made.wire) == (1, (3, 3))
    top = top_of(json.loads(made.netlist))
    assert top["settings"] == {"a/b": "15"}
    assert top["cells"].pop("memory") == {**cells.pop("memory"), "attributes": {"BEL": "X9/Y5/EBR1"}}
    assert top["cells"] == cells


def test_what_is_no_placement_is_refused() -> None:
    lost = {"memory": cell("DP16KD", None, 1)}
    with pytest.raises(
        ToolError, match="found no site of memory in its placement; expected one of every block"
    ):
        plan(chip(lost), chip(lost), {})
    for cut in (b"", chip(lost)[:-9], b"[]"):
        with pytest.raises(ToolError, match="expected JSON; is there room in the cache"):
            plan(chip({}), cut, {})
    leaf = {"attributes": {"top": "0" * 32}, "cells": {}}
    for count, modules in (
        (0, {"LUT4": leaf}),
        (2, {n: json.loads(chip({}))["modules"]["top"] for n in "ab"}),
    ):
        with pytest.raises(ToolError, match=f"found {count} top modules; expected one"):
            top_of({"modules": modules})


VERILOG = """module small(input clk, input [17:0] d, input [9:0] at, output reg [17:0] q);
    reg [17:0] memory [0:1023];
    reg [17:0] read, d_q;
    reg [35:0] product;
    always @(posedge clk) begin
        d_q <= d;
        if (d[0]) memory[at] <= d_q;
        read <= memory[at];
        product <= read * d_q;
        q <= product[35:18] ^ product[17:0];
    end
endmodule
"""


@pytest.mark.slow
@pytest.mark.parametrize("device", ["--25k", "--45k", "--85k"])
def test_nextpnr_takes_the_plan(device: str, tmp_path: Path) -> None:
    """It places around blocks that stand, and their inputs stay tied as they are without a plan."""
    (tmp_path / "small.v").write_text(VERILOG)
    Yosys.find().run("read_verilog small.v\nsynth_ecp5 -top small -json netlist.json\n", tmp_path, "small")
    nextpnr = find_tools()["nextpnr-ecp5"]
    options = [device, "--package", "CABGA381", "--freq", "36", "-q", "--timing-allow-fail", *placer(0.1)]

    def run(*arguments: str) -> None:
        nextpnr.run([*options, *arguments], tmp_path, "nextpnr-ecp5")

    def ties(config: str) -> list[str]:
        return sorted(re.findall(r"enum: CIB\.\w+MUX [01]", (tmp_path / config).read_text()))

    run("--json", "netlist.json", "--no-route", "--write", "placed.json")
    run("--json", "netlist.json", "--router", "router2", "--textcfg", "plain.config")
    made = plan((tmp_path / "netlist.json").read_bytes(), (tmp_path / "placed.json").read_bytes(), _SETTINGS)
    (tmp_path / "planned.json").write_bytes(made.netlist)
    results = ("--report", "report.json", "--write", "routed.json")
    run("--json", "planned.json", "--router", "router2", "--textcfg", "chip.config", *results)
    routed = top_of(json.loads((tmp_path / "routed.json").read_text()))["cells"]
    wanted = {
        name: found["attributes"]["BEL"]
        for name, found in top_of(json.loads(made.netlist))["cells"].items()
        if "BEL" in found["attributes"]
    }
    assert len(wanted) == made.blocks >= 2
    assert {name: routed[name]["attributes"]["NEXTPNR_BEL"] for name in wanted} == wanted
    assert len(ties("plain.config")) > 20
    assert ties("chip.config") == ties("plain.config")
    assert json.loads((tmp_path / "report.json").read_text())["fmax"]
