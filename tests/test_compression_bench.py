"""The parts of the compression evidence that can be checked without training."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

BENCH = Path(__file__).resolve().parent.parent / "tools" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a bench by name, as the scripts do."""
    monkeypatch.syspath_prepend(str(BENCH))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_an_interval_is_students(bench: Any) -> None:
    found = bench("paired").interval([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert found.high - found.mean == pytest.approx(3.18245 * (5 / 3) ** 0.5 / 2, rel=1e-5)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)


def test_one_value_has_no_interval(bench: Any) -> None:
    with pytest.raises(ValueError, match=r"^interval: found 1 values; expected two at least$"):
        bench("paired").interval([1.0])


def test_every_image_is_tested_once_by_a_model_that_never_saw_it(bench: Any) -> None:
    folds = bench("digits_vit").folds()
    tested = np.concatenate([fold.test.numbers for fold in folds])
    assert sorted(tested) == list(range(1797))
    for fold in folds:
        assert not set(fold.test.numbers) & set(fold.train.numbers)
        assert len(fold.test.numbers) + len(fold.train.numbers) == 1797


def test_the_quick_forward_pass_is_the_modules(bench: Any) -> None:
    import torch

    vit = bench("digits_vit")
    weights = vit.initial(3)
    torch.manual_seed(3)
    module = bench("train_digits").DigitsViT().eval()
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(vit.forward(weights, images), module(images), rtol=1e-4, atol=1e-5)


def test_pruned_training_keeps_what_its_plan_promises_and_repeats_itself(bench: Any) -> None:
    import torch

    torch.set_num_threads(1)
    vit, pruning = bench("digits_vit"), bench("digits_pruning")
    options = pruning.PruneOptions(scheme="hp", sparsity=0.8, banks=8, block_rows=16)
    train = vit.folds()[0].train
    few = vit.Images(train.images[:64], train.labels[:64], train.numbers[:64])
    recipe = vit.Recipe(
        epochs=2, rate=0.01, other_rate=3e-3, batch=16, warm=2, average=0.9, ramp=0.5, stages=2
    )
    dense = vit.initial(0)
    pool = pruning.make_pool(few, dense, 1, 0)
    first, second = (pruning.train_pruned(dense, pool, options, recipe, 0) for _ in range(2))
    plan, masks = pruning.masks_for(first, options)
    kept = sum(int(first[name].count_nonzero()) for name in masks)
    assert kept == round(plan.density * sum(mask.numel() for mask in masks.values()))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_stacked_samples_give_the_executors_integers(bench: Any) -> None:
    from flow.compress.prepare import prepare
    from flow.compress.quantize import QuantizeOptions
    from flow.passes.to_integers import to_integers

    vit, digits, batch = bench("digits_vit"), bench("compression_digits"), bench("golden_batch")
    graph = vit.graph_of(vit.initial(1))
    samples = digits.samples(vit.folds()[0].train, 6)
    integers = to_integers(prepare(graph, samples, QuantizeOptions()).quantized())
    found = batch.execute_all(integers, samples)
    batch.compared(integers, samples, found)
    (output,) = integers.outputs
    found[4][output] = found[4][output] + 1
    with pytest.raises(AssertionError, match=r": the stacked run differs from the executor's"):
        batch.compared(integers, samples, found)


def test_a_table_is_replaced_between_its_markers(bench: Any) -> None:
    tables = bench("compression_tables")
    text = "a\n<!-- table x -->\nold\n<!-- end -->\nb\n<!-- table y -->\n<!-- end -->\n"
    assert tables.replaced(text, "x", "new") == text.replace("old\n", "\nnew\n\n")
    with pytest.raises(ValueError, match=r"^compression\.md: found 0 places for table z; expected one$"):
        tables.replaced(text, "z", "new")


def test_the_document_has_a_place_for_every_table(bench: Any) -> None:
    tables = bench("compression_tables")
    text = tables.DOCUMENT.read_text()
    for name in tables.TABLES:
        tables.replaced(text, name, "new")


def test_another_model_than_the_pinned_one_is_refused(bench: Any, tmp_path: Path) -> None:
    minilm = bench("compression_minilm")
    with pytest.raises(
        minilm.MissingError, match=r"model\.safetensors: not found; expected the files of gt-all-"
    ):
        minilm.model_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other")
    with pytest.raises(
        minilm.MissingError, match=rf"found sha256 .*; expected {minilm.MODEL_SHA256}, as in gt-all"
    ):
        minilm.model_folder(tmp_path)


def test_the_lists_of_sentences_are_disjoint(bench: Any) -> None:
    import json

    lists = json.loads(bench("sentences").HASHES.read_text())
    assert {name: len(hashes) for name, hashes in lists.items()} == {
        "calibration": 64,
        "held_out": 200,
        "train": 4000,
        "long_held_out": 200,
        "long_calibration": 43,
    }
    every = [h for hashes in lists.values() for h in hashes]
    assert len(set(every)) == len(every)
