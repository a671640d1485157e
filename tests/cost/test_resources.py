"""Stages to primitives: the data sheets' geometry, by hand."""

from __future__ import annotations

import math

import pytest

from flow.boards import DSP_KINDS, list_boards, load_board
from flow.cost.resources import (
    Usage,
    available,
    bram18_of,
    budget,
    dsp_of,
    engine_usage,
    mux_luts,
    place,
    stages,
    tree_bits,
    uram_of,
    usage,
)
from flow.engine import STAGES, Engine
from flow.ops.hardware import AdderTree, Memory, Multiplier, Mux, divider, shifter, square_root


@pytest.mark.parametrize(
    ("words", "bits", "reads", "blocks"),
    [
        (512, 36, 1, 1),
        (512, 37, 1, 2),
        (512, 72, 1, 2),  # one RAMB36
        (513, 36, 1, 2),
        (1024, 18, 1, 1),
        (2048, 9, 1, 1),
        (16384, 1, 1, 1),
        (32768, 1, 1, 2),
        (4096, 8, 1, 2),
        (512, 36, 2, 2),  # true dual port is 18 bits wide at most
        (1024, 64, 2, 4),
        (768, 64, 2, 4),
        (1, 1, 2, 1),
    ],
)
def test_block_ram_takes_its_best_shape(words: int, bits: int, reads: int, blocks: int) -> None:
    assert bram18_of(Memory("m", words, bits, reads, 1)) == blocks
    assert bram18_of(Memory("m", words, bits, reads, 3)) == 3 * blocks


@pytest.mark.parametrize(
    ("words", "bits", "blocks"), [(4096, 72, 1), (4097, 72, 2), (100, 73, 2), (9000, 128, 6)]
)
def test_ultra_ram_is_72_by_4096(words: int, bits: int, blocks: int) -> None:
    assert uram_of(Memory("m", words, bits, 2, 1)) == blocks


@pytest.mark.parametrize(
    ("a", "b", "counts"),
    [
        (16, 16, (1, 1, 1)),
        (32, 16, (2, 2, 2)),
        (27, 18, (1, 2, 2)),
        (20, 16, (1, 1, 2)),
        (25, 18, (1, 1, 2)),
        (32, 18, (2, 2, 2)),
        (44, 44, (6, 6, 9)),
    ],
)
def test_wide_products_are_cut_into_signed_chunks(a: int, b: int, counts: tuple[int, int, int]) -> None:
    found = [dsp_of(Multiplier(1, a, b), DSP_KINDS[kind]) for kind in ("DSP48E2", "DSP48E1", "MULT18X18D")]
    assert tuple(found) == counts


def test_multiplexers_by_lut_inputs() -> None:
    assert [mux_luts(Mux(8, ways), 6) for ways in (1, 2, 4, 8, 16)] == [0, 4, 8, 16, 32]
    assert [mux_luts(Mux(8, ways), 4) for ways in (1, 2, 4, 8, 16)] == [0, 8, 16, 32, 64]


def test_adder_trees_save_what_the_dsp_cascade_adds() -> None:
    tree = AdderTree(1, 8, 17, products=True)
    # Levels of 4 x 18, 2 x 19, 1 x 20 bits; four packed terms go along the cascade of a DSP48E2, one of a DSP48E1.
    assert tree_bits(tree, DSP_KINDS["DSP48E1"]) == 4 * 18 + 2 * 19 + 20
    assert tree_bits(tree, DSP_KINDS["DSP48E2"]) == 20
    assert tree_bits(tree, DSP_KINDS["MULT18X18D"]) == 4 * 18 + 2 * 19 + 20
    assert tree_bits(AdderTree(3, 8, 17, products=False), DSP_KINDS["DSP48E2"]) == 3 * (72 + 38 + 20)
    assert AdderTree(5, 1, 17, products=True).adder_bits() == 0


def test_shifter_root_and_divider_by_hand() -> None:
    shift = shifter(2, 48, 17)
    assert shift.muxes == (Mux(2 * (17 + 20 + 32), 4),)
    assert shift.adder_bits == 2 * (17 + 12)
    assert divider(31, 17).adder_bits == 17 * 32
    assert square_root(62).adder_bits == sum(range(4, 35))


def test_ultra_ram_is_used_only_where_block_ram_is_short() -> None:
    small, large = Memory("a", 600, 18, 1, 10), Memory("b", 4096, 72, 1, 4)
    assert place([small, large], Usage(0, 0, 0, 1000, 100)) == (10 + 64, 0)
    assert place([small, large], Usage(0, 0, 0, 40, 100)) == (10, 4)
    assert place([small, large], Usage(0, 0, 0, 5, 100)) == (0, 14)
    assert place([small, large], Usage(0, 0, 0, 5, 3)) == (74, 0)


def test_budget_is_the_boards_share_rounded_down() -> None:
    board = load_board("pynq-z2")
    assert available(board) == Usage(dsp=220, lut=53_200, ff=106_400, bram18=280, uram=0)
    assert budget(board) == Usage(dsp=176, lut=42_560, ff=85_120, bram18=224, uram=0)


def test_usage_says_what_is_missing() -> None:
    used, have = Usage(10, 20, 5, 3, 1), Usage(10, 10, 5, 2, 0)
    assert used.over(have) == {"lut": 10, "bram18": 1, "uram": 1}
    assert used.share(have) == math.inf
    assert Usage(1, 1, 1, 1, 0).share(have) == 0.5


@pytest.mark.parametrize("name", list_boards())
def test_every_stage_costs_something_and_the_engine_their_sum(name: str) -> None:
    board, engine = load_board(name), Engine(4, 16, 2, 4, 2)
    found = stages(engine)
    assert set(STAGES) < set(found)
    parts = [usage(part, board) for part in found.values()]
    assert all(part.lut > 0 and part.ff > 0 for part in parts)
    whole = engine_usage(engine, board)
    assert whole.ff == sum(part.ff for part in parts)
    # Rounding is once for the whole and once for each stage.
    assert 0 <= sum(part.dsp for part in parts) - whole.dsp < len(parts)
    products = usage(found["linear"], board).dsp
    assert products == engine.multipliers // board.products_per_dsp
    # The requantiser's two DSP a lane are not free.
    assert whole.dsp - products >= 2 * engine.tokens * engine.rows


def test_features_cost_only_where_they_are_compiled_in() -> None:
    plain, full = Engine(4, 16, 2, 4, 2, features=()), Engine(4, 16, 2, 4, 2)
    assert set(stages(full)) - set(stages(plain)) == set(STAGES)


@pytest.mark.parametrize(
    "field", ["tokens", "banks", "norm_lanes", "heads", "operand_depth", "store_depth", "row_cycles"]
)
def test_more_of_anything_never_costs_less(field: str) -> None:
    board = load_board("ulx3s-85f")
    values = {
        "tokens": 4,
        "banks": 16,
        "rows": 2,
        "norm_lanes": 2,
        "heads": 2,
        "operand_depth": 700,
        "store_depth": 700,
    }
    values |= {"row_cycles": 700}
    before = engine_usage(Engine(**values), board)  # type: ignore[arg-type]
    after = engine_usage(Engine(**(values | {field: 2 * values[field]})), board)  # type: ignore[arg-type]
    assert not before.over(after)
    assert after.over(before)
