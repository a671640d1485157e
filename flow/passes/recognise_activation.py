"""Pointwise functions, as one operator or spelled out, become `float.activation`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.ir import Array, Graph, Node, Value
from flow.ops.aten import Aten
from flow.ops.float import ACTIVATIONS, FloatActivation
from flow.ops.post import OUTSIDE
from flow.ops.source import Constant
from flow.passes.movement import reshaped, to_rows

DIRECT = {
    "aten.relu.default": "relu",
    "aten.relu_.default": "relu",
    "aten.silu.default": "silu",
    "aten.silu_.default": "silu",
    "aten.tanh.default": "tanh",
    "aten.sigmoid.default": "sigmoid",
}
_ELEMENTWISE = """
    add.Tensor add.Scalar sub.Tensor mul.Tensor mul.Scalar div.Tensor div.Scalar pow.Tensor_Scalar
    pow.Scalar neg.default exp.default tanh.default erf.default sigmoid.default rsub.Scalar
    reciprocal.default clamp.default clamp_min.default relu.default square.default minimum.default
    maximum.default
"""
ELEMENTWISE = frozenset(f"aten.{name}" for name in _ELEMENTWISE.split())

FAR = np.array([-100.0, -30.0, -12.0, 12.0, 30.0, 100.0])
"""Points that tell a function from one that is clipped where activations seldom go."""


@dataclass(frozen=True)
class RecogniseActivation:
    """Before: `aten.gelu(%x, approximate='tanh')`, or `0.5*x*(1 + tanh(sqrt(2/pi)*(x + 0.044715*x^3)))`.

    After: `float.activation(gelu_tanh) %rows`. A spelled-out function is recognised by evaluating its
    elementwise region on [-8, 8] and a few points beyond, and comparing with each known function (within
    1e-5); an unknown one is left and refused by name.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in reversed(list(graph)):
            if not isinstance(node.op, Aten) or node.name not in graph:
                continue
            found = _direct(node) or (
                _spelled(graph, node) if node.op.target in ("aten.mul.Tensor", "aten.div.Tensor") else None
            )
            if found is None:
                continue
            source, kind = found
            activation = graph.add(
                f"{node.name}_{kind}", FloatActivation(kind), [to_rows(graph, source)], module=node.module
            )
            graph.replace_value(Value(node.name), reshaped(graph, activation, node.type.shape))
            graph.prune(keep=[n.name for n in graph if n.op.name == "input"])
        return graph


def _direct(node: Node) -> tuple[Value, str] | None:
    assert isinstance(node.op, Aten)
    if not node.type.is_float or not node.inputs:
        return None
    if node.op.target in ("aten.gelu.default", "aten.gelu_.default"):
        return node.inputs[0], "gelu_tanh" if node.op.arguments["approximate"] == "tanh" else "gelu"
    outside = {target: name for name, stage in OUTSIDE.items() for target in stage.targets}
    kind = (DIRECT | outside).get(node.op.target)
    return None if kind is None else (node.inputs[0], kind)


def _spelled(graph: Graph, sink: Node) -> tuple[Value, str] | None:
    """(source, kind) if `sink` ends an elementwise region with one variable source that computes a known
    function."""
    region: list[Node] = []
    sources: set[Value] = set()
    frontier = [Value(sink.name)]
    while frontier:
        value = frontier.pop()
        node = graph.producer(value)
        if any(node.name == n.name for n in region):
            continue
        if (
            isinstance(node.op, Aten)
            and node.op.target in ELEMENTWISE
            and node.type.shape == sink.type.shape
            and len(region) < 16
        ):
            region.append(node)
            frontier += node.inputs
        elif not (isinstance(node.op, Constant) and node.op.value.size == 1):
            sources.add(value)
    if len(sources) != 1 or len(region) < 2:
        return None
    (source,) = sources
    grid = np.concatenate([np.linspace(-8.0, 8.0, 1025), FAR])
    try:
        result = _evaluate(graph, region, source, grid)
    except (TypeError, ValueError):
        return None
    for kind, function in ACTIVATIONS.items():
        if np.allclose(result, function(grid), rtol=1e-6, atol=1e-5):
            return source, kind
    return None


def _evaluate(graph: Graph, region: list[Node], source: Value, grid: Array) -> Array:
    values: dict[Value, Array] = {source: grid}
    names = {node.name for node in region}
    result = grid
    for node in (n for n in graph if n.name in names):
        operands = []
        for value in node.inputs:
            op = graph.producer(value).op
            operands.append(
                values[value]
                if value in values
                else np.asarray(op.value if isinstance(op, Constant) else None, np.float64).reshape(())
            )
        assert isinstance(node.op, Aten)
        (result,) = node.op.evaluate(*operands)
        values[Value(node.name)] = result
    return result
