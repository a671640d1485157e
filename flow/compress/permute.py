"""Free permutations: channels that nothing outside notices, reordered so that pruning keeps more energy.

Hidden channels of a feed-forward network are rows of one linear (and of its bias), pass pointwise functions, and are
columns of the linears behind; the channels of V within a head are rows of the value projection and, through the
attention, columns of the linears that read the context. With the order p, `new[i] = old[p[i]]`:

    linear(act(linear(x, W, b)), U)  =  linear(act(linear(x, W[p], b[p])), U[:, p])

Masks see physical places: rows of one block share columns, columns of one bank compete. So the order matters to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.compress.arrange import Columns, cluster, exchange
from flow.compress.matrices import with_constants
from flow.compress.plan import Plan
from flow.compress.schemes import kept_energy
from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatActivation, FloatAttention, FloatLinear
from flow.ops.source import Constant

Ints = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Hidden:
    """Channels that may be reordered: all among each other, or within each of `heads` heads (0: no heads).

    `rows` are the constants (weight, bias) whose axis 0 they index, `columns` the weights whose axis 1 they do.
    """

    name: str
    channels: int
    heads: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reordering:
    """Orders by constant name: `new = old[rows[name]][:, columns[name]]`, where there is one."""

    rows: Mapping[str, Ints] = field(default_factory=dict)
    columns: Mapping[str, Ints] = field(default_factory=dict)

    def apply(self, name: str, array: Array) -> Array:
        """An array laid out like the constant (the constant itself, its scores, its gradient), reordered."""
        if name in self.rows:
            array = array[self.rows[name]]
        return array[:, self.columns[name]] if name in self.columns else array

    def inputs(self, name: str, array: Array) -> Array:
        """An array [C] over a weight's input channels (its norms), reordered."""
        return array[self.columns[name]] if name in self.columns else array


def find_hidden(graph: Graph) -> tuple[Hidden, ...]:
    """Every set of channels that may be reordered, in topological order.

    Each tensor on the way must have no reader but those that move with it and be no output; weights and biases must be
    constants that one operand reads.
    """
    found = []
    for node in graph:
        if not isinstance(node.op, FloatLinear) or not _owns(graph, node):
            continue
        value, heads = Value(node.name), 0
        while (user := _sole_user(graph, value)) is not None and isinstance(user.op, FloatActivation):
            value = Value(user.name)
        if value.node == node.name and user is not None and isinstance(user.op, FloatAttention):
            if user.inputs.index(value) != 2:
                continue
            value, heads = Value(user.name), user.op.heads
        readers = graph.users(value)
        reads = all(
            isinstance(r.op, FloatLinear) and _owns(graph, r) and r.inputs.count(value) == 1 for r in readers
        )
        if readers and reads and not graph.is_output(value):
            rows = tuple(v.node for v in node.inputs[1:])
            columns = tuple(reader.inputs[1].node for reader in readers)
            found.append(Hidden(node.name, node.type.shape[1], heads, rows, columns))
    return tuple(found)


def find_reordering(
    graph: Graph, plan: Plan, scores: Mapping[str, Array], progress: Progress | None = None
) -> Reordering:
    """The orders, for the channels of `find_hidden`, under which the plan's masks keep more score energy.

    `scores` [N, C] by matrix name. Deterministic: the search is seeded by the options and bounded by a count. An order
    that does not help is left out. An unstructured scheme has nothing to gain. `progress` is called with (sets of
    channels done, sets in all).
    """
    result = Reordering()
    hidden = find_hidden(graph) if plan.options.scheme != "unstructured" else ()
    for index, channels in enumerate(hidden):
        order = _search(channels, plan, scores)
        if order is not None:
            rows = dict.fromkeys(channels.rows, order)
            columns = dict.fromkeys(channels.columns, order)
            result = Reordering({**result.rows, **rows}, {**result.columns, **columns})
        if progress is not None:
            progress(index + 1, len(hidden))
    return result


def reordered(graph: Graph, reordering: Reordering) -> Graph:
    """The graph with its constants reordered, under the same names: the same function, up to rounding of sums."""
    arrays = {}
    for name in {**reordering.rows, **reordering.columns}:
        op = graph[name].op
        assert isinstance(op, Constant)
        arrays[name] = reordering.apply(name, op.value)
    return with_constants(graph, arrays)


def permuted(
    graph: Graph, plan: Plan, scores: Mapping[str, Array], progress: Progress | None = None
) -> tuple[Graph, Reordering]:
    """`find_reordering` and `reordered` in one: the same function with its free channels in a better order.

    Make the plan again on the result: structures, too, are chosen by energy.
    """
    reordering = find_reordering(graph, plan, scores, progress)
    return reordered(graph, reordering), reordering


def _owns(graph: Graph, linear: Node) -> bool:
    """Whether a linear's weight and bias are constants that nothing else reads."""
    return all(
        isinstance(graph.producer(v).op, Constant)
        and [user.name for user in graph.users(v)] == [linear.name]
        and linear.inputs.count(v) == 1
        and not graph.is_output(v)
        for v in linear.inputs[1:]
    )


def _sole_user(graph: Graph, value: Value) -> Node | None:
    """The only node that reads a value, as one operand; None for an output or where there are others."""
    users = graph.users(value)
    alone = len(users) == 1 and users[0].inputs.count(value) == 1 and not graph.is_output(value)
    return users[0] if alone else None


def _search(hidden: Hidden, plan: Plan, scores: Mapping[str, Array]) -> Ints | None:
    """An order that keeps more energy than the present one, or None.

    First rows are clustered, where they share columns of blocks; then channels are exchanged for the matrices that
    read them, within the blocks of rows that were made.
    """
    touched = [name for name in (*hidden.rows, *hidden.columns) if name in plan.structures]
    if not touched:
        return None
    channel = np.arange(hidden.channels)
    heads = channel // (hidden.channels // hidden.heads) if hidden.heads else np.zeros_like(channel)
    order, sets = channel, heads
    producer = plan.structures.get(hidden.rows[0])
    if producer is not None and producer.block_rows > 1:
        grid = plan.grid(hidden.rows[0])
        if producer.columns < grid.depth:
            order = cluster(scores[hidden.rows[0]], grid, producer, heads)
            sets = heads * grid.height + grid.rows // producer.block_rows
    readers = [
        Columns(scores[name][:, order], plan.grid(name), plan.structures[name])
        for name in hidden.columns
        if name in plan.structures
    ]
    if readers:
        order = order[exchange(readers, plan.scheme, sets, plan.options.seed)]
    kept = [sum(_kept(name, hidden, plan, scores, o) for name in touched) for o in (channel, order)]
    return order if kept[1] > kept[0] else None


def _kept(name: str, hidden: Hidden, plan: Plan, scores: Mapping[str, Array], order: Ints) -> float:
    """Share of energy that a matrix keeps in this order, times its size."""
    s = scores[name][order] if name in hidden.rows else scores[name][:, order]
    grid = plan.grid(name)
    return grid.size * kept_energy(s, plan.scheme.mask(s, grid, plan.structures[name]))
