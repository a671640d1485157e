"""The AXI4 read master: spans and pages in order, legal bursts, a beat a cycle, flush."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rtl.harness import simulate


@pytest.mark.parametrize(
    ("beat_bytes", "fifo_log2", "longest"), [(8, 9, 128), (64, 8, 64), (128, 9, 32)], ids=["8", "64", "128"]
)
def test_memory_reader(beat_bytes: int, fifo_log2: int, longest: int, tmp_path: Path) -> None:
    case = {
        "beat_bytes": beat_bytes,
        "seed": beat_bytes,
        "base_beats": 5,
        "image_beats": 1500,
        "spans": 24,
        "longest": longest,
    }
    parameters = {"BeatBytes": beat_bytes, "FifoLog2": fifo_log2}
    simulate("memory_reader", parameters, "bench_memory_reader", tmp_path, case)
