"""Sizes of a sparse matrix in the block formats of the field, each at its best block size and column order.

All models count bits for W[N, C] with nnz non-zeros of b bits and leave every header, alignment and pointer padding
out. Blocks are r x c, powers of two; columns in natural order and sorted by memory bank are tried, so that a format
may use the bank structure that the matrix was pruned to. Indices are as short as their range allows.

- `bcsr`, block CSR: non-empty blocks are stored dense, with a block column index and row pointers.
- `mbr`, mapped blocked row (Kannan, "Efficient sparse matrix multiple-vector multiplication using a bitmapped
  format", HiPC 2013): the same without fill: a bitmap of r*c bits and the non-zeros of every non-empty block.
- `tiled_bitmap`: as `mbr`, with one bit for each block that says whether it is empty instead of its index.
- `csb_sparse`, compressed sparse blocks (Buluc et al., SPAA 2009): blocks in order, square or not, a pointer each, and
  the row and column within the block of every non-zero.
- `csb_structured`, compressed structured blocks (Shi et al., "CSB-RNN", ICS 2020): of every block the rows and columns
  that hold a non-zero, as indices or bitmaps, and the dense kernel matrix at their crossings, zeros included.
- `csr_relative`, CSR with the distance to the next non-zero in k bits and filler zeros where it is longer (Han et al.,
  "EIE", ISCA 2016), at the best k.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.integer]
SIDES = tuple(1 << i for i in range(8))
"""Block sides tried."""


def index_bits(count: int) -> int:
    """ceil(log2 count): bits of an index below `count`."""
    return max(count - 1, 0).bit_length()


@dataclass(frozen=True)
class Blocks:
    """A matrix cut into r x c blocks: `counts` [N/r, C/c] of non-zeros, and of the rows and columns that hold one."""

    r: int
    c: int
    counts: Ints
    rows: Ints
    columns: Ints

    @property
    def filled(self) -> int:
        """Blocks that are not empty."""
        return int(np.count_nonzero(self.counts))

    @property
    def nonzeros(self) -> int:
        """Non-zeros of the matrix."""
        return int(self.counts.sum())


def blocks_of(mask: Mask) -> Iterator[Blocks]:
    """Every cut into blocks whose sides divide the matrix, each summed up from the next smaller ones."""
    sides = [[s for s in SIDES if length % s == 0] for length in mask.shape]
    counts: Ints = mask.astype(np.int32)
    for r in sides[0]:
        counts = counts if r == 1 else _halved(counts, 0)
        inside: Ints = counts
        columns: Ints = (counts > 0).astype(np.int32)
        for c in sides[1]:
            inside, columns = (inside, columns) if c == 1 else (_halved(inside, 1), _halved(columns, 1))
            yield Blocks(r, c, inside, _rows_held(mask, r, c), columns)


def _halved(counts: Ints, axis: int) -> Ints:
    return np.asarray(counts[0::2] + counts[1::2] if axis == 0 else counts[:, 0::2] + counts[:, 1::2])


def _rows_held(mask: Mask, r: int, c: int) -> Ints:
    rows, columns = mask.shape
    held = np.packbits(mask, axis=1) if c % 8 == 0 else mask
    width = columns // c * (c // 8 if c % 8 == 0 else c)
    present = held[:, :width].reshape(rows, columns // c, -1).any(axis=2)
    return np.asarray(present.reshape(rows // r, r, -1).sum(axis=1, dtype=np.int32))


def block_sizes(mask: Mask, weight_bits: int, banks: int) -> dict[str, int]:
    """Bits of every format for the non-zeros `mask` [N, C], at its best block size and order of columns."""
    columns = np.arange(mask.shape[1])
    models = (_bcsr, _mbr, _tiled_bitmap, _csb_sparse, _csb_structured)
    found: dict[str, int] = {}
    for order in (mask, np.ascontiguousarray(mask[:, np.lexsort((columns, columns % banks))])):
        for blocks in blocks_of(order):
            for model in models:
                _keep_least(found, model.__name__[1:], int(model(blocks, weight_bits)))
        for k in range(1, 9):
            _keep_least(found, "csr_relative", _relative(order, k, weight_bits))
    return found


def _keep_least(found: dict[str, int], name: str, bits: int) -> None:
    found[name] = min(found.get(name, bits), bits)


def _pointers(rows: int, entries: int) -> int:
    """Row pointers 0 .. entries, one more than rows."""
    return (rows + 1) * index_bits(entries + 1)


def _bcsr(blocks: Blocks, weight_bits: int) -> int:
    height, width = blocks.counts.shape
    dense = blocks.r * blocks.c * weight_bits
    return blocks.filled * (dense + index_bits(width)) + _pointers(height, blocks.filled)


def _mbr(blocks: Blocks, weight_bits: int) -> int:
    height, width = blocks.counts.shape
    index = blocks.filled * (blocks.r * blocks.c + index_bits(width)) + _pointers(height, blocks.filled)
    return blocks.nonzeros * weight_bits + index


def _tiled_bitmap(blocks: Blocks, weight_bits: int) -> int:
    index = blocks.filled * blocks.r * blocks.c + blocks.counts.size
    return blocks.nonzeros * weight_bits + index


def _csb_sparse(blocks: Blocks, weight_bits: int) -> int:
    each = weight_bits + index_bits(blocks.r) + index_bits(blocks.c)
    return blocks.nonzeros * each + _pointers(blocks.counts.size, blocks.nonzeros)


def _csb_structured(blocks: Blocks, weight_bits: int) -> int:
    kernels = int((blocks.rows.astype(np.int64) * blocks.columns).sum())
    return kernels * weight_bits + _listed(blocks.rows, blocks.r) + _listed(blocks.columns, blocks.c)


def _listed(kept: Ints, side: int) -> int:
    """Which of `side` rows or columns each block keeps: a bitmap, or their number and an index each."""
    as_indices = kept.size * index_bits(side + 1) + int(kept.sum()) * index_bits(side)
    return min(kept.size * side, as_indices)


def _relative(mask: Mask, k: int, weight_bits: int) -> int:
    reach = 1 << k
    row, column = np.nonzero(mask)
    first = np.concatenate(([True], row[1:] != row[:-1])) if len(row) else np.zeros(0, dtype=bool)
    before = np.where(first, -1, np.concatenate(([0], column[:-1]))) if len(row) else column
    entries = len(row) + int(((column - before - 1) // reach).sum())
    return entries * (weight_bits + k) + _pointers(len(mask), entries)


def log2_binomial(n: int, k: int) -> float:
    """log2 of n over k."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)
