from __future__ import annotations

import pytest

from flow.ir import Graph, Value
from flow.ops.float import FloatAdd, FloatLinear
from flow.passes.movement import CancelMovement
from flow.passes.recognise_patches import MergeTables, RecognisePatches, RecognisePrefixTokens
from tests.conftest import Golden
from tests.passes.building import Builder, rewrite

N = 5


def convolution(b: Builder, stride: int = 2, padding: int = 0, size: int = 4) -> Value:
    image, weight, bias = (
        b.input("image", 1, 3, size, 6),
        b.constant("weight", N, 3, 2, 2),
        b.constant("bias", N),
    )
    down, across = (size + 2 * padding - 2) // stride + 1, (6 + 2 * padding - 2) // stride + 1
    return b.aten(
        "aten.conv2d.default", (1, N, down, across), input=image, weight=weight, bias=bias, stride=(stride, stride),
        padding=(padding, padding), dilation=(1, 1), groups=1, module="patches",
    )  # fmt: skip


def tokens(b: Builder) -> Value:
    flat = b.aten("aten.flatten.using_ints", (1, N, 6), self=convolution(b), start_dim=2, end_dim=-1)
    return b.aten("aten.transpose.int", (1, 6, N), self=flat, dim0=1, dim1=2)


def with_class_token(b: Builder) -> Graph:
    return b.output(
        b.aten("aten.cat.default", (1, 7, N), tensors=(b.constant("class_token", 1, 1, N), tokens(b)), dim=1)
    )


def test_patch_embedding(golden: Golden) -> None:
    b = Builder()
    golden("passes/recognise_patches.txt", rewrite(b.output(tokens(b)), RecognisePatches()))


@pytest.mark.parametrize(("stride", "padding", "size"), [(1, 0, 4), (2, 1, 4), (2, 0, 5)])
def test_another_convolution_is_left_alone(stride: int, padding: int, size: int) -> None:
    b = Builder()
    result = RecognisePatches()(b.output(convolution(b, stride, padding, size)))
    assert not [n for n in result if isinstance(n.op, FloatLinear)]


def test_class_token_becomes_a_table(golden: Golden) -> None:
    golden(
        "passes/recognise_prefix_tokens.txt",
        rewrite(with_class_token(Builder()), RecognisePatches(), CancelMovement(), RecognisePrefixTokens()),
    )


def test_tables_are_merged(golden: Golden) -> None:
    b = Builder()
    x = b.linear("embed", b.input("x", 3, 4), 5)
    once = b.add("class", FloatAdd(), x, b.constant("table1", 3, 5))
    twice = b.add("positions", FloatAdd(), b.constant("table2", 3, 5), once)
    golden("passes/merge_tables.txt", rewrite(b.output(twice), MergeTables()))


def test_a_sum_with_two_readers_keeps_its_table() -> None:
    b = Builder()
    once = b.add("class", FloatAdd(), b.linear("embed", b.input("x", 3, 4), 5), b.constant("table1", 3, 5))
    twice = b.add("positions", FloatAdd(), once, b.constant("table2", 3, 5))
    b.output(once, "between")
    graph = MergeTables()(b.output(twice))
    assert graph["positions"].inputs == (once, Value("table2"))
