"""Pruning without training: plan, permute, score, mask, reconstruct; on a graph, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from flow.compress.batched import Batch, Batched
from flow.compress.matrices import find_matrices
from flow.compress.moments import input_norms
from flow.compress.permute import permuted
from flow.compress.plan import Plan, PruneOptions, make_plan, masks_of
from flow.compress.reconstruct import reconstruct
from flow.compress.scores import scores_of
from flow.compress.sensitivity import Curves, measure_sensitivity
from flow.compress.train import staged_sparsity
from flow.golden.samples import Sample
from flow.ir import Array, Graph

Tell = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

CALIBRATION_TOKENS = 12_000
"""Tokens that norms and least squares are taken from."""
SENSITIVITY_TOKENS = 600
"""Tokens of each forward pass that measures one matrix."""
BATCH_TOKENS = 2_000


@dataclass(frozen=True, eq=False)
class OneShot:
    """A pruned model before any training.

    `dense` is the model given, its free channels in the plan's order; `pruned` the same with pruned weights. `norms`
    and `curves` are in that order, for the plans of later stages.
    """

    dense: Graph
    plan: Plan
    masks: Mapping[str, Array]
    pruned: Mapping[str, Array]
    norms: Mapping[str, Array] | None
    curves: Curves | None


def batches_of(model: Batched, samples: Sequence[Sample], tokens: int) -> list[Batch]:
    """The first samples that hold `tokens` tokens, in batches of about `BATCH_TOKENS`."""
    found: list[Batch] = []
    part: list[Sample] = []
    size = spent = 0
    for sample, length in zip(samples, model.lengths(samples), strict=True):
        if spent >= tokens:
            break
        part.append(sample)
        size += max(length, 1)
        spent += max(length, 1)
        if size >= BATCH_TOKENS:
            found.append(model.batch(part))
            part, size = [], 0
    return [*found, model.batch(part)] if part else found


def one_shot(
    graph: Graph,
    options: PruneOptions,
    samples: Sequence[Sample],
    *,
    stages: int = 1,
    rebuild: bool = True,
    device: str = "cpu",
    tell: Tell | None = None,
) -> OneShot:
    """Prune a recognised float graph to the first stage's sparsity (all of it where there is one stage).

    Without samples there is no reconstruction, and the score has to be magnitude.

    Raises:
        UnsupportedError: as `make_plan`. FlowError: activations that are not finite.
    """
    say = tell or (lambda *_: None)
    asked = replace(options, sparsity=staged_sparsity(0, stages, options.sparsity))
    first = stages > 1
    dense = Batched(graph)
    dense.module.to(device)
    batches = batches_of(dense, samples, CALIBRATION_TOKENS) if samples else []
    norms, curves = None, None
    if batches:
        norms = input_norms(dense, batches, lambda d, n: say("statistics", d, n))
        norms = {m.name: norms[m.name] for m in find_matrices(graph, options.include, options.exclude)}
    if options.allocation == "sensitivity" and samples:
        few = batches_of(dense, samples, SENSITIVITY_TOKENS)
        curves = measure_sensitivity(dense, few, options, norms, lambda d, n: say("sensitivity", d, n))
    make_plan(graph, options, norms=norms, sensitivity=curves)  # refused before any work
    plan = make_plan(graph, asked, norms=norms, sensitivity=curves, nearest=first)
    if options.permute:
        scores = scores_of(plan.matrices, options.score, norms)
        graph, order = permuted(graph, plan, scores, lambda d, n: say("permutation", d, n))
        norms = None if norms is None else {name: order.inputs(name, x) for name, x in norms.items()}
        plan = make_plan(graph, asked, norms=norms, sensitivity=curves, nearest=first)
    masks = masks_of(plan, scores_of(plan.matrices, options.score, norms))
    pruned = _pruned(graph, masks, samples if rebuild else (), device, say)
    return OneShot(graph, plan, masks, pruned, norms, curves)


def _pruned(
    graph: Graph, masks: Mapping[str, Array], samples: Sequence[Sample], device: str, say: Tell
) -> dict[str, Array]:
    """Masked, and with samples reconstructed, weights and biases by the name of their constant."""
    dense, pruned = Batched(graph), Batched(graph)
    dense.module.to(device)
    pruned.module.to(device)
    module = pruned.module
    tensors = {name: torch.from_numpy(np.asarray(mask)).to(device) for name, mask in masks.items()}
    with torch.no_grad():
        for name, mask in tensors.items():
            module.tensor(module.slots[name]).mul_(mask)
    if samples:
        batches = batches_of(dense, samples, CALIBRATION_TOKENS)
        reconstruct(dense, pruned, batches, tensors, progress=lambda d, n: say("reconstruction", d, n))
    touched = [
        name
        for step in pruned.steps
        for name in (v.node for v in step.node.inputs[1:])
        if name in module.slots
    ]
    return {name: module.tensor(module.slots[name]).detach().cpu().numpy() for name in dict.fromkeys(touched)}


def restaged(
    start: OneShot, options: PruneOptions, stage: int, stages: int, weights: Mapping[str, Array], graph: Graph
) -> tuple[Plan, dict[str, Array]]:
    """Plan and masks of a later stage, from the present weights; `graph` holds them."""
    asked = replace(options, sparsity=staged_sparsity(stage, stages, options.sparsity))
    plan = make_plan(graph, asked, norms=start.norms, sensitivity=start.curves, nearest=stage + 1 < stages)
    assert set(weights) == set(plan.structures)
    return plan, dict(masks_of(plan, scores_of(plan.matrices, options.score, start.norms)))
