"""Layer-wise masked least squares: the kept weights make up for the pruned ones.

One walk through the graph in topological order carries two models at once, the dense one and the one that has been
pruned so far. At a pruned linear layer with input X^ [T, C] (of the pruned model), mask M and target Y [T, N], each
row n solves, on its support J = {c : M[n, c]},

    min over w, b of   sum_t (Y[t, n] - w . X^[t, J] - b)^2  +  ridge * ||w - w0[J]||^2

with w0 the dense row and ridge a share of the mean of diag(X^^T X^) (centred, since the bias is free). The normal
equations of all rows are solved in batches by Cholesky. The target is what the dense model has there; where the layer
feeds a residual stream, it is the dense *stream* less the pruned model's, so that a layer also mends what the layers
before it have left in the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from flow.compress.batched import Batch, Batched, Values
from flow.compress.moments import Moments
from flow.frontend.to_torch import Slot, Step
from flow.ir import Value

Progress = Callable[[int, int], None]
"""Called with (layers done, layers in all)."""
Target = Literal["pruned", "dense", "stream"]

CHUNK_ELEMENTS = 1 << 24
"""Of all gathered normal matrices of one chunk of rows together."""

FLOOR = 1e-8
"""Of the ridge, as a share of the mean square of the input: where that is all mean, the dense weights stay."""


@dataclass(frozen=True)
class LeastSquares:
    """Options of the reconstruction.

    Attributes:
        ridge: weight of staying near the dense row, as a share of the mean of the normal matrix' diagonal.
        target: what a layer aims at: the dense layer on the pruned model's inputs, on its own inputs, or the residual
            stream of the dense model.
    """

    ridge: float = 0.01
    target: Target = "stream"


def reconstruct(
    dense: Batched,
    pruned: Batched,
    batches: Sequence[Batch],
    masks: Mapping[str, Tensor],
    options: LeastSquares | None = None,
    progress: Progress | None = None,
) -> None:
    """Solve every pruned layer of `pruned` in place; `masks` are bool [N, C] by the name of the weight's constant.

    Weights that several layers share keep their masked values.
    """
    _Walk(dense, pruned, batches, masks, options or LeastSquares(), progress or (lambda *_: None)).run()


@dataclass
class _Walk:
    dense: Batched
    pruned: Batched
    batches: Sequence[Batch]
    masks: Mapping[str, Tensor]
    options: LeastSquares
    progress: Progress

    @torch.no_grad()
    def run(self) -> None:
        exact = [dict(batch.inputs) for batch in self.batches]
        found = [dict(batch.inputs) for batch in self.batches]
        last = {value: i for i, step in enumerate(self.pruned.steps) for value in step.node.inputs}
        known: tuple[Value, Moments] | None = None
        done, total = 0, sum(step.node.inputs[1].node in self.masks for step in self._linears())
        shared = self._shared()
        for i, (old, new) in enumerate(zip(self.dense.steps, self.pruned.steps, strict=True)):
            weight = new.node.inputs[1].node if new.node.op.name == "float.linear" else ""
            self._compute(self.dense, old, exact)
            if weight in self.masks and weight not in shared:
                if known is None or known[0] != new.node.inputs[0]:
                    known = (new.node.inputs[0], Moments.of([v[new.node.inputs[0]] for v in found]))
                self._solve(new, known[1], exact, found)
                done += 1
                self.progress(done, total)
            self._compute(self.pruned, new, found)
            for value in new.node.inputs:
                if last[value] == i:
                    for values in (*exact, *found):
                        values.pop(value, None)

    def _linears(self) -> list[Step]:
        return [step for step in self.pruned.steps if step.node.op.name == "float.linear"]

    def _shared(self) -> set[str]:
        weights = [step.node.inputs[1].node for step in self._linears()]
        return {weight for weight in weights if weights.count(weight) > 1}

    def _compute(self, model: Batched, step: Step, values: Sequence[Values]) -> None:
        for batch, known in zip(self.batches, values, strict=True):
            known[Value(step.node.name)] = model.compute(step, model.operands(step, known, batch), batch)

    def _solve(self, step: Step, moments: Moments, exact: Sequence[Values], found: Sequence[Values]) -> None:
        weight, bias = self._parameters(step)
        mask = self.masks[step.node.inputs[1].node]
        dense = self.dense.module.tensor(self.dense.module.slots[step.node.inputs[1].node])
        cross = torch.zeros_like(dense, dtype=torch.float64)
        total = torch.zeros(dense.shape[0], dtype=torch.float64, device=dense.device)
        mean = moments.mean.to(dense.dtype) if bias is not None else 0.0
        for old, new in zip(exact, found, strict=True):
            y, x = self._target(step, old, new), new[step.node.inputs[0]]
            cross += y.T @ (x - mean)
            total += y.sum(0, dtype=torch.float64)
        gram = moments.gram if bias is None else moments.centred
        floor = FLOOR * float(moments.gram.diagonal().mean())
        solved = solve_rows(gram, cross, dense, mask, self.options.ridge, floor)
        weight.copy_(solved)
        if bias is not None:
            bias.copy_(total / moments.count - solved.double() @ moments.mean)

    def _parameters(self, step: Step) -> tuple[Tensor, Tensor | None]:
        tensors = [self.pruned.module.tensor(o) for o in step.operands[1:] if isinstance(o, Slot)]
        return tensors[0], tensors[1] if len(tensors) == 2 else None

    def _target(self, step: Step, old: Values, new: Values) -> Tensor:
        here = Value(step.node.name)
        if self.options.target == "pruned":
            weights = [
                self.dense.module.tensor(self.dense.module.slots[v.node]) for v in step.node.inputs[1:]
            ]
            return torch.nn.functional.linear(new[step.node.inputs[0]], *weights)
        other = self._stream(step)
        if self.options.target == "dense" or other is None or other not in new:
            return old[here]
        return old[here] + (old[other] - new[other])

    def _stream(self, step: Step) -> Value | None:
        """The other operand of the residual addition that is this layer's one user."""
        users = self.pruned.graph.users(Value(step.node.name))
        if len(users) != 1 or users[0].op.name != "float.add":
            return None
        other = next((v for v in users[0].inputs if v.node != step.node.name), None)
        return None if other is None or other.node in self.pruned.module.slots else other


def solve_rows(
    gram: Tensor, cross: Tensor, start: Tensor, mask: Tensor, ridge: float, floor: float = 0.0
) -> Tensor:
    """Row-wise ridge regression on given supports.

    For each row n with support J: `(gram[J, J] + r I) w = cross[n, J] + r start[n, J]`, r = ridge * mean(diag(gram)) +
    floor.
    Rows are sorted by the size of their support and solved in chunks; shorter supports of a chunk are padded with unit
    equations.

    Args:
        gram: [C, C], symmetric positive semi-definite. cross: [N, C]. start, mask: [N, C].

    Returns:
        [N, C] of `start`'s type, zero outside the mask.
    """
    rows, columns = mask.shape
    strength = ridge * float(gram.diagonal().mean()) + floor + torch.finfo(torch.float32).tiny
    matrix = gram + strength * torch.eye(columns, dtype=gram.dtype, device=gram.device)
    right = cross + strength * start.to(cross.dtype)
    result = torch.zeros(rows, columns, dtype=torch.float64, device=gram.device)
    counts = mask.sum(1)
    order = torch.argsort(counts, stable=True)
    position = torch.argsort(mask.to(torch.int8), dim=1, descending=True, stable=True)
    at = 0
    while at < rows:
        widest = int(counts[order[min(rows - 1, at + 255)]])
        size = max(1, min(256, CHUNK_ELEMENTS // max(1, widest * widest)))
        chunk = order[at : at + size]
        at += size
        k = int(counts[chunk].max())
        if k == 0:
            continue
        support = position[chunk, :k]
        real = torch.arange(k, device=mask.device) < counts[chunk][:, None]
        solved = _cholesky_solve(matrix, torch.gather(right[chunk], 1, support), support, real, torch.float32)
        if solved is None:  # nearly singular
            solved = _cholesky_solve(
                matrix, torch.gather(right[chunk], 1, support), support, real, torch.float64
            )
        assert solved is not None
        result[chunk] = result[chunk].scatter(1, support, solved.double() * real)
    return result.to(start.dtype)


def _cholesky_solve(
    matrix: Tensor, sides: Tensor, support: Tensor, real: Tensor, dtype: torch.dtype
) -> Tensor | None:
    """Solutions [n, k] on the supports [n, k], 1 equation of its own for each that is not `real`; None if it fails."""
    normal = matrix.to(dtype)[support[:, :, None], support[:, None, :]]
    if not bool(real.all()):
        normal = normal * (real[:, :, None] & real[:, None, :]) + torch.diag_embed((~real).to(dtype))
    factor, failed = torch.linalg.cholesky_ex(normal)
    if bool(failed.any()) and dtype != torch.float64:
        return None
    return torch.cholesky_solve((sides.to(dtype) * real)[..., None], factor)[..., 0]
