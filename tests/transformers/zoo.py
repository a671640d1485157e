"""Random transformers: modules with seeded, pruned weights, inputs for them, and their exports."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from flow.compress.schemes.hp import choose_pattern, columns_per_bank, hp_mask
from flow.ir import Array
from tests.transformers.modules import CHANNELS, VOCABULARY, Ids, Image, Rows
from tests.transformers.specs import PATCH, Spec

OUTLIER = 6.0
"""How much larger than calibrated the values of a stress sample are: enough to saturate what headroom
leaves."""


def build(spec: Spec) -> nn.Module:
    """The module in evaluation mode, with seeded weights: as after training in size, pruned as the spec
    says."""
    kind = {"rows": Rows, "ids": Ids, "ids_normed": Ids}.get(spec.front, Image)
    module = kind(spec).eval()
    rng = np.random.default_rng(spec.seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            array = torch.from_numpy(_weight(spec, name, tuple(parameter.shape), rng))
            parameter.copy_(array if parameter.requires_grad else torch.zeros_like(parameter))
            parameter.requires_grad_(False)
    return module


def _weight(spec: Spec, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    owner, _, leaf = name.rpartition(".")
    if "norm" in owner.rpartition(".")[2] and leaf == "weight":
        values = 1.0 + 0.3 * rng.standard_normal(shape)
    elif len(shape) == 1:
        values = 0.2 * rng.standard_normal(shape)
    elif any(part in name for part in ("words", "positions", "class_token")):
        values = rng.standard_normal(shape) * (0.3 if "positions" in name else 1.0)
        if "words" in name and spec.outliers:
            values[VOCABULARY // 2 :] *= OUTLIER
    elif len(shape) == 4:
        values = rng.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
    else:
        transposed = spec.packing == "conv1d" and owner.endswith(("packed", "output", "up", "down"))
        matrix = _matrix(spec, shape[::-1] if transposed else shape, rng)
        if owner.endswith(("attention.output", "out_proj", "down", "linear2")):
            matrix = matrix / math.sqrt(
                2 * spec.layers
            )  # as GPT-2 starts: residual branches that do not drown the stream
        values = matrix.T if transposed else matrix
    return np.ascontiguousarray(values, np.float32)


def _matrix(spec: Spec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A weight [N, C] with the spec's sparsity; what stays is scaled up, so that outputs keep their size."""
    matrix: Array = rng.standard_normal(shape) / math.sqrt(shape[1])
    if min(shape) < 16:
        return matrix  # a classifier
    energy = float(np.square(matrix).sum())
    if spec.sparsity:
        matrix = matrix * _kept(spec, matrix, rng)
        matrix *= math.sqrt(energy / max(float(np.square(matrix).sum()), 0.01 * energy))
    if spec.zero_rows:
        matrix[rng.random(shape[0]) < 0.15] = 0.0
        matrix[:5] = 0.0
    return matrix


def _kept(spec: Spec, matrix: Array, rng: np.random.Generator) -> Array:
    rows, columns = matrix.shape
    if spec.structure == "hp":
        depth = columns_per_bank(columns, 8)
        pattern = choose_pattern(max(1, round((1 - spec.sparsity) * depth)), depth)
        return hp_mask(matrix, 8, 16, pattern.columns, pattern.vector, pattern.keep)
    if spec.structure == "columns":
        blocks = rng.random((-(-rows // 16), columns)) >= spec.sparsity
        return np.repeat(blocks, 16, axis=0)[:rows]
    return rng.random((rows, columns)) >= spec.sparsity


def samples(spec: Spec, count: int, seed: int, stress: bool = False) -> list[dict[str, Array]]:
    """Inputs of the kind that the model is meant for; under `stress` beyond what calibration sees, and at
    the corners."""
    rng = np.random.default_rng((spec.seed, seed))
    return [_sample(spec, rng, i, stress) for i in range(count)]


def _sample(spec: Spec, rng: np.random.Generator, index: int, stress: bool) -> dict[str, Array]:
    found: dict[str, Array] = {}
    if spec.front in ("ids", "ids_normed"):
        top = VOCABULARY if stress or not spec.outliers else VOCABULARY // 2
        found["input_ids"] = rng.integers(0, top, (1, spec.tokens))
    else:
        down, across = spec.grid
        image = (1, CHANNELS, PATCH * down, PATCH * across)
        shape = (1, spec.tokens, spec.width) if spec.front == "rows" else image
        value = rng.standard_normal(shape)
        if stress:
            value *= (0.0, OUTLIER, 30.0, 0.05)[index % 4]
        found["x" if spec.front == "rows" else "image"] = value.astype(np.float32)
    if spec.padded:
        corner = stress and index < 2
        length = (1, spec.tokens)[index] if corner else int(rng.integers(2, spec.tokens + 1))
        found["attention_mask"] = (np.arange(spec.tokens) < length).astype(np.int64)[None]
    return found


def run_torch(module: nn.Module, sample: dict[str, Array]) -> Array:
    """The module's one output."""
    with torch.no_grad():
        result = module(**{name: torch.from_numpy(value) for name, value in sample.items()})
    return np.asarray(result.numpy())


def length(spec: Spec, sample: dict[str, Array]) -> int:
    """Tokens of a sample that are real."""
    return int(sample["attention_mask"].sum()) if spec.padded else spec.tokens


def valid(spec: Spec, sample: dict[str, Array], output: Array) -> Array:
    """The rows of an output that belong to real tokens."""
    return output[:, : length(spec, sample)] if spec.head in ("tokens", "token_logits") else output


def export(spec: Spec, module: nn.Module) -> torch.export.ExportedProgram:
    """Exported as users do: raw operators, not strict, without the fused inference path."""
    example = {name: torch.from_numpy(value) for name, value in samples(spec, 1, 0)[0].items()}
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return torch.export.export(module, tuple(example.values()), strict=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
