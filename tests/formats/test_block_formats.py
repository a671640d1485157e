"""The size models of other formats on matrices small enough to count by hand."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "tools" / "bench"


@pytest.fixture(scope="module")
def models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("block_formats_under_test", BENCH / "block_formats.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_one_full_block(models: ModuleType) -> None:
    """4x4 with a full 2x2 block in the corner, 8-bit weights."""
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2, :2] = True
    found = models.block_sizes(mask, 8, banks=1)
    # One 2x2 block: 32 bits of weights, 1 bit of block column, row pointers 0, 1, 1 of 1 bit.
    assert found["bcsr"] == 32 + 1 + 3
    # One 4x4 block: 16 bits of map, no index, pointers 0, 1; 2x2 blocks: 4 of map, 1 of column, 3 of pointers.
    assert found["mbr"] == 32 + min(16 + 2, 4 + 1 + 3)
    assert found["tiled_bitmap"] == 32 + 4 + 4
    # Kept rows and columns of the 4x4 block as bitmaps, 4 + 4; of four 2x2 blocks 2 + 2 each.
    assert found["csb_structured"] == 32 + 8
    # Two pairs of rows: distances 1, 1 in one bit each; pointers 0, 2, 4, 4, 4 of 3 bits.
    assert found["csr_relative"] == 4 * 9 + 5 * 3
    # 2x4 blocks: 1 + 2 bits of place a weight, pointers 0, 4, 4 of 3 bits; 2x2 and 4x4 blocks take 55 and 54.
    assert found["csb_sparse"] == 32 + 4 * 3 + 3 * 3


def test_fillers_of_relative_indices(models: ModuleType) -> None:
    """Ones at columns 0 and 7: with k bits a distance of 7 takes 6, 1 or no fillers."""
    mask = np.zeros((1, 8), dtype=bool)
    mask[0, [0, 7]] = True
    relative = [models._relative(mask, k, 8) for k in (1, 2, 3)]
    assert relative == [(2 + 3) * 9 + 2 * 3, (2 + 1) * 10 + 2 * 2, 2 * 11 + 2 * 2]


def test_columns_sorted_by_bank_may_be_better(models: ModuleType) -> None:
    """Every second column: in bank order they are one block."""
    mask = np.zeros((4, 8), dtype=bool)
    mask[:, 0::2] = True
    assert models.block_sizes(mask, 8, banks=2)["bcsr"] < models.block_sizes(mask, 8, banks=1)["bcsr"]
