"""What would have to give where no board meets both constraints: one of them, by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flow.search.choose import Measured


@dataclass(frozen=True)
class Relaxed:
    """If `constraint` ("latency" or "accuracy") gave way, the other kept, `candidate` on `board` would serve."""

    constraint: str
    board: str
    candidate: str
    latency_ms: float
    accuracy: float


def relaxations(
    boards: Sequence[str],
    planned: Mapping[str, Mapping[str, float]],
    measure: Callable[[str], Measured],
    measured: Mapping[str, Measured],
    *,
    latency_ms: float,
    accuracy: float,
) -> tuple[Relaxed, ...]:
    """The least slower latency at which something is as accurate as asked for, and the least lower accuracy that
    something as fast as asked for has; either is left out where nothing does.

    `measured` holds every candidate that meets the latency on any board, as it does after `choose` found no winner;
    `measure` trains others, fastest first, until one is accurate enough.
    """
    found = []
    slower = _slower(boards, planned, measure, accuracy)
    if slower is not None:
        found.append(slower)
    fast = [
        Relaxed("accuracy", board, name, known.latency_ms[board], known.accuracy)
        for board in boards
        for name, known in measured.items()
        if known.latency_ms.get(board, latency_ms + 1) <= latency_ms
    ]
    if fast:
        # The first of equals: boards come in order of preference.
        found.append(max(fast, key=lambda r: r.accuracy))
    return tuple(found)


def _slower(
    boards: Sequence[str],
    planned: Mapping[str, Mapping[str, float]],
    measure: Callable[[str], Measured],
    accuracy: float,
) -> Relaxed | None:
    pairs = sorted(
        (
            (latency[board], boards.index(board), name)
            for name, latency in planned.items()
            for board in latency
        ),
        key=lambda pair: pair[:2],
    )
    for _, index, name in pairs:
        known, board = measure(name), boards[index]
        if known.accuracy >= accuracy and board in known.latency_ms:
            return Relaxed("latency", board, name, known.latency_ms[board], known.accuracy)
    return None
