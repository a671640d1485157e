"""The command line: click only. Every command is one call into the package plus printing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click

from flow import __version__, console
from flow.errors import FlowError

Command = TypeVar("Command", bound=Callable[..., Any])
EXISTING = click.Path(path_type=Path)


class _Interrupted(KeyboardInterrupt):
    """A signal that asks flow to stop; unwinds like Ctrl-C, so that nothing half-written is left."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class _Group(click.Group):
    """Turns what a user can meet into one message and an exit status: errors 2, signals 128 + their number."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FlowError as error:
            console.print_error(str(error))
        except MemoryError:
            console.print_error(
                "memory: found none left; expected a machine with more; use a smaller model or fewer samples"
            )
        except OSError as error:
            where = error.filename or "flow"
            console.print_error(
                f"{where}: found {error.strerror or error}; expected files that can be read and written, with room; "
                "check the path and the space left"
            )
        except KeyboardInterrupt as error:
            console.print_note("interrupted")
            return ctx.exit(error.status if isinstance(error, _Interrupted) else 128 + signal.SIGINT)
        return ctx.exit(2)


def _json_option(command: Command) -> Command:
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else there."
    )(command)


def _config_option(command: Command) -> Command:
    text = "HF-style config.json; needed for a state_dict or .safetensors."
    return click.option("--config", type=EXISTING, help=text)(command)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="flow")
def main() -> None:
    """Compile a pruned and quantized PyTorch transformer into an FPGA accelerator, and prove it bit for bit.

    \b
    flow lower models/digits_vit_hp80.pt2 --board u250 -o build
    flow sim build --backend csim --inputs models/digits_test.npz
    """


@main.command(short_help="Lower a model to a board or an engine.")
@click.argument("model", type=EXISTING)
@click.option(
    "--board", default=None, metavar="NAME", help="Board to fit an engine to; see `flow boards list`."
)
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
@_config_option
@_json_option
def lower(
    model: Path, board: str | None, onto: Path | None, output: Path, settings: tuple[str, ...],
    exp_bits: str | None, allow_int8_residual: bool, templates: Path | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Lower MODEL to a board: integer graph, fitted engine, HLS C++, packed weights.

    MODEL is a quantized .pt2 (torch.export archive), or a state_dict or .safetensors with --config.

    \b
    flow lower model.pt2 --board u250 -o build
    flow lower sparse.pt2 --engine build -o build_sparse     # same engine, other weights
    flow lower model.pt2 --board pynq-z2 --set engine.tokens=4 --set engine.banks=16
    """
    from flow.boards import load_board
    from flow.emit.build import Build, check_destination, write_build
    from flow.emit.lower import LowerOptions, lower, parse_settings
    from flow.emit.recipe import Recipe, remember

    if (board is None) == (onto is None):
        raise FlowError(
            f"flow lower: found {'neither --board nor' if board is None else 'both --board and'} --engine; "
            "expected one of them; name a board, or a build whose engine to use"
        )
    check_destination(output)
    base = Build.open(onto) if onto is not None else None
    target = load_board(board if board is not None else base.manifest["board"] if base is not None else "")
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


@main.command(short_help="Simulate a build and compare every bit.")
@click.argument("build", type=EXISTING)
@click.option(
    "--backend",
    default="csim",
    show_default=True,
    metavar="NAME",
    help="golden (numpy), csim (the emitted C++, compiled by g++) or cosim (that C++ behind its ports, in Verilator).",
)
@click.option(
    "--inputs",
    type=EXISTING,
    help="An .npz with the model's inputs by name (leading axis = samples), and `labels` if there are any.",
)
@click.option(
    "--outputs",
    type=EXISTING,
    help="Write an .npz: each output dequantised, and its raw integers under NAME__int.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Stimuli to draw where there are no --inputs.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the stimuli.")
@click.option("--trace", is_flag=True, help="Report each step's SQNR against the float model.")
@click.option(
    "--vitis-include",
    type=EXISTING,
    help="Compile with the headers of this Vitis HLS installation instead of ours.",
)
@click.option("--waves", type=EXISTING, help="With cosim: write the waveform to this file (FST).")
@click.option(
    "--watch", is_flag=True, help="Lower and check again whenever the model, a template or a header changes."
)
@click.option("--model", type=EXISTING, help="With --watch: the model, where flow does not remember it.")
@click.option(
    "--templates", type=EXISTING, metavar="DIR", help="With --watch: templates that replace flow's own."
)
@_config_option
@_json_option
def sim(
    build: Path, backend: str, inputs: Path | None, outputs: Path | None, samples: int, seed: int, trace: bool,
    vitis_include: Path | None, waves: Path | None, watch: bool, model: Path | None, templates: Path | None,
    config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Run BUILD and demand that every output bit equals the golden model's. Exit status 1 if one differs.

    \b
    flow sim build                                            # seeded stimuli, corner cases included
    flow sim build --backend csim --inputs test.npz --json
    flow sim build --trace                                    # where does precision go?
    flow sim build --backend cosim --waves build.fst          # stalls, registers, resets
    flow sim build --watch --templates mine                   # while editing templates

    Under --watch, Ctrl-C ends with the status of the last check; in the midst of one, with 130.
    """
    from flow.emit.build import Build
    from flow.golden.samples import load_samples
    from flow.golden.stimulus import stimulus
    from flow.resources import check_place
    from flow.sim.cosim import Bench
    from flow.sim.outputs import write_outputs
    from flow.sim.simulate import Known, simulate

    for place, option in ((outputs, "--outputs"), (waves, "--waves")):
        if place is not None:
            check_place(place, option)
    known: Known | None = {} if watch else None

    def check(opened: Build) -> int:
        drawn = (
            load_samples(inputs, opened.graph, labelled=True)
            if inputs is not None
            else stimulus(opened.graph, samples, seed)
        )
        with console.counter() as tell:
            report = simulate(
                opened, backend, drawn, trace=trace, vitis_include=vitis_include, bench=Bench(seed, waves=waves),
                progress=tell, known=known,
            )  # fmt: skip
        if outputs is not None:
            write_outputs(outputs, report.outputs)
        if as_json:
            console.print_json(report.to_json())
        else:
            console.show_sim(report)
        return report.mismatches

    if watch:
        if as_json:
            raise FlowError(
                "flow sim: found --watch with --json, which prints one object; expected one of the two"
            )
        sys.exit(_watch(build, model, config, templates, check))
    if model is not None or templates is not None or config is not None:
        raise FlowError(
            "flow sim: found --model, --templates or --config without --watch; expected a build that holds what it "
            "was lowered from; add --watch, or lower again"
        )
    if check(Build.open(build)):
        sys.exit(1)


def _watch(
    build: Path, model: Path | None, config: Path | None, templates: Path | None, check: Callable[[Any], int]
) -> int:
    """Watch until a signal; the status to end with."""
    from flow.emit.recipe import recipe_of
    from flow.sim.watch import Watch

    watching = Watch(
        build, recipe_of(build, model, config, templates), check, console.print_note, console.print_error
    )
    try:
        watching.run()
    except KeyboardInterrupt as signalled:
        asked = not isinstance(signalled, _Interrupted) or signalled.status == 128 + signal.SIGINT
        if not (asked and watching.waiting):
            raise
    return watching.status


# fmt: off
@main.command(short_help="Quantize a float model.")
@click.argument("model", type=EXISTING)
@click.option("--calibrate", "data", type=EXISTING, required=True,
              help="An .npz with the model's inputs by name; leading axis = samples.")
@click.option("-o", "--output", type=EXISTING, required=True, help="Where the quantized .pt2 goes.")
@click.option("--samples", type=click.IntRange(1), default=256, show_default=True,
              help="At most this many calibration samples.")
@click.option("--method", type=click.Choice(["auto", "minmax", "percentile", "mse"]), default="auto", show_default=True,
              help="Where 8-bit activations are clipped.")
@click.option("--percentile", type=click.FloatRange(50, 100, min_open=True), default=99.99, show_default=True,
              help="For --method percentile: per cent of the values that are not clipped.")
@click.option("--smooth", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="SmoothQuant's alpha; 0 leaves all to the weights.")
@click.option("--no-smooth", is_flag=True, help="No SmoothQuant.")
@click.option("--weight-bits", type=click.Choice(["8", "4"]), default="8", show_default=True, help="Width of weights.")
@click.option("--rounding", type=click.Choice(["nearest", "mse", "gptq"]),
              help="How weights are rounded.  [default: nearest for 8 bits, gptq for 4]")
@click.option("--index-bits", type=click.IntRange(8, 12), default=8, show_default=True,
              help="Width of activation table indices.")
@click.option("--table-bits", type=click.Choice(["8", "16"]), default="8", show_default=True,
              help="Width of activation outputs; 16 doubles the next matmul's cycles.")
@click.option("--input-bits", type=click.Choice(["8", "16"]), default="8", show_default=True,
              help="Width of other inputs of matmuls; 16 doubles their cycles.")
@click.option("--exp-bits", type=click.Choice(["8", "16"]),
              help="Width of softmax numerators.  [default: 8 up to 128 tokens, else 16]")
@click.option("--error-budget", metavar="24dB|0.998",
              help="Widen edges, cheapest first, until outputs reach this SQNR or cosine to the float model.")
@click.option("--board", default=None, metavar="NAME", help="Board that widths are priced on.")
@click.option("--finetune-steps", type=click.IntRange(0), default=0, show_default=True,
              help="Steps of quantization-aware fine-tuning on the calibration samples, without labels.")
@click.option("--finetune-rate", type=float, default=1e-3, show_default=True,
              help="First learning rate, as a share of a tensor's root mean square.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of fine-tuning.")
@_config_option
@_json_option
def quantize(
    model: Path, data: Path, output: Path, samples: int, method: str, percentile: float, smooth: float,
    no_smooth: bool, weight_bits: str, rounding: str | None, index_bits: int, table_bits: str, input_bits: str,
    exp_bits: str | None, error_budget: str | None, board: str | None, finetune_steps: int, finetune_rate: float,
    seed: int, config: Path | None, as_json: bool,
) -> None:
    """Quantize a float MODEL by the number contract and write a QDQ .pt2 that `flow lower` reads.

    Exit status 1 if an error budget cannot be met; the best model found is written all the same.

    \b
    flow quantize float.pt2 --calibrate calib.npz -o model.pt2
    flow quantize float.pt2 --calibrate calib.npz -o model.pt2 --error-budget 0.998 --board u250
    flow quantize float.pt2 --calibrate calib.npz -o model.pt2 --weight-bits 4 --finetune-steps 200
    """
    from flow.boards import load_board
    from flow.compress.quantize import QuantizeOptions
    from flow.compress.run import Request, quantize_file
    from flow.compress.tuning import FinetuneOptions
    from flow.compress.widths import Budget

    options = QuantizeOptions(
        smooth_alpha=None if no_smooth else smooth, index_bits=index_bits, output_bits=int(table_bits),
        weight_bits=int(weight_bits), input_bits=int(input_bits), numerator_bits=int(exp_bits) if exp_bits else None,
        method=method, percentile=percentile, rounding=rounding,
    )
    request = Request(
        options, samples, Budget.parse(error_budget) if error_budget else None, load_board(board) if board else None,
        FinetuneOptions(finetune_steps, finetune_rate, seed=seed) if finetune_steps else None,
    )
    with console.counter() as tell:
        result = quantize_file(model, data, output, request, config=config, progress=tell)
    if as_json:
        console.print_json(result.to_json())
    else:
        console.show_quantized(result, output)
    if not result.met:
        sys.exit(1)
# fmt: on


@main.command(short_help="Prune a float model to a structure that hardware reads.")
@click.argument("model", type=EXISTING)
@click.option(
    "--scheme", default="hp", show_default=True, metavar="NAME", help="hp, block, nm, pattern or unstructured."
)
@click.option("--sparsity", type=float, required=True, help="Share of the weights to prune.")
@click.option("-o", "--output", type=EXISTING, required=True, help="The pruned .pt2 to write.")
@click.option(
    "--data",
    type=EXISTING,
    help="An .npz with the model's inputs by name (leading axis = samples), and `labels` for --train-steps.",
)
@click.option("--board", "boards", multiple=True, metavar="NAME", help="Choose banks for this board; repeatable.")
@click.option("--banks", type=int, help="Banks to balance for, a power of two; serves all divisors.")
@click.option("--block-rows", type=int, default=16, show_default=True, help="Rows of a block of the coarse step.")
@click.option("--score", metavar="NAME", help="magnitude or wanda.  [default: wanda with --data, else magnitude]")
@click.option("--allocation", default="uniform", show_default=True, metavar="NAME", help="uniform or sensitivity.")
@click.option("--nm-group", type=int, default=0, help="M of N:M.  [default: chosen]")
@click.option("--patterns", type=int, default=16, show_default=True, help="Patterns of one table of scheme pattern.")
@click.option("--no-permute", is_flag=True, help="Leave free channels in their order.")
@click.option("--no-reconstruct", is_flag=True, help="No least squares for the weights that stay.")
@click.option("--distill-steps", type=click.IntRange(0), default=0, help="Train towards the dense model.")
@click.option("--train-steps", type=click.IntRange(0), default=0, help="Train with labels.")
@click.option("--stages", type=click.IntRange(1), default=1, show_default=True, help="Raise the sparsity in stages.")
@click.option("--lasso", type=click.FloatRange(0), default=0.0, help="Weight of the group lasso in training.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate.  [default: 0.001]")
@click.option("--batch", type=click.IntRange(1), default=32, show_default=True, help="Samples of a training step.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of searches and sample order.")
@click.option("--include", multiple=True, metavar="GLOB", help="Prune these module paths too; repeatable.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these module paths dense; repeatable.")
@click.option(
    "--checkpoint", type=EXISTING, metavar="DIR", help="Where an interrupted run is kept.  [default: beside the output]"
)
@_config_option
@_json_option
def prune(
    model: Path, scheme: str, sparsity: float, output: Path, data: Path | None, boards: tuple[str, ...],
    banks: int | None, block_rows: int, score: str | None, allocation: str, nm_group: int, patterns: int,
    no_permute: bool, no_reconstruct: bool, distill_steps: int, train_steps: int, stages: int, lasso: float,
    lr: float | None, batch: int, seed: int, include: tuple[str, ...], exclude: tuple[str, ...],
    checkpoint: Path | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Prune a float MODEL and write a .pt2 with zeros in its weights, for `flow quantize` and `flow lower`.

    Without --data: by magnitude, in one shot. With it: scores that know the activations, least squares, and training
    where asked for. Started again, an interrupted run goes on where it was.

    \b
    flow prune float.pt2 --sparsity 0.5 -o pruned.pt2
    flow prune float.pt2 --sparsity 0.8 --board u250 --data samples.npz --distill-steps 1000 -o pruned.pt2
    """
    from flow.frontend.torch_required import require_torch

    require_torch("flow prune")
    from flow.compress.plan import PruneOptions
    from flow.compress.prune import PruneRun, prune_file
    from flow.compress.train import TrainOptions

    if distill_steps and train_steps:
        raise FlowError(
            "flow prune: found both --distill-steps and --train-steps; expected one of them; training with labels "
            "mixes the dense model's answers in already"
        )
    if banks is not None and boards:
        raise FlowError(
            "flow prune: found both --board and --banks; expected one of them; boards choose the banks that serve all"
        )
    options = PruneOptions(
        scheme=scheme, sparsity=sparsity, banks=banks, block_rows=block_rows, allocation=allocation,
        score=score or ("wanda" if data is not None else "magnitude"), permute=not no_permute, include=include,
        exclude=exclude, seed=seed, nm_group=nm_group, patterns=patterns,
    )  # fmt: skip
    training = TrainOptions(
        kind="train" if train_steps else "distill", steps=distill_steps or train_steps, batch=batch, stages=stages,
        rate=lr or TrainOptions.rate, seed=seed,
    )  # fmt: skip
    run = PruneRun(data, boards, not no_reconstruct, training, lasso, checkpoint, config)
    with console.counter() as tell:
        result = prune_file(model, output, options, run, tell)
    if as_json:
        console.print_json(result.to_json())
    else:
        console.show_pruned(result, output)


@main.command(short_help="Estimate latency and resources on boards.")
@click.argument("model", type=EXISTING)
@click.option("--board", "boards", multiple=True, metavar="NAME", help="Board; repeatable.")
@click.option("--all-boards", is_flag=True, help="Every board that flow knows.")
@_config_option
@_json_option
def estimate(
    model: Path, boards: tuple[str, ...], all_boards: bool, config: Path | None, as_json: bool
) -> None:
    """Estimate cycles, latency and resources of MODEL (a quantized model or a build) on boards; writes nothing.

    \b
    flow estimate model.pt2 --all-boards
    flow estimate build --json
    """
    from flow.emit.estimating import estimate_boards

    with console.spinner() as tell:
        rows = estimate_boards(model, boards, all_boards, config=config, progress=tell)
    if as_json:
        console.print_json({"boards": [row.to_json() for row in rows]})
    else:
        console.show_estimates(rows)


@main.command(short_help="Show what a build holds.")
@click.argument("build", type=EXISTING)
@_json_option
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
@_json_option
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
@_json_option
def doctor(as_json: bool) -> None:
    """Say which outside tools are there, and what is missing for what."""
    from flow.doctor import diagnose

    console.show_doctor(diagnose(), as_json)


@main.group()
def boards() -> None:
    """The boards that flow knows."""


@boards.command("list")
@_json_option
def boards_list(as_json: bool) -> None:
    """List the boards with their main figures."""
    from flow.boards import list_boards, load_board

    console.show_boards([load_board(name) for name in list_boards()], as_json)


@boards.command("show")
@click.argument("name")
@_json_option
def boards_show(name: str, as_json: bool) -> None:
    """Show every figure of a board, each with the document that it comes from."""
    from flow.boards import load_board

    console.show_board(load_board(name), as_json)


@main.group()
def templates() -> None:
    """The templates and headers that the emitted C++ is made of."""


@templates.command("list")
@_json_option
def templates_list(as_json: bool) -> None:
    """List them: name, the file of a build that each becomes, and the dataclass that a template gets as `ctx`."""
    from flow.emit.sources import Sources

    console.show_templates(Sources.of(), as_json)


@templates.command("eject")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.argument("folder", type=EXISTING, metavar="DIR")
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
def templates_eject(names: tuple[str, ...], folder: Path, force: bool) -> None:
    """Copy the files of these names, all where there is none, into DIR, to be changed there.

    \b
    flow templates eject dispatch.hpp.j2 engine/array.hpp mine
    flow lower model.pt2 --board u250 --templates mine
    """
    from flow.emit.sources import eject

    console.show_ejected(eject(names, folder, force), folder)


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _stop(number: int, _: FrameType | None) -> None:
    for other in _STOPPING:
        signal.signal(other, signal.SIG_IGN)  # a second Ctrl-C must not interrupt the tidying up
    raise _Interrupted(number)


def _watch_signals() -> None:
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    # Results are printed last: where their reader is gone there is nothing to say and nothing to tidy up.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _open_closed_streams() -> None:
    """Started with stdout or stderr closed, Python has None there, and the next file would get their number."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        else:
            stream.reconfigure(errors="backslashreplace")  # a file name may be no text in this locale


def run() -> None:
    """The `flow` command: `main` with a process's signals and streams."""
    _open_closed_streams()
    _watch_signals()
    try:
        main()
    except SystemExit as end:
        status = end.code
    try:
        sys.stdout.flush()
    except OSError as error:
        console.print_error(f"stdout: found {error.strerror}; expected room for the result; free some")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        status = 2
    sys.exit(status)


if __name__ == "__main__":
    run()
