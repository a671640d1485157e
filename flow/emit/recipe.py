"""What a build was lowered from, remembered beside the user's cache: a build itself holds no path.

`flow sim BUILD --watch` lowers again without being told the model once more. The note is named after the build's place
and holds the hash of its manifest, so that a build that came there in another way is never taken for this one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flow.emit.build import MANIFEST, Build
from flow.emit.lower import LowerOptions
from flow.errors import FlowError
from flow.resources import cache_dir, name_in_cache


@dataclass(frozen=True)
class Recipe:
    """Files that a build was lowered from, as absolute paths.

    Attributes:
        model: the model file.
        config: its configuration, or empty.
        templates: the folder laid over flow's own templates and headers, or empty.
        same_engine: whether it was lowered onto an engine that was given, rather than fitted to the board.
    """

    model: str
    config: str = ""
    templates: str = ""
    same_engine: bool = False

    @staticmethod
    def of(model: Path, config: Path | None, templates: Path | None, same_engine: bool) -> Recipe:
        """The recipe of these arguments of `flow lower`."""
        return Recipe(_absolute(model), _absolute(config), _absolute(templates), same_engine)


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path is not None else ""


def remember(build: Path, recipe: Recipe) -> None:
    """Note what the build that now lies there was lowered from; a cache that cannot be written costs the note."""
    with contextlib.suppress(OSError):
        path = _note(build)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"manifest": _digest(build), **asdict(recipe)}) + "\n")


def recall(build: Path) -> Recipe | None:
    """The recipe of the build that lies there, if this user's `flow` made it."""
    try:
        data = json.loads(_note(build).read_bytes())
        return Recipe(**data) if data.pop("manifest") == _digest(build) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def recipe_of(build: Path, model: Path | None, config: Path | None, templates: Path | None) -> Recipe:
    """What to lower a build from: the arguments, and what is remembered for those that are not given.

    Raises:
        FlowError: no model is given and none is remembered.
    """
    known = recall(build)
    given = Recipe.of(model or Path(), config, templates, known.same_engine if known else False)
    if model is None:
        if known is None:
            raise FlowError(
                f"{build}: found no record of what it was lowered from; expected one that `flow lower` left in this "
                "user's cache; name the model with --model, and --templates and --config if there were any"
            )
        given = replace(given, model=known.model, config=given.config or known.config)
    return replace(given, templates=given.templates or (known.templates if known else ""))


def options_of(build: Build) -> LowerOptions:
    """The options that a build was lowered with."""
    saved = build.manifest["options"]
    return LowerOptions(saved["allow_int8_residual"], saved["exp_bits"], dict(saved["set"]))


def _note(build: Path) -> Path:
    return cache_dir() / "recipes" / f"{name_in_cache(build)}.json"


def _digest(build: Path) -> str:
    return hashlib.sha256((build / MANIFEST).read_bytes()).hexdigest()
