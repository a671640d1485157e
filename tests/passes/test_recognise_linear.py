from __future__ import annotations

from flow.passes.recognise_linear import RecogniseLinear
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite


def test_linear_on_a_batch_of_one(golden: Golden) -> None:
    b = Builder()
    x, weight, bias = b.input("x", 1, 3, 4), b.constant("weight", 2, 4), b.constant("bias", 2)
    linear = b.aten("aten.linear.default", (1, 3, 2), input=x, weight=weight, bias=bias, module="fc1")
    golden("passes/recognise_linear.txt", rewrite(b.output(linear), RecogniseLinear()))


def test_addmm_has_its_weight_transposed(golden: Golden) -> None:
    b = Builder()
    x, weight, bias = b.input("x", 3, 4), b.constant("weight", 4, 2), b.constant("bias", 2)
    linear = b.aten("aten.addmm.default", (3, 2), self=bias, mat1=x, mat2=weight, alpha=1, beta=1)
    golden("passes/recognise_addmm.txt", rewrite(b.output(linear), RecogniseLinear()))


def test_square_weight_behind_a_transpose_is_transposed_once() -> None:
    b = Builder()
    x, weight = b.input("x", 3, 4), b.constant("weight", 4, 4)
    turned = b.aten("aten.t.default", (4, 4), self=weight)
    linear = b.aten("aten.mm.default", (3, 4), self=x, mat2=turned)
    assert "float.linear %x %weight\n" in rewrite(b.output(linear), RecogniseLinear())


def test_product_of_two_activations_is_no_linear_layer() -> None:
    b = Builder()
    x, y = b.input("x", 3, 4), b.input("y", 4, 2)
    result = RecogniseLinear()(b.output(b.aten("aten.mm.default", (3, 2), self=x, mat2=y)))
    assert not [n for n in result if n.op.name.startswith("float.")]


def test_weight_with_a_quantised_axis_turns_its_axis(golden: Golden) -> None:
    b = Builder()
    x, weight = b.input("x", 3, 4), b.weight("layer", 2, 4)
    turned = b.aten("aten.t.default", (4, 2), self=weight)
    linear = b.aten("aten.mm.default", (3, 2), self=x, mat2=turned)
    golden("passes/recognise_quantized_linear.txt", rewrite(b.output(linear), RecogniseLinear()))
