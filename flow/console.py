"""What the command line shows on a terminal: progress, tables, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

OUT = Console(highlight=False, soft_wrap=True)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout, nothing else."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def print_error(message: str) -> None:
    """One message on stderr, verbatim: no markup is interpreted."""
    ERR.print("error: " + message, markup=False, style="red" if ERR.is_terminal else None)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A table on stdout; every column after the first is right-aligned where its cells are numbers."""
    body = [[str(cell) for cell in row] for row in rows]
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = bool(body) and all(_numeric(row[i]) for row in body)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        shown.add_row(*(cell.replace("[", "\\[") for cell in row))
    OUT.print(shown)


def _numeric(text: str) -> bool:
    return text.replace(",", "").replace("%", "").replace(".", "").replace("x", "").replace(
        "-", ""
    ).strip().isdigit() or text in ("", "-")


@contextmanager
def spinner() -> Iterator[Any]:
    """`tell(what)` shows the stage at work; silent when stderr is no terminal."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=ERR,
        transient=True,
        disable=not ERR.is_terminal,
    ) as bar:
        task = bar.add_task("start", total=None)
        yield lambda what: bar.update(task, description=what)


@contextmanager
def counter() -> Iterator[Any]:
    """`tell(what, done, total)` shows one bar per `what`; silent when stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield tell


def show_quantized(result: Any, output: Any) -> None:
    """What `flow quantize` did."""
    OUT.print(f"{output}: {result.weights} weight matrices and {result.activations} activations quantized on {result.samples} samples", markup=False)
    table("", ("output", "SQNR dB against float"), result.sqnr_db.items())
