"""Merge nodes that compute the same thing from the same values."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten
from flow.ops.quant import QuantSpec


@dataclass(frozen=True)
class ShareCommon:
    """Before: `%a = reshape[16,64] %x; %b = reshape[16,64] %x`. After: `%a` alone, read by the users of both.

    Raw operators and QDQ are compared by attributes; constants and device operators are left alone.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        first: dict[Hashable, str] = {}
        for name in graph.names:
            node = graph[name]
            key = _key(node)
            if key is None:
                continue
            kept = first.setdefault(key, node.name)
            if kept != node.name:
                for i in range(len(node.types)):
                    graph.replace_value(Value(node.name, i), Value(kept, i))
        return graph


def _key(node: Node) -> Hashable | None:
    op = node.op
    if isinstance(op, Aten):
        return (op.target, repr(sorted(op.arguments.items())), str(op.results), node.inputs)
    if isinstance(op, QuantSpec):
        return (
            op.name,
            op.scale.tobytes(),
            op.zero_point.tobytes(),
            op.qmin,
            op.qmax,
            op.dtype,
            op.axis,
            node.inputs,
        )
    return None
