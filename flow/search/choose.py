"""Which board wins: a pure function of latencies, accuracies, energies and the constraints.

A candidate (a compressed model) serves a board under (LC, AC) if its latency there is at most LC and its accuracy at
least AC, and under constraints on energy and power if it takes at most so much there. The winner is the first board, in
the order given, that any candidate serves, with the first such candidate; or, by least energy, the pair of both that
takes the least of those that serve. Neither the boards nor the candidates depend on the constraints, so whatever serves
under tight ones serves under looser ones: tightening never moves the winner to an earlier board, or to less energy.

Accuracies cost training, so they are asked for only where the answer needs them; the answer is the exhaustive one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Name = TypeVar("Name", bound=str)


@dataclass(frozen=True)
class Draw:
    """What a candidate takes on a board: mJ of a sample, and W at its peak."""

    energy_mj: float
    peak_w: float


@dataclass(frozen=True)
class Limits:
    """The constraints: at most so many ms, mJ and W, and at least this accuracy."""

    latency_ms: float
    accuracy: float
    energy_mj: float = math.inf
    power_w: float = math.inf

    def exceeded(self, latency_ms: float, draw: Draw | None) -> str:
        """Which of the first three is not met, in the words of `Verdict.reason`; empty where all are. What is not
        known meets no limit but an infinite one."""
        if latency_ms > self.latency_ms:
            return "too slow"
        energy, power = (draw.energy_mj, draw.peak_w) if draw else (math.inf, math.inf)
        if energy > self.energy_mj:
            return "too much energy"
        return "too much power" if power > self.power_w else ""


@dataclass(frozen=True)
class Measured:
    """What is known of a candidate after training: accuracy on the validation split, latency in ms and energy by board.

    A board that cannot hold it is left out of `latency_ms`; one whose power is unknown, of `draws`.
    """

    accuracy: float
    latency_ms: Mapping[str, float]
    draws: Mapping[str, Draw] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict(Generic[Name]):
    """Why a board won or not.

    Attributes:
        board: its name.
        reason: "serves", "does not fit", "too slow", "too much energy", "too much power", "not accurate enough", or
            "more energy": by least energy, what it takes is no less than the winner's.
        candidate: the one that serves, or that came nearest; None where nothing fits.
        latency_ms: of that candidate on the board.
        accuracy: of that candidate, where it was asked for.
        refusal: why the board cannot hold the smallest candidate, where none fits.
        draw: of that candidate on the board, where it is known.
    """

    board: str
    reason: str
    candidate: Name | None = None
    latency_ms: float | None = None
    accuracy: float | None = None
    refusal: str = ""
    draw: Draw | None = None


@dataclass(frozen=True)
class Choice(Generic[Name]):
    """The winner, if any, and the verdicts in order: of all boards up to it, or by least energy of all."""

    winner: Verdict[Name] | None
    verdicts: tuple[Verdict[Name], ...]


@dataclass(frozen=True)
class Field(Generic[Name]):
    """Everything that a choice is made of.

    Attributes:
        boards: in order of preference.
        candidates: in order of preference.
        planned: latency in ms of each candidate, by board, as known before training; a board is left out where the
            candidate does not fit. Training keeps the structure, so it is confirmed by `measure`, not replaced.
        draws: energy and power in the same way; left out where a board's power is unknown.
        measure: trains a candidate and says what it is.
    """

    boards: Sequence[str]
    candidates: Sequence[Name]
    planned: Mapping[Name, Mapping[str, float]]
    draws: Mapping[Name, Mapping[str, Draw]]
    measure: Callable[[Name], Measured]

    def draw(self, name: Name, board: str) -> Draw | None:
        """What a candidate takes on a board, as planned."""
        return self.draws.get(name, {}).get(board)

    def fitting(self, board: str) -> list[Name]:
        """Candidates that the board can hold."""
        return [name for name in self.candidates if board in self.planned[name]]

    def exceeded(self, name: Name, board: str, limits: Limits) -> str:
        """`Limits.exceeded` of a candidate on a board, as planned."""
        return limits.exceeded(self.planned[name][board], self.draw(name, board))

    def tried(self, name: Name, board: str, limits: Limits) -> Verdict[Name] | None:
        """A candidate after training: serves, or is not accurate enough; None where it no longer meets the others."""
        found = self.measure(name)
        latency, draw = found.latency_ms.get(board), found.draws.get(board)
        if latency is None or limits.exceeded(latency, draw):
            return None
        reason = "serves" if found.accuracy >= limits.accuracy else "not accurate enough"
        return Verdict(board, reason, name, latency, found.accuracy, draw=draw)

    def short(self, board: str, limits: Limits, refusals: Mapping[str, str]) -> Verdict[Name]:
        """Why no candidate on the board was worth training: the one that comes nearest to the first limit that stops
        all that got so far: latency, then energy, then power."""
        names = self.fitting(board)
        if not names:
            return Verdict(board, "does not fit", refusal=refusals.get(board, ""))
        reasons = {name: self.exceeded(name, board, limits) for name in names}
        for reason in ("too much power", "too much energy", "too slow"):
            among = [name for name in names if reasons[name] == reason]
            if among:
                name = min(among, key=lambda name: self._amount(name, board, reason))
                draw = self.draw(name, board)
                return Verdict(board, reason, name, self.planned[name][board], draw=draw)
        # Training changed what was planned.
        name = min(names, key=lambda name: self.planned[name][board])
        return Verdict(board, "too slow", name, self.planned[name][board], draw=self.draw(name, board))

    def _amount(self, name: Name, board: str, reason: str) -> float:
        draw = self.draw(name, board)
        if reason == "too slow" or draw is None:
            return self.planned[name][board]
        return draw.energy_mj if reason == "too much energy" else draw.peak_w


def choose(
    boards: Sequence[str],
    candidates: Sequence[Name],
    planned: Mapping[Name, Mapping[str, float]],
    measure: Callable[[Name], Measured],
    limits: Limits,
    *,
    draws: Mapping[Name, Mapping[str, Draw]] | None = None,
    refusals: Mapping[str, str] | None = None,
    least_energy: bool = False,
) -> Choice[Name]:
    """The first board that a candidate serves, or the pair that serves with the least energy.

    `Field` says what the arguments are; `measure` is called at most once for each candidate,
    and only where needed; `refusals` are why nothing fits a board. Of equal energies the first board wins, with the
    first candidate.
    """
    known: dict[Name, Measured] = {}

    def measured(name: Name) -> Measured:
        if name not in known:
            known[name] = measure(name)
        return known[name]

    among = Field(boards, candidates, planned, draws or {}, measured)
    if least_energy:
        return _least(among, limits, refusals or {})
    verdicts: list[Verdict[Name]] = []
    for board in boards:
        verdicts.append(_judge(among, board, limits, refusals or {}))
        if verdicts[-1].reason == "serves":
            return Choice(verdicts[-1], tuple(verdicts))
    return Choice(None, tuple(verdicts))


def _judge(among: Field[Name], board: str, limits: Limits, refusals: Mapping[str, str]) -> Verdict[Name]:
    best: Verdict[Name] | None = None
    for name in among.fitting(board):
        if among.exceeded(name, board, limits):
            continue
        found = among.tried(name, board, limits)
        if found is not None and found.reason == "serves":
            return found
        best = _nearer(best, found)
    return best if best is not None else among.short(board, limits, refusals)


def _nearer(best: Verdict[Name] | None, found: Verdict[Name] | None) -> Verdict[Name] | None:
    """The more accurate of two misses, the first of equals."""
    if best is None or found is None:
        return best or found
    return found if (found.accuracy or 0.0) > (best.accuracy or 0.0) else best


def _least(among: Field[Name], limits: Limits, refusals: Mapping[str, str]) -> Choice[Name]:
    pairs = [
        (draw.energy_mj, place, number, board, name)
        for place, board in enumerate(among.boards)
        for number, name in enumerate(among.candidates)
        if board in among.planned[name]
        and (draw := among.draw(name, board)) is not None
        and not among.exceeded(name, board, limits)
    ]
    winner: Verdict[Name] | None = None
    misses: dict[str, Verdict[Name]] = {}
    more: dict[str, Verdict[Name]] = {}
    for _, _, _, board, name in sorted(pairs, key=lambda pair: pair[:3]):
        if winner is not None:
            latency, draw = among.planned[name][board], among.draw(name, board)
            more.setdefault(board, Verdict(board, "more energy", name, latency, draw=draw))
            continue
        found = among.tried(name, board, limits)
        if found is not None and found.reason == "serves":
            winner = found
        elif (nearer := _nearer(misses.get(board), found)) is not None:
            misses[board] = nearer
    decided = {**misses, **more, **({winner.board: winner} if winner else {})}
    verdicts = tuple(decided.get(board) or among.short(board, limits, refusals) for board in among.boards)
    return Choice(winner, verdicts)
