"""Reweighted group lasso: training pushes whole groups of weights to zero before they are pruned.

After "Enhancing Sparsity by Reweighted l1 Minimization" (Candès et al., 2008), as used for transformer pruning: the
penalty of group g is `strength * beta_g * ||w_g||_2` with `beta_g = 1 / (||w_g||_2 + eps)`, renewed at every stage, so
that small groups are pushed harder. Groups are those that HP decides on: a column within a block of R rows (the coarse
step), and a row's weights in one bank (the fine step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from flow.compress.plan import Plan
from flow.errors import FlowError

EPSILON = 1e-3
"""Of the reweighting, in units of the root of the mean square over groups."""


def check_strength(strength: float) -> None:
    """Refuse what is no weight of a penalty.

    Raises:
        FlowError: it is negative or not finite.
    """
    if not 0 <= strength < math.inf:
        raise FlowError(f"lasso: found {strength:g}; expected a finite weight, 0 or more; choose another")


class GroupLasso:
    """The penalty over a plan's matrices; `weight(name)` is the present weight [N, C] of one, differentiable."""

    def __init__(self, plan: Plan, weight: Callable[[str], Tensor], strength: float) -> None:
        self.strength = strength
        self._weight = weight
        self._groups = {name: _Groups(plan, name, weight(name).device) for name in plan.structures}
        self._betas: dict[str, tuple[Tensor, ...]] = {}
        self.reweight()

    @torch.no_grad()
    def reweight(self) -> None:
        """Renew every beta from the present weights."""
        for name, groups in self._groups.items():
            columns, vectors = groups.norms(self._weight(name))
            self._betas[name] = (_beta(columns), _beta(vectors))

    def state(self) -> dict[str, Tensor]:
        """The betas, by name."""
        return {f"{i}/{name}": beta for name, betas in self._betas.items() for i, beta in enumerate(betas)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave."""
        for name, betas in self._betas.items():
            self._betas[name] = tuple(state[f"{i}/{name}"].to(beta.device) for i, beta in enumerate(betas))

    def __call__(self) -> Tensor:
        """`strength * mean over groups of beta_g ||w_g||`, both kinds of groups added, mean over matrices."""
        terms = []
        for name, groups in self._groups.items():
            for norms, beta in zip(groups.norms(self._weight(name)), self._betas[name], strict=True):
                terms.append((norms * beta).mean())
        return self.strength * torch.stack(terms).sum() / len(self._groups)


class _Groups:
    """Which group each weight of a matrix is in."""

    def __init__(self, plan: Plan, name: str, device: torch.device) -> None:
        grid = plan.grid(name)
        rows = torch.from_numpy(grid.rows // max(plan.options.block_rows, 1))
        self.block = torch.unique(rows, return_inverse=True)[1].to(device)
        self.bank = torch.from_numpy(grid.columns % grid.banks).to(device)
        self.blocks, self.banks = int(self.block.max()) + 1, grid.banks

    def norms(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(norms of (block, column) [blocks, C], of (row, bank) [N, B]); the root's slope is 0 at 0."""
        square = weight.square()
        columns = square.new_zeros(self.blocks, square.shape[1]).index_add(0, self.block, square)
        vectors = square.new_zeros(square.shape[0], self.banks).index_add(1, self.bank, square)
        return _root(columns), _root(vectors)


def _root(x: Tensor) -> Tensor:
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, torch.ones_like(x)).sqrt(), torch.zeros_like(x))


def _beta(norms: Tensor) -> Tensor:
    scale = norms.square().mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    return 1.0 / (norms + EPSILON * scale)
