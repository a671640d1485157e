"""The mutation tool lies in tools/, which is no package of flow's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from flow.engine import parameters
from flow.ir import REGISTRY
from flow.ops.float import ACTIVATIONS
from flow.ops.post import OUTSIDE

sys.path.append(str(Path(__file__).resolve().parents[2] / "tools"))

if TYPE_CHECKING:
    from mutation.stimulus import Bench


@pytest.fixture
def plugged_bench() -> Iterator[Bench]:
    """An engine with a plug-in's stage, which is registered for this test alone."""
    from mutation.stimulus import plugged

    tables: list[dict[str, Any]] = [OUTSIDE, ACTIVATIONS, REGISTRY, parameters._OUTSIDE]
    saved = [dict(table) for table in tables]
    path = list(sys.path)
    yield plugged()
    sys.path[:] = path
    for table, before in zip(tables, saved, strict=True):
        table.clear()
        table.update(before)
