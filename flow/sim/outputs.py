"""Writes simulation outputs for other programs to read."""

from __future__ import annotations

import io
import os
import tempfile
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
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.absolute().parent)
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getvalue())
        Path(temporary).replace(path)
    except OSError as error:
        raise FlowError(
            f"{path}: found {error.strerror or error}; expected a writable place; choose another with --outputs"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
