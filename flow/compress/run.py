"""`flow quantize`: a float model file to a QDQ `.pt2`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flow.boards import Board
from flow.compress.errors import EdgeError, OutputError, edge_errors, float_outputs, output_error, worst
from flow.compress.prepare import Prepared, prepare
from flow.compress.quantize import QuantizeOptions
from flow.compress.tuning import FinetuneOptions
from flow.compress.widths import REFERENCE_ENGINE, Budget, Choice, choose_widths
from flow.cost import beat_cycles, cycles_of, fit
from flow.engine import Engine
from flow.errors import FlowError, UnsupportedError
from flow.frontend import load
from flow.frontend.torch_required import require_torch
from flow.golden.samples import Sample, load_samples
from flow.ir import Graph
from flow.ops.quant import QuantSpec
from flow.passes import recognise
from flow.passes.qdq import ADVICE
from flow.passes.to_integers import to_integers
from flow.resources import check_place

if TYPE_CHECKING:  # torch is loaded where it is used
    from flow.compress.finetune import Finetuned

Progress = Callable[[str, int, int], None]
CHECKED = 32
"""Samples on which the integers are compared with the float model."""
HELD_BACK = 4
"""With an error budget, every so-many-th sample is not calibrated on but measures errors."""
ENOUGH = 8
"""Fewer samples than this are all used for both."""


@dataclass(frozen=True)
class Quantized:
    """What quantization did. `graph` is the QDQ graph; `activations` and `weights` count its pairs and matrices.

    Errors are those of the integer graph on `checked` samples; `cycles` are of one sample on `engine`.
    """

    graph: Graph
    samples: int
    checked: int
    activations: int
    weights: int
    outputs: OutputError
    edges: tuple[EdgeError, ...]
    cycles: int
    engine: str
    warnings: tuple[str, ...]
    choice: Choice | None = None
    loss: tuple[float, float] | None = None

    @property
    def met(self) -> bool:
        """Whether the error budget, if there was one, is met."""
        return self.choice is None or self.choice.budget.met(self.outputs)

    @property
    def worst_edge(self) -> EdgeError | None:
        """The edge that loses most by its own rounding."""
        return worst(self.edges, lambda edge: edge.own)

    def to_json(self) -> dict[str, Any]:
        """The object of `flow quantize --json`."""
        data: dict[str, Any] = {
            "samples": self.samples,
            "checked_samples": self.checked,
            "activations": self.activations,
            "weights": self.weights,
            "sqnr_db": {k: _rounded(v, 2) for k, v in self.outputs.sqnr_db.items()},
            "cosine": {k: _rounded(v, 6) for k, v in self.outputs.cosine.items()},
            "cycles": self.cycles,
            "engine": self.engine,
            "warnings": list(self.warnings),
            "worst_edge": self.worst_edge.name if self.worst_edge else None,
            "edges": [edge.to_json() for edge in self.edges],
        }
        if self.choice is not None:
            data["widths"] = {**self.choice.to_json(), "met": self.met}
        if self.loss is not None:
            data["finetune_loss"] = {"before": self.loss[0], "after": self.loss[1]}
        return data


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if np.isfinite(value) else None


@dataclass(frozen=True)
class Request:
    """What a user may ask of `flow quantize`: at most `limit` samples, an error budget, a board that prices widths, and
    fine-tuning."""

    options: QuantizeOptions
    limit: int = 256
    budget: Budget | None = None
    board: Board | None = None
    finetune: FinetuneOptions | None = None


def quantize_file(
    model: Path,
    data: Path,
    output: Path,
    request: Request,
    *,
    config: Path | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Read, recognise, quantize and write.

    Raises:
        FlowError: bad model, data or place. UnsupportedError: the model is quantized already, or cannot be lowered.
        FitError: the model does not fit the board.
    """
    require_torch("flow quantize")
    check_place(output, "-o")
    graph = recognise(load(model, config))
    if any(isinstance(n.op, QuantSpec) for n in graph):
        raise FlowError(
            f"{model}: found a model that is quantized already; expected a float model; "
            "give it to `flow lower` as it is"
        )
    graph.name = model.name
    result = quantize_graph(graph, load_samples(data, graph).samples, request, progress)
    from flow.frontend.to_torch import write_pt2

    write_pt2(result.graph, output)
    return result


def quantize_graph(
    graph: Graph, samples: Sequence[Sample], request: Request, progress: Progress | None = None
) -> Quantized:
    """A recognised float graph to a QDQ graph that lowers, and how good it is.

    With an error budget every fourth sample is held back to measure it on.

    Raises:
        FlowError: samples that are of no use. UnsupportedError: lists what cannot be quantized or lowered.
        FitError: the model does not fit the board.
    """
    tell = progress or (lambda *_: None)
    samples = list(samples[: request.limit])
    seen, held = _split(samples, request.budget)
    prepared = prepare(graph, seen, request.options, tell)
    narrow = _integers(prepared.quantized())
    engine, beat = _engine(narrow, request.board)
    choice = None
    if request.budget is not None:
        choice = choose_widths(prepared, held, request.budget, engine=engine, beat=beat, progress=tell)
    quantized = prepared.quantized(choice.widths if choice else None)
    loss = None
    if request.finetune is not None:
        tuned = _finetuned(prepared, quantized, seen, request.finetune, tell)
        quantized, loss = tuned.graph, (tuned.before, tuned.after)
    integers = _integers(quantized)
    cycles = sum(cycles_of(integers, engine, beat).values())
    outputs = output_error(integers, held, float_outputs(prepared.graph, held))
    edges = edge_errors(prepared.graph, quantized, integers, held)
    pairs = sum(n.op.name == "quantize" for n in quantized)
    weights = sum(n.op.name == "dequantize" for n in quantized) - pairs
    board = request.board.name if request.board else "reference engine"
    where = f"{board}, T={engine.tokens} B={engine.banks} P={engine.rows}"
    return Quantized(
        quantized,
        len(seen),
        len(held),
        pairs,
        weights,
        outputs,
        edges,
        cycles,
        where,
        prepared.warnings,
        choice,
        loss,
    )


def _split(samples: list[Sample], budget: Budget | None) -> tuple[list[Sample], list[Sample]]:
    """(calibrated on, measured on)."""
    if budget is None or len(samples) < ENOUGH:
        return samples, samples[:CHECKED]
    seen = [s for i, s in enumerate(samples) if i % HELD_BACK != HELD_BACK - 1]
    return seen, samples[HELD_BACK - 1 :: HELD_BACK][:CHECKED]


def _engine(integers: Graph, board: Board | None) -> tuple[Engine, float]:
    """What cycles are counted on, and cycles between two beats of its weights."""
    if board is None:
        return REFERENCE_ENGINE, 1.0
    engine = fit(integers, board, {})
    return engine, beat_cycles(engine, board)


def _finetuned(
    prepared: Prepared,
    quantized: Graph,
    samples: Sequence[Sample],
    options: FinetuneOptions,
    progress: Progress,
) -> Finetuned:
    from flow.compress.finetune import finetune

    return finetune(prepared.graph, quantized, samples, options, progress)


def _integers(quantized: Graph) -> Graph:
    """The integer graph; refuses now what `flow lower` would refuse later.

    Raises:
        UnsupportedError: lists every place that the number contract does not know.
    """
    try:
        return to_integers(quantized)
    except UnsupportedError as error:
        raise UnsupportedError(str(error).replace(f"; {ADVICE}", "")) from error
