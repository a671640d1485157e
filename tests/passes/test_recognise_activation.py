from __future__ import annotations

import math
from typing import Any

import pytest

from flow.ir import Value
from flow.passes.recognise_activation import RecogniseActivation
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

SHAPE = (1, 3, 4)


def gelu_tanh(b: Builder, x: Value, cube: float = 0.044715) -> Value:
    """`0.5 x (1 + tanh(sqrt(2/pi) (x + cube x^3)))`."""
    power = b.aten("aten.pow.Tensor_Scalar", SHAPE, self=x, exponent=3.0)
    scaled = b.aten("aten.mul.Tensor", SHAPE, self=power, other=cube)
    inner = b.aten("aten.add.Tensor", SHAPE, self=x, other=scaled, alpha=1)
    turned = b.aten("aten.mul.Tensor", SHAPE, self=inner, other=math.sqrt(2 / math.pi))
    tanh = b.aten("aten.tanh.default", SHAPE, self=turned)
    above = b.aten("aten.add.Tensor", SHAPE, self=tanh, other=1.0, alpha=1)
    half = b.aten("aten.mul.Tensor", SHAPE, self=x, other=0.5)
    return b.aten("aten.mul.Tensor", SHAPE, self=half, other=above, module="mlp")


def test_gelu_spelled_out(golden: Golden) -> None:
    b = Builder()
    golden(
        "passes/recognise_activation.txt",
        rewrite(b.output(gelu_tanh(b, b.input("x", *SHAPE))), RecogniseActivation()),
    )


@pytest.mark.parametrize(
    ("target", "arguments", "kind"),
    [
        ("gelu", {"approximate": "none"}, "gelu"),
        ("gelu", {"approximate": "tanh"}, "gelu_tanh"),
        ("relu", {}, "relu"),
        ("silu", {}, "silu"),
        ("tanh", {}, "tanh"),
        ("sigmoid", {}, "sigmoid"),
    ],
)
def test_functions_of_torch(target: str, arguments: dict[str, Any], kind: str) -> None:
    b = Builder()
    value = b.aten(f"aten.{target}.default", SHAPE, self=b.input("x", *SHAPE), **arguments)
    assert f"float.activation(kind={kind})" in rewrite(b.output(value), RecogniseActivation())


def test_quick_gelu_is_no_gelu() -> None:
    """x*sigmoid(1.702 x) is within 0.02 of GELU, and is not it."""
    b = Builder()
    x = b.input("x", *SHAPE)
    scaled = b.aten("aten.mul.Tensor", SHAPE, self=x, other=1.702)
    gate = b.aten("aten.exp.default", SHAPE, self=b.aten("aten.neg.default", SHAPE, self=scaled))
    above = b.aten("aten.add.Tensor", SHAPE, self=gate, other=1.0, alpha=1)
    result = RecogniseActivation()(b.output(b.aten("aten.div.Tensor", SHAPE, self=x, other=above)))
    assert not [n for n in result if n.op.name.startswith("float.")]


def test_another_cubic_term_is_no_gelu() -> None:
    b = Builder()
    after = rewrite(b.output(gelu_tanh(b, b.input("x", *SHAPE), cube=0.05)), RecogniseActivation())
    assert "gelu" not in after


def test_clipped_far_out_is_another_function() -> None:
    b = Builder()
    relu = b.aten("aten.relu.default", SHAPE, self=b.input("x", *SHAPE))
    clipped = b.aten("aten.clamp.default", SHAPE, self=relu, min=None, max=10.0)
    result = RecogniseActivation()(b.output(b.aten("aten.mul.Tensor", SHAPE, self=clipped, other=1.0)))
    kinds = [n.op.label for n in result if n.op.name == "float.activation"]
    assert kinds == ["relu"], "the rectifier alone is recognised, the clipping stays and is refused later"
    assert any(n.op.label == "aten.clamp.default" for n in result)
