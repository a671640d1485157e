"""The bundled models are what models/README.md says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from flow.compress.schemes.hp import bank_counts
from flow.frontend import load
from flow.golden import execute
from flow.ir import Graph
from flow.ops.linear import Linear
from flow.passes import recognise
from flow.passes.integerise import Integerise

MODELS = Path(__file__).parents[2] / "models"
IMAGES = 90


@pytest.fixture(scope="module", params=["dense", "hp80"])
def model(request: pytest.FixtureRequest) -> tuple[str, Graph]:
    name: str = request.param
    return name, Integerise()(recognise(load(MODELS / f"digits_vit_{name}.pt2")))


def test_integer_accuracy(model: tuple[str, Graph]) -> None:
    name, graph = model
    (output,) = graph.outputs
    with np.load(MODELS / "digits_test.npz") as data:
        assert data["image"].shape == (360, 1, 8, 8)
        assert data["image"].dtype == np.float32
        images, labels = data["image"][:IMAGES], data["labels"][:IMAGES]
    verdicts = [int(execute(graph, {"image": image[None]})[output].argmax()) for image in images]
    assert float(np.mean(verdicts == labels)) >= {"dense": 0.97, "hp80": 0.93}[name]


def test_encoder_weights_are_dense_or_balanced_for_eight_banks(model: tuple[str, Graph]) -> None:
    name, graph = model
    weights = [node.op.weight for node in graph if isinstance(node.op, Linear)]
    encoder = weights[1:-1]  # between patch embedding and head
    assert [w.shape for w in encoder[:6]] == [(64, 64)] * 4 + [(256, 64), (64, 256)]
    assert len(encoder) == 24
    density = sum(np.count_nonzero(w) for w in encoder) / sum(w.size for w in encoder)
    if name == "dense":
        assert density > 0.98
        return
    assert 0.18 < density <= 0.2
    for weight in encoder:
        assert bank_counts(weight, 8).max() == (3 if weight.shape[1] == 256 else 2)


def test_the_table_names_both_files_and_their_sizes() -> None:
    text = (MODELS / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(digits_vit_\w+\.pt2)` \| (\d+) \|", text, flags=re.MULTILINE))
    assert {name: int(size) for name, size in rows.items()} == {
        path.name: path.stat().st_size for path in MODELS.glob("*.pt2")
    }
    assert max(int(size) for size in rows.values()) < 1_000_000
