"""The bundled models on their test images: compiled C++ equal to golden in every bit of every output."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

IMAGES, CLASSES = 360, 10
CHANGED_VERDICTS = 4
COMBINATIONS = [
    pytest.param(board, kind, marks=() if (board, kind) == ("pynq-z2", "hp80") else pytest.mark.slow)
    for board in ("u250", "pynq-z2", "ulx3s-85f")
    for kind in ("dense", "hp80")
]


@pytest.mark.parametrize(("board", "kind"), COMBINATIONS)
def test_every_image(flow: Callable[..., Any], models: Path, tmp_path: Path, board: str, kind: str) -> None:
    build = tmp_path / "build"
    lowered = flow("lower", models / f"digits_vit_{kind}.pt2", "--board", board, "-o", build)
    assert (lowered.status, lowered.err) == (0, "")
    simulated = flow("sim", build, "--backend", "csim", "--inputs", models / "digits_test.npz", "--json")
    assert (simulated.status, simulated.err) == (0, "")
    report = simulated.json()
    accuracy, float_accuracy = report.pop("accuracy"), report.pop("float_accuracy")
    assert report == {
        "backend": "csim",
        "samples": IMAGES,
        "outputs_compared": IMAGES * CLASSES,
        "mismatches": 0,
    }
    assert float_accuracy > 0.9
    assert abs(round(IMAGES * (accuracy - float_accuracy))) <= CHANGED_VERDICTS


def test_verdicts_of_the_dense_model(flow: Callable[..., Any], models: Path, tmp_path: Path) -> None:
    """Golden needs no board's engine to be compiled."""
    build = tmp_path / "build"
    assert flow("lower", models / "digits_vit_dense.pt2", "--board", "pynq-z2", "-o", build).status == 0
    arguments = ("--backend", "golden", "--inputs", models / "digits_test.npz", "--json")
    report = flow("sim", build, *arguments).json()
    assert report["samples"] == IMAGES
    assert report["float_accuracy"] > 0.9
    assert abs(round(IMAGES * (report["accuracy"] - report["float_accuracy"]))) <= CHANGED_VERDICTS
