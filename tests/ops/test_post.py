"""Stages of plug-ins: the example of the guide from torch to C++ and Verilog, and what is refused."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from flow.emit.build import Build
from flow.emit.rtl import RtlContext, rtl_files
from flow.engine import Engine, Opcode, parameters
from flow.errors import FlowError, UnsupportedError
from flow.ir import REGISTRY, Array, TensorType
from flow.ops import post
from flow.ops.float import ACTIVATIONS
from flow.ops.post import OUTSIDE, PostStage, register_outside
from flow.resources import cache_dir
from flow.sim import kernel as kernels
from flow.sim.operators import check_operator, small_engines
from tests.rtl.harness import lint

Flow = Callable[..., Any]
EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "hardswish"
CACHE = str(cache_dir())
TYPE: dict[str, Any] = {"bits": 8, "signed": False, "zero": 20, "scale": 8 / 240}


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stages that a test registers are its own, and no time is spent on speed."""
    tables: list[dict[str, Any]] = [OUTSIDE, ACTIVATIONS, REGISTRY, parameters._OUTSIDE]
    saved = [dict(table) for table in tables]
    monkeypatch.setattr(kernels, "FLAGS", ("-std=c++14", "-O0"))
    monkeypatch.setattr(kernels, "BENCH_FLAGS", ("-std=c++14", "-O0"))
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    yield
    for table, before in zip(tables, saved, strict=True):
        table.clear()
        table.update(before)


@pytest.fixture
def hardswish(monkeypatch: pytest.MonkeyPatch) -> type[PostStage]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    found: type[PostStage] = importlib.import_module("flow_hardswish").HardSwish
    return found


def test_golden_is_the_function(hardswish: type[PostStage]) -> None:
    """Within half a step of the result, one step of the multiplier's 15 bits, and a half step of x in 3 and in 6."""
    step = 2.0**-12
    stage = hardswish.of(step, **TYPE)
    x = np.arange(-32767, 32768)
    (y,) = stage.golden(x)
    real = np.clip(hardswish.real(x * step) / TYPE["scale"] + TYPE["zero"], 0, 255)
    bound = 0.5 + np.abs(real) * 2.0**-14 + 8 * step / TYPE["scale"]
    assert (np.abs(y - real) <= bound).all()
    assert {int(y.min()), int(y.max())} == {9, 255}
    assert 20 - 0.375 / TYPE["scale"] == pytest.approx(8.75)  # the least value of hard swish is -3/8
    with pytest.raises(FlowError) as caught:
        hardswish.of(0.5, **TYPE)
    assert (
        str(caught.value) == "hardswish: found an input step of 0.5; expected 2^-20 to 2^-2; calibrate again"
    )


def test_examples_equal_the_cpp(hardswish: type[PostStage]) -> None:
    compared, different = check_operator(hardswish)
    assert (compared, different) == (2 * 6 * (7 * 10 + 4 * 6), [])


def test_a_wrong_function_is_found(
    hardswish: type[PostStage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: the same stage with `>` turned round in C++."""
    header = tmp_path / "hardswish.hpp"
    text = hardswish.header_path().read_text()
    header.write_text(text.replace("moved > six ? six : moved", "moved < six ? six : moved"))
    assert header.read_text() != text
    monkeypatch.setattr(hardswish, "header_path", lambda: header)
    register_outside(hardswish)
    compared, different = check_operator(hardswish, small_engines("hardswish")[:1])
    assert compared == 6 * (7 * 10 + 4 * 6)
    assert len(different) == 2
    assert re.match(
        r"sample \d: step stage_hardswish_8: out\[\d+, \d+\]: found -?\d+; expected", str(different[0])
    )


# -- in Verilog --------------------------------------------------------------------------------------------------------


warm = pytest.mark.usefixtures("warm_cache")


@pytest.fixture
def warm_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of the whole run: it holds Verilator's own library."""
    monkeypatch.setenv("FLOW_CACHE_DIR", CACHE)


def verilog_engine(*stages: str) -> Engine:
    """As small as examples allow."""
    return Engine(2, 4, 2, 1, 1, beat_bytes=8, stream_bytes=8, features=stages, sequence=16, depth=8)


@warm
def test_examples_equal_the_verilog(hardswish: type[PostStage]) -> None:
    register_outside(hardswish)
    compared, different = check_operator(hardswish, (verilog_engine("hardswish"),), "rtl")
    assert (compared, different) == (6 * (7 * 10 + 4 * 6), [])


TWICE = """module twice_stage #(parameter Lanes = 1) (
    input wire clk_i, input wire [16*Lanes-1:0] value_i, input wire [511:0] parameters_i,
    output wire [48*Lanes-1:0] result_o
);
    reg [48*Lanes-1:0] result_q;
    integer i;
    assign result_o = result_q;
    always @(posedge clk_i) for (i = 0; i < Lanes; i = i + 1)
        result_q[48*i+:48] <= {{31{value_i[16*i+15]}}, value_i[16*i+:16], 1'b0} + {16'd0, parameters_i[31:0]};
endmodule
"""


@warm
@pytest.mark.slow
def test_two_stages_of_unlike_latency(hardswish: type[PostStage], tmp_path: Path) -> None:
    """A stage of one cycle waits for one of seven; each gets its steps. Stimulus and beats as for the other engines."""
    module = tmp_path / "twice_stage.v"
    module.write_text(TWICE)
    members = {
        "name": "twice", "stage": "twice", "module": module.name, "latency": 1, "__module__": hardswish.__module__,
        "module_path": classmethod(lambda _: module), "compute": lambda self, x: 2 * x + self.three,
        "parameters": lambda self: (self.three,),
    }  # fmt: skip
    twice = type("Twice", (hardswish,), members)
    engine_stages = ("hardswish", "twice")
    for stage in (hardswish, twice):
        register_outside(stage)
    for stage in (hardswish, twice):
        for engine in (verilog_engine(*engine_stages), *small_engines(None)):
            wide = replace(engine, features=tuple(sorted({*engine.features, *engine_stages})))
            compared, different = check_operator(stage, (wide,), "rtl")
            assert (compared, different) == (6 * (7 * 10 + 4 * 6), [])


@warm
@pytest.mark.slow
def test_a_wrong_module_is_found(hardswish: type[PostStage], monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: the same stage said to be a cycle faster than it is."""
    monkeypatch.setattr(hardswish, "latency", 6)
    register_outside(hardswish)
    compared, different = check_operator(hardswish, (verilog_engine("hardswish"),), "rtl")
    assert compared == 6 * (7 * 10 + 4 * 6)
    assert len(different) == 2


def test_the_engine_is_clean(hardswish: type[PostStage], tmp_path: Path) -> None:
    """Under -Wall, with one of each of the plug-in's module and of what it needs."""
    register_outside(hardswish)
    files = rtl_files(verilog_engine("add", "hardswish", "table"))
    assert lint(files, tmp_path) == []
    top = files["rtl/flow_engine.v"].decode()
    assert top.count("    hardswish_stage #(\n") == 1
    assert "localparam OutsideStages = 1;" in top
    assert "localparam StageLatency = 7;" in top


def test_a_stage_without_verilog_is_refused_by_name(
    hardswish: type[PostStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine is emitted, for the C++ beside it, and takes no step with the stage; `--backend rtl` says why."""
    monkeypatch.setattr(hardswish, "module", "")
    register_outside(hardswish)
    engine = verilog_engine("hardswish")
    assert refusal(lambda: check_operator(hardswish, (engine,), "rtl")) == (
        "rtl: found no Verilog of the stages hardswish; expected a module from each plug-in; name its file in the "
        "class (`module`, docs/templates.md), or use --backend csim or cosim"
    )
    assert dict(RtlContext(engine).parameters)["OutsideStages"] == 0
    assert "rtl/hardswish_stage.v" not in rtl_files(engine)


class Small(nn.Module):
    """A feed-forward on a residual stream, with the operator or spelled out."""

    def __init__(self, spelled: bool) -> None:
        super().__init__()
        self.embed, self.norm, self.up = nn.Linear(6, 16), nn.LayerNorm(16), nn.Linear(16, 32)
        self.down, self.last, self.head = nn.Linear(32, 16), nn.LayerNorm(16), nn.Linear(16, 3)
        self.spelled = spelled

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x)
        u = self.up(self.norm(h))
        a = u * torch.clamp(u + 3.0, 0.0, 6.0) / 6.0 if self.spelled else nn.functional.hardswish(u)
        y: torch.Tensor = self.head(self.last(h + self.down(a)).mean(1))
        return y


@pytest.mark.parametrize("spelled", [False, True])
def test_from_torch_to_cpp(flow: Flow, hardswish: type[PostStage], tmp_path: Path, spelled: bool) -> None:
    """Quantized, lowered, estimated, emitted and simulated; without the plug-in the same model is refused."""
    torch.manual_seed(0)
    program = torch.export.export(Small(spelled).eval(), (torch.zeros(1, 5, 6),), strict=False)
    torch.export.save(program, tmp_path / "float.pt2")
    samples = np.random.default_rng(0).normal(size=(16, 5, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=samples)
    quantize = (
        "quantize",
        tmp_path / "float.pt2",
        "--calibrate",
        tmp_path / "data.npz",
        "-o",
        tmp_path / "q.pt2",
    )
    refused = flow(*quantize)
    assert (refused.status, "on the device" in refused.err or "between device" in refused.err) == (2, True)
    register_outside(hardswish)
    assert flow(*quantize).status == 0
    build = tmp_path / "build"
    lowered = flow("lower", tmp_path / "q.pt2", "--board", "ulx3s-85f", "-o", build)
    assert (lowered.status, lowered.err) == (0, "")
    opened = Build.open(build)
    assert opened.engine.outside == ("hardswish",)
    assert opened.engine.feature_bits >> 16 == 1
    words = [r.words for r in opened.program.records if r.opcode is Opcode.LINEAR]
    assert sorted(w["stage"] for w in words) == [0, 0, 0, 1]
    header = build / "hls" / "engine" / "stages" / "hardswish.hpp"
    assert header.read_bytes() == hardswish.header_path().read_bytes()
    report = flow("sim", build, "--inputs", tmp_path / "data.npz", "--json").json()
    assert report == {"backend": "csim", "samples": 16, "outputs_compared": 48, "mismatches": 0}
    listed = {row["name"] for row in flow("templates", "list", "--json").json()["templates"]}
    assert "engine/stages/hardswish.hpp" in listed


def test_engines_without_the_stage_have_no_trace_of_it(hardswish: type[PostStage]) -> None:
    from flow.emit.hls import kernel_files

    plain = kernel_files(Engine(2, 4, 2, 1, 1))
    register_outside(hardswish)
    assert kernel_files(Engine(2, 4, 2, 1, 1)) == plain
    own = kernel_files(Engine(2, 4, 2, 1, 1, features=("hardswish",)))
    assert set(own) - set(plain) == {"engine/stages/hardswish.hpp"}
    modules = [set(rtl_files(Engine(2, 4, 2, 1, 1, features=f))) for f in ((), ("hardswish",))]
    assert modules[1] - modules[0] == {"rtl/hardswish_stage.v"}


def test_an_unknown_stage_is_named() -> None:
    with pytest.raises(FlowError) as caught:
        Engine(2, 4, 2, 1, 1, features=("hardswish",))
    assert str(caught.value) == (
        "engine 2x4x2: found 1 faults\n"
        "  - features: found 'hardswish'; expected some of add, attention, norm, pool, table; is a plug-in missing?"
    )


# -- refusals ----------------------------------------------------------------------------------------------------------


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(FlowError) as caught:
        call()
    return str(caught.value)


def test_types_and_parameters(hardswish: type[PostStage]) -> None:
    stage = hardswish.of(2.0**-12, **TYPE)
    with pytest.raises(UnsupportedError) as caught:
        stage.infer(TensorType((2, 4), "int8", 1.0))
    assert str(caught.value).startswith("hardswish: found int8")
    assert str(caught.value).endswith("; expected int16 with zero point 0")
    wide = replace(stage, three=1 << 31)  # type: ignore[call-arg]  # a field of the example's
    assert refusal(wide.packed) == (
        f"stage hardswish: found parameters {list(wide.parameters())}; expected at most 16 of 32 bits; "
        "correct the plug-in"
    )


@dataclass(frozen=True, eq=False)
class Unfinished(PostStage):
    """Lacks what its base class asks for."""

    name: ClassVar[str] = "unfinished"


def test_unfinished_stages(hardswish: type[PostStage]) -> None:
    module = __name__
    found = refusal(lambda: register_outside(Unfinished))  # type: ignore[type-abstract]
    assert found == (
        f"{module}.Unfinished: found a stage that cannot be used; correct the plug-in\n"
        + "".join(
            f"  - {name}: found none; expected it\n"
            for name in ("compute", "examples", "hardware", "of", "parameters", "real", "stage", "header")
        ).rstrip("\n")
    )
    other = type(
        "Other", (hardswish,), {"name": "gelu", "stage": "x", "header": "no.hpp", "__module__": module}
    )
    assert refusal(lambda: register_outside(other)) == (
        f"{module}.Other: found a stage that cannot be used; correct the plug-in\n"
        "  - stage: found 'x'; expected the operator's name, 'gelu'\n"
        "  - name: found 'gelu', which flow has already; expected another\n"
        f"  - header: found no {Path(__file__).resolve().parent}/no.hpp; expected the C++ function there\n"
        f"  - module: found no {Path(__file__).resolve().parent}/hardswish_stage.v; expected the Verilog module there"
    )
    assert "unfinished" not in OUTSIDE
    slow = type(
        "Slow",
        (hardswish,),
        {"name": "slow", "stage": "slow", "latency": 65, "__module__": hardswish.__module__},
    )
    assert refusal(lambda: register_outside(slow)) == (
        f"{hardswish.__module__}.Slow: found a stage that cannot be used; correct the plug-in\n"
        f"  - module: found hardswish_stage in {hardswish.module_path()}; expected one, slow_stage\n"
        "  - latency: found 65; expected the module's cycles, 1 to 64"
    )
    named = type(
        "Named",
        (hardswish,),
        {"name": "Big", "stage": "Big", "module": "", "__module__": hardswish.__module__},
    )
    assert refusal(lambda: register_outside(named)) == (
        "stage 'Big': found a name that cannot be used; expected lower-case letters, digits and _, and none of "
        "add, attention, norm, pool, table; rename it"
    )


def test_entry_points(hardswish: type[PostStage], monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardswish.name not in OUTSIDE

    def offer(value: str) -> None:
        entry = EntryPoint("hardswish", value, post.GROUP)
        monkeypatch.setattr(post, "entry_points", lambda group: [entry] if group == "flow.ops" else [])
        post.load_plugins.__wrapped__()

    assert refusal(lambda: offer("nowhere_to_be_found:X")) == (
        "plug-in 'hardswish' of ? (nowhere_to_be_found:X): found ModuleNotFoundError: No module named "
        "'nowhere_to_be_found'; expected a module that can be imported; mend ? or uninstall it"
    )
    assert refusal(lambda: offer("numpy:ndarray")) == (
        "plug-in 'hardswish' of ? (numpy:ndarray): found <class 'numpy.ndarray'>; expected a subclass of "
        "flow.ops.post.PostStage; mend ? or uninstall it"
    )
    offer("flow_hardswish:HardSwish")
    assert {"hardswish": hardswish} == OUTSIDE
    array: Array = np.array([-4.0, 0.0, 4.0])
    assert ACTIVATIONS["hardswish"](array).tolist() == [0.0, 0.0, 4.0]
    register_outside(hardswish)  # once more is as good
