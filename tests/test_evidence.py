"""Names bench results that were measured on other sources than those that lie here."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parent.parent / "tools" / "bench"


def evidence() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evidence", BENCH / "evidence.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_evidence_is_stale() -> None:
    assert len(list((BENCH / "results").glob("*.json"))) >= 3
    assert evidence().stale() == []


def test_a_changed_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = evidence()
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    (tmp_path / "a.py").write_text("x = 1\n")
    module.write_evidence("speed", "python speed.py", ["*.py"], {"value": 1})
    assert module.stale() == []
    (tmp_path / "a.py").write_text("x = 2\n")
    assert module.stale() == [
        "speed.json: its sources have changed since it was measured; renew it with `python speed.py`"
    ]
    assert json.loads((tmp_path / "results" / "speed.json").read_text())["value"] == 1
