"""The graph verifier: run after every pass, so that a broken pass is named, not its victim."""

from __future__ import annotations

import networkx as nx

from flow.errors import FlowError, VerifyError, raise_all
from flow.ir.graph import Graph


def verify(graph: Graph, after: str = "construction") -> None:
    """Check the invariants of `Graph`.

    Raises:
        VerifyError: lists every fault and the pass (`after`) that left them.
    """
    faults: list[str] = []
    if not nx.is_directed_acyclic_graph(graph.dag):
        cycle = " -> ".join(edge[0] for edge in nx.find_cycle(graph.dag))
        raise VerifyError(
            f"graph {graph.name} after {after}: found a cycle {cycle}; expected a dataflow graph"
        )
    for node in graph:
        if any(v.index >= len(graph[v.node].types) for v in node.inputs):
            faults.append(f"%{node.name}: reads an output that its producer does not have")
            continue
        try:
            inferred = node.op.infer(*(graph.type_of(v) for v in node.inputs))
        except FlowError as error:
            faults.append(f"%{node.name}: {error}")
            continue
        if inferred != node.types:
            faults.append(
                f"%{node.name}: typed {[str(t) for t in node.types]}, its operator infers {[str(t) for t in inferred]}"
            )
    faults += [
        f"output {name}: {value} does not exist"
        for name, value in graph.outputs.items()
        if value.node not in graph
    ]
    raise_all(
        VerifyError,
        f"graph {graph.name} after {after}: found {len(faults)} broken invariants; expected none",
        faults,
    )
