"""The kernel's ports, once: C++ pragmas, simulation shell, Vitis metadata, drivers and Verilog are written from this.

Names are those that Vitis HLS gives to the ports of the C++ kernel (UG1399, "Interfaces of the HLS Design"), so that
the synthesised kernel, the simulation shell and the Verilog engine take each other's place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flow.engine.parameters import Engine
from flow.engine.records import REGISTERS

Direction = Literal["input", "output"]
InterfaceKind = Literal["clock", "axi4-lite", "axi4-master", "axi4-stream"]

CONTROL = "s_axi_control"
"""AXI4-Lite subordinate: the register map."""
MEMORY = "m_axi_gmem"
"""AXI4 manager that only reads: program, weights and tables."""
STREAM_IN = "stream_in"
STREAM_OUT = "stream_out"
CLOCK = "ap_clk"
RESET = "ap_rst_n"
INTERRUPT = "interrupt"

ADDRESS_BITS = 64
"""Of the memory: what the `memory` register holds."""
PAGE_BYTES = 4096
"""An AXI4 burst stays within one (IHI 0022, "Address structure")."""
BURST_BEATS = 256
"""The longest AXI4 burst."""


@dataclass(frozen=True)
class Signal:
    """One port of the module; `direction` is seen from the kernel, `bits` its width."""

    name: str
    direction: Direction
    bits: int


@dataclass(frozen=True)
class Interface:
    """Signals that belong together: `name` and, for buses, what every signal's name begins with."""

    name: str
    kind: InterfaceKind
    signals: tuple[Signal, ...]


def control_address_bits() -> int:
    """Width of the register map's addresses: the least that reaches its last byte."""
    return (max(offset + size for _, offset, size, _ in REGISTERS) - 1).bit_length()


def _bus(
    name: str, kind: InterfaceKind, outputs: dict[str, int], inputs: dict[str, int], order: str
) -> Interface:
    """`order` lists the signals without their prefix."""
    signals = (
        Signal(f"{name}_{s}", "output" if s in outputs else "input", (outputs | inputs)[s])
        for s in order.split()
    )
    return Interface(name, kind, tuple(signals))


def _control() -> Interface:
    address = control_address_bits()
    inputs = {"AWADDR": address, "AWVALID": 1, "WDATA": 32, "WSTRB": 4, "WVALID": 1, "BREADY": 1}
    inputs |= {"ARADDR": address, "ARVALID": 1, "RREADY": 1}
    outputs = {"AWREADY": 1, "WREADY": 1, "BRESP": 2, "BVALID": 1}
    outputs |= {"ARREADY": 1, "RDATA": 32, "RRESP": 2, "RVALID": 1}
    order = "AWADDR AWVALID AWREADY WDATA WSTRB WVALID WREADY BRESP BVALID BREADY "
    order += "ARADDR ARVALID ARREADY RDATA RRESP RVALID RREADY"
    return _bus(CONTROL, "axi4-lite", outputs, inputs, order)


def _memory(engine: Engine) -> Interface:
    outputs = {"ARADDR": ADDRESS_BITS, "ARLEN": 8, "ARSIZE": 3, "ARBURST": 2, "ARCACHE": 4, "ARPROT": 3}
    outputs |= {"ARVALID": 1, "RREADY": 1}
    inputs = {"ARREADY": 1, "RDATA": 8 * engine.beat_bytes, "RRESP": 2, "RLAST": 1, "RVALID": 1}
    order = "ARADDR ARLEN ARSIZE ARBURST ARCACHE ARPROT ARVALID ARREADY RDATA RRESP RLAST RVALID RREADY"
    return _bus(MEMORY, "axi4-master", outputs, inputs, order)


def _stream(name: str, engine: Engine, direction: Direction) -> Interface:
    payload = {
        "TDATA": 8 * engine.stream_bytes,
        "TKEEP": engine.stream_bytes,
        "TSTRB": engine.stream_bytes,
        "TLAST": 1,
        "TVALID": 1,
    }
    ready = {"TREADY": 1}
    outputs, inputs = (ready, payload) if direction == "input" else (payload, ready)
    return _bus(name, "axi4-stream", outputs, inputs, "TDATA TKEEP TSTRB TLAST TVALID TREADY")


def interfaces(engine: Engine) -> tuple[Interface, ...]:
    """Every port of the kernel, in the order of the module's header."""
    system = (Signal(CLOCK, "input", 1), Signal(RESET, "input", 1), Signal(INTERRUPT, "output", 1))
    return (
        Interface("system", "clock", system),
        _control(),
        _memory(engine),
        _stream(STREAM_IN, engine, "input"),
        _stream(STREAM_OUT, engine, "output"),
    )
