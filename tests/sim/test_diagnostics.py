"""What the compiler says about emitted C++ names the template or header that an engineer edits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.sim import kernel as kernels
from flow.sim.diagnostics import Origins, explain

Flow = Callable[..., Any]
SUMMARY = "g++: found {} in the kernel; expected C++ that compiles; mend what it came from"


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and no time spent on speed."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "FLAGS", ("-std=c++14", "-O0"))
    monkeypatch.setattr(kernels, "BENCH_FLAGS", ("-std=c++14", "-O0"))


@pytest.mark.usefixtures("quick")
def test_an_error_is_mapped_back(flow: Flow, models: Path, tmp_path: Path) -> None:
    """In a template, whose lines are others than those of what it wrote, and in a header."""
    mine, build = tmp_path / "mine", tmp_path / "build"
    assert flow("templates", "eject", "dispatch.hpp.j2", "engine/pool.hpp", mine).status == 0
    template, header = mine / "dispatch.hpp.j2", mine / "engine/pool.hpp"
    plain, pool = template.read_text(), header.read_text()
    at = plain.splitlines().index("    rescale_stage(total, rows, scaled);")
    broken = plain.splitlines()
    broken[at] = "    rescale_stages(total, rows, scaled);"
    template.write_text("\n".join([*broken, ""]))
    lower = (
        "lower",
        models / "digits_vit_hp80.pt2",
        "--board",
        "ulx3s-85f",
        "--templates",
        mine,
        "-o",
        build,
    )
    assert flow(*lower).status == 0
    written = (build / "hls/dispatch.hpp").read_text().splitlines().index(broken[at])
    assert written != at
    done = flow("sim", build, "--samples", "1")
    assert (done.status, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: " + SUMMARY.format("an error"),
        (
            f"  - dispatch.hpp.j2:{at + 1} of your --templates (written to hls/dispatch.hpp:{written + 1}:5): "
            "'rescale_stages' was not declared in this scope; did you mean 'rescale_stage'?"
        ),
        f"    {written + 1:5} |     rescale_stages(total, rows, scaled);",
        "          |     ^~~~~~~~~~~~~~",
        "          |     rescale_stage",
    ]
    template.write_text(plain)
    header.write_text("int x = y;\n" + pool)
    assert flow(*lower).status == 0
    assert flow("sim", build, "--samples", "1").err.splitlines() == [
        "error: " + SUMMARY.format("an error"),
        "  - engine/pool.hpp:1:9 of your --templates: 'y' was not declared in this scope",
        "        1 | int x = y;",
        "          |         ^",
    ]


def test_places() -> None:
    origins = Origins(
        {"hls/a.hpp": [[1, "a.hpp.j2", 2], [5, "b.j2", 1]]}, frozenset({"b.j2", "engine/x.hpp"})
    )
    assert origins.name("hls/a.hpp", 4, 3) == "a.hpp.j2:5 of flow (written to hls/a.hpp:4:3)"
    assert origins.name("hls/a.hpp", 6, 3) == "b.j2:2 of your --templates (written to hls/a.hpp:6:3)"
    assert origins.name("hls/engine/x.hpp", 6, 3) == "engine/x.hpp:6:3 of your --templates"
    assert origins.name("hls/engine/y.hpp", 6, 3) == "engine/y.hpp:6:3 of flow"
    assert origins.name("/usr/include/stdio.h", 6, 3) == "/usr/include/stdio.h:6:3"


def test_long_lists_are_cut() -> None:
    said = "\n".join(f"hls/engine/x.hpp:{i}:1: error: wrong\n    {i} | x" for i in (1, 1, 2, 3, 4, 5))
    assert explain(said, Origins()).splitlines() == [
        SUMMARY.format("5 errors"),
        *(line for i in (1, 2, 3) for line in (f"  - engine/x.hpp:{i}:1 of flow: wrong", f"        {i} | x")),
        "  and 2 more",
    ]


MODEL = (
    "verilator: found {} in the model; expected SystemVerilog and C++ that compile; mend what it came from"
)


def test_errors_of_the_model_are_mapped_back(flow: Flow, models: Path, tmp_path: Path) -> None:
    """Verilator's own and those of g++: in a template of the shell, in the memory, in the kernel's process."""
    mine, build = tmp_path / "mine", tmp_path / "build"
    names = ("sim/flow_engine.sv.j2", "cosim/axi_memory.sv", "cosim/shell.cpp")
    assert flow("templates", "eject", *names, mine).status == 0
    lower = (
        "lower",
        models / "digits_vit_hp80.pt2",
        "--board",
        "ulx3s-85f",
        "--templates",
        mine,
        "-o",
        build,
    )
    mistakes = (
        ("    assign write = write_address_q && ", "    assign write = write_adress_q && "),
        ("            noise_q <= xorshift(noise_q);", "            noise_q <= xorshift(noise_q;"),
        ("    process_.cancel();", "    process_.cancl();"),
    )
    found = []
    for name, (right, wrong) in zip(names, mistakes, strict=True):
        path = mine / name
        plain = path.read_text()
        assert plain.count(right) == 1
        path.write_text(plain.replace(right, wrong))
        assert flow(*lower).status == 0
        line = plain[: plain.index(right)].count("\n") + 1
        done = flow("sim", build, "--backend", "cosim", "--samples", "1")
        assert (done.status, done.out) == (2, "")
        summary, place, *excerpt = done.err.splitlines()
        assert summary == "error: " + MODEL.format("an error")
        assert place.startswith(f"  - {name}:{line}")
        assert " of your --templates" in place
        assert any(wrong.strip() in text for text in excerpt)
        found.append(place)
        path.write_text(plain)
    written = (build / "sim/flow_engine.sv").read_text().splitlines()
    at = next(i for i, text in enumerate(written, 1) if text.startswith(mistakes[0][0]))
    assert f"(written to sim/flow_engine.sv:{at}:" in found[0]


def test_what_verilator_says() -> None:
    """Warnings end it like errors, remarks stand between a message and its excerpt, some messages have no place."""
    said = """%Warning-WIDTHTRUNC: sim/flow_engine.sv:6:3: Operator ASSIGN expects 3 bits
                             : ... note: In instance 'flow_bench'
                             ... For warning description see https://verilator.org
    6 |     x = y;
      |       ^
%Error: sim/axi_memory.sv:7:1: syntax error
%Error: Exiting due to 1 error(s), 1 warning(s)"""
    origins = Origins(
        {"sim/flow_engine.sv": [[1, "sim/flow_engine.sv.j2", 2]]}, frozenset({"cosim/axi_memory.sv"})
    )
    assert explain(said, origins, "verilator").splitlines() == [
        MODEL.format("2 errors"),
        "  - sim/flow_engine.sv.j2:7 of flow (written to sim/flow_engine.sv:6:3): Operator ASSIGN expects 3 bits",
        "        6 |     x = y;",
        "          |       ^",
        "  - cosim/axi_memory.sv:7:1 of your --templates: syntax error",
    ]
    assert explain("%Error: Cannot find file", Origins(), "verilator") == (
        "verilator: found errors in the model; expected it to compile; it said:\n%Error: Cannot find file"
    )
