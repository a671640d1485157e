"""Energy and power: a case by hand, what may not happen, and what is unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from flow.boards import Board, list_boards, load_board
from flow.cost import (
    Activity,
    Energy,
    StepForms,
    beat_cycles,
    energy_of,
    engine_usage,
    estimate_layout,
    estimate_quickly,
    fit,
)
from flow.cost.energy import LOGIC_CYCLE, PROCESS_NM, PRODUCT, SRAM_BYTE
from flow.emit.lower import lay_out
from flow.engine import Engine
from flow.ir import Graph

Digits = Callable[[str], Graph]
ENGINE = Engine(4, 16, 2, 4, 2, beat_bytes=8, stream_bytes=8)
BUSY = Activity(ENGINE, 10_000, 600_000, 40_000)


def found(activity: Activity, board: Board) -> Energy:
    energy = energy_of(activity, board)
    assert energy is not None
    return energy


def test_coefficients_say_where_they_come_from() -> None:
    for base in (PRODUCT, SRAM_BYTE, LOGIC_CYCLE):
        assert base.pj > 0
        assert "20" in base.source
    # 16 nm and 0.85 V of 45 nm and 0.9 V, and an FPGA's 7.1 times.
    assert PRODUCT.scaled(16, 0.85) == pytest.approx(0.3 * 7.1 * (16 / 45) * (0.85 / 0.9) ** 2)
    assert PRODUCT.scaled(16, 0.72) / PRODUCT.scaled(16, 0.85) == pytest.approx((0.72 / 0.85) ** 2)
    assert set(PROCESS_NM) == {load_board(name).dsp_kind for name in list_boards()}


@pytest.mark.parametrize(("gb_s", "cycles"), [(4.2, 1.0), (0.32, 2.5)])
def test_by_hand(gb_s: float, cycles: float) -> None:
    """PYNQ-Z2 at 28 nm, 1.0 V and 100 MHz: 10,000 cycles are 0.1 ms. A memory that gives 8 bytes in 2.5 cycles takes as
    much for a sample of as many cycles, and less at the peak."""
    board = load_board("pynq-z2")
    board = replace(board, memory=replace(board.memory, bandwidth_gb_s=gb_s))
    assert beat_cycles(ENGINE, board) == pytest.approx(cycles)
    energy = found(BUSY, board)
    scale = 28 / 45 / 0.81 * 7.1  # pJ of 45 nm and 0.9 V
    product, byte = 0.3 * scale, 1.25 * scale
    used = engine_usage(ENGINE, board)
    assert used.lut != used.ff
    logic = 5.9 / 8 * 28 / 150 / 2.25 * (used.lut + used.ff) / 2
    parts = {
        "multipliers": 600_000 * product,
        "on-chip memory": 600_000 * 1.25 * byte + 2 * 40_000 * byte,
        "external memory": 40_000 * 8 * 70,
        "logic and clock": 10_000 * logic,
        "static": 0.113 * 0.1e-3 * 1e12,
        "rest of the board": 1.569 * 0.1e-3 * 1e12,
    }
    assert energy.parts == {name: pytest.approx(pj * 1e-9) for name, pj in parts.items()}
    assert energy.sample_mj == pytest.approx(sum(parts.values()) * 1e-9)
    assert energy.average_w == pytest.approx(energy.sample_mj / 0.1)
    cycle = 128 * (product + 1.25 * byte) + 8 / cycles * (2 * byte + 8 * 70) + logic
    assert energy.peak_w == pytest.approx(0.113 + 1.569 + cycle * 100e6 * 1e-12)


def test_an_image_on_chip_is_read_there() -> None:
    board = load_board("ulx3s-85f")
    energy = found(BUSY, board)
    assert energy.parts["external memory"] == 0
    less = found(replace(BUSY, image_bytes=0), board)
    byte = SRAM_BYTE.scaled(40, 1.1)
    assert energy.sample_mj - less.sample_mj == pytest.approx(3 * 40_000 * byte * 1e-9)


def test_without_power_figures_it_is_unknown() -> None:
    assert energy_of(BUSY, replace(load_board("u250"), power=None)) is None


@pytest.mark.parametrize("name", list_boards())
def test_everything_takes_something(name: str) -> None:
    """No part is free, more of anything takes more, and the average is below the peak."""
    board = load_board(name)
    energy = found(BUSY, board)
    free = {"external memory"} if board.weights == "on-chip" else set()
    assert {part for part, mj in energy.parts.items() if mj <= 0} == free
    assert energy.average_w < energy.peak_w
    for more in (
        replace(BUSY, cycles=11_000),
        replace(BUSY, macs=700_000),
        replace(BUSY, image_bytes=50_000),
        # Logic, for as many cycles and products.
        replace(BUSY, engine=replace(ENGINE, norm_lanes=16)),
    ):
        assert found(more, board).sample_mj > energy.sample_mj
    wide = replace(BUSY, engine=replace(ENGINE, tokens=8))
    assert found(wide, board).peak_w > energy.peak_w


def test_levels() -> None:
    """At half the clock switching takes as much and leakage twice; at a lower voltage both take less."""
    board = load_board("vcu118")
    full, half, low = (found(BUSY, board.at(level)) for level in ("nominal", "half", "low-voltage"))
    dynamic = ("multipliers", "on-chip memory", "logic and clock")
    for part in dynamic:
        assert half.parts[part] == pytest.approx(full.parts[part])
        assert low.parts[part] == pytest.approx(full.parts[part] * (0.72 / 0.85) ** 2)
    assert half.parts["static"] == pytest.approx(2 * full.parts["static"])
    assert low.parts["static"] == pytest.approx(full.parts["static"] * (0.72 / 0.85) / 0.83)
    assert low.parts["external memory"] == full.parts["external memory"]
    assert half.peak_w < full.peak_w
    assert low.peak_w < full.peak_w


def test_a_report_at_another_level(digits: Digits) -> None:
    """Of one engine and program: a lower voltage takes less for each switch, by its square, and the memory as much."""
    board = load_board("vcu118")
    graph = digits("hp80")
    layout = lay_out(graph, fit(graph, board))
    full, low = (estimate_layout(layout, board.at(level)) for level in ("nominal", "low-voltage"))
    assert full.energy is not None
    assert low.energy is not None
    # Its memory gives a beat every cycle at either clock.
    assert (low.level, low.cycles) == ("low-voltage", full.cycles)
    ratios = {name: low.energy.parts[name] / part for name, part in full.energy.parts.items()}
    square = (0.72 / 0.85) ** 2
    assert ratios == {
        "multipliers": pytest.approx(square),
        "on-chip memory": pytest.approx(square),
        "external memory": pytest.approx(1),
        "logic and clock": pytest.approx(square),
        "static": pytest.approx(0.72 / 0.85 / 0.83),
        "rest of the board": pytest.approx(1 / 0.83),
    }


def test_both_kinds_of_reports_count_energy_alike(digits: Digits) -> None:
    """What differs between closed forms and walk are cycles and bytes: with those of the walk, the energy is equal."""
    graph = digits("hp80")
    forms = StepForms.of(graph)
    for name in ("zcu104", "ulx3s-85f"):
        board = load_board(name)
        engine = fit(graph, board, None, forms)
        walked, quick = estimate_layout(lay_out(graph, engine), board), estimate_quickly(forms, engine, board)
        assert walked.energy is not None
        assert quick.energy is not None
        assert quick.cycles != walked.cycles
        as_walked = Activity(engine, walked.cycles, quick.macs, walked.image_bits / 8)
        assert found(as_walked, board) == walked.energy
        as_quick = Activity(engine, quick.cycles, walked.macs, quick.image_bits / 8)
        assert found(as_quick, board) == quick.energy


def test_a_report_has_it(digits: Digits) -> None:
    """The walked program and the closed forms of one engine tell nearly the same energy."""
    graph = digits("hp80")
    forms = StepForms.of(graph)
    for name in ("zcu104", "pynq-z2", "ulx3s-85f"):
        board = load_board(name)
        engine = fit(graph, board, None, forms)
        walked, quick = estimate_layout(lay_out(graph, engine), board), estimate_quickly(forms, engine, board)
        assert walked.energy is not None
        assert quick.energy is not None
        assert quick.energy.sample_mj == pytest.approx(walked.energy.sample_mj, rel=0.1)
        assert quick.energy.peak_w == walked.energy.peak_w
        assert walked.energy.average_w < walked.energy.peak_w
        data = walked.to_json()["energy"]
        assert data["sample_mj"] == round(walked.energy.sample_mj, 6)
        assert "its error is not known" in data["method"]
