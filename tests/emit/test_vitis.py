"""The Vitis templates: their form, their data, and the faults of a context."""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from dataclasses import replace
from xml.etree import ElementTree as ET

import jinja2
import pytest

from flow.emit.vitis import KernelArgument, MemoryPort, StreamPort, VitisContext
from flow.errors import FlowError
from flow.resources import asset_dir

CONTEXT = VitisContext(
    top="flow_engine",
    part="xcu250-figd2104-2L-e",
    clock_ns=1000 / 300,
    platform="xilinx_u250_gen3x16_xdma_4_1_202210_1",
    flow_target="vitis",
    sources=("flow_engine.cpp",),
    testbench=("testbench.cpp",),
    testbench_args=("@weights/program.bin", "@sim/input.bin", "--check"),
    cflags=("-std=c++17", "-O2"),
    control_port="s_axi_control",
    control_range=0x1000,
    control_protocol="ap_ctrl_hs",
    memory_ports=(MemoryPort("m_axi_program", 512, "DDR[1]"),),
    stream_ports=(StreamPort("input", 64, "input", "mover_1.out"), StreamPort("output", 64, "output")),
    arguments=(
        KernelArgument("program", 0x10, 8, "const ap_uint<512>*", "m_axi_program"),
        KernelArgument("input", 0, 8, "stream<ap_axiu<64,0,0,0>>&", "input"),
        KernelArgument("output", 0, 8, "stream<ap_axiu<64,0,0,0>>&", "output"),
        KernelArgument("steps", 0x1C, 4, "unsigned int", "s_axi_control"),
    ),
    slr="SLR1",
)


def render(name: str, context: VitisContext) -> str:
    """Render one Vitis template as the emitter does."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(asset_dir("templates") / "vitis"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return environment.get_template(name).render(ctx=context)


def commands(script: str) -> Iterator[str]:
    """Return the Tcl commands of a script, comments and indentation dropped."""
    for line in script.splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            yield text


@pytest.mark.parametrize("name", ["csynth.tcl.j2", "link.cfg.j2", "kernel.xml.j2"])
def test_the_first_line_names_the_context(name: str) -> None:
    text = (asset_dir("templates") / "vitis" / name).read_text(encoding="utf-8")
    assert text.splitlines()[0] == "{# context: flow.emit.vitis.VitisContext, as ctx #}"
    rendered = render(name, CONTEXT)
    assert rendered == render(name, CONTEXT)
    assert rendered.endswith("\n")
    assert "{#" not in rendered
    assert "{{" not in rendered
    assert all(line == line.rstrip() for line in rendered.splitlines())


def test_csynth_script() -> None:
    script = render("csynth.tcl.j2", CONTEXT)
    assert script.count("{") == script.count("}")
    assert script.count("[") == script.count("]")
    steps = list(commands(script))
    in_order = (
        "open_project -reset $work_dir",
        "set_top flow_engine",
        "add_files -cflags $cflags [file join $script_dir flow_engine.cpp]",
        "add_files -tb -cflags $cflags [file join $script_dir testbench.cpp]",
        'open_solution -reset "solution1" -flow_target vitis',
        "set_part {xcu250-figd2104-2L-e}",
        "create_clock -period 3.333 -name default",
        "lappend arguments [file join $build_dir weights/program.bin]",
        "lappend arguments [file join $build_dir sim/input.bin]",
        "lappend arguments --check",
        'csim_design -argv [join $arguments " "]',
        "csynth_design",
        "export_design -rtl verilog -format xo -output [file join $work_dir flow_engine.xo]",
        "close_project",
        "exit",
    )
    places = [steps.index(command) for command in in_order]
    assert places == sorted(places)
    assert 'set cflags "-I$script_dir -std=c++17 -O2"' in steps


def test_csynth_script_without_arguments_in_the_vivado_flow() -> None:
    context = replace(CONTEXT, flow_target="vivado", platform="", testbench_args=(), cflags=())
    steps = list(commands(render("csynth.tcl.j2", context)))
    assert "csim_design" in steps
    assert 'set cflags "-I$script_dir"' in steps
    assert 'open_solution -reset "solution1" -flow_target vivado' in steps
    assert (
        "export_design -rtl verilog -format ip_catalog -output [file join $work_dir flow_engine.zip]" in steps
    )


def test_link_configuration() -> None:
    lines = render("link.cfg.j2", CONTEXT)
    assert "# flow_engine_1.output (output) is free" in lines
    parser = configparser.ConfigParser(strict=True, delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(f"[general]\n{lines}")
    assert dict(parser["general"]) == {"platform": "xilinx_u250_gen3x16_xdma_4_1_202210_1", "save-temps": "1"}
    assert dict(parser["connectivity"]) == {
        "nk": "flow_engine:1:flow_engine_1",
        "slr": "flow_engine_1:SLR1",
        "sp": "flow_engine_1.m_axi_program:DDR[1]",
        "stream_connect": "mover_1.out:flow_engine_1.input",
    }
    assert dict(parser["clock"]) == {"freqHz": "300000000:flow_engine_1"}


def test_link_configuration_connects_an_output_stream() -> None:
    output = StreamPort("output", 64, "output", "mover_1.in")
    context = replace(CONTEXT, stream_ports=(CONTEXT.stream_ports[0], output), slr="")
    lines = render("link.cfg.j2", context).splitlines()
    assert "stream_connect=flow_engine_1.output:mover_1.in" in lines
    assert not any(line.startswith("slr=") for line in lines)


def test_kernel_metadata() -> None:
    text = render("kernel.xml.j2", CONTEXT)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    kernel = ET.fromstring(text).find("kernel")
    assert kernel is not None
    assert kernel.get("name") == "flow_engine"
    assert kernel.get("vlnv") == "flow:kernel:flow_engine:1.0"
    assert kernel.get("hwControlProtocol") == "ap_ctrl_hs"
    ports = {port.get("name"): (port.get("mode"), port.get("portType")) for port in kernel.iter("port")}
    assert ports == {
        "s_axi_control": ("slave", "addressable"),
        "m_axi_program": ("master", "addressable"),
        "input": ("read_only", "stream"),
        "output": ("write_only", "stream"),
    }
    keys = ("id", "name", "addressQualifier", "port", "size", "offset", "type")
    arguments = [tuple(argument.get(key) for key in keys) for argument in kernel.iter("arg")]
    assert arguments == [
        ("0", "program", "1", "m_axi_program", "0x8", "0x10", "const ap_uint<512>*"),
        ("1", "input", "4", "input", "0x8", "0x0", "stream<ap_axiu<64,0,0,0>>&"),
        ("2", "output", "4", "output", "0x8", "0x0", "stream<ap_axiu<64,0,0,0>>&"),
        ("3", "steps", "0", "s_axi_control", "0x4", "0x1c", "unsigned int"),
    ]


def test_all_faults_of_a_context_at_once() -> None:
    with pytest.raises(FlowError) as caught:
        replace(
            CONTEXT,
            platform="",
            control_range=0x20,
            memory_ports=(*CONTEXT.memory_ports, MemoryPort("m_axi_spare", 512, "DDR[0]")),
            arguments=(
                KernelArgument("program", 0x0C, 4, "void*", "m_axi_program"),
                KernelArgument("input", 0, 8, "stream&", "input"),
                KernelArgument("output", 0, 8, "stream&", "output"),
                KernelArgument("steps", 0x1E, 4, "unsigned int", "s_axi"),
            ),
        )
    assert str(caught.value) == (
        "flow_engine: the kernel's metadata disagree\n"
        "  - argument program: found offset 0xc; expected a multiple of 4 from 0x10 on, past the control registers; "
        "move the register\n"
        "  - argument program: found 4 bytes; expected a pointer's 8; correct the size\n"
        "  - argument steps: found offset 0x1e; expected a multiple of 4 from 0x10 on, past program; "
        "move the register\n"
        "  - s_axi_control: found a range of 0x20; expected at least 0x22; widen it\n"
        "  - argument steps: no port s_axi; expected one of s_axi_control, m_axi_program, m_axi_spare, input, output; "
        "correct the name\n"
        "  - port m_axi_spare: no argument; expected one that names it; add it or drop the port\n"
        "  - platform: empty; expected a platform for the vitis flow; name it in the board file"
    )


def test_two_ports_of_one_name() -> None:
    stream = StreamPort("m_axi_program", 64, "input")
    with pytest.raises(
        FlowError, match=r"port m_axi_program: 2 ports of that name; expected one; rename the others"
    ):
        replace(CONTEXT, stream_ports=(*CONTEXT.stream_ports, stream))
