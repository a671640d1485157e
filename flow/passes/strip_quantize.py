"""The float model inside a QDQ graph: what the integers are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from flow.ir import Graph, Value
from flow.ops.quant import Dequantize, Quantize


@dataclass(frozen=True)
class StripQuantize:
    """Before: `%q = quantize %x; %d = dequantize %q; use %d`. After: `use %x`. Dequantised constants
    (weights) stay."""

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            if isinstance(node.op, Dequantize):
                source = graph.producer(graph[node.name].inputs[0])
                if isinstance(source.op, Quantize):
                    graph.replace_value(Value(node.name), source.inputs[0])
        return graph


def float_value(graph: Graph, quantize: str) -> Value | None:
    """In the unstripped graph: the real value that the Quantize node of this name rounds, behind any earlier
    rounding of it."""
    if quantize not in graph or not isinstance(graph[quantize].op, Quantize):
        return None
    value = graph[quantize].inputs[0]
    while isinstance(graph.producer(value).op, Dequantize) and isinstance(
        graph.producer(graph.producer(value).inputs[0]).op, Quantize
    ):
        value = graph.producer(graph.producer(value).inputs[0]).inputs[0]
    return value
