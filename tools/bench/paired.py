"""Paired differences with 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


def interval(values: npt.ArrayLike) -> Interval:
    """The mean of independent values with Student's 95 % interval.

    Raises:
        ValueError: fewer than two values.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size < 2:
        raise ValueError(f"interval: found {x.size} values; expected two at least")
    mean, error = float(x.mean()), float(x.std(ddof=1)) / x.size**0.5
    reach = float(student.ppf(0.975, x.size - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
