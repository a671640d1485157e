"""Torch modules to `.pt2` files: non-strict export, and archives whose bytes depend on the model alone."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from flow.errors import FlowError

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip member can carry."""

_KEPT_METADATA = frozenset({"val", "tensor_meta", "nn_module_stack"})
"""What the archive keeps of a node's metadata; stack traces would put this machine's paths into the file."""


def export_module(module: nn.Module, inputs: Mapping[str, Tensor]) -> ExportedProgram:
    """Export a module at the static shapes of its named inputs: raw ATen operators, non-strict, evaluation mode.

    Raises:
        FlowError: torch cannot trace the module.
    """
    module.eval()
    try:
        return torch.export.export(module, (), dict(inputs), strict=False)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FlowError(
            f"export: torch.export failed with {type(error).__name__}: {reason[0]}; expected a traceable module"
        ) from error


def save_program(program: ExportedProgram, path: str | Path) -> None:
    """Write a `.pt2` archive, whole or not at all; equal programs give equal bytes.

    `torch.export.load` reads the file too. Members are stored uncompressed, with fixed dates, under `archive/`.

    Raises:
        FlowError: the file cannot be written.
    """
    for node in program.graph.nodes:
        for key in [key for key in node.meta if key not in _KEPT_METADATA]:
            del node.meta[key]
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomically(Path(path), _canonical_zip(buffer.getvalue()))


def _canonical_zip(archive: bytes) -> bytes:
    """The same members in the same order, stored, without dates, padding or the writer's extra fields."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as target,
    ):
        for name in source.namelist():
            target.writestr(zipfile.ZipInfo(name, _EPOCH), source.read(name))
    return out.getvalue()


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside `path`, then rename over it, so that no reader ever meets half a file.

    Raises:
        FlowError: the directory is missing or not writable.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise FlowError(
            f"{path}: found {error.strerror or error}; expected a writable file; choose another output"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
