"""Reading a QDQ graph (level 1) while its integer twin (level 2) is written: the part that knows no
operator."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np

from flow import numerics
from flow.ir import Array, Graph, Node, Value
from flow.ops.boundary import DeviceOutput
from flow.ops.float import FloatAttention, FloatPool
from flow.ops.linear import Linear
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.source import Constant, Input
from flow.passes.masks import MASK_KEY
from flow.passes.regions import device_values

ADVICE = "run `flow quantize` on the float model"
PROMOTION = 256.0
"""An int8 residual that is allowed is carried in int16 at a step this much finer: same range, no less
precise."""


class RefusedError(Exception):
    """A fault was noted; unwinds to whoever asked for the value."""


@dataclass(frozen=True)
class TensorScale:
    """How an integer operand is to be read: real step, zero point, storage type."""

    scale: float
    zero: int
    dtype: str


@dataclass
class QdqReader:
    """`values` maps (level-1 value, wanted as a residual) to level-2 values; `faults` collects what the
    contract refuses.

    Every method that may refuse notes the fault and raises `RefusedError`, so that one run finds them all.
    """

    graph: Graph
    out: Graph = field(init=False)
    device: set[str] = field(init=False)
    values: dict[tuple[Value, bool], Value] = field(default_factory=dict)
    faults: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = Graph(self.graph.name)
        self.device = device_values(self.graph)

    @abstractmethod
    def quantised(self, node: Node, promote: bool) -> Value:
        """The integer operators of a level-1 Quantize; `promote` asks for an int8 one as int16."""

    def refuse(self, node: Node, text: str) -> NoReturn:
        """Note a fault and give up this branch; the others go on, so that one message holds all."""
        self.faults[f"{node.where}: {text}"] = None
        raise RefusedError

    def host(self, value: Value) -> Value:
        """The level-2 copy of a real value on the host."""
        if (value, False) not in self.values:
            node = self.graph.producer(value)
            if node.op.name.startswith("float.") and node.name in self.device:
                self.refuse(
                    node,
                    "found a float result that leaves the device; expected an int16 quantize at the model "
                    f"output; {ADVICE}",
                )
            if isinstance(node.op, Dequantize) and node.inputs[0].node in self.device:
                operands = [self._leave(node.inputs[0])]
                op: QuantSpec | Dequantize = replace(node.op, dtype=self.out.producer(operands[0]).type.dtype)
                new = self.out.add(node.name, op, operands, module=node.module)
            else:
                new = self.out.add(
                    node.name, node.op, [self.host(v) for v in node.inputs], module=node.module
                )
            for i in range(len(node.types)):
                self.values[Value(node.name, i), False] = Value(new.node, i)
        return self.values[value, False]

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
        return found if any(is_masked(n) for n in self.graph) else []

    def check_lengths(self) -> None:
        """With a dynamic length nothing may look beyond it: every attention and mean must be masked (or
        causal)."""
        if not any(is_masked(n) for n in self.graph):
            return
        for node in self.graph:
            op = node.op
            whole = (isinstance(op, FloatAttention) and not op.causal) or (
                isinstance(op, FloatPool) and op.kind == "mean"
            )
            if whole and not is_masked(node):
                self.faults[
                    f"{node.where}: found no mask, while other operators are masked; expected attention_mask here too"
                ] = None

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
            self.values[key] = self.quantised(node, promote=key[1])
        return self.values[key]

    def check(self, node: Node) -> None:
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
                f"found an activation quantised {shape}; expected symmetric int8 or int16, or affine of 8 "
                "to 12 bits, per tensor",
            )

    def operand(
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
                f"found an input quantised at {float(made.scale):.6g} and dequantised at "
                f"{float(source.op.scale):.6g}; expected equal scales",
            )
        return (
            value,
            source.op,
            TensorScale(float(source.op.scale) / widened, int(source.op.zero_point), kind.dtype),
        )

    def accumulate(self, node: Node, stem: str) -> tuple[Value, Array]:
        """The `linear` node of a FloatLinear and the real step of its accumulators [N]."""
        x, _, quant = self.operand(node, 0)
        weight, weight_scale, bits = self.weight(node)
        if quant.zero and quant.dtype == "int16":
            self.refuse(node, f"found an int16 input with zero point {quant.zero}; expected zero point 0")
        step = quant.scale * weight_scale
        bias = np.zeros(len(weight)) if len(node.inputs) == 2 else self.real(node, 2)
        integers = np.rint(bias / step) - quant.zero * weight.astype(np.int64).sum(axis=1)
        if np.abs(integers).max(initial=0) >= numerics.ACCUMULATOR_LIMIT:
            self.refuse(
                node,
                f"found a bias of {np.abs(integers).max():.4g} accumulator steps; expected below 2^31; calibrate again",
            )
        linear = Linear(weight, integers.astype(np.int64), bits)
        return self.out.add(f"{stem}_acc", linear, [x], module=node.module), step

    def real(self, node: Node, operand: int) -> Array:
        source = self.graph.producer(node.inputs[operand])
        if isinstance(source.op, Dequantize):
            inner = self.graph.producer(source.inputs[0]).op
            if isinstance(inner, Constant):
                return np.asarray(source.op.golden(inner.value)[0], np.float64)
        if not isinstance(source.op, Constant):
            self.refuse(node, f"found a parameter computed by {source.op.label}; expected a constant")
        return np.asarray(source.op.value, np.float64)

    def weight(self, node: Node) -> tuple[Array, Array, int]:
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
                f"found a weight quantised along axis {op.axis} with zero points; expected int8 or int4, "
                f"axis 0, zero point 0; {ADVICE}",
            )
        if not (np.asarray(op.scale) > 0).all():
            self.refuse(node, "found a weight scale that is not positive; expected positive scales")
        scale = np.broadcast_to(np.asarray(op.scale, np.float64), (len(value),)).copy()
        bits = 4 if op.qmax <= 7 else 8
        return np.clip(value, -127, 127).astype(np.int8), scale, bits


def is_masked(node: Node) -> bool:
    """Whether an attention or a pool reads `attention_mask`."""
    operands = {FloatAttention: 4, FloatPool: 2}.get(type(node.op))
    return operands is not None and len(node.inputs) == operands
