"""What the command line shows: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:  # a command loads what it needs: `flow boards list` no operators
    from flow.boards import Board
    from flow.compress.prune import Pruned
    from flow.compress.run import Quantized
    from flow.cost import EstimateReport
    from flow.doctor import Diagnosis
    from flow.emit.build import Build
    from flow.emit.estimating import BoardEstimate
    from flow.emit.lower import Lowered
    from flow.emit.sources import Sources
    from flow.engine import Engine
    from flow.lint import Report as LintReport
    from flow.search.loop import Selection
    from flow.sim.simulate import SimReport
    from flow.synth.chip import SynthReport


def end_without_reader() -> None:
    """End as any program whose reader is gone: there is nothing to say and nothing to tidy up, results come last.

    The signal itself stays ignored until then: it would also end flow where a worker that died leaves a pipe behind.
    """
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    except ValueError:  # in the thread that shows progress
        os._exit(128 + signal.SIGPIPE)
    os.kill(os.getpid(), signal.SIGPIPE)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        end_without_reader()


FILE_WIDTH = 220
"""Columns of a table that goes to a file or pipe: nothing is folded there."""
_TERMINAL = sys.stdout is not None and sys.stdout.isatty()
# File and module names are shown as they are: `[`, `:` and the like mean nothing.
OUT = _Console(
    highlight=False, markup=False, emoji=False, soft_wrap=True, width=None if _TERMINAL else FILE_WIDTH
)
ERR = _Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def print_json(data: Mapping[str, Any]) -> None:
    """One JSON object on stdout, nothing else."""
    sys.stdout.write(json.dumps(data, indent=2, allow_nan=False) + "\n")


def print_error(message: str) -> None:
    """One message on stderr, verbatim but for control characters, which a model's names could hold."""
    shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", message)
    ERR.print("error: " + shown, style="red" if ERR.is_terminal else None)


def print_note(text: str) -> None:
    """A line on stderr that is no error."""
    ERR.print(text)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """A table on stdout; every column after the first is right-aligned where its cells are numbers."""
    body = [[str(cell) for cell in row] for row in rows]
    shown = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        numeric = bool(body) and all(_numeric(row[i]) for row in body)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in body:
        shown.add_row(*row)
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
    """`tell(what, done, total)` shows one bar per `what`, a `note` beside it; silent when stderr is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as bar:
        tasks: dict[str, Any] = {}

        def tell(what: str, done: int, total: int, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total, description=f"{what} {note}".rstrip())

        yield tell


def show_quantized(result: Quantized, output: Path) -> None:
    """What `flow quantize` did: every edge's error, widths that were bought, and the outputs'."""
    for text in result.warnings:
        print_note(f"warning: {text}")
    shown = [
        (e.name, e.kind, *("-" if v is None else f"{v:.1f}" for v in (e.own, e.total))) for e in result.edges
    ]
    table("", ("edge", "type", "SQNR dB by itself", "in the whole"), shown)
    if result.worst_edge is not None:
        OUT.print(f"worst edge: {result.worst_edge.name}, {result.worst_edge.own:.1f} dB by itself")
    if result.choice is not None:
        rows = (
            (str(p.edge), f"{p.before} to {p.after}", f"{p.cycles:,}", f"{p.sqnr_db:.2f}", f"{p.cosine:.5f}")
            for p in result.choice.purchases
        )
        table("\nWidened", ("edge", "bits", "cycles", "SQNR dB then", "cosine then"), rows)
        verdict = "met" if result.met else "NOT MET, and no width helps any more"
        OUT.print(f"budget {result.choice.budget}: {verdict}; {result.choice.narrow_cycles:,} cycles before")
    if result.loss is not None:
        OUT.print(f"fine-tuning: loss {result.loss[0]:.4g} to {result.loss[1]:.4g}")
    OUT.print(
        f"{output}: {result.weights} weight matrices and {result.activations} activations quantized "
        f"on {result.samples} samples; {result.cycles:,} cycles ({result.engine})"
    )
    body = ((k, f"{v:.2f}", f"{result.outputs.cosine[k]:.5f}") for k, v in result.outputs.sqnr_db.items())
    table(f"Against float, on {result.checked} samples", ("output", "SQNR dB", "cosine"), body)


def show_pruned(result: Pruned, output: Path) -> None:
    """What `flow prune` did."""
    options = result.plan.options
    where = f"{result.plan.banks} banks, blocks of {options.block_rows} rows"
    OUT.print(
        f"{output}: {options.scheme}, {len(result.rows)} matrices, sparsity {1 - result.density:.4f} "
        f"(promised {1 - result.promised:.4f}) for {where}"
    )
    if result.boards:
        OUT.print("banks     " + ", ".join(f"{board} {banks}" for board, banks in result.boards.items()))
    if result.loss is not None:
        OUT.print(f"training  on {result.samples} samples, last loss {result.loss:.4f}")
    rows = (
        (r.module, f"{r.shape[0]}x{r.shape[1]}", r.structure, f"{r.density:.4f}", f"{r.kept_energy:.3f}")
        for r in result.rows
    )
    table("", ("matrix", "shape", "structure", "density", "kept energy"), rows)
    if result.cosine:
        errors = ((n, f"{c:.4f}", f"{result.sqnr_db.get(n, 0):.1f}") for n, c in result.cosine.items())
        title = f"\nAgainst the dense model, on {result.measured} samples that were kept out"
        table(title, ("output", "cosine", "SQNR dB"), errors)
    for note in result.notes:
        print_note(f"note: {note}")


def _engine_line(engine: Engine) -> str:
    return (
        f"T={engine.tokens} tokens x B={engine.banks} banks x P={engine.rows} rows = {engine.multipliers} multipliers, "
        f"L={engine.norm_lanes} norm lanes, H={engine.heads} heads abreast"
    )


def show_lowered(lowered: Lowered, output: Path) -> None:
    """What `flow lower` made, in a few lines."""
    from flow.cost.report import METHOD

    report, program = lowered.estimate, lowered.layout.program
    OUT.print(f"{output}: {len(program.records)} steps on {lowered.board.title}")
    OUT.print(f"engine    {_engine_line(lowered.engine)}, hash {lowered.engine.hash:016x}")
    OUT.print(
        f"estimate  {report.cycles:,} cycles = {report.latency_ms:.3f} ms at {report.clock_mhz:g} MHz, "
        f"{report.utilisation:.0%} of the multipliers useful ({METHOD})"
    )
    used = ", ".join(
        f"{name} {r.used:,} ({r.percent:.0f}%)" for name, r in report.resources.items() if r.available
    )
    OUT.print(f"resources {used}")
    OUT.print(
        f"weights   {report.weight_bits / 8e3:,.1f} kB streamed, image {len(program.image) / 1e3:,.1f} kB"
    )
    OUT.print(f"next      flow sim {output}    |    flow report {output}")


def show_sim(report: SimReport) -> None:
    """What `flow sim` found."""
    if report.backend == "golden":
        OUT.print(f"golden: {report.samples} samples run; it is the reference, so nothing is compared")
    else:
        differ = f"{report.mismatches:,} DIFFER from golden"
        verdict = differ if report.mismatches else "equal to golden, bit for bit"
        compared = f"{report.samples} samples, {report.outputs_compared:,} outputs compared"
        OUT.print(f"{report.backend}: {compared}: {verdict}")
    if report.first_mismatch is not None:
        OUT.print(f"first mismatch: {report.first_mismatch}")
    if report.cycles:
        _show_cycles(report.cycles)
    if report.accuracy is not None:
        OUT.print(f"accuracy {report.accuracy:.2%} (float model {report.float_accuracy:.2%})")
    if report.sqnr:
        rows = ((step, f"{low:.1f}", f"{mean:.1f}") for step, (low, mean) in report.sqnr.items())
        table("", ("step", "worst SQNR dB", "mean SQNR dB"), rows)


def _show_cycles(cycles: Mapping[str, Any]) -> None:
    """Cycles of one frame on the Verilog engine, by step and in all."""
    rows = (
        (
            *(step["name"], step["kind"], f"{step['cycles']:,}", f"{step['estimated_cycles']:,}"),
            *(f"{step['utilisation']:.1%}", f"{step['waits_data']:,}", f"{step['waits_source']:,}"),
        )
        for step in cycles["steps"]
    )
    heads = ("step", "kind", "cycles", "estimated", "utilisation", "waits for data", "for the step before")
    table("", heads, rows)
    interval = cycles["interval_cycles"]
    expected = cycles["estimated_interval_cycles"]
    beside = (
        f"; a frame every {interval:,.0f} cycles back to back (estimated {expected:,})" if interval else ""
    )
    OUT.print(
        f"{cycles['cycles']:,} cycles a frame (estimated {cycles['estimated_cycles']:,}), {cycles['utilisation']:.1%} "
        f"of {cycles['multipliers']:,} multipliers at work{beside}"
    )


def show_lint(report: LintReport) -> None:
    """What `flow lint` found, one line each, then what it let pass."""
    for finding in report.findings:
        OUT.print(str(finding), soft_wrap=True)
    looked = f"{report.files} files, {report.loops} loops, {report.pragmas} pragmas"
    verdict = f"{len(report.findings)} FINDINGS" if report.findings else "nothing that Vitis HLS would refuse"
    OUT.print(f"lint: {looked}, {len(report.waived)} findings waived: {verdict}")


def show_estimates(rows: Iterable[BoardEstimate]) -> None:
    """One line a board; boards that cannot hold the model say why below."""
    from flow.cost.energy import METHOD as ENERGY_METHOD
    from flow.cost.report import METHOD

    found = list(rows)
    reports = [row.report for row in found if row.report is not None]
    if reports:
        body = [_estimate(report) for report in reports]
        table("", body[0], (figures.values() for figures in body))
        for method in dict.fromkeys(report.cycles_method for report in reports):
            OUT.print(f"cycles by {method}", style="dim")
        for text in (METHOD, ENERGY_METHOD):
            OUT.print(text, style="dim")
        if any(report.slrs > 1 for report in reports):
            OUT.print(
                "an engine across several SLRs is counted at the board's clock: what crossing costs is not known",
                style="dim",
            )
    for row in found:
        if row.report is None:
            OUT.print(row.refusal)


def _estimate(report: EstimateReport) -> dict[str, Any]:
    """One row of the table of estimates."""
    engine, energy = report.engine, report.energy
    fullest, share = max(report.resources.items(), key=lambda item: item[1].percent)
    return {
        "board": report.board,
        "TxBxP": f"{engine.tokens}x{engine.banks}x{engine.rows}",
        "MHz": f"{report.clock_mhz:g}",
        "cycles": f"{report.cycles:,}",
        "latency ms": f"{report.latency_ms:.3f}",
        "samples/s": f"{report.samples_per_s:,.0f}",
        "useful": f"{report.utilisation:.0%}",
        "fullest resource": f"{fullest} {share.percent:.0f}%",
        "SLRs": report.slrs,
        "limited by": report.limit,
        "mJ/sample": "unknown" if energy is None else f"{energy.sample_mj:.4g}",
        "W": "unknown" if energy is None else f"{energy.average_w:.3g}",
        "peak W": "unknown" if energy is None else f"{energy.peak_w:.3g}",
    }


def show_synth(report: SynthReport) -> None:
    """What a build takes of its device beside the estimate, and of a routed chip its clock and its bitstream."""
    OUT.print(f"{report.build}: {report.scope} on {report.board}, by {', '.join(report.tools.values())}")
    rows = (
        (
            name,
            f"{r.found:,}",
            f"{r.estimate:,}",
            f"{r.available:,}",
            f"{r.found / r.available:.0%}" if r.available else "",
        )
        for name, r in report.resources.items()
    )
    table("", ("resource", "found", "estimate", "available", "share"), rows)
    cycles = f"{report.latency_ms:.3f} ms a sample at {report.clock_mhz:g} MHz"
    OUT.print(f"latency   {cycles} ({'counted by the netlist' if report.run else 'cycles as estimated'})")
    if report.placed is not None:
        met = "meets" if report.timing_met else "misses"
        fmax = f"{report.placed.clock.achieved_mhz:.2f} MHz: {met} {report.clock_mhz:g} MHz"
        OUT.print("clock     " + fmax)
        OUT.print(f"bitstream {report.placed.bitstream}")
    if report.run is not None:
        OUT.print(f"netlist   {len(report.run.outputs)} frames, {report.mismatches} differ from golden")


def show_report(build: Build) -> None:
    """Steps, weights, memories and resources of a build."""
    data, manifest = build.report, build.manifest
    estimate = data["estimate"]
    name, board, engine = manifest["model"]["name"], manifest["board"], manifest["engine_hash"]
    OUT.print(f"{build.path}: {name} on {board}, engine {engine}")
    OUT.print(_engine_line(build.engine))
    steps = (
        (s["name"], s["kind"], f"{s['cycles']:,}", f"{s['utilisation']:.0%}", s["bound"])
        for s in estimate["steps"]
    )
    table("\nSteps (estimated; one sample)", ("step", "kind", "cycles", "useful", "bound by"), steps)
    OUT.print(
        f"total {estimate['cycles']:,} cycles = {estimate['latency_ms']:.3f} ms; {estimate['cycles_method']}"
    )
    OUT.print(f"a frame every {estimate['interval_cycles']:,} cycles back to back")
    weights = [_weights(matrix) for matrix in data["matrices"]]
    title = (
        "\nWeights (structure is detected; overhead is cycles over a perfect balance of the same non-zeros)"
    )
    table(title, weights[0], (row.values() for row in weights))
    capacities = build.engine.to_json()
    words = ((k, used, capacities[_capacity(k)]) for k, used in data["memories"].items())
    table("\nOn-chip words per bank", ("memory", "used", "capacity"), words)
    resources = (
        (k, f"{r['used']:,}", f"{r['available']:,}", f"{r['percent']:.0f}%")
        for k, r in estimate["resources"].items()
        if r["available"]
    )
    table("\nResources (estimated)", ("resource", "used", "of", "share"), resources)


def _weights(matrix: Mapping[str, Any]) -> dict[str, Any]:
    """One row of the report's table of weight matrices."""
    return {
        "step": matrix["step"],
        "rows x columns": "x".join(map(str, matrix["shape"])),
        "density": f"{matrix['density']:.3f}",
        "found": matrix["scheme"],
        "cycles/tile": matrix["cycles_per_tile"],
        "dense": matrix["dense_cycles"],
        "overhead": f"{matrix['overhead']:.2f}x",
        "bits/weight": _per_weight(matrix, "total"),
        "CSR": _per_weight(matrix, "csr"),
        "bitmap": _per_weight(matrix, "bitmap"),
    }


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


def show_templates(sources: Sources, as_json: bool) -> None:
    """One line a template or header."""
    rows = [{"name": s.name, "emits": s.emits, "context": s.context} for s in sources.files.values()]
    if as_json:
        print_json({"templates": rows})
        return
    table("", ("name", "emits", "context"), ((r["name"], r["emits"], r["context"] or "static") for r in rows))


def show_ejected(names: Iterable[str], folder: Path) -> None:
    """What `flow templates eject` copied, and what to do with it."""
    for name in names:
        OUT.print(str(folder / name))
    OUT.print(f"next      flow lower MODEL --board NAME --templates {folder}")


def show_doctor(diagnosis: Diagnosis, as_json: bool) -> None:
    """Tools, and what each missing one stops."""
    if as_json:
        print_json(asdict(diagnosis))
        return
    OUT.print(f"Python {diagnosis.python}")
    tools = ((f.name, "yes" if f.found else "MISSING", f.version, f.location) for f in diagnosis.findings)
    table("", ("tool", "found", "version", "where"), tools)
    remedies = {f.name: f.remedy for f in diagnosis.findings if not f.found}
    for capability in diagnosis.capabilities:
        missing = "; ".join(f"{name} ({remedies.get(name, '')})" for name in capability.missing)
        OUT.print(f"{capability.name:<32} {'ready' if capability.ready else f'needs {missing}'}")


def show_boards(boards: Iterable[Board], as_json: bool) -> None:
    """One line a board."""
    if as_json:
        print_json({"boards": [asdict(board) for board in boards]})
        return
    rows = [
        {
            "board": b.name,
            "device": b.device,
            "LUT": f"{b.lut:,}",
            "DSP": f"{b.dsp:,} {b.dsp_kind}",
            "block RAM": f"{b.bram:,} x {b.bram_kbit} kb",
            "URAM": b.uram,
            "weights": b.weights,
            "GB/s": f"{b.memory.bandwidth_gb_s:g}",
            "MHz": b.clock_mhz,
        }
        for b in boards
    ]
    table("", rows[0], (row.values() for row in rows))


def show_board(board: Board, as_json: bool) -> None:
    """Every figure of a board and where it comes from."""
    if as_json:
        from flow.boards import NO_FIGURES

        print_json({name: value for name, value in asdict(board).items() if name not in NO_FIGURES})
        return
    table(board.title, ("figure", "value"), board.figures())
    rows = ((s.document, s.title, s.place, ", ".join(s.figures)) for s in board.sources)
    table("\nSources", ("document", "title", "place", "figures"), rows)


def show_selection(found: Selection, output: Path) -> None:
    """The winner and why every board before it failed, or what would have to give; and the front of the winner."""
    from flow.search.chart import duration, front
    from flow.search.loop import beside
    from flow.search.telling import confirmation, gives, meets, next_cheaper, reason, summary

    best = found.winner
    OUT.print(summary(found))
    if best is not None:
        OUT.print(confirmation(found))
        if text := next_cheaper(found):
            OUT.print(text)
    else:
        OUT.print("The nearest misses:")
        for relaxed in found.relaxed:
            OUT.print(f"  {gives(relaxed, found)}")
    verdicts = [
        (str(v.place), v.reason, v.candidate or "-", reason(v, found) or meets(found))
        for v in found.choice.verdicts
    ]
    OUT.print()
    table("boards, most preferred first", ("board", "verdict", "candidate", "why"), verdicts)
    # Where nothing won, the front of the board that misses least.
    place = best.place if best is not None else next((r.place for r in found.relaxed), None)
    points = front(point for point in found.points if point.place == place)
    if place is not None and points:
        OUT.print()
        table(
            f"front of {place}, of the candidates that were trained",
            ("candidate", "latency", found.metric),
            [(p.candidate, duration(p.latency_ms), f"{p.accuracy:.4f}") for p in points],
        )
    for name, why in found.left_out.items():
        print_note(f"left out {name}: {why}")
    page = beside(output, ".html")
    if best is not None:
        model = beside(output, ".pt2")
        OUT.print(
            f"next      flow sim {output}    |    flow report {output}    |    model in {model}, all in {page}"
        )
    else:
        OUT.print(f"all that was found is in {page}")
