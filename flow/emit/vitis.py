"""Context of the Vitis templates: C synthesis script, v++ link configuration and kernel metadata.

Formats: Vitis HLS Tcl commands after UG1399 (open_project, open_solution -flow_target, add_files, csim_design,
csynth_design, export_design); the link configuration after UG1702, "v++ --connectivity Options"; the metadata after
UG1702, "RTL Kernel XML File". The tests check their form; no vendor tool has run what they print.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from flow.errors import FlowError, raise_all

FlowTarget = Literal["vitis", "vivado"]
ControlProtocol = Literal["ap_ctrl_hs", "ap_ctrl_chain", "user_managed"]
StreamDirection = Literal["input", "output"]

# addressQualifier of an argument in kernel.xml (UG1702): by value, pointer to global memory, stream.
_SCALAR, _GLOBAL_MEMORY, _STREAM = 0, 1, 4
# Vitis HLS keeps control, interrupt and status below this offset (UG1399, "S_AXILITE Control Register Map").
_FIRST_ARGUMENT_OFFSET = 0x10
_POINTER_BYTES = 8


@dataclass(frozen=True)
class MemoryPort:
    """One AXI4 master of the kernel.

    Attributes:
        name: the port as HLS names it: `m_axi_` and the bundle.
        data_bits: data width, a power of two from 32 to 1024.
        bank: the memory that `v++` connects it to, such as `DDR[0]`.
    """

    name: str
    data_bits: int
    bank: str


@dataclass(frozen=True)
class StreamPort:
    """One AXI4-Stream port of the kernel.

    Attributes:
        name: the port's name.
        data_bits: width of TDATA.
        direction: seen from the kernel.
        peer: `compute_unit.port` of the kernel at the other end, or empty to leave the connection to the user.
    """

    name: str
    data_bits: int
    direction: StreamDirection
    peer: str = ""

    @property
    def mode(self) -> str:
        """The port's mode in kernel.xml."""
        return "read_only" if self.direction == "input" else "write_only"


@dataclass(frozen=True)
class KernelArgument:
    """One argument of the kernel's top function, in the order of its signature.

    Attributes:
        name: the parameter's name.
        offset: its register in the AXI4-Lite map, in bytes; 0 for a stream, which has none.
        size: bytes of the register; 8 for a pointer.
        c_type: the C type on the host's side.
        port: the port that it is about: the AXI4-Lite port for a value, a memory port for a pointer, or a stream.
    """

    name: str
    offset: int
    size: int
    c_type: str
    port: str


@dataclass(frozen=True)
class VitisContext:
    """Everything that the three Vitis templates place.

    Attributes:
        top: the top function, and the kernel's name.
        part: the FPGA's ordering code.
        clock_ns: target clock period in nanoseconds.
        platform: Vitis platform; empty in the Vivado flow.
        flow_target: "vitis" packs a kernel (.xo), "vivado" an IP for a block design.
        sources: C++ files to synthesise, relative to the script.
        testbench: C++ files of the C simulation, relative to the script.
        testbench_args: arguments of the test bench; a leading `@` stands for the build folder's absolute path,
            because Vitis runs the test bench in a folder of its own.
        cflags: compiler flags for both; `-I` of the script's folder is added.
        control_port: the AXI4-Lite port.
        control_range: bytes of its address range.
        control_protocol: how the host starts the kernel.
        memory_ports: AXI4 masters.
        stream_ports: AXI4-Stream ports.
        arguments: the top function's arguments, in order.
        slr: the super logic region to place the kernel in, such as "SLR1"; empty leaves it to the tool.
        vendor: first part of the kernel's VLNV.
        version: last part of the VLNV.
    """

    top: str
    part: str
    clock_ns: float
    platform: str
    flow_target: FlowTarget
    sources: tuple[str, ...]
    testbench: tuple[str, ...]
    testbench_args: tuple[str, ...]
    cflags: tuple[str, ...]
    control_port: str
    control_range: int
    control_protocol: ControlProtocol
    memory_ports: tuple[MemoryPort, ...]
    stream_ports: tuple[StreamPort, ...]
    arguments: tuple[KernelArgument, ...]
    slr: str = ""
    vendor: str = "flow"
    version: str = "1.0"

    def __post_init__(self) -> None:
        """Check that arguments, ports and registers agree.

        Raises:
            FlowError: with every disagreement.
        """
        raise_all(FlowError, f"{self.top}: the kernel's metadata disagree", _faults(self))

    @property
    def compute_unit(self) -> str:
        """The name that `v++` gives the kernel's only instance."""
        return f"{self.top}_1"

    @property
    def clock_hz(self) -> int:
        """Target clock in hertz, as `v++` takes it."""
        return round(1e9 / self.clock_ns)

    @property
    def export_format(self) -> str:
        """What `export_design` packs."""
        return "xo" if self.flow_target == "vitis" else "ip_catalog"

    @property
    def export_file(self) -> str:
        """What `export_design` writes."""
        return f"{self.top}.xo" if self.flow_target == "vitis" else f"{self.top}.zip"

    def qualifier(self, argument: KernelArgument) -> int:
        """Return the argument's addressQualifier: 0 by value, 1 in global memory, 4 a stream."""
        if argument.port == self.control_port:
            return _SCALAR
        return _STREAM if argument.port in {port.name for port in self.stream_ports} else _GLOBAL_MEMORY


def _register_faults(context: VitisContext) -> list[str]:
    faults: list[str] = []
    streams = {port.name for port in context.stream_ports}
    masters = {port.name for port in context.memory_ports}
    end, previous = _FIRST_ARGUMENT_OFFSET, "the control registers"
    for argument in sorted(
        (item for item in context.arguments if item.port not in streams), key=lambda a: a.offset
    ):
        where = f"argument {argument.name}"
        if argument.offset % 4 or argument.offset < end:
            faults.append(
                f"{where}: found offset {argument.offset:#x}; expected a multiple of 4 from {end:#x} on, "
                f"past {previous}; move the register"
            )
        if argument.port in masters and argument.size != _POINTER_BYTES:
            faults.append(f"{where}: found {argument.size} bytes; expected a pointer's 8; correct the size")
        end, previous = argument.offset + argument.size, argument.name
    if end > context.control_range:
        found = f"found a range of {context.control_range:#x}"
        faults.append(f"{context.control_port}: {found}; expected at least {end:#x}; widen it")
    return faults


def _faults(context: VitisContext) -> list[str]:
    """List disagreements between arguments, ports and registers."""
    faults = _register_faults(context)
    ports = [context.control_port]
    ports += [port.name for port in context.memory_ports] + [port.name for port in context.stream_ports]
    faults += [
        f"port {name}: {count} ports of that name; expected one; rename the others"
        for name, count in Counter(ports).items()
        if count > 1
    ]
    faults += [
        f"argument {argument.name}: no port {argument.port}; expected one of {', '.join(ports)}; correct the name"
        for argument in context.arguments
        if argument.port not in ports
    ]
    named = {argument.port for argument in context.arguments}
    faults += [
        f"port {name}: no argument; expected one that names it; add it or drop the port"
        for name in ports[1:]
        if name not in named
    ]
    if context.flow_target == "vitis" and not context.platform:
        faults.append("platform: empty; expected a platform for the vitis flow; name it in the board file")
    return faults
