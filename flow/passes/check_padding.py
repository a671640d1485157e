"""Refuse what the host computes from tokens that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import networkx as nx
import numpy as np

from flow.errors import FlowError, UnsupportedError, raise_all
from flow.ir import Array, Graph, Value
from flow.ops.boundary import DeviceOutput
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY


@dataclass(frozen=True)
class CheckPadding:
    """After `Integerise`: no output may depend on tokens beyond the length.

    The device gives zeros there, the float model whatever its padding computes: a sum, a maximum or the last token
    over all S would silently differ. The operators behind the device are run twice, with two fillings of those
    tokens; results may differ only where an axis of S elements is at or beyond the length. Rewrites nothing.
    """

    def __call__(self, graph: Graph) -> Graph:
        leaving = [n.name for n in graph if isinstance(n.op, DeviceOutput) and len(n.inputs) == 2]
        if leaving:
            tokens = graph[leaving[0]].type.shape[0]
            faults = dict.fromkeys(
                text
                for length in sorted({1, (tokens + 1) // 2} - {tokens})
                for text in _differences(graph, frozenset(leaving), tokens, length)
            )
            raise_all(
                UnsupportedError, f"{graph.name}: found outputs that read tokens beyond the length", [*faults]
            )
        return graph


def _differences(graph: Graph, leaving: frozenset[str], tokens: int, length: int) -> Iterator[str]:
    """A fault for every output in which tokens at or beyond `length` are felt before it."""
    behind = {name for root in leaving for name in nx.descendants(graph.dag, root)}
    wanted = {key: value for key, value in graph.outputs.items() if value.node in behind}
    try:
        zeros, noise = (_run(graph, leaving, list(wanted.values()), length, fill) for fill in (0, 1))
    except FlowError:
        return  # the host's operators do not take made-up inputs
    for (key, value), first, second in zip(wanted.items(), zeros, noise, strict=True):
        real = tuple(slice(length if size == tokens else None) for size in first.shape)
        if not np.array_equal(first[real], second[real], equal_nan=first.dtype.kind == "f"):
            where = graph.producer(value).where
            yield (
                f"output {key}, {where}: found a result that depends on tokens behind the length; expected one of "
                "tokens that attention_mask keeps; multiply by the mask before reducing over tokens"
            )


def _run(graph: Graph, leaving: frozenset[str], outputs: list[Value], length: int, fill: int) -> list[Array]:
    """The host's results for random tokens, those at or beyond `length` being 0 (`fill` 0) or random."""
    rng = np.random.default_rng(0)
    needed: set[str] = set()
    frontier = [value.node for value in outputs]
    while frontier:
        name = frontier.pop()
        if name not in needed:
            needed.add(name)
            if not isinstance(graph[name].op, DeviceOutput):
                frontier += [v.node for v in graph[name].inputs]
    values: dict[str, tuple[Array, ...]] = {}
    for node in graph:
        if node.name not in needed:
            continue
        if isinstance(node.op, DeviceOutput):
            made = rng.integers(-9999, 9999, node.type.shape)
            if node.name in leaving and not fill:
                made[length:] = 0
            values[node.name] = (made,)
        elif isinstance(node.op, Input):
            shape = node.type.shape
            given = np.zeros(shape, node.type.dtype)
            if node.op.key == MASK_KEY:
                given = (np.arange(given.size) < length).reshape(shape).astype(node.type.dtype)
            values[node.name] = (given,)
        else:
            values[node.name] = node.op.golden(*(values[v.node][v.index] for v in node.inputs))
    return [values[v.node][v.index] for v in outputs]
