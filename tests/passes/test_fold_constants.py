from __future__ import annotations

from flow.passes.fold_constants import FoldConstants
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite


def test_position_table_becomes_a_constant(golden: Golden) -> None:
    b = Builder()
    x = b.input("x", 1, 3, 4)
    ids = b.aten("aten.arange.default", (3,), dtype="int64", end=3, dtype_=None)
    table = b.constant("positions", 5, 4)
    rows = b.aten(
        "aten.embedding.default",
        (3, 4),
        weight=table,
        indices=ids,
        padding_idx=-1,
        scale_grad_by_freq=False,
        sparse=False,
    )
    summed = b.aten("aten.add.Tensor", (1, 3, 4), self=x, other=rows, alpha=1)
    golden("passes/fold_constants.txt", rewrite(b.output(summed), FoldConstants()))


def test_dropout_and_casts_between_floats_vanish(golden: Golden) -> None:
    b = Builder()
    x = b.input("x", 1, 3, 4)
    dropped = b.aten("aten.dropout.default", (1, 3, 4), input=x, p=0.1, train=False)
    cast = b.aten("aten.to.dtype", (1, 3, 4), self=dropped, dtype="float32", non_blocking=False, copy=False)
    expanded = b.aten("aten.expand.default", (1, 3, 4), self=cast, size=(1, 3, 4), implicit=False)
    doubled = b.aten("aten.mul.Tensor", (1, 3, 4), self=expanded, other=2.0)
    golden("passes/fold_identities.txt", rewrite(b.output(doubled), FoldConstants()))


def test_quantized_weights_are_not_folded() -> None:
    b = Builder()
    result = FoldConstants()(b.output(b.weight("layer", 2, 3)))
    assert [node.op.name for node in result] == ["constant", "dequantize"]
