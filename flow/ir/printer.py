"""Text form of a graph: one line a node, stable, made for diffs and golden tests."""

from __future__ import annotations

from flow.ir.graph import Graph


def print_graph(graph: Graph) -> str:
    """The graph as text: `%name: type = op(attributes) %operands  # module`, then the outputs."""
    lines = [f"graph {graph.name}:"]
    for node in graph:
        types = ", ".join(str(t) for t in node.types)
        operands = " ".join(str(v) for v in node.inputs)
        module = f"  # {node.module}" if node.module else ""
        lines.append(f"  %{node.name}: {types} = {node.op}{' ' + operands if operands else ''}{module}")
    lines += [f"  return {name} = {value}" for name, value in graph.outputs.items()]
    return "\n".join(lines) + "\n"
