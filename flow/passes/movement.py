"""Data movement, understood by what it does to indices and not by how it is spelled.

A chain of views, transposes, slices … is evaluated on the indices of its source. Two chains are the same if
their index maps are, so every spelling of head splitting, batch dropping or patch cutting is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flow.ir import Graph, Node, Value
from flow.ops.aten import Aten, Ref, permute, reshape
from flow.ops.float import FloatLinear, FloatPool
from flow.ops.quant import Dequantize, Quantize, QuantSpec
from flow.ops.source import Constant, Input
from flow.passes.regions import device_values

_MOVEMENTS = """
    view.default reshape.default _unsafe_view.default permute.default transpose.int t.default
    unsqueeze.default squeeze.default squeeze.dim squeeze.dims flatten.using_ints unflatten.int
    select.int slice.Tensor expand.default movedim.int movedim.intlist swapaxes.default narrow.default
    view_as.default numpy_T.default contiguous.default clone.default chunk.default adjoint.default
    mT.default
"""
MOVEMENTS = frozenset(f"aten.{name}" for name in _MOVEMENTS.split())
"""Operators whose output elements are a selection of their first input's."""


def is_movement(node: Node) -> bool:
    """Whether a node only moves elements of its one input."""
    return isinstance(node.op, Aten) and node.op.target in MOVEMENTS and len(node.inputs) == 1


def is_view(graph: Graph, node: Node) -> bool:
    """Whether a node only changes the shape of its one input: every element keeps its flat position."""
    if not is_movement(node):
        return False
    kind = graph.type_of(node.inputs[0])
    (indices,) = node.op.golden(np.arange(kind.size, dtype=np.int64).reshape(kind.shape))
    return is_identity(np.asarray(indices), kind.size)


@dataclass(frozen=True)
class Trace:
    """Where a value's elements come from: `indices`, shaped like the value, are flat positions in `source`.

    `quants` are the per-tensor Quantize and Dequantize operators passed on the way, nearest the source first;
    they act element by element and therefore commute with movement. The first `settled` of them stand before
    any element moves.
    """

    source: Value
    indices: npt.NDArray[np.int64]
    quants: tuple[QuantSpec, ...]
    settled: int


def trace(graph: Graph, value: Value, through_quants: bool = True) -> Trace:
    """Follow a value back through movement (and per-tensor QDQ) to the node that computes it."""
    chain: list[Node] = []
    while True:
        node = graph.producer(value)
        rounds = isinstance(node.op, (Quantize, Dequantize)) and node.op.per_tensor and through_quants
        if not rounds and not is_movement(node):
            break
        chain.append(node)
        value = node.inputs[0]
    size = graph.type_of(value).size
    indices = np.arange(size, dtype=np.int64).reshape(graph.type_of(value).shape)
    quants: list[QuantSpec] = []
    settled = 0
    for node in reversed(chain):
        if isinstance(node.op, QuantSpec):
            quants.append(node.op)
            settled += is_identity(indices, size)
        else:
            assert isinstance(node.op, Aten)
            (indices,) = node.op.evaluate(indices)
    return Trace(value, np.asarray(indices, np.int64), tuple(quants), settled)


def is_identity(indices: npt.NDArray[np.int64], size: int) -> bool:
    """Whether an index map keeps every element of a source of `size` in flat order."""
    flat = indices.reshape(-1)
    return flat.size == size and bool(np.array_equal(flat, np.arange(size)))


def to_rows(graph: Graph, value: Value) -> Value:
    """View a `[..., C]` value as `[S, C]`, S the product of the other dimensions."""
    kind = graph.type_of(value)
    shape = (kind.size // kind.shape[-1], kind.shape[-1])
    return value if kind.shape == shape else graph.add(f"{value.node}_rows", reshape(shape, kind), [value])


def reshaped(graph: Graph, value: Value, shape: tuple[int, ...]) -> Value:
    """`value` in another shape, unchanged where it already has it."""
    kind = graph.type_of(value)
    return value if kind.shape == shape else graph.add(f"{value.node}_as", reshape(shape, kind), [value])


def permuted(graph: Graph, value: Value, dims: tuple[int, ...]) -> Value:
    """`value` with its dimensions permuted."""
    return graph.add(f"{value.node}_perm", permute(dims, graph.type_of(value)), [value])


@dataclass(frozen=True)
class CancelMovement:
    """Remove the views and transposes between recognised operators.

    Before: `linear -> reshape[1,S,C] -> Q -> DQ -> view -> transpose -> permute -> reshape[S,C] ->
    attention`.
    After: `linear -> Q -> DQ -> attention`. A slice of a packed projection becomes a linear of its own rows
    of the weight; a first-token selection becomes `pool(first)`. Movement that is not understood stays, and
    is refused later by name.
    """

    def __call__(self, graph: Graph) -> Graph:
        graph = graph.copy()
        device = device_values(graph)
        for node in list(graph):
            if not node.op.name.startswith("float."):
                continue
            operands = [self._direct(graph, node, i, device) for i in range(len(node.inputs))]
            if operands != list(graph[node.name].inputs):
                graph.rewire(node.name, operands)
        return graph

    def _direct(self, graph: Graph, node: Node, operand: int, device: set[str]) -> Value:
        value = graph[node.name].inputs[operand]
        if isinstance(graph.producer(value).op, (Constant, Input)) or len(graph.type_of(value).shape) != 2:
            return value
        found = trace(graph, value)
        source = graph.producer(found.source)
        if source.name in device and not source.op.name.startswith("float."):
            return value  # an operator that is not recognised yet: its movement is no host's
        shape = graph.type_of(value).shape
        if _selects_first(source, found, shape):
            pairs = found.settled + found.settled % 2
            rows = _requantised(graph, found.source, found.quants[:pairs], source.module)
            first = graph.add(f"{source.name}_first", FloatPool("first"), [rows], module=source.module)
            return _requantised(graph, first, found.quants[pairs:], source.module)
        moved = self._moved(graph, source, found, shape)
        return value if moved is None else _requantised(graph, moved, found.quants, source.module)

    def _moved(self, graph: Graph, source: Node, found: Trace, shape: tuple[int, ...]) -> Value | None:
        kind = graph.type_of(found.source)
        if not source.op.name.startswith("float."):
            return self._host(graph, found, shape)
        if is_identity(found.indices, kind.size) and kind.shape == shape:
            return found.source
        if isinstance(source.op, FloatLinear) and shape[0] == kind.shape[0]:
            return self._rows_of(graph, source, found.indices.reshape(shape))
        return None

    def _host(self, graph: Graph, found: Trace, shape: tuple[int, ...]) -> Value | None:
        """Movement of a host value goes before the quantiser, where numpy does it."""
        kind = graph.type_of(found.source)
        if is_identity(found.indices, kind.size):
            return reshaped(graph, found.source, shape)
        if not found.quants:
            return None
        flat = reshaped(graph, found.source, (kind.size,))
        indices = graph.add("indices", Constant(found.indices.reshape(-1)))
        gather = Aten(
            "aten.index_select.default",
            {"self": Ref(0), "dim": 0, "index": Ref(1)},
            (kind.with_shape(found.indices.size),),
        )
        return reshaped(graph, graph.add(f"{found.source.node}_gather", gather, [flat, indices]), shape)

    def _rows_of(self, graph: Graph, source: Node, indices: npt.NDArray[np.int64]) -> Value | None:
        """A selection of a linear's output channels, the same for every token, as a linear of those weight
        rows."""
        channels = source.type.shape[1]
        rows = indices[0]
        if (rows >= channels).any() or not np.array_equal(
            indices, rows + channels * np.arange(indices.shape[0])[:, None]
        ):
            return None
        operands = [source.inputs[0], *(select_rows(graph, v, rows) for v in source.inputs[1:])]
        return graph.add(f"{source.name}_{int(rows[0])}", FloatLinear(), operands, module=source.module)


def _selects_first(source: Node, found: Trace, shape: tuple[int, ...]) -> bool:
    """Whether a `[1, C]` value is the first of several tokens of a recognised operator."""
    channels = source.type.shape[-1]
    return (
        source.op.name.startswith("float.")
        and source.type.size > channels
        and shape == (1, channels)
        and is_identity(found.indices, channels)
    )


def _requantised(graph: Graph, value: Value, quants: tuple[QuantSpec, ...], module: str) -> Value:
    """`value` through the QDQ operators that its movement was taken out from under."""
    for op in quants:
        value = graph.add(f"{value.node}_{op.name[0]}", replace(op), [value], module=module)
    return value


def select_rows(graph: Graph, value: Value, rows: npt.NDArray[np.int64]) -> Value:
    """Rows of a constant, or of a per-channel dequantised one, as a new constant."""
    node = graph.producer(value)
    if isinstance(node.op, Dequantize):
        inner = select_rows(graph, node.inputs[0], rows)
        if node.op.axis is None:
            return graph.add(node.name, replace(node.op), [inner])
        return graph.add(
            node.name,
            replace(node.op, scale=node.op.scale[rows], zero_point=node.op.zero_point[rows]),
            [inner],
        )
    assert isinstance(node.op, Constant), node
    return graph.add(
        node.name, Constant(node.op.value[rows], f"{node.op.key}[{int(rows[0])}:{int(rows[-1]) + 1}]")
    )
