"""The two steps that structured schemes share: columns of a block per bank, then K of V per row."""

from __future__ import annotations

import numpy as np

from flow.compress.schemes.grid import Grid, Ints, Mask, Real


def kept_columns(energies: Real, block_rows: int, count: int, weights: int = 0) -> Ints:
    """Offsets [blocks, B, count] of the best columns of every (block, bank), ascending, padding last.

    `energies` [N', B, D] are squared scores, negative at padding. A column's worth is the energy that it holds in the
    block; with `weights` (G*K), of its weights that are among the G*K largest of their row and bank, since the fine
    step keeps no more. On the trained matrices of a 384-wide encoder that keeps 0.5 to 2 % more energy wherever the
    coarse step prunes anything. Ties go to the lower column.
    """
    depth = energies.shape[2]
    if count >= depth:
        kept = np.broadcast_to(np.arange(depth), (-(-len(energies) // block_rows), energies.shape[1], depth))
        return _padding_last(kept, block_sums(energies, block_rows) < 0)
    sums = block_sums(_leading(energies, weights) if 0 < weights < depth else energies, block_rows)
    chosen = np.sort(np.argsort(-sums, axis=-1, kind="stable")[..., :count], axis=-1)
    return _padding_last(chosen, np.take_along_axis(sums, chosen, axis=-1) < 0)


def _leading(energies: Real, weights: int) -> Real:
    """Energies with all but the largest of every (row, bank) set to 0; padding stays negative."""
    depth = energies.shape[2]
    least = np.partition(energies, depth - weights, axis=-1)[..., depth - weights, None]
    return np.asarray(np.where((energies >= least) | (energies < 0), energies, 0.0))


def _padding_last(chosen: Ints, padding: Mask) -> Ints:
    """Offsets in the same order, those of padding behind the others."""
    if not padding.any():
        return np.asarray(chosen, dtype=np.int64)
    order = np.argsort(padding, axis=-1, kind="stable")
    return np.take_along_axis(np.asarray(chosen, dtype=np.int64), order, axis=-1)


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
    width = groups.shape[-1]
    if keep == width:
        return groups >= 0
    least = np.partition(groups, width - keep, axis=-1)[..., width - keep, None]
    chosen = groups >= least
    tied = chosen.sum(axis=-1) > keep
    if tied.any():
        order = np.argsort(-groups[tied], axis=-1, kind="stable")[..., :keep]
        broken = np.zeros((len(order), width), dtype=bool)
        np.put_along_axis(broken, order, True, axis=-1)
        chosen[tied] = broken
    return np.asarray(chosen & (groups >= 0))


def fine_mask(energies: Real, kept: Ints, block_rows: int, vector: int, keep: int) -> Mask:
    """The mask [N', B, D] that keeps K of every V kept columns in each row."""
    values = listed(energies, kept, block_rows)
    groups = values.reshape(*values.shape[:2], -1, vector)
    return spread(largest(groups, keep).reshape(values.shape), kept, block_rows, energies.shape[2])


def largest_sum(groups: Real, keep: int) -> Real:
    """Sum of the `keep` largest of the last axis, padding not counted."""
    width = groups.shape[-1]
    if keep < width:
        groups = np.partition(groups, width - keep, axis=-1)[..., width - keep :]
    return np.asarray(np.maximum(groups, 0.0).sum(axis=-1))


def kept_reals(grid: Grid, count: int) -> Ints:
    """[B]: how many of `count` kept columns of each bank are no padding."""
    return np.minimum(grid.real, count)


def _per_row(kept: Ints, block_rows: int, rows: int) -> Ints:
    return np.repeat(kept, block_rows, axis=0)[:rows]
