"""Which matrices pruning takes, and where their channels lie."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from flow.compress.matrices import (
    all_matrices,
    find_matrices,
    physical_columns,
    physical_rows,
    with_constants,
)
from flow.compress.plan import grid_of
from flow.engine import Engine
from flow.errors import UnsupportedError
from flow.golden import execute
from flow.ir import Array, Graph, TensorType, Value, print_graph
from flow.ops.float import FloatAdd, FloatAttention, FloatLinear
from flow.ops.source import Constant, Input
from flow.passes.order_channels import by_head

Build = Callable[..., Graph]
Draw = Callable[..., list[dict[str, Array]]]


def modules(graph: Graph, **options: tuple[str, ...]) -> list[str]:
    return [matrix.module for matrix in find_matrices(graph, **options)]


LAYER = ["attn.q", "attn.k", "attn.v", "attn.out", "ffn.fc1", "ffn.fc2"]


@pytest.mark.parametrize("pre_norm", [True, False])
def test_embedding_and_head_are_left_alone(transformer: Build, pre_norm: bool) -> None:
    graph = transformer(pre_norm=pre_norm, patches=True, pool="mean", pooler=True)
    expected = [f"layers.{i}.{name}" for i in range(2) for name in LAYER]
    assert modules(graph) == expected
    assert sorted(m.module for m in all_matrices(graph)) == sorted([*expected, "patch", "pooler", "head"])
    assert modules(graph, include=("head",), exclude=("layers.0.*",)) == [*expected[6:], "head"]


def test_projections_that_read_the_input_are_no_embedding(transformer: Build) -> None:
    assert modules(transformer(pre_norm=False, layers=1)) == [f"layers.0.{name}" for name in LAYER]


def test_heads_are_those_of_rows_and_columns(transformer: Build) -> None:
    found = {m.module: m for m in find_matrices(transformer(layers=1, width=60, heads=5))}
    assert [(m.heads, m.row_heads) for m in found.values()] == [
        (0, 5),
        (0, 5),
        (0, 5),
        (5, 0),
        (0, 0),
        (0, 0),
    ]
    out, q = found["layers.0.attn.out"], found["layers.0.attn.q"]
    for banks in (4, 8, 64):
        expected = by_head(Engine(1, banks, 1, 1, 1), 60, 5).physical
        assert np.array_equal(physical_columns(out, banks), expected)
        assert np.array_equal(physical_rows(q, banks), expected)
        assert np.array_equal(physical_columns(q, banks), np.arange(60))
    grid = grid_of(out, 8)
    assert (grid.depth, grid.real.tolist()) == (10, [10] * 4 + [5] * 4)


def test_stacked_projections_are_told_apart() -> None:
    graph = Graph("net")
    x = graph.add("x", Input("x", TensorType((3, 8), "float32")))
    tied = graph.add("w", Constant(np.eye(8, dtype=np.float32), "attn.in_proj_weight[0:8]"))
    other = graph.add("u", Constant(np.eye(8, dtype=np.float32), "attn.in_proj_weight[8:16]"))
    q, k = (graph.add(n, FloatLinear(), [x, tied], "attn") for n in "qk")
    v = graph.add("v", FloatLinear(), [x, other], "attn")
    context = graph.add("context", FloatAttention(2, 0.5), [q, k, v], "attn")
    graph.set_output("out", graph.add("add", FloatAdd(), [context, x]))
    found = find_matrices(graph)
    assert [(m.name, m.module, m.linears) for m in found] == [
        ("w", "attn.q", ("q", "k")),
        ("u", "attn.v", ("v",)),
    ]


def test_unknown_globs_are_listed(transformer: Build) -> None:
    graph = transformer(layers=1)
    message = (
        "random: found 2 globs that match no matrix; expected module paths of linear layers; correct them\n"
        "  - --include layers.0.ffn.fc3: the model has layers.0.ffn.fc2, layers.0.ffn.fc1, …\n"
        "  - --exclude *.nothing: the model has layers.0.attn.out, layers.0.attn.q, …"
    )
    with pytest.raises(UnsupportedError) as caught:
        find_matrices(graph, include=("layers.0.ffn.fc3",), exclude=("*.nothing",))
    first, second, third = str(caught.value).splitlines()
    assert [first, second] == message.splitlines()[:2]
    assert third.startswith("  - --exclude *.nothing: the model has ")


def test_a_model_without_matrices_is_refused(transformer: Build) -> None:
    message = (
        "random: found no matrix to prune; expected linear layers with constant float weights inside residual "
        "branches; name others with --include, and prune before `flow quantize`"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        find_matrices(transformer(layers=1), exclude=("*",))


def test_constants_are_replaced_under_their_names(transformer: Build, samples: Draw) -> None:
    graph = transformer(layers=1)
    matrix = find_matrices(graph)[0]
    same = with_constants(graph, {matrix.name: matrix.weight.astype(np.float64)})
    assert print_graph(same) == print_graph(graph)
    assert same.names == graph.names
    zero = with_constants(graph, {matrix.name: np.zeros_like(matrix.weight)})
    (sample,) = samples(graph, 1)
    assert np.array_equal(execute(same, sample)["out"], execute(graph, sample)["out"])
    assert not np.allclose(execute(zero, sample)["out"], execute(graph, sample)["out"])
    assert not zero.producer(Value(matrix.name)).op.golden()[0].any()


@pytest.mark.parametrize("name", ["layers_0_attn_q_weight", "layers_0_attn_q", "nothing"])
def test_foreign_arrays_are_refused(transformer: Build, name: str) -> None:
    message = (
        f"{name}: found no constant of shape (3, 3) in graph random; expected the graph that the arrays were made "
        "for; find the matrices again"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        with_constants(transformer(layers=1), {name: np.zeros((3, 3))})
