"""`flow estimate`: latency and resources of a model or build on boards, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flow.boards import Board
from flow.cost import EstimateReport, estimate_layout, fit
from flow.emit.build import MANIFEST, Build
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.errors import FitError, FlowError
from flow.ir import Graph


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
    progress: Callable[[str], None] | None = None,
) -> list[BoardEstimate]:
    """Estimates of a model file, each board with the engine that fits best; of a build, its own engine, on its own
    board where none is given.

    Raises:
        FlowError: bad model, or no board for a model.
    """
    tell = progress or (lambda _: None)
    build = Build.open(model) if (model / MANIFEST).is_file() else None
    if not boards and build is None:
        raise FlowError(
            "flow estimate: found no board; expected --board NAME, --board-file FILE or --all-boards"
        )
    chosen = list(boards) if build is None or boards else [build.board]
    if build is not None:
        graph, engine = build.graph, build.engine
        return [BoardEstimate(board.name, estimate_layout(lay_out(graph, engine), board)) for board in chosen]
    tell("read the model")
    graph = integerise(read_model(model, config), LowerOptions())
    found = []
    for board in chosen:
        tell(f"fit an engine to {board.name}")
        found.append(_one(graph, board))
    return found


def _one(graph: Graph, board: Board) -> BoardEstimate:
    try:
        return BoardEstimate(board.name, estimate_layout(lay_out(graph, fit(graph, board, {})), board))
    except FitError as error:
        return BoardEstimate(board.name, None, str(error))
