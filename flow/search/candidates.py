"""Compressed models: how each is made, what it costs on every board, and how good it is.

A candidate is pruned and quantized without training first, which is cheap and settles the structure and so the cycles;
it is trained only where its accuracy is asked for. Each piece of work is a journal entry.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flow import __version__
from flow.boards import Board
from flow.compress.banks import banks_for
from flow.compress.checkpoint import digest
from flow.compress.plan import PruneOptions
from flow.compress.prune import PruneRun, prune_file
from flow.compress.quantize import QuantizeOptions
from flow.compress.run import Request, quantize_file
from flow.compress.train import TrainOptions
from flow.cost import estimate_layout, fit
from flow.emit.lower import LowerOptions, integerise, lay_out, read_model
from flow.errors import FitError
from flow.golden import execute
from flow.golden.samples import Samples
from flow.ir import Array, Graph
from flow.search.choose import Measured
from flow.search.journal import Entry, Journal
from flow.search.split import Split, write_samples

Tell = Callable[[str], None]
DENSE = "dense"
MODEL = "model.pt2"


@dataclass(frozen=True)
class Recipe:
    """How a candidate is compressed: a scheme and a sparsity of all matrices, 0 for none; what trains it."""

    scheme: str
    sparsity: float
    training: TrainOptions

    @property
    def name(self) -> str:
        """Such as `hp-0.80`."""
        return DENSE if self.sparsity == 0 else f"{self.scheme}-{self.sparsity:.2f}"


@dataclass(frozen=True)
class Source:
    """What all candidates are made from: the float model, its data in three parts, the boards that they must serve."""

    model: Path
    split: Split
    boards: tuple[Board, ...]
    seed: int


class Workshop:
    """Makes candidates, each once; what is known of them lies in the journal."""

    def __init__(self, source: Source, journal: Journal, tell: Tell) -> None:
        self.source, self.journal, self.tell = source, journal, tell
        self._data = journal.folder / f"fit-{source.seed}.npz"
        write_samples(source.split.fit, self._data)
        self._base = {
            "flow": __version__,
            "model": digest(source.model),
            "data": digest(self._data),
            "boards": {
                board.name: hashlib.sha256(board.text.encode()).hexdigest() for board in source.boards
            },
            "seed": source.seed,
        }
        self._reference = read_model(source.model)

    def planned(self, recipe: Recipe) -> Entry:
        """The candidate without training: its file, `latency_ms` by board and `refusals` by board."""
        return self._made(recipe, trained=False)

    def measure(self, recipe: Recipe) -> Measured:
        """The trained candidate's latencies and its accuracy on the validation part."""
        made = self._made(recipe, trained=recipe.training.steps > 0 and recipe.sparsity > 0)
        scored = self.score(made.folder / MODEL, self.source.split.validation, recipe.name)
        return Measured(scored, made.data["latency_ms"])

    def file(self, recipe: Recipe) -> Path:
        """The trained candidate's `.pt2`."""
        return self._made(recipe, trained=recipe.training.steps > 0 and recipe.sparsity > 0).folder / MODEL

    def score(self, model: Path, part: Samples, name: str) -> float:
        """Accuracy of a quantized model's integers on a part of the data.

        Top-1 where there are labels, else the mean cosine of the first output to the float model's.
        """
        identity = {**self._base, "candidate": digest(model), "samples": _fingerprint(part)}

        def work(_: Path) -> Mapping[str, Any]:
            self.tell(f"{name}: integers on {len(part.samples)} samples")
            return {
                "accuracy": accuracy(integerise(read_model(model), LowerOptions()), self._reference, part)
            }

        return float(self.journal.entry("score", identity, work).data["accuracy"])

    def _made(self, recipe: Recipe, trained: bool) -> Entry:
        training = recipe.training if trained else TrainOptions()
        recipe_json = {"scheme": recipe.scheme, "sparsity": recipe.sparsity, "training": asdict(training)}

        def work(folder: Path) -> Mapping[str, Any]:
            pruned = self.source.model
            if recipe.sparsity > 0:
                pruned = folder / "float.pt2"
                self._prune(recipe, training, pruned)
            self.tell(f"{recipe.name}: quantize")
            quantize_file(pruned, self._data, folder / MODEL, Request(QuantizeOptions()))
            return self._costs(folder / MODEL, recipe.name)

        return self.journal.entry("trained" if trained else "plan", {**self._base, **recipe_json}, work)

    def _prune(self, recipe: Recipe, training: TrainOptions, output: Path) -> None:
        self.tell(f"{recipe.name}: prune{f', {training.steps} steps' if training.steps else ''}")
        options = PruneOptions(recipe.scheme, recipe.sparsity, score="wanda", seed=self.source.seed)
        options = replace(options, banks=self._banks(options))
        run = PruneRun(self._data, training=training)

        def tell(what: str, done: int, total: int, note: str = "") -> None:
            self.tell(f"{recipe.name}: {what} {done}/{total} {note}".rstrip())

        prune_file(self.source.model, output, options, run, tell)

    def _banks(self, options: PruneOptions) -> int | None:
        """B that serves every board that can hold the model: balance for B is balance for every divisor."""
        found = []
        for board in self.source.boards:
            self.tell(f"banks for {board.name}")
            with contextlib.suppress(FitError):
                found.append(banks_for(self._reference, [self._reach(board)], options)[board.name])
        return max(found, default=None)

    def _reach(self, board: Board) -> str:
        """What `load_board` takes: a name, or the path of a copy of the user's own file."""
        if board.bundled:
            return board.name
        copy = self.journal.folder / f"{board.name}.toml"
        copy.write_text(board.text, encoding="utf-8")
        return str(copy)

    def _costs(self, model: Path, name: str) -> dict[str, Any]:
        graph = integerise(read_model(model), LowerOptions())
        latency, refusals, engines = {}, {}, {}
        for board in self.source.boards:
            self.tell(f"{name}: fit an engine to {board.name}")
            try:
                report = estimate_layout(lay_out(graph, fit(graph, board)), board)
            except FitError as error:
                refusals[board.name] = str(error)
                continue
            latency[board.name] = report.latency_ms
            engines[board.name] = report.engine.to_json()
        return {"latency_ms": latency, "refusals": refusals, "engines": engines}


def accuracy(graph: Graph, reference: Graph, part: Samples) -> float:
    """Top-1 accuracy of an integer graph's first output, or its mean cosine to a float graph's where no labels are."""
    name = next(iter(graph.outputs))
    found = [execute(graph, sample)[name].reshape(-1) for sample in part.samples]
    if part.labels is not None:
        return float(np.mean([int(scores.argmax()) for scores in found] == part.labels))
    wanted = [execute(reference, sample)[name].reshape(-1) for sample in part.samples]
    return float(np.mean([_cosine(a, b) for a, b in zip(wanted, found, strict=True)]))


def _cosine(a: Array, b: Array) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else float(not a.any() and not b.any())


def _fingerprint(part: Samples) -> list[str]:
    """Hashes of the samples and labels."""
    arrays: Sequence[Array] = [array for sample in part.samples for _, array in sorted(sample.items())]
    labels = [] if part.labels is None else [part.labels]
    digest_of = hashlib.sha256()
    for array in [*arrays, *labels]:
        digest_of.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return [digest_of.hexdigest()]
