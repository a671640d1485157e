from __future__ import annotations

import pytest

from flow.ir import Value
from flow.ops.float import FloatNorm
from flow.passes.recognise_norm import RecogniseNorm
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite


def spelled_rms(b: Builder, x: Value, square: Value, axis: int = -1) -> Value:
    mean = b.aten("aten.mean.dim", (1, 3, 1), self=square, dim=(axis,), keepdim=True, dtype_=None)
    total = b.aten("aten.add.Tensor", (1, 3, 1), self=mean, other=1e-3, alpha=1)
    root = b.aten("aten.rsqrt.default", (1, 3, 1), self=total)
    return b.aten("aten.mul.Tensor", (1, 3, 4), self=x, other=root)


def test_layer_norm_without_bias(golden: Golden) -> None:
    b = Builder()
    x, weight = b.input("x", 1, 3, 4), b.constant("weight", 4)
    norm = b.aten(
        "aten.layer_norm.default",
        (1, 3, 4),
        module="encoder.norm",
        input=x,
        normalized_shape=(4,),
        weight=weight,
        bias=None,
        eps=1e-6,
    )
    golden("passes/recognise_layer_norm.txt", rewrite(b.output(norm), RecogniseNorm()))


def test_rms_norm_spelled_out_with_its_weight(golden: Golden) -> None:
    b = Builder()
    x, weight = b.input("x", 1, 3, 4), b.constant("weight", 4)
    square = b.aten("aten.pow.Tensor_Scalar", (1, 3, 4), self=x, exponent=2)
    norm = spelled_rms(b, x, square)
    weighted = b.aten("aten.mul.Tensor", (1, 3, 4), self=weight, other=norm)
    golden("passes/recognise_rms_norm.txt", rewrite(b.output(weighted), RecogniseNorm()))


def test_eps_left_out_is_torchs_own() -> None:
    b = Builder()
    x = b.input("x", 1, 3, 4)
    norm = b.aten("aten.rms_norm.default", (1, 3, 4), input=x, normalized_shape=(4,), weight=None, eps=None)
    (found,) = (n.op for n in RecogniseNorm()(b.output(norm)) if isinstance(n.op, FloatNorm))
    assert (found.eps, found.centred) == (2.0**-23, False)


@pytest.mark.parametrize(("exponent", "axis"), [(3, -1), (2, 1)])
def test_another_power_or_axis_is_no_norm(exponent: int, axis: int) -> None:
    b = Builder()
    x = b.input("x", 1, 3, 4)
    square = b.aten("aten.pow.Tensor_Scalar", (1, 3, 4), self=x, exponent=exponent)
    result = RecogniseNorm()(b.output(spelled_rms(b, x, square, axis)))
    assert not [n for n in result if n.op.name.startswith("float.")]
