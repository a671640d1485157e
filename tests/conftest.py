"""What every test may use: golden files, the bundled models, a small build of them, the command line."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flow.boards import load_board
from flow.emit.build import write_build
from flow.emit.lower import lower

GOLDEN = Path(__file__).parent / "golden"
MODELS = Path(__file__).resolve().parent.parent / "models"
Golden = Callable[[str, str], None]
Members = dict[str, bytes]
EditArchive = Callable[[Callable[[Members], Mapping[str, bytes]]], Path]


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled kernels out of the user's cache, but between runs and workers: their names are their contents."""
    cache = getattr(config, "cache", None)
    if cache is not None and "FLOW_CACHE_DIR" not in os.environ:
        os.environ["FLOW_CACHE_DIR"] = str(cache.mkdir("flow"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden/ anew from what the code gives now"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Compare a text with the file of that name under tests/golden/, or write the file under --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path}: found no golden file; write it with --update-golden and read it"
        assert text == path.read_text(encoding="utf-8")

    return compare


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Stdout as the one JSON object that it has to be."""
        data: dict[str, Any] = json.loads(self.out)
        assert isinstance(data, dict)
        return data


@pytest.fixture
def flow() -> Callable[..., Outcome]:
    """`flow(*arguments)` runs the command line; an exception that it lets through fails the test."""
    from flow.cli import main

    def run(*arguments: object) -> Outcome:
        result = CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture(scope="session")
def powerless() -> Callable[[Path], Path]:
    """`powerless(path)` writes a PYNQ-Z2 that is called like the file, and whose file says nothing of power."""

    def write(path: Path) -> Path:
        text = load_board("pynq-z2").text
        start, end = text.index("[power]"), text.index("[[sources]]")
        kept = (text[:start] + text[end:]).replace('name = "pynq-z2"', f'name = "{path.stem}"')
        entries = [entry for entry in kept.split("[[sources]]") if '"power.' not in entry]
        path.write_text("[[sources]]".join(entries), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def models() -> Path:
    """The folder of the bundled models."""
    return MODELS


@pytest.fixture(scope="session")
def digits_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled HP model on pynq-z2, to be read only; `build_copy` is for tests that change one."""
    lowered = lower(MODELS / "digits_vit_hp80.pt2", load_board("pynq-z2"))
    path = tmp_path_factory.mktemp("digits") / "build"
    write_build(path, lowered.files, lowered.manifest)
    return path


@pytest.fixture
def build_copy(digits_build: Path, tmp_path: Path) -> Path:
    """A build of this test's own."""
    return shutil.copytree(digits_build, tmp_path / "build")


@pytest.fixture
def edit_archive(tmp_path: Path) -> EditArchive:
    """`edit_archive(change)`: the bundled HP model with its members (named without their top folder) changed."""

    def edit(change: Callable[[Members], Mapping[str, bytes]]) -> Path:
        with zipfile.ZipFile(MODELS / "digits_vit_hp80.pt2") as archive:
            members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
        path = tmp_path / "edited.pt2"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
            for name, content in change(members).items():
                target.writestr(f"archive/{name}", content)
        return path

    return edit


@pytest.fixture
def edit_program(edit_archive: EditArchive) -> Callable[[Callable[[dict[str, Any]], None]], Path]:
    """`edit_program(change)`: the bundled HP model with its `models/model.json` changed in place."""

    def edit(change: Callable[[dict[str, Any]], None]) -> Path:
        def rewrite(members: Members) -> Members:
            program = json.loads(members["models/model.json"])
            change(program)
            return {**members, "models/model.json": json.dumps(program).encode()}

        return edit_archive(rewrite)

    return edit
