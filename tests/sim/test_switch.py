"""Two pattern sets over the same stored weights: another code table, and nothing else, between two runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from flow.emit.build import Build, manifest_of, tree_of, write_build
from flow.emit.lower import lay_out
from flow.emit.switch import LoadedPage, Switched, code_pages, switch_tables
from flow.engine import Engine
from flow.errors import FlowError
from flow.formats import CodePage
from flow.golden.stimulus import stimulus
from flow.ir import Array
from flow.ops.examples import linear_graph
from flow.ops.linear import Linear
from flow.sim.rtl import build_model
from flow.sim.simulate import simulate

SAMPLES = 6


def mirrored(page: CodePage) -> CodePage:
    """Every subset turned round: member m becomes V - 1 - m."""
    return CodePage(
        tuple(
            replace(
                shape,
                table=tuple(tuple(shape.width - 1 - m for m in reversed(entry)) for entry in shape.table),
            )
            if shape.table is not None and shape.stride
            else shape
            for shape in page.shapes
        )
    )


def patterned(build: Build) -> LoadedPage:
    """The one page of the bundled HP model that holds a table: 2 of 6, of four layers."""
    (page,) = (page for page in code_pages(build.program) if mirrored(page.page) != page.page)
    return page


@pytest.fixture(scope="module")
def switched(digits_build: Path) -> Switched:
    build = Build.open(digits_build)
    page = patterned(build)
    return switch_tables(build, dict.fromkeys(page.steps, mirrored(page.page)))


@pytest.fixture(scope="module")
def other(switched: Switched, tmp_path_factory: pytest.TempPathFactory) -> Build:
    path = tmp_path_factory.mktemp("switched") / "build"
    write_build(path, switched.files, switched.manifest)
    return Build.open(path)


def weights(build: Build) -> dict[str, Array]:
    return {node.name: node.op.weight for node in build.graph if isinstance(node.op, Linear)}


def test_only_the_table_differs(digits_build: Path, switched: Switched, other: Build) -> None:
    build = Build.open(digits_build)
    page = patterned(build)
    assert [(s.width, s.take, s.entries) for s in page.page.shapes] == [(6, 2, 15)]
    (patch,) = switched.patches
    assert patch == (page.offset, mirrored(page.page).pack(8))
    end = page.offset + len(patch[1])
    before, after = build.program.image, other.program.image
    assert before[: page.offset] + patch[1] + before[end:] == after != before
    assert other.program.records == build.program.records
    assert {name for name, data in switched.files.items() if data != build.read(name)} == {
        "graph.json",
        "reference.json",
        "sim/expected.bin",
        "weights/arrays.safetensors",
        "weights/image.bin",
        "weights/image.hex",
    }
    assert other.manifest["options"] == {**build.manifest["options"], "switched": sorted(page.steps)}


def test_golden_has_the_weights_that_the_table_implies(digits_build: Path, other: Build) -> None:
    """Four layers' rows hold the same numbers on other columns: mirrored within groups of six kept ones."""
    build = Build.open(digits_build)
    old, new = weights(build), weights(other)
    moved = {name for name in old if not np.array_equal(old[name], new[name])}
    assert len(moved) == 4
    for name in moved:
        assert np.array_equal(np.sort(old[name], axis=1), np.sort(new[name], axis=1))


def test_both_runs_equal_golden_and_differ(digits_build: Path, other: Build) -> None:
    results = []
    for build in (Build.open(digits_build), other):
        report = simulate(build, "csim", stimulus(build.graph, SAMPLES, seed=3), trace=True)
        assert (report.mismatches, report.outputs_compared) == (0, SAMPLES * 10)
        assert len(report.sqnr) > 20
        results.append(report.outputs["output__int"])
    assert (results[0] != results[1]).mean() > 0.9


@pytest.mark.slow
def test_the_verilog_engine_switches_too(digits_build: Path, other: Build) -> None:
    """The engine has no trace of either set: one model, the same records and weights, and golden of both."""
    builds, results = (Build.open(digits_build), other), []
    assert build_model(builds[0]) == build_model(builds[1])
    for build in builds:
        report = simulate(build, "rtl", stimulus(build.graph, 2, seed=3))
        assert (report.mismatches, report.outputs_compared) == (0, 2 * 10)
        results.append(report.outputs["output__int"])
    assert (results[0] != results[1]).mean() > 0.9


def test_a_driver_switches_between_two_runs(digits_build: Path, switched: Switched, tmp_path: Path) -> None:
    """One LOAD: frames, the patch into the image, the same frames again."""
    build = Build.open(digits_build)
    ((offset, patch),) = switched.patches
    (tmp_path / "patch").write_bytes(patch)
    headers, here = digits_build / "hls", Path(__file__).parent
    compiler = shutil.which("g++")
    assert compiler is not None
    sources = [headers / "flow_engine.cpp", here / "switch_main.cpp"]
    command: list[str | Path] = [
        compiler,
        "-std=c++14",
        "-O0",
        f"-I{headers}",
        f"-I{headers}/compat",
        *sources,
    ]
    subprocess.run([*command, "-o", tmp_path / "main"], check=True, timeout=300)
    frames = [digits_build / "weights/image.bin", digits_build / "sim/input.bin", tmp_path / "output"]
    subprocess.run([tmp_path / "main", *frames, str(offset), tmp_path / "patch"], check=True, timeout=300)
    expected = build.read("sim/expected.bin"), switched.files["sim/expected.bin"]
    assert expected[0] != expected[1]
    assert (tmp_path / "output").read_bytes() == b"".join(expected)


def test_switching_back_gives_the_first_build(digits_build: Path, other: Build) -> None:
    build = Build.open(digits_build)
    page = patterned(build)
    back = switch_tables(other, dict.fromkeys(page.steps, page.page))
    assert back.files["weights/image.bin"] == build.program.image
    assert back.files["sim/expected.bin"] == build.read("sim/expected.bin")
    assert back.files["report.json"] == build.read("report.json")
    same = switch_tables(build, dict.fromkeys(page.steps, page.page))
    assert same.patches == ()


def small_build(folder: Path, matrix: Array) -> Build:
    """A build of one linear step with these weights on four banks."""
    rows, channels = matrix.shape
    graph = linear_graph(tokens=3, channels=channels, rows=rows)
    (node,) = (node for node in graph if isinstance(node.op, Linear))
    assert isinstance(node.op, Linear)
    graph.replace_op(node.name, replace(node.op, weight=matrix))
    program = lay_out(
        graph, Engine(4, 4, 2, 1, 1, beat_bytes=16, sequence=8, depth=256, store_depth=2048)
    ).program
    files = {**tree_of(graph, graph, program), "report.json": b"{}"}
    model = {"model": {"name": "small", "sha256": "0" * 64}, "board": "pynq-z2", "options": {}}
    write_build(folder, files, json.loads(json.dumps(manifest_of(program, model, files))))
    return Build.open(folder)


def two_of_five(channels: int) -> Array:
    """Every (row, bank) of 20 columns keeps 2 of 5, in every way; `channels` below 20 cut the last ones off."""
    rng = np.random.default_rng(0)
    kept = rng.random((80, 5, 4)).argsort(axis=1) < 2
    matrix: Array = np.where(kept.reshape(80, 20), 100, 0).astype(np.int8)[:, :channels]
    return matrix


def refused(build: Build, pages: dict[str, CodePage]) -> str:
    with pytest.raises(FlowError) as caught:
        switch_tables(build, pages)
    first, _, rest = str(caught.value).partition("\n  - ")
    assert first == (
        f"{build.path}: found code pages that its weights cannot use; expected the shapes of the pages in force; "
        "correct the tables"
    )
    return rest


def test_pages_that_do_not_fit_are_refused_together(digits_build: Path) -> None:
    build = Build.open(digits_build)
    page = patterned(build)
    first, *others = page.steps
    (shape,) = page.page.shapes
    assert shape.table is not None
    fewer = CodePage((replace(shape, table=shape.table[:14]),))
    lone = {"nowhere": page.page, first: mirrored(page.page), others[0]: fewer}
    steps = ", ".join(name for loaded in code_pages(build.program) for name in loaded.steps)
    assert refused(build, lone).split("\n  - ") == [
        f"nowhere: found no such step; expected one of {steps}",
        f"{first}: found a page that {', '.join(others)} shares; expected the same new page for all of them",
        f"{others[0]}: found V=6 K=2 stride=6 with 14 entries; expected V=6 K=2 stride=6 with 15 entries",
    ]


def test_weights_stay_off_padding(tmp_path: Path) -> None:
    build = small_build(tmp_path / "build", two_of_five(18))
    (page,) = code_pages(build.program)
    assert [(s.width, s.take, s.stride) for s in page.page.shapes] == [(5, 2, 5)]
    assert refused(build, {"y": mirrored(page.page)}) == (
        "y: found weights on padding columns; expected them on the 18 channels"
    )


def test_two_weights_on_one_column_stay_in_range(tmp_path: Path) -> None:
    """2 of 4 beside 2 of 11 make groups of 11, of which the first repeats its last column where it has none."""
    rng = np.random.default_rng(0)
    picks = [rng.random((1024, width, 4)).argsort(axis=1) < 2 for width in (4, 11)]
    matrix = np.concatenate(picks, axis=1).reshape(1024, 60) * np.int8(100)
    build = small_build(tmp_path / "build", matrix)
    (page,) = code_pages(build.program)
    assert [(s.width, s.take, s.stride, s.entries) for s in page.page.shapes] == [(11, 2, 11, 55)]
    assert refused(build, {"y": mirrored(page.page)}) == (
        "y: found weights that add up beyond 127 on one column; expected one weight on each"
    )


def test_shared_columns_have_no_patterns(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    matrix: Array = np.where(rng.random((256, 32)) < 0.4, 9, 0).astype(np.int8)
    build = small_build(tmp_path / "build", matrix)
    (page,) = code_pages(build.program)
    shapes = [replace(s, table=tuple(reversed(s.table))) if s.table else s for s in page.page.shapes]
    assert any(shape.table is not None and not shape.stride for shape in shapes)
    assert refused(build, {"y": CodePage(tuple(shapes))}) == (
        "y: found another table for groups that share columns; expected one for disjoint groups"
    )
