"""LINEAR against integers written from the number contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from flow.engine import Engine, Opcode, Space
from flow.formats import constants, encode, pack
from flow.ir import Array
from flow.numerics import limits, rescale, saturate

if TYPE_CHECKING:
    from tests.hls.conftest import Bench

    NewBench = Callable[[Engine, int], Bench]

WEIGHTS = ("dense", "columns", "hierarchical", "unstructured", "empty groups", "zero")


@dataclass(frozen=True)
class Layer:
    """A random linear step and its operands."""

    engine: Engine
    depth: int
    rows: int
    weights: Array
    bias: Array
    multiplier: Array
    shift: Array
    weight_bits: int = 8

    @staticmethod
    def draw(
        engine: Engine,
        rng: np.random.Generator,
        kind: str,
        rows: int,
        *,
        bits: int = 8,
        planes: int = 1,
        out_bits: int = 8,
    ) -> Layer:
        depth = int(rng.integers(1, engine.depth + 1))
        weights = draw_weights(engine, rng, kind, rows, depth, bits)
        # Factors that leave the middle of the range, reach both ends, and vanish.
        typical = (
            50.0
            * np.sqrt(max(1.0, np.square(weights, dtype=float).sum(1).mean()))
            * (20 if planes == 2 else 1)
        )
        shift = (np.log2(typical) + 15 - rng.uniform(out_bits - 4, out_bits + 2, rows)).astype(np.int64)
        multiplier = rng.integers(2**14, 2**15, rows) * rng.choice([-1, 1], rows)
        multiplier[rng.random(rows) < 0.05] = 0
        bias = rng.normal(0, typical, rows).astype(np.int64)
        return Layer(engine, depth, rows, weights, bias, multiplier, np.clip(shift, 1, 46), bits)

    def words(self) -> dict[str, int | bytes]:
        encoded = encode(
            self.weights,
            banks=self.engine.banks,
            rows_per_group=self.engine.rows,
            weight_bits=self.weight_bits,
        )
        beat = self.engine.beat_bytes
        stream = pack(encoded, constants(self.bias, self.multiplier, self.shift), beat)
        return {
            "depth": self.depth, "row_groups": len(encoded.row_groups), "weight_bits": self.weight_bits,
            "page": encoded.page.pack(beat), "weights": stream, "weight_beats": len(stream) // beat,
        }  # fmt: skip

    def scaled(self, x: Array) -> Array:
        """[tokens, rows]: the unsaturated requantised accumulators."""
        acc = x.astype(np.int64) @ self.weights.T.astype(np.int64) + self.bias
        assert np.abs(acc).max() < 2**31
        return rescale(acc, self.multiplier, self.shift)


def draw_weights(
    engine: Engine, rng: np.random.Generator, kind: str, rows: int, depth: int, bits: int
) -> Array:
    """A matrix whose structure leads the encoder to different maps and codes."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    columns = depth * engine.banks
    dense = rng.integers(low, high + 1, (rows, columns))
    if kind == "zero":
        return np.zeros_like(dense)
    if kind == "columns":
        kept = rng.random((rows // engine.rows, 1, columns)) < 0.5
        return np.where(kept, dense.reshape(-1, engine.rows, columns), 0).reshape(rows, columns)
    if kind == "hierarchical":
        order = rng.random((rows, max(1, depth // 2), engine.banks)).argsort(axis=1) == 0
        mask = np.zeros((rows, depth, engine.banks), bool)
        mask[:, rng.permutation(depth)[: order.shape[1]]] = order
        return np.where(mask.reshape(rows, columns), dense, 0)
    if kind == "unstructured":
        return np.where(rng.random(dense.shape) < rng.choice([0.05, 0.2, 0.5]), dense, 0)
    if kind == "empty groups":
        kept = np.repeat(rng.random(rows // engine.rows) < 0.5, engine.rows)
        return np.where(kept[:, None], dense, 0)
    return dense


def draw_operand(rng: np.random.Generator, tokens: int, channels: int, planes: int, signed: bool) -> Array:
    if planes == 2:  # small enough for 32-bit accumulators of any row here
        return rng.integers(-3000, 3001, (tokens, channels))
    return rng.integers(-128, 128, (tokens, channels)) if signed else rng.integers(0, 256, (tokens, channels))


def lengths(engine: Engine, rng: np.random.Generator) -> int:
    """1, the capacity, whole tiles, or anything."""
    choices = [
        1,
        engine.sequence,
        min(engine.sequence, 2 * engine.tokens),
        int(rng.integers(1, engine.sequence + 1)),
    ]
    return int(rng.choice(choices))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_requantised_outputs_equal_the_number_contract(engine: Engine, bench: NewBench, kind: str) -> None:
    rng = np.random.default_rng([engine.hash % 2**32, WEIGHTS.index(kind)])
    ends = np.zeros(2, int)
    for trial in range(6):
        length = lengths(engine, rng)
        planes, signed = (2, True) if trial % 3 == 2 else (1, bool(rng.integers(2)))
        out_bits, out_signed = [(8, True), (8, False), (16, True), (4, True)][trial % 4]
        out_depth = int(rng.integers(1, engine.depth + 1))
        rows = engine.rows * int(rng.integers(1, out_depth * engine.banks // engine.rows + 1))
        layer = Layer.draw(
            engine, rng, kind, rows, bits=4 if trial % 2 else 8, planes=planes, out_bits=out_bits
        )
        x = draw_operand(rng, length, layer.depth * engine.banks, planes, signed)
        source, target = (Space.OPERAND0, Space.OPERAND1) if trial % 2 else (Space.OPERAND1, Space.STORE)
        program = bench(engine, length)
        program.input(x, source, 3, planes=planes, signed=signed)
        zero = int(rng.integers(-20, 20))
        program.step(
            Opcode.LINEAR, source_space=source, source_base=3, source_planes=planes, source_signed=int(signed),
            out_bits=out_bits, out_signed=int(out_signed), out_zero=zero, space=target, base=5, out_depth=out_depth,
            **layer.words(),
        )  # fmt: skip
        out_planes = 2 if out_bits > 8 else 1
        program.output(target, 5, out_depth, planes=out_planes, signed=out_signed)
        (found,) = program.check()
        expected = saturate(layer.scaled(x) + zero, out_bits, out_signed)
        np.testing.assert_array_equal(found[:, :rows], expected)
        assert not found[:, rows:].any()
        ends += [(expected == bound).sum() for bound in limits(out_bits, out_signed)]
    assert kind in ("zero", "empty groups") or (ends > 0).all(), "the stimulus never saturates both ways"


def test_residuals_are_added_before_saturation(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32)
    ends = np.zeros(2, int)
    for trial in range(6):
        length = lengths(engine, rng)
        out_depth = int(rng.integers(1, engine.depth + 1))
        rows = out_depth * engine.banks
        layer = Layer.draw(
            engine, rng, ("dense", "unstructured", "empty groups")[trial % 3], rows, out_bits=16
        )
        x = draw_operand(rng, length, layer.depth * engine.banks, 1, True)
        residual = rng.integers(-32768, 32768, (length, rows))
        multiplier, shift = int(rng.integers(2**14, 2**15)), int(rng.integers(13, 17))
        in_place = bool(trial % 2)
        base = 2 if in_place else 2 + engine.tiles(length) * 2 * out_depth
        program = bench(engine, length)
        program.input(x, Space.OPERAND0, 0)
        program.input(residual, Space.STORE, 2, planes=2)
        program.step(
            Opcode.LINEAR, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=1, out_bits=16,
            out_signed=1, space=Space.STORE, base=base, out_depth=out_depth, has_residual=1, residual_base=2,
            residual_multiplier=multiplier, residual_shift=shift, **layer.words(),
        )  # fmt: skip
        program.output(Space.STORE, base, out_depth, planes=2)
        (found,) = program.check()
        expected = saturate(layer.scaled(x) + rescale(residual, multiplier, shift), 16)
        np.testing.assert_array_equal(found, expected)
        ends += [(expected == bound).sum() for bound in limits(16, True)]
    assert (ends > 0).all(), "the stimulus never saturates both ways"


def test_tables_are_looked_up_with_clipped_indices(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 1)
    ends = np.zeros(2, int)
    for bits, out_bits in ((8, 8), (8, 16), (engine.table_bits, 8), (4, 8)):
        length = lengths(engine, rng)
        out_depth = int(rng.integers(1, engine.depth + 1))
        rows = out_depth * engine.banks
        layer = Layer.draw(engine, rng, "dense", rows, out_bits=bits)
        x = draw_operand(rng, length, layer.depth * engine.banks, 1, True)
        low, high = limits(out_bits, True)
        table = rng.integers(low, high + 1, 1 << bits)
        zero = 1 << (bits - 1)
        program = bench(engine, length)
        program.input(x, Space.OPERAND1, 1)
        program.step(
            Opcode.LINEAR, source_space=Space.OPERAND1, source_base=1, source_planes=1, source_signed=1,
            out_bits=out_bits, out_signed=1, out_zero=zero, space=Space.OPERAND0, base=0, out_depth=out_depth,
            table=table.astype("<i2").tobytes(), table_bits=bits, **layer.words(),
        )  # fmt: skip
        program.output(Space.OPERAND0, 0, out_depth, planes=2 if out_bits > 8 else 1)
        (found,) = program.check()
        index = np.clip(layer.scaled(x) + zero, 0, (1 << bits) - 1)
        np.testing.assert_array_equal(found, table[index])
        ends += [(index == 0).sum(), (index == (1 << bits) - 1).sum()]
    assert (ends > 0).all(), "the stimulus never clips both ways"


def test_values_are_stored_by_key(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 2)
    for trial in range(4):
        width = int(rng.choice([w for w in (1, 2, 3, 5, 8, 16, engine.banks) if w <= engine.banks]))
        pitch = engine.head_pitch(width)
        heads = int(rng.integers(1, max(2, min(5, engine.depth * engine.banks // pitch) + 1)))
        length = lengths(engine, rng)
        # Whole words: rows beyond the last head are padding.
        rows = engine.words(heads * pitch) * engine.banks
        layer = Layer.draw(engine, rng, "dense", rows)
        x = draw_operand(rng, length, layer.depth * engine.banks, 1, True)
        program = bench(engine, length)
        program.input(x, Space.OPERAND0, 0)
        program.step(
            Opcode.LINEAR, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=1, out_bits=8,
            out_signed=1, space=Space.VALUES, base=trial, heads=heads, pitch=pitch, out_depth=rows // engine.banks,
            **layer.words(),
        )  # fmt: skip
        program.output(Space.OPERAND0, 0, 1)
        result = program.run()
        physical = np.concatenate([h * pitch + np.arange(pitch) for h in range(heads)])
        found = result.memories[1].read_values(trial, length, heads, pitch, physical)
        np.testing.assert_array_equal(found, saturate(layer.scaled(x), 8)[:, physical])


def test_super_tiles_cover_the_sequence_like_one_step(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 3)
    length = engine.sequence
    tiles = engine.tiles(length)
    layer = Layer.draw(engine, rng, "dense", engine.banks)
    x = draw_operand(rng, length, layer.depth * engine.banks, 1, True)
    program = bench(engine, length)
    program.input(x, Space.OPERAND0, 0)
    cut = max(1, tiles // 2)
    for first, count in ((0, cut), (cut, tiles)):
        # The first tile of the second half would lie before line 0 of a buffer for one half: bases wrap.
        program.step(
            Opcode.LINEAR, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=1, out_bits=8,
            out_signed=1, space=Space.OPERAND1, base=7 - first, out_depth=1, first_tile=first, tiles=count,
            **layer.words(),
        )  # fmt: skip
        program.step(
            Opcode.LINEAR, source_space=Space.OPERAND1, source_base=7 - first, source_planes=1, source_signed=1,
            out_bits=8, out_signed=1, space=Space.STORE, base=0, out_depth=1, first_tile=first, tiles=count,
            **Layer(
                engine, 1, engine.banks, np.eye(engine.banks, dtype=np.int64), np.zeros(engine.banks, int),
                np.full(engine.banks, 2**14), np.full(engine.banks, 14),
            ).words(),
        )  # fmt: skip
    program.output(Space.STORE, 0, 1)
    (found,) = program.check()
    np.testing.assert_array_equal(found, saturate(layer.scaled(x), 8))


def test_single_token_steps_ignore_the_rest_of_the_sequence(engine: Engine, bench: NewBench) -> None:
    rng = np.random.default_rng(engine.hash % 2**32 + 4)
    layer = Layer.draw(engine, rng, "dense", engine.banks)
    x = draw_operand(rng, 1, layer.depth * engine.banks, 1, True)
    program = bench(engine, engine.sequence)
    program.input(x, Space.OPERAND0, 0, single=True)
    program.step(
        Opcode.LINEAR, single_token=1, source_space=Space.OPERAND0, source_base=0, source_planes=1, source_signed=1,
        out_bits=16, out_signed=1, space=Space.STORE, base=0, out_depth=1, **layer.words(),
    )  # fmt: skip
    program.output(Space.STORE, 0, 1, planes=2, single=True)
    (found,) = program.check()
    np.testing.assert_array_equal(found, saturate(layer.scaled(x), 16))
