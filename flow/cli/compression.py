"""Commands that make a model smaller: prune, quantize."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flow import console
from flow.cli.base import EXISTING, config_option, json_option, main
from flow.errors import FlowError


@main.command(short_help="Prune a float model to a structure that hardware reads.")
@click.argument("model", type=EXISTING)
@click.option(
    "--scheme",
    default="hp",
    show_default=True,
    metavar="NAME",
    help="hp, block, nm, pattern or unstructured.",
)
@click.option("--sparsity", type=float, required=True, help="Share of the weights to prune.")
@click.option("-o", "--output", type=EXISTING, required=True, help="The pruned .pt2 to write.")
@click.option(
    "--data",
    type=EXISTING,
    help="An .npz with the model's inputs by name (leading axis = samples), and `labels` for --train-steps.",
)
@click.option(
    "--board", "boards", multiple=True, metavar="NAME", help="Choose banks for this board; repeatable."
)
@click.option("--banks", type=int, help="Banks to balance for, a power of two; serves all divisors.")
@click.option(
    "--block-rows", type=int, default=16, show_default=True, help="Rows of a block of the coarse step."
)
@click.option(
    "--score", metavar="NAME", help="magnitude or wanda.  [default: wanda with --data, else magnitude]"
)
@click.option(
    "--allocation", default="uniform", show_default=True, metavar="NAME", help="uniform or sensitivity."
)
@click.option("--nm-group", type=int, default=0, help="M of N:M.  [default: chosen]")
@click.option(
    "--patterns", type=int, default=16, show_default=True, help="Patterns of one table of scheme pattern."
)
@click.option("--no-permute", is_flag=True, help="Leave free channels in their order.")
@click.option("--no-reconstruct", is_flag=True, help="No least squares for the weights that stay.")
@click.option("--distill-steps", type=click.IntRange(0), default=0, help="Train towards the dense model.")
@click.option("--train-steps", type=click.IntRange(0), default=0, help="Train with labels.")
@click.option(
    "--stages", type=click.IntRange(1), default=1, show_default=True, help="Raise the sparsity in stages."
)
@click.option("--lasso", type=click.FloatRange(0), default=0.0, help="Weight of the group lasso in training.")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate.  [default: 0.001]")
@click.option(
    "--batch", type=click.IntRange(1), default=16, show_default=True, help="Samples of a training step."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of searches and sample order."
)
@click.option("--include", multiple=True, metavar="GLOB", help="Prune these module paths too; repeatable.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these module paths dense; repeatable.")
@click.option(
    "--checkpoint",
    type=EXISTING,
    metavar="DIR",
    help="Where an interrupted run is kept.  [default: beside the output]",
)
@config_option
@json_option
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


@main.command(short_help="Quantize a float model.")
@click.argument("model", type=EXISTING)
@click.option(
    "--calibrate",
    "data",
    type=EXISTING,
    required=True,
    help="An .npz with the model's inputs by name; leading axis = samples.",
)
@click.option("-o", "--output", type=EXISTING, required=True, help="Where the quantized .pt2 goes.")
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="At most this many calibration samples.",
)
@click.option(
    "--method",
    type=click.Choice(["auto", "minmax", "percentile", "mse"]),
    default="auto",
    show_default=True,
    help="Where 8-bit activations are clipped.",
)
@click.option(
    "--percentile",
    type=click.FloatRange(50, 100, min_open=True),
    default=99.99,
    show_default=True,
    help="For --method percentile: per cent of the values that are not clipped.",
)
@click.option(
    "--smooth",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="SmoothQuant's alpha; 0 leaves all to the weights.",
)
@click.option("--no-smooth", is_flag=True, help="No SmoothQuant.")
@click.option(
    "--weight-bits", type=click.Choice(["8", "4"]), default="8", show_default=True, help="Width of weights."
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "mse", "gptq"]),
    help="How weights are rounded.  [default: nearest for 8 bits, gptq for 4]",
)
@click.option(
    "--index-bits",
    type=click.IntRange(8, 12),
    default=8,
    show_default=True,
    help="Width of activation table indices.",
)
@click.option(
    "--table-bits",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Width of activation outputs; 16 doubles the next matmul's cycles.",
)
@click.option(
    "--input-bits",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Width of other inputs of matmuls; 16 doubles their cycles.",
)
@click.option(
    "--exp-bits",
    type=click.Choice(["8", "16"]),
    help="Width of softmax numerators.  [default: 8 up to 128 tokens, else 16]",
)
@click.option(
    "--error-budget",
    metavar="24dB|0.998",
    help="Widen edges, cheapest first, until outputs reach this SQNR or cosine to the float model.",
)
@click.option("--board", default=None, metavar="NAME", help="Board that widths are priced on.")
@click.option(
    "--finetune-steps",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Steps of quantization-aware fine-tuning on the calibration samples, without labels.",
)
@click.option(
    "--finetune-rate",
    type=float,
    default=1e-3,
    show_default=True,
    help="First learning rate, as a share of a tensor's root mean square.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of fine-tuning.")
@config_option
@json_option
def quantize(
    model: Path, data: Path, output: Path, samples: int, method: str, percentile: float, smooth: float,
    no_smooth: bool, weight_bits: str, rounding: str | None, index_bits: int, table_bits: str, input_bits: str,
    exp_bits: str | None, error_budget: str | None, board: str | None, finetune_steps: int, finetune_rate: float,
    seed: int, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
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
        smooth_alpha=None if no_smooth else smooth,
        index_bits=index_bits,
        output_bits=int(table_bits),
        weight_bits=int(weight_bits),
        input_bits=int(input_bits),
        numerator_bits=int(exp_bits) if exp_bits else None,
        method=method,
        percentile=percentile,
        rounding=rounding,
    )
    request = Request(
        options,
        samples,
        Budget.parse(error_budget) if error_budget else None,
        load_board(board) if board else None,
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
