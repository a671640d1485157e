"""The `hls/` folder of a build: static headers, copied, and the files that the templates write.

The result depends on the engine and on how its DSP primitives are packed, never on a program: two models on one
engine get identical C++.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flow.boards import DSP_KINDS, Board, DspKind
from flow.emit.contexts import TOP, ConfigContext, DispatchContext, KernelContext, TestbenchContext
from flow.emit.vitis import KernelArgument, MemoryPort, StreamPort, VitisContext
from flow.engine import REGISTERS, Engine
from flow.errors import FlowError
from flow.resources import asset_dir

CONTROL_PORT = "s_axi_control"


@cache
def environment(templates: Path | None = None) -> Environment:
    """The one Jinja2 environment: undefined names are errors, block tags leave no blank lines.

    `templates` is searched before the package's own, so that a user may replace single templates.
    """
    folders = [asset_dir("templates")] if templates is None else [templates, asset_dir("templates")]
    return Environment(
        loader=FileSystemLoader(folders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: str, context: Any, templates: Path | None = None) -> str:
    """A template's text with its context as `ctx`."""
    return environment(templates).get_template(template).render(ctx=context)


def static_headers() -> dict[str, bytes]:
    """`engine/…` and `compat/…` of hls/ by path relative to it, in sorted order.

    Raises:
        FlowError: the folder holds none.
    """
    root = asset_dir("hls")
    paths = sorted(p for folder in ("engine", "compat") for p in (root / folder).rglob("*") if p.is_file())
    if not paths:
        raise FlowError(f"{root}: found no headers; expected engine/ and compat/; install flow-hls again")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def kernel_files(
    engine: Engine, *, packing: DspKind = DSP_KINDS["DSP48E2"], templates: Path | None = None
) -> dict[str, bytes]:
    """Every C++ file of the kernel and its test bench by path relative to `hls/`, deterministic and in sorted order.

    `packing` says how the target's DSP primitive takes two products (it changes no result); `templates` is a folder
    of templates that replace the package's own.

    Raises:
        FlowError: the engine has a shape that the kernel cannot have.
    """
    written = {
        "config.hpp": render("config.hpp.j2", ConfigContext(engine, packing), templates),
        "dispatch.hpp": render("dispatch.hpp.j2", DispatchContext(engine), templates),
        f"{TOP}.hpp": render("flow_engine.hpp.j2", KernelContext(engine), templates),
        f"{TOP}.cpp": render("flow_engine.cpp.j2", KernelContext(engine), templates),
        "testbench.cpp": render("testbench.cpp.j2", TestbenchContext(engine), templates),
    }
    files = static_headers() | {path: text.encode() for path, text in written.items()}
    return dict(sorted(files.items()))


def hls_files(engine: Engine, board: Board, *, templates: Path | None = None) -> dict[str, bytes]:
    """The `hls/` folder of a build for `board`, by path relative to the build: the kernel and the Vitis scripts.

    Boards without an HLS flow get no scripts.

    Raises:
        FlowError: the engine has a shape that the kernel cannot have.
    """
    files = kernel_files(engine, packing=DSP_KINDS[board.dsp_kind], templates=templates)
    if board.flow_target != "open":
        context = vitis_context(engine, board)
        for name in ("csynth.tcl", "link.cfg", "kernel.xml"):
            files[name] = render(f"vitis/{name}.j2", context, templates).encode()
    return {f"hls/{path}": content for path, content in sorted(files.items())}


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
        StreamPort("stream_in", 8 * engine.stream_bytes, "input"),
        StreamPort("stream_out", 8 * engine.stream_bytes, "output"),
    )
    memory = MemoryPort("m_axi_gmem", 8 * engine.beat_bytes, board.memory.port)
    arguments = []
    for name in ("memory", "stream_in", "stream_out", "command", "frames", "info"):
        if name in registers:
            offset, size = registers[name]
            port = memory.name if name == "memory" else CONTROL_PORT
            arguments.append(KernelArgument(name, offset, size, types[name], port))
        else:
            arguments.append(KernelArgument(name, 0, 8, "stream", name))
    end = max(offset + size for offset, size in registers.values())
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
        control_port=CONTROL_PORT,
        control_range=1 << (end - 1).bit_length(),
        control_protocol="ap_ctrl_hs",
        memory_ports=(memory,),
        stream_ports=streams,
        arguments=tuple(arguments),
    )
