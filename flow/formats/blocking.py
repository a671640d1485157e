"""Where the non-zeros are, and the ways to cut the rows into blocks that share column lists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from flow.formats.encoded import offset_bits
from flow.formats.partition import Flags, Ints, Mask

SLACK = 7 / 8
"""Demands above this share of a greater one may be what holes left of it."""


@dataclass(frozen=True)
class Occupancy:
    """`nonzero` uint8 [D, N', B] and `demand` [N'/P], the cycles that each row group takes.

    The demand is the max over the rows and banks of a row group of their non-zeros, or more (`completed`); every
    encoding takes exactly this.
    """

    nonzero: Mask
    demand: Ints
    rows_per_group: int

    @classmethod
    def of(cls, nonzero: Mask, rows_per_group: int) -> Occupancy:
        """Counts the demand."""
        depth, rows, banks = nonzero.shape
        counts = nonzero.sum(axis=0, dtype=np.uint8 if depth < 256 else np.uint16)
        demand = counts.reshape(rows // rows_per_group, rows_per_group * banks).max(axis=1)
        return cls(nonzero, demand.astype(np.int64), rows_per_group)

    def completed(self) -> Occupancy | None:
        """With the demand that row groups had before weights were lost to zero; None where it is what it is.

        A row group all of whose rows lost a weight of every bank needs fewer cycles than its neighbours, and groups of
        K weights no longer fit. Demands within an eighth below the greatest are raised to it, then those of the rest.
        """
        raised = self.demand.copy()
        left = raised > 0
        while left.any():
            level = int(raised[left].max())
            near = left & (raised >= SLACK * level)
            raised[near] = level
            left &= ~near
        if np.array_equal(raised, self.demand):
            return None
        return Occupancy(self.nonzero, raised, self.rows_per_group)

    @property
    def lanes(self) -> int:
        """P*B, the codes of one group of a row group."""
        return self.rows_per_group * int(self.nonzero.shape[2])


@dataclass(frozen=True)
class Blocking:
    """R = `size`*P consecutive rows share column lists; the last block may be shorter.

    `kept` [blocks, D, B] says which columns hold a non-zero; `demand` [blocks, size] is 0 beyond the last
    row group. With `whole` all columns count as kept, so that the lists are the identity, which costs
    nothing.
    """

    size: int
    kept: Flags
    demand: Ints
    whole: bool = False

    @cached_property
    def counts(self) -> Ints:
        """M of every block: the most columns that one of its banks keeps."""
        counts: Ints = self.kept.sum(axis=1, dtype=np.int64).max(axis=1)
        return counts

    @cached_property
    def peaks(self) -> Ints:
        """The greatest demand of every block."""
        peaks: Ints = self.demand.max(axis=1)
        return peaks

    @cached_property
    def least_map_bits(self) -> Ints:
        """A lower bound on the bits of every block's column map."""
        _, depth, banks = self.kept.shape
        each = np.minimum(depth, self.counts * offset_bits(depth))
        return np.where(self.counts == depth, 0, banks * each)

    def rows(self, occupancy: Occupancy, blocks: Ints) -> Mask:
        """Non-zeros of the chosen blocks, [D, blocks, R, B], zeros beyond the last row."""
        depth, total, banks = occupancy.nonzero.shape
        size = self.size * occupancy.rows_per_group
        nonzero = occupancy.nonzero
        if total % size:
            nonzero = np.pad(nonzero, ((0, 0), (0, -total % size), (0, 0)))
        blocked = nonzero.reshape(depth, -1, size, banks)
        return blocked if len(blocks) == blocked.shape[1] else blocked[:, blocks]


def blockings(occupancy: Occupancy) -> list[Blocking]:
    """R = P*2^k and R = N', each with its kept columns, and with the identity for lists.

    A blocking is left out where the next one keeps the same columns at the same demand: that one states them
    once.
    """
    depth, _, banks = occupancy.nonzero.shape
    count = len(occupancy.demand)
    grouped = occupancy.nonzero.reshape(depth, count, occupancy.rows_per_group, banks)
    kept = np.ascontiguousarray(np.bitwise_or.reduce(grouped, axis=2).transpose(1, 0, 2))
    found: list[Blocking] = []
    size = 1
    while size < count:
        found.append(Blocking(size, kept.view(np.bool_), _blocked(occupancy.demand, size)))
        if len(kept) % 2:
            kept = np.concatenate((kept, np.zeros((1, depth, banks), dtype=np.uint8)))
        kept = kept[0::2] | kept[1::2]
        size *= 2
    kept = np.bitwise_or.reduce(kept, axis=0, keepdims=True)
    found.append(Blocking(count, kept.view(np.bool_), occupancy.demand[None]))
    found = [a for a, b in pairwise(found) if not _dominated(a, b)] + found[-1:]
    if not kept.all():
        everything = np.ones((count, depth, banks), dtype=np.bool_)
        found.append(Blocking(count, everything[:1], occupancy.demand[None], whole=True))
        if len(np.unique(occupancy.demand)) > 1:
            found.append(Blocking(1, everything, occupancy.demand[:, None], whole=True))
    return found


def _blocked(demand: Ints, size: int) -> Ints:
    padded = np.zeros(-(-len(demand) // size) * size, dtype=np.int64)
    padded[: len(demand)] = demand
    return padded.reshape(-1, size)


def _dominated(small: Blocking, large: Blocking) -> bool:
    """Whether every block of `small` has the columns and the peak of the block of `large` that holds it."""
    parent = np.arange(len(small.kept)) * small.size // large.size
    straddles = (np.arange(1, len(small.kept) + 1) * small.size - 1) // large.size != parent
    if straddles[:-1].any() or not np.array_equal(small.peaks, large.peaks[parent]):
        return False
    return bool((small.kept == large.kept[parent]).all())
