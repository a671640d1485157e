"""QDQ float operators (level 1) to integer operators (level 2), by the number contract."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from flow import numerics
from flow.errors import FlowError, UnsupportedError, raise_all
from flow.ir import Array, Graph, Node, Value
from flow.ops.add import ResidualAdd
from flow.ops.attention import Attention
from flow.ops.boundary import DeviceOutput
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
from flow.ops.linear import Linear
from flow.ops.norm import Norm
from flow.ops.pool import Pool
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.requantise import Requantise
from flow.ops.source import Constant, Input
from flow.ops.table import Table
from flow.passes.masks import MASK_KEY
from flow.passes.regions import device_values

ADVICE = "run `flow quantize` on the float model"
LONG_SEQUENCE = 128
"""Keys beyond which softmax numerators take 16 bits by default."""
PROMOTION = 256.0
"""An int8 residual that is allowed is carried in int16 at a step this much finer: same range, no less precise."""


@dataclass(frozen=True)
class Integerise:
    """Every Quantize on the device, with the float operators it closes, becomes integer operators of the same name.

    Before: `%a = dequantize %x; %l = float.linear %a %w %b; %q = quantize(scale, int8) %l`.
    After: `%q_acc = linear(weight, bias) %x; %q = requantise(m, s) %q_acc`. Likewise linear + add (residual), linear + activation (table),
    norm (+ scale), attention and pool. Host nodes are copied; integers that leave the device pass a `DeviceOutput`.

    Raises:
        UnsupportedError: one message that lists every edge whose type is not the contract's.
    """

    allow_int8_residual: bool = False
    exp_bits: int | None = None

    def __call__(self, graph: Graph) -> Graph:
        return _Integeriser(graph, self).run()


@dataclass
class _Integeriser:
    """The state of one run: `values` maps (level-1 value, wanted residual form) to level-2 values."""

    graph: Graph
    options: Integerise
    out: Graph = field(init=False)
    device: set[str] = field(init=False)
    values: dict[tuple[Value, bool], Value] = field(default_factory=dict)
    faults: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = Graph(self.graph.name)
        self.device = device_values(self.graph)

    def run(self) -> Graph:
        if not any(isinstance(n.op, (Quantize, Dequantize)) for n in self.graph):
            raise UnsupportedError(
                f"{self.graph.name}: found a float model; expected quantize/dequantize operators; {ADVICE}"
            )
        for node in self.graph:
            if isinstance(node.op, Input):
                self.values[Value(node.name), False] = self.out.add(node.name, node.op, module=node.module)
        for (
            node
        ) in self.graph:  # in topological order, so that no recursion grows with the depth of the model
            if isinstance(node.op, Quantize) and not isinstance(
                self.graph.producer(node.inputs[0]).op, Constant
            ):
                with contextlib.suppress(_Refused):
                    self.integer(Value(node.name))
        for name, value in self.graph.outputs.items():
            with contextlib.suppress(_Refused):
                self.out.set_output(name, self.host(value))
        self._check_lengths()
        raise_all(
            UnsupportedError,
            f"{self.graph.name}: found {len(self.faults)} places outside the number contract",
            self.faults,
        )
        return self.out

    # -- host side ---------------------------------------------------------------------------------------------

    def host(self, value: Value) -> Value:
        """The level-2 copy of a real value on the host."""
        if (value, False) not in self.values:
            node = self.graph.producer(value)
            if node.op.name.startswith("float.") and node.name in self.device:
                self.refuse(
                    node,
                    f"found a float result that leaves the device; expected an int16 quantize at the model output; {ADVICE}",
                )
            if isinstance(node.op, Dequantize) and node.inputs[0].node in self.device:
                operands = [self._leave(node.inputs[0])]
                op: QuantSpec | Dequantize = self._matching(node.op, self.out.producer(operands[0]))
                new = self.out.add(node.name, op, operands, module=node.module)
            else:
                new = self.out.add(
                    node.name, node.op, [self.host(v) for v in node.inputs], module=node.module
                )
            for i in range(len(node.types)):
                self.values[Value(node.name, i), False] = Value(new.node, i)
        return self.values[value, False]

    def _matching(self, op: Dequantize, source: Node) -> Dequantize:
        return replace(op, dtype=source.type.dtype)

    def _leave(self, quantised: Value) -> Value:
        inner = self.integer(quantised)
        node = self.out.producer(inner)
        mask = self._mask() if self.out.type_of(inner).shape[0] > 1 else []
        if isinstance(node.op, Quantize):
            return inner  # quantised on the host and read back there: it never was on the device
        return self.out.add(
            f"{quantised.node}_out", DeviceOutput(quantised.node), [inner, *mask], module=node.module
        )

    def _mask(self) -> list[Value]:
        """The `attention_mask` input if it sets the length of this model."""
        found = [Value(n.name) for n in self.out if isinstance(n.op, Input) and n.op.key == MASK_KEY]
        return found if any(_is_masked(n) for n in self.graph) else []

    def _check_lengths(self) -> None:
        """With a dynamic length nothing may look beyond it: every attention and mean must be masked (or causal)."""
        if not any(_is_masked(n) for n in self.graph):
            return
        for node in self.graph:
            op = node.op
            whole = (isinstance(op, FloatAttention) and not op.causal) or (
                isinstance(op, FloatPool) and op.kind == "mean"
            )
            if whole and not _is_masked(node):
                self.faults[
                    f"{node.where}: found no mask, while other operators are masked; expected attention_mask here too"
                ] = None

    # -- device side -------------------------------------------------------------------------------------------

    def integer(self, value: Value, residual: bool = False) -> Value:
        """The integer tensor of a level-1 Quantize; as int16 if it is wanted as a `residual`."""
        node = self.graph.producer(value)
        key = (value, residual and isinstance(node.op, Quantize) and node.op.bits <= 8)
        if key not in self.values:
            if not isinstance(node.op, Quantize):
                self.refuse(
                    node,
                    f"found {self.graph.type_of(value)} computed by {node.op.label}; expected a quantize; {ADVICE}",
                )
            self.values[key] = self._quantised(node, promote=key[1])
        return self.values[key]

    def _quantised(self, node: Node, promote: bool) -> Value:
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
        self._check(node)
        source = self.graph.producer(node.inputs[0])
        if source.name not in self.device:
            symmetric = (
                replace(op, qmin=max(op.qmin, -op.qmax)) if int(op.zero_point) == 0 and op.qmin < 0 else op
            )
            return self.out.add(node.name, symmetric, [self.host(node.inputs[0])], module=node.module)
        build = {
            FloatLinear: self._linear, FloatAdd: self._add, FloatActivation: self._activation, FloatNorm: self._norm, FloatScale: self._scale,
            FloatAttention: self._attention, FloatPool: self._pool,
        }.get(type(source.op))  # fmt: skip
        if build is None:
            self.refuse(
                node,
                f"found a quantize of the result of {source.op.label}; expected one behind linear, add, norm, activation, attention or pool; {ADVICE}",
            )
        try:
            return build(node, source)
        except _Refused:
            raise
        except FlowError as error:
            self.refuse(source, str(error))

    def _check(self, node: Node) -> None:
        """The types that the contract knows: symmetric int8 and int16, and affine ones of 8 to 12 bits."""
        op = node.op
        assert isinstance(op, Quantize)
        symmetric = (op.qmin, op.qmax) in ((-128, 127), (-127, 127), (-32768, 32767), (-32767, 32767))
        affine = (op.qmin, op.qmax) in ((-128, 127), *((0, 2**b - 1) for b in range(8, 13)))
        zero = int(op.zero_point) if op.per_tensor else 0
        if not op.per_tensor or not (float(op.scale) > 0) or not (affine or (symmetric and zero == 0)):
            shape = (
                "per channel"
                if not op.per_tensor
                else f"[{op.qmin}, {op.qmax}] with zero point {zero}, scale {float(op.scale):.4g}"
            )
            self.refuse(
                node,
                f"found an activation quantised {shape}; expected symmetric int8 or int16, or affine of 8 to 12 bits, per tensor",
            )

    def refuse(self, node: Node, text: str) -> NoReturn:
        """Note a fault and give up this branch; the others go on, so that one message holds all."""
        self.faults[f"{node.where}: {text}"] = None
        raise _Refused

    def _operand(
        self, node: Node, operand: int, residual: bool = False
    ) -> tuple[Value, Dequantize, TensorScale]:
        """(integer value, its dequantize, its scale and zero point) of a float operator's input."""
        source = self.graph.producer(node.inputs[operand])
        if not isinstance(source.op, Dequantize) or not source.op.per_tensor:
            self.refuse(
                node, f"found a float edge from {source.where}; expected quantize/dequantize there; {ADVICE}"
            )
        value = self.integer(source.inputs[0], residual)
        kind = self.out.type_of(value)
        widened = PROMOTION if residual and source.op.bits <= 8 else 1.0
        made = self.graph.producer(source.inputs[0]).op
        if isinstance(made, QuantSpec) and (
            float(made.scale) != float(source.op.scale) or int(made.zero_point) != int(source.op.zero_point)
        ):
            self.refuse(
                node,
                f"found an input quantised at {float(made.scale):.6g} and dequantised at {float(source.op.scale):.6g}; expected equal scales",
            )
        return (
            value,
            source.op,
            TensorScale(float(source.op.scale) / widened, int(source.op.zero_point), kind.dtype),
        )

    # -- linear and what follows it ----------------------------------------------------------------------------

    def _accumulate(self, node: Node, stem: str) -> tuple[Value, Array]:
        """The `linear` node of a FloatLinear and the real step of its accumulators [N]."""
        x, _, quant = self._operand(node, 0)
        weight, weight_scale, bits = self._weight(node)
        if quant.zero and quant.dtype == "int16":
            self.refuse(node, f"found an int16 input with zero point {quant.zero}; expected zero point 0")
        step = quant.scale * weight_scale
        bias = np.zeros(len(weight)) if len(node.inputs) == 2 else self._real(node, 2)
        integers = np.rint(bias / step) - quant.zero * weight.astype(np.int64).sum(axis=1)
        if np.abs(integers).max(initial=0) >= numerics.ACCUMULATOR_LIMIT:
            self.refuse(
                node,
                f"found a bias of {np.abs(integers).max():.4g} accumulator steps; expected below 2^31; calibrate again",
            )
        linear = Linear(weight, integers.astype(np.int64), bits)
        return self.out.add(f"{stem}_acc", linear, [x], module=node.module), step

    def _real(self, node: Node, operand: int) -> Array:
        source = self.graph.producer(node.inputs[operand])
        if isinstance(source.op, Dequantize):
            inner = self.graph.producer(source.inputs[0]).op
            if isinstance(inner, Constant):
                return np.asarray(source.op.golden(inner.value)[0], np.float64)
        if not isinstance(source.op, Constant):
            self.refuse(node, f"found a parameter computed by {source.op.label}; expected a constant")
        return np.asarray(source.op.value, np.float64)

    def _weight(self, node: Node) -> tuple[Array, Array, int]:
        """(int8 weight [N, C], scale float64 [N], bits)."""
        source = self.graph.producer(node.inputs[1])
        op = source.op
        if not isinstance(op, Dequantize):
            self.refuse(
                node, f"found a float weight; expected int8 or int4 with a scale per output channel; {ADVICE}"
            )
        inner = self.graph.producer(source.inputs[0])
        if isinstance(inner.op, Quantize) and isinstance(self.graph.producer(inner.inputs[0]).op, Constant):
            constant = self.graph.producer(inner.inputs[0]).op
            assert isinstance(constant, Constant)
            value = inner.op.golden(constant.value)[0]
        elif isinstance(inner.op, Constant):
            value = inner.op.value
        else:
            self.refuse(node, f"found a weight computed by {inner.op.label}; expected a constant")
        if (
            np.any(op.zero_point)
            or op.axis not in (None, 0)
            or np.abs(value.astype(np.int64)).max(initial=0) > 128
        ):
            self.refuse(
                node,
                f"found a weight quantised along axis {op.axis} with zero points; expected int8 or int4, axis 0, zero point 0; {ADVICE}",
            )
        if not (np.asarray(op.scale) > 0).all():
            self.refuse(node, "found a weight scale that is not positive; expected positive scales")
        scale = np.broadcast_to(np.asarray(op.scale, np.float64), (len(value),)).copy()
        bits = 4 if op.qmax <= 7 else 8
        return np.clip(value, -127, 127).astype(np.int8), scale, bits

    def _linear(self, node: Node, source: Node, factor: Array | float = 1.0) -> Value:
        op = node.op
        assert isinstance(op, Quantize)
        acc, step = self._accumulate(source, node.name)
        m, s = numerics.derive_scales(step * factor / float(op.scale), source.where)
        requant = Requantise(m, s, op.bits, op.qmin < 0, int(op.zero_point), float(op.scale))
        return self.out.add(node.name, requant, [acc], module=source.module)

    def _scale(self, node: Node, source: Node) -> Value:
        factor = self._real(source, 1)
        inner = self.graph.producer(source.inputs[0])
        if isinstance(inner.op, FloatNorm):
            return self._norm(node, inner, factor)
        if isinstance(inner.op, FloatLinear):
            return self._linear(node, inner, factor)
        self.refuse(
            source, f"found a factor behind {inner.op.label}; expected one behind a norm or a linear layer"
        )

    def _add(self, node: Node, source: Node) -> Value:
        op = node.op
        assert isinstance(op, Quantize)
        operands = [self.graph.producer(v) for v in source.inputs]
        linear = next((i for i, n in enumerate(operands) if isinstance(n.op, FloatLinear)), None)
        if linear is None:
            self.refuse(
                source,
                f"found a sum of {operands[0].op.label} and {operands[1].op.label}; expected a linear layer's float result plus a residual; {ADVICE}",
            )
        if op.bits <= 8:
            if not self.options.allow_int8_residual:
                self.refuse(
                    node,
                    f"found an int8 residual stream; expected int16; {ADVICE}, or pass --allow-int8-residual",
                )
            self.refuse(
                node,
                "found an int8 sum that is also read as int8; expected a norm between the residual stream and a linear layer",
            )
        other = 1 - linear
        if isinstance(operands[other].op, Constant):
            residual, residual_scale = self._table_tensor(source, other)
        else:
            residual, _, quant = self._operand(source, other, residual=True)
            if quant.zero or quant.dtype != "int16":
                self.refuse(
                    source,
                    f"found a residual of type {quant.dtype}, zero point {quant.zero}; expected int16, zero point 0",
                )
            residual_scale = quant.scale
        acc, step = self._accumulate(operands[linear], node.name)
        m, s = numerics.derive_scales(step / float(op.scale), source.where)
        shared = numerics.derive_scale(residual_scale / float(op.scale), source.where)
        add = ResidualAdd(m, s, shared.multiplier, shared.shift, float(op.scale))
        return self.out.add(node.name, add, [acc, residual], module=source.module)

    def _table_tensor(self, node: Node, operand: int) -> tuple[Value, float]:
        table = self._real(node, operand)
        scale = max(float(np.abs(table).max(initial=0.0)), 1e-12) / 32767
        value = np.rint(table / scale).astype(np.int16)
        return self.out.add(f"{node.name}_table", DeviceConstant(value, scale), module=node.module), scale

    def _activation(self, node: Node, source: Node) -> Value:
        op, activation = node.op, source.op
        assert isinstance(op, Quantize) and isinstance(activation, FloatActivation)
        before = self.graph.producer(source.inputs[0])
        if (
            isinstance(before.op, FloatLinear)
            and activation.kind == "relu"
            and op.qmin == 0
            and op.zero_point == 0
            and op.bits == 8
        ):
            return self._linear(node, before)  # saturation at 0 is the rectifier
        index, spec, quant = self._operand(source, 0)
        made = self.out.producer(index)
        if not isinstance(made.op, Requantise):
            self.refuse(
                source,
                f"found an activation on the result of {made.op.label}; expected one behind a linear layer",
            )
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

    # -- the other operators -----------------------------------------------------------------------------------

    def _norm(self, node: Node, source: Node, factor: Array | float = 1.0) -> Value:
        op, norm = node.op, source.op
        assert isinstance(op, Quantize) and isinstance(norm, FloatNorm)
        x, _, quant = self._operand(source, 0, residual=True)
        if quant.zero or quant.dtype != "int16" or int(op.zero_point) or op.qmin >= 0:
            self.refuse(
                source,
                f"found a norm of {quant.dtype} to [{op.qmin}, {op.qmax}]; expected int16 to int8 or int16, zero points 0; {ADVICE}",
            )
        weight, bias = self._real(source, 1) * factor, self._real(source, 2) * factor
        gain, offset, shift = numerics.derive_norm(weight, bias, float(op.scale), source.where)
        epsilon = numerics.norm_epsilon(norm.eps, len(weight), quant.scale)
        made = Norm(norm.centred, epsilon, gain, offset, shift, op.bits, float(op.scale))
        return self.out.add(node.name, made, [x], module=source.module)

    def _attention(self, node: Node, source: Node) -> Value:
        op, attention = node.op, source.op
        assert isinstance(op, Quantize) and isinstance(attention, FloatAttention)
        operands = [self._operand(source, i) for i in range(3)]
        wrong = [q for _, _, q in operands if q.zero or q.dtype != "int8"]
        if wrong or op.bits != 8 or int(op.zero_point):
            self.refuse(
                source,
                f"found q, k, v of {', '.join(q.dtype for _, _, q in operands)}; expected int8 with zero point 0, and an int8 context",
            )
        score = numerics.derive_scale(
            attention.scale * operands[0][2].scale * operands[1][2].scale * 2.0**-numerics.SCORE_STEP_LOG2,
            f"{source.where}, scores",
        )
        context = numerics.derive_scale(
            operands[2][2].scale / 256 / float(op.scale), f"{source.where}, context"
        )
        tokens = source.type.shape[0]
        bits = self.options.exp_bits or (8 if tokens <= LONG_SEQUENCE else 16)
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
        assert isinstance(op, Quantize) and isinstance(pool, FloatPool)
        x, _, quant = self._operand(source, 0, residual=True)
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


def _is_masked(node: Node) -> bool:
    """Whether an attention or a pool reads `attention_mask`."""
    operands = {FloatAttention: 4, FloatPool: 2}.get(type(node.op))
    return operands is not None and len(node.inputs) == operands


@dataclass(frozen=True)
class TensorScale:
    """How an integer operand is to be read: real step, zero point, storage type."""

    scale: float
    zero: int
    dtype: str


class _Refused(Exception):
    """Internal: a fault was noted; unwinds to the output that asked."""
