"""The intermediate representation: types, operators' base class, graph, printer, verifier."""

from flow.ir.graph import Graph, Node, Value
from flow.ir.op import REGISTRY, Array, Op, register
from flow.ir.printer import print_graph
from flow.ir.types import TensorType
from flow.ir.verify import verify

__all__ = ["REGISTRY", "Array", "Graph", "Node", "Op", "TensorType", "Value", "print_graph", "register", "verify"]
