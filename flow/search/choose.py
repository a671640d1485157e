"""Which board wins, at which level: a pure function of latencies, accuracies, energies and the constraints.

A place is a board at one of its levels of clock and voltage. A candidate (a compressed model) serves a place under (LC,
AC) if its latency there is at most LC and its accuracy at least AC, and under constraints on energy and power if it
takes at most so much there. The winner is the first place, in the order given, that any candidate serves, with the
first such candidate; or, by least energy, the pair of both that takes the least of those that serve. Neither the places
nor the candidates depend on the constraints, so whatever serves under tight ones serves under looser ones: tightening
never moves the winner to an earlier place, so to no earlier board, or to less energy.

A board's first place is its nominal level, where no candidate is slower than at its others. So with latency and
accuracy alone the winner is nominal, and the one that boards at their nominal level alone would give.

Accuracies cost training, so they are asked for only where the answer needs them; the answer is the exhaustive one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Generic, NamedTuple, TypeVar

from flow.boards import NOMINAL

Name = TypeVar("Name", bound=str)


def at_level(name: str, level: str) -> str:
    """A name, with the level where that is not the nominal one."""
    return name if level == NOMINAL else f"{name} at level {level}"


class Place(NamedTuple):
    """A board at a level of clock and voltage, both by name."""

    board: str
    level: str = NOMINAL

    def __str__(self) -> str:
        return at_level(self.board, self.level)


@dataclass(frozen=True)
class Draw:
    """What a candidate takes at a place: mJ of a sample, and W at its peak."""

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
    """What is known of a candidate after training: accuracy on the validation split, latency in ms and energy by place.

    The places of a board that cannot hold it are left out of `latency_ms`; of one whose power is unknown, of `draws`.
    """

    accuracy: float
    latency_ms: Mapping[Place, float]
    draws: Mapping[Place, Draw] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict(Generic[Name]):
    """Why a board won or not.

    Attributes:
        board: its name.
        reason: "serves", "does not fit", "too slow", "too much energy", "too much power", "not accurate enough", or
            "more energy": by least energy, what it takes is no less than the winner's.
        candidate: the one that serves, or that came nearest; None where nothing fits.
        latency_ms: of that candidate on the board at `level`.
        accuracy: of that candidate, where it was asked for.
        refusal: why the board cannot hold the smallest candidate, where none fits.
        draw: of that candidate there, where it is known.
        level: at which the board serves, or came nearest.
    """

    board: str
    reason: str
    candidate: Name | None = None
    latency_ms: float | None = None
    accuracy: float | None = None
    refusal: str = ""
    draw: Draw | None = None
    level: str = NOMINAL

    @property
    def place(self) -> Place:
        """The board at the level."""
        return Place(self.board, self.level)


@dataclass(frozen=True)
class Choice(Generic[Name]):
    """The winner, if any, and the verdicts in order: of all boards up to it, or by least energy of all."""

    winner: Verdict[Name] | None
    verdicts: tuple[Verdict[Name], ...]


@dataclass(frozen=True)
class Field(Generic[Name]):
    """Everything that a choice is made of.

    Attributes:
        places: in order of preference, those of a board one behind the other.
        candidates: in order of preference.
        planned: latency in ms of each candidate, by place, as known before training; a place is left out where the
            candidate does not fit. Training keeps the structure, so it is confirmed by `measure`, not replaced.
        draws: energy and power in the same way; left out where a board's power is unknown.
        measure: trains a candidate and says what it is.
    """

    places: Sequence[Place]
    candidates: Sequence[Name]
    planned: Mapping[Name, Mapping[Place, float]]
    draws: Mapping[Name, Mapping[Place, Draw]]
    measure: Callable[[Name], Measured]

    def boards(self) -> list[tuple[str, list[Place]]]:
        """Boards in order, each with its places."""
        return [
            (board, list(places)) for board, places in groupby(self.places, key=lambda place: place.board)
        ]

    def draw(self, name: Name, place: Place) -> Draw | None:
        """What a candidate takes at a place, as planned."""
        return self.draws.get(name, {}).get(place)

    def fitting(self, place: Place) -> list[Name]:
        """Candidates that the board can hold."""
        return [name for name in self.candidates if place in self.planned[name]]

    def exceeded(self, name: Name, place: Place, limits: Limits) -> str:
        """`Limits.exceeded` of a candidate at a place, as planned."""
        return limits.exceeded(self.planned[name][place], self.draw(name, place))

    def tried(self, name: Name, place: Place, limits: Limits) -> Verdict[Name] | None:
        """A candidate after training: serves, or is not accurate enough; None where it no longer meets the others."""
        found = self.measure(name)
        latency, draw = found.latency_ms.get(place), found.draws.get(place)
        if latency is None or limits.exceeded(latency, draw):
            return None
        reason = "serves" if found.accuracy >= limits.accuracy else "not accurate enough"
        return Verdict(place.board, reason, name, latency, found.accuracy, draw=draw, level=place.level)

    def short(
        self, board: str, places: Sequence[Place], limits: Limits, refusals: Mapping[str, str]
    ) -> Verdict[Name]:
        """Why no candidate on the board was worth training: the one that comes nearest, at whichever level, to the
        first limit that stops all that got so far: latency, then energy, then power."""
        pairs = [(name, place) for place in places for name in self.fitting(place)]
        if not pairs:
            return Verdict(board, "does not fit", refusal=refusals.get(board, ""))
        reasons = {pair: self.exceeded(*pair, limits) for pair in pairs}
        for reason in ("too much power", "too much energy", "too slow"):
            among = [pair for pair in pairs if reasons[pair] == reason]
            if among:
                return self._miss(reason, *min(among, key=lambda p: self._amount(p[0], p[1], reason)))
        # Training changed what was planned.
        return self._miss("too slow", *min(pairs, key=lambda p: self._amount(p[0], p[1], "too slow")))

    def _miss(self, reason: str, name: Name, place: Place) -> Verdict[Name]:
        latency, draw = self.planned[name][place], self.draw(name, place)
        return Verdict(place.board, reason, name, latency, draw=draw, level=place.level)

    def _amount(self, name: Name, place: Place, reason: str) -> float:
        draw = self.draw(name, place)
        if reason == "too slow" or draw is None:
            return self.planned[name][place]
        return draw.energy_mj if reason == "too much energy" else draw.peak_w


def choose(
    places: Sequence[Place],
    candidates: Sequence[Name],
    planned: Mapping[Name, Mapping[Place, float]],
    measure: Callable[[Name], Measured],
    limits: Limits,
    *,
    draws: Mapping[Name, Mapping[Place, Draw]] | None = None,
    refusals: Mapping[str, str] | None = None,
    least_energy: bool = False,
) -> Choice[Name]:
    """The first place that a candidate serves, or the pair that serves with the least energy.

    `Field` says what the arguments are; `measure` is called at most once for each candidate,
    and only where needed; `refusals` are why nothing fits a board. Of equal energies the first place wins, with the
    first candidate.
    """
    known: dict[Name, Measured] = {}

    def measured(name: Name) -> Measured:
        if name not in known:
            known[name] = measure(name)
        return known[name]

    among = Field(places, candidates, planned, draws or {}, measured)
    if least_energy:
        return _least(among, limits, refusals or {})
    verdicts: list[Verdict[Name]] = []
    for board, levels in among.boards():
        verdicts.append(_judge(among, board, levels, limits, refusals or {}))
        if verdicts[-1].reason == "serves":
            return Choice(verdicts[-1], tuple(verdicts))
    return Choice(None, tuple(verdicts))


def _judge(
    among: Field[Name], board: str, places: Sequence[Place], limits: Limits, refusals: Mapping[str, str]
) -> Verdict[Name]:
    best: Verdict[Name] | None = None
    for place in places:
        for name in among.fitting(place):
            if among.exceeded(name, place, limits):
                continue
            found = among.tried(name, place, limits)
            if found is not None and found.reason == "serves":
                return found
            best = _nearer(best, found)
    return best if best is not None else among.short(board, places, limits, refusals)


def _nearer(best: Verdict[Name] | None, found: Verdict[Name] | None) -> Verdict[Name] | None:
    """The more accurate of two misses, the first of equals."""
    if best is None or found is None:
        return best or found
    return found if (found.accuracy or 0.0) > (best.accuracy or 0.0) else best


def _least(among: Field[Name], limits: Limits, refusals: Mapping[str, str]) -> Choice[Name]:
    pairs = [
        (draw.energy_mj, order, number, place, name)
        for order, place in enumerate(among.places)
        for number, name in enumerate(among.candidates)
        if place in among.planned[name]
        and (draw := among.draw(name, place)) is not None
        and not among.exceeded(name, place, limits)
    ]
    winner: Verdict[Name] | None = None
    misses: dict[str, Verdict[Name]] = {}
    more: dict[str, Verdict[Name]] = {}
    for _, _, _, place, name in sorted(pairs, key=lambda pair: pair[:3]):
        board, level = place
        if winner is not None:
            latency, draw = among.planned[name][place], among.draw(name, place)
            more.setdefault(board, Verdict(board, "more energy", name, latency, draw=draw, level=level))
            continue
        found = among.tried(name, place, limits)
        if found is not None and found.reason == "serves":
            winner = found
        elif (nearer := _nearer(misses.get(board), found)) is not None:
            misses[board] = nearer
    decided = {**misses, **more, **({winner.board: winner} if winner else {})}
    verdicts = tuple(
        decided.get(board) or among.short(board, places, limits, refusals) for board, places in among.boards()
    )
    return Choice(winner, verdicts)
