"""The recognition pipeline: raw torch operators (level 0) to float device operators (level 1)."""

from __future__ import annotations

from flow.ir import Graph
from flow.ops.post import load_plugins
from flow.passes.base import Pass, run_passes
from flow.passes.check_supported import CheckSupported
from flow.passes.fold_constants import FoldConstants
from flow.passes.fold_scales import FoldScales
from flow.passes.movement import CancelMovement
from flow.passes.name_nodes import NameNodes
from flow.passes.recognise_activation import RecogniseActivation
from flow.passes.recognise_add import RecogniseAdd
from flow.passes.recognise_attention import RecogniseAttention
from flow.passes.recognise_linear import RecogniseLinear
from flow.passes.recognise_norm import RecogniseNorm
from flow.passes.recognise_patches import MergeTables, RecognisePatches, RecognisePrefixTokens
from flow.passes.recognise_pool import RecognisePool
from flow.passes.share_common import ShareCommon

PIPELINE: tuple[Pass, ...] = (
    FoldConstants(),
    RecogniseNorm(),
    RecognisePatches(),
    RecogniseLinear(),
    RecogniseActivation(),
    RecogniseAttention(),
    RecognisePool(),
    CancelMovement(),
    RecognisePrefixTokens(),
    RecogniseAdd(),
    CancelMovement(),
    FoldScales(),
    MergeTables(),
    ShareCommon(),
    CheckSupported(),
    NameNodes(),
)


def recognise(graph: Graph) -> Graph:
    """Level 0 to level 1.

    Raises:
        UnsupportedError: one message that lists every operation that cannot be lowered, with its module path.
        FlowError: a plug-in cannot be loaded.
    """
    load_plugins()
    return run_passes(graph, PIPELINE)
