"""Reads `.npz` sample files: model inputs by name, leading axis = samples."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.errors import FlowError, raise_all
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY

LABELS = "labels"
MAX_BYTES = 4 << 30
"""Of all arrays of a file together, unpacked."""
_UNCHANGED = frozenset(
    ("_to_copy", "to", "view", "reshape", "unsqueeze", "squeeze", "expand", "clone", "contiguous", "slice")
)
"""Operators that hand token ids on."""
Sample = dict[str, Array]


@dataclass(frozen=True)
class Samples:
    """Model inputs, one mapping a sample, and labels where the file has them."""

    samples: tuple[Sample, ...]
    labels: Array | None = None


def model_inputs(graph: Graph) -> dict[str, TensorType]:
    """Inputs of the model by key, batch of 1 included."""
    return {n.op.key: n.op.type for n in graph if isinstance(n.op, Input)}


def token_limits(graph: Graph) -> dict[str, int]:
    """For every input that indexes embedding tables: the rows of the smallest, so ids are 0 .. rows - 1."""
    return {
        n.op.key: limit for n in graph if isinstance(n.op, Input) and (limit := _rows(graph, Value(n.name)))
    }


def _rows(graph: Graph, value: Value) -> int:
    """Rows of the smallest embedding table that a value indexes, through casts and views; 0 where none."""
    found = []
    for user in graph.users(value):
        if user.op.label == "aten.embedding.default":
            found.append(graph.type_of(user.inputs[0]).shape[0])
        elif user.op.name == "aten" and user.inputs == (value,) and user.op.label.split(".")[1] in _UNCHANGED:
            found.append(_rows(graph, Value(user.name)))
    return min((rows for rows in found if rows), default=0)


def load_samples(path: Path, graph: Graph, *, labelled: bool = False) -> Samples:
    """Read `.npz` inputs: an array per model input, leading axis = samples, and optionally `labels`.

    With `labelled`, labels are classes of the model's first output; else they are ignored.

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
    limits = token_limits(graph)
    counts: dict[str, int] = {}
    for key, kind in wanted.items():
        if key not in arrays:
            continue
        fault = _fault(arrays[key], kind, limits.get(key))
        if fault:
            faults.append(f"{key}: {fault}")
            continue
        counts[key] = len(arrays[key])
        if key == MASK_KEY:
            faults += _mask_faults(arrays[key])
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} of {key}" for key, count in counts.items())
        faults.append(f"found different numbers of samples ({found}); expected as many of each")
    if counts and not min(counts.values()):
        faults.append("found no samples; expected at least one")
    count = next(iter(counts.values()), 1)
    if labelled and labels is not None and counts:
        faults += _label_faults(labels, count, graph)
    raise_all(FlowError, f"{path}: found inputs that do not fit the model", faults)
    samples: list[Sample] = [
        {key: arrays[key][i : i + 1].astype(kind.dtype) for key, kind in wanted.items()} for i in range(count)
    ]
    return Samples(tuple(samples), labels if labelled else None)


def _fault(array: Array, kind: TensorType, limit: int | None) -> str:
    """What is wrong with one input, or ''; `limit` is the number of token ids."""
    if array.ndim != len(kind.shape) or array.shape[1:] != kind.shape[1:]:
        return f"found shape {list(array.shape)}; expected [samples, {_dims(kind)}]"
    if array.dtype.kind not in "fiub" or (not kind.is_float and array.dtype.kind == "f"):
        return f"found {array.dtype}; expected {kind.dtype}"
    with np.errstate(all="ignore"):
        cast = array.astype(kind.dtype)
    if kind.is_float:
        return (
            ""
            if np.isfinite(cast).all()
            else f"found values that are not finite; expected finite {kind.dtype}"
        )
    if not np.array_equal(cast, array):
        return f"found values that {kind.dtype} cannot hold; expected {kind.dtype}"
    if limit is not None and array.size and not _within(array, limit):
        return f"found token ids {array.min()} to {array.max()}; expected 0 to {limit - 1}"
    return ""


def _within(integers: Array, limit: int) -> bool:
    return bool(((integers >= 0) & (integers < limit)).all())


def _label_faults(labels: Array, count: int, graph: Graph) -> list[str]:
    name, output = next(iter(graph.outputs.items()))
    shape = graph.type_of(output).shape
    if len(shape) != 2:
        return [
            f"{LABELS}: found labels for output {name} of shape {list(shape)}; expected scores [1, classes]"
        ]
    if labels.shape != (count,):
        return [f"{LABELS}: found shape {list(labels.shape)}; expected [{count}], one label a sample"]
    if labels.dtype.kind not in "iu":
        return [f"{LABELS}: found {labels.dtype}; expected integers"]
    if count and not _within(labels, shape[1]):
        return [f"{LABELS}: found {labels.min()} to {labels.max()}; expected 0 to {shape[1] - 1}"]
    return []


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_BYTES:
            raise FlowError(
                f"{path}: found {size} bytes of arrays; expected at most {MAX_BYTES}; split the file"
            )
        with np.load(path, allow_pickle=False) as data:
            return {key: data[key] for key in data.files}
    except FlowError:
        raise
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable .npz file") from error
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        reason = (
            "it holds pickled objects, which could run code when loaded"
            if "allow_pickle" in str(error)
            else str(error) or type(error).__name__
        )
        raise FlowError(
            f"{path}: found no readable .npz ({reason}); expected an array of numbers for every model input, "
            "as numpy.savez writes them"
        ) from error


def _dims(kind: TensorType) -> str:
    return ", ".join(str(d) for d in kind.shape[1:])


def _mask_faults(mask: Array) -> list[str]:
    if not mask.size:
        return []  # no samples, which is said elsewhere
    lengths = np.count_nonzero(mask, axis=-1)[..., None]
    prefix = np.arange(mask.shape[-1]) < lengths
    bad = np.flatnonzero(
        (mask != prefix).reshape(len(mask), -1).any(axis=1)
        | (lengths == 0).reshape(len(mask), -1).any(axis=1)
    )
    if not bad.size:
        return []
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return [f"{MASK_KEY}: found another form in sample {bad[0]}{more}; expected at least one 1, then only 0"]
