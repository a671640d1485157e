"""The winner's build in simulation, by whatever crew: the same answer, once, and nothing of the build left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import pytest

from flow.boards import load_board
from flow.emit.lower import Lowered, lower
from flow.errors import FlowError
from flow.search.candidates import Source
from flow.search.executor import Alone, Crew, Dask, Processes
from flow.search.workshop import Workshop


@pytest.fixture(scope="module")
def lowered(models: Path) -> Lowered:
    """At a level: the build goes to whoever simulates it as it is."""
    return lower(models / "digits_vit_hp80.pt2", load_board("pynq-z2").at("half"))


@pytest.fixture(params=["alone", "processes", "dask"])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    if request.param == "dask":
        with distributed.LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster:
            found: Crew = Dask(cluster.scheduler_address)
            yield found
            found.close()
        return
    found = Alone() if request.param == "alone" else Processes(2)
    yield found
    found.close()


def shop_of(models: Path, journal: Path, crew: Crew) -> Workshop:
    source = Source(models / "digits_vit_hp80.pt2", journal, (), 0, {"data": "x"})
    journal.mkdir(exist_ok=True)
    shutil.copyfile(models / "digits_test.npz", source.part("test"))
    return Workshop(source, crew, lambda _: None)


def test_the_build_is_simulated(models: Path, lowered: Lowered, crew: Crew, tmp_path: Path) -> None:
    journal = tmp_path / "j"
    found = shop_of(models, journal, crew).confirm(lowered)
    assert found["mismatches"] == 0
    estimated = sum(step.full_rate_cycles for step in lowered.estimate.steps)
    assert found["estimated_cycles"] == estimated
    assert abs(found["cycles"] / estimated - 1) < 0.01
    (record,) = journal.glob("*/record.json")
    assert [path.name for path in record.parent.iterdir()] == ["record.json"]
    assert [path for path in journal.iterdir() if path.name.startswith(".")] == []
    # What is in the journal asks nobody again, and another build is another piece of work.
    assert shop_of(models, journal, _Nobody()).confirm(lowered) == found


def test_an_interruption_leaves_no_build(models: Path, lowered: Lowered, tmp_path: Path) -> None:
    shop = shop_of(models, tmp_path / "j", _Nobody())
    with pytest.raises(KeyboardInterrupt):
        shop.confirm(lowered)
    assert [path.suffix for path in (tmp_path / "j").iterdir()] == [".npz"]


class _Nobody:
    """A crew whose owner is interrupted as soon as he gives it work."""

    size = 1

    def submit(self, *_: Any) -> Any:
        raise KeyboardInterrupt

    def close(self) -> None:
        raise FlowError("it was never open")
