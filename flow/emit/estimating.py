"""`flow estimate`: latency and resources of a model or build on boards, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flow.boards import NOMINAL, Board
from flow.cost import EstimateReport, StepForms, barrier, estimate_layout, estimate_quickly, fit
from flow.emit.build import MANIFEST, Build
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.errors import FitError, FlowError, near


@dataclass(frozen=True)
class BoardEstimate:
    """A board with its estimate, or with the reason why the model does not fit."""

    board: str
    report: EstimateReport | None
    refusal: str = ""

    def to_json(self) -> dict[str, Any]:
        """The estimate's object, or the board and why not."""
        return (
            self.report.to_json()
            if self.report is not None
            else {"board": self.board, "fits": False, "refusal": self.refusal}
        )


def estimate_boards(
    model: Path,
    boards: Sequence[Board],
    *,
    config: Path | None = None,
    level: str | None = None,
    quick: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[BoardEstimate]:
    """Estimates of a model file, each board with the engine that fits best; of a build, its own engine, on its own
    board where none is given.

    Args:
        level: of clock and voltage, at which the engine is fitted too; a board that has no such level is told so. By
            default nominal, or on a build's own board that of the build.
        quick: count by closed forms, without a layout (`flow.cost.quick`); a build is always walked as it lies.

    Raises:
        FlowError: bad model, no board for a model, or a level that no board has.
    """
    tell = progress or (lambda _: None)
    build = Build.open(model) if (model / MANIFEST).is_file() else None
    if level is None:
        level = NOMINAL if build is None or boards else build.board.level
    if not boards and build is None:
        raise FlowError(
            "flow estimate: found no board; expected --board NAME, --board-file FILE or --all-boards"
        )
    chosen = list(boards) if build is None or boards else [build.nominal_board]
    _check_level(chosen, level)
    if build is not None:
        graph, engine = build.graph, build.engine
        return [_at(board, level, lambda at: estimate_layout(lay_out(graph, engine), at)) for board in chosen]
    tell("read the model")
    graph = integerise(read_model(model, config), LowerOptions())
    forms = StepForms.of(graph)

    def fitted(board: Board) -> EstimateReport:
        tell(f"fit an engine to {board.name}")
        engine = fit(graph, board, None, forms)
        found = (
            estimate_quickly(forms, engine, board)
            if quick
            else estimate_layout(lay_out(graph, engine), board)
        )
        return replace(found, barrier=barrier(forms, board, engine))

    return [_at(board, level, fitted) for board in chosen]


def _at(board: Board, level: str, estimate: Callable[[Board], EstimateReport]) -> BoardEstimate:
    """The board's estimate at a level, or why there is none."""
    try:
        at = board.at(level)
    except FlowError as error:
        return BoardEstimate(board.name, None, str(error))
    try:
        return BoardEstimate(board.name, estimate(at))
    except FitError as error:
        return BoardEstimate(board.name, None, str(error))


def _check_level(boards: Sequence[Board], level: str) -> None:
    """Refuse a level that none of the boards has: then it is a mistake, and not a board's lack."""
    known = dict.fromkeys(name for board in boards for name in board.levels)
    if level in known:
        return
    if len(boards) == 1:
        boards[0].at(level)
    raise FlowError(
        f"--level: found {level!r}, which no board has; expected one of {', '.join(known)}{near(level, known)}"
    )
