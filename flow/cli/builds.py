"""Commands that make a build or look at one: lower, estimate, report, lint, doctor."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flow import console
from flow.cli.base import EXISTING, board_file_option, config_option, json_option, main, read_boards
from flow.errors import FlowError


@main.command(short_help="Lower a model to a board or an engine.")
@click.argument("model", type=EXISTING)
@click.option(
    "--board", default=None, metavar="NAME", help="Board to fit an engine to; see `flow boards list`."
)
@board_file_option(several=False)
@click.option(
    "--engine", "onto", type=EXISTING, metavar="BUILD", help="Lower onto the engine of this build, as it is."
)
@click.option(
    "-o", "--output", type=EXISTING, default=Path("build"), show_default=True, help="Build directory."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="engine.NAME=VALUE",
    help="Fix a parameter or capacity of the engine; repeatable.",
)
@click.option(
    "--exp-bits",
    type=click.Choice(["8", "16"]),
    help="Width of softmax numerators.  [default: 8 up to 128 tokens, else 16]",
)
@click.option(
    "--allow-int8-residual", is_flag=True, help="Accept a model whose residual stream was quantized to int8."
)
@click.option(
    "--templates",
    type=EXISTING,
    metavar="DIR",
    help="Templates and headers that replace flow's own, by name.",
)
@config_option
@json_option
def lower(
    model: Path, board: str | None, board_file: Path | None, onto: Path | None, output: Path, settings: tuple[str, ...],
    exp_bits: str | None, allow_int8_residual: bool, templates: Path | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Lower MODEL to a board: integer graph, fitted engine, HLS C++, packed weights.

    MODEL is a quantized .pt2 (torch.export archive), or a state_dict or .safetensors with --config.

    \b
    flow lower model.pt2 --board u250 -o build
    flow lower sparse.pt2 --engine build -o build_sparse     # same engine, other weights
    flow lower model.pt2 --board pynq-z2 --set engine.tokens=4 --set engine.banks=16
    """
    from flow.emit.build import Build, check_destination, write_build
    from flow.emit.lower import LowerOptions, lower, parse_settings
    from flow.emit.recipe import Recipe, remember

    ways = {"--board": board, "--board-file": board_file, "--engine": onto}
    given = [option for option, value in ways.items() if value is not None]
    if len(given) != 1:
        raise FlowError(
            f"flow lower: found {' and '.join(given) or 'none of ' + ', '.join(ways)}; expected one of them; name a "
            "board, or a build whose engine to use"
        )
    check_destination(output)
    base = Build.open(onto) if onto is not None else None
    named, filed = [board] if board is not None else [], [board_file] if board_file is not None else []
    target = base.board if base is not None else read_boards(named, filed)[0]
    options = LowerOptions(allow_int8_residual, int(exp_bits) if exp_bits else None, parse_settings(settings))
    with console.spinner() as tell:
        lowered = lower(
            model, target, engine=base.engine if base else None, config=config, options=options,
            templates=templates, progress=tell,
        )  # fmt: skip
        write_build(output, lowered.files, lowered.manifest)
        remember(output, Recipe.of(model, config, templates, same_engine=base is not None))
    if as_json:
        console.print_json(lowered.summary(output))
    else:
        console.show_lowered(lowered, output)


@main.command(short_help="Estimate latency, resources and energy on boards.")
@click.argument("model", type=EXISTING)
@click.option("--board", "boards", multiple=True, metavar="NAME", help="Board; repeatable.")
@board_file_option(several=True)
@click.option("--all-boards", is_flag=True, help="Every board that flow knows, by closed forms: seconds.")
@click.option(
    "--exact",
    is_flag=True,
    help="With --all-boards: lay every program out and walk it, as for a named board.",
)
@click.option(
    "--level",
    metavar="NAME",
    help="Clock and voltage, such as half; see `flow boards show NAME`.  [default: nominal, or the build's]",
)
@config_option
@json_option
def estimate(
    model: Path, boards: tuple[str, ...], board_file: tuple[Path, ...], all_boards: bool, exact: bool,
    level: str | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Estimate latency, throughput, resources and energy of MODEL (a quantized model or a build) on boards, and what
    limits it; writes nothing.

    \b
    flow estimate model.pt2 --all-boards
    flow estimate model.pt2 --board pynq-z2 --level half
    flow estimate build --json
    """
    from flow.boards import list_boards
    from flow.emit.estimating import estimate_boards

    with console.spinner() as tell:
        named = list_boards() if all_boards else boards
        chosen = read_boards(named, board_file)
        if not all_boards and level is not None:
            for board in chosen:
                board.at(level)  # a board that was named and has no such level is an error
        rows = estimate_boards(
            model, chosen, config=config, level=level, quick=all_boards and not exact, progress=tell
        )
    if as_json:
        console.print_json({"boards": [row.to_json() for row in rows]})
    else:
        console.show_estimates(rows)


@main.command(short_help="Show what a build holds.")
@click.argument("build", type=EXISTING)
@json_option
def report(build: Path, as_json: bool) -> None:
    """Show what BUILD holds: steps and cycles, structure found in the weights, memories, bits in other formats."""
    from flow.emit.build import Build

    opened = Build.open(build)
    if as_json:
        console.print_json(opened.report)
    else:
        console.show_report(opened)


@main.command(short_help="Say what Vitis HLS would not take.")
@click.argument("build", type=EXISTING)
@json_option
def lint(build: Path, as_json: bool) -> None:
    """Say what of BUILD's C++ Vitis HLS would not take; needs no vendor tool. Exit status 1 if there is anything.

    \b
    flow lint build
    flow lint build --json                                    # with the place in the vendor's guide
    """
    from flow.emit.build import Build
    from flow.lint import lint_build

    report = lint_build(Build.open(build))
    if as_json:
        console.print_json(report.to_json())
    else:
        console.show_lint(report)
    if report.findings:
        sys.exit(1)


@main.command(short_help="Say which outside tools are there.")
@json_option
def doctor(as_json: bool) -> None:
    """Say which outside tools are there, and what is missing for what."""
    from flow.doctor import diagnose

    console.show_doctor(diagnose(), as_json)
