"""Matrix products with constant weights become `float.linear` on `[S, C]`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten
from flow.ops.float import FloatLinear
from flow.ops.quant import Dequantize
from flow.ops.source import Constant
from flow.passes.movement import is_movement, reshaped, to_rows, trace


@dataclass(frozen=True)
class RecogniseLinear:
    """Before: `%y: [1,S,N] = aten.linear(%x, %w, %b)`, or addmm, mm, matmul with a constant.

    After: `%r: [S,C] = reshape(%x); %l: [S,N] = float.linear %r %w %b; %y = reshape(%l)`.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            operands = _operands(graph, graph[node.name]) if isinstance(node.op, Aten) else None
            if operands is None:
                continue
            x, weight, bias = operands
            inputs = [to_rows(graph, x), weight, *([bias] if bias is not None else [])]
            linear = graph.add(f"{node.name}_linear", FloatLinear(), inputs, module=node.module)
            graph.replace_value(Value(node.name), reshaped(graph, linear, node.type.shape))
        return graph


def _operands(graph: Graph, node: Node) -> tuple[Value, Value, Value | None] | None:
    """(x, weight [N, C], bias) if the node is a product with a constant matrix."""
    op = node.op
    assert isinstance(op, Aten)

    def operand(name: str) -> Value | None:
        ref = op.arguments.get(name)
        return None if ref is None else node.inputs[ref.operand]

    if op.target == "aten.linear.default":
        x, weight, bias = operand("input"), operand("weight"), operand("bias")
        transposed = False
    elif (
        op.target == "aten.addmm.default"
        and op.arguments.get("alpha", 1) == 1
        and op.arguments.get("beta", 1) == 1
    ):
        x, weight, bias, transposed = operand("mat1"), operand("mat2"), operand("self"), True
    elif op.target in ("aten.mm.default", "aten.matmul.default"):
        x, weight = operand("self"), operand("mat2") or operand("other")
        bias, transposed = None, True
    else:
        return None
    if x is None or weight is None or not is_parameter(graph, weight):
        return None
    if bias is not None and (not is_parameter(graph, bias) or len(graph.type_of(bias).shape) != 1):
        return None
    matrix = _matrix(graph, weight, transposed)
    return None if matrix is None else (x, matrix, bias)


def is_parameter(graph: Graph, value: Value) -> bool:
    """A constant, perhaps dequantised, perhaps viewed."""
    node = graph.producer(value)
    while isinstance(node.op, Dequantize) or is_movement(node):
        node = graph.producer(node.inputs[0])
    return isinstance(node.op, Constant)


def _matrix(graph: Graph, value: Value, transposed: bool) -> Value | None:
    """The weight as a `[N, C]` constant under at most one Dequantize; None if its view is not a plain matrix
    or transpose."""
    found = trace(graph, value, through_quants=False)
    source = graph.producer(found.source)
    inner = graph.producer(source.inputs[0]).op if isinstance(source.op, Dequantize) else source.op
    if not isinstance(inner, Constant) or found.indices.ndim != 2 or inner.value.ndim != 2:
        return None
    indices = found.indices.T if transposed else found.indices
    flipped = indices.shape != inner.value.shape or indices[0, -1] != indices.shape[1] - 1
    array = inner.value.T if flipped else inner.value
    if array.shape != indices.shape or inner.value.size != indices.size:
        return None
    if not flipped:
        return found.source
    constant = graph.add(source.name, Constant(array, inner.key), module=source.module)
    if not isinstance(source.op, Dequantize):
        return constant
    axis = None if source.op.axis is None else 1 - source.op.axis
    return graph.add(source.name, replace(source.op, axis=axis), [constant], module=source.module)
