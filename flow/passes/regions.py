"""Which part of a graph is the device's: everything from the first recognised operator on."""

from __future__ import annotations

from flow.ir import Graph

STARTS = frozenset({"float.linear", "float.norm", "float.attention"})
"""Operators that are never left on the host."""


def device_values(graph: Graph) -> set[str]:
    """Names of the nodes that depend on a linear, norm or attention, these included."""
    found: set[str] = set()
    for node in graph:
        if node.op.name in STARTS or any(v.node in found for v in node.inputs):
            found.add(node.name)
    return found
