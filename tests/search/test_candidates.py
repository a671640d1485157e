"""What a candidate is judged by."""

from __future__ import annotations

import numpy as np
import pytest

from flow.search.candidates import _cosine


def test_an_output_of_zeros_is_near_to_nothing_but_zeros() -> None:
    some, none = np.array([3.0, 4.0]), np.zeros(2)
    assert _cosine(some, 2 * some) == pytest.approx(1)
    assert _cosine(some, np.array([4.0, 3.0])) == pytest.approx(0.96)
    assert _cosine(some, none) == _cosine(none, some) == 0
    assert _cosine(none, none) == 1
