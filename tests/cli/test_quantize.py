"""`flow quantize`, and the way from a float model to a simulated build."""

from __future__ import annotations

import re
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
    model, wide, build = tmp_path / "model.pt2", tmp_path / "wide.pt2", tmp_path / "build"
    report = flow(
        "quantize", float_model, "--calibrate", samples, "-o", model, "--samples", "16", "--json"
    ).json()
    assert (report["samples"], report["checked_samples"], report["weights"]) == (16, 16, 8)
    assert report["sqnr_db"]["output"] > 25
    assert report["cosine"]["output"] > 0.99
    assert report["cycles"] > 0
    assert report["engine"] == "reference engine, T=8 B=32 P=8"
    worst = min((edge for edge in report["edges"]), key=lambda edge: edge["own_db"])
    assert report["worst_edge"] == worst["edge"]
    shown = flow(
        "quantize", float_model, "--calibrate", samples, "-o", tmp_path / "again.pt2", "--samples", "16"
    )
    assert f"worst edge: {worst['edge']}, {worst['own_db']:.1f} dB by itself" in shown.out.splitlines()
    assert (
        f"{tmp_path}/again.pt2: 8 weight matrices and {report['activations']} activations quantized on 16 samples; "
        f"{report['cycles']:,} cycles (reference engine, T=8 B=32 P=8)"
    ) in shown.out.splitlines()
    assert (tmp_path / "again.pt2").read_bytes() == model.read_bytes()
    flow(
        "quantize", float_model, "--calibrate", samples, "-o", wide, "--weight-bits", "4", "--index-bits", "11",
        "--table-bits", "16", "--input-bits", "16", "--exp-bits", "16",
    )  # fmt: skip
    assert flow("lower", wide, "--board", "ulx3s-85f", "-o", build).status == 0
    assert flow("lower", model, "--engine", build, "-o", tmp_path / "narrow").status == 0
    for lowered in (build, tmp_path / "narrow"):
        result = flow("sim", lowered, "--inputs", samples, "--json").json()
        assert result == {"backend": "csim", "samples": 20, "outputs_compared": 60, "mismatches": 0}


def test_an_error_budget(flow: Flow, float_model: Path, samples: Path, tmp_path: Path) -> None:
    def quantize(budget: str, *more: str) -> Any:
        output = tmp_path / "model.pt2"
        return flow(
            "quantize", float_model, "--calibrate", samples, "-o", output, "--error-budget", budget, *more
        )

    outcome = quantize("70dB", "--json", "--finetune-steps", "2", "--board", "ulx3s-85f")
    report = outcome.json()
    assert outcome.status == 1
    assert report["widths"]["met"] is False
    assert report["widths"]["budget"] == "70dB"
    assert report["widths"]["cycles"] == report["cycles"] > report["widths"]["narrow_cycles"]
    assert {tuple(row["bits"]) for row in report["widths"]["bought"]} >= {(8, 16)}
    assert (report["samples"], report["checked_samples"]) == (15, 5)
    assert report["finetune_loss"]["after"] <= report["finetune_loss"]["before"]
    assert report["engine"].startswith("ulx3s-85f, T=")
    assert (tmp_path / "model.pt2").is_file()
    outcome = quantize("0.9")
    assert outcome.status == 0
    (line,) = (line for line in outcome.out.splitlines() if line.startswith("budget "))
    assert re.fullmatch(r"budget cosine 0\.9: met; [\d,]+ cycles before", line)
    assert refuse(flow, float_model, "--calibrate", samples, "-o", "x.pt2", "--error-budget", "2") == (
        "--error-budget: found '2'; expected an SQNR such as 24dB, or a cosine between 0 and 1 such as 0.998"
    )


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
