"""What a mask expression means, found by evaluating it.

Masks reach attention through ten spellings (bool or additive, expanded, inverted, cumulated …). Their graphs
depend on constants and on `attention_mask` only, so they are run for prefixes of ones and compared with the
two masks that the engine has: keys below the length, and keys not after the query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import networkx as nx
import numpy as np

from flow.errors import UnsupportedError
from flow.ir import Array, Graph, Value
from flow.ops.source import Input

MASK_KEY = "attention_mask"
HIDDEN_BELOW = -1e3
"""An additive mask value at or below this, in units of the scaled scores, hides its key: exp(-1e3) is 0 in every
float type."""


@dataclass(frozen=True)
class Evaluated:
    """An expression of `attention_mask` alone: `run(length)` evaluates it for a prefix of `length` ones."""

    run: Callable[[int], Array]
    mask: Value | None
    """The `attention_mask` input, or None if the expression is constant."""


def mask_expression(graph: Graph, value: Value) -> Evaluated | None:
    """The evaluator of a value that depends on nothing but constants and `attention_mask`; None for any
    other value."""
    names = {*nx.ancestors(graph.dag, value.node), value.node}
    nodes = [node for node in graph if node.name in names]
    inputs = [node for node in nodes if isinstance(node.op, Input)]
    if any(not isinstance(n.op, Input) or n.op.key != MASK_KEY for n in inputs) or any(
        n.op.name.startswith("float.") for n in nodes
    ):
        return None
    shape = inputs[0].type.shape if inputs else (1, 1)
    if np.prod(shape) != shape[-1]:
        return None  # a mask of pairs or of several sequences: no length

    def run(length: int) -> Array:
        values: dict[str, tuple[Array, ...]] = {}
        for node in nodes:
            if isinstance(node.op, Input):
                ones = (np.arange(shape[-1]) < length).reshape(shape)
                values[node.name] = (ones.astype(node.type.dtype),)
            else:
                values[node.name] = node.op.golden(*(values[v.node][v.index] for v in node.inputs))
        return values[value.node][value.index]

    return Evaluated(run, Value(inputs[0].name) if inputs else None)


def sample_lengths(tokens: int) -> list[int]:
    """Lengths at which an expression is compared: all up to 32, else 16 spread over 1 .. S."""
    return (
        list(range(1, tokens + 1))
        if tokens <= 32
        else sorted({1, 2, 3, tokens - 1, *np.linspace(1, tokens, 12).astype(int).tolist()})
    )


def classify(
    evaluated: Evaluated, tokens: int, keep: Callable[[Array], Array], where: str
) -> tuple[bool, bool]:
    """(padding, causal) of an attention mask; `keep` turns its values into 'this key is seen'.

    Raises:
        UnsupportedError: it is neither; another mask would be lowered wrongly.
    """
    position = np.arange(tokens)
    plain = np.ones((tokens, tokens), bool)
    forms: dict[tuple[bool, bool], Callable[[int], Array]] = {
        (False, False): lambda _: plain,
        (True, False): lambda n: plain & (position < n)[None, :],
        (False, True): lambda _: plain & (position[None, :] <= position[:, None]),
        (True, True): lambda n: plain & (position < n)[None, :] & (position[None, :] <= position[:, None]),
    }
    lengths = sample_lengths(tokens) if evaluated.mask is not None else [tokens]
    for length in lengths:
        value = np.asarray(evaluated.run(length))
        seen = np.broadcast_to(keep(value), (*np.broadcast_shapes(value.shape, (1, 1, tokens, tokens)),))
        # Where padding keys are hidden or later than every query, no output depends on the rows of padding queries.
        rows = {form: tokens if form == (False, False) else length for form in forms}
        forms = {
            k: f for k, f in forms.items() if bool((seen[..., : rows[k], :] == f(length)[: rows[k]]).all())
        }
    if not forms:
        raise UnsupportedError(
            f"{where}: found an attention mask of another form; expected key padding (attention_mask), "
            "causal, both or none"
        )
    # Prefix and causal hide no more from a real query than causal alone; the length ends the sequence all the same.
    return min(forms) if evaluated.mask is None else max(forms)


def keep_additive(value: Array) -> Array:
    """Additive masks: 0 keeps, <= -1e3 hides; anything else is a bias and is refused by `classify` (it
    matches no form)."""
    result = np.where(value == 0, 1, np.where(value <= HIDDEN_BELOW, 0, 2))
    return result if (result == 2).any() else result.astype(bool)
