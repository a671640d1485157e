"""Writes simulation outputs for other programs to read."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from flow.errors import FlowError
from flow.ir import Array


def write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """An `.npz` with every output, whole or not at all.

    Raises:
        FlowError: the place is not writable.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **outputs)  # type: ignore[arg-type]
    beside = path.with_name(f".{path.name[:100]}.{os.getpid()}.part")
    try:
        beside.write_bytes(buffer.getvalue())
        beside.replace(path)
    except OSError as error:
        raise FlowError(
            f"{path}: found {error.strerror or error}; expected a writable place; choose another with --outputs"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
