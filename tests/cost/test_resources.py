"""Stages to primitives: the data sheets' geometry, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from flow.boards import DSP_KINDS, list_boards, load_board
from flow.cost.resources import (
    Usage,
    available,
    bram18_of,
    budget,
    calibration,
    dsp_of,
    engine_usage,
    mapped,
    mux_luts,
    place,
    stages,
    tree_bits,
    ultra_memories,
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
    ("words", "bits", "blocks"),
    [
        (4096, 72, 1),
        (4097, 72, 2),
        (100, 73, 2),
        (9000, 128, 6),
        # As Yosys 0.70 counts them: words side by side, of bytes of 8 bits or of 9.
        (9000, 20, 1),
        (9000, 24, 1),
        (9000, 40, 2),
        (40000, 16, 3),
        (40000, 20, 4),
        (40000, 36, 5),
        (40000, 64, 9),
        (5000, 80, 3),
        (20000, 80, 6),
        (20000, 128, 9),
    ],
)
def test_ultra_ram_is_72_by_4096(words: int, bits: int, blocks: int) -> None:
    assert uram_of(Memory("m", words, bits, 1, 1)) == blocks
    assert uram_of(Memory("m", words, bits, 1, 5)) == 5 * blocks


@pytest.mark.parametrize(
    ("a", "b", "counts"),
    [
        (16, 16, (1, 1, 1)),
        (32, 16, (2, 2, 2)),
        (27, 18, (1, 2, 2)),
        (20, 16, (1, 1, 2)),
        (25, 18, (1, 1, 2)),
        (32, 18, (2, 2, 2)),
        (44, 44, (6, 9, 9)),
        (19, 16, (1, 1, 1)),  # one bit is left to look-up tables
        (6, 2, (0, 0, 1)),
    ],
)
def test_wide_products_are_cut_into_signed_chunks(a: int, b: int, counts: tuple[int, int, int]) -> None:
    found = [dsp_of(Multiplier(1, a, b), DSP_KINDS[kind]) for kind in ("DSP48E2", "DSP48E1", "MULT18X18D")]
    assert tuple(found) == counts


# What Yosys 0.70 makes of ram_1r1w, line_memory, ram_2rw and column_list: 18 Kibit blocks, and LUTs of distributed RAM.
@pytest.mark.parametrize(
    ("bits", "words", "kind", "amd", "ecp5"),
    [
        (8, 32, "plain", (0, 8), (0, 4 * 6)),
        (8, 256, "plain", (0, 64), (1, 0)),
        (8, 512, "plain", (1, 0), (1, 0)),
        (20, 64, "plain", (0, 24), (0, 20 * 6)),
        (20, 128, "plain", (0, 48), (1, 0)),
        (20, 1024, "plain", (2, 0), (2, 0)),
        (20, 2048, "plain", (3, 0), (3, 0)),
        (36, 64, "plain", (0, 48), (1, 0)),
        (40, 64, "plain", (0, 48), (0, 40 * 6)),
        (40, 128, "plain", (0, 96), (2, 0)),
        (40, 256, "plain", (2, 0), (2, 0)),
        (40, 1024, "plain", (3, 0), (3, 0)),
        (54, 64, "plain", (0, 64), (2, 0)),
        (54, 128, "plain", (2, 0), (2, 0)),
        (128, 2048, "plain", (15, 0), (15, 0)),
        (16, 1500, "plain", (2, 0), (2, 0)),
        (32, 1500, "plain", (3, 0), (3, 0)),
        (64, 4096, "plain", (16, 0), (16, 0)),
        (16, 1024, "dual", (1, 0), (1, 0)),
        (48, 3, "asynchronous", (0, 32), (0, 12 * 6)),
        (112, 33, "asynchronous", (0, 128), (0, 84 * 6)),
        (128, 65, "asynchronous", (0, 240), (0, 160 * 6)),
    ],
)
def test_memories_go_where_yosys_puts_them(
    bits: int, words: int, kind: str, amd: tuple[int, int], ecp5: tuple[int, int]
) -> None:
    memory = Memory(
        "m",
        words,
        bits,
        2 if kind == "dual" else 1,
        1,
        asynchronous=kind == "asynchronous",
    )
    found = [mapped(memory, name) for name in ("DSP48E2", "MULT18X18D")]
    assert [(one.bram18, one.lutram) for one in found] == [amd, ecp5]


def test_what_a_memory_takes_beside_its_primitives() -> None:
    """A read register behind distributed RAM, nothing beside a block."""
    plain = Memory("m", 64, 64, 1, 1)
    assert (mapped(plain, "DSP48E2").lut, mapped(plain, "DSP48E2").ff) == (80, 64)
    assert (mapped(plain, "MULT18X18D").lut, mapped(plain, "MULT18X18D").ff) == (0, 0)
    stacked = Memory("m", 32, 256, 1, 1)
    assert mapped(stacked, "MULT18X18D").lut == 768 + 256
    listed = Memory("m", 9, 64, 1, 1, asynchronous=True)
    assert mapped(listed, "DSP48E2").ff == 0


def test_every_term_is_calibrated_and_some_cost_something() -> None:
    """On both families, and no block of logic is free."""
    terms = [t for part in stages(Engine(4, 16, 2, 4, 2)).values() for t in part.terms]
    assert len(terms) > 40
    for family in ("xcup", "ecp5"):
        units = calibration()[family]
        assert {f"{t.block}.{t.name}" for t in terms} == set(units["lut"]) == set(units["ff"])
        for block in {t.block for t in terms}:
            parts = [
                units[w][f"{t.block}.{t.name}"] for t in terms if t.block == block for w in ("lut", "ff")
            ]
            assert sum(parts) > 0, block
            assert min(parts) >= 0


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
    """10 and 64 block RAMs: the memory that frees most for an UltraRAM goes first, and only as far as needed."""
    small, large = Memory("a", 600, 18, 1, 10, ultra=True), Memory("b", 4096, 72, 1, 4, ultra=True)

    def moved(bram18: int, uram: int) -> set[str]:
        return set(place([small, large], Usage(0, 0, 0, bram18, uram)))

    assert moved(74, 100) == set()
    assert moved(73, 100) == moved(10, 4) == {"b"}
    assert moved(9, 100) == {"a", "b"}
    assert moved(9, 13) == {"b"}
    assert moved(9, 3) == set()
    # What cannot be told to lie there stays where it is, and so does what look-up tables hold.
    fixed = replace(large, ultra=False)
    assert place([small, fixed], Usage(0, 0, 0, 5, 100)) == {"a"}
    assert place([Memory("c", 16, 8, 1, 4, ultra=True)], Usage(0, 0, 0, -1, 100)) == set()


def test_usage_counts_each_memory_where_it_lies() -> None:
    """On a board that is short of block RAM; the choice between two lanes of an UltraRAM costs look-up tables."""
    engine = Engine(4, 16, 2, 4, 2, store_depth=5000)
    rich = replace(load_board("u250"), bram=10**5)
    memories = {m.name: m for part in stages(engine).values() for m in part.memories}
    store = memories["store"]
    plain = engine_usage(engine, rich)
    assert plain.uram == len(ultra_memories(engine, rich)) == 0
    short = replace(rich, bram=int((plain.bram18 - 20) / 2 / rich.max_utilisation), slrs=1)
    moved, ultra = engine_usage(engine, short), ultra_memories(engine, short)
    assert ultra == {"program", "store"}
    assert moved.uram == uram_of(memories["program"]) + uram_of(store) == 1 + 16
    assert plain.bram18 - moved.bram18 == bram18_of(memories["program"]) + bram18_of(store)
    assert moved.bram18 <= budget(short).bram18 < plain.bram18
    assert moved.lut - plain.lut == 16 * (store.bits - mapped(store, "DSP48E2").lut)
    assert (moved.dsp, moved.ff) == (plain.dsp, plain.ff)


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
    # ECP5's look-up tables take in the choice of the residual: 4x8x2 with attention and a table has 11,890 behind its
    # array, 11,879 with "add" besides.
    free = {"add"} if board.dsp_kind == "MULT18X18D" else set()
    assert all(part.ff > 0 for part in parts)
    assert {name for name, part in found.items() if usage(part, board).lut == 0} <= free
    whole = engine_usage(engine, board)
    assert whole.ff == sum(part.ff for part in parts)
    # Rounding is once for the whole and once for each stage.
    assert 0 <= sum(part.dsp for part in parts) - whole.dsp < len(parts)
    # Six products of linear_issue and one of result_writer stand beside the array.
    products = usage(found["linear"], board).dsp - 7
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


@pytest.mark.parametrize("features", [("add",), ("attention",), ("add", "attention")])
def test_add_and_attention_share_the_second_product(features: tuple[str, ...]) -> None:
    """One a lane behind the array, with whichever of them is there."""
    engine = Engine(4, 16, 2, 4, 1, features=features)
    found = [stages(engine)[name] for name in features]
    second = sum(t.amount for part in found for t in part.terms if (t.block, t.name) == ("post", "second"))
    assert second == sum(part.dsp for part in found if part.dsp) == 4 * 2
