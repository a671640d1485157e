"""Mean pooling, with or without a mask, becomes `float.pool`. (First-token pooling is found by
`CancelMovement`.)"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatPool
from flow.passes.masks import mask_expression, sample_lengths
from flow.passes.movement import is_view, reshaped, to_rows
from flow.passes.regions import device_values


@dataclass(frozen=True)
class RecognisePool:
    """Before: `aten.mean.dim(%x: [1,S,C], [1])` or `(x * m).sum(1) / m.sum(1)`, m the expanded attention
    mask.

    After: `float.pool(mean) %rows (%attention_mask)`.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        device = device_values(graph)
        for name in graph.names:
            node = graph[name]
            if not isinstance(node.op, Aten) or node.name not in device:
                continue
            found = _plain(graph, node) or _masked(graph, node)
            if found is None:
                continue
            x, mask = found
            inputs = [to_rows(graph, x), *([mask] if mask is not None else [])]
            pool = graph.add(f"{node.name}_pool", FloatPool("mean"), inputs, module=node.module)
            graph.replace_value(Value(node.name), reshaped(graph, pool, node.type.shape))
        return graph


def _token_axis(shape: tuple[int, ...], dims: tuple[int, ...]) -> bool:
    return (
        len(shape) == 3 and 1 in shape[:2] and len(dims) == 1 and dims[0] % 3 == (1 if shape[0] == 1 else 0)
    )


def _plain(graph: Graph, node: Node) -> tuple[Value, Value | None] | None:
    op = node.op
    assert isinstance(op, Aten)
    if op.target != "aten.mean.dim" or not _token_axis(
        graph.type_of(node.inputs[0]).shape, tuple(op.arguments["dim"] or ())
    ):
        return None
    return node.inputs[0], None


def _masked(graph: Graph, node: Node) -> tuple[Value, Value | None] | None:  # noqa: PLR0911  (one per way to fail)
    op = node.op
    assert isinstance(op, Aten)
    if (
        op.target != "aten.div.Tensor"
        or len(node.inputs) != 2
        or op.arguments.get("rounding_mode") is not None
    ):
        return None
    total = _through(graph, node.inputs[0])
    if not isinstance(total.op, Aten) or total.op.target != "aten.sum.dim_IntList":
        return None
    shape = graph.type_of(total.inputs[0]).shape
    product = graph.producer(total.inputs[0])
    if not _token_axis(shape, tuple(total.op.arguments["dim"])) or not isinstance(product.op, Aten):
        return None
    if product.op.target != "aten.mul.Tensor" or len(product.inputs) != 2:
        return None
    denominator = mask_expression(graph, node.inputs[1])
    if denominator is None:
        return None
    for x, factor in (product.inputs, product.inputs[::-1]):
        weight = mask_expression(graph, factor)
        if weight is None or weight.mask is None or not isinstance(product.op.arguments["self"], Ref):
            continue
        tokens = shape[1] if shape[0] == 1 else shape[0]
        if all(_is_mean(weight.run(n), denominator.run(n), n, shape, tokens) for n in sample_lengths(tokens)):
            return x, weight.mask
    return None


def _is_mean(
    weight: np.ndarray, denominator: np.ndarray, length: int, shape: tuple[int, ...], tokens: int
) -> bool:
    prefix = (np.arange(tokens) < length).astype(float)
    want = prefix.reshape((1, tokens, 1) if shape[0] == 1 else (tokens, 1, 1))
    same = bool(
        (
            np.broadcast_to(weight, np.broadcast_shapes(weight.shape, shape)) == np.broadcast_to(want, shape)
        ).all()
    )
    return same and bool(np.allclose(denominator, length, rtol=1e-6))


def _through(graph: Graph, value: Value) -> Node:
    node = graph.producer(value)
    while is_view(graph, node):
        node = graph.producer(node.inputs[0])
    return node
