"""The journal: each piece of work once, whole or not at all, and never another run's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flow.errors import FlowError
from flow.search.journal import Journal


class Worker:
    """Counts its calls and writes a file."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> Mapping[str, Any]:
        self.calls += 1
        (folder / "model").write_text(f"{self.calls}")
        return {"call": self.calls}


def test_work_is_done_once(tmp_path: Path) -> None:
    worker = Worker()
    first = Journal(tmp_path / "j").entry("plan", {"a": 1}, worker)
    again = Journal(tmp_path / "j").entry("plan", {"a": 1}, worker)
    assert (first.data, again.data, worker.calls) == ({"call": 1}, {"call": 1}, 1)
    assert (again.folder / "model").read_text() == "1"
    assert Journal(tmp_path / "j").entry("plan", {"a": 2}, worker).data == {"call": 2}
    assert Journal(tmp_path / "j").entry("score", {"a": 1}, worker).data == {"call": 3}


def test_an_interruption_leaves_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")

    def stopped(folder: Path) -> Mapping[str, Any]:
        (folder / "model").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.entry("plan", {}, stopped)
    assert list((tmp_path / "j").iterdir()) == []
    assert journal.entry("plan", {}, Worker()).data == {"call": 1}


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"identity": {"a": 2}, "data": {"call": 7}}', '{"data": {}}']
)
def test_a_damaged_record_is_made_again(tmp_path: Path, damage: str) -> None:
    journal, worker = Journal(tmp_path / "j"), Worker()
    entry = journal.entry("plan", {"a": 1}, worker)
    (entry.folder / "record.json").write_text(damage)
    assert journal.entry("plan", {"a": 1}, worker).data == {"call": 2}
    assert json.loads((entry.folder / "record.json").read_text())["data"] == {"call": 2}


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FlowError) as caught:
        Journal(tmp_path / "file" / "j")
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'j'}: found Not a directory; expected a writable folder; choose another with --journal"
    )
