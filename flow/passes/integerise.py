"""QDQ float operators (level 1) to integer operators (level 2), by the number contract."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from flow import numerics
from flow.errors import FlowError, UnsupportedError, raise_all
from flow.ir import Array, Graph, Node, Value
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.constant import DeviceConstant
from flow.ops.float import (
    ACTIVATIONS,
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatPool,
    FloatScale,
)
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.post import OUTSIDE
from flow.ops.quant import Dequantize, Quantize
from flow.ops.requantise import Requantise
from flow.ops.source import Constant, Input
from flow.ops.table import Table
from flow.passes.qdq import ADVICE, PROMOTION, QdqReader, RefusedError

LONG_SEQUENCE = 128
"""Keys beyond which softmax numerators take 16 bits by default."""


@dataclass(frozen=True)
class Integerise:
    """Every Quantize on the device, with the float operators it closes, becomes integer operators of the
    same name.

    Before: `%a = dequantize %x; %l = float.linear %a %w %b; %q = quantize(scale, int8) %l`.
    After: `%q_acc = linear(weight, bias) %x; %q = requantise(m, s) %q_acc`. Likewise linear + add (residual),
    linear + activation (table), norm (+ scale), attention and pool. Host nodes are copied; integers that
    leave the device pass a `DeviceOutput`.

    Raises:
        UnsupportedError: one message that lists every edge whose type is not the contract's.
    """

    allow_int8_residual: bool = False
    exp_bits: int | None = None

    def __call__(self, graph: Graph) -> Graph:
        return _Integeriser(graph, options=self).run()


@dataclass
class _Integeriser(QdqReader):
    """One run: a method for each kind of operator that a Quantize may close."""

    options: Integerise = field(default_factory=Integerise)

    def run(self) -> Graph:
        if not any(isinstance(n.op, (Quantize, Dequantize)) for n in self.graph):
            raise UnsupportedError(
                f"{self.graph.name}: found a float model; expected quantize/dequantize operators; {ADVICE}"
            )
        for node in self.graph:
            if isinstance(node.op, Input):
                self.values[Value(node.name), False] = self.out.add(node.name, node.op, module=node.module)
        # In topological order, so that no recursion grows with the depth of the model.
        for node in self.graph:
            source = self.graph.producer(node.inputs[0]).op if node.inputs else None
            if isinstance(node.op, Quantize) and not isinstance(source, Constant):
                with contextlib.suppress(RefusedError):
                    # An int8 sum can only be meant as a residual; a reader that wants int8 asks for it itself.
                    self.integer(Value(node.name), residual=isinstance(source, FloatAdd))
        for name, value in self.graph.outputs.items():
            with contextlib.suppress(RefusedError):
                self.out.set_output(name, self.host(value))
        self.check_lengths()
        raise_all(
            UnsupportedError,
            f"{self.graph.name}: found {len(self.faults)} places outside the number contract",
            self.faults,
        )
        return self.out

    def quantised(self, node: Node, promote: bool) -> Value:
        op = node.op
        assert isinstance(op, Quantize)
        if promote:
            if not self.options.allow_int8_residual:
                self.refuse(
                    node,
                    f"found an int8 residual stream; expected int16; {ADVICE}, or pass --allow-int8-residual",
                )
            op = replace(
                op,
                scale=op.scale / PROMOTION,
                zero_point=np.int64(0) * op.zero_point,
                qmin=-32767,
                qmax=32767,
                dtype="int16",
            )
            node = replace(node, op=op, name=f"{node.name}_wide")
        self.check(node)
        source = self.graph.producer(node.inputs[0])
        if source.name not in self.device:
            symmetric = (
                replace(op, qmin=max(op.qmin, -op.qmax)) if int(op.zero_point) == 0 and op.qmin < 0 else op
            )
            return self.out.add(node.name, symmetric, [self.host(node.inputs[0])], module=node.module)
        builders: dict[type, Callable[[Node, Node], Value]] = {
            FloatLinear: self._linear,
            FloatAdd: self._add,
            FloatActivation: self._activation,
            FloatNorm: self._norm,
            FloatScale: self._scale,
            FloatAttention: self._attention,
            FloatPool: self._pool,
        }
        build = builders.get(type(source.op))
        if build is None:
            self.refuse(
                node,
                f"found a quantize of the result of {source.op.label}; expected one behind linear, add, "
                f"norm, activation, attention or pool; {ADVICE}",
            )
        try:
            return build(node, source)
        except RefusedError:
            raise
        except FlowError as error:
            self.refuse(source, str(error))

    def _linear(self, node: Node, source: Node, factor: Array | float = 1.0) -> Value:
        op = node.op
        assert isinstance(op, Quantize)
        acc, step = self.accumulate(source, node.name)
        m, s = numerics.derive_scales(step * factor / float(op.scale), source.where)
        requant = Requantise(m, s, op.bits, op.qmin < 0, int(op.zero_point), float(op.scale))
        return self.out.add(node.name, requant, [acc], module=source.module)

    def _scale(self, node: Node, source: Node) -> Value:
        factor = self.real(source, 1)
        inner = self.graph.producer(source.inputs[0])
        if isinstance(inner.op, FloatNorm):
            return self._norm(node, inner, factor)
        if isinstance(inner.op, FloatLinear):
            return self._linear(node, inner, factor)
        text = f"found a factor behind {inner.op.label}; expected one behind a norm or a linear layer"
        return self.refuse(source, text)

    def _add(self, node: Node, source: Node) -> Value:
        op = node.op
        assert isinstance(op, Quantize)
        operands = [self.graph.producer(v) for v in source.inputs]
        linear = next((i for i, n in enumerate(operands) if isinstance(n.op, FloatLinear)), None)
        if linear is None:
            self.refuse(
                source,
                f"found a sum of {operands[0].op.label} and {operands[1].op.label}; expected a linear "
                f"layer's float result plus a residual; {ADVICE}",
            )
        if op.bits <= 8:
            if not self.options.allow_int8_residual:
                self.refuse(
                    node,
                    f"found an int8 residual stream; expected int16; {ADVICE}, or pass --allow-int8-residual",
                )
            self.refuse(
                node,
                "found an int8 sum that is also read as int8; expected a norm between the residual stream "
                "and a linear layer",
            )
        other = 1 - linear
        if isinstance(operands[other].op, Constant):
            residual, residual_scale = self._table_tensor(source, other)
        else:
            residual, _, quant = self.operand(source, other, residual=True)
            if quant.zero or quant.dtype != "int16":
                self.refuse(
                    source,
                    f"found a residual of type {quant.dtype}, zero point {quant.zero}; expected int16, zero point 0",
                )
            residual_scale = quant.scale
        acc, step = self.accumulate(operands[linear], node.name)
        m, s = numerics.derive_scales(step / float(op.scale), source.where)
        shared = numerics.derive_scale(residual_scale / float(op.scale), source.where)
        add = ResidualAdd(m, s, shared.multiplier, shared.shift, float(op.scale))
        return self.out.add(node.name, add, [acc, residual], module=source.module)

    def _table_tensor(self, node: Node, operand: int) -> tuple[Value, float]:
        table = self.real(node, operand)
        scale = max(float(np.abs(table).max(initial=0.0)), 1e-12) / 32767
        value = np.rint(table / scale).astype(np.int16)
        return self.out.add(f"{node.name}_table", DeviceConstant(value, scale), module=node.module), scale

    def _activation(self, node: Node, source: Node) -> Value:
        op, activation = node.op, source.op
        assert isinstance(op, Quantize)
        assert isinstance(activation, FloatActivation)
        before = self.graph.producer(source.inputs[0])
        if (
            isinstance(before.op, FloatLinear)
            and activation.kind == "relu"
            and op.qmin == 0
            and op.zero_point == 0
            and op.bits == 8
        ):
            return self._linear(node, before)  # saturation at 0 is the rectifier
        index, spec, quant = self.operand(source, 0)
        made = self.out.producer(index)
        stage = OUTSIDE.get(activation.kind)
        if stage is not None and (quant.dtype != "int16" or quant.zero):
            self.refuse(
                source,
                f"found an input of type {quant.dtype}, zero point {quant.zero}; expected int16, zero point 0; "
                f"{ADVICE}",
            )
        if not isinstance(made.op, Requantise):
            self.refuse(
                source,
                f"found an activation on the result of {made.op.label}; expected one behind a linear layer",
            )
        if stage is not None:
            result = stage.of(quant.scale, op.bits, op.qmin < 0, int(op.zero_point), float(op.scale))
            return self.out.add(node.name, result, [index], module=source.module)
        if spec.qmin < 0:
            index, low = self._unsigned_index(made, spec), spec.qmin
        else:
            low = 0
        entries = np.arange(2**spec.bits, dtype=np.float64) + low
        real = ACTIVATIONS[activation.kind]((entries - quant.zero) * quant.scale)
        values = np.clip(
            np.rint(real / float(op.scale)) + int(op.zero_point),
            max(op.qmin, -op.qmax) if not int(op.zero_point) else op.qmin,
            op.qmax,
        )
        table = Table(
            values.astype(np.int64),
            op.bits,
            op.qmin < 0,
            float(op.scale),
            int(op.zero_point),
            activation.kind,
        )
        return self.out.add(node.name, table, [index], module=source.module)

    def _unsigned_index(self, made: Node, spec: Dequantize) -> Value:
        """The same linear, requantised to an index that counts from 0."""
        requant = made.op
        assert isinstance(requant, Requantise)
        shifted = replace(requant, signed=False, zero=requant.zero - spec.qmin)
        return self.out.add(f"{made.name}_index", shifted, made.inputs, module=made.module)

    def _norm(self, node: Node, source: Node, factor: Array | float = 1.0) -> Value:
        op, norm = node.op, source.op
        assert isinstance(op, Quantize)
        assert isinstance(norm, FloatNorm)
        x, _, quant = self.operand(source, 0, residual=True)
        if quant.zero or quant.dtype != "int16" or int(op.zero_point) or op.qmin >= 0:
            self.refuse(
                source,
                f"found a norm of {quant.dtype} to [{op.qmin}, {op.qmax}]; expected int16 to int8 or int16, "
                f"zero points 0; {ADVICE}",
            )
        weight, bias = self.real(source, 1) * factor, self.real(source, 2) * factor
        gain, offset, shift = numerics.derive_norm(weight, bias, float(op.scale), source.where)
        epsilon = numerics.norm_epsilon(norm.eps, len(weight), quant.scale)
        made = Norm(norm.centred, epsilon, gain, offset, shift, op.bits, float(op.scale))
        return self.out.add(node.name, made, [x], module=source.module)

    def _attention(self, node: Node, source: Node) -> Value:
        op, attention = node.op, source.op
        assert isinstance(op, Quantize)
        assert isinstance(attention, FloatAttention)
        operands = [self.operand(source, i) for i in range(3)]
        wrong = [q for _, _, q in operands if q.zero or q.dtype != "int8"]
        if wrong or op.bits != 8 or int(op.zero_point):
            self.refuse(
                source,
                f"found q, k, v of {', '.join(q.dtype for _, _, q in operands)}; expected int8 with zero "
                "point 0, and an int8 context",
            )
        score = numerics.derive_scale(
            attention.scale * operands[0][2].scale * operands[1][2].scale * 2.0**-numerics.SCORE_STEP_LOG2,
            f"{source.where}, scores",
        )
        context = numerics.derive_scale(
            operands[2][2].scale / 256 / float(op.scale), f"{source.where}, context"
        )
        tokens = source.type.shape[0]
        bits = self.options.exp_bits or attention.numerator_bits or (8 if tokens <= LONG_SEQUENCE else 16)
        made = Attention(
            attention.heads,
            score.multiplier,
            score.shift,
            bits,
            context.multiplier,
            context.shift,
            attention.causal,
            float(op.scale),
        )
        mask = [self.host(source.inputs[3])] if len(source.inputs) == 4 else []
        return self.out.add(node.name, made, [v for v, _, _ in operands] + mask, module=source.module)

    def _pool(self, node: Node, source: Node) -> Value:
        op, pool = node.op, source.op
        assert isinstance(op, Quantize)
        assert isinstance(pool, FloatPool)
        x, _, quant = self.operand(source, 0, residual=True)
        if quant.zero or quant.dtype != "int16" or int(op.zero_point):
            self.refuse(source, f"found pooling of {quant.dtype}; expected int16 with zero point 0; {ADVICE}")
        mean = pool.kind == "mean"
        scale = numerics.derive_scale(quant.scale / float(op.scale) / (65536 if mean else 1), source.where)
        mask = [self.host(source.inputs[1])] if len(source.inputs) == 2 else []
        return self.out.add(
            node.name,
            Pool(mean, scale.multiplier, scale.shift, op.bits, float(op.scale)),
            [x, *mask],
            module=source.module,
        )
