"""Equality of every output bit, and the first place where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from flow.errors import FlowError
from flow.ir import Array


@dataclass(frozen=True)
class Mismatch:
    """The first element that differs: in which sample, step and tensor, where, and both values."""

    sample: int
    step: str
    tensor: str
    index: tuple[int, ...]
    golden: int
    found: int

    def __str__(self) -> str:
        at = ", ".join(map(str, self.index))
        return (
            f"sample {self.sample}: step {self.step}: {self.tensor}[{at}]: "
            f"found {self.found}; expected {self.golden} (golden)"
        )


def first_difference(sample: int, step: str, tensor: str, golden: Array, found: Array) -> Mismatch | None:
    """The first differing element in C order, or None.

    Raises:
        FlowError: the shapes differ.
    """
    if golden.shape != found.shape:
        raise FlowError(f"{step}: found shape {found.shape} of {tensor}; expected {golden.shape}")
    different = np.argwhere(np.asarray(golden, np.int64) != np.asarray(found, np.int64))
    if not len(different):
        return None
    index = tuple(int(i) for i in different[0])
    return Mismatch(sample, step, tensor, index, int(golden[index]), int(found[index]))


def count_differences(golden: Mapping[str, Array], found: Mapping[str, Array]) -> tuple[int, int]:
    """(elements compared, elements that differ) over outputs by name.

    Raises:
        FlowError: an output is missing on one side.
    """
    if golden.keys() != found.keys():
        raise FlowError(f"outputs: found {sorted(found)}; expected {sorted(golden)}")
    compared = sum(int(np.size(a)) for a in golden.values())
    return compared, sum(
        int(np.count_nonzero(np.asarray(a, np.int64) != np.asarray(found[k], np.int64)))
        for k, a in golden.items()
    )


def sqnr_db(reference: Array, approximation: Array) -> float:
    """10*log10(|reference|^2 / |reference - approximation|^2).

    inf where both are equal, -inf where the reference is all zero and the other is not.
    """
    signal = float(np.square(np.asarray(reference, np.float64)).sum())
    noise = float(np.square(np.asarray(reference, np.float64) - np.asarray(approximation, np.float64)).sum())
    if noise == 0:
        return float("inf")
    return 10.0 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")
