"""`flow select`: the closed loop over boards and compression."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from flow import console
from flow.cli.base import EXISTING, board_file_option, json_option, main, read_boards
from flow.errors import FlowError

if TYPE_CHECKING:  # a command loads what it needs
    from flow.search.loop import Constraints

MOST_TRIALS = 1000
"""With --time alone."""


@main.command("select", short_help="Find the board and the compression for a latency and an accuracy.")
@click.argument("model", type=EXISTING)
@click.option(
    "--data", type=EXISTING, required=True, help="An .npz with the model's inputs by name, and `labels`."
)
@click.option(
    "--latency", required=True, metavar="TIME", help="Latency constraint of one sample: 5ms, 800us, 0.02s."
)
@click.option(
    "--accuracy", type=float, required=True, help="Least top-1 accuracy; without labels, least cosine."
)
@click.option(
    "--energy", metavar="ENERGY", help="Energy constraint of one sample, as estimated: 5mJ, 800uJ, 0.02J."
)
@click.option("--power", metavar="POWER", help="Constraint on peak power, as estimated: 10W, 800mW.")
@click.option("--board", "names", multiple=True, metavar="NAME", help="Board; repeatable.  [default: all]")
@board_file_option(several=True)
@click.option(
    "--objective",
    default="cheapest",
    show_default=True,
    metavar="NAME",
    help="cheapest, smallest or least-energy.",
)
@click.option(
    "--levels",
    default="all",
    show_default=True,
    metavar="NAME",
    help="Levels of clock and voltage that boards are asked at: all, or nominal alone.",
)
@click.option("--price", "prices", multiple=True, metavar="NAME=PRICE", help="Price of a board; repeatable.")
@click.option("--scheme", default="hp", show_default=True, metavar="NAME", help="Scheme of pruning.")
@click.option("--sparsity", "sparsities", type=float, multiple=True, help="Sparsity to try; repeatable.")
@click.option(
    "--distill-steps", type=click.IntRange(0), default=0, help="Train each candidate towards the dense model."
)
@click.option("--train-steps", type=click.IntRange(0), default=0, help="Train each candidate with labels.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split and all that is drawn."
)
@click.option(
    "--confirm", is_flag=True, help="Simulate the winner's Verilog: cycles, and bits against golden."
)
@click.option(
    "--trials",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Candidates that optuna may propose beside the ladder of sparsities.",
)
@click.option(
    "--time",
    "budget",
    metavar="TIME",
    help="No further proposals after this: 90s, 10m. The candidates then depend on the machine.",
)
@click.option(
    "--jobs", type=click.IntRange(1), metavar="N", help="Processes, of one thread each.  [default: cores]"
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Dask scheduler to work on instead, tcp://host:8786; model and journal must be on a shared file system.",
)
@click.option(
    "--journal", type=EXISTING, metavar="DIR", help="Where work is kept.  [default: .OUTPUT.journal]"
)
@click.option(
    "-o",
    "--output",
    type=EXISTING,
    default=Path("selected"),
    show_default=True,
    help="Build directory; the model lies beside it as .pt2.",
)
@json_option
def select_command(
    model: Path, data: Path, latency: str, accuracy: float, energy: str | None, power: str | None,
    names: tuple[str, ...], board_file: tuple[Path, ...], objective: str, levels: str,
    prices: tuple[str, ...], scheme: str, sparsities: tuple[float, ...], distill_steps: int, train_steps: int,
    seed: int, confirm: bool, trials: int, budget: str | None, jobs: int | None, scheduler: str | None,
    journal: Path | None, output: Path, as_json: bool,
) -> None:  # fmt: skip
    """Find the first board, in order of price or size, on which a compressed MODEL meets the constraints of latency and
    accuracy, and of energy and power where asked.

    MODEL is a float .pt2. Its data are split by the seed: three fifths to prune, train and calibrate on, a fifth to
    decide by, a fifth to report on. Writes the winner's build to OUTPUT, its model to OUTPUT.pt2, and all that was
    found to OUTPUT.html. Exit status 1: no board meets them all.

    \b
    flow select float.pt2 --data samples.npz --latency 1ms --accuracy 0.95 -o selected
    flow select float.pt2 --data samples.npz --latency 5ms --accuracy 0.9 --board pynq-z2 --board u250 --train-steps 500
    """
    from flow.frontend.torch_required import require_torch

    require_torch("flow select")
    from flow.boards import list_boards
    from flow.compress.train import TrainOptions
    from flow.search.executor import cores
    from flow.search.loop import SPARSITIES, Levels, Means, Objective, SelectOptions, select

    if distill_steps and train_steps:
        raise FlowError("flow select: found both --distill-steps and --train-steps; expected one of them")
    training = TrainOptions(
        kind="train" if train_steps else "distill", steps=distill_steps or train_steps, seed=seed
    )
    options = SelectOptions(
        cast(Objective, objective),
        cast(Levels, levels),
        _prices(prices),
        scheme,
        sparsities or SPARSITIES,
        training,
        seed,
        confirm,
        trials or (MOST_TRIALS if budget else 0),
        _amount("--time", budget, {"s": 1.0, "m": 60.0, "h": 3600.0}, "10m"),
    )
    if jobs and scheduler:
        raise FlowError("flow select: found both --jobs and --scheduler; expected one of them")
    place = journal or output.with_name(f".{output.name}.journal")
    boards = read_boards(names if names or board_file else list_boards(), board_file)
    with console.spinner() as tell:
        means = Means(place, jobs or cores(), scheduler, tell)
        limits = _constraints(latency, accuracy, energy, power)
        found = select(model, data, boards, limits, output, means, options)
    if as_json:
        console.print_json(found.to_json())
    else:
        console.show_selection(found, output)
    equal = found.confirmed is None or not found.confirmed["mismatches"]
    sys.exit(0 if found.winner is not None and equal else 1)


def _constraints(latency: str, accuracy: float, energy: str | None, power: str | None) -> Constraints:
    from flow.search.loop import Constraints

    return Constraints(
        _amount("--latency", latency, {"us": 1e-3, "ms": 1.0, "s": 1e3}, "5ms"),
        accuracy,
        _amount("--energy", energy, {"uJ": 1e-3, "mJ": 1.0, "J": 1e3}, "5mJ"),
        _amount("--power", power, {"mW": 1e-3, "W": 1.0}, "10W"),
    )


def _amount(option: str, text: str | None, units: Mapping[str, float], example: str) -> float:
    """A number with a unit, in the unit that counts 1; infinite where none is given."""
    if text is None:
        return math.inf
    match = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*({'|'.join(units)})\s*", text)
    if match is None:
        *names, last = units
        raise FlowError(
            f"{option}: found {text!r}; expected a number with {', '.join(names)} or {last}, such as {example}"
        )
    return float(match[1]) * units[match[2]]


def _prices(pairs: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for pair in pairs:
        match = re.fullmatch(r"([\w.-]+)=([0-9]*\.?[0-9]+)", pair)
        if match is None:
            raise FlowError(f"--price: found {pair!r}; expected NAME=NUMBER, such as u250=7695")
        found[match[1]] = float(match[2])
    return found
