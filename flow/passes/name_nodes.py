"""Names that a user knows: nodes are called after the torch module or parameter that they come from."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flow.ir import Graph, Node, Value
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.quant import Dequantize, Quantize
from flow.ops.source import Constant

PACKED = re.compile(r"^(?P<stem>.*)\bin_proj_weight\W?_?(?P<first>\d+)[:_](?P<last>\d+)\W?_?$")
"""The key of a slice of a packed projection: `self_attn.in_proj_weight[64:128]`, or as a parameter's name."""

SUFFIX = {FloatScale: "scaled", Quantize: "q", Dequantize: "d"}


@dataclass(frozen=True)
class NameNodes:
    """Before: `%linear_5_linear`, `%linear_5_linear_q_1`, `%add_2_add`.
    After: `%encoder_layers_0_linear1`, `%encoder_layers_0_linear1_q`, `%encoder_layers_0_add`. A name that
    is taken gets a number.
    """

    def __call__(self, graph: Graph) -> Graph:
        named = Graph(graph.name)
        values: dict[Value, Value] = {}
        for node in graph:
            value = named.add(
                _stem(graph, node, values), node.op, [values[v] for v in node.inputs], module=node.module
            )
            for i in range(len(node.types)):
                values[Value(node.name, i)] = Value(value.node, i)
        named.set_outputs({name: values[value] for name, value in graph.outputs.items()})
        return named


def _stem(graph: Graph, node: Node, values: dict[Value, Value]) -> str:
    op = node.op
    if isinstance(op, (FloatLinear, FloatNorm, FloatAttention, FloatAdd, FloatPool, FloatActivation)):
        return _operator(graph, node)
    if isinstance(op, (FloatScale, Quantize, Dequantize)):
        return f"{values[node.inputs[0]].node}_{SUFFIX[type(op)]}"
    return op.key if isinstance(op, Constant) and op.key else node.name


def _operator(graph: Graph, node: Node) -> str:
    """The module, and what it does there where a module holds more than one operator."""
    op = node.op
    if isinstance(op, FloatLinear):
        return _linear(graph, node)
    if isinstance(op, FloatNorm):
        return node.module or _key(graph, node.inputs[1]).removesuffix(".weight") or "norm"
    action = op.kind if isinstance(op, FloatActivation) else op.name.removeprefix("float.")
    return f"{node.module}.{action}" if node.module else action


def _linear(graph: Graph, node: Node) -> str:
    key = _key(graph, node.inputs[1])
    packed = PACKED.match(key)
    if packed is not None:
        part = int(packed["first"]) // max(1, int(packed["last"]) - int(packed["first"]))
        return packed["stem"] + ("q", "k", "v")[part] if part < 3 else key
    return key.removesuffix(".weight") or (f"{node.module}.linear" if node.module else "linear")


def _key(graph: Graph, value: Value) -> str:
    """The parameter's name behind a value, '' if it has none."""
    node = graph.producer(value)
    while isinstance(node.op, (Dequantize, Quantize)):
        node = graph.producer(node.inputs[0])
    return node.op.key if isinstance(node.op, Constant) else ""
