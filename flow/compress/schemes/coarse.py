"""The two steps that structured schemes share: columns of a block per bank, then K of V per row."""

from __future__ import annotations

import numpy as np

from flow.compress.schemes.grid import Grid, Ints, Mask, Real


def kept_columns(energies: Real, block_rows: int, count: int) -> Ints:
    """Offsets [blocks, B, count] of the columns of largest energy of every (block, bank), ascending, padding last.

    `energies` [N', B, D] are squared scores, negative at padding. Ties go to the lower column.
    """
    sums = block_sums(energies, block_rows)
    chosen = np.argsort(-sums, axis=-1, kind="stable")[..., :count]
    padding = np.take_along_axis(sums, chosen, axis=-1) < 0
    depth = energies.shape[2]
    place = np.sort(chosen + depth * padding, axis=-1)
    return np.asarray(place % depth, dtype=np.int64)


def block_sums(energies: Real, block_rows: int) -> Real:
    """Energy [blocks, B, D] of every column of every R-row block; padding stays negative."""
    starts = np.arange(0, len(energies), block_rows)
    return np.asarray(np.add.reduceat(energies, starts, axis=0))


def listed(energies: Real, kept: Ints, block_rows: int) -> Real:
    """Energies [N', B, V*G] of the kept columns in list order."""
    return np.take_along_axis(energies, _per_row(kept, block_rows, len(energies)), axis=-1)


def spread(chosen: Mask, kept: Ints, block_rows: int, depth: int) -> Mask:
    """The mask [N', B, D] of a mask [N', B, V*G] in list order."""
    mask = np.zeros((*chosen.shape[:2], depth), dtype=bool)
    np.put_along_axis(mask, _per_row(kept, block_rows, len(chosen)), chosen, axis=-1)
    return mask


def largest(groups: Real, keep: int) -> Mask:
    """The `keep` largest of the last axis; ties go to the lower index, padding (negative) is never kept."""
    if keep == groups.shape[-1]:
        return groups >= 0
    order = np.argsort(-groups, axis=-1, kind="stable")[..., :keep]
    chosen = np.zeros(groups.shape, dtype=bool)
    np.put_along_axis(chosen, order, True, axis=-1)
    return np.asarray(chosen & (groups >= 0))


def fine_mask(energies: Real, kept: Ints, block_rows: int, vector: int, keep: int) -> Mask:
    """The mask [N', B, D] that keeps K of every V kept columns in each row."""
    values = listed(energies, kept, block_rows)
    groups = values.reshape(*values.shape[:2], -1, vector)
    return spread(largest(groups, keep).reshape(values.shape), kept, block_rows, energies.shape[2])


def kept_reals(grid: Grid, count: int) -> Ints:
    """[B]: how many of `count` kept columns of each bank are no padding."""
    return np.minimum(grid.real, count)


def _per_row(kept: Ints, block_rows: int, rows: int) -> Ints:
    return np.repeat(kept, block_rows, axis=0)[:rows]
