"""Least squares on a support is exact, and buys output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from flow.compress.batched import Batched
from flow.compress.matrices import find_matrices
from flow.compress.moments import Moments
from flow.compress.oneshot import batches_of, one_shot
from flow.compress.plan import PruneOptions
from flow.compress.reconstruct import LeastSquares, Target, reconstruct, solve_rows
from flow.ir import Array, Graph

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def test_moments_are_sums_over_parts() -> None:
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 3
    found = Moments.of([x[:20], x[20:]])
    assert found.count == 50
    torch.testing.assert_close(found.mean, x.double().mean(0))
    added = Moments.of([x[:20]]) + Moments.of([x[20:]])
    centred = (x - x.mean(0)).double()
    for one in (found, added):
        torch.testing.assert_close(one.centred, centred.T @ centred, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(one.gram, x.double().T @ x.double(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("ragged", [False, True])
def test_rows_are_solved_exactly(ragged: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    w = torch.randn(9, 12, generator=generator)
    y = x @ w.double().T + 0.1 * torch.randn(200, 9, generator=generator, dtype=torch.float64)
    mask = torch.rand(9, 12, generator=generator) < 0.5 if ragged else torch.tensor([[1, 0, 1] * 4] * 9) == 1
    mask[0] = False
    ridge = 0.05
    strength = ridge * float((x.T @ x).diagonal().mean())
    found = solve_rows(x.T @ x, y.T @ x, w, mask, ridge)
    assert found.dtype == torch.float32
    assert not found[~mask].any()
    assert len({int(n) for n in mask.sum(1)}) == (7 if ragged else 2)
    for n in range(1, 9):
        support = mask[n]
        left = x[:, support].T @ x[:, support] + strength * torch.eye(int(support.sum()))
        right = x[:, support].T @ y[:, n] + strength * w[n, support].double()
        torch.testing.assert_close(
            found[n, support].double(), torch.linalg.solve(left, right), rtol=1e-4, atol=1e-5
        )


def test_a_singular_input_is_no_obstacle() -> None:
    x = torch.ones(20, 8, dtype=torch.float64)
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(2))
    found = solve_rows(x.T @ x, (x @ w.double().T).T @ x, w, torch.ones(4, 8) == 1, 1e-9)
    torch.testing.assert_close(found.sum(1), w.sum(1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("target", ["pruned", "dense", "stream"])
@pytest.mark.parametrize("pre_norm", [True, False])
def test_outputs_come_nearer(transformer: Build, samples: Draw, target: Target, pre_norm: bool) -> None:
    graph = transformer(mask=True, pre_norm=pre_norm, bias=pre_norm, layers=2, width=32, hidden=64)
    drawn = samples(graph, 60)
    start = one_shot(
        graph, PruneOptions(sparsity=0.5, banks=4, score="wanda", permute=False), drawn, rebuild=False
    )
    dense, pruned = Batched(graph), Batched(graph)
    masks = {name: torch.from_numpy(mask) for name, mask in start.masks.items()}
    with torch.no_grad():
        for name, mask in masks.items():
            pruned.weight(name).mul_(mask)
    batches = batches_of(dense, drawn[10:], 10_000)
    held = dense.batch(drawn[:10])

    def error() -> float:
        with torch.no_grad():
            (value,) = dense.outputs
            exact = dense.run(held)[value]
            return float((pruned.run(held)[value] - exact).square().sum() / exact.square().sum())

    before, done = error(), []
    reconstruct(dense, pruned, batches, masks, LeastSquares(target=target), lambda d, n: done.append((d, n)))
    assert done == [(i + 1, 12) for i in range(12)]
    assert error() < (0.9 if target == "pruned" else 0.75) * before
    for name, mask in masks.items():
        assert not pruned.weight(name)[~mask].any()


def test_an_input_that_never_varies_leaves_weights_alone(transformer: Build, samples: Draw) -> None:
    """Its products hold rounding only; what was fitted to that were weights of any size."""
    graph = transformer(layers=1)
    token = samples(graph, 1)[0]["x"][:1]
    same = {"x": np.repeat(token, graph["x"].type.shape[0], axis=0)}
    dense, pruned = Batched(graph), Batched(graph)
    masks = {
        m.name: torch.arange(m.weight.size).reshape(m.weight.shape) % 2 == 0 for m in find_matrices(graph)
    }
    reconstruct(dense, pruned, batches_of(dense, [same] * 4, 10_000), masks)
    for name, mask in masks.items():
        kept = (dense.weight(name) * mask).detach()
        torch.testing.assert_close(pruned.weight(name), kept, rtol=0, atol=0.01 * float(kept.abs().max()))


def test_a_matrix_pruned_to_nothing_becomes_its_mean(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    dense, pruned = Batched(graph), Batched(graph)
    name = "layers_0_ffn_fc2_weight"
    drawn = samples(graph, 20)
    batches = batches_of(dense, drawn, 10_000)
    mask = torch.zeros_like(dense.weight(name), dtype=torch.bool)
    reconstruct(dense, pruned, batches, {name: mask}, replace(LeastSquares(), target="dense"))
    assert not pruned.weight(name).any()
    means = []
    with torch.no_grad():
        for batch in batches:
            dense.run(
                batch, observe=lambda n, _, y: means.append(y) if n.name == "layers_0_ffn_fc2" else None
            )
    bias = pruned.weight("layers_0_ffn_fc2_bias").detach()
    np.testing.assert_allclose(bias, torch.cat(means).mean(0), rtol=1e-4, atol=1e-5)
