"""The sentences that embeddings are compared on: the standard library's docstrings, fixed by committed hashes.

Docstrings differ between Python versions, so `sentences.json` names each one by the first 16 hex digits of the sha256
of its text; one that another Python lacks is reported and left out. Texts themselves are not kept. The lists were
drawn once, from Python 3.11, by `python tools/bench/sentences.py --draw TOKENIZER.json`:

- `calibration` (64), `held_out` (200) and `train`: first paragraphs of 30 to 400 characters;
- `long_held_out` (200) and `long_calibration`: whole docstrings of 256 tokens or more.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import random
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

HASHES = Path(__file__).resolve().parent / "sentences.json"
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "__phello__"}
LONG = 256
TRAIN = 4000


class Found(NamedTuple):
    """Texts of a list in its order, and how many of it this Python lacks."""

    texts: list[str]
    missing: int


def digest(text: str) -> str:
    """What names a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def docstrings() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """First paragraphs of 30 to 400 characters, and whole docstrings; white space as single spaces, each text once."""
    first: dict[str, None] = {}
    whole: dict[str, None] = {}
    for text in _all():
        paragraph = " ".join(text.split("\n\n")[0].split())
        if 30 <= len(paragraph) <= 400:
            first[paragraph] = None
        whole[" ".join(text.split())] = None
    return tuple(first), tuple(whole)


def _all() -> Iterator[str]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if LEFT_OUT & set(path.relative_to(root).parts):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
                text = ast.get_docstring(node)
                if text:
                    yield text


def read(name: str) -> Found:
    """The texts of one committed list."""
    wanted: list[str] = json.loads(HASHES.read_text())[name]
    first, whole = docstrings()
    known = {digest(text): text for text in (*whole, *first)}
    return Found([known[h] for h in wanted if h in known], sum(h not in known for h in wanted))


def draw(tokenizer: Path) -> None:
    """Draw the lists anew from this Python and write them."""
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(tokenizer))
    tokens.no_truncation()
    tokens.no_padding()
    first, whole = docstrings()
    long = sorted(text for text in whole if len(tokens.encode(text).ids) >= LONG)
    short = sorted(set(first) - set(long))
    random.Random(0).shuffle(short)
    random.Random(0).shuffle(long)
    lists = {
        "calibration": short[:64],
        "held_out": short[64:264],
        "train": short[264 : 264 + TRAIN],
        "long_held_out": long[:200],
        "long_calibration": long[200:],
    }
    HASHES.write_text(
        json.dumps({name: [digest(t) for t in texts] for name, texts in lists.items()}, indent=0) + "\n"
    )


def main() -> int:
    """Without options: how many texts of each list this Python has."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--draw", type=Path, metavar="TOKENIZER", help="draw the lists anew, by this tokenizer"
    )
    chosen = parser.parse_args()
    if chosen.draw:
        draw(chosen.draw)
    for name in json.loads(HASHES.read_text()):
        found = read(name)
        sys.stdout.write(f"{name}: {len(found.texts)} found, {found.missing} missing\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
