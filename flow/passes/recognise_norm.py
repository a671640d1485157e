"""LayerNorm and RMSNorm, fused or spelled out, become `float.norm`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref
from flow.ops.float import FloatNorm
from flow.ops.source import Constant
from flow.passes.movement import reshaped, to_rows


@dataclass(frozen=True)
class RecogniseNorm:
    """Before: `aten.layer_norm(%x, [C], %w, %b, eps)` or `x * rsqrt(mean(x*x) + eps) * w`.

    After: `float.norm(eps, centred) %rows %w %b`, absent weights as ones and zeros.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        for node in list(graph):
            found = self._match(graph, graph[node.name]) if isinstance(node.op, Aten) else None
            if found is None:
                continue
            x, weight, bias, op = found
            channels = graph.type_of(x).shape[-1]
            weight = weight or graph.add(f"{node.name}_weight", Constant(np.ones(channels, np.float32)))
            bias = bias or graph.add(f"{node.name}_bias", Constant(np.zeros(channels, np.float32)))
            norm = graph.add(f"{node.name}_norm", op, [to_rows(graph, x), weight, bias], module=node.module)
            graph.replace_value(Value(node.name), reshaped(graph, norm, node.type.shape))
        return graph

    def _match(self, graph: Graph, node: Node) -> tuple[Value, Value | None, Value | None, FloatNorm] | None:
        op = node.op
        assert isinstance(op, Aten)

        def operand(name: str) -> Value | None:
            ref = op.arguments.get(name)
            return node.inputs[ref.operand] if isinstance(ref, Ref) else None

        if op.target in ("aten.layer_norm.default", "aten.rms_norm.default"):
            x = operand("input")
            if x is None or len(op.arguments["normalized_shape"]) != 1:
                return None
            eps = op.arguments["eps"]
            centred = op.target == "aten.layer_norm.default"
            epsilon = float(np.finfo(np.float32).eps) if eps is None else float(eps)
            return x, operand("weight"), operand("bias"), FloatNorm(epsilon, centred)
        if op.target == "aten.mul.Tensor":
            return self._spelled(graph, node)
        return None

    def _spelled(
        self, graph: Graph, node: Node
    ) -> tuple[Value, Value | None, Value | None, FloatNorm] | None:
        """`mul(x, rsqrt(add(mean(pow(x, 2), -1, keepdim), eps)))`; a weight that follows stays a
        `float.scale` and is folded by its user."""
        for x, other in (node.inputs, node.inputs[::-1]) if len(node.inputs) == 2 else ():
            rsqrt = _aten(graph, other, "aten.rsqrt.default")
            total = _aten(graph, rsqrt.inputs[0], "aten.add.Tensor") if rsqrt else None
            mean = (
                _aten(graph, total.inputs[0], "aten.mean.dim") if total and len(total.inputs) == 1 else None
            )
            square = graph.producer(mean.inputs[0]) if mean else None
            if total is None or mean is None or square is None or not isinstance(square.op, Aten):
                continue
            arguments = square.op.arguments
            squared = (square.op.target == "aten.pow.Tensor_Scalar" and arguments["exponent"] == 2) or (
                square.op.target == "aten.mul.Tensor" and square.inputs in ((x, x), (x,))
            )
            last = (
                tuple(mean.op.arguments["dim"]) in ((-1,), (len(graph.type_of(x).shape) - 1,))
                if isinstance(mean.op, Aten)
                else False
            )
            if (
                squared
                and last
                and len(mean.type.shape) == len(graph.type_of(x).shape)
                and square.inputs[0] == x
                and isinstance(total.op, Aten)
                and total.op.arguments.get("alpha", 1) == 1
            ):
                weight, sink = self._weight(graph, node)
                if sink is not None:
                    graph.replace_value(Value(sink.name), Value(node.name))
                return x, weight, None, FloatNorm(float(total.op.arguments["other"]), centred=False)
        return None

    def _weight(self, graph: Graph, node: Node) -> tuple[Value | None, Node | None]:
        users = graph.users(Value(node.name))
        if (
            len(users) == 1
            and not graph.is_output(Value(node.name))
            and isinstance(users[0].op, Aten)
            and users[0].op.target == "aten.mul.Tensor"
            and len(users[0].inputs) == 2
        ):
            for value in users[0].inputs:
                constant = graph.producer(value).op
                if isinstance(constant, Constant) and constant.value.shape == node.type.shape[-1:]:
                    return value, users[0]
        return None, None


def _aten(graph: Graph, value: Value, target: str) -> Node | None:
    node = graph.producer(value)
    return node if isinstance(node.op, Aten) and node.op.target == target else None
