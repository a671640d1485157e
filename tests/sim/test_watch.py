"""`flow sim --watch`: what is done again when something changes, what is not, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from flow.boards import load_board
from flow.emit.build import Build, write_build
from flow.emit.lower import lower, prepare
from flow.emit.recipe import Recipe, recall, recipe_of, remember
from flow.emit.sources import eject
from flow.errors import FlowError
from flow.sim import watch as module
from flow.sim.watch import Watch

Flow = Callable[..., Any]
SECONDS = 120.0


@pytest.fixture(scope="session")
def lowered(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an overlay of one template and their build."""
    folder = tmp_path_factory.mktemp("lowered")
    shutil.copy(models / "digits_vit_hp80.pt2", folder / "model.pt2")
    eject(["dispatch.hpp.j2"], folder / "mine")
    made = lower(folder / "model.pt2", load_board("ulx3s-85f"), templates=folder / "mine")
    write_build(folder / "build", made.files, made.manifest)
    return folder


@pytest.fixture
def place(lowered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it that `flow` remembers, in a cache of its own."""
    monkeypatch.setenv("FLOW_CACHE_DIR", str(tmp_path / "cache"))
    place = shutil.copytree(lowered, tmp_path / "place")
    remember(place / "build", Recipe.of(place / "model.pt2", None, place / "mine", same_engine=False))
    return place


def test_lower_leaves_a_recipe(flow: Flow, place: Path) -> None:
    """And says the same of every file as the build of the fixture."""
    lower = ("lower", place / "model.pt2", "--board", "ulx3s-85f", "-o", place / "again")
    assert flow(*lower, "--templates", place / "mine").status == 0
    assert recall(place / "again") == recall(place / "build")


def edit(path: Path, text: str) -> None:
    """Write as an editor does, and later than before for every clock."""
    before = path.stat().st_mtime_ns
    path.write_text(text)
    os.utime(path, ns=(before + 10_000_000, before + 10_000_000))


class Recorder:
    """A watch whose check is a function of the build's dispatch.hpp."""

    def __init__(self, place: Path) -> None:
        self.lines: list[str] = []
        self.errors: list[str] = []
        self.checked: list[str] = []
        recipe = recipe_of(place / "build", None, None, None)
        self.watch = Watch(place / "build", recipe, self.check, self.lines.append, self.errors.append)

    def check(self, build: Build) -> int:
        self.checked.append(build.read("hls/dispatch.hpp").decode().splitlines()[0])
        return 3 if "wrong" in self.checked[-1] else 0


class _EndError(Exception):
    pass


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`follow(watch, *edits)`: one edit whenever the watch waits, and an end after the last."""

    def run(watch: Watch, *edits: Callable[[], object]) -> None:
        rest = iter(edits)

        def sleep(seconds: float) -> None:
            if seconds == module.POLL_SECONDS:
                step = next(rest, None)
                if step is None:
                    raise _EndError
                step()

        monkeypatch.setattr(module, "_sleep", sleep)
        with pytest.raises(_EndError):
            watch.run()

    return run


def test_only_what_changed_is_done_again(
    place: Path, follow: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Path] = []

    def counted(model: Path, *arguments: Any, **options: Any) -> Any:
        prepared.append(model)
        return prepare(model, *arguments, **options)

    monkeypatch.setattr(module, "prepare", counted)
    template, recorder = place / "mine" / "dispatch.hpp.j2", Recorder(place)
    plain = template.read_text()
    seen: list[tuple[int, int, int]] = []

    def step(text: str) -> Callable[[], None]:
        def act() -> None:
            seen.append((recorder.watch.status, len(recorder.checked), len(prepared)))
            edit(template, text)

        return act

    touch = step(plain)  # other times, the same bytes
    follow(
        recorder.watch,
        touch,
        step("// one\n" + plain),
        step("// wrong\n" + plain),
        step("{{ nothing }}\n" + plain),
        step("// one\n" + plain),
        lambda: seen.append((recorder.watch.status, len(recorder.checked), len(prepared))),
    )
    assert seen == [(0, 1, 1), (0, 1, 1), (0, 2, 1), (1, 3, 1), (2, 3, 1), (0, 4, 1)]
    assert recorder.checked[1:] == ["// one", "// wrong", "// one"]
    assert recorder.errors == [
        f"{template}:1: found the undefined name 'nothing', for hls/dispatch.hpp; expected one of ctx"
    ]
    assert [line.split(" ", 1)[1].split(" after ")[0].split(" in ")[0] for line in recorder.lines] == [
        "start", "lowered", "equal",
        "dispatch.hpp.j2 changed", "the build is the same, byte for byte; waiting",
        "dispatch.hpp.j2 changed", "lowered", "equal",
        "dispatch.hpp.j2 changed", "lowered", "DIFFERENT",
        "dispatch.hpp.j2 changed", "failed",
        "dispatch.hpp.j2 changed", "lowered", "equal",
    ]  # fmt: skip
    assert Build.open(place / "build").read("hls/dispatch.hpp").startswith(b"// one\n")
    assert recall(place / "build") == recorder.watch.recipe


def test_files_come_and_go_and_a_model_is_lowered_again(
    place: Path, models: Path, follow: Callable[..., None]
) -> None:
    recorder, pool, model = Recorder(place), place / "mine" / "engine" / "pool.hpp", place / "model.pt2"

    def add() -> None:
        pool.parent.mkdir()
        pool.write_text("// mine\n")

    def other() -> None:
        shutil.copy(models / "digits_vit_dense.pt2", model)

    hashes: list[str] = []

    def note() -> None:
        hashes.append(Build.open(place / "build").manifest["model"]["sha256"])

    follow(recorder.watch, note, add, pool.unlink, other, note, model.unlink)
    assert len(set(hashes)) == 2
    changes = [line.split(" ", 1)[1] for line in recorder.lines if line.endswith(("new", "gone", "changed"))]
    assert changes == ["pool.hpp is new", "pool.hpp is gone", "model.pt2 changed", "model.pt2 is gone"]
    assert recorder.errors == [f"[Errno 2] No such file or directory: '{model}'"]
    assert recorder.watch.status == 2


def test_a_recipe_is_for_one_build_only(place: Path, models: Path) -> None:
    build, model, mine = place / "build", str(place / "model.pt2"), str(place / "mine")
    assert recall(build) == Recipe(model, "", mine, False)
    assert recipe_of(build, None, None, models) == Recipe(model, "", str(models), False)
    assert recipe_of(build, models, None, None) == Recipe(str(models), "", mine, False)
    shutil.copytree(build, place / "copy")
    assert recall(place / "copy") is None
    with pytest.raises(FlowError) as caught:
        recipe_of(place / "copy", None, None, None)
    assert str(caught.value) == (
        f"{place}/copy: found no record of what it was lowered from; expected one that `flow lower` left in this "
        "user's cache; name the model with --model, and --templates and --config if there were any"
    )
    remember(place / "copy", Recipe("m", same_engine=True))
    assert recall(place / "copy") == Recipe("m", same_engine=True)
    (build / "manifest.json").write_text((build / "manifest.json").read_text() + "\n")
    assert recall(build) is None


def test_options_that_do_not_go_together(flow: Flow, place: Path) -> None:
    for option in ("--model", "--templates", "--config"):
        done = flow("sim", place / "build", option, place / "model.pt2")
        assert (done.status, done.err) == (
            2,
            (
                "error: flow sim: found --model, --templates or --config without --watch; expected a build that holds "
                "what it was lowered from; add --watch, or lower again\n"
            ),
        )
    done = flow("sim", place / "build", "--watch", "--json")
    assert (done.status, done.err) == (
        2,
        "error: flow sim: found --watch with --json, which prints one object; expected one of the two\n",
    )


# -- the process -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(place: Path) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], str]]]:
    """`flow sim --watch` on the golden model, and a function that waits for a line of its stderr."""
    command = [sys.executable, "-m", "flow", "sim", str(place / "build"), "--watch", "--backend", "golden"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*command, "--samples", "2"], stdout=subprocess.DEVNULL, stderr=pipe, text=True
    ) as process:
        said: Queue[str] = Queue()
        assert process.stderr is not None
        stream = process.stderr

        def read() -> None:
            for line in stream:
                said.put(line)

        threading.Thread(target=read, daemon=True).start()

        def until(text: str) -> str:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                line = said.get(timeout=SECONDS)
                if text in line:
                    return line
            raise AssertionError(text)

        yield process, until
        process.kill()


def test_interrupted_while_waiting(
    place: Path, lines: tuple[subprocess.Popen[str], Callable[[str], str]]
) -> None:
    """Ctrl-C ends with the status of the last check."""
    process, until = lines
    until("equal after")
    template = place / "mine" / "dispatch.hpp.j2"
    edit(template, "{{ broken }}\n")
    assert until("error:") == (
        f"error: {template}:1: found the undefined name 'broken', for hls/dispatch.hpp; expected one of ctx\n"
    )
    until("failed after")
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 2


def test_stopped(lines: tuple[subprocess.Popen[str], Callable[[str], str]]) -> None:
    """Any other signal ends as it does everywhere."""
    process, until = lines
    until("equal after")
    time.sleep(0.1)
    process.terminate()
    assert process.wait(SECONDS) == 128 + signal.SIGTERM
