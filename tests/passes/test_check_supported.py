from __future__ import annotations

import pytest

from flow.errors import UnsupportedError
from flow.ir import Graph, Value
from flow.passes.check_supported import CheckSupported
from tests.passes.building import Builder, text

S, C = 4, 6


def refused(graph: Graph) -> str:
    with pytest.raises(UnsupportedError) as caught:
        CheckSupported()(graph)
    return str(caught.value)


def between(b: Builder, target: str, module: str, **arguments: object) -> Graph:
    """Something raw between two linear layers."""
    first = b.linear("first", b.input("x", S, C), C)
    raw = b.aten(target, (S, C), module=module, self=first, **arguments)  # type: ignore[arg-type]
    return b.output(b.linear("second", raw, 3))


def test_everything_unsupported_is_listed_with_its_module() -> None:
    b = Builder("model")
    graph = between(b, "aten.erfinv.default", "encoder.layers.0.ffn")
    x = b.aten("aten.conv2d.default", (1, 3, 2, 2), module="stem", input=b.input("image", 1, 3, 4, 4))
    b.output(b.aten("aten.special_bessel_j0.default", (1, 3, 2, 2), self=x), "other")
    assert refused(graph) == (
        "model: found 3 operations that flow cannot lower\n"
        "  - encoder.layers.0.ffn: aten.erfinv.default between device operators; replace it by one of the operators "
        "in docs/operators.md\n"
        "  - stem: aten.conv2d.default on the device; use a patch embedding whose stride equals its kernel, without "
        "padding, dilation or groups\n"
        "  - special_bessel_j0: aten.special_bessel_j0.default on the host; replace it by one of the operators in "
        "docs/operators.md"
    )


def test_movement_that_is_left_is_named() -> None:
    assert refused(between(Builder("model"), "aten.permute.default", "mixer", dims=(1, 0))) == (
        "model: found 1 operations that flow cannot lower\n"
        "  - mixer: aten.permute.default between device operators; a rearrangement of tokens or channels that is not "
        "head splitting, batch dropping or patch cutting"
    )


def test_host_arithmetic_before_and_after_the_device_is_fine() -> None:
    b = Builder()
    x = b.aten("aten.mul.Tensor", (S, C), self=b.input("x", S, C), other=2.0)
    y = b.aten("aten.neg.default", (S, 3), self=b.linear("layer", x, 3))
    graph = b.output(y)
    assert text(CheckSupported()(graph)) == text(graph)


def test_a_model_without_linear_layers_is_no_transformer() -> None:
    b = Builder("model")
    value: Value = b.norm("norm", b.input("x", S, C))
    assert refused(b.output(value)) == "model: found no linear layer; expected a transformer"


def test_a_batch_is_suspected_first() -> None:
    b = Builder("batched")
    b.output(b.aten("aten.special_bessel_j0.default", (3, 7, 2), self=b.input("x", 3, 7, 2)))
    assert refused(b.graph).splitlines()[:2] == [
        "batched: found 1 operations that flow cannot lower",
        "  - input x: found 3 along its first axis; if that is the batch, export with a batch of 1",
    ]
