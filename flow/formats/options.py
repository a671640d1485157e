"""Ways to group the kept columns of a blocking, with their exact cost in bits and bounds on it.

The cycles t of a row group are known, so K divides t and G = t/K, and M kept columns need groups of V >= M/G
columns. Bounds that follow from this, and trials on a few blocks and banks, spare most candidates from being
laid out in full.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from flow.formats.blocking import Blocking, Occupancy
from flow.formats.encoded import offset_bits
from flow.formats.partition import Flags, Ints, Mask, occupancy_masks, partition, positions, slots
from flow.formats.shapes import (
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_MEMBERS,
    MAX_SHAPES,
    GroupShape,
    all_subsets,
    bits_for,
    code_rate,
    joins,
    pattern_table,
)

Costs = npt.NDArray[np.float64]

_SAMPLE_BLOCKS = 4
_SAMPLE_BANKS = 8
_SAMPLE_ROWS = 64
_WIDTH_TRIALS = 4


@dataclass(frozen=True)
class Option:
    """A way to store the blocks of a blocking.

    `take` [blocks, size] is K per row group, `cost` [blocks] the bits of codes and maps (infinite where the
    option does not reach the bound on cycles), `place` [blocks, D, B] the place of each column in a list of
    `entries` [blocks], -1 where it is not listed.
    """

    shapes: tuple[GroupShape, ...]
    take: Ints
    cost: Costs
    place: Ints
    entries: Ints


@dataclass(frozen=True)
class Candidate:
    """Disjoint groups with `take` [blocks, size] weights each, for the `eligible` blocks.

    `widths` [blocks] is the least V that could do, `bound` [blocks] the least bits and `guess` the bits with a
    table of all subsets (both infinite where not eligible), `widest` the greatest V that the format allows.
    `patterned`: a table of the subsets that occur may need fewer code bits than one of all.
    """

    take: Ints
    groups: Ints
    eligible: Flags
    widths: Ints
    bound: Costs
    guess: Costs
    widest: int
    patterned: bool = True

    @property
    def picks(self) -> tuple[int, ...]:
        """The distinct K of the eligible blocks."""
        return tuple(int(k) for k in np.unique(self.take[self.eligible]) if k)


def candidates(occupancy: Occupancy, blocking: Blocking) -> Iterator[Candidate]:
    """Every K that divides the demand of a block, then every G where the row groups of a block differ in
    demand."""
    demands = [int(t) for t in np.unique(blocking.demand) if t]
    for take in range(1, MAX_MEMBERS):
        if any(t % take == 0 for t in demands):
            fits = (blocking.demand % take == 0).all(axis=1)
            yield _candidate(occupancy, blocking, np.where(blocking.demand > 0, take, 0), fits)
    positive = np.where(blocking.demand > 0, blocking.demand, blocking.peaks[:, None])
    uneven = positive.min(axis=1) < blocking.peaks
    for groups in range(2, max(demands, default=0) // 2 + 1):
        fits = uneven & (blocking.demand % groups == 0).all(axis=1)
        candidate = _candidate(occupancy, blocking, blocking.demand // groups, fits)
        if 1 < len(candidate.picks) < MAX_SHAPES and max(candidate.picks) < MAX_MEMBERS:
            yield candidate


def _candidate(occupancy: Occupancy, blocking: Blocking, take: Ints, fits: Flags) -> Candidate:
    groups = np.where(take > 0, blocking.demand // np.maximum(take, 1), 0)
    most = groups.max(axis=1)
    widths = -(-blocking.counts // np.maximum(most, 1))
    picks = take.max(axis=1)
    eligible = fits & (most > 0) & ((picks <= 1) | ((widths > picks) & (widths <= MAX_MEMBERS)))
    full = np.array(
        [code_rate(int(w), math.comb(int(w), int(k))) for w, k in zip(widths, picks, strict=True)]
    )
    codes = groups.sum(axis=1) * occupancy.lanes
    bound, guess = (
        np.where(eligible, codes * code_bits + blocking.least_map_bits, np.inf)
        for code_bits in (np.where(picks > 1, 0, full), full)
    )
    widest = blocking.kept.shape[1] if int(picks.max()) <= 1 else MAX_MEMBERS
    return Candidate(take, groups, eligible, widths, bound, guess, widest)


@dataclass(frozen=True)
class _Sample:
    """Part of the blocks, rows and banks: what fails on it fails on the whole.

    `nonzero` [D, blocks, rows, banks], `kept` [blocks, D, banks], `limits` [blocks, rows] is K, `groups` [blocks] is G.
    """

    nonzero: Mask
    kept: Flags
    limits: Ints
    groups: Ints

    @classmethod
    def draw(cls, occupancy: Occupancy, blocking: Blocking, candidate: Candidate) -> _Sample:
        """From the candidate's eligible blocks."""
        eligible = np.flatnonzero(candidate.eligible)
        blocks = eligible[_spread(len(eligible), _SAMPLE_BLOCKS)]
        banks = _spread(blocking.kept.shape[2], _SAMPLE_BANKS)
        size = blocking.size * occupancy.rows_per_group
        rows = blocks[:, None] * size + np.arange(min(size, _SAMPLE_ROWS))
        rows = rows.clip(max=occupancy.nonzero.shape[1] - 1)
        limits = candidate.take.reshape(-1)[rows // occupancy.rows_per_group]
        return cls(
            occupancy.nonzero[:, rows[:, :, None], banks],
            blocking.kept[blocks][:, :, banks],
            np.maximum(limits, 1),
            candidate.groups[blocks].max(axis=1),
        )

    def fit(self, width: int) -> tuple[Mask, Ints] | None:
        """Non-zeros and groups of the blocks that can be grouped with this V, or None where none can."""
        groups = partition(self.nonzero, self.kept, self.limits, width)
        used = np.bitwise_or.reduce(self.nonzero, axis=2).transpose(1, 0, 2)
        fits = np.where(used, groups, -1).max(axis=(1, 2)) < self.groups
        return (self.nonzero[:, fits], groups[fits]) if fits.any() else None


def trial(occupancy: Occupancy, blocking: Blocking, candidate: Candidate) -> Candidate | None:
    """The candidate with the widths and bound that a sample demands; None where no sampled block can be grouped."""
    if not candidate.eligible.any():
        return None
    sample = _Sample.draw(occupancy, blocking, candidate)
    width = _common(candidate.widths[candidate.eligible])
    if (fitted := sample.fit(width)) is None:
        low, width = width, candidate.widest
        if low >= width or (fitted := sample.fit(width)) is None:
            return None
        while width - low > 1:
            middle = (low + width) // 2
            attempt = sample.fit(middle)
            low, width, fitted = (middle, width, fitted) if attempt is None else (low, middle, attempt)
        candidate = replace(candidate, widths=np.maximum(candidate.widths, width))
    return candidate if len(candidate.picks) > 1 else _sharpen(occupancy, blocking, candidate, width, *fitted)


def _sharpen(
    occupancy: Occupancy, blocking: Blocking, candidate: Candidate, width: int, nonzero: Mask, groups: Ints
) -> Candidate:
    """Raises the bound: a table needs an entry for every subset of exactly K columns that occurs."""
    take = candidate.picks[0]
    if take > 1:
        place = np.where(groups < 0, -1, groups * width + positions(groups))
        masks = np.unique(occupancy_masks(nonzero, place, width, int(groups.max()) + 1))
        entries = max(1, int((np.bitwise_count(masks) == take).sum()))
        full = math.comb(width, take)
        candidate = replace(candidate, patterned=full > MAX_ENTRIES or bits_for(entries) < bits_for(full))
        least = code_rate(width, entries)
    else:
        width = int(candidate.widths[candidate.eligible].min())
        least = code_rate(width, width)
    bound = candidate.groups.sum(axis=1) * occupancy.lanes * least + blocking.least_map_bits
    return replace(candidate, bound=np.where(candidate.eligible, np.maximum(bound, candidate.bound), np.inf))


def _spread(count: int, most: int) -> Ints:
    """At most `most` indices below `count`, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _common(values: Ints) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()])


def layouts(occupancy: Occupancy, blocking: Blocking, candidate: Candidate) -> Iterator[Option]:
    """The candidate laid out with the widths V worth trying: the least that each block could do with, then wider ones.

    A wider V is tried only while blocks fail that would fit into the widest.
    """
    widths, counts = np.unique(candidate.widths[candidate.eligible], return_counts=True)
    common = widths[np.argsort(-counts, kind="stable")[:_WIDTH_TRIALS]]
    tried = sorted({int(width) for width in (*common, widths[-1])})
    fitting = 0
    for width in tried:
        option = lay_out(occupancy, blocking, candidate, width)
        fitting = int(np.isfinite(option.cost).sum())
        yield from (option, *joined(occupancy, blocking, option))
    width, single = tried[-1], candidate.picks == (1,)
    for _ in range(_WIDTH_TRIALS):
        width = 1 << width.bit_length() if single else width + 1
        if fitting == int(candidate.eligible.sum()) or width > candidate.widest:
            return
        option = lay_out(occupancy, blocking, candidate, width)
        fitting = int(np.isfinite(option.cost).sum())
        yield from (option, *joined(occupancy, blocking, option))


def joined(occupancy: Occupancy, blocking: Blocking, option: Option) -> Iterator[Option]:
    """The option with one code for several groups, for the blocks whose numbers of groups allow it.

    The columns stay where they are, so that this holds where weights or columns were lost to zero too.
    """
    if len(option.shapes) != 1 or not np.isfinite(option.cost).any():
        return
    (shape,) = option.shapes
    groups = blocking.demand // np.maximum(option.take, 1)
    for times in joins(shape.width, shape.codes):
        wide = shape.joined(times)
        saved = groups.sum(axis=1) * (shape.code_bits - wide.code_bits / times) * occupancy.lanes
        fits = (groups % times == 0).all(axis=1)
        cost = np.where(fits, option.cost - saved, np.inf)
        yield Option((wide,), option.take * times, cost, option.place, option.entries)


def lay_out(occupancy: Occupancy, blocking: Blocking, candidate: Candidate, width: int) -> Option:
    """Groups of `width` columns for every eligible block that reaches the bound with them."""
    place = np.full(blocking.kept.shape, -1, dtype=np.int64)
    entries = candidate.groups.max(axis=1) * width
    cost = np.full(len(entries), np.inf)
    blocks = np.flatnonzero(candidate.eligible & (candidate.widths <= width) & (entries <= MAX_DEPTH))
    nonzero = blocking.rows(occupancy, blocks)
    limits = np.repeat(candidate.take[blocks], occupancy.rows_per_group, axis=1)
    groups = partition(nonzero, blocking.kept[blocks], limits, width)
    fits = _reaches(occupancy, nonzero, groups, candidate.groups[blocks])
    blocks, nonzero, groups = blocks[fits], nonzero[:, fits], groups[fits]
    count = candidate.groups[blocks].max(axis=1)
    groups = np.where(groups < count[:, None, None], groups, -1)
    placed = slots(groups, width, count)
    shapes = _tables(occupancy, candidate, blocks, nonzero, placed, width) if len(blocks) else None
    if shapes is not None:
        place[blocks] = placed
        code_bits = np.zeros(MAX_MEMBERS + 1)
        for shape in shapes:
            code_bits[shape.take] = shape.code_bits
        codes = (candidate.groups[blocks] * code_bits[candidate.take[blocks]]).sum(axis=1)
        cost[blocks] = codes * occupancy.lanes + _map_bits(placed, entries[blocks])
    return Option(shapes or (), candidate.take, cost, place, entries)


def _reaches(occupancy: Occupancy, nonzero: Mask, groups: Ints, allowed: Ints) -> Flags:
    """Which blocks have every row group's non-zeros within its first G groups; `allowed` [blocks, size]."""
    depth, blocks, rows, banks = nonzero.shape
    height = occupancy.rows_per_group
    by_group = nonzero.reshape(depth, blocks, rows // height, height, banks)
    used = np.bitwise_or.reduce(by_group, axis=3)
    last = np.where(used, groups.transpose(1, 0, 2)[:, :, None], -1).max(axis=(0, 3))
    fits: Flags = (last < allowed).all(axis=1)
    return fits


def _tables(
    occupancy: Occupancy, candidate: Candidate, blocks: Ints, nonzero: Mask, place: Ints, width: int
) -> tuple[GroupShape, ...] | None:
    """A shape for each K, or None where its subsets are too many for a table."""
    take = candidate.take[blocks]
    picks = [int(k) for k in np.unique(take) if k]
    if picks == [1]:
        return (GroupShape(width, 1, width),)
    masks: npt.NDArray[np.uint16] | None = None
    found = []
    for pick in picks:
        if pick == 1:
            found.append(GroupShape(width, 1, width))
            continue
        table = None
        if not candidate.patterned and math.comb(width, pick) <= MAX_ENTRIES:
            table = all_subsets(width, pick)
        else:
            if masks is None:
                masks = occupancy_masks(nonzero, place, width, int(candidate.groups[blocks].max()))
                masks = masks.reshape(*masks.shape[:3], -1, occupancy.rows_per_group).transpose(0, 3, 1, 2, 4)
            table = pattern_table(width, pick, np.unique(masks[take == pick]))
        if table is None:
            return None
        found.append(GroupShape(width, pick, width, table))
    return tuple(found)


def _map_bits(place: Ints, entries: Ints) -> Ints:
    """Bits of every block's column map, as `ColumnMap.bits` finds them: `place` [blocks, D, B], `entries`
    [blocks]."""
    _, depth, banks = place.shape
    listed = (place >= 0).sum(axis=1)
    ascending = (place.max(axis=1) == listed - 1).all(axis=1)
    identity = (entries == depth) & (place == np.arange(depth)[:, None]).all(axis=(1, 2))
    each = entries * offset_bits(depth)
    each = np.where(ascending, np.minimum(depth, each), each)
    return np.where(identity, 0, banks * each)


def explicit(occupancy: Occupancy, blocking: Blocking) -> Option:
    """Every weight with its own index into the block's columns: reaches the bound on any matrix."""
    place = _ranks(blocking)
    width = 1 << bits_for(int(blocking.counts.max()))
    shape = GroupShape(width, 1, 0)
    cost = blocking.demand.sum(axis=1) * occupancy.lanes * shape.code_bits + _shared_map_bits(blocking, place)
    take = (blocking.demand > 0).astype(np.int64)
    return Option((shape,), take, cost.astype(np.float64), place, blocking.counts)


def shared(occupancy: Occupancy, blocking: Blocking) -> Option | None:
    """Groups that all see the same V <= 16 columns, codes of several weights at a time; None where that is no gain.

    Reaches the bound on any matrix, like `explicit`, at ceil(log2 binom(V, K))/K bits of code per weight.
    """
    width = int(blocking.counts.max())
    if not 2 <= width <= MAX_MEMBERS:
        return None
    demands, counts = np.unique(blocking.demand[blocking.demand > 0], return_counts=True)
    picks = _best_picks(width, demands, counts)
    if picks is None:
        return None
    per_weight = {k: _shared_bits(width, k) / k for k in picks}
    choice = np.zeros(int(blocking.demand.max()) + 1, dtype=np.int64)
    price = np.zeros(len(choice))
    for t in (int(t) for t in demands):
        choice[t] = min((k for k in picks if t % k == 0), key=lambda k: per_weight[k])
        price[t] = t * per_weight[int(choice[t])]
    shapes = tuple(
        GroupShape(width, k, 0, all_subsets(width, k)) if k > 1 else GroupShape(1 << bits_for(width), 1, 0)
        for k in picks
    )
    place = _ranks(blocking)
    entries = np.where(blocking.peaks > 0, width, 0)
    cost = price[blocking.demand].sum(axis=1) * occupancy.lanes + _map_bits(place, entries)
    return Option(shapes, choice[blocking.demand], cost, place, entries)


def _shared_map_bits(blocking: Blocking, place: Ints) -> Ints:
    return np.where(blocking.peaks > 0, _map_bits(place, blocking.counts), 0)


def _ranks(blocking: Blocking) -> Ints:
    return np.where(blocking.kept, np.cumsum(blocking.kept, axis=1) - 1, -1)


def _shared_bits(width: int, take: int) -> int:
    return bits_for(math.comb(width, take))


def _best_picks(width: int, demands: Ints, counts: Ints) -> tuple[int, ...] | None:
    """The at most 4 K that store these demands with the fewest bits; None where K = 1 alone does as well."""
    single = bits_for(width)
    useful = [
        k
        for k in range(2, width + 1)
        if math.comb(width, k) <= MAX_ENTRIES
        and _shared_bits(width, k) < k * single
        and (demands % k == 0).any()
    ]
    best, best_bits = None, float(single * (demands * counts).sum())
    for size in range(1, MAX_SHAPES + 1):
        for picks in combinations((1, *useful), size):
            if sum(math.comb(width, k) for k in picks if k > 1) > MAX_ENTRIES:
                continue
            bits = [np.where(demands % k == 0, demands / k * _shared_bits(width, k), np.inf) for k in picks]
            total = float((np.min(bits, axis=0) * counts).sum())
            if total < best_bits:
                best, best_bits = picks, total
    return best
