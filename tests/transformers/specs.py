"""What a random transformer is: every choice that its author makes, and a seed for its weights.

`covering` lists specs in which every choice occurs, `specs` is hypothesis' strategy for any of them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from hypothesis import strategies as st

Front = Literal["rows", "ids", "ids_normed", "patches", "class_token"]
Activation = Literal["relu", "gelu", "gelu_tanh", "gelu_spelled", "gelu_tanh_spelled", "silu", "tanh"]
NormKind = Literal["layer", "layer_bare", "rms", "rms_spelled"]
Attend = Literal["sdpa", "module", "encoder", "scaled_query", "scaled_scores", "scaled_both"]
Packing = Literal["separate", "fused", "unbound", "conv1d"]
Mask = Literal["none", "padding", "causal", "causal_padding"]
MaskForm = Literal["bool", "infinite", "lowest"]
Head = Literal["tokens", "token_logits", "pooled", "classifier", "pooler", "normalized"]
Structure = Literal["random", "hp", "columns"]

WIDTHS = (36, 40, 48, 60, 80)
EPSILONS = (1e-12, 1e-6, 1e-5, 1e-2)
PATCH = 2
"""Pixels of a patch, down and across."""


@dataclass(frozen=True)
class Spec:
    """One transformer; `settled` makes the fields go together."""

    seed: int = 0
    width: int = 48
    heads: int = 3
    hidden: int = 72
    layers: int = 1
    tokens: int = 9
    front: Front = "rows"
    pre_norm: bool = True
    final_norm: bool = True
    norm: NormKind = "layer"
    eps: float = 1e-5
    activation: Activation = "gelu"
    bias: bool = True
    attention: Attend = "sdpa"
    packing: Packing = "separate"
    mask: Mask = "none"
    mask_form: MaskForm = "bool"
    pool: Literal["mean", "first"] = "mean"
    head: Head = "tokens"
    sparsity: float = 0.0
    structure: Structure = "random"
    zero_rows: bool = False
    outliers: bool = False

    @property
    def padded(self) -> bool:
        """Whether the model has an `attention_mask`."""
        return "padding" in self.mask

    @property
    def causal(self) -> bool:
        """Whether queries see no later keys."""
        return "causal" in self.mask

    @property
    def grid(self) -> tuple[int, int]:
        """Patches of an image, down and across."""
        return (self.tokens - (self.front == "class_token")) // 2, 2


def settled(spec: Spec) -> Spec:
    """The nearest spec whose choices go together: what torch's own modules fix, what images cannot have."""
    changes: dict[str, Any] = {}
    if spec.attention == "encoder":
        changes |= {"norm": "layer", "packing": "separate"}
        if spec.activation in ("gelu_spelled", "gelu_tanh_spelled"):
            changes["activation"] = "gelu_tanh"
    if spec.attention == "module":
        changes["packing"] = "separate"
    if spec.front in ("patches", "class_token"):
        odd = spec.front == "class_token"
        changes |= {"mask": "causal" if spec.causal else "none", "tokens": max(spec.tokens // 2 * 2, 4) + odd}
    if not spec.pre_norm:
        changes["final_norm"] = False
    if spec.width % spec.heads:
        changes["heads"] = max(h for h in range(1, spec.heads) if spec.width % h == 0)
    spec = replace(spec, **changes)
    return replace(spec, mask_form="bool") if spec.mask == "none" else spec


CHOICES: dict[str, tuple[Any, ...]] = {
    "width": WIDTHS,
    "heads": (1, 2, 3, 4, 5),
    "layers": (1, 2, 3),
    "tokens": (5, 12, 17, 33, 70),
    "front": get_args(Front),
    "pre_norm": (True, False),
    "final_norm": (True, True, False),
    "norm": get_args(NormKind),
    "eps": EPSILONS,
    "activation": get_args(Activation),
    "bias": (True, False),
    "attention": get_args(Attend),
    "packing": get_args(Packing),
    "mask": get_args(Mask),
    "mask_form": get_args(MaskForm),
    "pool": ("mean", "first"),
    "head": get_args(Head),
    "sparsity": (0.0, 0.5, 0.8, 0.95),
    "structure": get_args(Structure),
    "zero_rows": (False, True),
    "outliers": (False, True),
}
"""What `covering` chooses from; the widths of hidden layers follow from the seed."""


def covering(count: int, seed: int) -> list[Spec]:
    """`count` specs; each choice's values take turns in shuffled order, so that all of them occur in a
    long enough list."""
    rng = random.Random(seed)
    columns = {}
    for name, values in CHOICES.items():
        turns = list(itertools.islice(itertools.cycle(rng.sample(values, len(values))), count))
        columns[name] = rng.sample(turns, count)
    return [
        settled(Spec(seed=i, hidden=rng.choice((40, 56, 96, 160)), **{n: c[i] for n, c in columns.items()}))
        for i in range(count)
    ]


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """Any settled spec."""
    chosen = {name: draw(st.sampled_from(values)) for name, values in CHOICES.items() if name != "tokens"}
    numbers = {
        "seed": draw(st.integers(0, 2**16)),
        "tokens": draw(st.integers(5, 70)),
        "hidden": draw(st.integers(16, 160)),
        "sparsity": draw(st.sampled_from((0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 0.95))),
    }
    return settled(Spec(**{**chosen, **numbers}))


def describe(spec: Spec) -> str:
    """A test id: what differs from the default spec."""
    values = [(f.name, getattr(spec, f.name), f.default) for f in fields(spec)]
    return "-".join(
        str(value) if isinstance(value, str) else f"{n}{value}" for n, value, d in values if value != d
    )
