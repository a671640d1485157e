"""The golden executor on many samples at once: operators that work on single tokens see all samples' tokens stacked.

Each operator's own `golden` computes every value, so the integers are the executor's; `compared` proves it on samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from flow.golden import execute
from flow.ir import Array, Graph
from flow.ops.source import Input

BY_TOKEN = {"linear", "requantise", "norm", "table", "add"}
"""Operators whose row n of the output depends on row n of the inputs alone."""


def execute_all(graph: Graph, samples: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    """As `execute` for every sample, of a graph without an attention mask."""
    values: dict[str, list[tuple[Array, ...]]] = {}
    for node in graph:
        if isinstance(node.op, Input):
            values[node.name] = [(np.asarray(sample[node.op.key]),) for sample in samples]
            continue
        operands = [[values[v.node][i][v.index] for v in node.inputs] for i in range(len(samples))]
        if node.op.name in BY_TOKEN:
            rows = node.type.shape[0]
            (stacked,) = node.op.golden(*(np.concatenate(column) for column in zip(*operands, strict=True)))
            values[node.name] = [(part,) for part in stacked.reshape(len(samples), rows, -1)]
        else:
            values[node.name] = [node.op.golden(*one) for one in operands]
    return [
        {name: values[value.node][i][value.index] for name, value in graph.outputs.items()}
        for i in range(len(samples))
    ]


def compared(
    graph: Graph, samples: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]]
) -> None:
    """Hold results against the executor's, one sample after the other.

    Raises:
        AssertionError: a value differs.
    """
    for sample, results in zip(samples, found, strict=True):
        for name, exact in execute(graph, sample).items():
            assert np.array_equal(results[name], exact), (
                f"{name}: the stacked run differs from the executor's"
            )
