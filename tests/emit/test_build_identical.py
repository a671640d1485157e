"""The model is data: two models on one engine have one C++, which is compiled once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.boards import load_board
from flow.emit.lower import Lowered, lower


@pytest.fixture(scope="module")
def pair(models: Path) -> tuple[Lowered, Lowered]:
    """The HP model on the engine that fits it, whose banks its weights are balanced for; the dense one on it too."""
    board = load_board("pynq-z2")
    sparse = lower(models / "digits_vit_hp80.pt2", board)
    return lower(models / "digits_vit_dense.pt2", board, engine=sparse.engine), sparse


def test_one_engine_one_kernel(pair: tuple[Lowered, Lowered]) -> None:
    dense, sparse = pair
    assert dense.engine == sparse.engine
    assert dense.files.keys() == sparse.files.keys()
    kernel = [name for name in dense.files if name.startswith("hls/")]
    assert len([name for name in kernel if name.endswith((".cpp", ".hpp"))]) > 10
    assert {name for name in dense.files if dense.files[name] != sparse.files[name]} == {
        "graph.json",
        "reference.json",
        "report.json",
        "sim/expected.bin",
        "weights/arrays.safetensors",
        "weights/image.bin",
        "weights/image.hex",
    }
    cycles = [sum(m["cycles_per_tile"] for m in _matrices(lowered)) for lowered in pair]
    assert cycles[1] < 0.4 * cycles[0]


def _matrices(lowered: Lowered) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lowered.files["report.json"])["matrices"]
    return found


def test_one_compilation(
    flow: Callable[..., Any], models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache gains one kernel for the first build and none for the second."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    dense, sparse = tmp_path / "dense", tmp_path / "sparse"
    assert flow("lower", models / "digits_vit_hp80.pt2", "--board", "pynq-z2", "-o", sparse).status == 0
    assert flow("lower", models / "digits_vit_dense.pt2", "--engine", sparse, "-o", dense).status == 0
    kernels = []
    for build in (dense, sparse):
        outcome = flow("sim", build, "--samples", "5", "--json")
        assert outcome.json() == {
            "backend": "csim",
            "samples": 5,
            "outputs_compared": 50,
            "mismatches": 0,
        }
        kernels.append(sorted(p.name for p in (tmp_path / "cache" / "csim").iterdir() if p.is_dir()))
    assert kernels[0] == kernels[1]
    assert len(kernels[0]) == 1
    program = tmp_path / "cache" / "csim" / kernels[0][0] / "testbench"
    assert os.access(program, os.X_OK)


@pytest.mark.parametrize("kind", ["dense", "hp80"])
def test_the_same_bytes_again(models: Path, kind: str) -> None:
    """In one process, where caches are warm and objects live at other addresses."""
    model, board = models / f"digits_vit_{kind}.pt2", load_board("ulx3s-85f")
    first, second = lower(model, board), lower(model, board)
    assert first.manifest == second.manifest
    assert dict(first.files) == dict(second.files)
    assert list(first.files) == list(second.files)
    assert first.files["weights/image.bin"]
