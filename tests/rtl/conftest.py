"""One geometry of each module is tested by default; a module takes a simulation model of its own for each."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Tests import from benches as benches do, which run inside the simulator.
sys.path.insert(0, str(HERE / "benches"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all cases of a test but one as `deep`: of those with and without stalls, which alternate, one with."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.path.parent == HERE:
            cases[item.nodeid.split("[")[0]].append(item)
    for found in cases.values():
        kept = found[min(max(1, len(found) // 4) | 1, len(found) - 1)]
        for item in found:
            if item is not kept:
                item.add_marker(pytest.mark.deep)
