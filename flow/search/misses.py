"""What would have to give where no board meets all constraints: one of them, by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from flow.boards import NOMINAL
from flow.search.choose import Draw, Limits, Measured, Place


@dataclass(frozen=True)
class Relaxed:
    """If `constraint` ("latency", "energy", "power" or "accuracy") gave way, the others kept, `candidate` on `board`
    at `level` would serve."""

    constraint: str
    board: str
    candidate: str
    latency_ms: float
    accuracy: float
    draw: Draw | None = None
    level: str = NOMINAL

    @property
    def place(self) -> Place:
        """The board at the level."""
        return Place(self.board, self.level)


def relaxations(
    places: Sequence[Place],
    planned: Mapping[str, Mapping[Place, float]],
    measure: Callable[[str], Measured],
    measured: Mapping[str, Measured],
    limits: Limits,
    draws: Mapping[str, Mapping[Place, Draw]] | None = None,
) -> tuple[Relaxed, ...]:
    """The least excess of each of latency, energy and power at which something is as accurate as asked for, and the
    least lower accuracy that something has which meets the others; each is left out where nothing does.

    `measured` holds every candidate that meets latency, energy and power at any place, as it does after `choose` found
    no winner; `measure` trains others, those that exceed least first, until one is accurate enough.
    """
    draws = draws or {}
    found = [
        relaxed
        for constraint in ("latency", "energy", "power")
        if (relaxed := _given(constraint, places, planned, measure, limits, draws)) is not None
    ]
    rest = [
        _relaxed("accuracy", place, name, known)
        for place in places
        for name, known in measured.items()
        if place in known.latency_ms and not limits.exceeded(known.latency_ms[place], known.draws.get(place))
    ]
    if rest:
        # The first of equals: places come in order of preference.
        found.append(max(rest, key=lambda r: r.accuracy))
    return tuple(found)


def _relaxed(constraint: str, place: Place, name: str, known: Measured) -> Relaxed:
    latency, draw = known.latency_ms[place], known.draws.get(place)
    return Relaxed(constraint, place.board, name, latency, known.accuracy, draw, place.level)


def _given(
    constraint: str,
    places: Sequence[Place],
    planned: Mapping[str, Mapping[Place, float]],
    measure: Callable[[str], Measured],
    limits: Limits,
    draws: Mapping[str, Mapping[Place, Draw]],
) -> Relaxed | None:
    key = {"latency": "latency_ms", "energy": "energy_mj", "power": "power_w"}[constraint]
    if getattr(limits, key) == inf:
        return None
    loose = replace(limits, **{key: inf})

    def amount(latency: float, draw: Draw | None) -> float:
        if constraint == "latency":
            return latency
        if draw is None:
            return inf
        return draw.energy_mj if constraint == "energy" else draw.peak_w

    pairs = []
    for name, latencies in planned.items():
        for order, place in enumerate(places):
            if place not in latencies:
                continue
            latency, draw = latencies[place], draws.get(name, {}).get(place)
            if amount(latency, draw) < inf and not loose.exceeded(latency, draw):
                pairs.append((amount(latency, draw), order, name))
    for _, order, name in sorted(pairs, key=lambda pair: pair[:2]):
        known, place = measure(name), places[order]
        if known.accuracy < limits.accuracy or place not in known.latency_ms:
            continue
        if not loose.exceeded(known.latency_ms[place], known.draws.get(place)):
            return _relaxed(constraint, place, name, known)
    return None
