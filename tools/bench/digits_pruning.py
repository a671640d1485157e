"""Pruning of the digits ViT by `flow.compress`, in a training loop of our own: stages, masks and distillation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from digits_vit import (
    Images,
    Loss,
    Masks,
    Recipe,
    Weights,
    answers,
    batches,
    forward,
    graph_of,
    run,
    weights_of,
)
from torch import Tensor
from torch.nn import functional
from train_digits import augment

from flow.compress.permute import permuted
from flow.compress.plan import Plan, PruneOptions, make_plan, masks_of
from flow.compress.scores import scores_of


@dataclass(frozen=True)
class Pool:
    """Augmented copies of the training images and the dense model's logits for them."""

    images: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]


def make_pool(data: Images, dense: Weights, copies: int, seed: int) -> Pool:
    """What a teacher says about augmented images, once for all models that learn from it."""
    generator = torch.Generator().manual_seed(seed)
    images = tuple(augment(data.images, generator) for _ in range(copies))
    return Pool(images, tuple(answers(dense, x) for x in images))


def train_pruned(dense: Weights, pool: Pool, options: PruneOptions, recipe: Recipe, seed: int) -> Weights:
    """The dense model pruned in stages by `flow.compress`, learning from what it said before it was pruned."""
    generator = torch.Generator().manual_seed(seed)
    size = len(pool.images[0])
    steps = recipe.epochs * (size // recipe.batch)

    def losses() -> Iterator[Loss]:
        for epoch in range(recipe.epochs):
            copy = epoch % len(pool.images)
            for rows in batches(size, recipe.batch, generator):
                yield partial(
                    _distillation, pool.images[copy][rows], pool.logits[copy][rows], recipe.temperature
                )

    stages = {int(steps * recipe.ramp * i / recipe.stages): i + 1 for i in range(recipe.stages)}

    def masks_at(step: int, weights: Weights) -> Masks | None:
        if step not in stages:
            return None
        left = 1 - stages[step] / recipe.stages
        return masks_for(weights, replace(options, sparsity=options.sparsity * (1 - left**3)))[1]

    return run(arranged(dense, options), recipe, steps, losses(), masks_at)


def _distillation(images: Tensor, taught: Tensor, temperature: float, weights: Weights) -> Tensor:
    answer = functional.log_softmax(forward(weights, images) / temperature, -1)
    target = functional.log_softmax(taught / temperature, -1)
    return temperature**2 * functional.kl_div(answer, target, log_target=True, reduction="batchmean")


def arranged(weights: Mapping[str, Tensor], options: PruneOptions) -> Weights:
    """The same function with its free channels in the order that suits the target's structures."""
    graph = graph_of(weights)
    if options.permute:
        plan = make_plan(graph, options, nearest=True)
        graph, _ = permuted(graph, plan, scores_of(plan.matrices))
    return weights_of(graph)


def masks_for(weights: Mapping[str, Tensor], options: PruneOptions) -> tuple[Plan, Masks]:
    """The plan nearest to the sparsity asked for, and its masks, by the present weights."""
    plan = make_plan(graph_of(weights), options, nearest=True)
    masks = masks_of(plan, scores_of(plan.matrices))
    return plan, {name: torch.from_numpy(mask).float() for name, mask in masks.items()}
