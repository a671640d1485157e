"""Factors behind a linear layer (layer scale) belong to its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatLinear, FloatScale
from flow.ops.quant import Dequantize
from flow.ops.source import Constant


@dataclass(frozen=True)
class FoldScales:
    """Before: `float.scale (float.linear %x %w %b) %g`. After: `float.linear %x (g[:, None] * w) (g * b)`.

    A dequantised weight keeps its integers; its scales take the magnitude of the factor, its integers the sign. The
    linear layer is copied where others read it unscaled.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for name in graph.names:
            node = graph[name]
            linear = graph.producer(node.inputs[0]) if isinstance(node.op, FloatScale) else None
            factor = graph.producer(node.inputs[1]).op if linear is not None else None
            if linear is None or not isinstance(linear.op, FloatLinear) or not isinstance(factor, Constant):
                continue
            gain = np.asarray(factor.value, np.float64)
            operands = [linear.inputs[0], *(_scaled(graph, v, gain) for v in linear.inputs[1:])]
            folded = graph.add(linear.name, FloatLinear(), operands, module=linear.module)
            graph.replace_value(Value(name), folded)
        return graph


def _scaled(graph: Graph, value: Value, gain: Array) -> Value:
    """A parameter with its rows multiplied by `gain` [N]."""
    node = graph.producer(value)
    if isinstance(node.op, Dequantize):
        return _scaled_integers(graph, node, gain)
    assert isinstance(node.op, Constant), node
    array = node.op.value
    rows = gain.reshape(-1, *[1] * (array.ndim - 1))
    return graph.add(node.name, Constant((array * rows).astype(array.dtype), node.op.key), module=node.module)


def _scaled_integers(graph: Graph, node: Node, gain: Array) -> Value:
    op, inner = node.op, graph.producer(node.inputs[0])
    assert isinstance(op, Dequantize)
    assert isinstance(inner.op, Constant), inner
    rows = (len(gain), *[1] * (inner.op.value.ndim - 1))
    signed = (inner.op.value * np.sign(gain).astype(np.int8).reshape(rows)).astype(inner.op.value.dtype)
    magnitude = np.where(
        gain == 0, 1.0, np.abs(gain)
    )  # a zeroed row has zero integers; its scale stays positive
    scale = np.broadcast_to(op.scale, gain.shape) * magnitude
    zero = np.broadcast_to(op.zero_point, gain.shape).copy()
    constant = graph.add(inner.name, Constant(signed, inner.op.key), module=inner.module)
    return graph.add(
        node.name, replace(op, scale=scale, zero_point=zero, axis=0), [constant], module=node.module
    )
