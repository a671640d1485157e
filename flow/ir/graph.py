"""`Graph`: the dataflow graph that every stage of the compiler works on.

A `Graph` owns a networkx `MultiDiGraph` whose vertices are node names; an edge runs from producer to user and
carries `result` (which output of the producer) and `operand` (which input of the user). Passes never mutate
the graph they are given: they `copy()` (cheap: operators are frozen and shared) and edit the copy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import networkx as nx

from flow.ir.op import Op
from flow.ir.types import TensorType


class Value(NamedTuple):
    """One output of one node."""

    node: str
    index: int = 0  # type: ignore[assignment]  # hides tuple.index, which nobody needs of a pair

    def __str__(self) -> str:
        return f"%{self.node}" + (f".{self.index}" if self.index else "")


@dataclass(frozen=True)
class Node:
    """An operator applied to values. `module` is the torch module path it came from ('' if none)."""

    name: str
    op: Op
    inputs: tuple[Value, ...]
    types: tuple[TensorType, ...]
    module: str = ""

    @property
    def type(self) -> TensorType:
        """The type of the first output."""
        return self.types[0]

    @property
    def where(self) -> str:
        """How messages name this node: torch module path if known, else its name, with the operator."""
        return f"{self.module or self.name} ({self.op.label})"


class Graph:
    """A single-assignment dataflow graph with named outputs.

    Invariants (checked by `flow.ir.verify`): node names are unique; every input value exists; the graph is
    acyclic; each node's `types` equal `op.infer(...)` of its inputs. Iteration is in topological order,
    stable under insertion.
    """

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self._dag = nx.MultiDiGraph()
        self._outputs: dict[str, Value] = {}

    # -- reading
    # -----------------------------------------------------------------------------------------------

    @property
    def dag(self) -> nx.MultiDiGraph:
        """The networkx graph itself, as a read-only view, for algorithms."""
        return self._dag.copy(as_view=True)

    @property
    def outputs(self) -> Mapping[str, Value]:
        """Output values by name, in order."""
        return dict(self._outputs)

    def __contains__(self, name: object) -> bool:
        return name in self._dag

    def __len__(self) -> int:
        return int(self._dag.number_of_nodes())

    def __getitem__(self, name: str) -> Node:
        node: Node = self._dag.nodes[name]["node"]
        return node

    def __iter__(self) -> Iterator[Node]:
        """Nodes in topological order; among the ready ones, the one added first."""
        rank = {name: i for i, name in enumerate(self._dag.nodes)}
        for name in nx.lexicographical_topological_sort(self._dag, key=rank.__getitem__):
            yield self[name]

    @property
    def names(self) -> list[str]:
        """Node names in topological order, as they are now: safe to loop over while editing."""
        return [node.name for node in self]

    def producer(self, value: Value) -> Node:
        """The node that makes `value`."""
        return self[value.node]

    def type_of(self, value: Value) -> TensorType:
        """The type of `value`."""
        return self[value.node].types[value.index]

    def users(self, value: Value) -> list[Node]:
        """Nodes that read `value`, each once, in insertion order."""
        edges = self._dag.out_edges(value.node, data=True)
        return [
            self[name]
            for name in dict.fromkeys(user for _, user, data in edges if data["result"] == value.index)
        ]

    def is_output(self, value: Value) -> bool:
        """Whether `value` is a graph output."""
        return value in self._outputs.values()

    def fresh(self, stem: str) -> str:
        """A node name that is not taken, close to `stem` (letters, digits, `_`)."""
        stem = re.sub(r"\W+", "_", stem).strip("_") or "node"
        if stem not in self._dag:
            return stem
        i = 1
        while f"{stem}_{i}" in self._dag:
            i += 1
        return f"{stem}_{i}"

    # -- editing (for passes on their own copy)
    # ----------------------------------------------------------------

    def copy(self) -> Graph:
        """An independent graph that shares the frozen nodes."""
        other = Graph(self.name)
        other._dag = self._dag.copy()
        other._outputs = dict(self._outputs)
        return other

    def add(self, stem: str, op: Op, inputs: Iterable[Value] = (), module: str = "") -> Value:
        """Append a node, infer its types, and return its first value.

        Raises:
            UnsupportedError, FitError: from the operator's `infer`.
        """
        operands = tuple(inputs)
        name = self.fresh(stem)
        types = op.infer(*(self.type_of(v) for v in operands))
        self._insert(Node(name, op, operands, types, module))
        return Value(name)

    def _insert(self, node: Node) -> None:
        self._dag.add_node(node.name, node=node)
        for i, value in enumerate(node.inputs):
            self._dag.add_edge(value.node, node.name, result=value.index, operand=i)

    def set_output(self, name: str, value: Value) -> None:
        """Declare (or redirect) a graph output."""
        self._outputs[name] = value

    def set_outputs(self, outputs: Mapping[str, Value]) -> None:
        """Declare all graph outputs anew."""
        self._outputs = dict(outputs)

    def rewire(self, node: str, inputs: Iterable[Value]) -> None:
        """Give a node other inputs; its types are inferred again (users are not: call `flow.ir.verify`)."""
        old = self[node]
        operands = tuple(inputs)
        types = old.op.infer(*(self.type_of(v) for v in operands))
        self._dag.remove_edges_from(list(self._dag.in_edges(node, keys=True)))
        self._insert(replace(old, inputs=operands, types=types))

    def replace_op(self, node: str, op: Op) -> None:
        """Give a node another operator on the same inputs; its types are inferred again (users are not: call
        `flow.ir.verify`)."""
        old = self[node]
        types = op.infer(*(self.type_of(v) for v in old.inputs))
        self._dag.nodes[node]["node"] = replace(old, op=op, types=types)

    def replace_value(self, old: Value, new: Value, keep: Iterable[str] = ()) -> None:
        """Make every user of `old`, graph outputs included, read `new`, except the nodes in `keep`."""
        spared = {new.node, *keep}
        for user in self.users(old):
            if user.name not in spared:
                self.rewire(user.name, [new if v == old else v for v in user.inputs])
        for name, value in self._outputs.items():
            if value == old:
                self._outputs[name] = new

    def prune(self, keep: Iterable[str] = ()) -> None:
        """Remove every node that no output (nor any node in `keep`) depends on."""
        roots = [v.node for v in self._outputs.values()] + [name for name in keep if name in self._dag]
        live = set(roots)
        for root in roots:
            live |= nx.ancestors(self._dag, root)
        self._dag.remove_nodes_from([n for n in self._dag.nodes if n not in live])
