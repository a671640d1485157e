"""Seeded stimulus that reaches the corners of a model's inputs."""

from __future__ import annotations

import numpy as np

from flow.golden.samples import Sample, Samples, model_inputs, token_limits
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY


def stimulus(graph: Graph, count: int, seed: int) -> Samples:
    """Seeded samples over the calibrated range, corner cases first.

    Corners: all zero; saturating high, low and alternating; the first and the last token id; the longest and the
    shortest sequence. Then random ones, every fourth beyond the calibrated range.
    """
    rng = np.random.default_rng(seed)
    wanted = model_inputs(graph)
    scales, limits = _ranges(graph), token_limits(graph)
    samples: list[Sample] = []
    for index in range(count):
        sample: dict[str, Array] = {}
        for key, kind in wanted.items():
            if key == MASK_KEY:
                sample[key] = _mask(kind, index, rng)
            elif kind.is_float:
                sample[key] = _real(kind, scales.get(key, 3.0), index, rng)
            else:
                sample[key] = _tokens(limits.get(key, 2), kind, index, rng)
        samples.append(sample)
    return Samples(tuple(samples))


def _mask(kind: TensorType, index: int, rng: np.random.Generator) -> Array:
    tokens = kind.shape[-1]
    length = {0: tokens, 1: 1, 2: tokens}.get(index, int(rng.integers(1, tokens + 1)))
    return (np.arange(tokens) < length).astype(kind.dtype).reshape(kind.shape)


def _real(kind: TensorType, top: float, index: int, rng: np.random.Generator) -> Array:
    """All zero; four times what the quantiser holds: high, low, alternating; then random up to `top` or beyond."""
    shape = kind.shape
    alternating = np.where(np.arange(kind.size).reshape(shape) % 2, 1.0, -1.0)
    corners = (np.zeros(shape), np.ones(shape), -np.ones(shape), alternating)
    if index < len(corners):
        value = 4.0 * top * corners[index]
    else:
        value = rng.uniform(-top, top, shape) * (1.5 if index % 4 == 3 else rng.uniform(0.3, 1.0))
    return value.astype(kind.dtype)


def _tokens(size: int, kind: TensorType, index: int, rng: np.random.Generator) -> Array:
    """Token ids below `size`; corners: the first and the last row of the table."""
    if index in (0, 1):
        return np.full(kind.shape, 0 if index == 0 else size - 1, kind.dtype)
    return rng.integers(0, size, kind.shape).astype(kind.dtype)


def _ranges(graph: Graph) -> dict[str, float]:
    """The largest magnitude that each float input's quantiser represents."""
    found: dict[str, float] = {}
    for node in graph:
        if node.op.name != "quantize":
            continue
        inputs = _sources(graph, node.inputs[0])
        step = node.type.scale
        if step is not None and len(inputs) == 1:
            (key,) = inputs
            found[key] = max(found.get(key, 0.0), step * (2 ** (node.type.bits - 1) - 1))
    return found


def _sources(graph: Graph, value: Value) -> set[str]:
    """Keys of the inputs that a value depends on."""
    frontier, seen, found = [value.node], {value.node}, set()
    while frontier:
        node = graph[frontier.pop()]
        if isinstance(node.op, Input):
            found.add(node.op.key)
        new = {v.node for v in node.inputs} - seen
        seen |= new
        frontier += new
    return found
