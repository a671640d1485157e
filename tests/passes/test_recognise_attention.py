from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from flow.errors import UnsupportedError
from flow.ir import Array, Graph, Value
from flow.ops.float import FloatAttention
from flow.passes.recognise_attention import RecogniseAttention
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

S, H, D = 5, 2, 3
MODULE = "encoder.layers.0.self_attn"


def heads(b: Builder, *names: str, count: int = H, tokens: int = S) -> list[Value]:
    return [b.input(name, 1, count, tokens, D) for name in names]


def fused(b: Builder, q: Value, k: Value, v: Value, mask: Value | None = None, **options: object) -> Graph:
    settings = {"dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False, **options}
    shape = b.graph.type_of(q).shape
    return b.output(
        b.aten(
            "aten.scaled_dot_product_attention.default",
            shape,
            module=MODULE,
            query=q,
            key=k,
            value=v,
            attn_mask=mask,
            **settings,  # type: ignore[arg-type]
        )
    )


def spelled(b: Builder, mask: Callable[[Builder, Value], Value] = lambda _, scores: scores) -> Graph:
    """matmul, divide, mask, softmax, matmul."""
    q, k, v = heads(b, "q", "k", "v")
    turned = b.aten("aten.transpose.int", (1, H, D, S), self=k, dim0=-2, dim1=-1)
    product = b.aten("aten.matmul.default", (1, H, S, S), self=q, other=turned)
    scores = mask(b, b.aten("aten.div.Tensor", (1, H, S, S), self=product, other=math.sqrt(D)))
    weights = b.aten("aten.softmax.int", (1, H, S, S), self=scores, dim=-1, dtype_=None)
    return b.output(
        b.aten("aten.matmul.default", (1, H, S, D), self=weights, other=v, module=MODULE),
    )


def found(graph: Graph) -> FloatAttention:
    (op,) = (n.op for n in RecogniseAttention()(graph) if isinstance(n.op, FloatAttention))
    return op


def refused(graph: Graph) -> str:
    with pytest.raises(UnsupportedError) as caught:
        RecogniseAttention()(graph)
    return str(caught.value)


def test_fused(golden: Golden) -> None:
    b = Builder()
    golden(
        "passes/recognise_attention_fused.txt",
        rewrite(fused(b, *heads(b, "q", "k", "v")), RecogniseAttention()),
    )


def test_spelled_out(golden: Golden) -> None:
    golden("passes/recognise_attention_spelled.txt", rewrite(spelled(Builder()), RecogniseAttention()))


def test_both_spellings_have_one_scale() -> None:
    b = Builder()
    assert found(fused(b, *heads(b, "q", "k", "v"))).scale == pytest.approx(1 / math.sqrt(D), rel=1e-12)
    assert found(spelled(Builder())).scale == pytest.approx(1 / math.sqrt(D), rel=1e-12)


def test_scale_given() -> None:
    b = Builder()
    assert found(fused(b, *heads(b, "q", "k", "v"), scale=0.125)).scale == 0.125


def test_scale_on_both_factors_and_across_a_view() -> None:
    b = Builder()
    q, k, v = heads(b, "q", "k", "v")
    q = b.aten("aten.mul.Tensor", (1, H, S, D), self=q, other=0.5)
    flat = b.aten(
        "aten.view.default",
        (H, S, D),
        self=b.aten("aten.mul.Tensor", (1, H, S, D), self=k, other=0.25),
        size=(H, S, D),
    )
    turned = b.aten("aten.transpose.int", (H, D, S), self=flat, dim0=1, dim1=2)
    product = b.aten(
        "aten.bmm.default",
        (H, S, S),
        self=b.aten("aten.view.default", (H, S, D), self=q, size=(H, S, D)),
        mat2=turned,
    )
    weights = b.aten("aten.softmax.int", (H, S, S), self=product, dim=-1, dtype_=None)
    values = b.aten("aten.view.default", (H, S, D), self=v, size=(H, S, D))
    graph = b.output(b.aten("aten.bmm.default", (H, S, D), self=weights, mat2=values))
    assert found(graph).scale == 0.125
    rewrite(graph, RecogniseAttention())


def test_causal_flag_and_causal_table_are_one() -> None:
    b = Builder()
    flag = found(fused(b, *heads(b, "q", "k", "v"), is_causal=True))

    def table(b: Builder, scores: Value) -> Value:
        hidden = b.held("hidden", ~np.tri(S, dtype=bool)[None, None])
        return b.aten("aten.masked_fill.Scalar", (1, H, S, S), self=scores, mask=hidden, value=-math.inf)

    assert flag.causal
    assert found(spelled(Builder(), table)).causal
    rewrite(spelled(Builder(), table), RecogniseAttention())


def test_padding_becomes_the_mask_operand(golden: Golden) -> None:
    def additive(b: Builder, scores: Value) -> Value:
        mask = b.input("attention_mask", 1, S, dtype="int64")
        wide = b.aten("aten.unsqueeze.default", (1, 1, S), dtype="int64", self=mask, dim=1)
        wide = b.aten("aten.unsqueeze.default", (1, 1, 1, S), dtype="int64", self=wide, dim=2)
        real = b.aten(
            "aten.to.dtype", (1, 1, 1, S), self=wide, dtype_="float32", non_blocking=False, copy=False
        )
        hidden = b.aten("aten.rsub.Scalar", (1, 1, 1, S), self=real, other=1.0, alpha=1)
        low = b.aten("aten.mul.Tensor", (1, 1, 1, S), self=hidden, other=float(np.finfo(np.float32).min))
        return b.aten("aten.add.Tensor", (1, H, S, S), self=scores, other=low, alpha=1)

    golden(
        "passes/recognise_attention_masked.txt", rewrite(spelled(Builder(), additive), RecogniseAttention())
    )


def test_softmax_over_queries_is_no_attention() -> None:
    b = Builder()
    q, k, v = heads(b, "q", "k", "v")
    turned = b.aten("aten.transpose.int", (1, H, D, S), self=k, dim0=-2, dim1=-1)
    product = b.aten("aten.matmul.default", (1, H, S, S), self=q, other=turned)
    weights = b.aten("aten.softmax.int", (1, H, S, S), self=product, dim=-2, dtype_=None)
    graph = b.output(b.aten("aten.matmul.default", (1, H, S, D), self=weights, other=v))
    assert not [n for n in RecogniseAttention()(graph) if isinstance(n.op, FloatAttention)]


def test_cross_attention_is_refused() -> None:
    b = Builder()
    (q,), (k, v) = heads(b, "q"), heads(b, "k", "v", tokens=7)
    assert refused(fused(b, q, k, v)) == (
        f"{MODULE} (aten.scaled_dot_product_attention.default): found query (1, 2, 5, 3), key (1, 2, 7, 3), value "
        "(1, 2, 7, 3); expected self-attention over equal shapes (no cross or grouped-query attention)"
    )


def test_grouped_queries_are_refused() -> None:
    b = Builder()
    (q,), (k, v) = heads(b, "q", count=4), heads(b, "k", "v")
    assert refused(fused(b, q, k, v, enable_gqa=True)) == (
        f"{MODULE} (aten.scaled_dot_product_attention.default): found query (1, 4, 5, 3), key (1, 2, 5, 3), value "
        "(1, 2, 5, 3); expected self-attention over equal shapes (no cross or grouped-query attention)"
    )


@pytest.mark.parametrize(
    "bias",
    [
        np.subtract.outer(np.arange(S), np.arange(S)) * 0.1,
        np.where(np.abs(np.subtract.outer(np.arange(S), np.arange(S))) > 1, -np.inf, 0.0),
        np.where(np.tri(S), 0.0, -100.0),
    ],
    ids=["relative positions", "sliding window", "too weak to hide"],
)
def test_another_mask_is_refused(bias: Array) -> None:
    b = Builder()
    q, k, v = heads(b, "q", "k", "v")
    graph = fused(b, q, k, v, b.held("bias", bias[None, None], "float32"))
    assert refused(graph) == (
        f"{MODULE} (aten.scaled_dot_product_attention.default): found an attention mask of another form; expected "
        "key padding (attention_mask), causal, both or none"
    )


def test_mask_of_another_input_is_refused() -> None:
    b = Builder()
    q, k, v = heads(b, "q", "k", "v")
    graph = fused(b, q, k, v, b.input("bias", 1, 1, S, S))
    assert refused(graph) == (
        f"{MODULE} (aten.scaled_dot_product_attention.default): found an attention mask that depends on other "
        "inputs; expected one made of constants and of the input 'attention_mask' [1, S]"
    )


@pytest.mark.parametrize("where", ["scores", "probabilities"])
def test_transposed_scores_are_no_attention(where: str) -> None:
    """`(k q^T)^T` is attention too, but not the product that stands there; transposed probabilities are none at all."""
    b = Builder()
    q, k, v = heads(b, "q", "k", "v")
    first, second = (k, q) if where == "scores" else (q, k)
    turned = b.aten("aten.transpose.int", (1, H, D, S), self=second, dim0=-2, dim1=-1)
    scores = b.aten("aten.matmul.default", (1, H, S, S), self=first, other=turned)
    if where == "scores":
        scores = b.aten("aten.transpose.int", (1, H, S, S), self=scores, dim0=-2, dim1=-1)
    weights = b.aten("aten.softmax.int", (1, H, S, S), self=scores, dim=-1, dtype_=None)
    if where == "probabilities":
        weights = b.aten("aten.transpose.int", (1, H, S, S), self=weights, dim0=-2, dim1=-1)
    graph = b.output(b.aten("aten.matmul.default", (1, H, S, D), self=weights, other=v))
    assert "float." not in rewrite(graph, RecogniseAttention())


def test_softmax_over_regrouped_scores_is_no_attention() -> None:
    """A view that makes one row of two keeps every element in place, but not what softmax sums over."""
    b = Builder()
    q, k, v = (b.input(name, 1, H, 4, D) for name in "qkv")
    turned = b.aten("aten.transpose.int", (1, H, D, 4), self=k, dim0=-2, dim1=-1)
    scores = b.aten("aten.matmul.default", (1, H, 4, 4), self=q, other=turned)
    wide = b.aten("aten.view.default", (1, H, 2, 8), self=scores, size=(1, H, 2, 8))
    weights = b.aten("aten.softmax.int", (1, H, 2, 8), self=wide, dim=-1, dtype_=None)
    back = b.aten("aten.view.default", (1, H, 4, 4), self=weights, size=(1, H, 4, 4))
    graph = b.output(b.aten("aten.matmul.default", (1, H, 4, D), self=back, other=v))
    assert "float." not in rewrite(graph, RecogniseAttention())
