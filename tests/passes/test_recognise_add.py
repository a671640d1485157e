from __future__ import annotations

from flow.passes.recognise_add import RecogniseAdd
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

SHAPE = (1, 3, 4)


def test_residual_and_table(golden: Golden) -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", 3, 4))
    y = b.aten("aten.reshape.default", SHAPE, self=norm, shape=SHAPE)
    residual = b.aten("aten.add.Tensor", SHAPE, self=y, other=b.input("z", *SHAPE), alpha=1, module="layer.0")
    table = b.aten("aten.add.Tensor", SHAPE, self=b.constant("row", 4), other=residual, alpha=1)
    golden("passes/recognise_add.txt", rewrite(b.output(table), RecogniseAdd()))


def test_smoothing_factor(golden: Golden) -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", 3, 4))
    scaled = b.aten("aten.mul.Tensor", (3, 4), self=norm, other=b.constant("factor", 4))
    golden("passes/recognise_scale.txt", rewrite(b.output(scaled), RecogniseAdd()))


def test_host_sums_stay_on_the_host() -> None:
    b = Builder()
    x, y = b.input("x", *SHAPE), b.input("y", *SHAPE)
    result = RecogniseAdd()(b.output(b.aten("aten.add.Tensor", SHAPE, self=x, other=y, alpha=1)))
    assert not [n for n in result if n.op.name.startswith("float.")]


def test_difference_and_broadcast_are_no_residual() -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", 3, 4))
    less = b.aten("aten.add.Tensor", (3, 4), self=norm, other=b.input("y", 3, 4), alpha=-1)
    wide = b.aten("aten.add.Tensor", (3, 4), self=less, other=b.input("z", 1, 4), alpha=1)
    result = RecogniseAdd()(b.output(wide))
    assert [n.op.name for n in result if n.op.name.startswith("float.")] == ["float.norm"]
