"""Seeded stimulus that reaches the corners of a model's inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flow.compress.samples import Sample, Samples, model_inputs, token_limits
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY


def stimulus(graph: Graph, count: int, seed: int) -> Samples:
    """Seeded samples over the calibrated range, corner cases first.

    Corners: all zero; saturating high, low and alternating; the shortest and the longest sequence. Then random ones of
    growing magnitude, every fourth beyond the calibrated range.
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
    shape = kind.shape
    if index == 0:
        value = np.zeros(shape)
    elif index < 4:
        signs = {1: 1.0, 2: -1.0}.get(index, 1.0)
        value = (
            np.full(shape, 4.0 * top * signs)
            if index < 3
            else 4.0 * top * np.where(np.arange(kind.size).reshape(shape) % 2, 1.0, -1.0)
        )
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
        reach = node.type.scale
        if reach is not None and len(inputs) == 1:
            top = reach * (2 ** (node.type.bits - 1) - 1)
            found[inputs[0]] = max(found.get(inputs[0], 0.0), top)
    return found


def _sources(graph: Graph, value: Value) -> Sequence[str]:
    frontier, found = [value], []
    while frontier:
        node = graph.producer(frontier.pop())
        if isinstance(node.op, Input):
            found.append(node.op.key)
        frontier += list(node.inputs)
    return found
