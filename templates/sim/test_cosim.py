"""pytest runs the cocotb tests of scenarios.py, each on a simulation of its own; flow finds the tools.

pytest                       # all of them
pytest -k reset --waves      # one, with its waveform in results/NAME/dump.fst
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from flow.sim.cosim import run_scenarios

HERE = Path(__file__).resolve().parent
SCENARIOS = "scenarios"


def cases() -> list[str]:
    """Names of the cocotb tests in scenarios.py."""
    tree = ast.parse((HERE / f"{SCENARIOS}.py").read_text())
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.AsyncFunctionDef)
        and any("cocotb" in ast.unparse(d) for d in node.decorator_list)
    ]


@pytest.mark.parametrize("case", cases())
def test_scenario(case: str, request: pytest.FixtureRequest) -> None:
    """One cocotb test passes, and it is the one that was asked for."""
    waves = bool(request.config.getoption("--waves"))
    results = run_scenarios(HERE.parent, SCENARIOS, HERE / "results" / case, case=case, waves=waves)
    assert [result.name.rpartition(".")[2] for result in results] == [case]
    assert not results[0].failure, results[0].failure
