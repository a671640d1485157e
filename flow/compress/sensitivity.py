"""How much each matrix matters: the error of the whole model when that matrix alone is pruned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from flow.compress.batched import Batch, Batched, Values
from flow.compress.objective import distance
from flow.compress.plan import PruneOptions, make_plan, masks_of
from flow.compress.scores import scores_of
from flow.ir import Array

Progress = Callable[[int, int], None]
Curves = dict[str, list[tuple[float, float]]]
"""(density, error) by matrix name."""


def densities_around(density: float) -> tuple[float, ...]:
    """Where errors are measured for a target density: half of it, itself, and halfway to dense."""
    return (density / 2, density, min((1 + density) / 2, 2 * density))


def measure_sensitivity(
    dense: Batched,
    batches: Sequence[Batch],
    options: PruneOptions,
    norms: Mapping[str, Array] | None,
    progress: Progress | None = None,
) -> Curves:
    """Errors of the model with one matrix pruned, at three densities around the target.

    The error is the mean of `distance` over the model's outputs, on `batches`; no other weight is touched. Counting the
    residual stream too chose worse: it spares early layers for errors that later ones undo. 3 M + 1 forward passes for
    M matrices.
    """
    graph, module = dense.graph, dense.module
    curves: Curves = {}
    with torch.no_grad():
        exact = [dense.run(batch) for batch in batches]
        levels = densities_around(1 - options.sparsity)
        for index, density in enumerate(levels):
            asked = replace(options, sparsity=1 - density, allocation="uniform")
            plan = make_plan(graph, asked, norms=norms, nearest=True)
            masks = masks_of(plan, scores_of(plan.matrices, options.score, norms))
            for done, (name, mask) in enumerate(masks.items()):
                weight = module.tensor(module.slots[name])
                before = weight.clone()
                weight.mul_(torch.from_numpy(mask).to(weight.device))
                error = _error(dense, batches, exact)
                weight.copy_(before)
                curves.setdefault(name, []).append((plan.structures[name].density, error))
                if progress is not None:
                    progress(index * len(masks) + done + 1, len(levels) * len(masks))
    return {name: sorted(dict(points).items()) for name, points in curves.items()}


def _error(model: Batched, batches: Sequence[Batch], exact: Sequence[Values]) -> float:
    total = 0.0
    for batch, values in zip(batches, exact, strict=True):
        found = model.run(batch, keep=values)
        total += float(torch.stack([distance(found[v], y) for v, y in values.items()]).mean())
    return total / len(batches)
