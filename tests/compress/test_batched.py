"""A batch of packed tokens computes what the executor computes sample by sample, on every kind of transformer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from flow.compress.batched import Batched
from flow.compress.calibrate import calibrate
from flow.compress.matrices import with_constants
from flow.compress.moments import input_norms
from flow.compress.oneshot import batches_of, one_shot
from flow.compress.plan import PruneOptions
from flow.compress.quantize import quantize
from flow.frontend.pt2 import read_pt2
from flow.golden import execute
from flow.ir import Array, Graph, Node
from flow.ops.source import Constant
from flow.passes import recognise
from flow.passes.to_integers import to_integers
from tests.transformers import zoo
from tests.transformers.specs import Spec, covering, describe

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]
SPECS = covering(8, seed=13)[:5]
CLOSE = 1e-4
"""Relative to the largest value: float32 sums in another order."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def compare(graph: Graph, samples: list[dict[str, Array]]) -> int:
    """Checks all outputs on all real tokens; returns how many samples ended before S."""
    model = Batched(graph)
    batch = model.batch(samples)
    with torch.no_grad():
        found = model.finish(batch, model.run(batch))
    lengths = model.lengths(samples)
    for i, sample in enumerate(samples):
        for name, exact in execute(graph, sample).items():
            y = found[name][i].numpy()
            assert y.shape == exact.shape
            if model.masked and exact.ndim >= 2 and exact.shape[-2] == model.tokens:
                y = y[..., : lengths[i], :]
            real = exact[..., : y.shape[-2], :] if exact.ndim >= 2 else exact
            np.testing.assert_allclose(y, real, atol=CLOSE * max(1.0, np.abs(real).max()))
    return sum(n < model.tokens for n in lengths)


@pytest.mark.parametrize("spec", SPECS, ids=describe)
def test_the_zoo_is_batched_pruned_and_lowered(spec: Spec, tmp_path: Path) -> None:
    torch.export.save(zoo.export(spec, zoo.build(spec)), tmp_path / "model.pt2")
    graph = recognise(read_pt2(tmp_path / "model.pt2"))
    drawn = zoo.samples(spec, 12, seed=1)
    assert compare(graph, drawn[:5]) > 0 or not spec.padded
    start = one_shot(graph, PruneOptions(sparsity=0.5, banks=2, score="wanda"), drawn)
    compare(start.dense, drawn[:1])  # reordered, not changed
    result = with_constants(start.dense, start.pruned)
    for name, mask in start.masks.items():
        op = result[name].op
        assert isinstance(op, Constant)
        assert not op.value[~mask].any()
        assert 0 < mask.mean() < 1
    assert len(to_integers(quantize(result, calibrate(result, drawn)))) > 5


@pytest.mark.parametrize(
    "fields",
    [
        {"mask": True, "pool": "mean"},
        {"mask": True, "causal": True, "pool": "first", "pooler": True},
        {"mask": True, "pre_norm": False},
        {"patches": True, "tokens": 17, "pool": "mean"},
        {"width": 60, "heads": 5},
    ],
)
def test_masks_pools_and_tables(transformer: Build, samples: Draw, fields: dict[str, object]) -> None:
    graph = transformer(**fields)
    assert compare(graph, samples(graph, 6)) == (5 if "mask" in fields else 0)


def _note(rows: dict[str, Array], node: Node, results: tuple[Array, ...]) -> None:
    rows[node.name] = results[0]


def test_taps_are_the_residual_stream(transformer: Build) -> None:
    assert [v.node for v in Batched(transformer(layers=1)).taps] == ["layers_0_attn_add", "final"]
    post = Batched(transformer(layers=1, pre_norm=False))
    assert [v.node for v in post.taps] == ["layers_0_attn_norm", "layers_0_ffn_norm"]


def test_norms_count_real_tokens_only(transformer: Build, samples: Draw) -> None:
    graph = transformer(mask=True, layers=1, pool="mean")
    drawn = samples(graph, 6)  # padding holds 1e3
    model = Batched(graph)
    norms = input_norms(model, batches_of(model, drawn, 10_000))
    sums = 0.0
    for sample in drawn:
        rows: dict[str, Array] = {}
        execute(graph, sample, partial(_note, rows))
        sums += np.square(
            rows["layers_0_attn_norm"][: int(sample["attention_mask"].sum())], dtype=np.float64
        ).sum(0)
    np.testing.assert_allclose(norms["layers_0_attn_q_weight"], np.sqrt(sums), rtol=1e-5)
    assert len(norms) == 6


def test_values_that_are_not_finite_are_named(transformer: Build, samples: Draw) -> None:
    from flow.errors import FlowError

    graph = transformer(layers=1)
    drawn = samples(graph, 2)
    drawn[1]["x"][0, 0] = np.nan
    model = Batched(graph)
    with pytest.raises(FlowError) as caught:
        input_norms(model, [model.batch(drawn)])
    assert str(caught.value) == (
        "layers.0.attn.q (float.linear): found an input that is not finite; expected finite activations; "
        "check the model and the data"
    )
