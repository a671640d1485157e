"""Every evaluation of the table equals torch: values, shapes, element types."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from flow.errors import UnsupportedError
from flow.ir import TensorType
from flow.ops.aten import Aten, Ref
from flow.ops.aten_numpy import TABLE
from flow.ops.aten_schema import DEFAULTS, VIEWS


def _sibling(name: str) -> ModuleType:
    """A module beside this one; pytest's importlib mode puts no folder on the path."""
    spec = importlib.util.spec_from_file_location(
        f"aten_numpy_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


CASES: list[tuple[str, dict[str, Any]]] = _sibling("cases").CASES
TARGETS = sorted(TABLE)


def overload(target: str) -> Any:
    """torch's operator of this name."""
    namespace, name, variant = target.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), variant)


def to_torch(key: str, value: Any) -> Any:
    """An argument as torch takes it."""
    if isinstance(value, (np.ndarray, np.generic)):
        return torch.from_numpy(np.array(value))
    if key in ("tensors", "indices") and isinstance(value, tuple):
        return [to_torch("", item) for item in value]
    if key == "dtype" and value is not None:
        return getattr(torch, value)
    return list(value) if isinstance(value, tuple) else value


def evaluate(target: str, arguments: dict[str, Any]) -> tuple[Any, ...]:
    """The table's results, with defaults filled in as the reader fills them."""
    complete = {**DEFAULTS.get(target, {}), **arguments}
    result = TABLE[target](**{("input" if key == "self" else key): value for key, value in complete.items()})
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize(
    ("name", "arguments"), CASES, ids=[f"{i}-{name}" for i, (name, _) in enumerate(CASES)]
)
def test_evaluation_equals_torch(name: str, arguments: dict[str, Any]) -> None:
    target = f"aten.{name}"
    expected = overload(target)(**{key: to_torch(key, value) for key, value in arguments.items()})
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    found = evaluate(target, arguments)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        array = np.asarray(ours)
        assert array.shape == tuple(theirs.shape)
        assert array.dtype == theirs.numpy().dtype
        if array.dtype.kind == "f":
            # A few roundings of float32 in sums of at most some hundred terms of order 1.
            np.testing.assert_allclose(array, theirs.numpy(), rtol=2e-5, atol=2e-6)
        else:
            np.testing.assert_array_equal(array, theirs.numpy())


def test_every_target_has_a_case() -> None:
    assert {f"aten.{name}" for name, _ in CASES} == set(TABLE)


@pytest.mark.parametrize("target", TARGETS)
def test_defaults_are_those_of_torch(target: str) -> None:
    formats = {0: "contiguous_format"}
    expected = {}
    for argument in overload(target)._schema.arguments:
        if argument.has_default_value():
            value = argument.default_value
            value = tuple(value) if isinstance(value, list) else value
            expected[argument.name] = (
                formats[value] if argument.name == "memory_format" and value == 0 else value
            )
    assert dict(DEFAULTS.get(target, {})) == expected


def test_defaults_are_kept_for_known_operators_only() -> None:
    assert set(DEFAULTS) <= set(TABLE)


def test_every_view_is_listed() -> None:
    """Whatever shares memory with an argument, by its schema or by running it, must be in `VIEWS`."""
    sharing = set()
    for name, arguments in CASES:
        target = f"aten.{name}"
        given = {key: to_torch(key, value) for key, value in arguments.items()}
        tensors = [
            t
            for v in given.values()
            for t in (v if isinstance(v, list) else [v])
            if isinstance(t, torch.Tensor)
        ]
        results = overload(target)(**given)
        results = results if isinstance(results, (tuple, list)) else (results,)
        memory = {t.untyped_storage().data_ptr() for t in tensors}
        declared = any(r.alias_info is not None for r in overload(target)._schema.returns)
        if declared or any(r.untyped_storage().data_ptr() in memory for r in results if r.numel()):
            sharing.add(target)
    assert len(sharing) > 30
    assert sharing <= VIEWS


def test_nothing_is_evaluated_by_guessing() -> None:
    op = Aten("aten.fft_fft.default", {"self": Ref(0)}, (TensorType((2,), "float32"),))
    with pytest.raises(UnsupportedError) as error:
        op.golden(np.zeros(2, np.float32))
    assert str(error.value) == (
        "aten.fft_fft.default: found an operator with no host evaluation; expected one of docs/operators.md"
    )


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (
            "aten.dropout.default",
            {"input": np.ones(3, np.float32), "p": 0.1, "train": True},
            "dropout draws random numbers in training mode",
        ),
        (
            "aten.scaled_dot_product_attention.default",
            {**dict.fromkeys(("query", "key", "value"), np.ones((1, 1, 2, 4), np.float32)), "dropout_p": 0.1},
            "scaled_dot_product_attention draws random numbers in training mode",
        ),
    ],
)
def test_random_numbers_are_refused(target: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        evaluate(target, arguments)
