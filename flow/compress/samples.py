"""Reads `.npz` sample files: model inputs by name, leading axis = samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.errors import FlowError, raise_all
from flow.ir import Array, Graph, TensorType
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY

LABELS = "labels"
MAX_BYTES = 4 << 30
Sample = dict[str, Array]


@dataclass(frozen=True)
class Samples:
    """Model inputs, one mapping a sample, and labels where the file has them."""

    samples: tuple[Sample, ...]
    labels: Array | None = None


def model_inputs(graph: Graph) -> dict[str, TensorType]:
    """Inputs of the model by key, batch of 1 included."""
    return {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}


def load_samples(path: Path, graph: Graph) -> Samples:
    """Read `.npz` inputs: an array per model input, leading axis = samples, and optionally `labels`.

    Raises:
        FlowError: one message that lists every missing, unknown or misshapen array.
    """
    arrays = _read_npz(path)
    labels = arrays.pop(LABELS, None)
    wanted = model_inputs(graph)
    faults = [
        f"{key}: missing; expected shape [samples, {_dims(t)}]"
        for key, t in wanted.items()
        if key not in arrays
    ]
    faults += [
        f"{key}: not an input of the model; expected {', '.join(wanted)}"
        for key in arrays
        if key not in wanted
    ]
    counts: dict[str, int] = {}
    for key, kind in wanted.items():
        array = arrays.get(key)
        if array is None:
            continue
        if array.shape[1:] != kind.shape[1:] or array.ndim != len(kind.shape):
            faults.append(f"{key}: found shape {list(array.shape)}; expected [samples, {_dims(kind)}]")
        elif array.dtype.kind not in "fiub" or (
            kind.dtype.startswith(("int", "uint", "bool")) and array.dtype.kind == "f"
        ):
            faults.append(f"{key}: found {array.dtype}; expected {kind.dtype}")
        elif array.dtype.kind == "f" and not np.isfinite(array).all():
            faults.append(f"{key}: found values that are not finite; expected finite numbers")
        else:
            counts[key] = len(array)
            if key == MASK_KEY:
                faults += _mask_faults(array)
    if len(set(counts.values())) > 1:
        faults.append(f"found different numbers of samples: {counts}")
    if counts and not min(counts.values()):
        faults.append("found no samples; expected at least one")
    if labels is not None and counts and labels.shape != (next(iter(counts.values())),):
        faults.append(f"labels: found shape {list(labels.shape)}; expected one label a sample")
    raise_all(FlowError, f"{path}: found {len(faults)} faults in the inputs", faults)
    count = next(iter(counts.values()), 1)
    samples: list[Sample] = [
        {key: arrays[key][i : i + 1].astype(kind.dtype) for key, kind in wanted.items()} for i in range(count)
    ]
    return Samples(tuple(samples), labels)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FlowError(
                f"{path}: found {path.stat().st_size} bytes; expected at most {MAX_BYTES}; split the file"
            )
        with np.load(path, allow_pickle=False) as data:
            if isinstance(data, np.ndarray):
                raise FlowError(
                    f"{path}: found a single .npy array; expected an .npz with one array per model input"
                )
            return {key: data[key] for key in data.files}
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable .npz file") from error
    except FlowError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        raise FlowError(
            f"{path}: found no readable .npz ({error}); expected one array per model input, written by numpy.savez"
        ) from error


def _dims(kind: TensorType) -> str:
    return ", ".join(str(d) for d in kind.shape[1:])


def _mask_faults(mask: Array) -> list[str]:
    lengths = np.count_nonzero(mask, axis=-1)
    prefix = np.arange(mask.shape[-1]) < lengths[..., None]
    bad = np.flatnonzero(
        (((mask != 0) != prefix) | (lengths[..., None] == 0)).reshape(len(mask), -1).any(axis=1)
    )
    if not bad.size:
        return []
    return [
        f"{MASK_KEY}: found another form in sample {bad[0]} and {len(bad) - 1} more; expected a prefix of at least one 1, then 0"
    ]
