"""The `hls/` folder of a build: static headers, copied, and the files that the templates write.

The result depends on the engine, on how its DSP primitives are packed and on what its memories lie in, never on a
program: two models on one engine get identical C++.
"""

from __future__ import annotations

import json
from typing import Any

from flow.boards import DSP_KINDS, Board, DspKind
from flow.cost import ultra_memories
from flow.emit.contexts import (
    TOP,
    ConfigContext,
    DispatchContext,
    KernelContext,
    StorageContext,
    TestbenchContext,
)
from flow.emit.cosim import cosim_lines
from flow.emit.rendering import line_map, render
from flow.emit.sources import Sources, outside_header
from flow.emit.vitis import KernelArgument, MemoryPort, StreamPort, VitisContext
from flow.engine import REGISTERS, Engine, outside_stages
from flow.engine.ports import CONTROL, MEMORY, STREAM_IN, STREAM_OUT, control_address_bits
from flow.errors import FlowError

LINES = "lines.json"
"""The file of a build that says which template line each line of its sources came from."""


def kernel_templates(
    engine: Engine, packing: DspKind = DSP_KINDS["DSP48E2"], ultra: frozenset[str] = frozenset()
) -> dict[str, tuple[str, Any]]:
    """(template, context) of every C++ file that is written, by path relative to `hls/`."""
    return {
        "config.hpp": ("config.hpp.j2", ConfigContext(engine, packing)),
        "dispatch.hpp": ("dispatch.hpp.j2", DispatchContext(engine)),
        "storage.hpp": ("storage.hpp.j2", StorageContext(ultra)),
        f"{TOP}.hpp": ("flow_engine.hpp.j2", KernelContext(engine)),
        f"{TOP}.cpp": ("flow_engine.cpp.j2", KernelContext(engine)),
        "testbench.cpp": ("testbench.cpp.j2", TestbenchContext(engine)),
    }


def kernel_files(
    engine: Engine,
    *,
    packing: DspKind = DSP_KINDS["DSP48E2"],
    ultra: frozenset[str] = frozenset(),
    sources: Sources | None = None,
) -> dict[str, bytes]:
    """Every C++ file of the kernel and its test bench by path relative to `hls/`, deterministic and in sorted order.

    `packing` says how the target's DSP primitive takes two products, `ultra` which memories lie in UltraRAM
    (neither changes a result); `sources` are flow's own templates and headers unless others are given.

    Raises:
        FlowError: the engine has a shape that the kernel cannot have, or a template fails.
    """
    sources = sources or Sources.of()
    absent = {outside_header(name) for name in outside_stages() if name not in engine.features}
    files = {name: header.content for name, header in sources.headers.items() if name not in absent}
    for path, (template, context) in kernel_templates(engine, packing, ultra).items():
        files[path] = render(template, context, sources).encode()
    return dict(sorted(files.items()))


def hls_files(engine: Engine, board: Board, *, sources: Sources | None = None) -> dict[str, bytes]:
    """The `hls/` folder of a build for `board`, by path relative to the build: the kernel and the Vitis scripts; and
    `lines.json`, which names the template line of every line that a template wrote, there and beside it.

    Boards without an HLS flow get no scripts.

    Raises:
        FlowError: the engine has a shape that the kernel cannot have, or a template fails.
    """
    sources = sources or Sources.of()
    packing, ultra = DSP_KINDS[board.dsp_kind], ultra_memories(engine, board)
    files = kernel_files(engine, packing=packing, ultra=ultra, sources=sources)
    if board.flow_target != "open":
        context = vitis_context(engine, board)
        for name in ("csynth.tcl", "link.cfg", "kernel.xml"):
            files[name] = render(f"vitis/{name}.j2", context, sources).encode()
    lines = {
        f"hls/{path}": line_map(template, context, sources)
        for path, (template, context) in kernel_templates(engine, packing, ultra).items()
    } | cosim_lines(engine, sources)
    # One file a line: a run of lines is three short values.
    rows = ",\n".join(f" {json.dumps(path)}: {json.dumps(runs)}" for path, runs in sorted(lines.items()))
    return {f"hls/{path}": content for path, content in sorted(files.items())} | {
        LINES: f"{{\n{rows}\n}}\n".encode()
    }


def vitis_context(engine: Engine, board: Board) -> VitisContext:
    """The kernel's ports, registers and sources as the Vitis scripts state them.

    Raises:
        FlowError: the board has no HLS flow.
    """
    if board.flow_target == "open":
        raise FlowError(
            f"{board.name}: found the open flow; expected vitis or vivado; this board has no Vitis scripts"
        )
    registers = {name: (offset, size) for name, offset, size, _ in REGISTERS}
    types = {
        "memory": "flow::Beat*",
        "command": "unsigned int",
        "frames": "unsigned int",
        "info": "unsigned int*",
    }
    streams = (
        StreamPort(STREAM_IN, 8 * engine.stream_bytes, "input"),
        StreamPort(STREAM_OUT, 8 * engine.stream_bytes, "output"),
    )
    memory = MemoryPort(MEMORY, 8 * engine.beat_bytes, board.memory.port)
    arguments = []
    for name in ("memory", STREAM_IN, STREAM_OUT, "command", "frames", "info"):
        if name in registers:
            offset, size = registers[name]
            port = memory.name if name == "memory" else CONTROL
            arguments.append(KernelArgument(name, offset, size, types[name], port))
        else:
            arguments.append(KernelArgument(name, 0, 8, "stream", name))
    return VitisContext(
        top=TOP,
        part=board.part,
        clock_ns=1e3 / board.clock_mhz,
        platform=board.platform if board.flow_target == "vitis" else "",
        flow_target=board.flow_target,
        sources=(f"{TOP}.cpp",),
        testbench=("testbench.cpp",),
        testbench_args=("@weights/image.bin", "@sim/input.bin", "output.bin"),
        cflags=("-std=c++14",),
        control_port=CONTROL,
        control_range=1 << control_address_bits(),
        control_protocol="ap_ctrl_hs",
        memory_ports=(memory,),
        stream_ports=streams,
        arguments=tuple(arguments),
    )
