"""Finds the structure of a matrix from its zeros: which blocks, columns and group shapes store it best.

Every encoding considered takes the fewest possible cycles (`flow.formats.bounds`), or those that a structure took
before weights were lost to zero, so the search is for the fewest bits. It runs over *blockings* (R rows share
column lists) times ways to group the kept columns:

- disjoint groups of V columns with K weights each: dense and block-column (V = K), hierarchical pruning,
  N:M, patterns;
- groups that share one list of columns, which stores any matrix: explicit indices, or codes of K weights at
  a time.

Different blocks may use different shapes, as far as a code page holds them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from flow.formats.blocking import Blocking, Occupancy, blockings
from flow.formats.options import Candidate, Costs, Option, candidates, explicit, layouts, shared, trial
from flow.formats.partition import Flags, Ints, column_lists
from flow.formats.shapes import COLUMNS, MAX_ENTRIES, MAX_SHAPES, GroupShape, bits_for


@dataclass(frozen=True)
class Plan:
    """How to store a matrix: column lists per block, shape and G per row group.

    `lists` [blocks, most M, B] are offsets of which block b uses the first `entries[b]`; `real` is false at
    repetitions.
    """

    shapes: tuple[GroupShape, ...]
    groups_per_block: int
    lists: Ints
    real: Flags
    entries: Ints
    shape_of: Ints
    groups: Ints


def detect(occupancy: Occupancy, weight_bits: int = 8) -> Plan:
    """The plan with the fewest cycles and, among the encodings searched, the fewest bits.

    Where weights were lost to zero, the plan of the structure before (`Occupancy.completed`) is taken if it saves more
    bits of codes, maps and page than the zeros that it stores: codes of K weights instead of explicit indices.
    """
    found = _search(occupancy)
    assert found is not None
    plan, bits = found
    regular = len(plan.shapes) == 1 and plan.shapes[0].stride
    if regular and (plan.shapes[0].width > 1 or plan.groups_per_block > 1):
        return plan
    completed = occupancy.completed()
    if completed is None:
        return plan
    zeros = int((completed.demand - occupancy.demand).sum()) * occupancy.lanes * weight_bits
    found = _search(completed, bits - zeros, disjoint=True)
    return plan if found is None else found[0]


def _search(
    occupancy: Occupancy, limit: float = math.inf, *, disjoint: bool = False
) -> tuple[Plan, float] | None:
    """The plan of fewest bits for the demands, and those of its codes, maps and page; None where it takes `limit`.

    With `disjoint` no groups share columns, so that a matrix without structure has no plan.
    """
    depth, _, banks = occupancy.nonzero.shape
    count = len(occupancy.demand)
    if bool(np.isin(occupancy.demand, (0, depth)).all()):
        identity = np.broadcast_to(np.arange(depth)[:, None], (1, depth, banks))
        plan = Plan(
            shapes=(COLUMNS,),
            groups_per_block=count,
            lists=identity,
            real=np.ones((1, depth, banks), dtype=np.bool_),
            entries=np.array([depth]),
            shape_of=np.zeros(count, dtype=np.int64),
            groups=occupancy.demand,
        )
        return plan, 64.0
    searches = [(blocking, list(candidates(occupancy, blocking))) for blocking in blockings(occupancy)]
    best: tuple[float, Blocking, Mixture] | None = None
    for blocking, found in sorted(searches, key=lambda search: _guess(occupancy, *search)):
        least = limit if best is None else best[0]
        mixture = _store(occupancy, blocking, found, least, disjoint)
        if mixture is not None and mixture.bits < least:
            best = mixture.bits, blocking, mixture
    return None if best is None else (_plan(occupancy, best[1], best[2]), best[0])


@dataclass(frozen=True)
class Mixture:
    """An option for every block: `choice` [blocks] indexes `options`."""

    options: tuple[Option, ...]
    choice: Ints

    @property
    def used(self) -> tuple[Option, ...]:
        """The options that some block chooses."""
        return tuple(option for index, option in enumerate(self.options) if (self.choice == index).any())

    @property
    def shapes(self) -> tuple[GroupShape, ...]:
        """The distinct shapes of the options used."""
        return tuple(dict.fromkeys(shape for option in self.used for shape in option.shapes))

    @property
    def cost(self) -> Costs:
        """Bits of every block."""
        costs = np.stack([option.cost for option in self.options])
        chosen: Costs = np.take_along_axis(costs, self.choice[None], axis=0)[0]
        return chosen

    @property
    def bits(self) -> float:
        """Bits of codes, maps and code page; infinite where the page cannot hold the shapes."""
        entries = sum(shape.entries for shape in self.shapes)
        if len(self.shapes) > MAX_SHAPES or entries > MAX_ENTRIES:
            return math.inf
        return float(self.cost.sum()) + 64 * (len(self.shapes) + entries)

    def extended(self, option: Option) -> Mixture:
        """With `option` for the blocks that it stores in fewer or as many bits."""
        better = option.cost <= self.cost
        return Mixture((*self.options, option), np.where(better, len(self.options), self.choice))


def _guess(occupancy: Occupancy, blocking: Blocking, found: list[Candidate]) -> float:
    """Bits that the blocking may come to, so that promising ones are searched first and bound the others."""
    index_bits = bits_for(int(blocking.counts.max()))
    indices = blocking.demand.sum(axis=1) * occupancy.lanes * index_bits + blocking.least_map_bits
    return float(np.minimum.reduce([indices, *(candidate.guess for candidate in found)]).sum())


def _store(
    occupancy: Occupancy, blocking: Blocking, found: list[Candidate], limit: float, disjoint: bool
) -> Mixture | None:
    """The best mixture of options for this blocking, or None where it cannot undercut `limit` bits."""
    if float(blocking.least_map_bits.sum()) >= limit:
        return None
    single = explicit(occupancy, blocking)
    if disjoint:
        single = replace(single, cost=np.where(blocking.peaks > 0, np.inf, 0.0))
    seeds = [Mixture((single,), np.zeros(len(blocking.kept), dtype=np.int64))]
    several = None if disjoint else shared(occupancy, blocking)
    if several is not None:
        seeds.append(seeds[0].extended(several))
    tried = [trial(occupancy, blocking, candidate) for candidate in found]
    worth = [candidate for candidate in tried if candidate is not None]
    known = np.minimum.reduce([seed.cost for seed in seeds])
    if _promise(known, worth) >= limit:
        return None
    best = min(seeds, key=lambda mixture: mixture.bits)
    options: list[Option] = []
    for candidate in sorted(worth, key=lambda c: _promise(known, [c])):
        if not (candidate.bound <= best.cost).any() or _promise(known, [candidate]) > best.bits:
            continue
        for option in layouts(occupancy, blocking, candidate):
            options.append(option)
            best = _better(best, best.extended(option))
    # The order in which options join matters, since a page holds few shapes: grow from every seed.
    joining = options if several is None else [*options, several]
    for seed in seeds:
        grown = reduce(lambda mixture, option: _better(mixture, mixture.extended(option)), joining, seed)
        best = _better(best, grown)
    return best


def _better(mixture: Mixture, other: Mixture) -> Mixture:
    """The one of fewer bits; where they tie, `other` if it says more about the structure."""
    if mixture.bits != other.bits:
        return min(mixture, other, key=lambda m: m.bits)
    return other if all(shape.stride == 0 for shape in mixture.shapes) else mixture


def _promise(known: Costs, worth: list[Candidate]) -> float:
    """The least bits that these candidates can come to, beside what is known to be possible."""
    return float(np.minimum.reduce([known, *(candidate.bound for candidate in worth)]).sum())


def _plan(occupancy: Occupancy, blocking: Blocking, mixture: Mixture) -> Plan:
    shapes = mixture.shapes
    blocks, depth, banks = blocking.kept.shape
    place = np.full((blocks, depth, banks), -1, dtype=np.int64)
    take, shape_of = np.zeros_like(blocking.demand), np.zeros_like(blocking.demand)
    entries = np.zeros(blocks, dtype=np.int64)
    for index, option in enumerate(mixture.options):
        chosen = (mixture.choice == index) & (blocking.peaks > 0)
        if not chosen.any():
            continue
        place[chosen], take[chosen] = option.place[chosen], option.take[chosen]
        entries[chosen] = option.entries[chosen]
        for shape in option.shapes:
            shape_of[chosen[:, None] & (option.take == shape.take)] = shapes.index(shape)
    lists, real = column_lists(place, int(entries.max()))
    count = len(occupancy.demand)
    groups = np.where(take > 0, blocking.demand // np.maximum(take, 1), 0)
    return Plan(
        shapes, blocking.size, lists, real, entries, shape_of.reshape(-1)[:count], groups.reshape(-1)[:count]
    )
