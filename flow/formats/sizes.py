"""What the storage of a matrix costs, against the usual sparse formats, and what structure was found in
it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.formats.encoded import EncodedMatrix, MapKind
from flow.formats.shapes import GroupShape
from flow.formats.stream import record_beats

_HEADER_BITS = 64
_CONSTANT_BITS = 64

_CHANCE = 1.25
"""Where several shapes mix and the matrix is further from balance than this, they fit single row groups by chance."""


@dataclass(frozen=True)
class Sizes:
    """Bits that a matrix W[N, C] with `nonzeros` non-zero weights of b bits takes, ours and others'.

    Ours, exactly as streamed: `weights` (b for each stored position, zeros that fill up a group included),
    `codes`, `maps`, `headers` (64 per row group), `page` (the code page before padding) and `padding` (of
    sections to 8 bytes and of records and the page to beats); `total` is their sum. The requantise
    constants, which every format needs beside the weights, are `constants` and not in it.

    Others, without any padding, at the same non-zeros (`nnz`), for the logical N rows and C columns:

    - `dense` = N*C*b;
    - `csr` = nnz*(b + ceil(log2 C)) + (N + 1)*ceil(log2(nnz + 1)): column indices and row pointers;
    - `coo` = nnz*(b + ceil(log2 N) + ceil(log2 C));
    - `bitmap` = N*C + nnz*b;
    - `information_limit` = sum over rows of log2 binom(C, nnz of the row) + nnz*b: no code for arbitrary
      positions of that many non-zeros per row can be smaller on average. Structured positions carry less
      information, so a structured storage may undercut it.
    """

    nonzeros: int
    weights: int
    codes: int
    maps: int
    headers: int
    page: int
    padding: int
    constants: int
    dense: int
    csr: int
    coo: int
    bitmap: int
    information_limit: float

    @property
    def total(self) -> int:
        """Bits of our storage."""
        return self.weights + self.codes + self.maps + self.headers + self.page + self.padding

    def per_weight(self, bits: float) -> float:
        """Bits per non-zero weight; 0 for a matrix without any."""
        return bits / self.nonzeros if self.nonzeros else 0.0


def sizes(
    encoded: EncodedMatrix, beat_bytes: int, *, rows: int | None = None, columns: int | None = None
) -> Sizes:
    """Counts the bits of `encoded` streamed in beats of `beat_bytes`.

    `rows` and `columns` are the logical N and C where the physical matrix is padded; by default the physical
    ones.
    """
    n = encoded.rows if rows is None else rows
    c = encoded.columns if columns is None else columns
    b = encoded.weight_bits
    row_nonzeros = _row_nonzeros(encoded)
    nonzeros = int(row_nonzeros.sum())
    constants = _CONSTANT_BITS * encoded.rows
    parts = {
        "weights": encoded.weight_section_bits,
        "codes": encoded.code_section_bits,
        "maps": encoded.map_section_bits,
        "headers": _HEADER_BITS * len(encoded.row_groups),
        "page": encoded.page.bits,
    }
    stream = 8 * beat_bytes * sum(record_beats(encoded, beat_bytes)) + 8 * len(encoded.page.pack(beat_bytes))
    index_bits = math.ceil(math.log2(c)) if c > 1 else 0
    row_bits = math.ceil(math.log2(n)) if n > 1 else 0
    return Sizes(
        nonzeros=nonzeros,
        **parts,
        padding=stream - constants - sum(parts.values()),
        constants=constants,
        dense=n * c * b,
        csr=nonzeros * (b + index_bits) + (n + 1) * nonzeros.bit_length(),
        coo=nonzeros * (b + row_bits + index_bits),
        bitmap=n * c + nonzeros * b,
        information_limit=sum(_log2_binomial(c, int(k)) for k in row_nonzeros) + nonzeros * b,
    )


def _row_nonzeros(encoded: EncodedMatrix) -> npt.NDArray[np.int64]:
    counts = [np.count_nonzero(group.weights, axis=(0, 2)) for group in encoded.row_groups]
    return np.concatenate(counts).astype(np.int64)


def _log2_binomial(n: int, k: int) -> float:
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


@dataclass(frozen=True)
class Structure:
    """What structure `encode` found, and what its absence costs.

    `scheme` is the storage of most cycles: "empty", "dense", "block-column" (whole columns of R-row blocks),
    "n:m" (K of V in every V consecutive columns of a bank), "hp" (hierarchical pruning: kept columns per
    block, then K of V), "pattern" (the same with fewer subsets than all), "balanced" (explicit indices were
    smallest, and the banks hold about equally many weights, as after HP) or "unstructured". V = `width`, K =
    `take`, R = `block_rows`; `uniform` says whether all cycles use the scheme and the shape.

    `positions` are the stored weights, the useful multiply-accumulates per token of the physical matrix;
    `cycles` the engine's cycles per token tile and `balanced_cycles` = ceil(nnz/(B*P)) those of the same
    non-zeros perfectly balanced. `overhead` is their ratio, 1 for a structure that the engine runs without
    loss.
    """

    scheme: str
    width: int
    take: int
    block_rows: int
    uniform: bool
    rows: int
    columns: int
    nonzeros: int
    positions: int
    cycles: int
    dense_cycles: int
    balanced_cycles: int

    @property
    def density(self) -> float:
        """Non-zeros over N'*C'."""
        return self.nonzeros / (self.rows * self.columns)

    @property
    def stored_density(self) -> float:
        """Stored positions over N'*C': the density that the engine runs at."""
        return self.positions / (self.rows * self.columns)

    @property
    def overhead(self) -> float:
        """Cycles over balanced cycles; 1 where there are none."""
        return self.cycles / self.balanced_cycles if self.balanced_cycles else 1.0

    def __str__(self) -> str:
        names = {"n:m": f"{self.take}:{self.width}", "hp": f"hp {self.take} of {self.width}"}
        names["pattern"] = f"pattern {self.take} of {self.width}"
        name = names.get(self.scheme, self.scheme) + ("" if self.uniform else " (mostly)")
        return (
            f"{name}, R={self.block_rows}, density {self.density:.3f}, {self.cycles} cycles of "
            f"{self.dense_cycles} dense, {self.overhead:.2f}x the balanced {self.balanced_cycles}"
        )


def describe(encoded: EncodedMatrix) -> Structure:
    """Names the structure that an encoded matrix has."""
    cycles: dict[tuple[str, int, int], int] = {}
    identity = True
    for group in encoded.row_groups:
        if group.map is not None:
            identity = group.map.kind is MapKind.IDENTITY
        if group.groups:
            name = _scheme(encoded.shapes[group.shape], identity)
            cycles[name] = cycles.get(name, 0) + group.cycles
    scheme, width, take = max(cycles, key=lambda name: cycles[name], default=("empty", 1, 0))
    balanced = -(-encoded.nonzeros // (encoded.banks * encoded.rows_per_group))
    close = encoded.cycles <= _CHANCE * balanced
    if len(cycles) > 1 and not close:
        scheme = "unstructured"
    elif scheme == "unstructured" and close:
        scheme = "balanced"
    return Structure(
        scheme=scheme,
        width=width,
        take=take,
        block_rows=encoded.block_rows,
        uniform=len(cycles) <= 1,
        rows=encoded.rows,
        columns=encoded.columns,
        nonzeros=encoded.nonzeros,
        positions=encoded.positions,
        cycles=encoded.cycles,
        dense_cycles=len(encoded.row_groups) * encoded.depth,
        balanced_cycles=balanced,
    )


def _scheme(shape: GroupShape, identity: bool) -> tuple[str, int, int]:
    """Scheme, V and K of one shape."""
    if shape.stride == 0:
        return "unstructured", shape.width, shape.take
    if shape.is_columns:
        return ("dense" if identity else "block-column"), 1, 1
    width, take, free = _finest(shape)
    if not free:
        return "pattern", width, take
    return ("n:m" if identity else "hp"), width, take


def _finest(shape: GroupShape) -> tuple[int, int, bool]:
    """The finest (V, K) whose slices the shape's table keeps, and whether its subsets are free within them.

    Three groups of 2:4 fit one table of 216 entries over 12 columns, which is smaller than three codes:
    still 2:4.
    """
    if shape.table is None:
        return shape.width, 1, True
    for width in range(2, shape.width + 1):
        slices = shape.width // width
        take = shape.take // slices
        if shape.width % width or shape.take % slices or take in (0, width):
            continue
        counts = np.stack([(shape.members // width == s).sum(axis=1) for s in range(slices)])
        if (counts == take).all() and shape.entries == math.comb(width, take) ** slices:
            return width, take, True
    return shape.width, shape.take, False
