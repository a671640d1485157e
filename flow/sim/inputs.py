"""Samples for a simulation: from the user's file, or seeded stimulus that reaches the corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.errors import FlowError, raise_all
from flow.ir import Array, Graph, TensorType, Value
from flow.ops.source import Input
from flow.passes.masks import MASK_KEY
from flow.sim.host import Sample

LABELS = "labels"
MAX_BYTES = 4 << 30


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
    faults = [f"{key}: missing; expected shape [samples, {_dims(t)}]" for key, t in wanted.items() if key not in arrays]
    faults += [f"{key}: not an input of the model; expected {', '.join(wanted)}" for key in arrays if key not in wanted]
    counts: dict[str, int] = {}
    for key, kind in wanted.items():
        array = arrays.get(key)
        if array is None:
            continue
        if array.shape[1:] != kind.shape[1:] or array.ndim != len(kind.shape):
            faults.append(f"{key}: found shape {list(array.shape)}; expected [samples, {_dims(kind)}]")
        elif array.dtype.kind not in "fiub" or (kind.dtype.startswith(("int", "uint", "bool")) and array.dtype.kind == "f"):
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
    samples = [{key: arrays[key][i : i + 1].astype(kind.dtype) for key, kind in wanted.items()} for i in range(count)]
    return Samples(tuple(samples), labels)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise FlowError(f"{path}: found {path.stat().st_size} bytes; expected at most {MAX_BYTES}; split the file")
        with np.load(path, allow_pickle=False) as data:
            if isinstance(data, np.ndarray):
                raise FlowError(f"{path}: found a single .npy array; expected an .npz with one array per model input")
            return {key: data[key] for key in data.files}
    except OSError as error:
        raise FlowError(f"{path}: found {error.strerror or error}; expected a readable .npz file") from error
    except FlowError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on damaged files
        raise FlowError(f"{path}: found no readable .npz ({error}); expected one array per model input, written by numpy.savez") from error


def _dims(kind: TensorType) -> str:
    return ", ".join(str(d) for d in kind.shape[1:])


def _mask_faults(mask: Array) -> list[str]:
    lengths = np.count_nonzero(mask, axis=-1)
    prefix = np.arange(mask.shape[-1]) < lengths[..., None]
    bad = np.flatnonzero((((mask != 0) != prefix) | (lengths[..., None] == 0)).reshape(len(mask), -1).any(axis=1))
    if not bad.size:
        return []
    return [f"{MASK_KEY}: found another form in sample {bad[0]} and {len(bad) - 1} more; expected a prefix of at least one 1, then 0"]


def stimulus(graph: Graph, count: int, seed: int) -> Samples:
    """Seeded samples over the calibrated range, corner cases first.

    Corners: all zero; saturating high, low and alternating; the shortest and the longest sequence. Then random ones of
    growing magnitude, every fourth beyond the calibrated range.
    """
    rng = np.random.default_rng(seed)
    wanted = model_inputs(graph)
    scales = _ranges(graph)
    samples: list[Sample] = []
    for index in range(count):
        sample: dict[str, Array] = {}
        for key, kind in wanted.items():
            if key == MASK_KEY:
                sample[key] = _mask(kind, index, rng)
            elif kind.is_float:
                sample[key] = _real(kind, scales.get(key, 3.0), index, rng)
            else:
                sample[key] = _tokens(graph, key, kind, index, rng)
        samples.append(sample)
    return Samples(tuple(samples))


def _mask(kind: TensorType, index: int, rng: np.random.Generator) -> Array:
    tokens = kind.shape[-1]
    length = {0: tokens, 1: 1, 2: tokens}.get(index, int(rng.integers(1, tokens + 1)))
    return (np.arange(tokens) < length).astype(kind.dtype).reshape(kind.shape)


def _real(kind: TensorType, top: float, index: int, rng: np.random.Generator) -> Array:
    shape = kind.shape
    if index == 0:
        value = np.zeros(shape)
    elif index < 4:
        signs = {1: 1.0, 2: -1.0}.get(index, 1.0)
        value = np.full(shape, 4.0 * top * signs) if index < 3 else 4.0 * top * np.where(np.arange(kind.size).reshape(shape) % 2, 1.0, -1.0)
    else:
        value = rng.uniform(-top, top, shape) * (1.5 if index % 4 == 3 else rng.uniform(0.3, 1.0))
    return value.astype(kind.dtype)


def _tokens(graph: Graph, key: str, kind: TensorType, index: int, rng: np.random.Generator) -> Array:
    """Token ids below the smallest table that the input indexes; corners: first and last row."""
    size = _vocabulary(graph, key)
    if index in (0, 1):
        return np.full(kind.shape, 0 if index == 0 else size - 1, kind.dtype)
    return rng.integers(0, size, kind.shape).astype(kind.dtype)


def _vocabulary(graph: Graph, key: str) -> int:
    node = next(n for n in graph if isinstance(n.op, Input) and n.op.key == key)
    sizes = []
    for user in graph.users(Value(node.name)):
        label = user.op.label
        if label == "aten.embedding.default":
            sizes.append(graph.type_of(user.inputs[0]).shape[0])
    return min(sizes, default=2)


def _ranges(graph: Graph) -> dict[str, float]:
    """The largest magnitude that each float input's quantiser represents."""
    found: dict[str, float] = {}
    for node in graph:
        if node.op.name != "quantize":
            continue
        inputs = _sources(graph, node.inputs[0])
        reach = node.type.scale
        if reach is not None and len(inputs) == 1:
            top = reach * (2 ** (node.type.bits - 1) - 1)
            found[inputs[0]] = max(found.get(inputs[0], 0.0), top)
    return found


def _sources(graph: Graph, value: Value) -> Sequence[str]:
    frontier, found = [value], []
    while frontier:
        node = graph.producer(frontier.pop())
        if isinstance(node.op, Input):
            found.append(node.op.key)
        frontier += list(node.inputs)
    return found
