"""Densities of matrices under one global target: uniform, or by measured sensitivity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Curve = Sequence[tuple[float, float]]
"""(density, error) of one matrix, measured."""

CLOSE = 0.001
"""Share of all weights to which an allocation meets its target, where steps are that fine."""


@dataclass(frozen=True)
class Choice:
    """A matrix of `size` weights that can have the `densities` (ascending, the last 1)."""

    name: str
    size: int
    densities: tuple[float, ...]


def uniform(choices: Sequence[Choice], density: float) -> dict[str, float]:
    """One density everywhere, as near as each matrix comes, with an overall density near `density`.

    Matrices of the coarsest steps take the step nearest to what is left to reach the target; finer ones then make up
    for the difference, each class of equal steps as one.
    """
    classes: dict[tuple[float, ...], list[Choice]] = {}
    for choice in choices:
        classes.setdefault(choice.densities, []).append(choice)
    size = sum(choice.size for choice in choices)
    budget = density * size
    found: dict[str, float] = {}
    for steps, members in sorted(classes.items(), key=lambda item: (len(item[0]), item[0])):
        wanted = budget / size
        taken = float(steps[np.abs(np.array(steps) - wanted).argmin()])
        found |= {member.name: taken for member in members}
        held = sum(member.size for member in members)
        budget -= taken * held
        size -= held
    return {choice.name: found[choice.name] for choice in choices}


def by_sensitivity(
    choices: Sequence[Choice], curves: Mapping[str, Curve], density: float
) -> dict[str, float]:
    """Densities of least summed error for an overall density near `density`.

    Errors between measured densities are interpolated (0 at density 1), made convex and decreasing, and every matrix
    starts dense. Then, again and again, the step down of least error per weight removed is taken, which is optimal
    for convex curves, until the next would go below the target. From there single steps, cheapest first among those
    that come within `CLOSE` (or nearest, if none does), close the gap. Ties go to the earlier matrix.
    """
    ladders = {choice.name: _ladder(choice, curves[choice.name]) for choice in choices}
    sizes = {choice.name: choice.size for choice in choices}
    place = dict.fromkeys(ladders, 0)
    total = sum(sizes.values())
    gap = total * (choices[0].densities[-1] - density)

    def removes(name: str) -> float:
        ladder, at = ladders[name], place[name]
        return (ladder[at][0] - ladder[at + 1][0]) * sizes[name]

    while steps := [name for name in place if place[name] + 1 < len(ladders[name])]:
        name = min(steps, key=lambda n: ladders[n][place[n] + 1][2])
        if removes(name) > gap:
            break
        gap -= removes(name)
        place[name] += 1
    while steps := [n for n in steps if place[n] + 1 < len(ladders[n]) and abs(gap - removes(n)) < abs(gap)]:
        nearest = min(abs(gap - removes(n)) for n in steps)
        near = [n for n in steps if abs(gap - removes(n)) <= max(nearest, CLOSE * total)]
        name = min(near, key=lambda n: ladders[n][place[n] + 1][2])
        gap -= removes(name)
        place[name] += 1
    return {name: ladders[name][place[name]][0] for name in place}


def _ladder(choice: Choice, curve: Curve) -> list[tuple[float, float, float]]:
    """(density, error, error per weight removed by the step to it), from dense to sparse."""
    points = dict(curve) | {1.0: 0.0}
    known = sorted(points)
    errors = np.interp(choice.densities, known, [points[d] for d in known])
    low, high = known[0], known[1]
    slope = (points[low] - points[high]) / (high - low)
    below = np.array(choice.densities) < low
    errors = np.where(below, points[low] + slope * (low - np.array(choice.densities)), errors)
    hull = _hull([(d, float(e)) for d, e in zip(choice.densities, errors, strict=True)])
    hull.reverse()
    ladder = [(hull[0][0], hull[0][1], 0.0)]
    for (d1, e1), (d0, e0) in pairwise(hull):
        ladder.append((d0, e0, (e0 - e1) / ((d1 - d0) * choice.size)))
    return ladder


def _hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The lower convex hull of points of ascending density: all points, lowered onto it."""
    corners: list[tuple[float, float]] = []
    for d, e in points:
        while len(corners) > 1:
            (d0, e0), (d1, e1) = corners[-2:]
            if (e1 - e0) * (d - d0) < (e - e0) * (d1 - d0):
                break
            corners.pop()
        corners.append((d, e))
    lowered = np.interp([d for d, _ in points], [d for d, _ in corners], [e for _, e in corners])
    return [(d, float(e)) for (d, _), e in zip(points, lowered, strict=True)]
