"""Greedy interval partition: the kept columns of a (block, bank) into the fewest groups.

Arrays are depth-major: `nonzero` is uint8 [D, blocks, rows of a block, B], so that one offset is one
contiguous slice.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def partition(nonzero: Mask, kept: Flags, limits: Ints, width: int) -> Ints:
    """Group of every kept column, [blocks, D, B]; -1 where not kept.

    Columns are taken in ascending order; a group closes before it would exceed `width` columns or give any
    row more non-zeros than its limit (`limits` [blocks, rows]). Sub-intervals of an admissible interval are
    admissible, so taking the longest is optimal: no partition into intervals has fewer groups, and the
    groups that pruning made are one such partition even after columns or weights were lost to zero.
    """
    depth, blocks, rows, banks = nonzero.shape
    load = np.zeros((blocks, rows, banks), dtype=np.uint8)
    limit = limits.astype(np.uint8)[:, :, None]
    group = np.full((blocks, banks), -1, dtype=np.int64)
    size = np.full((blocks, banks), width, dtype=np.int64)
    groups = np.full((blocks, depth, banks), -1, dtype=np.int64)
    for offset in range(depth):
        here = kept[:, offset]
        load = load + nonzero[offset]
        opens = here & ((load > limit).any(axis=1) | (size == width))
        np.copyto(load, nonzero[offset], where=opens[:, None])
        group += opens
        size = np.where(opens, 1, size + here)
        np.copyto(groups[:, offset], group, where=here)
    return groups


def _members(groups: Ints, most: int) -> Ints:
    """How many columns each of the first `most` groups has, [blocks, most, B]."""
    blocks, _, banks = groups.shape
    block, offset, bank = np.nonzero((groups >= 0) & (groups < most))
    cell = (block * most + groups[block, offset, bank]) * banks + bank
    return np.bincount(cell, minlength=blocks * most * banks).reshape(blocks, most, banks)


def slots(groups: Ints, width: int, count: Ints) -> Ints:
    """Place of every column in its bank's list, [blocks, D, B]: group*width + position; -1 where not listed.

    `count` [blocks] is the number of groups. A group with room takes unkept columns (zero in the whole
    block) that lie between its neighbours: then the list has no repetition inside and a bitmap can state it.
    """
    blocks, depth, banks = groups.shape
    most = int(count.max(initial=1))
    room = width - _members(groups, most)
    if not room[np.arange(most) < count[:, None]].any():
        return np.where(groups < 0, -1, groups * width + positions(groups))
    following = _following(groups, count)
    last = np.broadcast_to(count[:, None] - 1, (blocks, banks))
    block, bank = np.indices((blocks, banks))
    pointer = np.zeros((blocks, banks), dtype=np.int64)
    fill = np.zeros((blocks, banks), dtype=np.int64)
    result = np.full_like(groups, -1)
    for offset in range(depth):
        kept = groups[:, offset] >= 0
        spent = room[block, pointer, bank] == 0
        step = ~kept & spent & (pointer < np.minimum(following[:, offset], last))
        target = np.where(kept, groups[:, offset], pointer + step)
        free = room[block, target, bank] > 0
        fill = np.where(target == pointer, fill, 0)
        pointer = target
        listed = kept | (free & (target <= last))
        np.copyto(result[:, offset], target * width + fill, where=listed)
        room[block, target, bank] -= listed & ~kept
        fill += listed
    return result


def positions(groups: Ints) -> Ints:
    """Position of every kept column within its group, [blocks, D, B]; meaningless where not kept."""
    kept = groups >= 0
    rank = np.cumsum(kept, axis=1) - 1
    reached = np.maximum.accumulate(groups, axis=1)
    opens = kept.copy()
    opens[:, 1:] &= reached[:, 1:] > reached[:, :-1]
    return rank - np.maximum.accumulate(np.where(opens, rank, 0), axis=1)


def occupancy_masks(nonzero: Mask, place: Ints, width: int, groups: int) -> npt.NDArray[np.uint16]:
    """Which of its V <= 16 columns every group uses, as bits: [blocks, groups, B, rows]."""
    depth, blocks, rows, banks = nonzero.shape
    masks = np.zeros((blocks, groups + 1, banks, rows), dtype=np.uint16)
    block, bank = np.indices((blocks, banks))
    for offset in range(depth):
        at = place[:, offset]
        group = np.where(at < 0, groups, at // width)
        bit = np.where(at < 0, 0, 1 << at % width).astype(np.uint16)
        masks[block, group, bank] |= nonzero[offset].transpose(0, 2, 1) * bit[:, :, None]
    return masks[:, :groups]


def _following(groups: Ints, count: Ints) -> Ints:
    """Group of the next kept column at or after each offset; `count` where there is none."""
    filled = np.where(groups < 0, count[:, None, None], groups)
    return np.minimum.accumulate(filled[:, ::-1], axis=1)[:, ::-1]


def column_lists(place: Ints, count: int) -> tuple[Ints, Flags]:
    """Column lists [blocks, count, B] from the places of columns, and which entries are no repetition.

    A free entry repeats the one before it, or offset 0 where there is none.
    """
    blocks, _, banks = place.shape
    lists = np.full((blocks, count, banks), -1, dtype=np.int64)
    block, offset, bank = np.nonzero(place >= 0)
    lists[block, place[block, offset, bank], bank] = offset
    real = lists >= 0
    for entry in range(count):
        before = lists[:, entry - 1] if entry else np.zeros((blocks, banks), dtype=np.int64)
        np.copyto(lists[:, entry], before, where=~real[:, entry])
    return lists, real
