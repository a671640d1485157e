"""Trains and writes the digits models of `models/`: a small vision transformer, dense and HP-pruned, quantized.

    python tools/train_digits.py --state digits-state

Data are scikit-learn's 1797 digits of 8x8 pixels, split once by a seeded permutation into training, validation and test
images. Training takes some ten minutes of one core; `--state` keeps the float weights, so that a second run only
exports, quantizes and writes. Epochs, augmentation and patterns were chosen on the training and validation images.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from flow.compress.calibrate import calibrate
from flow.compress.quantize import quantize
from flow.compress.schemes.hp import (
    HpPattern,
    bank_counts,
    choose_pattern,
    columns_per_bank,
    hp_mask,
    spread_density,
)
from flow.frontend import load
from flow.frontend.to_torch import write_pt2
from flow.golden import execute
from flow.ir import Array
from flow.passes import recognise
from flow.passes.integerise import Integerise

SEED = 20240
TRAIN, VALIDATION, TEST = 1197, 240, 360
CALIBRATION = 256
BATCH = 64
BANKS = 8
BLOCK_ROWS = 16
DENSITY = 0.2
WIDTH, HEADS, LAYERS, HIDDEN, PATCH, SIDE, CLASSES = 64, 4, 4, 256, 2, 8, 10
DENSE_EPOCHS = 220
STAGES = ((0.5, 10), (0.33, 15), (DENSITY, 100))
"""Densities that pruning passes through, with the epochs of fine-tuning at each."""


class Split(NamedTuple):
    """Images [n, 1, 8, 8] in 0..1 and their labels [n]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Digits:
    """The three disjoint splits."""

    train: Split
    validation: Split
    test: Split


def load_splits() -> Digits:
    """scikit-learn's digits in the order of a seeded permutation, cut into the three splits."""
    bunch = load_digits()
    order = np.random.default_rng(SEED).permutation(len(bunch.target))
    images = (bunch.images[order] / 16.0).astype(np.float32)[:, None]
    labels = bunch.target[order].astype(np.int64)
    cuts = [TRAIN, TRAIN + VALIDATION]
    parts = zip(np.split(images, cuts), np.split(labels, cuts), strict=True)
    return Digits(*(Split(torch.from_numpy(i), torch.from_numpy(t)) for i, t in parts))


class DigitsViT(nn.Module):
    """2x2 patches of an 8x8 image, learned positions, a pre-norm encoder, mean pooling and a linear head."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, WIDTH, PATCH, stride=PATCH)
        self.position = nn.Parameter(torch.randn(1, (SIDE // PATCH) ** 2, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, HIDDEN, dropout=dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False
        )
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patch(image).flatten(2).transpose(1, 2) + self.position
        logits: Tensor = self.head(self.encoder(tokens).mean(dim=1))
        return logits


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random affine maps: up to 12 degrees, 10 % scale and shear, 0.8 pixels of shift."""
    n = len(images)

    def uniform(reach: float) -> Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * reach

    angle, shear = uniform(math.radians(12)), uniform(0.1)
    sx, sy = 1 + uniform(0.1), 1 + uniform(0.1)
    dx, dy = uniform(0.2), uniform(0.2)  # grid units: the image spans 2
    cos, sin = torch.cos(angle), torch.sin(angle)
    maps = torch.stack(
        [torch.stack([cos * sx, shear - sin, dx], -1), torch.stack([sin + shear, cos * sy, dy], -1)], 1
    )
    return functional.grid_sample(
        images, functional.affine_grid(maps, list(images.shape), align_corners=False), align_corners=False
    )


@torch.no_grad()
def accuracy(model: nn.Module, split: Split) -> float:
    """Share of images whose largest logit is the label's."""
    model.eval()
    return float((model(split.images).argmax(-1) == split.labels).float().mean())


Masks = dict[str, Tensor]


def apply_masks(model: nn.Module, masks: Masks) -> None:
    """Zero the pruned weights in place."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)


@dataclass(frozen=True)
class Recipe:
    """One run of training: the learning rate falls along a cosine to `floor` of itself."""

    epochs: int
    rate: float
    seed: int
    floor: float = 0.0


def fit(
    model: DigitsViT,
    data: Digits,
    recipe: Recipe,
    masks: Masks | None = None,
    teacher: nn.Module | None = None,
) -> None:
    """AdamW on augmented images; cross-entropy and, with a teacher, its soft labels. Pruned weights stay zero."""
    generator = torch.Generator().manual_seed(recipe.seed)
    torch.manual_seed(recipe.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.02)
    steps = recipe.epochs * math.ceil(TRAIN / BATCH)
    warm = min(100, steps // 10 + 1)

    def rate(step: int) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
        return min(1.0, (step + 1) / warm) * (recipe.floor + (1 - recipe.floor) * cosine)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    for epoch in range(recipe.epochs):
        model.train()
        for start in range(0, TRAIN, BATCH):
            if start == 0:
                order = torch.randperm(TRAIN, generator=generator)
            rows = order[start : start + BATCH]
            images = augment(data.train.images[rows], generator)
            loss = objective(model(images), data.train.labels[rows], images, teacher)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            apply_masks(model, masks or {})
        if (epoch + 1) % 10 == 0 or epoch + 1 == recipe.epochs:
            measured = accuracy(model, data.validation)
            print(
                f"  epoch {epoch + 1}/{recipe.epochs}: loss {float(loss.detach()):.4f}, validation {measured:.4f}"
            )


def objective(logits: Tensor, labels: Tensor, images: Tensor, teacher: nn.Module | None) -> Tensor:
    """Cross-entropy with smoothed labels, half of it replaced by a teacher's answers at temperature 2."""
    loss = functional.cross_entropy(logits, labels, label_smoothing=0.05)
    if teacher is None:
        return loss
    with torch.no_grad():
        target = functional.log_softmax(teacher(images) / 2.0, -1)
    answer = functional.log_softmax(logits / 2.0, -1)
    return 0.5 * loss + 2.0 * functional.kl_div(answer, target, log_target=True, reduction="batchmean")


def prunable(model: DigitsViT) -> dict[str, Tensor]:
    """The encoder's weight matrices (q, k and v stacked in `in_proj_weight`); patch embedding and head stay dense."""
    return {name: p for name, p in model.encoder.named_parameters(prefix="encoder") if p.ndim == 2}


def patterns(model: DigitsViT, density: float) -> dict[str, HpPattern]:
    """The HP pattern of each matrix for an overall density."""
    matrices = prunable(model)
    shapes = [(int(p.shape[0]), int(p.shape[1])) for p in matrices.values()]
    weights = spread_density(shapes, BANKS, density)
    return {
        name: choose_pattern(w, columns_per_bank(c, BANKS))
        for name, w, (_, c) in zip(matrices, weights, shapes, strict=True)
    }


def prune_masks(model: DigitsViT, density: float) -> Masks:
    """Magnitude HP masks of every encoder matrix.

    A head has 16 channels, a multiple of the banks, so the physical channel order is the natural one everywhere.
    """
    matrices = prunable(model)
    masks = {}
    for name, pattern in patterns(model, density).items():
        mask = hp_mask(
            matrices[name].detach().numpy(), BANKS, BLOCK_ROWS, pattern.columns, pattern.vector, pattern.keep
        )
        masks[name] = torch.from_numpy(mask).float()
    return masks


def train_dense(data: Digits) -> DigitsViT:
    """The dense model, from scratch."""
    torch.manual_seed(SEED)
    model = DigitsViT()
    fit(model, data, Recipe(DENSE_EPOCHS, 1.5e-3, SEED))
    return model.eval()


def train_pruned(dense: DigitsViT, data: Digits) -> DigitsViT:
    """Prune in stages, each fine-tuned towards the labels and the dense model's answers."""
    model = copy.deepcopy(dense)
    teacher = copy.deepcopy(dense).eval()
    for i, (density, epochs) in enumerate(STAGES):
        masks = prune_masks(model, density)
        apply_masks(model, masks)
        print(f"stage {i + 1}: density {overall_density(model):.4f}")
        floor = 0.0 if i == len(STAGES) - 1 else 0.3
        fit(model, data, Recipe(epochs, 1e-3, SEED + 1 + i, floor), masks, teacher)
    return model.eval()


def obtain(path: Path, build: Callable[[], DigitsViT]) -> DigitsViT:
    """The model kept at `path`, or a new one, kept there."""
    if path.exists():
        model = DigitsViT()
        model.load_state_dict(torch.load(path, weights_only=True))
        return model.eval()
    model = build()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), path)
    return model


def overall_density(model: DigitsViT) -> float:
    """Share of non-zero weights in the encoder's matrices."""
    matrices = prunable(model).values()
    return sum(int(p.count_nonzero()) for p in matrices) / sum(p.numel() for p in matrices)


def density_rows(model: DigitsViT) -> Iterator[tuple[str, str, str, str]]:
    """(matrix, shape, density, pattern) of every encoder matrix.

    Raises:
        AssertionError: a (row, bank) holds more weights than the pattern allows.
    """
    allowed = patterns(model, DENSITY)
    for name, p in prunable(model).items():
        weight, pattern = p.detach().numpy(), allowed[name]
        pruned = not weight.all()
        most = int(bank_counts(weight, BANKS).max())
        if pruned and most > pattern.weights:
            raise AssertionError(
                f"{name}: {most} weights in a row and bank; the pattern allows {pattern.weights}"
            )
        density = float((weight != 0).mean())
        yield name, "x".join(map(str, weight.shape)), f"{density:.4f}", str(pattern) if pruned else "dense"


# -- to the files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What `models/README.md` says about one file."""

    name: str
    model: DigitsViT
    size: int
    float_accuracy: tuple[float, float, float]
    integer_accuracy: float
    changed: int
    net: int


def samples_of(split: Split, count: int | None = None) -> list[dict[str, Array]]:
    """Images as single samples under the model's input name."""
    return [{"image": image[None]} for image in split.images[:count].numpy()]


def export_quantized(model: DigitsViT, data: Digits, path: Path) -> None:
    """Float `.pt2` by torch.export, read back by our reader, recognised, calibrated, quantized, written."""
    # the fused encoder layer of inference mode has no operators inside that could be lowered
    torch.backends.mha.set_fastpath_enabled(False)
    program = torch.export.export(model.eval(), (data.test.images[:1],), strict=False)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.pt2"
        torch.export.save(program, plain)
        graph = recognise(load(plain))
    ranges = calibrate(graph, samples_of(data.train, CALIBRATION))
    write_pt2(quantize(graph, ranges), path)


def evaluate(name: str, model: DigitsViT, data: Digits, path: Path) -> Result:
    """Float accuracies in torch, and the integer model's, read from the file, on the test images."""
    graph = Integerise()(recognise(load(path)))
    (output,) = graph.outputs
    integer = np.array([int(execute(graph, s)[output].argmax()) for s in samples_of(data.test)])
    with torch.no_grad():
        plain = model(data.test.images).argmax(-1).numpy()
    labels = data.test.labels.numpy()
    right = int((integer == labels).sum())
    return Result(
        name,
        model,
        path.stat().st_size,
        (accuracy(model, data.train), accuracy(model, data.validation), accuracy(model, data.test)),
        right / len(labels),
        int((integer != plain).sum()),
        right - int((plain == labels).sum()),
    )


README = """\
# Bundled models

A vision transformer for scikit-learn's digits: {PATCH}x{PATCH} patches of {SIDE}x{SIDE} pixels, {LAYERS} layers,
{WIDTH} wide, {HEADS} heads, FFN {HIDDEN}, pre-norm, mean pooling. Everything here was written by
`python tools/train_digits.py --state FOLDER`.

Seed {SEED}; {TRAIN} training, {VALIDATION} validation and {TEST} test images of one seeded permutation.
Epochs, augmentation and pruning patterns were chosen on training and validation images; calibration takes the
first {CALIBRATION} training images. `digits_test.npz` holds the test images as `image` [{TEST}, 1, {SIDE}, {SIDE}],
float32 in 0..1, and their `labels`.

| file | bytes | density | float accuracy: train, validation, test | integer: test | verdicts changed | net |
|---|---|---|---|---|---|---|
{files}

Density counts the encoder's matrices; patch embedding and head stay dense. The pruned model is balanced for
{BANKS} banks, its coarse step works on blocks of {BLOCK_ROWS} rows, and `G x K of V` means that in every bank a row
keeps K weights in each of G groups of V columns. A few positions that the pattern keeps are zero all the same: they
compute channels that no later matrix reads.

| matrix of `digits_vit_hp80.pt2` | shape | density | pattern |
|---|---|---|---|
{matrices}
"""


def readme(results: list[Result]) -> str:
    """The text of `models/README.md`."""
    files = "\n".join(
        f"| `digits_vit_{r.name}.pt2` | {r.size} | {overall_density(r.model):.4f} "
        f"| {', '.join(f'{a:.2%}' for a in r.float_accuracy)} | {r.integer_accuracy:.2%} | {r.changed} | {r.net:+d} |"
        for r in results
    )
    matrices = "\n".join(
        f"| `{name}` | {' | '.join(rest)} |" for name, *rest in density_rows(results[-1].model)
    )
    return README.format(**globals(), files=files, matrices=matrices)


def main(argv: list[str] | None = None) -> int:
    """Train what `--state` lacks, then write the models."""
    parser = argparse.ArgumentParser(description="Train, prune, quantize and write the digits models.")
    parser.add_argument("--state", type=Path, required=True, help="directory that keeps the float weights")
    parser.add_argument(
        "--models", type=Path, default=Path(__file__).parents[1] / "models", help="where files go"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    data = load_splits()
    dense = obtain(options.state / "digits_vit_dense.pt", lambda: train_dense(data))
    pruned = obtain(options.state / "digits_vit_hp80.pt", lambda: train_pruned(dense, data))
    results = []
    for name, model in (("dense", dense), ("hp80", pruned)):
        path = options.models / f"digits_vit_{name}.pt2"
        export_quantized(model, data, path)
        results.append(evaluate(name, model, data, path))
    np.savez_compressed(
        options.models / "digits_test.npz", image=data.test.images.numpy(), labels=data.test.labels.numpy()
    )
    text = readme(results)
    (options.models / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
