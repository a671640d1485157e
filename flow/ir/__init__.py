"""The intermediate representation: types, operators' base class, graph, printer, verifier."""

from flow.ir.graph import Graph, Node, Value
from flow.ir.op import REGISTRY, Array, Op, register
from flow.ir.printer import print_graph
from flow.ir.serial import graph_from_json, graph_to_json
from flow.ir.types import TensorType
from flow.ir.verify import verify

__all__ = [
    "REGISTRY",
    "Array",
    "Graph",
    "Node",
    "Op",
    "TensorType",
    "Value",
    "graph_from_json",
    "graph_to_json",
    "print_graph",
    "register",
    "verify",
]
