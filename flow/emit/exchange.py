"""Swapping two paths in one step, where the system can."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def exchange(first: Path, second: Path) -> bool:
    """Swap two existing paths atomically with Linux's `renameat2`; False where the kernel or file system cannot.

    A reader of either path then never finds it missing, which two renames cannot promise.
    """
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    one, other = os.fsencode(first), os.fsencode(second)
    return bool(renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE) == 0)
