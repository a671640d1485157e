"""The weight loader: everything the format says, at the pace of its bounds, and what it refuses."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from weight_streams import Loader

from tests.rtl.harness import simulate

HP = [
    "dense",
    "dense4",
    "hp-2-1",
    "hp-4-2",
    "hp-8-3",
    "hp-half4",
    "block",
    "pattern",
    "unstructured",
    "zeros",
]
SMALL = ["dense", "dense4", "block", "unstructured", "zeros"]

CASES: dict[str, tuple[Loader, dict[str, Any]]] = {
    "few banks": (Loader(4, 2, 32, 16, 16), {"structures": [*HP, "largest"], "pace": HP}),
    "narrow beats": (
        Loader(16, 8, 8, 12, 12),
        {"structures": HP, "pace": ["dense", "hp-4-2", "block"], "jobs": 5},
    ),
    "one": (Loader(1, 1, 8, 12, 12, 8), {"structures": SMALL}),
    "one in wide beats": (Loader(1, 1, 64, 8, 5, 12), {"structures": SMALL}),
    "widest beats": (
        Loader(8, 4, 128, 40, 40, 10),
        {"structures": HP, "pace": HP, "pace_groups": 8, "jobs": 4},
    ),
    "many banks": (Loader(64, 1, 8, 8, 3), {"structures": SMALL, "pace": SMALL, "pace_groups": 8, "jobs": 2}),
    # A dense record of one cycle fills its beat: records follow each other without a cycle between.
    "wide records": (
        Loader(64, 1, 64, 8, 3),
        {
            "structures": ["dense"],
            "pace": ["dense"],
            "pace_groups": 200,
            "jobs": 2,
            "damaged": 6,
            "reasons": 1,
        },
    ),
    # The reference engine: what it does is seen above, here its pace counts.
    "reference": (
        Loader(64, 8, 64, 16, 12),
        {
            "structures": ["hp-4-2"],
            "pace": ["dense", "dense4", "hp-2-1", "hp-8-3", "block"],
            "pace_groups": 8,
            "jobs": 1,
            "groups": 3,
            "damaged": 6,
            "reasons": 1,
            "full": False,
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_weight_loader(name: str, tmp_path: Path) -> None:
    loader, more = CASES[name]
    case = {
        "loader": asdict(loader),
        "seed": len(name),
        "groups": 8,
        "jobs": 6,
        "damaged": 50,
        "reasons": 5,
        "pace": [],
        "pace_groups": 24,
        "full": True,
        **more,
    }
    simulate("weight_loader", loader.parameters, "bench_weight_loader", tmp_path, case, ports_only=True)
