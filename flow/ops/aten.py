"""Raw torch operators (level 0): what the reader puts into the graph before anything is recognised.

After recognition only data movement and host arithmetic remain as `Aten` nodes; they run in numpy on the
host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flow.errors import FlowError, UnsupportedError
from flow.ir.op import Array, Op, Ref, register
from flow.ir.types import TensorType

__all__ = ["Aten", "Ref", "permute", "reshape", "resolve"]


@register
@dataclass(frozen=True, eq=False)
class Aten(Op):
    """`target` (such as `aten.view.default`) applied to named arguments.

    `arguments` maps every schema argument name to a plain value (int, float, bool, str, None, dtype name,
    tuples of these) or to `Ref`s; defaults are filled in by the reader. `results` are the output types that
    the exporter recorded.
    """

    name: ClassVar[str] = "aten"
    target: str
    arguments: Mapping[str, Any]
    results: tuple[TensorType, ...]

    @property
    def label(self) -> str:
        return self.target

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return self.results

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        """Float (or integer, for token ids) evaluation in numpy, held to the shapes that the exporter
        recorded.

        Raises:
            UnsupportedError: no numpy evaluation is known for the target.
            FlowError: the arguments do not fit together, or give another shape: a damaged or hostile file.
        """
        try:
            outputs = self.evaluate(*inputs)
        except NotImplementedError as error:
            raise UnsupportedError(
                f"{self.target}: found an operand without host evaluation ({error}); expected one of docs/operators.md"
            ) from error
        except (
            TypeError,
            ValueError,
            IndexError,
            KeyError,
            ArithmeticError,
            AttributeError,
            MemoryError,
        ) as error:
            raise FlowError(
                f"{self.target}: found arguments that do not fit ({type(error).__name__}: {error}); "
                "expected what torch.export writes; export the model again"
            ) from error
        found = [tuple(o.shape) for o in outputs]
        if found != [r.shape for r in self.results[: len(found)]]:
            recorded = [r.shape for r in self.results]
            raise FlowError(
                f"{self.target}: found a result of shape {found}; expected {recorded} as recorded; export "
                "the model again"
            )
        return outputs

    def evaluate(self, *inputs: Array) -> tuple[Array, ...]:
        """The operator on arrays of any shape that suits it: for index maps and sample grids.

        Raises:
            UnsupportedError: no numpy evaluation is known for the target.
        """
        from flow.ops import aten_numpy  # the table imports numpy-heavy code that lowering alone never needs

        function = aten_numpy.TABLE.get(self.target)
        if function is None:
            raise UnsupportedError(
                f"{self.target}: found an operator with no host evaluation; expected one of docs/operators.md"
            )
        arguments = {key: resolve(value, inputs) for key, value in self.arguments.items()}
        result = function(**{("input" if key == "self" else key): value for key, value in arguments.items()})
        outputs = result if isinstance(result, tuple) else (result,)
        return tuple(np.asarray(o) for o in outputs)

    def __str__(self) -> str:
        shown = ", ".join(f"{k}={_show(v)}" for k, v in self.arguments.items() if v is not None)
        return f"{self.target}({shown})"


def resolve(value: Any, inputs: tuple[Array, ...]) -> Any:
    """Replace every `Ref` in an argument by the array it stands for."""
    if isinstance(value, Ref):
        return inputs[value.operand]
    if isinstance(value, (tuple, list)):
        return tuple(resolve(v, inputs) for v in value)
    return value


def _show(value: Any) -> str:
    if isinstance(value, Ref):
        return f"${value.operand}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_show(v) for v in value) + "]"
    return str(value)


def reshape(shape: tuple[int, ...], like: TensorType) -> Aten:
    """`aten.reshape` of operand 0 to `shape`."""
    return Aten("aten.reshape.default", {"self": Ref(0), "shape": shape}, (like.with_shape(*shape),))


def permute(dims: tuple[int, ...], like: TensorType) -> Aten:
    """`aten.permute` of operand 0."""
    return Aten(
        "aten.permute.default",
        {"self": Ref(0), "dims": dims},
        (like.with_shape(*(like.shape[d] for d in dims)),),
    )
