"""One geometry of each module is tested by default; a module takes a simulation model of its own for each.

Of half the tests, drawn by a seed, another one is slow, so that CI meets it; `pytest tests/rtl -m deep` runs the
others.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED, DRAWN = 1, 0.5
# Tests import from benches as benches do, which run inside the simulator.
sys.path.insert(0, str(HERE / "benches"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all cases of a test but one or two as `deep`: of those with and without stalls, which alternate, one with
    stays as it is, and of some tests another one becomes `slow`.

    A test of several modules names them by its parameter `unit`, and keeps one case of each.
    """
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.path.parent == HERE:
            unit = item.callspec.params.get("unit", "") if hasattr(item, "callspec") else ""
            cases[f"{item.nodeid.split('[')[0]} {unit}"].append(item)
    for name, found in cases.items():
        found.pop(min(max(1, len(found) // 4) | 1, len(found) - 1))  # this one stays
        rng = random.Random(f"{SEED} {name}")
        drawn = rng.choice(found) if found and rng.random() < DRAWN else None
        for item in found:
            item.add_marker(pytest.mark.slow if item is drawn else pytest.mark.deep)
