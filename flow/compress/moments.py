"""Second moments of what every linear layer reads: the statistics behind scores and least squares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """Sums over the T tokens of an input x [T, C]: `total` = sum x [C], `gram` = x^T x [C, C], in float64."""

    count: int
    total: Tensor
    gram: Tensor

    @staticmethod
    def of(parts: Iterable[Tensor]) -> Moments:
        """The moments of a tensor given in parts [T_i, C]; products are float32, sums over parts float64."""
        count, total, gram = 0, torch.zeros(0), torch.zeros(0)
        for x in parts:
            first = not count
            count += x.shape[0]
            total = x.sum(0, dtype=torch.float64) + (0 if first else total)
            gram = (x.T @ x).double() + (0 if first else gram)
        return Moments(count, total, gram)

    @property
    def mean(self) -> Tensor:
        """[C]."""
        return self.total / self.count

    @property
    def centred(self) -> Tensor:
        """sum (x - mean)(x - mean)^T, [C, C]."""
        return self.gram - torch.outer(self.total, self.total) / self.count


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
            if old is not None:
                found = Moments(old.count + found.count, old.total + found.total, old.gram + found.gram)
            sums[node.inputs[0]] = found

    with torch.no_grad():
        for batch in batches:
            fresh: set[Value] = set()
            batched.run(batch, observe=observe)
    return {weight: sums[value] for weight, value in readers.items()}
