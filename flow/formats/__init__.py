"""Weight storage: dense, hierarchical pruning and its special cases, to bits and back.

A physical matrix W[N', C'] (N' a multiple of P, C' of B; column c in bank `c % B` at offset `c // B`) is
stored row group by row group of P rows. Structure is detected from the zeros, never declared: dense,
block-column, hierarchical, N:M, pattern or unstructured matrices are all one format with different numbers.

    encoded = encode(weights, banks=64, rows_per_group=8)
    stream = pack(encoded, constants(bias, multiplier, shift), beat_bytes=64)
    page = encoded.page.pack(beat_bytes=64)

`decode` and `unpack` are the exact inverses; `cycle_bounds` gives the cycles for many B without encoding;
`sizes` and `describe` say what it costs and what was found.
"""

from flow.formats.bounds import cycle_bound, cycle_bounds
from flow.formats.encode import encode
from flow.formats.encoded import ColumnMap, EncodedMatrix, MapKind, RowGroup, decode
from flow.formats.shapes import CodePage, GroupShape
from flow.formats.sizes import Sizes, Structure, describe, sizes
from flow.formats.stream import CONSTANT, constants, pack, record_beats, stream_beats, unpack

__all__ = [
    "CONSTANT",
    "CodePage",
    "ColumnMap",
    "EncodedMatrix",
    "GroupShape",
    "MapKind",
    "RowGroup",
    "Sizes",
    "Structure",
    "constants",
    "cycle_bound",
    "cycle_bounds",
    "decode",
    "describe",
    "encode",
    "pack",
    "record_beats",
    "sizes",
    "stream_beats",
    "unpack",
]
