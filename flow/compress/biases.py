"""Biases that attention does not need where they are: an exact rewrite, float graph to equal float graph.

A bias on keys adds q.b to every score of a query's row, and softmax is unchanged by what a whole row shares, so it is
dropped. Probabilities of a row sum to 1, so a bias on values adds itself to every context, and the layers that read the
context can add its product with their weights instead:

    softmax(q (k + b)^T) = softmax(q k^T)          W (sum_j p_j (v_j + b)) + c = W (sum_j p_j v_j) + (W b + c)

Either bias would otherwise widen the range of an int8 tensor that its weights must share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatAttention, FloatLinear
from flow.ops.source import Constant


@dataclass(frozen=True)
class MoveBiases:
    """Rewrites the projections of every attention and the layers behind it.

    Before: `%k = float.linear %x %w %b; %v = float.linear %x %u %c; %o = float.linear (float.attention %q %k %v) %p`.
    After: `%k = float.linear %x %w; %v = float.linear %x %u; %o = float.linear (float.attention %q %k %v) %p (p c)`.
    Left alone: keys and values that something else reads, and values where not only linear layers read the context.
    """

    def __call__(self, graph: Graph) -> Graph:
        out = graph.copy()
        for node in graph:
            if isinstance(node.op, FloatAttention):
                _drop_key_bias(out, out[node.name])
                _move_value_bias(out, out[node.name])
        out.prune(keep=[node.name for node in graph if not isinstance(node.op, Constant)])
        return out


def _drop_key_bias(graph: Graph, attention: Node) -> None:
    if _bias(graph, attention, 1) is not None:
        keys = graph.producer(attention.inputs[1])
        graph.rewire(keys.name, keys.inputs[:2])


def _move_value_bias(graph: Graph, attention: Node) -> None:
    context, bias = Value(attention.name), _bias(graph, attention, 2)
    readers = graph.users(context)
    if bias is None or graph.is_output(context) or not readers:
        return
    if not all(isinstance(r.op, FloatLinear) and _constants(graph, r) for r in readers):
        return
    for reader in readers:
        weight, old = graph.producer(reader.inputs[1]), [graph.producer(v) for v in reader.inputs[2:]]
        assert isinstance(weight.op, Constant)
        moved = weight.op.value.astype(np.float64) @ bias.astype(np.float64)
        key = ""
        for constant in old:
            assert isinstance(constant.op, Constant)
            moved, key = moved + constant.op.value, constant.op.key
        stem = old[0].name if old else f"{reader.name}_bias"
        value = graph.add(stem, Constant(moved.astype(np.float32), key), module=reader.module)
        graph.rewire(reader.name, [*reader.inputs[:2], value])
    values = graph.producer(attention.inputs[2])
    graph.rewire(values.name, values.inputs[:2])


def _bias(graph: Graph, attention: Node, operand: int) -> Array | None:
    """The bias of the linear layer that makes an operand of `attention` and nothing else."""
    value = attention.inputs[operand]
    node = graph.producer(value)
    if not isinstance(node.op, FloatLinear) or len(node.inputs) != 3 or not _constants(graph, node):
        return None
    sole = [u.name for u in graph.users(value)] == [attention.name] and attention.inputs.count(value) == 1
    bias = graph.producer(node.inputs[2]).op
    return bias.value if sole and not graph.is_output(value) and isinstance(bias, Constant) else None


def _constants(graph: Graph, linear: Node) -> bool:
    return all(isinstance(graph.producer(v).op, Constant) for v in linear.inputs[1:])
