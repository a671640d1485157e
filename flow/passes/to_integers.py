"""The integer pipeline: a recognised QDQ graph (level 1) to integer device operators (level 2)."""

from __future__ import annotations

from flow.ir import Graph
from flow.passes.base import run_passes
from flow.passes.check_padding import CheckPadding
from flow.passes.integerise import Integerise
from flow.passes.share_common import ShareCommon


def to_integers(graph: Graph, allow_int8_residual: bool = False, exp_bits: int | None = None) -> Graph:
    """Level 1 to level 2.

    Raises:
        UnsupportedError: lists every edge outside the number contract, or every output that reads padding.
    """
    return run_passes(graph, [ShareCommon(), Integerise(allow_int8_residual, exp_bits), CheckPadding()])
