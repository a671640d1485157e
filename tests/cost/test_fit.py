"""The engine for a model on a board."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from flow.boards import list_boards, load_board
from flow.cost import budget, engine_usage, estimate_layout, fit
from flow.cost.fit import filled, round_up
from flow.emit.lower import lay_out
from flow.errors import FitError, FlowError
from flow.ir import Graph

Digits = Callable[[str], Graph]
Encode = Callable[..., Graph]


TOO_SMALL = ("ulx3s-25f", "ulx3s-45f")
"""Boards whose look-up tables do not hold the smallest engine with attention."""


@pytest.mark.parametrize("name", [name for name in list_boards() if name not in TOO_SMALL])
@pytest.mark.parametrize("model", ["dense", "hp80"])
def test_the_digits_fit_nearly_every_board(digits: Digits, model: str, name: str) -> None:
    board = load_board(name)
    engine = fit(digits(model), board)
    report = estimate_layout(lay_out(digits(model), engine), board)
    assert report.fits
    assert not engine_usage(engine, board).over(budget(board))
    assert engine.beat_bytes == board.axi_beat_bytes
    assert 0.05 < report.utilisation < 1
    # A small board is nearly all multipliers: more than a third of what it may use.
    if name in ("pynq-z2", "ulx3s-85f"):
        assert report.resources["dsp"].used > budget(board).dsp / 3
        assert report.utilisation > 0.5


def test_boards_too_small_for_attention(digits: Digits) -> None:
    """The 45F takes linear steps; the 25F has fewer look-up tables than the smallest engine of any kind."""
    from flow.ops.examples import linear_graph

    for name in TOO_SMALL:
        with pytest.raises(FitError, match=r"needs .* LUT, expected at most"):
            fit(digits("hp80"), load_board(name))
    linear, board = linear_graph(tokens=8, channels=16, rows=16), load_board("ulx3s-45f")
    engine = fit(linear, board)
    assert not engine_usage(engine, board).over(budget(board))
    with pytest.raises(FitError, match=r"\(T=1, B=1, P=1\) needs [\d]+ LUT, expected at most 19430"):
        fit(linear, load_board("ulx3s-25f"))


def test_fitting_twice_gives_one_engine(digits: Digits) -> None:
    board = load_board("zcu104")
    assert fit(digits("hp80"), board) == fit(digits("hp80"), board)


def test_dense_and_pruned_share_an_engine(digits: Digits) -> None:
    """Capacities hold a dense model of the same shape, whichever the engine was fitted for."""
    board = load_board("zcu102")
    for first, second in (("dense", "hp80"), ("hp80", "dense")):
        engine = fit(digits(first), board)
        assert engine.row_cycles >= engine.depth
        one, other = (estimate_layout(lay_out(digits(name), engine), board) for name in (first, second))
        dense, pruned = (one, other) if first == "dense" else (other, one)
        assert pruned.cycles < dense.cycles
        assert pruned.weight_bits < dense.weight_bits


def test_the_search_foresees_the_layout(digits: Digits) -> None:
    """The fit knows cycles before anything is encoded; they must not be far from those of the encoded program."""
    from flow.cost.cycles import beat_cycles
    from flow.cost.fit import cycles_of

    for name in ("u250", "pynq-z2"):
        for model in ("dense", "hp80"):
            board, graph = load_board(name), digits(model)
            engine = fit(graph, board)
            supposed = sum(cycles_of(graph, engine, beat_cycles(engine, board)).values())
            found = estimate_layout(lay_out(graph, engine), board).cycles
            assert supposed == pytest.approx(found, rel=0.1)


def test_a_larger_board_is_not_slower(digits: Digits) -> None:
    """Within the 10 % that a fit gives up for a smaller engine, at equal clock, beats and multiplier."""
    small, graph = load_board("zcu104"), digits("dense")
    cycles = []
    # Registers, roots and dispatch alone take a tenth of the board.
    for factor in (0.2, 0.3, 0.5, 1.0, 4.0):
        scaled = {key: int(getattr(small, key) * factor) for key in ("lut", "ff", "bram", "uram", "dsp")}
        board = replace(small, **scaled)  # type: ignore[arg-type]
        cycles.append(estimate_layout(lay_out(graph, fit(graph, board)), board).cycles)
    assert all(after <= 1.1 * before for before, after in pairwise(cycles))
    assert cycles[-1] < cycles[0]


def test_settings_are_honoured(digits: Digits) -> None:
    asked = {
        "tokens": 8,
        "banks": 16,
        "rows": 2,
        "norm_lanes": 4,
        "heads": 2,
        "store_depth": 777,
        "sequence": 40,
    }
    engine = fit(digits("hp80"), load_board("u250"), asked)
    assert {name: getattr(engine, name) for name in asked} == asked
    assert fit(digits("hp80"), load_board("u250"), {"engine.tokens": 8}).tokens == 8


def test_an_unknown_setting_offers_the_nearest(digits: Digits) -> None:
    with pytest.raises(FlowError) as caught:
        fit(digits("dense"), load_board("u250"), {"token": 16})
    assert str(caught.value) == (
        "--set engine.token: unknown parameter; expected one of tokens, banks, rows, norm_lanes, heads, beat_bytes, "
        "stream_bytes, sequence, operand_depth, store_depth, values_depth, depth, row_cycles, steps, table_bits; "
        "did you mean tokens?"
    )


def test_an_impossible_setting_is_refused_in_the_engines_words(digits: Digits) -> None:
    with pytest.raises(FlowError, match=r"tokens = 6: expected a power of two"):
        fit(digits("dense"), load_board("u250"), {"tokens": 6})
    with pytest.raises(FlowError, match=r"rows = 8: expected a divisor of tokens = 4"):
        fit(digits("dense"), load_board("u250"), {"tokens": 4, "rows": 8})


def test_a_capacity_set_too_small_is_named(digits: Digits) -> None:
    engine = fit(
        digits("dense"), load_board("u250"), {"tokens": 8, "banks": 16, "rows": 2, "operand_depth": 7}
    )
    with pytest.raises(
        FitError, match=r"expected at most 7 words per bank \(engine capacity 'operand_depth'\)"
    ):
        lay_out(digits("dense"), engine)


def test_a_model_too_big_for_the_board(encoder: Encode) -> None:
    graph = encoder(1, 128, 768, 12, 3072)
    with pytest.raises(FitError) as caught:
        fit(graph, load_board("ulx3s-85f"))
    # The coefficients of logic are fitted anew with every change of the Verilog, so that its figures move.
    assert re.fullmatch(
        r"encoder on ulx3s-85f: found no engine that fits: the nearest \(T=1, B=\d, P=1\) needs "
        r"(\d+ LUT, expected at most 66912 \(80% of 83640\), \d+ too many and )?"
        r"\d+ block RAM of 18 Kibit, expected at most 166 \(80% of 208\), \d+ too many and "
        r"4\d\d\d block RAM of 18 Kibit for itself, the model's image and the shell, expected at most 208, [34]\d\d\d "
        r"too many; "
        r"choose a larger board, a shorter sequence or a smaller model",
        str(caught.value),
    )


def test_a_setting_too_big_for_the_board_names_the_multipliers(digits: Digits) -> None:
    with pytest.raises(FitError) as caught:
        fit(digits("dense"), load_board("pynq-z2"), {"tokens": 8, "banks": 16, "rows": 8})
    assert "(T=8, B=16, P=8) needs " in str(caught.value)
    assert " DSP, expected at most 176 (80% of 220), " in str(caught.value)


def test_weights_beyond_the_boards_memory_are_refused(digits: Digits) -> None:
    board = load_board("pynq-z2")
    tiny = replace(board, memory=replace(board.memory, capacity_mib=0))
    with pytest.raises(
        FitError, match=r"needs 1 MiB of DDR3-1050 at the processor, expected at most 0, 1 too many"
    ):
        fit(digits("dense"), tiny)


def test_a_short_memory_moves_to_ultra_ram(encoder: Encode) -> None:
    engine = fit(encoder(1, 128, 768, 12, 3072), load_board("kv260"))
    assert engine_usage(engine, load_board("kv260")).uram > 0


def test_bert_base_fits_in_seconds(encoder: Encode) -> None:
    graph = encoder(12, 128, 768, 12, 3072, banks=64, density=1 / 12)
    board = load_board("u250")
    start = time.process_time()
    engine = fit(graph, board)
    assert time.process_time() - start < 15
    assert engine.sequence >= 128
    assert engine.multipliers >= 2048


def test_a_model_without_norms_or_attention_gets_neither() -> None:
    from flow.ops.examples import linear_graph

    engine = fit(linear_graph(tokens=9, channels=20, rows=7), load_board("pynq-z2"))
    assert engine.features == ()
    assert (engine.norm_lanes, engine.heads) == (1, 1)
    assert engine.banks <= 32
    assert engine.tokens <= 16


def test_rounding_of_capacities() -> None:
    assert [round_up(n) for n in (1, 2, 3, 64, 65)] == [1, 2, 4, 64, 128]
    # Distributed RAM holds 32 or 64 words on AMD, 16 or 32 on ECP5; then block RAM comes in 512.
    assert [filled(n, 6) for n in (1, 32, 33, 65, 513)] == [32, 32, 64, 512, 1024]
    assert [filled(n, 4) for n in (1, 16, 17, 33)] == [16, 16, 32, 512]


def test_capacities_cost_no_more_than_the_need(digits: Digits) -> None:
    board = load_board("u250")
    engine = fit(digits("dense"), board)
    exact = replace(engine, operand_depth=engine.operand_depth // 2 + 1, store_depth=engine.store_depth - 1)
    assert engine_usage(engine, board).bram18 == engine_usage(exact, board).bram18
    # Only the addresses are wider.
    assert set(engine_usage(engine, board).over(engine_usage(exact, board))) <= {"lut", "ff"}
