"""Fold what static shapes make constant, and drop what does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.source import Constant

_IDENTITIES = """
    alias.default clone.default contiguous.default detach.default detach_.default dropout.default
    dropout_.default feature_dropout.default lift_fresh_copy.default lift_fresh.default
    native_dropout.default alpha_dropout.default _assert_tensor_metadata.default
"""
IDENTITIES = frozenset(f"aten.{name}" for name in _IDENTITIES.split())
"""Operators that return their first operand when a model is in evaluation mode."""


@dataclass(frozen=True)
class FoldConstants:
    """Position tables, masks of static shapes, transposed weights.

    Before: `%p = aten.arange(16); %e = aten.embedding(%table, %p)`. After: `%e = constant(float32[16x64])`.
    Quantize and Dequantize nodes are never folded: they carry the scales that lowering needs. Casts between
    float types and dropout vanish.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for name in graph.names:
            node = graph[name]
            if not isinstance(node.op, Aten):
                continue
            if _is_identity(graph, node):
                graph.replace_value(Value(node.name), node.inputs[0])
            elif len(node.types) == 1 and all(
                isinstance(graph.producer(v).op, Constant) for v in node.inputs
            ):
                self._fold(graph, node)
        return graph

    def _fold(self, graph: Graph, node: Node) -> None:
        constants = [graph.producer(v).op for v in node.inputs]
        (array,) = node.op.golden(*(c.value for c in constants if isinstance(c, Constant)))
        keys = [c.key for c in constants if isinstance(c, Constant) and c.key]
        folded = graph.add(node.name, Constant(array, keys[0] if len(keys) == 1 else ""), module=node.module)
        graph.replace_value(Value(node.name), folded)


def _is_identity(graph: Graph, node: Node) -> bool:
    op = node.op
    assert isinstance(op, Aten)
    if not node.inputs or op.arguments.get("self", op.arguments.get("input")) != Ref(0):
        return False
    source = graph.type_of(node.inputs[0])
    if op.target in IDENTITIES:
        return True
    casts = op.target.startswith(
        ("aten.to.", "aten._to_copy.", "aten.type_as.", "aten.float.", "aten.expand.", "aten.view.dtype")
    )
    same = source.shape == node.type.shape and (
        source.dtype == node.type.dtype or (source.is_float and node.type.is_float)
    )
    return casts and same
