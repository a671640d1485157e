"""Pruning of candidates: as `flow prune` does it, with densities of the matrices by sensitivity and cycles.

`flow prune --allocation sensitivity` takes the step of least error per weight removed. Here a weight has a price, the
cycles that it costs on the boards in question, so the step of least error per cycle saved is taken: errors are scaled
by the mean price over the matrix' own before they are handed to the same allocation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from flow.compress.batched import Batched
from flow.compress.checkpoint import Checkpoint
from flow.compress.matrices import Matrix, find_matrices, with_constants
from flow.compress.moments import input_norms
from flow.compress.oneshot import CALIBRATION_TOKENS, SENSITIVITY_TOKENS, batches_of
from flow.compress.permute import permuted
from flow.compress.plan import Plan, PruneOptions, make_plan, masks_of
from flow.compress.reconstruct import reconstruct
from flow.compress.scores import scores_of
from flow.compress.sensitivity import Curves, measure_sensitivity
from flow.compress.train import Trainer, TrainOptions
from flow.cost import cycles_of
from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.golden.samples import Samples
from flow.ir import Array, Graph
from flow.ops.linear import Linear
from flow.passes.fuse_steps import FuseSteps

LEVELS = (1 / 3, 1 / 2, 1 / 8)
"""Densities around which errors are measured (half, itself, halfway to dense): 0.06 to 0.83 in nine steps."""


@dataclass(frozen=True)
class Way:
    """How a model is pruned. `curves` are prices times errors by matrix, for the allocation by sensitivity."""

    options: PruneOptions
    training: TrainOptions
    curves: Mapping[str, Sequence[tuple[float, float]]] | None = None


def prune(graph: Graph, samples: Samples, way: Way, checkpoint: Checkpoint) -> tuple[Graph, Plan]:
    """A recognised float graph with structured zeros, trained where that is asked for, and its plan.

    The sparsity is the nearest that the structures express. Goes on from a checkpoint that a killed run left.

    Raises:
        UnsupportedError: as `make_plan`. FlowError: activations or a loss that are not finite.
    """
    options = way.options
    curves = None if way.curves is None else {name: list(curve) for name, curve in way.curves.items()}
    model = Batched(graph)
    norms: Mapping[str, Array] | None = None
    if options.score == "wanda":
        found = input_norms(model, batches_of(model, samples.samples, CALIBRATION_TOKENS))
        norms = {m.name: found[m.name] for m in find_matrices(graph)}
    plan = make_plan(graph, options, norms=norms, sensitivity=curves, nearest=True)
    dense, order = permuted(graph, plan, scores_of(plan.matrices, options.score, norms))
    norms = None if norms is None else {name: order.inputs(name, x) for name, x in norms.items()}
    plan = make_plan(dense, options, norms=norms, sensitivity=curves, nearest=True)
    masks = masks_of(plan, scores_of(plan.matrices, options.score, norms))
    pruned = Batched(with_constants(dense, {m.name: m.weight * masks[m.name] for m in plan.matrices}))
    exact = Batched(dense)
    _reconstruct(exact, pruned, samples, masks)
    if way.training.steps:
        _train(exact, pruned, samples, way.training, masks, checkpoint)
    module = pruned.module
    tensors = {name: module.tensor(slot).detach().numpy() for name, slot in module.slots.items()}
    changed = {
        name: tensor
        for name, tensor in tensors.items()
        if isinstance(module.tensor(module.slots[name]), torch.nn.Parameter)
    }
    return with_constants(dense, changed), plan


def _reconstruct(exact: Batched, pruned: Batched, samples: Samples, masks: Mapping[str, Array]) -> None:
    tensors = {name: torch.from_numpy(np.asarray(mask, np.bool_)) for name, mask in masks.items()}
    reconstruct(exact, pruned, batches_of(exact, samples.samples, CALIBRATION_TOKENS), tensors)


def _train(
    exact: Batched,
    pruned: Batched,
    samples: Samples,
    options: TrainOptions,
    masks: Mapping[str, Array],
    checkpoint: Checkpoint,
) -> None:
    trainer = Trainer(exact, pruned, samples.samples, options, masks, samples.labels)
    saved = checkpoint.load("training")
    if saved is not None:
        trainer.restore(saved[0])

    def after() -> None:
        if checkpoint.due():
            checkpoint.save("training", trainer.state(), {})

    trainer.run(None, after)


# -- what a weight costs, and what its loss does ---------------------------------------------------------------


def sensitivities(graph: Graph, samples: Samples, options: PruneOptions) -> Curves:
    """(density, error of the model's outputs) by matrix, that matrix alone pruned, over the range of densities."""
    model = Batched(graph)
    found = input_norms(model, batches_of(model, samples.samples, CALIBRATION_TOKENS))
    norms = {m.name: found[m.name] for m in find_matrices(graph)}
    few = batches_of(model, samples.samples, SENSITIVITY_TOKENS)
    curves: dict[str, dict[float, float]] = {}
    for density in LEVELS:
        around = measure_sensitivity(model, few, replace(options, sparsity=1 - density, score="wanda"), norms)
        for name, curve in around.items():
            curves.setdefault(name, {}).update(curve)
    return {name: sorted(points.items()) for name, points in curves.items()}


def prices(
    graph: Graph, dense: Graph, pruned: Graph, engines: Sequence[tuple[Engine, float]]
) -> dict[str, float]:
    """Cycles that a weight costs, by matrix: the mean over engines, each relative to its mean over all weights.

    An engine on which pruning saves nothing has no say in where to prune.

    `graph` is the float model, `dense` and `pruned` two integer models of it; a price is the difference of a matrix'
    estimated cycles over that of its weights. `engines` come with the cycles between two beats of their weights.

    Raises:
        UnsupportedError: a matrix that is none of the integer models', or no engine on which pruning saves a cycle.
    """
    steps = _steps(graph, dense)
    kept = {model: _weights(model) for model in (dense, pruned)}
    total: dict[str, float] = dict.fromkeys(steps, 0.0)
    telling = 0
    for engine, beat in engines:
        full, less = cycles_of(dense, engine, beat), cycles_of(pruned, engine, beat)
        saved = {name: sum(full[s] - less[s] for s in found) for name, found in steps.items()}
        gone = {name: sum(kept[dense][s] - kept[pruned][s] for s in found) for name, found in steps.items()}
        mean = sum(saved.values()) / max(1, sum(gone.values()))
        if mean <= 0:
            continue
        telling += 1
        for name in steps:
            # A hidden matrix, behind which the array waits for memory, saves next to nothing; it is not for free.
            total[name] += max(saved[name] / max(1, gone[name]) / mean, 0.05)
    if not telling:
        raise UnsupportedError("flow select: found no cycle saved by pruning; expected some on one engine")
    return {name: price / telling for name, price in total.items()}


def priced(curves: Curves, price: Mapping[str, float]) -> Curves:
    """Errors over prices, so that an allocation by error per weight is one by error per cycle."""
    return {name: [(d, error / price[name]) for d, error in curve] for name, curve in curves.items()}


def _weights(graph: Graph) -> dict[str, int]:
    """Weights that are not 0, by the name of the step."""
    return {
        step.name: int(np.count_nonzero(step.nodes[0].op.weight))
        for step in FuseSteps()(graph)
        if step.nodes and isinstance(step.nodes[0].op, Linear)
    }


def _steps(graph: Graph, integers: Graph) -> dict[str, list[str]]:
    """Steps of the dense integer model by the matrix that they multiply by: its weights have the matrix' signs."""
    steps = {
        step.name: step.nodes[0].op.weight
        for step in FuseSteps()(integers)
        if step.nodes and isinstance(step.nodes[0].op, Linear)
    }
    found = {
        m.name: [name for name, weight in steps.items() if _same(m, weight)] for m in find_matrices(graph)
    }
    lost = [name for name, names in found.items() if not names]
    if lost:
        raise UnsupportedError(
            f"{graph.name}: found no step of {', '.join(lost)}; expected one of every matrix"
        )
    return found


def _same(matrix: Matrix, weight: Array) -> bool:
    if matrix.weight.shape != weight.shape:
        return False
    there = weight != 0
    return bool(there.any()) and bool((np.sign(matrix.weight[there]) == np.sign(weight[there])).all())
