"""What a pass is, and how a list of them runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from flow.ir import Graph, verify


class Pass(Protocol):
    """A pure function from graph to graph: a frozen dataclass whose fields are its options."""

    def __call__(self, graph: Graph) -> Graph:
        """The rewritten graph; the argument is left as it was."""
        ...


def run_passes(graph: Graph, passes: Iterable[Pass]) -> Graph:
    """Apply passes in order; dead nodes go and the verifier runs after each and names the pass that broke
    something.

    Raises:
        VerifyError: a pass left a broken graph. UnsupportedError: a pass met what it cannot lower.
    """
    for step in passes:
        graph = step(graph)
        graph.prune(keep=[n.name for n in graph if n.op.name == "input"])
        verify(graph, after=type(step).__name__)
    return graph
