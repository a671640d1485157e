"""How far integers are from the float model: of every edge, and of the model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Array, Graph, Node
from flow.ops.quant import Quantize
from flow.ops.source import Constant
from flow.passes.masks import MASK_KEY


@dataclass(frozen=True)
class EdgeError:
    """SQNR in dB of one quantized edge: `own` by rounding it alone, `total` of the integers that reach it.

    None stands for an edge without noise or without signal.
    """

    name: str
    kind: str
    own: float | None
    total: float | None

    def to_json(self) -> dict[str, Any]:
        """One row of the report."""
        return {"edge": self.name, "type": self.kind, "own_db": self.own, "total_db": self.total}


@dataclass
class _Sums:
    signal: float = 0.0
    own: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class OutputError:
    """Of every output, over all samples: SQNR in dB, and the mean over samples of the cosine to the float output.

    `noise` is the mean over outputs of noise power as a share of signal power.
    """

    sqnr_db: Mapping[str, float]
    cosine: Mapping[str, float]
    noise: float


def float_outputs(graph: Graph, samples: Sequence[Sample]) -> list[dict[str, Array]]:
    """Outputs of a float graph for each sample."""
    return [execute(graph, sample) for sample in samples]


def output_error(
    graph: Graph, samples: Sequence[Sample], expected: Sequence[Mapping[str, Array]]
) -> OutputError:
    """The error of an integer (or QDQ) graph's outputs at real tokens; an output that is all zero counts as exact."""
    found = [execute(graph, sample) for sample in samples]
    sqnr, cosine, shares = {}, {}, []
    for name in graph.outputs:
        pairs = [
            (_valid(want[name], sample).reshape(-1), _valid(got[name], sample).reshape(-1))
            for want, got, sample in zip(expected, found, samples, strict=True)
        ]
        signal = sum(float(want @ want) for want, _ in pairs)
        noise = sum(float(np.square(got - want).sum()) for want, got in pairs)
        share = noise / signal if signal else 0.0
        sqnr[name] = decibels(signal, noise)
        cosine[name] = float(np.mean([_cosine(want, got) for want, got in pairs]))
        shares.append(share)
    return OutputError(sqnr, cosine, float(np.mean(shares)))


def edge_errors(
    floats: Graph, quantized: Graph, integers: Graph, samples: Sequence[Sample]
) -> tuple[EdgeError, ...]:
    """Every quantized edge in topological order.

    `floats` is the graph that `quantized` was made from, `integers` what lowering makes of it; nodes go by their names.
    """
    edges = {
        node.name: node
        for node in quantized
        if isinstance(node.op, Quantize)
        and not isinstance(quantized.producer(node.inputs[0]).op, Constant)
        and node.inputs[0].node in floats
    }
    sums = {name: _Sums() for name in edges}
    for sample in samples:
        real = _observed(floats, sample, {node.inputs[0].node for node in edges.values()})
        whole = _observed(integers, sample, set(edges))
        for name, node in edges.items():
            x = _rows(np.asarray(real[node.inputs[0].node], np.float64), sample)
            _add(sums[name], node, x, whole.get(name), integers, sample)
    return tuple(_edge(edges[name], found) for name, found in sums.items())


def _add(sums: _Sums, node: Node, x: Array, integer: Array | None, integers: Graph, sample: Sample) -> None:
    op = node.op
    assert isinstance(op, Quantize)
    (codes,) = op.golden(x)
    sums.signal += float(np.square(x).sum())
    sums.own += float(np.square((codes.astype(np.float64) - op.zero_point) * op.scale - x).sum())
    if integer is not None:
        kind = integers[node.name].type
        dequantised = (_rows(integer, sample).astype(np.float64) - kind.zero_point) * (kind.scale or 1.0)
        sums.total += float(np.square(dequantised - x).sum())


def _edge(node: Node, sums: _Sums) -> EdgeError:
    op = node.op
    assert isinstance(op, Quantize)
    kind = f"{'u' if op.qmin == 0 else ''}int{op.bits}"
    own, total = (_finite(decibels(sums.signal, noise)) for noise in (sums.own, sums.total))
    return EdgeError(node.name.removesuffix("_q"), kind, own, total)


def worst(edges: Sequence[EdgeError], key: Callable[[EdgeError], float | None]) -> EdgeError | None:
    """The edge of the least SQNR, None if none has any."""
    return min((e for e in edges if key(e) is not None), key=lambda e: key(e) or 0.0, default=None)


def decibels(signal: float, noise: float) -> float:
    """10 log10(signal / noise); inf without noise, -inf without signal."""
    if not noise:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal else float("-inf")


def _finite(value: float) -> float | None:
    return round(value, 2) if np.isfinite(value) else None


def _cosine(want: Array, got: Array) -> float:
    lengths = float(np.linalg.norm(want)) * float(np.linalg.norm(got))
    return float(want.astype(np.float64) @ got.astype(np.float64)) / lengths if lengths else 1.0


def _observed(graph: Graph, sample: Sample, names: set[str]) -> dict[str, Array]:
    found: dict[str, Array] = {}

    def observe(node: Node, results: tuple[Array, ...]) -> None:
        if node.name in names:
            found[node.name] = np.asarray(results[0])

    execute(graph, sample, observe)
    return found


def _rows(x: Array, sample: Sample) -> Array:
    """The rows of real tokens of a device tensor [S, C]."""
    mask = sample.get(MASK_KEY)
    return x if mask is None or x.ndim != 2 or x.shape[0] != mask.size else x[: int(np.count_nonzero(mask))]


def _valid(output: Array, sample: Sample) -> Array:
    """The rows of real tokens, where an output has one row a token."""
    mask = sample.get(MASK_KEY)
    if mask is None or output.ndim < 2 or output.shape[-2] != mask.shape[-1]:
        return output
    return output[..., : int(np.count_nonzero(mask)), :]
