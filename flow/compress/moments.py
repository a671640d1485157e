"""Second moments of what every linear layer reads: the statistics behind scores and least squares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from flow.compress.batched import Batch, Batched
from flow.errors import FlowError
from flow.ir import Array, Node, Value

Progress = Callable[[int, int], None]
"""Called with (batches done, batches in all)."""


@dataclass
class Moments:
    """Sums over the T tokens of an input x [T, C], in float64: `total` = sum x [C], `centred` [C, C].

    `centred` = sum (x - mean)(x - mean)^T. Taken as a difference of float32 products it would be their rounding where
    an input hardly varies, and weights fitted to that are noise.
    """

    count: int
    total: Tensor
    centred: Tensor

    @staticmethod
    def of(parts: Sequence[Tensor]) -> Moments:
        """The moments of a tensor given in parts [T_i, C]; products are float32, sums over parts float64."""
        count = sum(len(x) for x in parts)
        total = torch.stack([x.sum(0, dtype=torch.float64) for x in parts]).sum(0)
        mean = (total / count).to(parts[0].dtype)
        centred = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=mean.device)
        for x in parts:
            rest = x - mean
            centred += rest.T @ rest
        return Moments(count, total, centred)

    def __add__(self, other: Moments) -> Moments:
        count, apart = self.count + other.count, self.mean - other.mean
        between = torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.total + other.total, self.centred + other.centred + between)

    @property
    def mean(self) -> Tensor:
        """[C]."""
        return self.total / self.count

    @property
    def gram(self) -> Tensor:
        """sum x x^T, [C, C]."""
        return self.centred + torch.outer(self.total, self.total) / self.count


def input_norms(
    batched: Batched, batches: Sequence[Batch], progress: Progress | None = None
) -> dict[str, Array]:
    """||x_c|| over all real tokens, float64 [C], of each linear layer's input, by the name of its weight's constant.

    Equation: `norm[c] = sqrt(sum_t x[t, c]^2)`; a weight that several layers read gets the sum over all of them.
    This is what Wanda (Sun et al., 2024) multiplies |w| with.

    Raises:
        FlowError: an activation is not finite.
    """
    squares: dict[str, Tensor] = {}

    def observe(node: Node, operands: tuple[Tensor, ...], _: Tensor) -> None:
        if node.op.name == "float.linear":
            found = operands[0].square().sum(0, dtype=torch.float64)
            if not bool(torch.isfinite(found).all()):
                raise FlowError(
                    f"{node.where}: found an input that is not finite; expected finite activations; "
                    "check the model and the data"
                )
            weight = node.inputs[1].node
            squares[weight] = squares[weight] + found if weight in squares else found

    with torch.no_grad():
        for done, batch in enumerate(batches):
            batched.run(batch, observe=observe)
            if progress is not None:
                progress(done + 1, len(batches))
    return {name: np.sqrt(value.cpu().numpy()) for name, value in squares.items()}


def input_grams(batched: Batched, batches: Sequence[Batch]) -> Mapping[str, Moments]:
    """The moments of each linear layer's input by the name of its weight's constant; equal inputs share one object."""
    sums: dict[Value, Moments] = {}
    readers: dict[str, Value] = {}

    def observe(node: Node, operands: tuple[Tensor, ...], _: Tensor) -> None:
        if node.op.name != "float.linear":
            return
        readers.setdefault(node.inputs[1].node, node.inputs[0])
        if node.inputs[0] not in fresh:
            fresh.add(node.inputs[0])
            found, old = Moments.of([operands[0]]), sums.get(node.inputs[0])
            sums[node.inputs[0]] = found if old is None else old + found

    with torch.no_grad():
        for batch in batches:
            fresh: set[Value] = set()
            batched.run(batch, observe=observe)
    return {weight: sums[value] for weight, value in readers.items()}
