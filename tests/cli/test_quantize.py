"""`flow quantize`, and the way from a float model to a simulated build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Flow = Callable[..., Any]


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("samples") / "x.npz"
    np.savez(path, x=np.random.default_rng(0).normal(size=(20, 5, 6)).astype(np.float32))
    return path


def test_float_model_to_hardware(flow: Flow, float_model: Path, samples: Path, tmp_path: Path) -> None:
    model, build = tmp_path / "model.pt2", tmp_path / "build"
    report = flow(
        "quantize", float_model, "--calibrate", samples, "-o", model, "--samples", "16", "--json"
    ).json()
    assert (report["samples"], report["weights"]) == (16, 8)
    assert report["sqnr_db"]["output"] > 30
    shown = flow(
        "quantize", float_model, "--calibrate", samples, "-o", tmp_path / "again.pt2", "--samples", "16"
    )
    assert shown.out.splitlines()[0] == (
        f"{tmp_path}/again.pt2: 8 weight matrices and {report['activations']} activations quantized on 16 samples"
    )
    assert (tmp_path / "again.pt2").read_bytes() == model.read_bytes()
    assert flow("lower", model, "--board", "ulx3s-85f", "-o", build).status == 0
    result = flow("sim", build, "--inputs", samples, "--json").json()
    assert result == {"backend": "csim", "samples": 20, "outputs_compared": 60, "mismatches": 0}


def refuse(flow: Flow, *arguments: object) -> str:
    outcome = flow("quantize", *arguments)
    assert (outcome.status, outcome.out) == (2, "")
    message: str = outcome.err.removeprefix("error: ").removesuffix("\n")
    return message


def test_refusals(flow: Flow, float_model: Path, models: Path, samples: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.pt2"
    quantized = models / "digits_vit_dense.pt2"
    assert refuse(flow, quantized, "--calibrate", models / "digits_test.npz", "-o", output) == (
        f"{quantized}: found a model that is quantized already; expected a float model; "
        "give it to `flow lower` as it is"
    )
    assert refuse(flow, float_model, "--calibrate", models / "digits_test.npz", "-o", output) == (
        f"{models}/digits_test.npz: found inputs that do not fit the model\n"
        "  - x: missing; expected shape [samples, 5, 6]\n"
        "  - image: not an input of the model; expected x"
    )
    assert refuse(flow, float_model, "--calibrate", tmp_path / "no.npz", "-o", output) == (
        f"{tmp_path}/no.npz: found No such file or directory; expected a readable .npz file"
    )
    assert refuse(flow, float_model, "--calibrate", samples, "-o", tmp_path) == (
        f"{tmp_path}: found a directory; expected a writable place; choose another with -o"
    )
    gone = tmp_path / "gone" / "out.pt2"
    assert refuse(flow, float_model, "--calibrate", samples, "-o", gone) == (
        f"{gone}: found no directory {gone.parent}; expected a writable place; choose another with -o"
    )
    assert list(tmp_path.iterdir()) == []
