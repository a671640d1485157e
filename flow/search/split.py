"""Samples in three parts: to fit and calibrate on, to decide by, and to report once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flow.errors import FlowError
from flow.golden.samples import LABELS, Samples
from flow.ir import Array

SHARES = (0.6, 0.2, 0.2)
"""Of fit, validation and test."""
LEAST = 10
"""Samples below which nothing can be split."""


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of the data."""

    fit: Samples
    validation: Samples
    test: Samples


def split(samples: Samples, seed: int) -> Split:
    """Shuffled by `seed` and cut by `SHARES`; with labels, every class in each part as far as it goes.

    Raises:
        FlowError: fewer than ten samples.
    """
    count = len(samples.samples)
    if count < LEAST:
        raise FlowError(
            f"--data: found {count} samples; expected at least {LEAST}, of which a fifth each is kept to decide by "
            "and to report on; give more"
        )
    order = np.random.default_rng(seed).permutation(count)
    if samples.labels is not None:
        # One class after the other, dealt out in turn, keeps the parts alike.
        order = order[np.argsort(samples.labels[order], kind="stable")]
    turns = np.arange(count) % 5
    parts = [order[np.isin(turns, chosen)] for chosen in ((0, 2, 4), (1,), (3,))]
    return Split(*(_take(samples, np.sort(part)) for part in parts))


def _take(samples: Samples, index: Array) -> Samples:
    labels = None if samples.labels is None else samples.labels[index]
    return Samples(tuple(samples.samples[i] for i in index), labels)


def write_samples(samples: Samples, path: Path) -> None:
    """An `.npz` as `load_samples` reads it."""
    arrays = {key: np.concatenate([sample[key] for sample in samples.samples]) for key in samples.samples[0]}
    if samples.labels is not None:
        arrays[LABELS] = samples.labels
    np.savez(path, allow_pickle=False, **arrays)
