"""Pruning inside a training loop of your own.

    pruner = Pruner(model, example_inputs, PruneOptions(sparsity=0.8, banks=8), steps=1000, stages=4)
    for x, y in batches:
        loss = criterion(model(x), y) + pruner.regulariser()
        optimiser.zero_grad(); loss.backward(); optimiser.step()
        pruner.step()
    print(pruner.finalize().density)

`model` is any module that `torch.export` (not strict) traces and flow can lower; it is pruned in place, and its
`state_dict()` then holds exact zeros. Make the optimiser after the pruner, which reorders free channels first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flow.compress.batched import Batched
from flow.compress.lasso import GroupLasso, check_strength
from flow.compress.matrices import find_matrices, with_constants
from flow.compress.moments import input_norms
from flow.compress.oneshot import CALIBRATION_TOKENS, batches_of
from flow.compress.permute import permuted
from flow.compress.places import Examples, Place, find_places, graph_of
from flow.compress.plan import Plan, PruneOptions, make_plan, masks_of
from flow.compress.scores import scores_of
from flow.compress.summary import Summary, summarise
from flow.compress.train import staged_sparsity
from flow.errors import FlowError
from flow.golden.samples import Sample
from flow.ir import Array, Graph


class Pruner:
    """Masks, regulariser, schedule and end of a pruned training run.

    Args:
        module: pruned in place.
        examples: its inputs, by position or by name; a batch is cut to its first sample.
        options: scheme, sparsity, banks and the rest; score wanda needs `samples`.
        steps: calls of `step` over which the sparsity rises; 0 prunes at once.
        stages: in so many equal parts, cubically; masks are chosen anew from the present weights at each.
        lasso: weight of the reweighted group lasso.
        samples: inputs by name, batch of 1 each, as `load_samples` reads them; for Wanda.

    Attributes:
        plan: the structures of the present stage.
        masks: bool tensors by parameter name, of the parameter's shape; True stays.

    Raises:
        FlowError, UnsupportedError: the module cannot be exported or lowered, a matrix is no part of a parameter, or
            the sparsity cannot be expressed.
    """

    def __init__(
        self,
        module: nn.Module,
        examples: Examples,
        options: PruneOptions,
        *,
        steps: int = 0,
        stages: int = 1,
        lasso: float = 0.0,
        samples: Sequence[Sample] = (),
    ) -> None:
        if steps < 0 or stages < 1 or (steps and stages > steps):
            raise FlowError(
                f"Pruner: found {stages} stages in {steps} steps; expected at least one stage and at most one a step; "
                "take other numbers"
            )
        check_strength(lasso)
        self.module, self.options = module, options
        self.steps, self.stages = steps, stages if steps else 1
        self._graph = graph_of(module, examples)
        self._parameters = dict(module.named_parameters())
        self._norms = self._statistics(samples)
        make_plan(self._graph, options, norms=self._norms)
        self._places = self._find(examples)
        if options.permute:
            self._permute()
        self._dense = self._present()
        self.count = 0
        self.masks: dict[str, Tensor] = {}
        self._enter(0)
        self._lasso = GroupLasso(self.plan, self._weight, lasso) if lasso else None

    # -- the loop ----------------------------------------------------------------------------------------------

    def regulariser(self) -> Tensor:
        """What to add to the loss: the group lasso, or 0."""
        if self._lasso is None:
            return torch.zeros((), device=next(iter(self._parameters.values())).device)
        return self._lasso()

    def step(self) -> None:
        """Call after every step of the optimiser: moves the schedule on, and zeroes pruned weights."""
        before, self.count = self._stage(), self.count + 1
        if self._stage() != before:
            self._enter(self._stage())
            if self._lasso is not None:
                self._lasso.reweight()
        self._apply()

    def finalize(self) -> Summary:
        """The last stage's masks, exactly, however many steps were taken; says what is kept."""
        if self._stage() < self.stages - 1:
            self.count = self.steps
            self._enter(self.stages - 1)
        self._apply()
        return summarise(self.plan, self._dense, self._present())

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint of your own has to hold beside the module's and the optimiser's."""
        lasso = self._lasso.state() if self._lasso is not None else {}
        return {"count": self.count, "masks": dict(self.masks), "lasso": lasso}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`. The order matters: make the pruner, load the module's state, then this.

        Raises:
            FlowError: the module has weights where the masks have none: it is not the one that was saved with them, or
                was loaded before the pruner was made, which has reordered its channels.
        """
        masks = {name: mask.to(self._parameters[name].device) for name, mask in state["masks"].items()}
        foreign = [name for name, mask in masks.items() if bool((self._parameters[name][~mask] != 0).any())]
        if foreign:
            raise FlowError(
                f"Pruner: found weights in {foreign[0]} where its masks have none; expected the module as it was saved "
                "with them, after `step`; make the pruner, load the module's state, then the pruner's"
            )
        self.count = int(state["count"])
        if self._stage():
            self._enter(self._stage())
        self.masks = masks
        if self._lasso is not None:
            self._lasso.restore(state["lasso"])

    # -- inside ------------------------------------------------------------------------------------------------

    def _stage(self) -> int:
        return min(self.stages - 1, self.count * self.stages // self.steps) if self.steps else 0

    def _statistics(self, samples: Sequence[Sample]) -> Mapping[str, Array] | None:
        if not samples:
            return None
        model = Batched(self._graph)
        norms = input_norms(model, batches_of(model, samples, CALIBRATION_TOKENS))
        matrices = find_matrices(self._graph, self.options.include, self.options.exclude)
        return {matrix.name: norms[matrix.name] for matrix in matrices}

    def _find(self, examples: Examples) -> dict[str, Place]:
        """Places of all matrices, and of the biases that move with their rows."""
        matrices = find_matrices(self._graph, self.options.include, self.options.exclude)
        names = dict.fromkeys(
            value.node for m in matrices for linear in m.linears for value in self._graph[linear].inputs[1:]
        )
        return find_places(self.module, examples, names)

    def _permute(self) -> None:
        plan = make_plan(self._graph, self.options, norms=self._norms)
        scores = scores_of(plan.matrices, self.options.score, self._norms)
        self._graph, order = permuted(self._graph, plan, scores)
        if self._norms is not None:
            self._norms = {name: order.inputs(name, x) for name, x in self._norms.items()}
        with torch.no_grad():
            for name in {**order.rows, **order.columns}:
                place = self._places[name]
                parameter = self._parameters[place.parameter]
                moved = order.apply(name, place.read(parameter).cpu().numpy())
                place.write(parameter, torch.from_numpy(np.ascontiguousarray(moved)))

    def _weight(self, name: str) -> Tensor:
        place = self._places[name]
        return place.read(self._parameters[place.parameter])

    def _present(self) -> dict[str, Array]:
        names = [m.name for m in find_matrices(self._graph, self.options.include, self.options.exclude)]
        return {name: self._weight(name).detach().cpu().float().numpy() for name in names}

    def _enter(self, stage: int) -> None:
        """Plan and masks of a stage, from the present weights."""
        sparsity = staged_sparsity(stage, self.stages, self.options.sparsity)
        graph: Graph = with_constants(self._graph, self._present())
        asked = replace(self.options, sparsity=sparsity)
        self.plan: Plan = make_plan(graph, asked, norms=self._norms, nearest=stage + 1 < self.stages)
        chosen = masks_of(self.plan, scores_of(self.plan.matrices, self.options.score, self._norms))
        self.masks = {}
        for name, mask in chosen.items():
            place = self._places[name]
            parameter = self._parameters[place.parameter]
            whole = self.masks.setdefault(place.parameter, torch.ones_like(parameter, dtype=torch.bool))
            place.write(whole, place.read(whole).cpu() & torch.from_numpy(mask))
        self._apply()

    @torch.no_grad()
    def _apply(self) -> None:
        for name, mask in self.masks.items():
            self._parameters[name].mul_(mask)
