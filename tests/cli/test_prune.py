"""`flow prune` on the command line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Flow = Callable[..., Any]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "x.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(20, 5, 6)).astype(np.float32))
    return path


def test_prune_quantize_lower(flow: Flow, float_model: Path, samples: Path, tmp_path: Path) -> None:
    pruned, model, build = tmp_path / "pruned.pt2", tmp_path / "model.pt2", tmp_path / "build"
    arguments = (
        "prune",
        float_model,
        "--sparsity",
        "0.5",
        "--banks",
        "4",
        "--block-rows",
        "8",
        "--data",
        samples,
    )
    report = flow(*arguments, "-o", pruned, "--distill-steps", "4", "--json").json()
    assert (report["scheme"], report["banks"], report["samples"], report["measured_samples"]) == (
        "hp",
        4,
        17,
        3,
    )
    assert report["sparsity"] == report["density"] == report["density_promised"] == 0.5
    assert len(report["matrices"]) == 6
    assert report["loss"] > 0
    assert flow("quantize", pruned, "--calibrate", samples, "-o", model).status == 0
    assert flow("lower", model, "--board", "ulx3s-85f", "--set", "engine.banks=4", "-o", build).status == 0
    found = {m["step"]: m["density"] for m in flow("report", build, "--json").json()["matrices"]}
    assert sum(0.45 < density <= 0.5 for density in found.values()) == 6  # small weights round to 0


def test_without_data(flow: Flow, float_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "pruned.pt2"
    outcome = flow("prune", float_model, "--sparsity", "0.5", "--board", "pynq-z2", "-o", output)
    assert outcome.status == 0
    lines = outcome.out.splitlines()
    assert (
        lines[0]
        == f"{output}: hp, 6 matrices, sparsity 0.5000 (promised 0.5000) for 8 banks, blocks of 16 rows"
    )
    assert lines[1] == "banks     pynq-z2 8"
    assert outcome.err == (
        "note: without --data: chosen by magnitude alone, nothing reconstructed; samples of the model's inputs would "
        "buy scores that know the activations, least squares and distillation\n"
    )


def refuse(flow: Flow, *arguments: object) -> str:
    outcome = flow("prune", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    message: str = outcome.err.removeprefix("error: ").removesuffix("\n")
    return message


def test_refusals(flow: Flow, float_model: Path, models: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.pt2"
    quantized = models / "digits_vit_dense.pt2"
    assert refuse(flow, quantized, "--sparsity", "0.5", "-o", output) == (
        f"{quantized}: found a model that is quantized already; expected a float model; prune it before "
        "`flow quantize`"
    )
    assert refuse(flow, float_model, "--sparsity", "1", "-o", output) == (
        "prune options: found 1 values out of range; choose others\n"
        "  - sparsity: found 1.0; expected at least 0 and less than 1"
    )
    assert refuse(flow, float_model, "--sparsity", "0.6", "--banks", "8", "-o", output) == (
        "model, --sparsity 0.6: found 0.5625 as the nearest that scheme hp gives on 8 banks; expected a sparsity that "
        "it can express; choose one (expressible: 0.5625) or other --banks"
    )
    steps = ("--distill-steps", "3", "--train-steps", "3")
    assert refuse(flow, float_model, "--sparsity", "0.5", *steps, "-o", output) == (
        "flow prune: found both --distill-steps and --train-steps; expected one of them; training with labels mixes "
        "the dense model's answers in already"
    )
    both = ("--board", "pynq-z2", "--banks", "4")
    assert refuse(flow, float_model, "--sparsity", "0.5", *both, "-o", output) == (
        "flow prune: found both --board and --banks; expected one of them; boards choose the banks that serve all"
    )
    assert refuse(flow, float_model, "--sparsity", "0.5", "-o", tmp_path) == (
        f"{tmp_path}: found a directory; expected a writable place; choose another with -o"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_torch(
    flow: Flow, float_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refuse(flow, float_model, "--sparsity", "0.5", "-o", tmp_path / "out.pt2") == (
        "flow prune: found no torch; expected torch 2.10 or newer; pip install 'flow-hls[train]'"
    )


def test_sparsity_of_nothing_changes_nothing(flow: Flow, float_model: Path, tmp_path: Path) -> None:
    report = flow("prune", float_model, "--sparsity", "0", "-o", tmp_path / "out.pt2", "--json").json()
    assert report["density"] == 1.0
