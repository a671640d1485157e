"""What would have to give where no board meets all constraints: one of them, by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from flow.search.choose import Draw, Limits, Measured


@dataclass(frozen=True)
class Relaxed:
    """If `constraint` ("latency", "energy", "power" or "accuracy") gave way, the others kept, `candidate` on `board`
    would serve."""

    constraint: str
    board: str
    candidate: str
    latency_ms: float
    accuracy: float
    draw: Draw | None = None


def relaxations(
    boards: Sequence[str],
    planned: Mapping[str, Mapping[str, float]],
    measure: Callable[[str], Measured],
    measured: Mapping[str, Measured],
    limits: Limits,
    draws: Mapping[str, Mapping[str, Draw]] | None = None,
) -> tuple[Relaxed, ...]:
    """The least excess of each of latency, energy and power at which something is as accurate as asked for, and the
    least lower accuracy that something has which meets the others; each is left out where nothing does.

    `measured` holds every candidate that meets latency, energy and power on any board, as it does after `choose` found
    no winner; `measure` trains others, those that exceed least first, until one is accurate enough.
    """
    draws = draws or {}
    found = [
        relaxed
        for constraint in ("latency", "energy", "power")
        if (relaxed := _given(constraint, boards, planned, measure, limits, draws)) is not None
    ]
    rest = [
        Relaxed("accuracy", board, name, known.latency_ms[board], known.accuracy, known.draws.get(board))
        for board in boards
        for name, known in measured.items()
        if board in known.latency_ms and not limits.exceeded(known.latency_ms[board], known.draws.get(board))
    ]
    if rest:
        # The first of equals: boards come in order of preference.
        found.append(max(rest, key=lambda r: r.accuracy))
    return tuple(found)


def _given(
    constraint: str,
    boards: Sequence[str],
    planned: Mapping[str, Mapping[str, float]],
    measure: Callable[[str], Measured],
    limits: Limits,
    draws: Mapping[str, Mapping[str, Draw]],
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
        for board, latency in latencies.items():
            draw = draws.get(name, {}).get(board)
            if amount(latency, draw) < inf and not loose.exceeded(latency, draw):
                pairs.append((amount(latency, draw), boards.index(board), name))
    for _, index, name in sorted(pairs, key=lambda pair: pair[:2]):
        known, board = measure(name), boards[index]
        if known.accuracy < limits.accuracy or board not in known.latency_ms:
            continue
        latency, draw = known.latency_ms[board], known.draws.get(board)
        if not loose.exceeded(latency, draw):
            return Relaxed(constraint, board, name, latency, known.accuracy, draw)
    return None
