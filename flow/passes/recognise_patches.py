"""Vision front ends: patch convolutions and prefix (class, distillation) tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatAdd, FloatLinear
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.source import Constant
from flow.passes.movement import is_identity, permuted, reshaped, trace
from flow.passes.recognise_linear import is_parameter


@dataclass(frozen=True)
class RecognisePatches:
    """A convolution whose stride is its kernel is a linear layer on patches.

    Before: `aten.conv2d(%x: [1,c,H,W], %w: [N,c,k,l], %b, stride=[k,l])`.
    After: `%p = reshape/permute(%x): [H/k*W/l, c*k*l]; %l = float.linear %p %w2 %b`, viewed back as
    `[1,N,H/k,W/l]`. `CancelMovement` moves the cutting of patches to the host.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            if isinstance(node.op, Aten) and node.op.target in (
                "aten.conv2d.default",
                "aten.conv2d.padding",
                "aten.convolution.default",
            ):
                self._rewrite(graph, graph[node.name])
        return graph

    def _rewrite(self, graph: Graph, node: Node) -> None:
        op = node.op
        assert isinstance(op, Aten)
        x, w = node.inputs[op.arguments["input"].operand], node.inputs[op.arguments["weight"].operand]
        kernel = graph.type_of(w).shape[2:]
        if len(graph.type_of(x).shape) != 4 or not is_parameter(graph, w):
            return
        n, c, height, width = graph.type_of(x).shape
        padding = op.arguments["padding"]
        plain = padding == "valid" or (not isinstance(padding, str) and not any(padding))
        if (
            tuple(op.arguments["stride"]) != kernel
            or not plain
            or any(d != 1 for d in op.arguments["dilation"])
            or op.arguments["groups"] != 1
            or n != 1
            or op.arguments.get("transposed")
        ):
            return
        gh, gw = height // kernel[0], width // kernel[1]
        if gh * kernel[0] != height or gw * kernel[1] != width:
            return
        cut = permuted(graph, reshaped(graph, x, (c, gh, kernel[0], gw, kernel[1])), (1, 3, 0, 2, 4))
        rows = reshaped(graph, cut, (gh * gw, c * kernel[0] * kernel[1]))
        bias = op.arguments.get("bias")
        operands = [
            rows,
            _flat_weight(graph, w),
            *([node.inputs[bias.operand]] if isinstance(bias, Ref) else []),
        ]
        linear = graph.add(f"{node.name}_linear", FloatLinear(), operands, module=node.module)
        back = permuted(graph, reshaped(graph, linear, (gh, gw, node.type.shape[1])), (2, 0, 1))
        graph.replace_value(Value(node.name), reshaped(graph, back, node.type.shape))


def _flat_weight(graph: Graph, value: Value) -> Value:
    node = graph.producer(value)
    if isinstance(node.op, Dequantize):
        return graph.add(
            node.name, replace(node.op), [_flat_weight(graph, node.inputs[0])], module=node.module
        )
    assert isinstance(node.op, Constant), node
    return graph.add(
        node.name,
        Constant(node.op.value.reshape(node.op.value.shape[0], -1), node.op.key),
        module=node.module,
    )


@dataclass(frozen=True)
class RecognisePrefixTokens:
    """Tokens put before a sequence become rows of a position table.

    Before: `aten.cat([%class: constant [1,k,N], %y], dim=1)`, y from `float.linear` on host rows `[S,C]`.
    After: `%padded = cat([zeros [k,C], %rows]); %l = float.linear %padded; float.add %l constant`, the
    constant being class - bias in the first k rows and 0 below. Zero rows quantise to exactly zero, so this
    is exact.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            if isinstance(node.op, Aten) and node.op.target == "aten.cat.default":
                self._rewrite(graph, graph[node.name])
        return graph

    def _rewrite(self, graph: Graph, node: Node) -> None:
        assert isinstance(node.op, Aten)
        *front, last = node.inputs
        prefixes = [graph.producer(v).op for v in front]
        shape = node.type.shape
        if (
            node.op.arguments["dim"] not in (1, -2)
            or len(shape) != 3
            or shape[0] != 1
            or not front
            or not all(isinstance(p, Constant) for p in prefixes)
        ):
            return
        found = trace(graph, last)
        linear = graph.producer(found.source)
        if (
            not isinstance(linear.op, FloatLinear)
            or found.quants
            or not is_identity(found.indices, linear.type.size)
        ):
            return
        count = shape[1] - linear.type.shape[0]
        operands = list(linear.inputs)
        rows = trace(graph, operands[0])
        if graph.producer(rows.source).op.name.startswith("float."):
            return
        operands[0] = self._padded(graph, operands[0], count)
        padded = graph.add(f"{linear.name}_prefix", FloatLinear(), operands, module=linear.module)
        bias = np.zeros(shape[2]) if len(operands) == 2 else _constant(graph, operands[2])
        table = np.zeros(shape[1:], np.float32)
        table[:count] = (
            np.concatenate(
                [
                    np.broadcast_to(p.value, (1, *p.value.shape[-2:]))[0]
                    for p in prefixes
                    if isinstance(p, Constant)
                ]
            )
            - bias
        )
        constant = graph.add(f"{node.name}_prefix", Constant(table))
        result = graph.add(f"{node.name}_add", FloatAdd(), [padded, constant], module=node.module)
        graph.replace_value(Value(node.name), reshaped(graph, result, shape))

    def _padded(self, graph: Graph, value: Value, count: int) -> Value:
        """Put `count` zero rows before a host value, underneath its QDQ."""
        node = graph.producer(value)
        if isinstance(node.op, QuantSpec):
            assert isinstance(node.op, (Quantize, Dequantize))
            return graph.add(
                node.name, replace(node.op), [self._padded(graph, node.inputs[0], count)], module=node.module
            )
        kind = graph.type_of(value)
        zeros = graph.add("prefix_rows", Constant(np.zeros((count, kind.shape[1]), kind.dtype)))
        cat = Aten(
            "aten.cat.default",
            {"tensors": (Ref(0), Ref(1)), "dim": 0},
            (kind.with_shape(count + kind.shape[0], kind.shape[1]),),
        )
        return graph.add(f"{node.name}_padded", cat, [zeros, value])


def _constant(graph: Graph, value: Value) -> np.ndarray:
    op = graph.producer(value).op
    assert isinstance(op, Constant)
    return op.value


@dataclass(frozen=True)
class MergeTables:
    """Before: `float.add (float.add %x %c1) %c2` with constants. After: `float.add %x (c1 + c2)`."""

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            if not isinstance(node.op, FloatAdd) or node.name not in graph:
                continue
            outer = _table(graph, graph[node.name])
            inner = (
                _table(graph, graph.producer(outer[0]))
                if outer and isinstance(graph.producer(outer[0]).op, FloatAdd)
                else None
            )
            if outer is None or inner is None:
                continue
            if len(graph.users(outer[0])) != 1 or graph.is_output(outer[0]):
                continue
            merged = graph.add(
                f"{node.name}_table",
                Constant((_constant(graph, inner[1]) + _constant(graph, outer[1])).astype(np.float32)),
            )
            graph.rewire(node.name, [inner[0], merged])
        return graph


def _table(graph: Graph, node: Node) -> tuple[Value, Value] | None:
    """(x, table) of an addition of a constant."""
    for x, table in (node.inputs, node.inputs[::-1]):
        if isinstance(graph.producer(table).op, Constant):
            return x, table
    return None
