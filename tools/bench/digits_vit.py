"""The digits ViT for evidence about compression: folds, a quick forward pass, and training.

The model is `tools/train_digits.py`'s. It is exported and recognised once; from there on a model is a dictionary of
tensors by the names of the graph's constants, which is what `flow.compress` speaks too. Nothing here looks at a test
image: `Fold.test` is read by the caller, after training.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold
from torch import Tensor
from torch.nn import functional

from flow.compress.matrices import find_matrices, with_constants
from flow.frontend import load
from flow.ir import Array, Graph
from flow.ops.source import Constant
from flow.passes import recognise

sys.path.append(str(Path(__file__).resolve().parents[1]))
from train_digits import HEADS, LAYERS, PATCH, SIDE, WIDTH, DigitsViT, augment

FOLDS = 5
FOLD_SEED = 0
DEPTH = WIDTH // HEADS
TOKENS = (SIDE // PATCH) ** 2

Weights = dict[str, Tensor]
Masks = dict[str, Tensor]
Loss = Callable[[Weights], Tensor]


@dataclass(frozen=True)
class Images:
    """Images [n, 1, 8, 8] in 0..1, labels [n], and their numbers in scikit-learn's order."""

    images: Tensor
    labels: Tensor
    numbers: Array


@dataclass(frozen=True)
class Fold:
    """Four fifths for training, one for testing."""

    train: Images
    test: Images


@cache
def folds() -> tuple[Fold, ...]:
    """Five stratified folds over all 1,797 images: every image is tested once."""
    bunch = load_digits()
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=FOLD_SEED)
    return tuple(Fold(_chosen(train), _chosen(test)) for train, test in cut.split(bunch.images, bunch.target))


def inner(fold: Fold, parts: int = 3) -> tuple[Fold, ...]:
    """A fold's training images cut again: what recipes are chosen on."""
    cut = StratifiedKFold(parts, shuffle=True, random_state=FOLD_SEED + 1)
    numbers = fold.train.numbers
    pieces = cut.split(numbers, fold.train.labels.numpy())
    return tuple(Fold(_chosen(numbers[train]), _chosen(numbers[test])) for train, test in pieces)


def _chosen(numbers: Array) -> Images:
    bunch = load_digits()
    images = (bunch.images[numbers] / 16.0).astype(np.float32)[:, None]
    labels = bunch.target[numbers].astype(np.int64)
    return Images(torch.from_numpy(images), torch.from_numpy(labels), numbers)


# -- the model -------------------------------------------------------------------------------------------------


@cache
def template() -> Graph:
    """The recognised float graph of the architecture."""
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(0)
    program = torch.export.export(DigitsViT().eval(), (torch.zeros(1, 1, SIDE, SIDE),), strict=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.pt2"
        torch.export.save(program, path)
        return recognise(load(path))


def graph_of(weights: Mapping[str, Tensor]) -> Graph:
    """The float graph with these weights."""
    return with_constants(template(), {name: w.detach().numpy() for name, w in weights.items()})


def weights_of(graph: Graph) -> Weights:
    """The weights of a graph of this architecture, copied."""
    return {
        node.name: torch.tensor(node.op.value)
        for node in graph
        if isinstance(node.op, Constant) and node.op.key
    }


def initial(seed: int) -> Weights:
    """Weights of a fresh model."""
    torch.manual_seed(seed)
    parameters = dict(DigitsViT().named_parameters())
    found = {}
    for node in template():
        if isinstance(node.op, Constant) and node.op.key:
            path, _, rows = node.op.key.partition("[")
            value = parameters[path].detach()
            if rows:
                start, stop = map(int, rows.rstrip("]").split(":"))
                value = value[start:stop]
            found[node.name] = value.reshape(node.op.value.shape).clone()
    return found


def _role(layer: int, part: str) -> str:
    return f"encoder_layers_{layer}_{part}"


def _projections(layer: int, kind: str) -> list[str]:
    cuts = (f"{i * WIDTH}_{(i + 1) * WIDTH}" for i in range(3))
    return [_role(layer, f"self_attn_in_proj_{kind}_{cut}") for cut in cuts]


def forward(w: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Logits [n, 10]: the module's function, without dropout, with fewer copies."""
    n, side = len(images), SIDE // PATCH
    patches = images.view(n, side, PATCH, side, PATCH).transpose(2, 3).reshape(n, TOKENS, PATCH * PATCH)
    x = functional.linear(patches, w["patch_weight"], w["patch_bias"]) + w["position"]
    for layer in range(LAYERS):
        x = x + _attention(w, layer, _norm(w, _role(layer, "norm1"), x))
        hidden = functional.gelu(_linear(w, _role(layer, "linear1"), _norm(w, _role(layer, "norm2"), x)))
        x = x + _linear(w, _role(layer, "linear2"), hidden)
    return _linear(w, "head", _norm(w, "encoder_norm", x).mean(dim=1))


def _linear(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.linear(x, w[f"{name}_weight"], w[f"{name}_bias"])


def _norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    return functional.layer_norm(x, (WIDTH,), w[f"{name}_weight"], w[f"{name}_bias"])


def _attention(w: Mapping[str, Tensor], layer: int, x: Tensor) -> Tensor:
    weight = torch.cat([w[name] for name in _projections(layer, "weight")])
    bias = torch.cat([w[name] for name in _projections(layer, "bias")])
    n = len(x)
    qkv = functional.linear(x, weight, bias).view(n, TOKENS, 3, HEADS, DEPTH).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.reshape(3, n * HEADS, TOKENS, DEPTH).unbind(0)
    shares = torch.bmm(q * DEPTH**-0.5, k.transpose(1, 2)).softmax(-1)
    context = torch.bmm(shares, v).view(n, HEADS, TOKENS, DEPTH).transpose(1, 2).reshape(n, TOKENS, WIDTH)
    return _linear(w, _role(layer, "self_attn_out_proj"), context)


@torch.no_grad()
def answers(w: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Logits of many images."""
    return torch.cat([forward(w, chunk) for chunk in torch.split(images, 128)])


# -- training --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """One run: `rate` is Muon's, for the encoder's matrices, `other_rate` AdamW's, for all else.

    Both rise over `warm` steps and fall along a cosine. Under pruning, density falls in `stages` steps along a cubic
    curve over the first `ramp` of the run, and the dense model of the same fold and seed teaches, at `temperature`.
    """

    epochs: int
    rate: float
    other_rate: float
    batch: int
    warm: int
    average: float
    smoothing: float = 0.0
    decay: float = 0.0
    ramp: float = 0.0
    stages: int = 0
    temperature: float = 2.0


class Muon:
    """Momentum whose steps are orthogonalised: "Muon: An optimizer for hidden layers in neural networks" (2024).

    Matrices of one shape, transposed where they are tall, are stepped as one batch; five Newton-Schulz iterations.
    """

    MOMENTUM = 0.95

    def __init__(self, matrices: list[Tensor]) -> None:
        self._groups: dict[tuple[int, int], list[Tensor]] = {}
        for matrix in matrices:
            shape = (min(matrix.shape), max(matrix.shape))
            self._groups.setdefault(shape, []).append(matrix)
        self._momenta = {shape: torch.zeros(len(g), *shape) for shape, g in self._groups.items()}

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Move every matrix against its gradient; a tall one at sqrt(rows / columns) times the rate."""
        for shape, members in self._groups.items():
            momentum = self._momenta[shape]
            wide = [m.grad if m.shape == shape else _grad(m).T for m in members]
            gradient = torch.stack([g for g in wide if g is not None])
            momentum.mul_(self.MOMENTUM).add_(gradient)
            steps = _orthogonal(gradient.add(momentum, alpha=self.MOMENTUM))
            for member, step in zip(members, steps, strict=True):
                tall = max(1.0, member.shape[0] / member.shape[1]) ** 0.5
                member.add_(step if member.shape == shape else step.T, alpha=-rate * tall)


def _grad(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _orthogonal(g: Tensor) -> Tensor:
    """Roughly U V^T of each matrix U S V^T."""
    x: Tensor = g / (g.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return x


def train_dense(data: Images, recipe: Recipe, seed: int) -> Weights:
    """A model from scratch: cross-entropy on images augmented afresh every epoch."""
    weights = initial(seed)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)

    def losses() -> Iterator[Loss]:
        for _ in range(recipe.epochs):
            images = augment(data.images, generator)
            for rows in batches(len(images), recipe.batch, generator):
                yield partial(_classification, images[rows], data.labels[rows], recipe.smoothing)

    return run(weights, recipe, recipe.epochs * (len(data.labels) // recipe.batch), losses())


def _classification(images: Tensor, labels: Tensor, smoothing: float, weights: Weights) -> Tensor:
    return functional.cross_entropy(forward(weights, images), labels, label_smoothing=smoothing)


def batches(size: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows of one epoch's batches, in random order; what does not fill one is left out."""
    order = torch.randperm(size, generator=generator)
    yield from torch.split(order[: size // batch * batch], batch)


def prunable() -> list[str]:
    """Constants that `flow.compress` prunes by default: the encoder's matrices."""
    return [matrix.name for matrix in find_matrices(template())]


def run(
    weights: Weights,
    recipe: Recipe,
    steps: int,
    losses: Iterator[Loss],
    masks_at: Callable[[int, Weights], Masks | None] | None = None,
) -> Weights:
    """Muon and AdamW under masks, which `masks_at` renews at some steps; returns the moving average of the weights."""
    for tensor in weights.values():
        tensor.requires_grad_()
    muon = Muon([weights[name] for name in prunable()])
    others = [tensor for name, tensor in weights.items() if name not in set(prunable())]
    adam = torch.optim.AdamW(others, lr=0.0, weight_decay=recipe.decay, fused=True)
    average, since, masks = [w.detach().clone() for w in weights.values()], 0, Masks()
    for step, loss in zip(range(steps), losses, strict=True):
        renewed = masks_at(step, weights) if masks_at is not None else None
        if renewed is not None:
            masks, since = renewed, step
            apply_masks(weights, masks)
            average = [w.detach().clone() for w in weights.values()]
        for tensor in weights.values():
            tensor.grad = None
        loss(weights).backward()  # type: ignore[no-untyped-call]
        for name, mask in masks.items():
            _grad(weights[name]).mul_(mask)
        share = min(1.0, (step + 1) / recipe.warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
        adam.param_groups[0]["lr"] = recipe.other_rate * share
        adam.step()
        muon.step(recipe.rate * share)
        apply_masks(weights, masks)
        age = step - since + 1
        torch._foreach_lerp_(
            average, [w.detach() for w in weights.values()], 1 - min(recipe.average, age / (age + 9))
        )
    result = dict(zip(weights, average, strict=True))
    apply_masks(result, masks)
    return result


@torch.no_grad()
def apply_masks(weights: Weights, masks: Masks) -> None:
    """Zero what is pruned, in place."""
    for name, mask in masks.items():
        weights[name].mul_(mask)
