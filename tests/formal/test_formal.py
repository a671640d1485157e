"""Handshakes, queues and arbiters of the Verilog engine, proven with Yosys and z3; and that the proofs can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.formal.proofs import BROKEN, PROOFS, SLOW

MARKS = dict.fromkeys(SLOW, pytest.mark.slow)
CASES = [pytest.param(name, marks=MARKS.get(name, ())) for name in PROOFS]


@pytest.mark.parametrize("name", CASES)
def test_holds(name: str, tmp_path: Path) -> None:
    """By induction or to the stated depth, and not for want of anything that happens."""
    assert PROOFS[name].run(tmp_path)
    assert not PROOFS[name].cover or PROOFS[name].covers(tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_a_broken_copy_is_noticed(name: str, tmp_path: Path) -> None:
    assert PROOFS[name].refutes(tmp_path, BROKEN[name])


def test_every_proof_has_its_fault() -> None:
    assert set(BROKEN) == set(PROOFS)
    assert set(SLOW) <= set(PROOFS)
    assert sum(proof.induction for proof in PROOFS.values()) >= 4
