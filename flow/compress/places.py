"""Where the matrices of a recognised graph live in the parameters of the module that it was made from.

A copy of the module gets parameters of unique random numbers and is exported; each row of a matrix is then found by its
content, whatever became of the parameter on the way (a slice of `in_proj_weight`, interleaved heads, a transpose).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from flow.errors import FlowError, UnsupportedError
from flow.frontend import load
from flow.frontend.torch_export import save_program
from flow.ir import Array, Graph
from flow.ops.source import Constant
from flow.passes import recognise

Examples = Sequence[Tensor] | Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Place:
    """Row n of a matrix (element n of a bias) is row `rows[n]` of a parameter, or of its transpose."""

    parameter: str
    rows: npt.NDArray[np.int64]
    transposed: bool = False

    def read(self, parameter: Tensor) -> Tensor:
        """The matrix, differentiable in the parameter."""
        return (parameter.T if self.transposed else parameter)[
            torch.from_numpy(self.rows).to(parameter.device)
        ]

    def write(self, parameter: Tensor, value: Tensor) -> None:
        """Put a matrix where `read` found it, in place."""
        target = parameter.T if self.transposed else parameter
        target[torch.from_numpy(self.rows).to(parameter.device)] = value.to(parameter.device, parameter.dtype)


def graph_of(module: nn.Module, examples: Examples) -> Graph:
    """The recognised float graph of a module at the shapes of `examples`, cut to a batch of 1; nothing is changed.

    Raises:
        FlowError: torch cannot trace it. UnsupportedError: it cannot be lowered.
    """
    own = copy.deepcopy(module).to("cpu").eval()
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        if isinstance(examples, Mapping):
            given = dict(zip(examples, _single(list(examples.values())), strict=True))
            program = torch.export.export(own, (), given, strict=False)
        else:
            program = torch.export.export(own, tuple(_single(examples)), strict=False)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise FlowError(
            f"Pruner: torch.export failed with {type(error).__name__}: {reason[0]}; expected a module that it can trace"
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{type(module).__name__}.pt2"
        save_program(program, path)
        return recognise(load(path))


def find_places(module: nn.Module, examples: Examples, names: Iterable[str]) -> dict[str, Place]:
    """The places of the named constants (weights [N, C], biases [N]) in the module's parameters.

    Raises:
        UnsupportedError: a constant is no parameter's content, row by row; names them all.
    """
    marked = copy.deepcopy(module).to("cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in marked.parameters():
            # Around 1, so that recognition meets no zeros; 24 random bits, so that rows are unique.
            parameter.copy_(1 + torch.rand(parameter.shape, generator=generator, dtype=torch.float32))
    graph = graph_of(marked, examples)
    index = _Index({name: p.detach().numpy() for name, p in marked.named_parameters()})
    places: dict[str, Place] = {}
    faults = []
    for name in names:
        op = graph[name].op if name in graph else None
        place = index.find(np.asarray(op.value, np.float32)) if isinstance(op, Constant) else None
        if place is None:
            faults.append(f"  - {name}")
        else:
            places[name] = place
    if faults:
        raise UnsupportedError(
            f"Pruner: found {len(faults)} matrices that are no rows or columns of one parameter; expected weights that "
            "training can reach; remove reparametrizations and scales folded into them, or leave them out with "
            "exclude\n" + "\n".join(faults)
        )
    return places


class _Index:
    """Rows of parameters, and of their transposes, by content."""

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        self._rows: dict[tuple[int, bytes], tuple[str, int, bool]] = {}
        for name, array in parameters.items():
            if array.ndim == 1:
                self._add(name, array[:, None], False)
            elif array.ndim == 2:
                self._add(name, array, False)
                self._add(name, array.T, True)

    def _add(self, name: str, rows: Array, transposed: bool) -> None:
        for i, row in enumerate(np.ascontiguousarray(rows, np.float32)):
            self._rows.setdefault((len(row), row.tobytes()), (name, i, transposed))

    def find(self, array: Array) -> Place | None:
        rows = np.ascontiguousarray(array[:, None] if array.ndim == 1 else array)
        found = [self._rows.get((len(row), row.tobytes())) for row in rows]
        owners = {(f[0], f[2]) for f in found if f is not None}
        if None in found or len(owners) != 1:
            return None
        name, transposed = owners.pop()
        return Place(name, np.array([f[1] for f in found if f is not None], np.int64), transposed)


def _single(tensors: Iterable[Tensor]) -> list[Tensor]:
    """One sample of a batch, on the CPU."""
    given = [tensor.detach().to("cpu") for tensor in tensors]
    batches = {t.shape[0] for t in given if t.ndim}
    return [t[:1] for t in given] if len(batches) == 1 and batches != {1} else given
