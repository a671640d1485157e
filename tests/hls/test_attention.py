"""ATTENTION against numpy: softmax(Q K^T) V with deferred division, per head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from flow.engine import Engine, Opcode, Space
from flow.formats import constants, encode, pack
from flow.ir import Array
from flow.numerics import exp_table, limits, requantise, softmax_numerators, softmax_scale

if TYPE_CHECKING:
    from tests.hls.conftest import Bench

    NewBench = Callable[[Engine, int], Bench]


def identity(engine: Engine, depth: int) -> dict[str, int | bytes]:
    """A linear step that copies its int8 input: V enters the values memory through it."""
    size = depth * engine.banks
    encoded = encode(np.eye(size, dtype=np.int64), banks=engine.banks, rows_per_group=engine.rows)
    stream = pack(
        encoded, constants(np.zeros(size, int), np.full(size, 2**14), np.full(size, 14)), engine.beat_bytes
    )
    return {
        "depth": depth, "row_groups": len(encoded.row_groups), "weight_bits": 8, "weights": stream,
        "page": encoded.page.pack(engine.beat_bytes), "weight_beats": len(stream) // engine.beat_bytes,
    }  # fmt: skip


def reference(
    q: Array, k: Array, v: Array, *, exp_bits: int, causal: bool, score: tuple[int, int], out: tuple[int, int]
) -> Array:
    """Context of one head, [tokens, d]."""
    tokens = len(q)
    scores = requantise(q @ k.T, *score, 16)
    mask = np.tri(tokens, dtype=bool) if causal else np.ones((tokens, tokens), bool)
    e = softmax_numerators(scores, mask, exp_bits)
    return requantise(softmax_scale(e @ v, e), *out, 8)


@dataclass(frozen=True)
class Case:
    """One attention step: its shape, its scales as (multiplier, shift), and q, k, v [length, depth * banks]."""

    width: int
    heads: int
    pitch: int
    depth: int
    score: tuple[int, int]
    out: tuple[int, int]
    q: Array
    k: Array
    v: Array

    def channels(self, head: int) -> Array:
        """Where a head's channels lie."""
        return head * self.pitch + np.arange(self.width)


def drawn(engine: Engine, rng: np.random.Generator, width: int, trial: int) -> Case:
    """Heads of a width that fits the engine, as many and as long as the draw will have it."""
    pitch = engine.head_pitch(width)
    heads = int(rng.integers(1, min(engine.depth * engine.banks // pitch, 7) + 1))
    length = (1, engine.sequence, int(rng.integers(1, engine.sequence + 1)))[int(rng.integers(3))]
    depth = min(engine.depth, engine.words(heads * pitch) + trial % 2)
    physical = np.concatenate([h * pitch + np.arange(width) for h in range(heads)])
    q, k, v = (np.zeros((length, depth * engine.banks), np.int64) for _ in range(3))
    for tensor in (q, k, v):
        tensor[:, physical] = rng.integers(-127, 128, (length, len(physical)))
    if trial % 3 == 0:  # rows far above the others: numerators vanish, the largest stays
        k[rng.random(length) < 0.7] //= 16
    # From flat to steep: the typical score is between 2^4 and 2^11 steps of 1/32.
    score = (
        int(rng.integers(2**14, 2**15)),
        int(np.log2(5400 * np.sqrt(width)) + 15 - rng.uniform(4, 11)),
    )
    out = (int(rng.integers(2**14, 2**15)), int(rng.integers(20, 24)))
    return Case(width, heads, pitch, depth, score, out, q, k, v)


def computed(
    engine: Engine, program: Bench, case: Case, target: Space, before: Array, exp_bits: int, causal: bool
) -> Array:
    """The context in `target`, which holds `before` for the padding to overwrite."""
    tile_lines = engine.tiles(len(case.q)) * case.depth
    program.input(case.v, Space.OPERAND0, 0)
    program.step(
        Opcode.LINEAR, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=1, out_bits=8,
        out_signed=1, space=Space.VALUES, base=1, heads=case.heads, pitch=case.pitch, out_depth=case.depth,
        **identity(engine, case.depth),
    )  # fmt: skip
    program.input(case.q, Space.STORE, 2)
    program.input(case.k, Space.STORE, 2 + tile_lines)
    base = 9 if target is Space.OPERAND1 else 2 + 2 * tile_lines
    program.input(before, target, base)
    program.step(
        Opcode.ATTENTION, query_base=2, key_base=2 + tile_lines, value_base=1, depth=case.depth, heads=case.heads,
        pitch=case.pitch, score_multiplier=case.score[0], score_shift=case.score[1], multiplier=case.out[0],
        shift=case.out[1], exp=exp_table(exp_bits).astype("<u2").tobytes(), exp_bits=exp_bits, causal=int(causal),
        space=target, base=base,
    )  # fmt: skip
    program.output(target, base, case.depth)
    (found,) = program.check()
    return found


@pytest.mark.parametrize("exp_bits", [8, 16])
@pytest.mark.parametrize("causal", [False, True])
def test_context_equals_the_number_contract(
    engine: Engine, bench: NewBench, exp_bits: int, causal: bool
) -> None:
    rng = np.random.default_rng([engine.hash % 2**32, exp_bits, causal])
    reached = {"wide": 0, "narrow": 0, "odd heads": 0, "low": 0, "high": 0, "one key": 0}
    widths = [w for w in (1, 3, 4, 8, 16, engine.banks // 2, engine.banks, 2 * engine.banks) if w >= 1]
    for trial in range(3 * len(widths)):
        width = widths[trial % len(widths)]
        if engine.depth * engine.banks < engine.head_pitch(width):
            continue
        case = drawn(engine, rng, width, trial)
        target = (Space.OPERAND1, Space.STORE)[trial % 2]
        before = rng.integers(-128, 128, case.q.shape)
        found = computed(engine, bench(engine, len(case.q)), case, target, before, exp_bits, causal)
        expected = np.zeros_like(found)
        for head in range(case.heads):
            at = case.channels(head)
            q, k, v = (tensor[:, at] for tensor in (case.q, case.k, case.v))
            expected[:, at] = reference(
                q, k, v, exp_bits=exp_bits, causal=causal, score=case.score, out=case.out
            )
            reached["low"] += int((expected[:, at] == limits(8, True)[0]).sum())
            reached["high"] += int((expected[:, at] == limits(8, True)[1]).sum())
        np.testing.assert_array_equal(found, expected)
        reached["wide"] += case.pitch > engine.banks
        reached["narrow"] += case.pitch < engine.banks
        reached["odd heads"] += case.heads % engine.heads_abreast(case.pitch) != 0
        reached["one key"] += len(case.q) == 1
    assert min(reached["low"], reached["high"]) > 0, reached
    assert reached["wide"] or reached["narrow"], reached
    assert reached["odd heads"] or engine.heads_abreast(engine.rows) == 1, reached
