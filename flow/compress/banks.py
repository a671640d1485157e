"""B for a list of boards: what each would be fitted with at the target density."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flow.boards import load_board
from flow.compress.calibrate import calibrate
from flow.compress.matrices import with_constants
from flow.compress.plan import PruneOptions, make_plan, masks_of
from flow.compress.quantize import quantize
from flow.compress.scores import scores_of
from flow.cost import fit
from flow.golden.samples import Sample, model_inputs, token_limits
from flow.ir import Graph
from flow.passes.masks import MASK_KEY
from flow.passes.to_integers import to_integers


def banks_for(graph: Graph, boards: Sequence[str], options: PruneOptions) -> dict[str, int]:
    """Banks of the engine that fits each board best, by its name, for the graph pruned as asked.

    They are powers of two, so the largest serves all: balance for B is balance for every divisor of B. The fit is for
    integers; where the model is float, ranges come from one made-up sample, which changes no cycle.

    Raises:
        FlowError: an unknown board. UnsupportedError: the model cannot be lowered. FitError: a board is too small.
    """
    chosen = [load_board(name) for name in boards]
    plan = make_plan(graph, replace(options, score="magnitude", allocation="uniform"), nearest=True)
    masks = masks_of(plan, scores_of(plan.matrices))
    pruned = with_constants(graph, {m.name: m.weight * masks[m.name] for m in plan.matrices})
    integers = to_integers(quantize(pruned, calibrate(pruned, [_made_up(graph)])))
    return {board.name: fit(integers, board).banks for board in chosen}


def _made_up(graph: Graph) -> Sample:
    """One sample of normal numbers and random ids, of full length."""
    rng, limits = np.random.default_rng(0), token_limits(graph)
    sample: Sample = {}
    for key, kind in model_inputs(graph).items():
        if key == MASK_KEY:
            sample[key] = np.ones(kind.shape, kind.dtype)
        elif kind.is_float:
            sample[key] = rng.normal(size=kind.shape).astype(kind.dtype)
        else:
            sample[key] = rng.integers(0, limits.get(key, 1), kind.shape).astype(kind.dtype)
    return sample
