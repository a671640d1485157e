"""Training of a pruned model: towards the dense model's values on unlabelled data, or towards labels.

A run is a pure function of its inputs: the samples of step t follow from (seed, t), nothing random happens inside a
step, and all state (parameters, AdamW's moments, masks, the step) can be saved and put back. So a run that was stopped
and resumed ends in the same bits as one that was not, on a CPU with as many threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from flow.compress.batched import Batch, Batched
from flow.compress.lasso import GroupLasso
from flow.compress.objective import distillation, supervision
from flow.errors import FlowError
from flow.golden.samples import Sample
from flow.ir import Array, Value

Kind = Literal["distill", "train"]
Masks = dict[str, Tensor]
"""Bool [N, C] by the name of the weight's constant."""
Restage = Callable[[int, Mapping[str, Array]], Mapping[str, Array]]
"""From a stage (0 .. stages - 1) and the present weights to that stage's masks."""
Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, loss)."""

CACHE_BYTES = 2 << 30
"""The dense model's values are kept up to this size; beyond it they are computed again for every batch."""


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
        kind: distill towards the dense model, or train with labels.
        steps: optimiser steps in all. batch: samples of each.
        rate: peak learning rate of AdamW, after a linear warm-up over the share `warm` of the run; then a cosine to 0.
        stages: the sparsity rises to its target in this many equal parts of the run, cubically.
        hidden: weight of the residual stream's distances, in distillation.
        soft: share of the dense model's answers in the supervised loss.
        clip: largest norm of a gradient.
        seed: of the order of samples.
    """

    kind: Kind = "distill"
    steps: int = 0
    batch: int = 16
    rate: float = 1e-3
    warm: float = 0.05
    stages: int = 1
    hidden: float = 1.0
    soft: float = 0.5
    clip: float = 1.0
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise FlowError(
                f"--lr: found {self.rate:g}; expected a finite learning rate above 0; choose another"
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0 .. steps - 1."""
        ramp = min(1.0, (step + 1) / max(1.0, self.warm * self.steps))
        return self.rate * ramp * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def stage_of(self, step: int) -> int:
        """The stage, 0 .. stages - 1, that a step belongs to."""
        return min(self.stages - 1, step * self.stages // self.steps)

    def rows_at(self, step: int, count: int) -> list[int]:
        """The samples of a step: consecutive parts of one seeded permutation an epoch."""
        size = min(self.batch, count)
        epoch, place = divmod(step, count // size)
        order = np.random.default_rng((self.seed, epoch)).permutation(count)
        return [int(i) for i in order[place * size : (place + 1) * size]]


def staged_sparsity(stage: int, stages: int, sparsity: float) -> float:
    """`sparsity * (1 - (1 - (stage + 1) / stages)^3)`: the cubic schedule of Zhu and Gupta (2017)."""
    return sparsity * (1 - (1 - (stage + 1) / stages) ** 3)


class Trainer:
    """Trains `pruned` in place; `dense` answers what it should give, and is not changed.

    `masks` are those of the first stage, unless `restage` is given, which is asked at the start of every stage.
    """

    def __init__(
        self,
        dense: Batched,
        pruned: Batched,
        samples: Sequence[Sample],
        options: TrainOptions,
        masks: Mapping[str, Array],
        labels: Array | None = None,
        restage: Restage | None = None,
        penalty: GroupLasso | None = None,
    ) -> None:
        self.dense, self.pruned, self.samples, self.options = dense, pruned, samples, options
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels, np.int64))
        self.restage, self.penalty = restage, penalty
        self.step = 0
        self.loss = math.nan
        self.device = next(self.pruned.module.parameters()).device
        self.weights = {
            name: pruned.module.tensor(slot)
            for name, slot in pruned.module.slots.items()
            if isinstance(pruned.module.tensor(slot), torch.nn.Parameter)
        }
        self.masks: Masks = {}
        self.set_masks(masks)
        self._used = self._reached()
        self.optimiser = torch.optim.AdamW(
            [self.weights[name] for name in self._used],
            lr=options.rate,
            betas=(0.9, 0.98),
            weight_decay=options.decay,
            fused=True,  # a fifth of the time of the default on a CPU
        )
        self._cache: list[dict[Value, Tensor]] | None = None

    # -- state -------------------------------------------------------------------------------------------------

    def set_masks(self, masks: Mapping[str, Array]) -> None:
        """Other masks from here on; weights outside them become 0."""
        self.masks = {
            name: torch.from_numpy(np.asarray(m, np.bool_)).to(self.device) for name, m in masks.items()
        }
        self._apply()

    def state(self) -> dict[str, Tensor]:
        """Everything that a step changes."""
        found = {f"weight/{name}": self.weights[name].detach().cpu() for name in self._used}
        found |= {f"mask/{name}": mask.cpu() for name, mask in self.masks.items()}
        for name in self._used:
            for key, value in self.optimiser.state.get(self.weights[name], {}).items():
                found[f"adam/{key}/{name}"] = value.detach().cpu()
        if self.penalty is not None:
            found |= {f"penalty/{name}": beta.cpu() for name, beta in self.penalty.state().items()}
        found["step"] = torch.tensor([self.step])
        found["loss"] = torch.tensor([self.loss], dtype=torch.float64)
        return {name: value.contiguous() for name, value in found.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        with torch.no_grad():
            for name in self._used:
                self.weights[name].copy_(state[f"weight/{name}"])
        self.masks = {
            n.removeprefix("mask/"): m.to(self.device) for n, m in state.items() if n.startswith("mask/")
        }
        for name in self._used:
            saved = {
                key: state[f"adam/{key}/{name}"].clone().to(self.device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adam/{key}/{name}" in state
            }
            if saved:
                self.optimiser.state[self.weights[name]] = saved
        if self.penalty is not None:
            self.penalty.restore(
                {n.removeprefix("penalty/"): b for n, b in state.items() if n.startswith("penalty/")}
            )
        self.step, self.loss = int(state["step"]), float(state["loss"])

    def _reached(self) -> list[str]:
        """Parameters that the device's outputs depend on."""
        outputs = self.pruned.run(self.pruned.batch(self.samples[:1]))
        parameters = list(self.weights.items())
        total = torch.stack([value.sum() for value in outputs.values()]).sum()
        found = torch.autograd.grad(total, [p for _, p in parameters], allow_unused=True)
        grads: Sequence[Tensor | None] = found
        return [name for (name, _), grad in zip(parameters, grads, strict=True) if grad is not None]

    def _apply(self) -> None:
        with torch.no_grad():
            for name, mask in self.masks.items():
                self.weights[name].mul_(mask)

    # -- steps -------------------------------------------------------------------------------------------------

    def run(self, progress: Progress | None = None, after: Callable[[], None] | None = None) -> None:
        """All steps that are left; `after` is called behind each of them.

        Raises:
            FlowError: the loss is not finite, before a step or after the last.
        """
        if self.step < self.options.steps:
            self._cache = self._remember()
        while self.step < self.options.steps:
            self.advance()
            if progress is not None:
                progress(self.step, self.options.steps, self.loss)
            if after is not None:
                after()
        with torch.no_grad():
            self._check(float(self._loss(self.options.rows_at(self.step - 1, len(self.samples)))))

    def advance(self) -> None:
        """One step."""
        options = self.options
        stage = options.stage_of(self.step)
        if self.step == 0 or options.stage_of(self.step - 1) != stage:
            self._enter(stage)
        rows = options.rows_at(self.step, len(self.samples))
        loss = self._loss(rows)
        self.loss = float(loss.detach())
        self._check(self.loss)
        if self.penalty is not None:
            loss = loss + self.penalty()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate_at(self.step)
        torch.nn.utils.clip_grad_norm_([self.weights[name] for name in self._used], options.clip)
        self.optimiser.step()
        self._apply()
        self.step += 1

    def _check(self, loss: float) -> None:
        options = self.options
        if not math.isfinite(loss):
            raise FlowError(
                f"training, step {min(self.step + 1, options.steps)} of {options.steps}: found a loss of {loss}; "
                f"expected a finite one; lower --lr (now {options.rate:g}) and start again"
            )

    def _enter(self, stage: int) -> None:
        """Masks and penalties of a stage, from the present weights."""
        if self.restage is not None:
            present = {name: self.weights[name].detach().cpu().numpy() for name in self.masks}
            self.set_masks(self.restage(stage, present))
        if self.penalty is not None:
            self.penalty.reweight()

    def _loss(self, rows: list[int]) -> Tensor:
        batch = self.pruned.batch([self.samples[i] for i in rows])
        if self.labels is None:
            taps = self.pruned.taps if self.options.hidden else ()
            found = self.pruned.run(batch, keep=(*self.pruned.outputs, *taps))
            return distillation(
                found, self._exact(rows, batch), self.pruned.outputs, taps, self.options.hidden
            )
        logits = self._logits(self.pruned, batch)
        answers = None
        if self.options.soft:
            with torch.no_grad():
                answers = self._logits(self.dense, batch)
        return supervision(logits, self.labels[rows].to(self.device), answers, self.options.soft)

    def _logits(self, model: Batched, batch: Batch) -> Tensor:
        """The first output, [n, classes]."""
        first = next(iter(model.finish(batch, model.run(batch)).values()))
        return torch.cat([x.reshape(1, -1) for x in first])

    # -- the dense model's values ------------------------------------------------------------------------------

    def _wanted(self) -> tuple[Value, ...]:
        return (*self.pruned.outputs, *(self.pruned.taps if self.options.hidden else ()))

    def _exact(self, rows: list[int], batch: Batch) -> dict[Value, Tensor]:
        if self._cache is None:
            with torch.no_grad():
                return dict(self.dense.run(batch, keep=self._wanted()))
        parts = [self._cache[i] for i in rows]
        return {value: torch.cat([part[value] for part in parts]).to(self.device) for value in self._wanted()}

    def _remember(self) -> list[dict[Value, Tensor]] | None:
        """The dense model's values on all samples, where they are used more than once and fit.

        They are computed in batches that do not depend on where a run resumes: other batches could round otherwise.
        """
        options, graph = self.options, self.pruned.graph
        if self.labels is not None or options.steps * options.batch <= len(self.samples):
            return None
        lengths = self.pruned.lengths(self.samples)
        rows = sum(lengths) if self.pruned.tokens else len(lengths)
        if 4 * rows * sum(graph.type_of(v).shape[1] for v in self._wanted()) > CACHE_BYTES:
            return None
        found: list[dict[Value, Tensor]] = []
        with torch.no_grad():
            for start in range(0, len(self.samples), 32):
                batch = self.dense.batch(self.samples[start : start + 32])
                values = self.dense.run(batch, keep=self._wanted())
                split = {
                    v: torch.split(x.cpu(), batch.layouts[graph.type_of(v).shape[0]].sizes)
                    for v, x in values.items()
                }
                found += [{v: parts[i] for v, parts in split.items()} for i in range(len(batch.samples))]
        return found
