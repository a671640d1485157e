"""Free permutations: channels that nothing outside notices, reordered so that pruning keeps more energy.

Hidden channels of a feed-forward network are rows of one linear (and of its bias), pass pointwise functions, and are
columns of the linears behind; the channels of V within a head are rows of the value projection and, through the
attention, columns of the linears that read the context. With the order p, `new[i] = old[p[i]]`:

    linear(act(linear(x, W, b)), U)  =  linear(act(linear(x, W[p], b[p])), U[:, p])

Masks see physical places: rows of one block share columns, columns of one bank compete. So the order matters to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from flow.compress.matrices import with_constants
from flow.compress.plan import Plan
from flow.compress.schemes import kept_energy
from flow.ir import Array, Graph, Node, Value
from flow.ops.float import FloatActivation, FloatAttention, FloatLinear
from flow.ops.source import Constant

Ints = npt.NDArray[np.int64]


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


def find_reordering(graph: Graph, plan: Plan, scores: Mapping[str, Array]) -> Reordering:
    """The orders, for the channels of `find_hidden`, under which the plan's masks keep most score energy.

    `scores` [N, C] by matrix name. Deterministic: the search is seeded by the options and bounded by a count.
    """
    result = Reordering()
    for hidden in find_hidden(graph):
        order = _search(hidden, plan, scores)
        if order is not None:
            rows = dict.fromkeys(hidden.rows, order)
            columns = dict.fromkeys(hidden.columns, order)
            result = Reordering({**result.rows, **rows}, {**result.columns, **columns})
    return result


def reordered(graph: Graph, reordering: Reordering) -> Graph:
    """The graph with its constants reordered, under the same names: the same function, up to rounding of sums."""
    arrays = {}
    for name in {**reordering.rows, **reordering.columns}:
        op = graph[name].op
        assert isinstance(op, Constant)
        arrays[name] = reordering.apply(name, op.value)
    return with_constants(graph, arrays)


def permuted(graph: Graph, plan: Plan, scores: Mapping[str, Array]) -> tuple[Graph, Reordering]:
    """`find_reordering` and `reordered` in one: the same function with its free channels in a better order.

    Make the plan again on the result: structures, too, are chosen by energy.
    """
    reordering = find_reordering(graph, plan, scores)
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
    """An order that keeps more energy than the present one, or None."""
    if hidden.heads:
        return None
    energy = np.zeros(hidden.channels)
    for name in hidden.columns:
        if name in scores:
            energy += np.square(scores[name], dtype=np.float64).sum(axis=0)
    order = np.argsort(-energy, kind="stable")
    return order if _kept(hidden, plan, scores, order) > _kept(hidden, plan, scores, None) else None


def _kept(hidden: Hidden, plan: Plan, scores: Mapping[str, Array], order: Ints | None) -> float:
    """Share of energy kept, summed over the matrices that the channels touch."""
    total = 0.0
    for name in (*hidden.rows, *hidden.columns):
        if name in plan.structures:
            s = scores[name]
            if order is not None:
                s = s[order] if name in hidden.rows else s[:, order]
            total += kept_energy(s, plan.scheme.mask(s, plan.grid(name), plan.structures[name]))
    return total
