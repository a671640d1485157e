"""The executor: evaluates a graph of any level with its operators' own semantics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flow.errors import FlowError
from flow.ir import Array, Graph, Node, Value
from flow.ops.source import Input

Observer = Callable[[Node, tuple[Array, ...]], None]


def execute(graph: Graph, inputs: Mapping[str, Array], observe: Observer | None = None) -> dict[str, Array]:
    """Outputs by name for one sample.

    `inputs` maps each input key to an array of exactly the input's shape (batch 1 included). `observe` is called with
    every node and its outputs, in topological order. Values are dropped after their last use.

    Raises:
        FlowError: an input is missing or has another shape.
    """
    values: dict[str, tuple[Array, ...]] = {}
    remaining = {
        node.name: len({u.name for i in range(len(node.types)) for u in graph.users(Value(node.name, i))})
        for node in graph
    }
    held = {value.node for value in graph.outputs.values()}
    for node in graph:
        results = (
            (_bind(node, inputs),)
            if isinstance(node.op, Input)
            else node.op.golden(*(values[v.node][v.index] for v in node.inputs))
        )
        values[node.name] = results
        if observe is not None:
            observe(node, results)
        for name in {v.node for v in node.inputs}:
            remaining[name] -= 1
            if remaining[name] == 0 and name not in held:
                del values[name]
    return {name: values[value.node][value.index] for name, value in graph.outputs.items()}


def _bind(node: Node, inputs: Mapping[str, Array]) -> Array:
    op = node.op
    assert isinstance(op, Input)
    if op.key not in inputs:
        raise FlowError(
            f"inputs: found {', '.join(sorted(inputs)) or 'nothing'}; expected an array named {op.key!r}"
        )
    array = np.asarray(inputs[op.key])
    if array.shape != op.type.shape:
        raise FlowError(f"input {op.key}: found shape {array.shape}; expected {op.type.shape}")
    return array
