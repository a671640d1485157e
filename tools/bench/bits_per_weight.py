"""Bits per weight of hierarchically pruned matrices, against CSR, COO, a bitmap and the information limit.

Every matrix is random, pruned to the nearest expressible density, encoded, packed and counted as streamed: codes, maps,
headers, code page and padding included, requantise constants left out as in the other formats. Run with
`python tools/bench/bits_per_weight.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
from evidence import write_evidence

from flow.formats import describe, encode, pack, sizes
from flow.formats.synthetic import Hierarchy, random_hp

ENGINES = ((384, 384, 32), (384, 1536, 32), (768, 768, 64), (768, 3072, 64))
"""Rows, columns and banks."""
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
ROWS_PER_GROUP = 8
BLOCK_ROWS = 64
BEAT_BYTES = 64


@dataclass(frozen=True)
class Result:
    """One matrix; the figures from `ours` on are bits per non-zero weight, `index` is `ours` without the weights."""

    rows: int
    columns: int
    banks: int
    sparsity: float
    actual_sparsity: float
    structure: str
    cycles: int
    encode_ms: float
    pack_ms: float
    ours: float
    index: float
    csr: float
    coo: float
    bitmap: float
    information_limit: float


def measure(rows: int, columns: int, banks: int, sparsity: float) -> Result:
    """Encode and pack one random matrix."""
    hierarchy = Hierarchy.nearest(columns // banks, 1 - sparsity)
    rng = np.random.default_rng(0)
    matrix = random_hp(rng, rows, columns, banks=banks, block_rows=BLOCK_ROWS, hierarchy=hierarchy)
    start = time.perf_counter()
    encoded = encode(matrix, banks=banks, rows_per_group=ROWS_PER_GROUP)
    encoded_at = time.perf_counter()
    stream = pack(encoded, bytes(8 * rows), BEAT_BYTES)
    packed_at = time.perf_counter()
    found = sizes(encoded, BEAT_BYTES)
    page_bytes = len(encoded.page.pack(BEAT_BYTES))
    assert found.total + found.constants == 8 * (len(stream) + page_bytes)
    return Result(
        rows=rows,
        columns=columns,
        banks=banks,
        sparsity=sparsity,
        actual_sparsity=1 - encoded.density,
        structure=str(describe(encoded)).split(",", maxsplit=1)[0],
        cycles=encoded.cycles,
        encode_ms=1e3 * (encoded_at - start),
        pack_ms=1e3 * (packed_at - encoded_at),
        ours=found.per_weight(found.total),
        index=found.per_weight(found.total - found.weights),
        csr=found.per_weight(found.csr),
        coo=found.per_weight(found.coo),
        bitmap=found.per_weight(found.bitmap),
        information_limit=found.per_weight(found.information_limit),
    )


def main() -> int:
    """Measure, print the table and write the evidence; status 1 if another format is smaller anywhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    results = [measure(*engine, sparsity) for engine in ENGINES for sparsity in SPARSITIES]
    lines = ["     matrix   B  sparsity        structure    ours  bitmap     CSR     COO   limit  encode ms"]
    lines += [
        f"{r.rows:5}x{r.columns:<5} {r.banks:3}  {r.actual_sparsity:8.3f} {r.structure:>16} {r.ours:7.2f} "
        f"{r.bitmap:7.2f} {r.csr:7.2f} {r.coo:7.2f} {r.information_limit:7.2f} {r.encode_ms:10.1f}"
        for r in results
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    report = {
        "rows_per_group": ROWS_PER_GROUP,
        "block_rows": BLOCK_ROWS,
        "beat_bytes": BEAT_BYTES,
        "matrices": [asdict(result) for result in results],
    }
    sources = ["flow/formats/*.py", "tools/bench/bits_per_weight.py"]
    write_evidence("bits_per_weight", "python tools/bench/bits_per_weight.py", sources, report)
    return 0 if all(r.ours < min(r.csr, r.coo, r.bitmap) for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
