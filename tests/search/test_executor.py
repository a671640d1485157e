"""Crews: the same work alone, in processes and on a cluster; what dies is done again, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import distributed
import pytest

from flow.errors import FlowError, UnsupportedError
from flow.search.executor import Alone, Crew, Dask, Processes, crew_of

WORKS = Path(__file__).parent / "works"
# Workers import what they run by its name, along the path of their parent.
sys.path.append(str(WORKS))
import search_works as works  # noqa: E402

PATIENCE = 600.0
"""Seconds that anything may take."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a local cluster of two processes."""
    with distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as found:
        yield found.scheduler_address


@pytest.fixture(params=["alone", "processes", "dask"])
def crew(request: pytest.FixtureRequest) -> Iterator[Crew]:
    if request.param == "dask":
        found: Crew = Dask(request.getfixturevalue("cluster"))
    else:
        found = Alone() if request.param == "alone" else Processes(2)
    yield found
    found.close()


def test_work_is_done_on_one_thread(crew: Crew) -> None:
    found = [crew.submit(works.where, i).result(PATIENCE) for i in range(4)]
    assert [number for number, _, _ in found] == [0, 1, 2, 3]
    assert {threads for _, _, threads in found} == {1}
    assert (os.getpid() in {pid for _, pid, _ in found}) == isinstance(crew, Alone)
    assert crew.size == (1 if isinstance(crew, Alone) else 2)


def test_an_error_is_the_callers(crew: Crew) -> None:
    with pytest.raises(UnsupportedError, match=r"^here: found this; expected that$"):
        crew.submit(works.refuse).result(PATIENCE)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


@pytest.mark.parametrize("crew", ["processes", "dask"], indirect=True)
def test_a_killed_worker_loses_nothing(crew: Crew, tmp_path: Path) -> None:
    futures = [crew.submit(works.wait_once, tmp_path, number) for number in range(5)]
    wait_for((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGKILL)
    assert [future.result(PATIENCE) for future in futures] == [0, 1, 4, 9, 16]


def test_work_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    crew = Processes(1)
    with pytest.raises(FlowError) as caught:
        crew.submit(works.die, tmp_path).result(PATIENCE)
    crew.close()
    assert str(caught.value) == (
        "flow select: found a worker that died 4 times at one piece of work; expected it to live; it was probably "
        "killed for memory: take fewer --jobs, or a machine with more"
    )
    assert (tmp_path / "attempts").read_text() == "xxxx"


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_closing_ends_what_runs(tmp_path: Path) -> None:
    crew = Processes(1)
    future = crew.submit(works.wait_once, tmp_path, 0)
    wait_for((tmp_path / "pid").exists)
    crew.close()
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: gone(pid))
    wait_for(future.done)


def test_closing_ends_the_tools_that_workers_run(tmp_path: Path) -> None:
    crew = Processes(1)
    crew.submit(works.run_tool_until_killed, tmp_path)
    wait_for((tmp_path / "tool").exists)
    crew.close()
    pid = int((tmp_path / "tool").read_text())
    wait_for(lambda: gone(pid))


def test_workers_die_with_their_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from flow.search.executor import Processes; import search_works "
        "as works\nif __name__ == '__main__': Processes(1).submit(works.wait_once, Path(sys.argv[1]), 0).result()"
    )
    (tmp_path / "main.py").write_text(script)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{WORKS}"}
    parent = subprocess.Popen([sys.executable, tmp_path / "main.py", tmp_path], env=environment)
    wait_for((tmp_path / "pid").exists)
    parent.kill()
    parent.wait(PATIENCE)
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: gone(pid))


def test_no_scheduler_answers() -> None:
    with pytest.raises(FlowError) as caught:
        crew_of(1, "nowhere")
    assert str(caught.value) == (
        "--scheduler nowhere: found no Dask scheduler that answers within 10 s; expected one at an address such as "
        "tcp://host:8786; start it with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`"
    )


def test_dask_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(FlowError) as caught:
        crew_of(1, "tcp://127.0.0.1:1")
    assert str(caught.value) == (
        "--scheduler: found no package `distributed`; expected it for a Dask cluster; install it with "
        "`pip install 'flow-hls[dask]'`, or leave the option out"
    )


def test_no_jobs() -> None:
    with pytest.raises(FlowError, match=r"^--jobs: found 0; expected at least 1$"):
        crew_of(0, None)
