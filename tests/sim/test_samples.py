"""`.npz` inputs of models with token ids and masks; those of images are tested with `flow sim`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow.errors import FlowError
from flow.golden.samples import load_samples
from flow.ir import Graph, TensorType
from flow.ops.aten import Aten, Ref
from flow.ops.source import Constant, Input

ROWS, TOKENS = 11, 6
IDS = np.arange(4 * TOKENS).reshape(4, TOKENS) % ROWS
MASK = np.arange(TOKENS) < np.array([6, 1, 3, 2])[:, None]


@pytest.fixture
def graph() -> Graph:
    graph = Graph("language")
    kind, vectors = TensorType((1, TOKENS), "int64"), TensorType((1, TOKENS, 4), "float32")
    ids = graph.add("input_ids", Input("input_ids", kind))
    graph.add("attention_mask", Input("attention_mask", kind))
    table = graph.add("words.weight", Constant(np.zeros((ROWS, 4), np.float32), "words.weight"))
    arguments = {"weight": Ref(0), "indices": Ref(1), "padding_idx": -1}
    words = graph.add("words", Aten("aten.embedding.default", arguments, (vectors,)), [table, ids])
    graph.set_output("words", words)
    return graph


def test_read(graph: Graph, tmp_path: Path) -> None:
    """One mapping a sample, batch of 1 and the model's types included; a boolean mask will do."""
    np.savez(tmp_path / "x.npz", input_ids=IDS.astype(np.uint8), attention_mask=MASK, labels=["a"])
    found = load_samples(tmp_path / "x.npz", graph)
    assert found.labels is None  # calibration has no use for them
    assert len(found.samples) == 4
    for i, sample in enumerate(found.samples):
        assert {key: (a.shape, str(a.dtype)) for key, a in sample.items()} == {
            "input_ids": ((1, TOKENS), "int64"),
            "attention_mask": ((1, TOKENS), "int64"),
        }
        assert np.array_equal(sample["input_ids"][0], IDS[i])
        assert np.array_equal(sample["attention_mask"][0], MASK[i])


HOLE, SCALED = MASK.copy(), MASK * 1
HOLE[1:3] = [1, 0, 1, 0, 0, 0]
SCALED[2] *= 2
FORM = "expected at least one 1, then only 0"
CASES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"attention_mask": HOLE}, (f"attention_mask: found another form in sample 1 and 1 more; {FORM}",)),
    ({"attention_mask": MASK * 0}, (f"attention_mask: found another form in sample 0 and 3 more; {FORM}",)),
    ({"attention_mask": SCALED}, (f"attention_mask: found another form in sample 2; {FORM}",)),
    (
        {"attention_mask": MASK[:, ::-1]},
        (f"attention_mask: found another form in sample 1 and 2 more; {FORM}",),
    ),
    ({"attention_mask": MASK * 1.0}, ("attention_mask: found float64; expected int64",)),
    ({"input_ids": IDS + 1}, ("input_ids: found token ids 1 to 11; expected 0 to 10",)),
    ({"input_ids": IDS - 1}, ("input_ids: found token ids -1 to 9; expected 0 to 10",)),
    (
        {"input_ids": np.full((4, TOKENS), 2**64 - 1, np.uint64)},
        ("input_ids: found values that int64 cannot hold; expected int64",),
    ),
    (
        {"input_ids": IDS[:2]},
        (
            (
                "found different numbers of samples (2 of input_ids, 4 of attention_mask); "
                "expected as many of each"
            ),
        ),
    ),
    (
        {"input_ids": IDS.T, "attention_mask": MASK[0]},
        (
            "input_ids: found shape [6, 4]; expected [samples, 6]",
            "attention_mask: found shape [6]; expected [samples, 6]",
        ),
    ),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_refused(graph: Graph, tmp_path: Path, case: int) -> None:
    arrays, lines = CASES[case]
    path = tmp_path / "x.npz"
    np.savez(path, **{"input_ids": IDS, "attention_mask": MASK, **arrays})
    with pytest.raises(FlowError) as caught:
        load_samples(path, graph)
    listed = "".join(f"\n  - {line}" for line in lines)
    assert str(caught.value) == f"{path}: found inputs that do not fit the model{listed}"


def test_labels_of_what_is_no_classifier(graph: Graph, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, input_ids=IDS, attention_mask=MASK, labels=np.zeros(4, np.int64))
    with pytest.raises(FlowError) as caught:
        load_samples(path, graph, labelled=True)
    assert str(caught.value) == (
        f"{path}: found inputs that do not fit the model\n"
        "  - labels: found labels for output words of shape [1, 6, 4]; expected scores [1, classes]"
    )
