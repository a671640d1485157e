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

Widths that the contract leaves open are `Edge`s: what a linear layer reads (8 bits, or 16 in two passes), the index of
a table (8 to 12) and the numerators of a softmax (8 or 16, in two passes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import networkx as nx
import numpy as np

from flow.compress.calibrate import Ranges
from flow.compress.forms import (
    Clipping,
    Form,
    affine,
    index_type,
    matmul_type,
    rectified_type,
    symmetric,
    table_type,
    wide_type,
)
from flow.compress.observers import METHODS
from flow.compress.smooth import Smooth
from flow.compress.weights import ROUNDINGS, Real, rounded, row_scales
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

Memo = dict[tuple[str, float], tuple[Dequantize, Constant]]
"""Rounded weights by the name of the linear layer and the step of its input."""


class Edge(NamedTuple):
    """A width that may be chosen: `input` of linear layers, by the node they read; `index` of an activation's table, by
    the activation; `numerators`, by the attention."""

    kind: str
    node: str

    def __str__(self) -> str:
        return f"{self.kind} {self.node}"


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    `smooth_alpha`: SmoothQuant's share for activations, None for no smoothing; `smooth_floor`: see `Smooth`.
    `index_bits` (8..12) and `output_bits` (8: unsigned affine, or 16: signed) are the widths of pointwise tables,
    `input_bits` (8 or 16) that of other inputs of linear layers, `numerator_bits` (8, 16, None: by length) that of
    softmax numerators. `widths` overrides them for single edges.
    `weight_bits`: 8 or 4; `rounding`: see `flow.compress.weights` (None: nearest for 8 bits, gptq for 4). `headroom`
    (>= 1) multiplies calibrated int16 ranges, so that new inputs do not saturate. `method` and `percentile`: see
    `flow.compress.observers`; where ranges hold no histogram, and for int16, it is min/max.
    """

    smooth_alpha: float | None = 0.5
    smooth_floor: float = 0.02
    index_bits: int = 8
    output_bits: int = 8
    weight_bits: int = 8
    headroom: float = 1.1
    input_bits: int = 8
    numerator_bits: int | None = None
    method: str = "auto"
    percentile: float = 99.99
    rounding: str | None = None
    widths: Mapping[Edge, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks = (
            ("smooth_alpha", self.smooth_alpha is None or 0 <= self.smooth_alpha <= 1, "0 to 1, or none"),
            ("smooth_floor", 0 < self.smooth_floor <= 1, "above 0, at most 1"),
            ("index_bits", self.index_bits in range(8, 13), "8 to 12"),
            ("output_bits", self.output_bits in (8, 16), "8 or 16"),
            ("weight_bits", self.weight_bits in (4, 8), "4 or 8"),
            ("headroom", 1 <= self.headroom <= 16, "1 to 16"),
            ("input_bits", self.input_bits in (8, 16), "8 or 16"),
            ("numerator_bits", self.numerator_bits in (None, 8, 16), "8, 16 or none"),
            ("method", self.method in METHODS, ", ".join(METHODS)),
            ("percentile", 50 < self.percentile <= 100, "above 50, at most 100"),
            ("rounding", self.rounding in (None, *ROUNDINGS), ", ".join(ROUNDINGS)),
        )
        faults = [
            f"{name}: found {getattr(self, name)}; expected {expected}"
            for name, good, expected in checks
            if not good
        ]
        raise_all(FlowError, "quantize options: found values out of range; choose others", faults)

    @property
    def rounding_used(self) -> str:
        """How weights are rounded: as asked for, else to the nearest for 8 bits and with compensation for 4."""
        return self.rounding or ("nearest" if self.weight_bits == 8 else "gptq")

    def width(self, edge: Edge, default: int) -> int:
        """Bits of an edge."""
        return self.widths.get(edge, default)


def quantize(
    graph: Graph,
    ranges: Ranges,
    options: QuantizeOptions | None = None,
    grams: Mapping[str, Real] | None = None,
) -> Graph:
    """The graph with QDQ pairs by the number contract; pure.

    `graph` is a recognised float graph and `ranges` its calibration; `grams` are X^T X [C, C] by the name of the weight
    that reads X, for rounding that compensates. Host arithmetic before and after the device's region stays float.

    Raises:
        UnsupportedError: lists every node that cannot be quantized.
        FlowError: a range is missing.
    """
    options = options or QuantizeOptions()
    check_quantizable(graph)
    if options.smooth_alpha is not None:
        graph, ranges = Smooth(options.smooth_alpha, options.smooth_floor)(graph, ranges)
    return insert_pairs(graph, ranges, options, grams)


def check_quantizable(graph: Graph) -> None:
    """Refuse what has no place in the number contract.

    Raises:
        UnsupportedError: lists every node that cannot be quantized.
    """
    raise_all(UnsupportedError, f"{graph.name}: found operators that cannot be quantized", _faults(graph))


def insert_pairs(
    graph: Graph,
    ranges: Ranges,
    options: QuantizeOptions,
    grams: Mapping[str, Real] | None = None,
    memo: Memo | None = None,
) -> Graph:
    """`quantize` of a graph that is smoothed already (or need not be), with its own ranges.

    `memo` keeps rounded weights for further calls with the same graph, ranges and grams and other widths.
    """
    result = _Quantizer(graph, ranges, options, grams or {}, {} if memo is None else memo).run()
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

    def __init__(
        self,
        graph: Graph,
        ranges: Ranges,
        options: QuantizeOptions,
        grams: Mapping[str, Real],
        memo: Memo,
    ) -> None:
        self.graph, self.ranges, self.options = graph, ranges, options
        self.grams, self.memo = grams, memo
        self.clipping = Clipping(options.method, options.percentile, options.headroom)
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
        op = node.op
        if isinstance(op, FloatAttention) and node.name in self.device:
            bits = self.options.widths.get(Edge("numerators", node.name), self.options.numerator_bits)
            op = replace(op, numerator_bits=bits or op.numerator_bits)
        return self.out.add(node.name, op, inputs, node.module).node

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
                form = self._matmul(value)
        elif isinstance(user.op, FloatActivation):
            index = Form.WIDE if user.op.kind in OUTSIDE else Form.INDEX
            form = Form.DIRECT if self._saturates(user) else index
        elif isinstance(user.op, FloatAdd) and value == self._accumulator(user):
            form = Form.DIRECT
        return form

    def _matmul(self, value: Value) -> Form:
        """How a linear layer reads what is no sum."""
        producer = self.graph.producer(value).op
        if isinstance(producer, FloatActivation):
            return Form.TABLE
        # the engine's contexts are int8
        wide = self.options.width(Edge("input", value.node), self.options.input_bits) == 16
        return Form.WIDE if wide and not isinstance(producer, FloatAttention) else Form.MATMUL

    def _output_bits(self, activation: str) -> int:
        return self.options.width(Edge("input", activation), self.options.output_bits)

    def _saturates(self, activation: Node) -> bool:
        """Whether an activation is a rectifier that saturation to unsigned 8 bits computes: no table, no index."""
        (value,) = activation.inputs
        result = Value(activation.name)
        return (
            isinstance(activation.op, FloatActivation)
            and activation.op.kind == "relu"
            and self._output_bits(activation.name) == 8
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
            return matmul_type(observed, self.clipping)
        if form is Form.INDEX:
            tables = [user for user in self.graph.users(value) if isinstance(user.op, FloatActivation)]
            kinds = [user.op.kind for user in tables if isinstance(user.op, FloatActivation)]
            bits = max(self.options.width(Edge("index", t.name), self.options.index_bits) for t in tables)
            outputs = min(self._output_bits(t.name) for t in tables)
            return index_type(observed, kinds, bits, outputs, self.clipping)
        if form is Form.TABLE:
            return self._table(value)
        return wide_type(observed, self.clipping)

    def _table(self, value: Value) -> Dequantize:
        """A table's output: the exact range of the function over the range of its index."""
        node = self.graph.producer(value)
        assert isinstance(node.op, FloatActivation)
        if self._saturates(node):
            return rectified_type(self.ranges[value], self.clipping)
        if node.op.kind in OUTSIDE:  # a plug-in's stage: no table, so what was observed is the range
            low, high = self.ranges[value].low, self.ranges[value].high
            bits = self._output_bits(node.name)
            return symmetric(max(-low, high), 16) if bits == 16 else affine(low, high, 8)
        index = self._spec(node.inputs[0], Form.INDEX)
        return table_type(node.op.kind, index, self._output_bits(node.name))

    # -- linear layers -----------------------------------------------------------------------------------------

    def _linear(self, node: Node) -> list[Value]:
        data, weight = node.inputs[0], self.graph.producer(node.inputs[1])
        form = self._form(node, data)
        key = (node.name, float(self._spec(data, form).scale))
        if key not in self.memo:
            self.memo[key] = self._stored(node, weight, key[1])
        spec, stored = self.memo[key]
        # layers that share a weight may read it with different scales, so each gets its own integers
        constant = self.out.add(f"{weight.name}_q", stored, module=weight.module)
        read = self.out.add(f"{weight.name}_dq", spec, [constant], weight.module)
        return [self._pair(data, form), read, *(self.moved[v] for v in node.inputs[2:])]

    def _stored(self, node: Node, weight: Node, step: float) -> tuple[Dequantize, Constant]:
        """The integers of a linear layer's weight, whose input has steps of `step`."""
        assert isinstance(weight.op, Constant)
        bits, rounding = self.options.weight_bits, self.options.rounding_used
        bias = self.graph.producer(node.inputs[2]).op if len(node.inputs) == 3 else None
        scales = row_scales(
            weight.op.value,
            bias.value if isinstance(bias, Constant) else None,
            step,
            bits,
            None if rounding == "nearest" else self._importance(node.inputs[0], weight),
        )
        top = 2 ** (bits - 1) - 1
        spec = Dequantize(scales, np.zeros(len(scales), np.int64), -top, top, "int8", 0)
        gram = self.grams.get(weight.name) if rounding == "gptq" else None
        return spec, Constant(rounded(weight.op.value, scales, bits, gram), weight.op.key)

    def _importance(self, data: Value, weight: Node) -> Real:
        """Mean square of each input of a weight, as far as it is known."""
        gram, squares = self.grams.get(weight.name), self.ranges[data].squares
        if gram is not None:
            return np.diag(gram)
        return np.ones(weight.type.shape[1]) if squares is None else squares
