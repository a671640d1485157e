"""Residual additions, position tables and SmoothQuant factors become `float.add` and `float.scale`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatAdd, FloatScale
from flow.ops.source import Constant
from flow.passes.movement import reshaped, to_rows
from flow.passes.regions import device_values


@dataclass(frozen=True)
class RecogniseAdd:
    """Before: `aten.add.Tensor(%x, %y)` of equal `[.., C]` shapes, or with a broadcast constant;
    `aten.mul.Tensor(%x, constant[C])`.

    After: `float.add %xr %yr`, the constant expanded to `[S, C]`; `float.scale %xr %constant`. Sums of host
    values stay on the host.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        device = device_values(graph)
        for name in graph.names:
            node = graph[name]
            if not isinstance(node.op, Aten) or node.name not in device or not _binary(node):
                continue
            if (
                node.op.target in ("aten.add.Tensor", "aten.add_.Tensor")
                and node.op.arguments.get("alpha", 1) == 1
            ):
                result = self._add(graph, node)
            elif node.op.target in ("aten.mul.Tensor", "aten.div.Tensor"):
                result = self._scale(graph, node)
            else:
                continue
            if result is not None:
                graph.replace_value(Value(node.name), reshaped(graph, result, node.type.shape))
        return graph

    def _add(self, graph: Graph, node: Node) -> Value | None:
        rows = []
        for value in node.inputs:
            op = graph.producer(value).op
            if isinstance(op, Constant):
                table = np.broadcast_to(op.value, node.type.shape).reshape(-1, node.type.shape[-1])
                rows.append(graph.add(f"{node.name}_table", Constant(np.ascontiguousarray(table), op.key)))
            elif graph.type_of(value).shape == node.type.shape:
                rows.append(to_rows(graph, value))
            else:
                return None
        return graph.add(f"{node.name}_add", FloatAdd(), rows, module=node.module)

    def _scale(self, graph: Graph, node: Node) -> Value | None:
        assert isinstance(node.op, Aten)
        divides = node.op.target == "aten.div.Tensor"
        for x, factor in (node.inputs,) if divides else (node.inputs, node.inputs[::-1]):
            op = graph.producer(factor).op
            channels = node.type.shape[-1]
            if (
                isinstance(op, Constant)
                and op.value.size == channels
                and (not op.value.shape or op.value.shape[-1] == channels)
            ):
                value = np.asarray(1.0 / op.value if divides else op.value, np.float32).reshape(channels)
                constant = graph.add(f"{node.name}_factor", Constant(value, op.key))
                return graph.add(
                    f"{node.name}_scale", FloatScale(), [to_rows(graph, x), constant], module=node.module
                )
        return None


def _binary(node: Node) -> bool:
    assert isinstance(node.op, Aten)
    arguments = node.op.arguments
    return (
        len(node.inputs) == 2
        and isinstance(arguments.get("self"), Ref)
        and isinstance(arguments.get("other"), Ref)
        and node.type.is_float
    )
