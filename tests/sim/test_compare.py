"""Equality of every bit, and the place where it ends."""

from __future__ import annotations

import numpy as np
import pytest

from flow.errors import FlowError
from flow.sim.compare import Mismatch, count_differences, first_difference, sqnr_db

GOLDEN = np.arange(-3, 9).reshape(3, 4)


def test_first_difference() -> None:
    """The first in C order, with both values, whatever the integers' width."""
    found = GOLDEN.astype(np.int8)
    assert first_difference(5, "fc1", "gelu_q", GOLDEN, found) is None
    found[2, 0], found[1, 3] = 100, -100
    mismatch = first_difference(5, "fc1", "gelu_q", GOLDEN, found)
    assert mismatch == Mismatch(5, "fc1", "gelu_q", (1, 3), 4, -100)
    assert str(mismatch) == "sample 5: step fc1: gelu_q[1, 3]: found -100; expected 4 (golden)"


def test_a_wrapped_value_differs() -> None:
    """Compared as integers, not as bits of the narrower type."""
    assert first_difference(0, "s", "t", np.array([255]), np.array([-1], np.int8)) is not None


def test_shapes_must_agree() -> None:
    with pytest.raises(FlowError) as caught:
        first_difference(0, "fc1", "gelu_q", GOLDEN, GOLDEN.T)
    assert str(caught.value) == "fc1: found shape (4, 3) of gelu_q; expected (3, 4)"


def test_count_differences() -> None:
    other = GOLDEN.copy()
    other[0] += 1
    assert count_differences({"a": GOLDEN, "b": GOLDEN}, {"b": other, "a": GOLDEN}) == (24, 4)
    with pytest.raises(FlowError) as caught:
        count_differences({"a": GOLDEN}, {"b": GOLDEN})
    assert str(caught.value) == "outputs: found ['b']; expected ['a']"


def test_sqnr() -> None:
    signal = np.array([3.0, -4.0])
    assert sqnr_db(signal, signal) == float("inf")
    assert sqnr_db(signal, 1.1 * signal) == pytest.approx(20.0)
    assert sqnr_db(np.zeros(2), signal) == float("-inf")
    assert sqnr_db(np.zeros(2), np.zeros(2)) == float("inf")
