"""Which board wins: a pure function of latencies, accuracies and the two constraints.

A candidate (a compressed model) serves a board under (LC, AC) if its latency there is at most LC and its accuracy at
least AC. The winner is the first board, in the order given, that any candidate serves, with the first such candidate.
Neither the boards nor the candidates depend on LC or AC, so whatever serves under a tight pair serves under a looser
one: tightening a constraint never moves the winner to an earlier board.

Accuracies cost training, so they are asked for only where the answer needs them; the answer is the exhaustive one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Measured:
    """What is known of a candidate after training: accuracy on the validation split, and latency in ms by board.

    A board that cannot hold it is left out of `latency_ms`.
    """

    accuracy: float
    latency_ms: Mapping[str, float]


@dataclass(frozen=True)
class Verdict(Generic[Name]):
    """Why a board won or not.

    Attributes:
        board: its name.
        reason: "serves", "does not fit", "too slow" or "not accurate enough".
        candidate: the one that serves, or that came nearest; None where nothing fits.
        latency_ms: of that candidate on the board.
        accuracy: of that candidate, where it was asked for.
        refusal: why the board cannot hold the smallest candidate, where none fits.
    """

    board: str
    reason: str
    candidate: Name | None = None
    latency_ms: float | None = None
    accuracy: float | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Choice(Generic[Name]):
    """The winner, if any, and the verdicts of all boards up to it in order."""

    winner: Verdict[Name] | None
    verdicts: tuple[Verdict[Name], ...]


def choose(
    boards: Sequence[str],
    candidates: Sequence[Name],
    planned: Mapping[Name, Mapping[str, float]],
    measure: Callable[[Name], Measured],
    *,
    latency_ms: float,
    accuracy: float,
    refusals: Mapping[str, str] | None = None,
) -> Choice[Name]:
    """The first board that a candidate serves.

    Args:
        boards: in order of preference.
        candidates: in order of preference.
        planned: latency in ms of each candidate, by board, as known before training; a board is left out where the
            candidate does not fit. Training keeps the structure, so it is confirmed by `measure`, not replaced.
        measure: trains a candidate and says what it is; called at most once for each, and only where needed.
        latency_ms: LC. accuracy: AC.
        refusals: why nothing fits a board.
    """
    known: dict[Name, Measured] = {}

    def measured(name: Name) -> Measured:
        if name not in known:
            known[name] = measure(name)
        return known[name]

    verdicts: list[Verdict[Name]] = []
    for board in boards:
        verdict = _judge(board, candidates, planned, measured, latency_ms, accuracy)
        if verdict.reason == "does not fit" and refusals:
            verdict = Verdict(board, verdict.reason, refusal=refusals.get(board, ""))
        verdicts.append(verdict)
        if verdict.reason == "serves":
            return Choice(verdict, tuple(verdicts))
    return Choice(None, tuple(verdicts))


def _judge(
    board: str,
    candidates: Sequence[Name],
    planned: Mapping[Name, Mapping[str, float]],
    measured: Callable[[Name], Measured],
    latency_ms: float,
    accuracy: float,
) -> Verdict[Name]:
    fitting = [(planned[name][board], name) for name in candidates if board in planned[name]]
    if not fitting:
        return Verdict(board, "does not fit")
    best: Verdict[Name] | None = None
    for latency, name in fitting:
        if latency > latency_ms:
            continue
        found = measured(name)
        real = found.latency_ms.get(board)
        if real is None or real > latency_ms:
            continue
        if found.accuracy >= accuracy:
            return Verdict(board, "serves", name, real, found.accuracy)
        if best is None or best.accuracy is None or found.accuracy > best.accuracy:
            best = Verdict(board, "not accurate enough", name, real, found.accuracy)
    if best is not None:
        return best
    latency, name = min(fitting, key=lambda pair: pair[0])
    return Verdict(board, "too slow", name, latency)
