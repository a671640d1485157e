"""`flow prune`: a float model file to a pruned one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flow import __version__
from flow.compress.banks import banks_for
from flow.compress.batched import Batched
from flow.compress.checkpoint import Checkpoint, digest, only_run
from flow.compress.lasso import GroupLasso, check_strength
from flow.compress.matrices import find_matrices, with_constants
from flow.compress.oneshot import OneShot, batches_of, one_shot, restaged
from flow.compress.plan import Plan, PruneOptions
from flow.compress.schemes import Structure
from flow.compress.summary import Summary, summarise
from flow.compress.train import Trainer, TrainOptions
from flow.errors import FlowError
from flow.frontend import load
from flow.frontend.to_torch import write_pt2
from flow.golden.samples import Sample, Samples, load_samples
from flow.ir import Array, Graph
from flow.ops.quant import QuantSpec
from flow.ops.source import Constant
from flow.passes import recognise
from flow.resources import check_place

Tell = Callable[..., None]
"""Called with (what, done, total) and, by keyword, a `note`."""

HELD_OUT = 8
"""One sample in so many is kept out of everything, to measure the result on."""
NO_DATA = (
    "without --data: chosen by magnitude alone, nothing reconstructed; samples of the model's inputs would buy "
    "scores that know the activations, least squares and distillation"
)
LEAST_HELD = 4
"""Below so many samples in all, none is kept out."""


@dataclass(frozen=True)
class PruneRun:
    """What `flow prune` does besides the plan.

    `data` is an .npz of samples (None: magnitude, one-shot). `boards` choose B, unless the plan's options name it.
    `training` with 0 steps is none; `lasso` is the weight of the group lasso in it.
    """

    data: Path | None = None
    boards: tuple[str, ...] = ()
    rebuild: bool = True
    training: TrainOptions = field(default_factory=TrainOptions)
    lasso: float = 0.0
    checkpoint: Path | None = None
    config: Path | None = None


@dataclass(frozen=True)
class Pruned(Summary):
    """What `flow prune` did.

    `cosine` and `sqnr_db` compare each output with the dense model's, on `measured` samples that nothing was fitted
    to; `boards` are the banks that each board would be fitted with, `loss` the last of training.
    """

    samples: int
    measured: int
    cosine: Mapping[str, float]
    sqnr_db: Mapping[str, float]
    boards: Mapping[str, int]
    loss: float | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of `flow prune --json`."""
        return {
            **super().to_json(),
            "samples": self.samples,
            "measured_samples": self.measured,
            "cosine": dict(self.cosine),
            "sqnr_db": dict(self.sqnr_db),
            "boards": dict(self.boards),
            "loss": self.loss,
            "notes": list(self.notes),
        }


def prune_file(
    model: Path, output: Path, options: PruneOptions, run: PruneRun | None = None, tell: Tell | None = None
) -> Pruned:
    """Read, recognise, plan, permute, score, mask, reconstruct, train and write; resumes what was interrupted.

    Raises:
        FlowError: bad model, data, place or checkpoint, a loss that is not finite. UnsupportedError: the model is
            quantized, or the sparsity cannot be expressed.
    """
    run = run or PruneRun()
    check_place(output, "-o")
    _check_options(options, run)
    graph = recognise(load(model, run.config))
    if any(isinstance(n.op, QuantSpec) for n in graph):
        raise FlowError(
            f"{model}: found a model that is quantized already; expected a float model; prune it before `flow quantize`"
        )
    samples = (
        load_samples(run.data, graph, labelled=run.training.kind == "train") if run.data else Samples(())
    )
    if run.training.steps and run.training.kind == "train" and samples.labels is None:
        raise FlowError(
            f"{run.data}: found no labels; expected one integer a sample under the name labels; add them, or use "
            "--distill-steps, which needs none"
        )
    boards = banks_for(graph, run.boards, options) if run.boards else {}
    if boards and options.banks is None:
        options = replace(options, banks=max(boards.values()))
    with only_run(output):
        job = _Job(
            graph,
            options,
            run,
            samples,
            tell or (lambda *_, **__: None),
            _checkpoint(model, output, options, run),
        )
        return job.run_to(output, boards)


def _check_options(options: PruneOptions, run: PruneRun) -> None:
    check_strength(run.lasso)
    needs = {
        "--score wanda": options.score == "wanda",
        "--allocation sensitivity": options.allocation == "sensitivity",
        "--distill-steps": run.training.steps > 0 and run.training.kind == "distill",
        "--train-steps": run.training.steps > 0 and run.training.kind == "train",
    }
    asked = [name for name, there in needs.items() if there]
    if asked and run.data is None:
        raise FlowError(
            f"flow prune: found {', '.join(asked)} without data; expected samples to measure or train on; "
            "give an .npz with --data"
        )
    if (run.training.stages > 1 or run.lasso) and not run.training.steps:
        raise FlowError(
            f"flow prune: found {'--stages' if run.training.stages > 1 else '--lasso'} without training; expected "
            "--distill-steps or --train-steps beside it; add one"
        )
    if run.training.steps and run.training.stages > run.training.steps:
        raise FlowError(
            f"flow prune: found {run.training.stages} stages in {run.training.steps} steps; expected at most one stage "
            "a step; take fewer stages or more steps"
        )


def _checkpoint(model: Path, output: Path, options: PruneOptions, run: PruneRun) -> Checkpoint:
    folder = run.checkpoint or output.with_name(f".{output.name}.checkpoint")
    identity = {
        "version": __version__,
        "torch": torch.__version__,
        "model": digest(model),
        "config": digest(run.config) if run.config else None,
        "data": digest(run.data) if run.data else None,
        "reconstruct": run.rebuild,
        "lasso": run.lasso,
        **{f"plan.{key}": value for key, value in asdict(options).items()},
        **{f"training.{key}": value for key, value in asdict(run.training).items()},
    }
    return Checkpoint(folder, identity)


@dataclass
class _Job:
    graph: Graph
    options: PruneOptions
    run: PruneRun
    samples: Samples
    tell: Tell
    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        self.fitted, self.measured = held_out(self.samples.samples)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.loss: float | None = None

    def run_to(self, output: Path, boards: Mapping[str, int]) -> Pruned:
        """Everything, and the file."""
        start = self._start()
        plan, weights = self._train(start) if self.run.training.steps else (start.plan, dict(start.pruned))
        changed = {n: a for n, a in weights.items() if not np.array_equal(a, _value(start.dense, n))}
        result = with_constants(start.dense, changed)
        write_pt2(result, output)
        pruned = self._summary(start, plan, result, boards)
        self.checkpoint.clear()
        return pruned

    # -- before training ---------------------------------------------------------------------------------------

    def _start(self) -> OneShot:
        saved = self.checkpoint.load("start")
        if saved is not None:
            return _unpacked(self.graph, *saved, self.options)
        start = one_shot(
            self.graph,
            self.options,
            self.fitted,
            stages=self.run.training.stages if self.run.training.steps else 1,
            rebuild=self.run.rebuild,
            device=self.device,
            tell=self.tell,
        )
        self.checkpoint.save("start", *_packed(self.graph, start))
        return start

    # -- training ----------------------------------------------------------------------------------------------

    def _train(self, start: OneShot) -> tuple[Plan, dict[str, Array]]:
        plans = [start.plan]
        options = self.run.training

        def restage(stage: int, present: Mapping[str, Array]) -> Mapping[str, Array]:
            if stage == 0:
                return start.masks
            graph = with_constants(start.dense, present)
            plan, masks = restaged(start, self.options, stage, options.stages, present, graph)
            plans.append(plan)
            return masks

        dense = Batched(start.dense)
        pruned = Batched(with_constants(start.dense, start.pruned))
        dense.module.to(self.device)
        pruned.module.to(self.device)
        trainer = Trainer(
            dense,
            pruned,
            self.fitted,
            options,
            start.masks,
            None if self.samples.labels is None else self.samples.labels[: len(self.fitted)],
            restage if options.stages > 1 else None,
            GroupLasso(start.plan, pruned.weight, self.run.lasso) if self.run.lasso else None,
        )
        saved = self.checkpoint.load("training")
        if saved is not None:
            trainer.restore(saved[0])
            plans.append(replace(start.plan, structures=_structures(saved[1]["structures"])))
        self._loop(trainer, plans)
        self.loss = trainer.loss
        return plans[-1], {name: tensor.detach().cpu().numpy() for name, tensor in trainer.weights.items()}

    def _loop(self, trainer: Trainer, plans: list[Plan]) -> None:
        word = "distillation" if self.run.training.kind == "distill" else "training"

        def after() -> None:
            if self.checkpoint.due():
                structures = {name: s.to_json() for name, s in plans[-1].structures.items()}
                self.checkpoint.save("training", trainer.state(), {"structures": structures})

        try:
            trainer.run(
                lambda done, total, loss: self.tell(word, done, total, note=f"loss {loss:.4f}"), after
            )
        except FlowError:
            self.checkpoint.clear()  # another learning rate is another run
            raise

    # -- what came of it ---------------------------------------------------------------------------------------

    def _summary(self, start: OneShot, plan: Plan, result: Graph, boards: Mapping[str, int]) -> Pruned:
        names = [matrix.name for matrix in plan.matrices]
        before, after = ({name: _value(graph, name) for name in names} for graph in (start.dense, result))
        kept = summarise(plan, before, after)
        cosine, sqnr = self._errors(start.dense, result)
        notes = () if self.run.data else (NO_DATA,)
        return Pruned(
            plan,
            kept.rows,
            kept.density,
            len(self.fitted),
            len(self.measured),
            cosine,
            sqnr,
            boards,
            self.loss,
            notes,
        )

    def _errors(self, before: Graph, after: Graph) -> tuple[dict[str, float], dict[str, float]]:
        if not self.measured:
            return {}, {}
        dense, pruned = Batched(before), Batched(after)
        names = {value: name for name, value in before.outputs.items()}
        signal, noise, cosine = {}, {}, {}
        tokens = sum(max(n, 1) for n in dense.lengths(self.measured))
        with torch.no_grad():
            pairs = [(dense.run(b), pruned.run(b)) for b in batches_of(dense, self.measured, tokens)]
        for value in dense.outputs:
            name = names.get(value, value.node)
            exact = torch.cat([d[value] for d, _ in pairs]).double()
            found = torch.cat([p[value] for _, p in pairs]).double()
            cosine[name] = round(float(torch.nn.functional.cosine_similarity(exact, found, dim=1).mean()), 5)
            signal[name], noise[name] = float(exact.square().sum()), float((exact - found).square().sum())
        sqnr = {
            n: round(10 * math.log10(signal[n] / noise[n]), 2) for n in signal if signal[n] > 0 < noise[n]
        }
        return cosine, sqnr


def _value(graph: Graph, name: str) -> Array:
    op = graph[name].op
    assert isinstance(op, Constant)
    return op.value


# -- the checkpoint of what comes before training ----------------------------------------------------------------


def _packed(graph: Graph, start: OneShot) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    moved = {
        node.name: node.op.value
        for node in start.dense
        if isinstance(node.op, Constant)
        and not np.array_equal(node.op.value, _value(graph, node.name), equal_nan=True)
    }
    groups: dict[str, Mapping[str, Array]] = {
        "dense": moved, "mask": start.masks, "pruned": start.pruned, "norm": start.norms or {},
    }  # fmt: skip
    tensors = {
        f"{group}/{name}": torch.from_numpy(np.array(array, order="C"))
        for group, arrays in groups.items()
        for name, array in arrays.items()
    }
    structures = {name: s.to_json() for name, s in start.plan.structures.items()}
    data = {
        "structures": structures,
        "banks": start.plan.banks,
        "curves": start.curves,
        "norms": start.norms is not None,
    }
    return tensors, data


def _unpacked(
    graph: Graph, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Any], options: PruneOptions
) -> OneShot:
    groups: dict[str, dict[str, Array]] = {"dense": {}, "mask": {}, "pruned": {}, "norm": {}}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor.numpy()
    dense = with_constants(graph, groups["dense"])
    matrices = find_matrices(dense, options.include, options.exclude)
    plan = Plan(options, data["banks"], matrices, _structures(data["structures"]))
    curves = data["curves"] and {name: [(d, e) for d, e in curve] for name, curve in data["curves"].items()}
    return OneShot(
        dense, plan, groups["mask"], groups["pruned"], groups["norm"] if data["norms"] else None, curves
    )


def _structures(data: Mapping[str, Any]) -> dict[str, Structure]:
    return {name: Structure.from_json(found) for name, found in data.items()}


def held_out(samples: Sequence[Sample]) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """(fitted, measured): the last eighth is kept out, where there are four samples or more."""
    held = -(-len(samples) // HELD_OUT) if len(samples) >= LEAST_HELD else 0
    return samples[: len(samples) - held], samples[len(samples) - held :]
