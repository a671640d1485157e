"""NORM and POOL against numerics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from flow.engine import Engine, Opcode, Space
from flow.ir import Array
from flow.numerics import Scale, limits, mean_pool, norm_gain, normalise, requantise

if TYPE_CHECKING:
    from tests.hls.conftest import Bench

    NewBench = Callable[[Engine, int], Bench]


def pack_constants(gain: Array, bias: Array) -> bytes:
    words = (gain & 0xFFFF) | ((bias & 0xFFFFFFFFFFFF) << 16)
    return words.astype(np.uint64).astype("<u8").tobytes()


def rows_of_every_kind(rng: np.random.Generator, tokens: int, channels: int) -> Array:
    """int16 rows: loud, quiet, constant, all zero, saturated."""
    x = rng.normal(0, rng.choice([3, 30, 4000], (tokens, 1)), (tokens, channels)).round()
    kind = rng.integers(0, 8, tokens)
    x[kind == 0] = rng.integers(-32767, 32768)
    x[kind == 1] = 0
    x[kind == 2] = rng.choice([-32767, 32767], (int((kind == 2).sum()), channels))
    return np.clip(x, -32768, 32767).astype(np.int64)


@pytest.mark.parametrize("centred", [True, False])
def test_norm_equals_the_number_contract(engine: Engine, bench: NewBench, centred: bool) -> None:
    rng = np.random.default_rng([engine.hash % 2**32, centred])
    ends = np.zeros(2, int)
    for trial in range(6):
        depth = int(rng.integers(1, engine.depth + 1))
        size = depth * engine.banks
        channels = int(rng.integers(max(1, size - engine.banks + 1), size + 1))
        length = (1, engine.sequence, int(rng.integers(1, engine.sequence + 1)))[trial % 3]
        x = np.zeros((length, size), np.int64)
        x[:, :channels] = rows_of_every_kind(rng, length, channels)
        epsilon = int(rng.choice([0, 1, 5, 2**20, 2**40]))
        outputs = [(16, 11), (8, 19), (8, 30)][trial % 3 :][:2]
        gains = [np.zeros(size, np.int64) for _ in outputs]
        biases = [np.zeros(size, np.int64) for _ in outputs]
        places = [(Space.STORE, 3 + 2 * engine.tiles(length) * depth), (Space.OPERAND1, 4)][-len(outputs) :]
        words: dict[str, int | bytes] = {}
        program = bench(engine, length)
        program.input(x, Space.STORE, 3, planes=2)
        for i, ((bits, shift), (space, base)) in enumerate(zip(outputs, places, strict=True)):
            gains[i][:channels] = rng.integers(-32768, 32768, channels)
            biases[i][:channels] = rng.integers(-(2**38), 2**38, channels) >> int(rng.integers(0, 20))
            words |= {
                f"constants{i}": pack_constants(gains[i], biases[i]), f"shift{i}": shift, f"bits{i}": bits,
                f"space{i}": space, f"base{i}": base,
            }  # fmt: skip
        program.step(
            Opcode.NORM, source_base=3, depth=depth, channels=channels, centred=int(centred),
            epsilon_low=epsilon & 0xFFFFFFFF, epsilon_high=epsilon >> 32, outputs=len(outputs), **words,
        )  # fmt: skip
        for (bits, _), (space, base) in zip(outputs, places, strict=True):
            program.output(space, base, depth, planes=2 if bits > 8 else 1)
        found = program.check()
        z = normalise(x[:, :channels], epsilon, centred)
        for i, (bits, shift) in enumerate(outputs):
            expected = norm_gain(z, gains[i][:channels], biases[i][:channels], shift, bits)
            np.testing.assert_array_equal(found[i][:, :channels], expected)
            assert not found[i][:, channels:].any()
            ends += [(expected == bound).sum() for bound in limits(bits, True)]
    assert (ends > 0).all(), "the stimulus never saturates both ways"


@pytest.mark.parametrize("mean", [True, False])
def test_pool_equals_the_number_contract(engine: Engine, bench: NewBench, mean: bool) -> None:
    rng = np.random.default_rng([engine.hash % 2**32, mean])
    ends = np.zeros(2, int)
    for trial in range(8):
        depth = int(rng.integers(1, engine.depth + 1))
        length = (1, engine.sequence, int(rng.integers(1, engine.sequence + 1)))[trial % 3]
        x = rng.integers(-32768, 32768, (length, depth * engine.banks)) >> (0 if trial % 2 else 4)
        bits = (8, 16)[trial % 2]
        scale = Scale(
            int(rng.integers(2**14, 2**15)),
            int(rng.integers(13, 17)) + (16 if mean else 0) + 8 * (bits == 8) - 2,
        )
        space = (Space.STORE, Space.OPERAND0, Space.OPERAND1)[trial % 3]
        base = 2 * engine.tiles(length) * depth
        program = bench(engine, length)
        program.input(x, Space.STORE, 0, planes=2)
        program.step(
            Opcode.POOL, source_base=0, depth=depth, mean=int(mean), multiplier=scale.multiplier, shift=scale.shift,
            bits=bits, space=space, base=base,
        )  # fmt: skip
        program.output(space, base, depth, planes=2 if bits > 8 else 1, single=True)
        result = program.run()
        if mean:
            expected = mean_pool(x.sum(axis=0), length, scale, bits)
        else:
            expected = requantise(x[0], scale.multiplier, scale.shift, bits)
        np.testing.assert_array_equal(result.outputs[0][0], expected)
        lanes = result.memories[1].read_tensor(
            space, base, depth, 2 if bits > 8 else 1, engine.tokens, np.arange(depth * engine.banks)
        )
        assert not lanes[1:].any(), "lanes beside the token are not zero"
        ends += [(expected == bound).sum() for bound in limits(bits, True)]
    assert (ends > 0).all(), "the stimulus never saturates both ways"
