"""`report.json`: what was lowered, what structure the weights had, what it costs."""

from __future__ import annotations

import json
from typing import Any

from flow.cost import EstimateReport
from flow.formats import EncodedMatrix, describe, sizes
from flow.ir import Graph
from flow.ops.linear import Linear
from flow.passes.fuse_steps import Step
from flow.passes.lay_out import Layout

STORED = ("weights", "codes", "maps", "headers", "page", "padding")
OTHERS = ("dense", "csr", "coo", "bitmap", "information_limit")
BITS = ("total", *STORED, *OTHERS)
"""Sizes of a matrix in bits: in all, what they are made of, and the same weights in other formats."""


def report_of(layout: Layout, graph: Graph, estimate: EstimateReport) -> bytes:
    """The report as JSON: `estimate`, one entry per weight matrix, their totals, and the memories used."""
    beat_bytes = layout.program.engine.beat_bytes
    matrices = [matrix_of(p.step, p.encoded, beat_bytes) for p in layout.placed if p.encoded is not None]
    totals = {key: sum(m["bits"][key] for m in matrices) for key in ("total", *OTHERS)}
    data = {
        "model": graph.name,
        "estimate": estimate.to_json(),
        "matrices": matrices,
        "weight_bits": totals,
        "memories": {space.name.lower(): words for space, words in sorted(layout.plan.peak.items())},
        "image_bytes": len(layout.program.image),
    }
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def matrix_of(step: Step, encoded: EncodedMatrix, beat_bytes: int) -> dict[str, Any]:
    """The weight matrix of a step: its structure, what that costs in cycles a token tile, its size in other formats."""
    linear = step.nodes[0].op
    assert isinstance(linear, Linear)
    rows, columns = linear.weight.shape
    found = describe(encoded)
    bits = sizes(encoded, beat_bytes, rows=rows, columns=columns)
    return {
        "step": step.name,
        "where": step.where,
        "shape": [rows, columns],
        "structure": str(found),
        "scheme": found.scheme,
        "density": found.nonzeros / (rows * columns),
        "cycles_per_tile": found.cycles,
        "dense_cycles": found.dense_cycles,
        "balanced_cycles": found.balanced_cycles,
        "overhead": found.overhead,
        "bits": {name: round(getattr(bits, name)) for name in BITS},
    }
