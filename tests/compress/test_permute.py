"""Free permutations leave the function alone and let masks keep more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.arrange import cluster
from flow.compress.matrices import find_matrices
from flow.compress.permute import Reordering, find_hidden, find_reordering, permuted, reordered
from flow.compress.plan import PruneOptions, make_plan, masks_of
from flow.compress.schemes import Block, Grid, kept_energy
from flow.compress.scores import scores_of
from flow.golden import execute
from flow.ir import Array, Graph, Value, verify
from flow.ops.float import FloatAdd

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def kept(graph: Graph, options: PruneOptions) -> float:
    plan = make_plan(graph, options, nearest=True)
    scores = scores_of(plan.matrices)
    return sum(kept_energy(scores[n], m) * m.size for n, m in masks_of(plan, scores).items())


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_any_order_of_free_channels_is_the_same_function(
    transformer: Build, samples: Draw, pre_norm: bool, bias: bool
) -> None:
    graph = transformer(pre_norm=pre_norm, bias=bias, mask=True, width=60, heads=5, causal=True)
    rng = np.random.default_rng(0)
    rows: dict[str, Array] = {}
    columns: dict[str, Array] = {}
    for hidden in find_hidden(graph):
        size = hidden.channels // max(hidden.heads, 1)
        order = np.concatenate([h * size + rng.permutation(size) for h in range(max(hidden.heads, 1))])
        rows |= dict.fromkeys(hidden.rows, order)
        columns |= dict.fromkeys(hidden.columns, order)
    assert len(columns) == 4
    moved = reordered(graph, Reordering(rows, columns))
    verify(moved)
    assert moved.names == graph.names
    for sample in samples(graph, 3):
        before, after = execute(graph, sample)["out"], execute(moved, sample)["out"]
        length = int(sample["attention_mask"].sum())
        np.testing.assert_allclose(after[:length], before[:length], rtol=1e-4, atol=1e-5)


def test_hidden_channels_and_values_are_found(transformer: Build) -> None:
    found = find_hidden(transformer(layers=1, pool="mean", pooler=True))
    assert [(h.name, h.channels, h.heads, h.columns) for h in found] == [
        ("layers_0_attn_v", 32, 2, ("layers_0_attn_out_weight",)),
        ("layers_0_ffn_fc1", 64, 0, ("layers_0_ffn_fc2_weight",)),
        ("pooler", 32, 0, ("head_weight",)),
    ]
    assert found[1].rows == ("layers_0_ffn_fc1_weight", "layers_0_ffn_fc1_bias")


def test_channels_that_something_else_sees_are_left_alone(transformer: Build) -> None:
    graph = transformer(layers=1)
    names = [h.name for h in find_hidden(graph)]
    assert names == ["layers_0_attn_v", "layers_0_ffn_fc1"]
    for output, left in (
        ("layers_0_ffn_act", "layers_0_attn_v"),
        ("layers_0_ffn_fc1", "layers_0_attn_v"),
        ("layers_0_attn", "layers_0_ffn_fc1"),
        ("layers_0_attn_v", "layers_0_ffn_fc1"),
        ("layers_0_ffn_fc1_bias", "layers_0_attn_v"),
    ):
        seen = graph.copy()
        seen.set_output("seen", Value(output))
        assert [h.name for h in find_hidden(seen)] == [left], output
    twice = graph.copy()
    hidden = Value("layers_0_ffn_act")
    twice.set_output("sum", twice.add("sum", FloatAdd(), [hidden, hidden]))
    assert [h.name for h in find_hidden(twice)] == ["layers_0_attn_v"]
    tied = graph.copy()
    q, v = tied["layers_0_attn_q"], tied["layers_0_attn_v"]
    tied.rewire(q.name, [q.inputs[0], v.inputs[1], q.inputs[2]])
    assert [h.name for h in find_hidden(tied)] == ["layers_0_ffn_fc1"]


@pytest.mark.parametrize("scheme", ["hp", "block", "nm", "pattern"])
def test_a_better_order_is_found_and_harmless(transformer: Build, samples: Draw, scheme: str) -> None:
    graph = transformer(layers=1, width=32, heads=2, hidden=128)
    options = PruneOptions(scheme, 0.75)
    plan = make_plan(graph, options, nearest=True)
    scores = scores_of(plan.matrices)
    calls: list[tuple[int, int]] = []
    moved, reordering = permuted(graph, plan, scores, lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    assert kept(moved, options) > kept(graph, options) * 1.005
    again = find_reordering(graph, plan, scores)
    assert {n: o.tolist() for n, o in again.rows.items()} == {
        n: o.tolist() for n, o in reordering.rows.items()
    }
    for matrix in find_matrices(moved):  # scores follow their weights
        np.testing.assert_array_equal(
            np.abs(matrix.weight), reordering.apply(matrix.name, scores[matrix.name])
        )
        norm = np.abs(scores[matrix.name]).sum(axis=0)
        np.testing.assert_allclose(
            np.abs(matrix.weight).sum(axis=0), reordering.inputs(matrix.name, norm), rtol=1e-5
        )
    (sample,) = samples(graph, 1)
    np.testing.assert_allclose(
        execute(moved, sample)["out"], execute(graph, sample)["out"], rtol=1e-4, atol=1e-5
    )


def test_unstructured_masks_have_nothing_to_gain(transformer: Build) -> None:
    graph = transformer(layers=1)
    plan = make_plan(graph, PruneOptions("unstructured"))
    assert not find_reordering(graph, plan, scores_of(plan.matrices)).rows


def test_rows_that_like_the_same_columns_share_a_block() -> None:
    rng = np.random.default_rng(0)
    kind = rng.permutation(np.repeat(np.arange(4), 8))
    scores = 0.1 * rng.random((32, 32))
    for row, k in enumerate(kind):
        scores[row, 8 * k : 8 * k + 8] += 1.0
    grid = Grid.natural(32, 32, 4)
    structure = Block().structure(scores, grid, 0.25, 8)
    order = cluster(scores, grid, structure, np.zeros(32, np.int64))
    assert sorted(order.tolist()) == list(range(32))
    assert all(len(set(kind[order[b : b + 8]].tolist())) == 1 for b in range(0, 32, 8))
    within = cluster(scores, grid, structure, np.arange(32) // 16)
    assert sorted(within[:16].tolist()) == list(range(16))
    mask = Block().mask(scores[order], grid, structure)
    assert kept_energy(scores[order], mask) > 0.95
