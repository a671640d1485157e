"""An estimate without a layout: what a fit knows of an engine, for comparing many boards in seconds."""

from __future__ import annotations

from flow.boards import Board
from flow.cost.cycles import beat_cycles, chained
from flow.cost.forms import StepForms
from flow.cost.machine import LATENCY_CYCLES
from flow.cost.report import EstimateReport, StepEstimate, report_of
from flow.engine import Engine

QUICK_METHOD = "the operators' closed forms, one step after the other, the size of stored weights supposed"


def estimate_quickly(forms: StepForms, engine: Engine, board: Board) -> EstimateReport:
    """Cycles of every step in closed form, and the engine's resources on `board`.

    Nothing is encoded or placed: the fullest bank of every row is counted, and codes are supposed to take what no code
    can beat on average. The forms suppose one latency of every memory, `LATENCY_CYCLES`, of an image on chip too.
    `estimate_layout` walks the program as it lies; tests hold the two within 10 %.
    """
    beat, shape = beat_cycles(engine, board), forms.shape
    row = forms.row(engine, beat).forms
    alone, behind = chained(row), chained((*row, *row))[len(row) :]
    full = row if beat == 1.0 else forms.row(engine, 1.0).forms
    steps = [
        StepEstimate(
            step.name,
            step.opcode.name.lower(),
            cycles,
            full_rate,
            form.macs,
            form.macs / (engine.multipliers * cycles),
            form.waits_for(cycles),
        )
        for (step, _), form, cycles, full_rate in zip(
            forms.works(engine, beat), row, alone, chained(full), strict=True
        )
    ]
    return report_of(
        board,
        engine,
        steps,
        intervals=(sum(behind), sum(chained((*full, *full))[len(full) :])),
        image=(engine.beat_bytes * shape.weight_beats(engine), engine.beat_bytes * shape.image_beats(engine)),
        latency=LATENCY_CYCLES,
        tokens=shape.tokens,
        cycles_method=QUICK_METHOD,
    )
