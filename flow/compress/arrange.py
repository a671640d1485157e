"""The search for an order of hidden channels under which pruning keeps more energy; graphs are `permute`'s business.

Two things depend on the order. Rows of one block share their columns, so rows that like the same columns belong
together (`cluster`); columns of one group of a bank compete, so columns that a row likes both belong apart
(`exchange`). Both are bounded by counts, never by time, and seeded: equal weights give equal orders.

On a trained 6-layer, 384-wide encoder at 80 % sparsity and 32 banks, the share of weight energy that HP keeps rises
from 0.563 to 0.573 in the projections behind attentions and from 0.722 to 0.728 in the FFNs' second linears; block
pruning's in the FFNs' first linears, from 0.282 to 0.319.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.compress.schemes import Grid, Scheme, Structure
from flow.compress.schemes.grid import Ints, Real

ROUNDS = 100
"""Rounds of exchanges; each proposes up to B/2 of them."""
SAMPLE = 1 << 19
"""Weights that an exchange is judged by, in evenly spread whole blocks of rows."""


@dataclass(frozen=True, eq=False)
class Columns:
    """A matrix whose columns are the channels: its scores [N, C], grid and structure."""

    scores: npt.NDArray[np.floating]
    grid: Grid
    structure: Structure


def cluster(scores: npt.ArrayLike, grid: Grid, structure: Structure, sets: Ints) -> Ints:
    """An order of the rows [N] that puts rows which keep the same columns into the same blocks.

    Rows move within their set (`sets` [N], ascending) only. A row is described by the energy of its G*K largest
    weights in each bank, normed; block after block starts from the first row left and takes, one by one, the row most
    like (largest inner product) the sum of those it has.
    """
    cells = grid.energies(scores)[grid.rows]
    if 0 < structure.weights < grid.depth:
        least = np.partition(cells, grid.depth - structure.weights, axis=-1)
        cells = np.where(cells >= least[..., grid.depth - structure.weights, None], cells, 0.0)
    features = np.maximum(cells, 0.0).reshape(len(cells), -1).astype(np.float32)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    likeness = features @ features.T
    blocks = grid.rows // structure.block_rows
    order = np.empty(len(cells), np.int64)
    free = np.ones(len(cells), bool)
    for block, group in np.unique(np.stack([blocks, sets]), axis=1).T:
        places = np.flatnonzero((blocks == block) & (sets == group))
        eligible = free & (sets == group)
        liked = np.zeros(len(cells), np.float32)
        for count, place in enumerate(places):
            row = int(np.where(eligible, liked, -1.0).argmax()) if count else int(eligible.argmax())
            order[place] = row
            free[row] = eligible[row] = False
            liked += likeness[row]
    return order


def exchange(matrices: Sequence[Columns], scheme: Scheme, sets: Ints, seed: int) -> Ints:
    """An order of the channels [C], reached by exchanges between banks that keep more energy.

    In every round, channels of one set (`sets` [C]) are paired at random, every bank in at most one pair; a pair
    changes places if its two banks then keep more energy, summed over the matrices. Only the two banks change, so all
    pairs of a round are judged at once.
    """
    rng = np.random.default_rng(seed)
    grid = matrices[0].grid
    bank, offset = grid.columns % grid.banks, grid.columns // grid.banks
    cells = [_sample(m) for m in matrices]
    order = np.arange(len(grid.columns))
    kept = _kept(cells, matrices, scheme)
    for _ in range(ROUNDS):
        a, b = _pairs(rng, sets, bank)
        if not len(a):
            break
        tried = [cell.copy() for cell in cells]
        for new, old in zip(tried, cells, strict=True):
            new[:, bank[a], offset[a]] = old[:, bank[b], offset[b]]
            new[:, bank[b], offset[b]] = old[:, bank[a], offset[a]]
        after = _kept(tried, matrices, scheme)
        before = kept[bank[a]] + kept[bank[b]]
        better = after[bank[a]] + after[bank[b]] > before * (1 + 1e-9)
        a, b = a[better], b[better]
        order[a], order[b] = order[b], order[a]
        changed = np.concatenate([bank[a], bank[b]])
        kept[changed] = after[changed]
        for new, old in zip(tried, cells, strict=True):
            old[:, changed] = new[:, changed]
    return order


def _sample(matrix: Columns) -> Real:
    """Energies [rows, B, D] of whole blocks, about `SAMPLE` weights, each matrix to the scale of its whole energy."""
    energies = matrix.grid.energies(matrix.scores)
    height = matrix.structure.block_rows or 16
    count = max(SAMPLE // (height * energies[0].size), 1)
    if count * height < len(energies):
        starts = np.linspace(0, len(energies) // height - 1, count).astype(np.int64) * height
        energies = energies[(starts[:, None] + np.arange(height)).ravel()]
    total = float(energies[energies > 0].sum())
    return np.asarray(np.where(energies > 0, energies / max(total, np.finfo(float).tiny), energies))


def _kept(cells: Sequence[Real], matrices: Sequence[Columns], scheme: Scheme) -> Real:
    """Energy [B] that every bank keeps, over all matrices by their sizes."""
    return np.asarray(
        sum(m.grid.size * scheme.kept_by_bank(c, m.structure) for c, m in zip(cells, matrices, strict=True))
    )


def _pairs(rng: np.random.Generator, sets: Ints, bank: Ints) -> tuple[Ints, Ints]:
    """Pairs of channels of one set and two banks; no bank is in two pairs."""
    shuffled = rng.permutation(len(sets))
    shuffled = shuffled[np.argsort(sets[shuffled], kind="stable")]
    first = rng.permutation(len(sets) - 1)
    used = np.zeros(int(bank.max()) + 1, bool)
    pairs = []
    left = len(used) // 2
    for at in first.tolist():
        x, y = int(shuffled[at]), int(shuffled[at + 1])
        if sets[x] == sets[y] and bank[x] != bank[y] and not used[bank[x]] and not used[bank[y]]:
            used[bank[x]] = used[bank[y]] = True
            pairs.append((x, y))
            left -= 1
            if not left:
                break
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1]
