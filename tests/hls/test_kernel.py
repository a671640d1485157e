"""Emission, compilation, the cache, and simulations that go wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from flow.boards import DSP_KINDS, list_boards, load_board
from flow.emit import contexts
from flow.emit.hls import hls_files, kernel_files, vitis_context
from flow.engine import Engine, Opcode, Space
from flow.errors import FlowError, ToolError
from flow.formats import constants, encode, pack
from flow.resources import asset_dir
from flow.sim import kernel as kernels
from flow.sim.kernel import FLAGS, WARNINGS, Kernel, compile_kernel, run_frames

if TYPE_CHECKING:
    from tests.hls.conftest import Bench

    NewBench = Callable[[Engine, int], Bench]

SMALL = Engine(
    2,
    4,
    2,
    1,
    1,
    beat_bytes=8,
    stream_bytes=8,
    sequence=8,
    operand_depth=32,
    store_depth=32,
    values_depth=32,
    depth=4,
)
PRAGMAS = "PIPELINE|DATAFLOW|ALLOCATION|STREAM|DEPENDENCE|BIND_STORAGE|ARRAY_|AGGREGATE|INLINE off"
"""Pragmas that decide what the hardware is; each stands under the reason for it."""
HEADERS = sorted(p for folder in ("engine", "compat") for p in (asset_dir("hls") / folder).rglob("*.h*"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, and a compiler that does not spend its time on speed."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(kernels, "FLAGS", ("-std=c++14", "-O0"))
    monkeypatch.setattr(kernels, "BENCH_FLAGS", ("-std=c++14", "-O0"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", ["one token", "square", "tall", "wide", "beats", "heads", "bare"])
def test_the_kernel_compiles_without_a_warning(
    name: str, engines: Mapping[str, Engine], bare: Engine, tmp_path: Path
) -> None:
    for path, content in kernel_files({**engines, "bare": bare}[name]).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    strict = (*FLAGS, "-O2", *WARNINGS, "-Wshadow", "-Werror", "-I.", "-Icompat")
    for unit in ("flow_engine.cpp", "testbench.cpp"):
        command = ["g++", *strict, "-c", unit, "-o", "unit.o"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_emission_depends_on_the_engine_alone() -> None:
    files = kernel_files(SMALL)
    assert files == kernel_files(Engine.from_json(SMALL.to_json()))
    assert list(files) == sorted(files)
    changed = kernel_files(replace(SMALL, sequence=9))
    assert {name for name in files if files[name] != changed[name]} == {"config.hpp"}
    packed = kernel_files(SMALL, packing=DSP_KINDS["DSP48E1"])
    assert {name for name in files if files[name] != packed[name]} == {"config.hpp"}


@pytest.mark.parametrize("name", list_boards())
def test_a_board_gets_the_kernel_and_its_scripts(name: str) -> None:
    board = load_board(name)
    files = hls_files(SMALL, board)
    assert [path for path in files if not path.startswith("hls/")] == ["lines.json"]
    assert f"DspSpacing = {board.product_spacing};".encode() in files["hls/config.hpp"]
    scripts = {path for path in files if not path.endswith((".hpp", ".cpp", ".h", ".json"))}
    expected = {"hls/csynth.tcl", "hls/kernel.xml", "hls/link.cfg"} if board.flow_target != "open" else set()
    assert scripts == expected


def test_scripts_name_the_arguments_of_the_top_function() -> None:
    context = vitis_context(SMALL, load_board("u250"))
    text = kernel_files(SMALL)["flow_engine.hpp"].decode()
    signature = re.search(r"flow_engine\((.*?)\);", text, re.DOTALL)
    assert signature is not None
    assert [a.name for a in context.arguments] == re.findall(
        r"[&*\s](\w+)(?:\[[^]]*\])?(?:,|\s*$)", signature[1]
    )
    source = kernel_files(SMALL)["flow_engine.cpp"].decode()
    ports = re.findall(r"mode=s_axilite port=(\w+) bundle=control offset=(0x\w+)", source)
    registers = [(a.name, a.offset) for a in context.arguments if a.offset]
    assert [(name, int(offset, 16)) for name, offset in ports] == registers


def test_vitis_scripts_need_an_hls_flow() -> None:
    with pytest.raises(FlowError) as caught:
        vitis_context(SMALL, load_board("ulx3s-85f"))
    assert str(caught.value) == (
        "ulx3s-85f: found the open flow; expected vitis or vivado; this board has no Vitis scripts"
    )


def test_stream_widths_that_no_kernel_can_have_are_refused() -> None:
    with pytest.raises(FlowError) as caught:
        replace(SMALL, stream_bytes=2)
    assert str(caught.value) == (
        f"engine {SMALL.tokens}x{SMALL.banks}x{SMALL.rows}: found 1 faults\n"
        "  - stream_bytes = 2: expected 4, 8, 16, 32 or 64"
    )


@pytest.mark.parametrize("path", HEADERS, ids=lambda path: path.name)
def test_headers_keep_the_house_rules(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0].startswith("// "), "a header begins with what it is for"
    assert "#pragma once" in lines
    code = "\n".join(line.split("//")[0] for line in lines)
    for banned in ("__SYNTHESIS__", "malloc", "dynamic_cast", "double", "float"):
        assert not re.search(rf"\b{banned}\b", code), banned
    if path.parent.name != "compat":
        assert not re.search(r"\bnew\b|\bvirtual\b|\bstd::(vector|deque|string|map)\b", code)
    for number, line in enumerate(lines):
        assert len(line) <= 120, f"line {number + 1}"
        if re.match(r"\s*(for|while) \(", line) and path.parent.name != "compat":
            assert re.match(r"\s*\w+_loop:$", lines[number - 1]), f"line {number + 1}: a loop without a label"
        if re.match(rf"\s*#pragma HLS ({PRAGMAS})", line):
            above = next(text for text in reversed(lines[:number]) if not text.strip().startswith("#pragma"))
            assert above.strip().startswith("//"), f"line {number + 1}: a pragma without its reason"


@pytest.mark.parametrize("name", sorted(p.name for p in asset_dir("templates").glob("*.j2")))
def test_templates_name_their_context(name: str) -> None:
    first = (asset_dir("templates") / name).read_text().splitlines()[0]
    found = re.fullmatch(r"\{# context: flow\.emit\.contexts\.(\w+), as ctx #\}", first)
    assert found is not None, first
    assert getattr(contexts, found[1]).__dataclass_params__.frozen


def extremes(engine: Engine, bench: NewBench) -> tuple[Bench, np.ndarray]:
    """A linear step whose packed sums are as large and as small as they get."""
    size = engine.banks
    weights = np.where(np.arange(size)[:, None] % 3 == 0, -128, 127) * np.ones((size, 2 * size), np.int64)
    weights[:, ::5] = 127
    encoded = encode(weights, banks=size, rows_per_group=engine.rows)
    table = constants(np.zeros(size, int), np.full(size, 2**14), np.full(size, 18))
    stream = pack(encoded, table, engine.beat_bytes)
    x = np.full((engine.sequence, 2 * size), 255)
    x[::2, ::3] = 0
    program = bench(engine, engine.sequence)
    program.input(x, Space.OPERAND0, 0, signed=False)
    program.step(
        Opcode.LINEAR, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=0, depth=2,
        row_groups=len(encoded.row_groups), weight_bits=8, page=encoded.page.pack(engine.beat_bytes), weights=stream,
        weight_beats=len(stream) // engine.beat_bytes, out_bits=16, out_signed=1, space=Space.STORE, base=0,
        out_depth=1,
    )  # fmt: skip
    program.output(Space.STORE, 0, 1, planes=2)
    return program, np.clip((x @ weights.T + 8) >> 4, -32767, 32767)


@pytest.mark.parametrize("kind", sorted(DSP_KINDS))
@pytest.mark.parametrize("tokens", [1, 8])
def test_packings_differ_in_nothing_but_primitives(
    kind: str, tokens: int, bench: NewBench, own_cache: Path
) -> None:
    engine = Engine(tokens, 16, 1, 1, 2, sequence=9, operand_depth=64, store_depth=64, depth=4)
    program, expected = extremes(engine, bench)
    assert own_cache.name == "cache"
    kernel = Kernel(engine, compile_kernel(kernel_files(engine, packing=DSP_KINDS[kind])))
    outcome = kernel.run(program.image(), program.stream())
    port = program.ports[0]
    np.testing.assert_array_equal(port.unpack(engine, outcome.output, 9, 9), expected)


def test_a_kernel_is_compiled_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_once = kernels._compile
    calls: list[Path] = []

    def counted(*arguments: Any) -> None:
        calls.append(arguments[-1])
        compile_once(*arguments)

    monkeypatch.setattr(kernels, "_compile", counted)
    first = compile_kernel(kernel_files(SMALL))
    assert compile_kernel(kernel_files(SMALL)) == first
    assert compile_kernel(kernel_files(replace(SMALL, sequence=9))) != first
    assert len(calls) == 2
    leftovers = {path.suffix for path in (own_cache / "csim").iterdir()} - {"", ".lock"}
    assert not leftovers


def test_without_a_compiler_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ToolError) as caught:
        compile_kernel(kernel_files(SMALL))
    assert str(caught.value) == (
        "g++: found none on PATH; expected g++ 9 or later for C simulation; install it "
        "(Debian and Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++)"
    )


def test_compile_errors_are_shown(own_cache: Path) -> None:
    files = kernel_files(SMALL) | {"config.hpp": b"#error out of order\n"}
    with pytest.raises(ToolError) as caught:
        compile_kernel(files)
    first, *rest = str(caught.value).splitlines()
    assert re.fullmatch(
        r"g\+\+: found \d+ errors in the kernel; expected C\+\+ that compiles; mend what it came from", first
    )
    assert rest[:3] == [
        "  - config.hpp:1:2 of flow: #error out of order",
        "        1 | #error out of order",
        "          |  ^~~~~",
    ]
    assert re.fullmatch(r"  and \d+ more", rest[-1])
    assert len(rest) < 15
    assert not list((own_cache / "csim").glob("*/testbench"))


def test_errors_without_a_line_are_shown_as_they_are(own_cache: Path) -> None:
    assert own_cache.name == "cache"
    files = kernel_files(SMALL)
    text = files["flow_engine.cpp"].decode()
    declared = text.replace("void flow_engine(", "void flow_engine_(")
    assert declared != text
    with pytest.raises(
        ToolError, match=r"^g\+\+: found errors in the kernel; expected it to compile; it said:\n"
    ) as caught:
        compile_kernel(files | {"flow_engine.cpp": declared.encode()})
    assert "undefined reference to `flow_engine'" in str(caught.value)


def test_an_unwritable_cache_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(ToolError) as caught:
        compile_kernel(kernel_files(SMALL))
    assert str(caught.value) == (
        f"{tmp_path}/file/csim: found Not a directory; expected a writable cache; set FLOW_CACHE_DIR to another folder"
    )


def script(folder: Path, body: str) -> Path:
    """A program in place of the test bench."""
    path = folder / "testbench"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("kill -SEGV $$", "csim: found signal 11; expected 0; the test bench said: nothing"),
        ("echo broken >&2; exit 3", "csim: found exit status 3; expected 0; the test bench said: broken"),
        (
            "echo empty >&2; exit 4",
            "csim: found a deadlock; expected every frame to come whole; the kernel said: empty",
        ),
        ("exec sleep 60", "{path}: found it running after 1 s; expected it to end; stopped it"),
    ],
)
def test_failed_simulations_are_messages(tmp_path: Path, body: str, message: str) -> None:
    assert shutil.which("sh")
    path = script(tmp_path, body)
    with pytest.raises(ToolError) as caught:
        Kernel(SMALL, path, timeout=1.0).run(b"", b"")
    assert str(caught.value) == message.format(path=path)


def test_frames_cut_short_are_a_deadlock(engines: Mapping[str, Engine], bench: NewBench) -> None:
    engine = engines["square"]
    program, _ = extremes(engine, bench)
    with pytest.raises(ToolError) as caught:
        Kernel.of(engine).run(program.image(), program.stream()[: -engine.stream_bytes])
    assert str(caught.value) == (
        "csim: found a deadlock; expected every frame to come whole; the kernel said: "
        "deadlock: read from the empty stream 'input stream'"
    )


def test_images_cut_short_are_refused(engines: Mapping[str, Engine], bench: NewBench) -> None:
    engine = engines["square"]
    program, _ = extremes(engine, bench)
    with pytest.raises(ToolError, match=r"exit status 2; .*image\.bin: shorter than its header says$"):
        Kernel.of(engine).run(program.image()[: -engine.beat_bytes], program.stream())


def test_a_kernel_error_names_the_step(engines: Mapping[str, Engine], bench: NewBench) -> None:
    from flow.engine import Program, Record

    engine = engines["square"]
    program = bench(engine, 1)
    program.step(Opcode.OUTPUT, source_space=3, source_base=0, planes=1, depth=1)
    records = (Record(Opcode.OUTPUT, {"source_space": 3}),)
    whole = Program(engine, records, program.image(), ("head",), (), (), 1)
    with pytest.raises(ToolError) as caught:
        run_frames(whole, [program.stream()], [1])
    assert str(caught.value) == (
        "csim: found status BAD_STEP at step 0 (head) after 0 frames; expected OK; lower the model again"
    )
