"""What the command line shows on a terminal: progress, tables, errors. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
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

FILE_WIDTH = 220
"""Columns of a table that goes to a file or pipe: nothing is folded there."""
OUT = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH)
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
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
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
    OUT.print(
        f"{output}: {result.weights} weight matrices and {result.activations} activations quantized on {result.samples} samples",
        markup=False,
    )
    table("", ("output", "SQNR dB against float"), result.sqnr_db.items())


def _engine_line(engine: Any) -> str:
    return (
        f"T={engine.tokens} tokens x B={engine.banks} banks x P={engine.rows} rows = {engine.multipliers} multipliers, "
        f"L={engine.norm_lanes} norm lanes, H={engine.heads} heads abreast"
    )


def show_lowered(lowered: Any, output: Any) -> None:
    """What `flow lower` made, in a dozen lines."""
    report = lowered.estimate
    OUT.print(f"{output}: {len(lowered.layout.program.records)} steps on {lowered.board.title}", markup=False)
    OUT.print(f"engine    {_engine_line(lowered.engine)}, hash {lowered.engine.hash:016x}", markup=False)
    OUT.print(
        f"estimate  {report.cycles:,} cycles = {report.latency_ms:.3f} ms at {report.clock_mhz:g} MHz, "
        f"{report.utilisation:.0%} of the multipliers useful (first-principles, not yet calibrated against synthesis)",
        markup=False,
    )
    used = ", ".join(
        f"{name} {r.used:,} ({r.percent:.0f}%)" for name, r in report.resources.items() if r.available
    )
    OUT.print(f"resources {used}", markup=False)
    OUT.print(
        f"weights   {report.weight_bits / 8e3:,.1f} kB streamed, image {len(lowered.layout.program.image) / 1e3:,.1f} kB",
        markup=False,
    )
    OUT.print(f"next      flow sim {output}    |    flow report {output}", markup=False)


def show_sim(report: Any) -> None:
    """What `flow sim` found."""
    if report.backend == "golden":
        OUT.print(f"golden: {report.samples} samples run; it is the reference, so nothing is compared")
    else:
        verdict = (
            "equal to golden, bit for bit"
            if not report.mismatches
            else f"{report.mismatches:,} DIFFER from golden"
        )
        OUT.print(
            f"{report.backend}: {report.samples} samples, {report.outputs_compared:,} outputs compared: {verdict}"
        )
    if report.first_mismatch is not None:
        OUT.print(f"first mismatch: {report.first_mismatch}", markup=False)
    if report.accuracy is not None:
        OUT.print(f"accuracy {report.accuracy:.2%} (float model {report.float_accuracy:.2%})")
    if report.sqnr:
        table(
            "",
            ("step", "worst SQNR dB", "mean SQNR dB"),
            ((step, f"{low:.1f}", f"{mean:.1f}") for step, (low, mean) in report.sqnr.items()),
        )


def show_estimates(rows: Iterable[Any]) -> None:
    """One line a board; boards that cannot hold the model say why below."""
    body, refusals = [], []
    for row in rows:
        if row.report is None:
            refusals.append(row.refusal)
            continue
        r, e = row.report, row.report.engine
        worst = max(r.resources.items(), key=lambda item: item[1].percent)
        slowest = max(r.steps, key=lambda step: step.cycles)
        body.append(
            (row.board, f"{e.tokens}x{e.banks}x{e.rows}", f"{r.clock_mhz:g}", f"{r.cycles:,}", f"{r.latency_ms:.3f}", f"{1000 / r.latency_ms:,.0f}",
             f"{r.utilisation:.0%}", f"{worst[0]} {worst[1].percent:.0f}%", slowest.bound)
        )  # fmt: skip
    table(
        "",
        (
            "board",
            "TxBxP",
            "MHz",
            "cycles",
            "latency ms",
            "samples/s",
            "useful",
            "fullest resource",
            "slowest step bound by",
        ),
        body,
    )
    OUT.print("first-principles, not yet calibrated against synthesis", style="dim")
    for text in refusals:
        OUT.print(text, markup=False)


def show_report(build: Any) -> None:
    """Steps, weights and memories of a build."""
    data = build.report
    estimate = data["estimate"]
    OUT.print(
        f"{build.path}: {build.manifest['model']['name']} on {build.manifest['board']}, engine {build.manifest['engine_hash']}",
        markup=False,
    )
    OUT.print(_engine_line(build.engine), markup=False)
    table(
        "\nSteps (estimated; one sample)",
        ("step", "kind", "cycles", "useful", "bound by"),
        (
            (s["name"], s["kind"], f"{s['cycles']:,}", f"{s['utilisation']:.0%}", s["bound"])
            for s in estimate["steps"]
        ),
    )
    OUT.print(
        f"total {estimate['cycles']:,} cycles = {estimate['latency_ms']:.3f} ms; {estimate['method']}",
        markup=False,
    )
    table(
        "\nWeights (structure is detected; overhead is cycles over a perfect balance of the same non-zeros)",
        ("step", "rows x columns", "density", "found", "cycles/tile", "dense", "overhead", "bits/weight", "CSR", "bitmap"),
        (
            (m["step"], "x".join(map(str, m["shape"])), f"{m['density']:.3f}", m["scheme"], m["cycles_per_tile"], m["dense_cycles"], f"{m['overhead']:.2f}x",
             *(_per_weight(m, kind) for kind in ("total", "csr", "bitmap")))
            for m in data["matrices"]
        ),
    )  # fmt: skip
    table(
        "\nOn-chip words per bank",
        ("memory", "used", "capacity"),
        ((k, v, build.engine.to_json()[_capacity(k)]) for k, v in data["memories"].items()),
    )
    resources = (
        (k, f"{r['used']:,}", f"{r['available']:,}", f"{r['percent']:.0f}%")
        for k, r in estimate["resources"].items()
        if r["available"]
    )
    table("\nResources (estimated)", ("resource", "used", "of", "share"), resources)


def _per_weight(matrix: Mapping[str, Any], kind: str) -> str:
    nonzeros = matrix["density"] * matrix["shape"][0] * matrix["shape"][1]
    return f"{matrix['bits'][kind] / nonzeros:.2f}" if nonzeros else "-"


def _capacity(memory: str) -> str:
    return {
        "operand0": "operand_depth",
        "operand1": "operand_depth",
        "store": "store_depth",
        "values": "values_depth",
    }[memory]


def show_doctor(diagnosis: Any, as_json: bool) -> None:
    """Tools, and what each missing one stops."""
    if as_json:
        print_json(asdict(diagnosis))
        return
    OUT.print(f"Python {diagnosis.python}")
    table(
        "",
        ("tool", "found", "version", "where"),
        ((f.name, "yes" if f.found else "MISSING", f.version, f.location) for f in diagnosis.findings),
    )
    remedies = {f.name: f.remedy for f in diagnosis.findings if not f.found}
    for capability in diagnosis.capabilities:
        state = (
            "ready"
            if capability.ready
            else "needs " + "; ".join(f"{name} ({remedies.get(name, '')})" for name in capability.missing)
        )
        OUT.print(f"{capability.name:<32} {state}", markup=False)


def show_boards(boards: Iterable[Any], as_json: bool) -> None:
    """One line a board."""
    if as_json:
        print_json({"boards": [asdict(b) for b in boards]})
        return
    rows = (
        (b.name, b.device, f"{b.lut:,}", f"{b.dsp:,} {b.dsp_kind}", f"{b.bram:,} x {b.bram_kbit} kb", b.uram, b.weights, f"{b.memory.bandwidth_gb_s:g}" if b.memory else "-", b.clock_mhz)
        for b in boards
    )  # fmt: skip
    table("", ("board", "device", "LUT", "DSP", "block RAM", "URAM", "weights", "GB/s", "MHz"), rows)


def show_board(board: Any, as_json: bool) -> None:
    """Every figure of a board and where it comes from."""
    if as_json:
        print_json(asdict(board))
        return
    data = asdict(board)
    sources = data.pop("sources")
    memory = data.pop("memory") or {}
    table(board.title, ("figure", "value"), [*data.items(), *((f"memory.{k}", v) for k, v in memory.items())])
    table(
        "\nSources",
        ("document", "title", "place", "figures"),
        ((s["document"], s["title"], s["place"], ", ".join(s["figures"])) for s in sources),
    )
