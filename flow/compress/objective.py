"""What training minimises: the distance to the dense model's values, or to labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from flow.compress.batched import Values
from flow.ir import Value

TEMPERATURE = 2.0
"""Of both sides, where soft answers are compared."""


def distance(found: Tensor, exact: Tensor) -> Tensor:
    """Mean squared error in units of the variance over tokens: `sum (x - y)^2 / sum (y - mean_t y)^2`, [T, C] each.

    0 where both agree; 1 where `found` is no better than a constant.
    """
    spread = (exact - exact.mean(0)).square().sum() if exact.shape[0] > 1 else exact.square().sum()
    return (found - exact).square().sum() / spread.clamp_min(torch.finfo(torch.float32).tiny)


def turned(found: Tensor, exact: Tensor) -> Tensor:
    """1 - the mean cosine of the rows of two [T, C]."""
    return 1 - functional.cosine_similarity(found, exact, dim=1).mean()


def distillation(
    found: Values,
    exact: Mapping[Value, Tensor],
    outputs: Iterable[Value],
    taps: Iterable[Value],
    hidden: float,
) -> Tensor:
    """`mean over outputs (distance + turned) + hidden * mean over taps distance`."""
    ends = [distance(found[v], exact[v]) + turned(found[v], exact[v]) for v in outputs]
    inner = [distance(found[v], exact[v]) for v in taps]
    loss = torch.stack(ends).mean()
    return loss + hidden * torch.stack(inner).mean() if inner and hidden else loss


def supervision(logits: Tensor, labels: Tensor, answers: Tensor | None, soft: float) -> Tensor:
    """Cross-entropy with labels [n], a share `soft` of it replaced by the dense model's answers at temperature 2.

    Equation: `(1 - soft) * CE(logits, labels) + soft * 4 * KL(softmax(answers / 2) || softmax(logits / 2))` (Hinton et
    al., 2015: the square of the temperature keeps the gradients' size), all [n, classes].
    """
    loss = functional.cross_entropy(logits, labels)
    if answers is None or not soft:
        return loss
    target = functional.log_softmax(answers / TEMPERATURE, -1)
    given = functional.log_softmax(logits / TEMPERATURE, -1)
    divergence = functional.kl_div(given, target, log_target=True, reduction="batchmean")
    return (1 - soft) * loss + soft * TEMPERATURE**2 * divergence
