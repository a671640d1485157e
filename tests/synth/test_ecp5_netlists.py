"""The interpreter of ECP5 netlists: modules of the engine behave on it as the Verilog does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flow.resources import asset_dir
from flow.sim.chip import netlist_model
from flow.sim.verilator import Model, compile_model, run_bench
from flow.synth.yosys import Yosys

HERE = Path(__file__).parent
TEMPLATES = asset_dir("templates")
Ports = dict[str, int]

# Module, folder of its file, parameters, widths of inputs and of outputs, stimulus and cycles without a meaning, and
# cells that it has to have.
CASES: list[tuple[str, str, dict[str, int], Ports, Ports, list[Any], list[Any], set[str]]] = [
    (
        "line_memory",
        "rtl",
        {"Banks": 2, "WordBits": 32, "Depth": 64, "AddressBits": 6},
        {
            "re_i": 1, "read_line_i": 6, "read_high_i": 2, "read_high_line_i": 6, "we_i": 2, "write_line_i": 6,
            "write_high_i": 2, "write_high_line_i": 6, "write_data_i": 64,
        },
        {"read_data_o": 64},
        [(write, line, ["read_line_i", "read_high_line_i"])
         for write, line in (("we_i", "write_line_i"), ("we_i", "write_high_line_i"))],
        [],
        {"DP16KD"},
    ),
    (
        "ram_2rw",
        "rtl",
        {"Width": 16, "AddressBits": 10},
        {
            "re_i": 1, "we_a_i": 1, "address_a_i": 10, "wdata_a_i": 16, "we_b_i": 1, "address_b_i": 10, "wdata_b_i": 16,
        },
        {"rdata_a_o": 16, "rdata_b_o": 16},
        [("we_a_i", "address_a_i", ["address_b_i"]), ("we_b_i", "address_b_i", ["address_a_i"])],
        ["we_a_i", "we_b_i"],
        {"DP16KD"},
    ),
    (
        "ram_1r1w",
        "rtl",
        {"Width": 9, "Depth": 16, "AddressBits": 4},
        {"we_i": 1, "waddr_i": 4, "wdata_i": 9, "re_i": 1, "raddr_i": 4},
        {"rdata_o": 9},
        [("we_i", "waddr_i", ["raddr_i"])],
        [],
        {"TRELLIS_DPR16X4"},
    ),
    (
        "image_block",
        "chip",
        {"BeatBytes": 8, "Depth": 1024, "AddressBits": 10},
        {"we_i": 2, "address_i": 10, "wdata_i": 64},
        {"rdata_o": 64},
        [],
        ["we_i"],
        {"DP16KD"},
    ),
    (
        "norm_gain",
        "rtl",
        {"ZBits": 21},
        {"run_i": 1, "shift_i": 6, "bits_i": 5, "z_i": 21, "gain_i": 16, "bias_i": 48},
        {"y_o": 16},
        [],
        [],
        {"MULT18X18D", "CCU2C", "LUT4", "PFUMX", "TRELLIS_FF"},
    ),
    (
        "kinds_of_registers",
        "",
        {},
        {"set_i": 1, "enable_i": 1, "data_i": 2},
        {"seen_o": 10},
        [],
        [],
        {"TRELLIS_FF"},
    ),
]  # fmt: skip


def around(module: str, parameters: dict[str, int], inputs: Ports, outputs: Ports) -> str:
    """A module with both of them inside."""
    bits = sum(outputs.values())
    declared = "".join(f"    input wire [{width - 1}:0] {name},\n" for name, width in inputs.items())
    connected = "".join(f".{name}({name}), " for name in inputs)
    found = {
        which: ", ".join(f".{name}({which}_{name})" for name in outputs) for which in ("verilog", "netlist")
    }
    wires = "".join(
        f"    wire [{width - 1}:0] {which}_{name};\n" for which in found for name, width in outputs.items()
    )
    values = ", ".join(f".{name}({value})" for name, value in parameters.items())
    sides = {which: ", ".join(f"{which}_{name}" for name in outputs) for which in found}
    return (
        "/* verilator lint_off UNUSEDSIGNAL */\n"
        f"module around (\n    input wire clk_i,\n{declared}    output wire equal_o,\n"
        f"    output wire [{bits - 1}:0] seen_o\n);\n{wires}"
        f"    {module} #({values}) verilog (.clk_i(clk_i), {connected}{found['verilog']});\n"
        f"    {module}_netlist netlist (.clk_i(clk_i), {connected}{found['netlist']});\n"
        f"    assign equal_o = {{{sides['verilog']}}} == {{{sides['netlist']}}};\n"
        f"    assign seen_o = {{{sides['verilog']}}};\nendmodule\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_netlist_equals_verilog(case: Any, tmp_path: Path) -> None:
    """Yosys' netlist of a module in our interpreter against the module."""
    module, folder, parameters, inputs, outputs, apart, skip_after, cells = case
    source = ((TEMPLATES / folder if folder else HERE) / f"{module}.v").read_bytes()
    preset = "\n".join(f"{(n * 0x9E3779B97F4A7C15) % 2**64:016x}" for n in range(1024))
    (tmp_path / f"{module}.v").write_bytes(source)
    (tmp_path / "image_00.hex").write_text(preset)
    values = " ".join(f"-chparam {name} {value}" for name, value in parameters.items())
    Yosys.find().run(
        f"read_verilog {module}.v\nhierarchy -top {module} {values}\nsynth_ecp5 -top {module}\n"
        f"rename -top {module}_netlist\nwrite_json netlist.json\n",
        tmp_path,
        module,
    )
    netlist = (tmp_path / "netlist.json").read_text()
    made = json.loads(netlist)["modules"][f"{module}_netlist"]["cells"].values()
    assert cells <= {cell["type"] for cell in made}
    simulated = netlist_model(netlist, f"{module}_netlist")
    files = {
        f"{module}.v": source,
        "around.v": around(module, parameters, inputs, outputs).encode(),
        **simulated.model.files,
    }
    for name, content in simulated.data.items():
        (tmp_path / name).write_bytes(content)
    program = compile_model(Model(files, tuple(sorted(files)), "around", ("-O1",), ports_only=True))
    data = {"seed": 1, "cycles": 4000, "inputs": inputs, "apart": apart, "skip_after": skip_after}
    (tmp_path / "case.json").write_text(json.dumps(data))
    results = run_bench(program, [HERE], "bench_equal", tmp_path, environment={})
    assert [result.failure for result in results] == [""]
