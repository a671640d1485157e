from __future__ import annotations

import numpy as np
import pytest

from flow.errors import UnsupportedError
from flow.ir import Array, Value
from flow.passes.masks import Evaluated, classify, keep_additive, sample_lengths

S = 6
POSITION = np.arange(S)
CAUSAL = POSITION[None, :] <= POSITION[:, None]


def dynamic(padding: bool, causal: bool) -> Evaluated:
    def run(length: int) -> Array:
        seen = np.ones((S, S), bool)
        if padding:
            seen = seen & (length > POSITION)[None, :]
        return seen & CAUSAL if causal else seen

    return Evaluated(run, Value("attention_mask"))


def kept(mask: Array) -> Array:
    return mask


@pytest.mark.parametrize(("padding", "causal"), [(True, False), (True, True)])
def test_masks_of_the_length(padding: bool, causal: bool) -> None:
    assert classify(dynamic(padding, causal), S, kept, "here") == (padding, causal)


@pytest.mark.parametrize("causal", [False, True])
def test_constant_masks_have_no_length(causal: bool) -> None:
    mask = CAUSAL if causal else np.ones((S, S), bool)
    assert classify(Evaluated(lambda _: mask, None), S, kept, "here") == (False, causal)


def test_rows_beyond_the_length_do_not_count() -> None:
    """Some spellings hide padding queries as well; nobody reads their rows."""
    run = lambda n: (n > POSITION)[None, :] & (n > POSITION)[:, None]  # noqa: E731
    assert classify(Evaluated(run, Value("attention_mask")), S, kept, "here") == (True, False)


def test_left_padding_is_refused() -> None:
    run = lambda n: (S - n <= POSITION)[None, :] & np.ones((S, 1), bool)  # noqa: E731
    with pytest.raises(UnsupportedError) as caught:
        classify(Evaluated(run, Value("attention_mask")), S, kept, "layer.0 (aten.softmax.int)")
    assert str(caught.value) == (
        "layer.0 (aten.softmax.int): found an attention mask of another form; expected key padding "
        "(attention_mask), causal, both or none"
    )


def test_additive_values() -> None:
    assert keep_additive(np.array([0.0, -1e4, -np.inf, -1e9])).tolist() == [True, False, False, False]
    assert 2 in keep_additive(np.array([0.0, -3.0]))


@pytest.mark.parametrize("tokens", [1, 32, 33, 512])
def test_lengths_reach_both_ends(tokens: int) -> None:
    lengths = sample_lengths(tokens)
    assert (lengths[0], lengths[-1]) == (1, tokens)
    assert lengths == sorted(set(lengths))
