"""SmoothQuant: move outlier channels of activations into the weights that read them.

A rewrite from float graph to equal float graph, after "SmoothQuant: Accurate and Efficient Post-Training Quantization
for Large Language Models" (ICML 2023). With s[c] = a[c]^alpha / w[c]^(1-alpha), where a[c] is the largest magnitude of
activation channel c and w[c] that of column c over all weights that read it, x is divided and W multiplied by s.

Before and after, for a norm and the linear layers that read it:

    y = linear(norm(x), W)          y = linear(scale(norm(x), 1/s), W * s)

The hardware folds the scale into the norm's gain. For an attention, the rows of the value projection take the scale:

    linear(attention(q, k, linear(x, V, b)), O)     linear(attention(q, k, linear(x, V/s, b/s)), O * s)

and queries and keys, whose channels meet only in their products, share their ranges evenly: with t[c] =
sqrt(k[c] / q[c]) of the largest magnitudes, rows of Q are multiplied and rows of K divided by t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.compress.calibrate import Ranges
from flow.ir import Graph, Node, Value
from flow.ops.float import FloatAttention, FloatLinear, FloatNorm, FloatPool, FloatScale
from flow.ops.source import Constant

Real = npt.NDArray[np.float64]

ACTIVATION_FLOOR = 1e-5
"""Smallest channel magnitude that is told apart from a dead channel."""


@dataclass(frozen=True)
class Smooth:
    """The rewrite: `alpha` shares the difficulty between activations (1) and weights (0).

    `floor` is the least w[c] as a share of the largest: a fully pruned column would otherwise blow its scale up.
    """

    alpha: float = 0.5
    floor: float = 0.02

    def __call__(self, graph: Graph, ranges: Ranges) -> tuple[Graph, Ranges]:
        """The smoothed graph and the ranges of its values; linear layers whose weight is no constant are left alone."""
        out = graph.copy()
        for node in graph:
            if isinstance(node.op, FloatNorm):
                ranges = self._norm(out, node, ranges)
            elif isinstance(node.op, FloatPool):
                ranges = self._pool(out, node, ranges)
            elif isinstance(node.op, FloatAttention):
                ranges = self._context(out, node, ranges)
                ranges = self._scores(out, node, ranges)
        out.prune(keep=[node.name for node in graph if not isinstance(node.op, Constant)])
        return out, ranges

    def factors(self, magnitudes: Real, weights: Sequence[Real]) -> Real:
        """s[c] > 0 with geometric mean 1, from activation magnitudes [C] and the weights [N, C] that read them."""
        a = np.maximum(magnitudes, ACTIVATION_FLOOR)
        w = np.max([np.abs(x).max(axis=0) for x in weights], axis=0)
        w = np.maximum(w, w.max() * self.floor)
        if not w.any():
            return np.ones_like(a)
        log = self.alpha * np.log(a) - (1 - self.alpha) * np.log(w)
        # float32 values, as the model's file holds them
        s: Real = np.exp(log - log.mean()).astype(np.float32).astype(np.float64)
        return s

    def _norm(self, graph: Graph, norm: Node, ranges: Ranges) -> Ranges:
        value = Value(norm.name)
        readers = [user for user in graph.users(value) if _reads_constant(graph, user, value)]
        if not readers:
            return ranges
        s = self.factors(ranges[value].channels, [_weight(graph, user) for user in readers])
        scaled = _divided(graph, norm, s)
        for user in readers:
            _rewrite(graph, user.name, _weight(graph, user) * s, data=scaled)
        return ranges.updated({scaled: ranges[value].scaled(1 / s)})

    def _pool(self, graph: Graph, pool: Node, ranges: Ranges) -> Ranges:
        """Pooling keeps channels apart: a norm that only a pool reads is scaled for the layers behind the pool."""
        value, source = Value(pool.name), graph[pool.name].inputs[0]
        norm, readers = graph.producer(source), graph.users(value)
        if (
            not isinstance(norm.op, FloatNorm)
            or not _sole_reader(graph, source, pool)
            or graph.is_output(value)
        ):
            return ranges
        if not readers or not all(_reads_constant(graph, user, value) for user in readers):
            return ranges
        s = self.factors(ranges[value].channels, [_weight(graph, user) for user in readers])
        scaled = _divided(graph, norm, s)
        graph.rewire(pool.name, [scaled, *graph[pool.name].inputs[1:]])
        for user in readers:
            _rewrite(graph, user.name, _weight(graph, user) * s)
        return ranges.updated({scaled: ranges[source].scaled(1 / s), value: ranges[value].scaled(1 / s)})

    def _context(self, graph: Graph, attention: Node, ranges: Ranges) -> Ranges:
        context, values = Value(attention.name), graph[attention.name].inputs[2]
        readers = graph.users(context)
        if not _is_projection(graph, values, attention) or graph.is_output(context) or not readers:
            return ranges
        if not all(_reads_constant(graph, user, context) for user in readers):
            return ranges
        s = self.factors(ranges[context].channels, [_weight(graph, user) for user in readers])
        for user in readers:
            _rewrite(graph, user.name, _weight(graph, user) * s)
        _divide_rows(graph, values, s)
        return ranges.updated({values: ranges[values].scaled(1 / s), context: ranges[context].scaled(1 / s)})

    def _scores(self, graph: Graph, attention: Node, ranges: Ranges) -> Ranges:
        queries, keys = graph[attention.name].inputs[:2]
        if not (_is_projection(graph, queries, attention) and _is_projection(graph, keys, attention)):
            return ranges
        q, k = (
            np.maximum(r, max(r.max() * self.floor, ACTIVATION_FLOOR))
            for r in (ranges[queries].channels, ranges[keys].channels)
        )
        t = np.sqrt(k / q).astype(np.float32).astype(np.float64)
        _divide_rows(graph, queries, 1 / t)
        _divide_rows(graph, keys, t)
        return ranges.updated({queries: ranges[queries].scaled(t), keys: ranges[keys].scaled(1 / t)})


def _sole_reader(graph: Graph, value: Value, reader: Node) -> bool:
    """Whether `reader` alone reads `value`, as one operand, and it is no output."""
    users = [user.name for user in graph.users(value)]
    return (
        users == [reader.name] and graph[reader.name].inputs.count(value) == 1 and not graph.is_output(value)
    )


def _is_projection(graph: Graph, value: Value, attention: Node) -> bool:
    """Whether `value` is a linear layer's result made for this operand of `attention` alone."""
    return _reads_constant(graph, graph.producer(value), None) and _sole_reader(graph, value, attention)


def _divided(graph: Graph, norm: Node, s: Real) -> Value:
    """A scale behind a norm that divides its channels by `s`."""
    constant = Constant((1.0 / s).astype(np.float32), f"{norm.module or norm.name}.smooth")
    factor = graph.add(f"{norm.name}_factor", constant, module=norm.module)
    return graph.add(f"{norm.name}_scale", FloatScale(), [Value(norm.name), factor], norm.module)


def _divide_rows(graph: Graph, value: Value, s: Real) -> None:
    """Divide the channels of a linear layer's result by `s`."""
    producer = graph.producer(value)
    _rewrite(graph, producer.name, _weight(graph, producer) / s[:, None], rows=s)


def _reads_constant(graph: Graph, node: Node, data: Value | None) -> bool:
    """Whether `node` is a linear layer with constant parameters that reads `data` (any, if None) as its input."""
    if not isinstance(node.op, FloatLinear) or (data is not None and node.inputs[0] != data):
        return False
    return all(isinstance(graph.producer(v).op, Constant) for v in node.inputs[1:])


def _constant(graph: Graph, value: Value) -> Constant:
    op = graph.producer(value).op
    assert isinstance(op, Constant)
    return op


def _weight(graph: Graph, linear: Node) -> Real:
    return _constant(graph, graph[linear.name].inputs[1]).value.astype(np.float64)


def _rewrite(
    graph: Graph, name: str, weight: Real, data: Value | None = None, rows: Real | None = None
) -> None:
    """Give a linear layer a new weight, input and, if its rows were divided, bias."""
    node = graph[name]
    old = graph.producer(node.inputs[1])
    inputs = [node.inputs[0] if data is None else data, _replacement(graph, old, weight)]
    if len(node.inputs) == 3:
        bias = graph.producer(node.inputs[2])
        value = _constant(graph, node.inputs[2]).value
        inputs.append(node.inputs[2] if rows is None else _replacement(graph, bias, value / rows))
    graph.rewire(name, inputs)


def _replacement(graph: Graph, old: Node, value: Real) -> Value:
    assert isinstance(old.op, Constant)
    return graph.add(old.name, Constant(value.astype(np.float32), old.op.key), module=old.module)
