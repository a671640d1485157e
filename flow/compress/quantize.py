"""Quantization: a calibrated float graph to the same graph with Quantize/Dequantize pairs on its edges.

Which edges carry a pair, and of which type, is the number contract's table; `lower` refuses anything else. Decisions
are made here per *use* of a value (`Form`), and one value gets one pair for each form that its users need:

    linear, read by an add alone       nothing: the int32 accumulator meets the residual unrounded
    anything, read by a linear         int8, zero point 0 (after a table: unsigned, affine; after an add: int16)
    q, k, v of an attention            int8, zero point 0
    anything, read by a table          index: unsigned, affine, 8 to 12 bits
    anything, read by a norm, a pool,
      an add, the host, or an output   int16, zero point 0

Weights become int8 (or int4) constants with a Dequantize per output channel. Biases, norm parameters and position
tables stay float: lowering derives their integers from the scales around them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np
import numpy.typing as npt

from flow.compress.calibrate import Ranges
from flow.compress.smooth import Smooth
from flow.errors import FlowError, UnsupportedError, raise_all
from flow.ir import Graph, Node, Value, verify
from flow.ops.aten import Aten
from flow.ops.float import (
    FloatActivation,
    FloatAdd,
    FloatAttention,
    FloatLinear,
    FloatNorm,
    FloatScale,
)
from flow.ops.post import OUTSIDE
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.source import Constant
from flow.passes.regions import device_values

Real = npt.NDArray[np.float64]

INDEX_LOW = {"gelu": -4.0, "gelu_tanh": -4.0, "silu": -4.0, "tanh": -4.0, "sigmoid": -8.0}
INDEX_HIGH = {"tanh": 4.0, "sigmoid": 8.0}
"""Where a table's index is clipped: beyond, the function is flat and codes are better spent within."""

ROW_FLOOR = 2.0**-12
"""Least weight scale of a row, as a share of the matrix' largest: keeps requantise factors in range."""
BIAS_LIMIT = 2.0**28
"""A row's scale is raised until its bias, in accumulator units, is at most this."""


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    `smooth_alpha`: SmoothQuant's share for activations, None for no smoothing; `smooth_floor`: see `Smooth`.
    `index_bits` (8..12) and `output_bits` (8: unsigned affine, or 16: signed) are the widths of pointwise tables.
    `weight_bits`: 8 or 4. `headroom` (>= 1) multiplies calibrated int16 ranges, so that new inputs do not saturate.
    """

    smooth_alpha: float | None = 0.5
    smooth_floor: float = 0.02
    index_bits: int = 8
    output_bits: int = 8
    weight_bits: int = 8
    headroom: float = 1.1

    def __post_init__(self) -> None:
        checks = (
            (
                "smooth_alpha",
                self.smooth_alpha,
                self.smooth_alpha is None or 0 <= self.smooth_alpha <= 1,
                "0 to 1, or none",
            ),
            ("smooth_floor", self.smooth_floor, 0 < self.smooth_floor <= 1, "above 0, at most 1"),
            ("index_bits", self.index_bits, self.index_bits in range(8, 13), "8 to 12"),
            ("output_bits", self.output_bits, self.output_bits in (8, 16), "8 or 16"),
            ("weight_bits", self.weight_bits, self.weight_bits in (4, 8), "4 or 8"),
            ("headroom", self.headroom, 1 <= self.headroom <= 16, "1 to 16"),
        )
        faults = [
            f"{name}: found {found}; expected {expected}"
            for name, found, good, expected in checks
            if not good
        ]
        raise_all(FlowError, "quantize options: found values out of range; choose others", faults)


class Form(enum.Enum):
    """How a use of a value reads it."""

    DIRECT = "no pair: producer and user are one step, or it is a constant"
    MATMUL = "int8, zero point 0"
    INDEX = "unsigned affine index of a table"
    TABLE = "output of a table, towards a matmul"
    WIDE = "int16, zero point 0"


def quantize(graph: Graph, ranges: Ranges, options: QuantizeOptions | None = None) -> Graph:
    """The graph with QDQ pairs by the number contract; pure.

    `graph` is a recognised float graph and `ranges` its calibration. Host arithmetic before and after the device's
    region stays float.

    Raises:
        UnsupportedError: lists every node that cannot be quantized.
        FlowError: a range is missing.
    """
    options = options or QuantizeOptions()
    raise_all(UnsupportedError, f"{graph.name}: found operators that cannot be quantized", _faults(graph))
    if options.smooth_alpha is not None:
        graph, ranges = Smooth(options.smooth_alpha, options.smooth_floor)(graph, ranges)
    result = _Quantizer(graph, ranges, options).run()
    verify(result, "quantize")
    return result


def device_nodes(graph: Graph) -> frozenset[str]:
    """Names of the recognised operators from the first linear, norm or attention on; earlier ones are the host's."""
    return frozenset(name for name in device_values(graph) if graph[name].op.name.startswith("float."))


def _faults(graph: Graph) -> Iterator[str]:
    device = device_nodes(graph)
    if not device:
        yield "found no linear, norm, attention, activation or pool; expected a transformer; check the model"
    above = {name for root in device for name in nx.descendants(graph.dag, root)}
    below = {name for root in device for name in nx.ancestors(graph.dag, root)}
    quantized = [node for node in graph if isinstance(node.op, QuantSpec)]
    for node in quantized:
        yield f"{node.where}: found a quantized edge; expected a float model; quantize the model it was made from"
    for node in graph if not quantized else ():
        if isinstance(node.op, Aten) and node.name in above and node.name in below:
            yield (
                f"{node.where}: found a host operator between device operators; expected only linear, norm, attention, "
                "activation, add and pool there; rewrite the model without it"
            )
        elif isinstance(node.op, (FloatLinear, FloatNorm, FloatScale)):
            for i, value in enumerate(node.inputs[1:], start=1):
                if not isinstance(graph.producer(value).op, Constant):
                    yield (
                        f"{node.where}: found parameter {i} computed by {value}; expected a constant; "
                        "fold it before export"
                    )


class _Quantizer:
    """Rebuilds a graph node by node.

    `moved` maps old values to new ones, `pairs` holds the pair of each (value, form).
    """

    def __init__(self, graph: Graph, ranges: Ranges, options: QuantizeOptions) -> None:
        self.graph, self.ranges, self.options = graph, ranges, options
        self.device = device_nodes(graph)
        self.out = Graph(graph.name)
        self.moved: dict[Value, Value] = {}
        self.pairs: dict[tuple[Value, Form], Value] = {}
        self.rank = {node.name: i for i, node in enumerate(graph)}

    def run(self) -> Graph:
        for node in self.graph:
            name = self._node(node)
            self.moved.update({Value(node.name, i): Value(name, i) for i in range(len(node.types))})
        for key, value in self.graph.outputs.items():
            self.out.set_output(
                key, self._pair(value, Form.WIDE) if value.node in self.device else self.moved[value]
            )
        self.out.prune(
            keep=[
                self.moved[Value(node.name)].node for node in self.graph if not isinstance(node.op, Constant)
            ]
        )
        return self.out

    def _node(self, node: Node) -> str:
        if node.name not in self.device:
            inputs = [
                self._pair(v, Form.WIDE) if v.node in self.device else self.moved[v] for v in node.inputs
            ]
        elif isinstance(node.op, FloatLinear):
            inputs = self._linear(node)
        else:
            inputs = [self._operand(node, v, i) for i, v in enumerate(node.inputs)]
        return self.out.add(node.name, node.op, inputs, node.module).node

    # -- which form --------------------------------------------------------------------------------------------

    def _operand(self, node: Node, value: Value, index: int) -> Value:
        """The quantized form of operand `index` of a device node."""
        is_data = isinstance(node.op, FloatAdd) or index < (3 if isinstance(node.op, FloatAttention) else 1)
        return self._pair(value, self._form(node, value)) if is_data else self.moved[value]

    def _form(self, user: Node, value: Value) -> Form:
        producer = self.graph.producer(value).op
        form = Form.WIDE
        if isinstance(user.op, FloatScale) or isinstance(producer, Constant):
            form = Form.DIRECT
        elif isinstance(user.op, FloatAttention):
            form = Form.MATMUL
        elif isinstance(user.op, FloatLinear):
            # the residual stream has one type, int16; the multiplier takes it in two passes
            if not (isinstance(producer, FloatAdd) and value.node in self.device):
                form = Form.TABLE if isinstance(producer, FloatActivation) else Form.MATMUL
        elif isinstance(user.op, FloatActivation):
            index = Form.WIDE if user.op.kind in OUTSIDE else Form.INDEX
            form = Form.DIRECT if self._saturates(user) else index
        elif isinstance(user.op, FloatAdd) and value == self._accumulator(user):
            form = Form.DIRECT
        return form

    def _saturates(self, activation: Node) -> bool:
        """Whether an activation is a rectifier that saturation to unsigned 8 bits computes: no table, no index."""
        (value,) = activation.inputs
        result = Value(activation.name)
        return (
            isinstance(activation.op, FloatActivation)
            and activation.op.kind == "relu"
            and self.options.output_bits == 8
            and isinstance(self.graph.producer(value).op, FloatLinear)
            and self._sole(value)
            and all(isinstance(user.op, FloatLinear) for user in self.graph.users(result))
            and not self.graph.is_output(result)
        )

    def _sole(self, value: Value) -> bool:
        """Whether one node reads `value` and it is no output: the two can be one step."""
        return len(self.graph.users(value)) == 1 and not self.graph.is_output(value)

    def _accumulator(self, add: Node) -> Value | None:
        """The operand of an add that comes straight from a linear's accumulator: of several, the last one computed."""
        ready = [
            v for v in add.inputs if isinstance(self.graph.producer(v).op, FloatLinear) and self._sole(v)
        ]
        if add.inputs[0] == add.inputs[1]:
            return None
        return max(ready, key=lambda v: self.rank[v.node], default=None)

    # -- pairs -------------------------------------------------------------------------------------------------

    def _pair(self, value: Value, form: Form) -> Value:
        """`value` dequantised from `form`, inserting the pair on first use."""
        if form is Form.DIRECT:
            return self.moved[value]
        if (value, form) not in self.pairs:
            node, spec = self.graph.producer(value), self._spec(value, form)
            stem = f"{node.name}_{form.name.lower()}"
            q = self.out.add(f"{stem}_q", Quantize(**spec.attributes()), [self.moved[value]], node.module)
            self.pairs[value, form] = self.out.add(f"{stem}_dq", spec, [q], node.module)
        return self.pairs[value, form]

    def _spec(self, value: Value, form: Form) -> Dequantize:
        observed = self.ranges[value]
        if form is Form.MATMUL:
            return symmetric(observed.magnitude, 8)
        if form is Form.INDEX:
            kinds = {user.op.kind for user in self.graph.users(value) if isinstance(user.op, FloatActivation)}
            low = min(max(observed.low, INDEX_LOW.get(kind, -np.inf)) for kind in kinds)
            high = max(min(observed.high, INDEX_HIGH.get(kind, np.inf)) for kind in kinds)
            return affine(low, high, self.options.index_bits)
        if form is Form.TABLE:
            return self._table(value)
        return symmetric(observed.magnitude * self.options.headroom, 16)

    def _table(self, value: Value) -> Dequantize:
        """A table's output: the exact range of the function over the range of its index."""
        node = self.graph.producer(value)
        assert isinstance(node.op, FloatActivation)
        if self._saturates(node):
            low, high = 0.0, self.ranges[value].high
        elif node.op.kind in OUTSIDE:
            low, high = self.ranges[value].low, self.ranges[value].high
        else:
            index = self._spec(node.inputs[0], Form.INDEX)
            points = (np.arange(index.qmin, index.qmax + 1) - int(index.zero_point)) * float(index.scale)
            (image,) = node.op.golden(points)
            low, high = float(image.min()), float(image.max())
        if self.options.output_bits == 16:
            return symmetric(max(-low, high), 16)
        return affine(low, high, 8)

    # -- linear layers -----------------------------------------------------------------------------------------

    def _linear(self, node: Node) -> list[Value]:
        data, weight = node.inputs[0], self.graph.producer(node.inputs[1])
        assert isinstance(weight.op, Constant)
        form, bits = self._form(node, data), self.options.weight_bits
        bias = self.graph.producer(node.inputs[2]).op if len(node.inputs) == 3 else None
        scales = row_scales(
            weight.op.value,
            bias.value if isinstance(bias, Constant) else None,
            float(self._spec(data, form).scale),
            bits,
        )
        top = 2 ** (bits - 1) - 1
        spec = Dequantize(scales, np.zeros(len(scales), np.int64), -top, top, "int8", 0)
        return [self._pair(data, form), self._stored(weight, spec), *(self.moved[v] for v in node.inputs[2:])]

    def _stored(self, weight: Node, spec: Dequantize) -> Value:
        """A weight held as integers; layers that share one may read it with different scales, so each gets its own."""
        assert isinstance(weight.op, Constant)
        (stored,) = Quantize(**spec.attributes()).golden(weight.op.value)
        constant = self.out.add(f"{weight.name}_q", Constant(stored, weight.op.key), module=weight.module)
        return self.out.add(f"{weight.name}_dq", spec, [constant], weight.module)


# -- integer types ---------------------------------------------------------------------------------------------


def symmetric(magnitude: float, bits: int) -> Dequantize:
    """Signed, zero point 0: +-(2^(bits-1) - 1) spans +-magnitude. A magnitude of 0 counts as 1."""
    top = 2 ** (bits - 1) - 1
    return Dequantize(_single(_sensible(magnitude) / top), np.array(0), -top, top, f"int{bits}")


def affine(low: float, high: float, bits: int) -> Dequantize:
    """Unsigned: 0..2^bits - 1 spans low..high, widened to hold 0 exactly. An empty range counts as 0..1."""
    low, high = min(low, 0.0), max(high, 0.0)
    top = 2**bits - 1
    scale = _single(_sensible(high - low) / top)
    zero = int(np.clip(np.rint(-low / scale), 0, top))
    return Dequantize(scale, np.array(zero), 0, top, "uint8" if bits == 8 else "int16")


def row_scales(
    weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32] | None, step: float, bits: int
) -> Real:
    """Scale of each row of W[N, C]: max|w| / (2^(bits-1) - 1), raised where the integers around it would not fit.

    A row far below the largest takes `ROW_FLOOR` of that one's scale, and a row whose bias in units of `step` (the
    input's scale) times its own would exceed `BIAS_LIMIT` takes the scale that meets it. An all-zero row has no scale
    of its own: it takes the largest, 1 if there is none.
    """
    magnitude = np.abs(weight.astype(np.float64)).max(axis=1, initial=0.0)
    scale = magnitude / (2 ** (bits - 1) - 1)
    largest = float(scale.max(initial=0.0))
    scale = np.where(scale > 0, np.maximum(scale, largest * ROW_FLOOR), largest if largest > 0 else 1.0)
    if bias is not None:
        scale = np.maximum(scale, np.abs(bias.astype(np.float64)) / (step * BIAS_LIMIT))
    return _single(scale)


def _sensible(span: float) -> float:
    return span if span > 1e-12 else 1.0


def _single(scale: npt.ArrayLike) -> Real:
    """float32 values in float64: a scale reads the same from every file format."""
    return np.asarray(np.asarray(scale, dtype=np.float32), dtype=np.float64)
