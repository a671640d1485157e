"""`flow sim --watch`: lowers and checks again whenever the model, a template or a header changes.

Nothing that a change does not touch is done twice: a model is lowered when its content changes, golden outputs are
computed when the program does, a kernel is compiled when its C++ does (the cache of compiled kernels sees to that), and
a build that comes out the same, byte for byte, is not checked at all.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flow.emit.build import MANIFEST, Build, write_build
from flow.emit.lower import Prepared, emit, prepare
from flow.emit.recipe import Recipe, options_of, remember
from flow.emit.sources import Sources, overlay_files
from flow.errors import FlowError
from flow.resources import asset_dir

POLL_SECONDS = 0.25
Stamps = dict[str, tuple[int, int]]
"""Time of last change and size of every file that matters, by path."""


@dataclass
class Watch:
    """One build under watch.

    Attributes:
        path: the build; it is replaced whenever it comes out different.
        recipe: what it is lowered from.
        check: simulates a build, shows what it found and says how many outputs differ.
        say: shows a line of progress.
        fail: shows an error.
        status: exit status of the last turn: 0 equal, 1 a mismatch, 2 an error.
        waiting: whether nothing is in the midst of being done.
    """

    path: Path
    recipe: Recipe
    check: Callable[[Build], int]
    say: Callable[[str], None]
    fail: Callable[[str], None]
    status: int = 2
    waiting: bool = False
    turns: int = 0
    _prepared: tuple[str, Prepared] | None = None
    _checked: dict[str, Any] | None = None
    _seen: Stamps = field(default_factory=dict)

    def run(self) -> None:
        """Turn after turn, until something is raised: an interruption.

        Raises:
            FlowError: the build cannot be read.
        """
        build = Build.open(self.path)
        self._board, self._options = build.board, options_of(build)
        self._engine = build.engine if self.recipe.same_engine else None
        while True:
            stamps = self._settled()
            if stamps != self._seen:
                changed = self._changes(stamps) if self._seen else ["start"]
                self._seen = stamps
                self.say(f"{_now()} {', '.join(changed)}")
                self.turn()
            self.waiting = True
            _sleep(POLL_SECONDS)
            self.waiting = False

    def turn(self) -> None:
        """Lower and check once; what a user can mend is shown, and waited for."""
        start = time.monotonic()
        self.turns += 1
        try:
            build = self._lower()
            if build is None:
                self.say(f"{_now()} the build is the same, byte for byte; waiting")
                return
            self.say(f"{_now()} lowered in {time.monotonic() - start:.1f} s; checking")
            self.status = 2
            self.status = 1 if self.check(build) else 0
            self._checked = dict(build.manifest)
        except (FlowError, OSError) as error:
            self.status = 2
            self._checked = None
            self.fail(str(error))
        verdict = ("equal", "DIFFERENT", "failed")[self.status]
        self.say(f"{_now()} {verdict} after {time.monotonic() - start:.1f} s; waiting")

    def _lower(self) -> Build | None:
        """The build as it has to be now, written; None where it was checked already."""
        sources = Sources.of(Path(self.recipe.templates) if self.recipe.templates else None)
        lowered = emit(self._model(), sources)
        manifest = json.loads(json.dumps(lowered.manifest))  # as it is read back: lists for tuples
        if manifest == self._checked:
            return None
        if not (self.path / MANIFEST).is_file() or Build.open(self.path).manifest != manifest:
            write_build(self.path, lowered.files, lowered.manifest)
            remember(self.path, self.recipe)
        return Build.open(self.path)

    def _model(self) -> Prepared:
        """The lowered model, from the last turn where its file has the same content."""
        model, config = Path(self.recipe.model), Path(self.recipe.config) if self.recipe.config else None
        digest = hashlib.sha256()
        for path in (model, config):
            digest.update(hashlib.sha256(path.read_bytes()).digest() if path is not None else b"")
        if self._prepared is None or self._prepared[0] != digest.hexdigest():
            self._prepared = None
            made = prepare(model, self._board, engine=self._engine, config=config, options=self._options)
            self._prepared = digest.hexdigest(), made
        return self._prepared[1]

    # -- files ---------------------------------------------------------------------------------------------------------

    def _files(self) -> Iterator[Path]:
        yield Path(self.recipe.model)
        if self.recipe.config:
            yield Path(self.recipe.config)
        if self.recipe.templates:
            yield from (path for _, path in overlay_files(Path(self.recipe.templates)))
        for folder in (asset_dir("templates"), asset_dir("hls")):
            yield from (path for path in folder.rglob("*") if path.is_file())

    def _stamps(self) -> Stamps:
        found: Stamps = {}
        for path in self._files():
            try:
                status = path.stat()
            except (
                OSError
            ):  # an editor writes beside and renames: it will be there in a moment, or its reader says so
                continue
            found[str(path)] = status.st_mtime_ns, status.st_size
        return found

    def _settled(self) -> Stamps:
        """The stamps, once two looks in a row agree where they are new: a file may be half-written."""
        stamps = self._stamps()
        while stamps != self._seen:
            _sleep(POLL_SECONDS / 5)
            again = self._stamps()
            if again == stamps:
                break
            stamps = again
        return stamps

    def _changes(self, stamps: Stamps) -> list[str]:
        names = sorted(path for path in {**self._seen, **stamps} if self._seen.get(path) != stamps.get(path))
        words = {(True, False): "is new", (False, True): "is gone", (False, False): "changed"}
        return [f"{Path(n).name} {words[n not in self._seen, n not in stamps]}" for n in names]


def _now() -> str:
    return time.strftime("%H:%M:%S")


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
