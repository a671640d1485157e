"""Attention over more keys than 32 bits of accumulator hold: golden = C++ = Verilog where sums reach beyond them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from flow.emit.lower import lay_out
from flow.emit.rtl import RtlContext
from flow.engine import STAGES, Engine
from flow.golden import execute
from flow.golden.samples import Sample
from flow.ir import Array, Graph, Node
from flow.numerics import softmax_numerators
from flow.ops.attention import Attention
from flow.ops.examples import attention_graph
from flow.ops.linear import Linear
from flow.sim.cosim import Bench, Stalls
from flow.sim.kernel import run_frames
from flow.sim.rtl import PATIENCE, run_program

TOKENS, WIDTH = 384, 4
ENGINE = Engine(
    4, 4, 2, 1, 2, beat_bytes=16, stream_bytes=16, features=("attention",), sequence=TOKENS, depth=2, row_cycles=4,
    operand_depth=256, store_depth=1024, values_depth=1024,
)  # fmt: skip


def saturating() -> Graph:
    """16-bit numerators; the two halves of v's rows saturate to opposite ends where every channel is at one end."""
    graph = attention_graph(tokens=TOKENS, heads=1, width=WIDTH, exp_bits=16)
    (requantise,) = (node for node in graph if node.name == "v")
    (value,) = (node for node in graph if node.name == requantise.inputs[0].node)
    assert isinstance(value.op, Linear)
    weight = np.where(np.arange(WIDTH) < WIDTH // 2, 127, -127).astype(np.int8)[:, None].repeat(WIDTH, axis=1)
    graph.replace_op(value.name, replace(value.op, weight=weight))
    return graph


def samples() -> Iterator[Sample]:
    """All at either end, where every key weighs alike; one token against the others; ends and everything at random."""
    rng = np.random.default_rng(3)
    shape = (TOKENS, WIDTH)
    yield {"x": np.full(shape, 127)}
    yield {"x": np.full(shape, -127)}
    yield {"x": np.where(np.arange(TOKENS)[:, None] == 7, -127, 127).repeat(WIDTH, axis=1)}
    yield {"x": rng.choice([-127, 127], shape)}
    yield {"x": rng.integers(-127, 128, shape)}


def sums(graph: Graph, sample: Sample) -> Array:
    """Sums of numerator times value, as the array accumulates them."""
    seen: dict[str, Array] = {}

    def keep(node: Node, results: tuple[Array, ...]) -> None:
        seen[node.name] = np.asarray(results[0], np.int64)

    execute(graph, sample, keep)
    (op,) = (node.op for node in graph if isinstance(node.op, Attention))
    score = seen["q"] @ seen["k"].T * op.score_multiplier + (1 << (op.score_shift - 1)) >> op.score_shift
    numerators = softmax_numerators(np.clip(score, -32767, 32767), np.ones_like(score, bool), op.exp_bits)
    return numerators @ seen["v"]


def test_sums_beyond_32_bits() -> None:
    graph = saturating()
    program = lay_out(graph, ENGINE).program
    drawn = list(samples())
    reached = np.concatenate([sums(graph, sample).reshape(-1) for sample in drawn])
    assert reached.max() >= 2**31, "no sum beyond 32 bits: the test would not see them wrap"
    assert reached.min() < -(2**31)
    assert np.abs(reached).max() < 1 << (RtlContext(ENGINE).acc_bits - 1)
    frames = [program.frame(sample, TOKENS) for sample in drawn]
    found = run_program(program, frames, Bench(0, Stalls(0.1, 0.1, 0.1, 20), PATIENCE))
    assert found == run_frames(program, frames, [TOKENS] * len(frames))
    compared = 0
    for sample, reply in zip(drawn, found, strict=True):
        for name, golden in execute(graph, sample).items():
            np.testing.assert_array_equal(program.read_frame(reply, TOKENS)[name], golden)
            compared += golden.size
    assert compared == len(drawn) * TOKENS * WIDTH


@pytest.mark.slow
def test_32_bits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same engine with accumulators that wrap differs where sums leave them, and nowhere else."""
    monkeypatch.setattr(RtlContext, "acc_bits", 32)
    graph = saturating()
    program = lay_out(graph, ENGINE).program
    drawn = list(samples())
    found = run_program(program, [program.frame(s, TOKENS) for s in drawn], Bench(patience=PATIENCE))
    for sample, reply in zip(drawn, found, strict=True):
        (golden,) = execute(graph, sample).values()
        (tensor,) = program.read_frame(reply, TOKENS).values()
        total = sums(graph, sample)
        np.testing.assert_array_equal(tensor != golden, np.abs(total + 0.5) > 2**31)


@pytest.mark.parametrize(
    ("sequence", "depth", "features", "bits"),
    [
        (256, 64, STAGES, 32), (257, 64, STAGES, 33), (512, 64, STAGES, 33), (513, 64, STAGES, 34),
        (2048, 64, STAGES, 35), (2048, 64, ("add", "norm"), 32), (128, 2047, STAGES, 32), (128, 2048, STAGES, 33),
    ],
)  # fmt: skip
def test_width_of_accumulators(sequence: int, depth: int, features: tuple[str, ...], bits: int) -> None:
    """Just wide enough for the largest sum of a context and of a score, and for linear steps 32."""
    engine = Engine(8, 64, 8, 4, 4, sequence=sequence, depth=depth, features=features)
    assert RtlContext(engine).acc_bits == bits
    most = max(sequence * 65535 * 128, depth * 64 * 128 * 128)
    if "attention" in features:
        assert most < 2 ** (bits - 1)
        assert bits == 32 or most >= 2 ** (bits - 2)
