"""Seeded stimulus: the same for a seed, and it reaches the corners that it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flow.emit.build import Build
from flow.golden.host import HostProgram
from flow.golden.samples import token_limits
from flow.golden.stimulus import stimulus
from flow.ir import Graph, TensorType
from flow.ops.aten import Aten, Ref
from flow.ops.source import Constant, Input

ROWS, TOKENS = 11, 6


@pytest.fixture
def language() -> Graph:
    """Token ids, widened on the way, through two tables; the smaller one bounds them."""
    graph = Graph("language")
    narrow = TensorType((1, TOKENS), "int32")
    wide, vectors = TensorType((1, TOKENS), "int64"), TensorType((1, TOKENS, 4), "float32")
    ids = graph.add("input_ids", Input("input_ids", narrow))
    mask = graph.add("attention_mask", Input("attention_mask", wide))
    cast = graph.add(
        "cast", Aten("aten.to.dtype", {"self": Ref(0), "dtype": "int64", "copy": False}, (wide,)), [ids]
    )
    for name, rows in (("words", ROWS + 5), ("types", ROWS)):
        table = graph.add(f"{name}.weight", Constant(np.zeros((rows, 4), np.float32), f"{name}.weight"))
        arguments = {"weight": Ref(0), "indices": Ref(1), "padding_idx": -1}
        value = graph.add(name, Aten("aten.embedding.default", arguments, (vectors,)), [table, cast])
        graph.set_output(name, value)
    graph.set_output("mask", mask)
    return graph


def test_deterministic(digits_build: Path) -> None:
    graph = Build.open(digits_build).graph
    first, again, other = (stimulus(graph, 12, seed).samples for seed in (7, 7, 8))
    assert len(first) == 12
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a["image"], b["image"]) for a, b in zip(first[4:], other[4:], strict=True))


def test_corners_of_real_inputs(digits_build: Path) -> None:
    """The device sees all zero, both saturations, and values strictly inside."""
    build = Build.open(digits_build)
    host = HostProgram.of(build.graph, build.program.tokens)
    drawn = stimulus(build.graph, 16, 0).samples
    (port,) = build.program.inputs
    seen = [host.before(sample)[port.name] for sample in drawn]
    assert all(sample["image"].dtype == np.float32 for sample in drawn)
    assert not seen[0].any()
    assert (seen[1] == 127).all()
    assert (seen[2] == -127).all()
    assert set(np.unique(seen[3])) == {-127, 127}
    inside = [x for x in seen[4:] if np.abs(x).max() < 127]
    beyond = [x for x in seen[4:] if (x == 127).any() and (x == -127).any()]
    assert (len(inside), len(beyond)) == (9, 3)


def test_corners_of_tokens_and_lengths(language: Graph) -> None:
    assert token_limits(language) == {"input_ids": ROWS}
    drawn = stimulus(language, 60, 3).samples
    ids = [sample["input_ids"] for sample in drawn]
    assert {x.dtype for x in ids} == {np.dtype("int32")}
    assert (ids[0] == 0).all()
    assert (ids[1] == ROWS - 1).all()
    assert set(np.unique(ids[2:])) == set(range(ROWS))
    masks = np.concatenate([sample["attention_mask"] for sample in drawn])
    lengths = masks.sum(axis=1)
    assert list(lengths[:3]) == [TOKENS, 1, TOKENS]
    assert set(lengths) == set(range(1, TOKENS + 1))
    assert np.array_equal(masks, np.arange(TOKENS) < lengths[:, None])
