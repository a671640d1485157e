"""docs/operators.md lists exactly what the host can evaluate and the device can run."""

from __future__ import annotations

import re
from pathlib import Path

from flow.ops import aten_numpy
from flow.ops.float import ACTIVATIONS

DOC = (Path(__file__).resolve().parent.parent / "docs" / "operators.md").read_text()


def test_host_operators() -> None:
    block = re.search(r"```\n(.*?)\n```", DOC, re.DOTALL)
    assert block is not None
    assert block[1].split() == sorted(target.removeprefix("aten.") for target in aten_numpy.TABLE)


def test_activations() -> None:
    row = next(line for line in DOC.splitlines() if line.startswith("| activation"))
    assert {name.removesuffix("_tanh") for name in ACTIVATIONS} <= set(re.findall(r"`(\w+)`", row))
