from __future__ import annotations

import numpy as np

from flow.ir import Value
from flow.ops.float import FloatAttention, FloatLinear, FloatPool
from flow.ops.quant import Dequantize, Quantize
from flow.passes.movement import CancelMovement, is_identity, trace
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

S, C, H = 4, 6, 2


def reshape(b: Builder, x: Value, *shape: int) -> Value:
    return b.aten("aten.reshape.default", shape, self=x, shape=shape)


def select_first(b: Builder, x: Value) -> Value:
    """`x[:, 0]` of [S, C]."""
    return b.aten("aten.select.int", (1, C), self=reshape(b, x, 1, S, C), dim=1, index=0)


def split_and_joined(b: Builder, x: Value) -> Value:
    """[S, H*d] to [1, H, S, d] and back."""
    heads = b.aten("aten.view.default", (1, S, H, C // H), self=x, size=(1, S, H, C // H))
    heads = b.aten("aten.transpose.int", (1, H, S, C // H), self=heads, dim0=1, dim1=2)
    back = b.aten("aten.permute.default", (1, S, H, C // H), self=heads, dims=(0, 2, 1, 3))
    return reshape(b, back, S, C)


def test_head_splitting_cancels(golden: Golden) -> None:
    b = Builder()
    x = b.input("x", S, C)
    q, k, v = (split_and_joined(b, b.linear(name, x, C)) for name in "qkv")
    graph = b.output(b.add("attention", FloatAttention(H, 0.5), q, k, v))
    golden("passes/cancel_movement.txt", rewrite(graph, CancelMovement()))


def test_packed_projection_is_cut_by_rows(golden: Golden) -> None:
    b = Builder()
    packed = reshape(b, b.linear("packed", b.input("x", S, C), 3 * C), 1, S, 3 * C)
    parts = [
        reshape(
            b, b.aten("aten.slice.Tensor", (1, S, C), self=packed, dim=2, start=at, end=at + C, step=1), S, C
        )
        for at in (0, C, 2 * C)
    ]
    graph = b.output(b.add("attention", FloatAttention(H, 0.5), *parts))
    golden("passes/cancel_movement_packed.txt", rewrite(graph, CancelMovement()))


def test_first_token_behind_a_pair(golden: Golden) -> None:
    """The pair before the selection stays before the pool, the one behind it behind."""
    b = Builder()
    stream = b.wide(b.norm("norm", b.input("x", S, C)))
    classifier = b.linear("head", b.qdq(select_first(b, stream), 2.0**-5), 3)
    golden("passes/cancel_movement_first.txt", rewrite(b.output(classifier), CancelMovement()))


def test_movement_of_the_host_goes_before_the_quantiser(golden: Golden) -> None:
    b = Builder()
    x = b.qdq(b.input("x", C, S), 2.0**-5)
    turned = b.aten("aten.permute.default", (S, C), self=x, dims=(1, 0))
    golden(
        "passes/cancel_movement_host.txt", rewrite(b.output(b.linear("embed", turned, 3)), CancelMovement())
    )


def test_movement_behind_an_unknown_device_operator_stays() -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", S, C))
    unknown = b.aten("aten.mul.Tensor", (S, C), self=norm, other=b.constant("factor", C))
    graph = b.output(b.linear("head", b.qdq(select_first(b, unknown), 2.0**-5), 3))
    result = CancelMovement()(graph)
    assert result["head"].inputs == graph["head"].inputs


def test_shuffled_tokens_are_not_understood() -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", S, C))
    shuffled = reshape(b, b.aten("aten.permute.default", (C, S), self=norm, dims=(1, 0)), S, C)
    graph = b.output(b.linear("head", shuffled, 3))
    assert CancelMovement()(graph)["head"].inputs == graph["head"].inputs


def test_first_token_of_one_token_is_the_identity() -> None:
    b = Builder()
    norm = b.norm("norm", b.input("x", 1, C))
    first = b.aten("aten.select.int", (1, C), self=reshape(b, norm, 1, 1, C), dim=1, index=0)
    result = CancelMovement()(b.output(b.add("head", FloatLinear(), first, b.constant("w", 3, C))))
    assert not [n for n in result if isinstance(n.op, FloatPool)]
    assert result["head"].inputs[0] == norm


def test_trace_of_a_transpose() -> None:
    b = Builder()
    x = b.input("x", 2, 3)
    pair = b.qdq(x, 0.5)
    found = trace(b.graph, b.aten("aten.permute.default", (3, 2), self=pair, dims=(1, 0)))
    assert found.source == x
    assert found.indices.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert [type(op) for op in found.quants] == [Quantize, Dequantize]
    assert found.settled == 2


def test_quants_behind_movement_are_not_settled() -> None:
    b = Builder()
    turned = b.aten("aten.permute.default", (3, 2), self=b.input("x", 2, 3), dims=(1, 0))
    found = trace(b.graph, b.qdq(turned, 0.5))
    assert (len(found.quants), found.settled) == (2, 0)


def test_identity_needs_every_element() -> None:
    assert is_identity(np.arange(6).reshape(2, 3), 6)
    assert not is_identity(np.arange(3), 6)
    assert not is_identity(np.array([1, 0]), 2)
