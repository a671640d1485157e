"""In-place operators to pure ones: after this, every name means one value for ever.

`y = zeros(…); masked_fill_(y, …); use(y)` becomes `y1 = masked_fill(y, …); use(y1)`. A write is seen by every view
of the same memory. Views that are equal to the written tensor are redirected to the result; reading any other
view after the write is refused, since its new content would have to be computed, and so is writing to inputs,
parameters and buffers, which would make the model remember.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from flow.frontend.program import Call, Name
from flow.ops.aten_schema import VIEWS

_EQUAL_VIEWS = frozenset({"aten.detach.default", "aten.alias.default"})
"""Views that are their argument."""

_RESHAPING = frozenset(
    {"as_strided_", "resize_", "set_", "squeeze_", "swapaxes_", "swapdims_", "t_", "transpose_", "unsqueeze_"}
)
_KEEP_TYPE = frozenset({"copy_", "fill_", "masked_fill_", "zero_"})
"""Their pure forms have the written tensor's type whatever the other arguments are."""

_COMPARISONS = frozenset(
    {"eq_", "ne_", "lt_", "le_", "gt_", "ge_", "logical_and_", "logical_or_", "logical_not_"}
)
"""Their pure forms give booleans."""


@dataclass
class Names:
    """Which names share memory, and what each of them means by now.

    `dtypes` are the element types; `kept` says what inputs, parameters and buffers are called in messages; `current`
    maps a name to the one that holds its value now. `stale` maps a name whose memory was changed through
    another view to the operator that did it.
    """

    dtypes: dict[str, str]
    kept: Mapping[str, str]
    current: dict[str, str] = field(default_factory=dict)
    stale: dict[str, str] = field(default_factory=dict)
    _root: dict[str, str] = field(default_factory=dict)
    _view: dict[str, str] = field(default_factory=dict)
    _members: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def root(self, name: str) -> str:
        """The first name of this memory."""
        return self._root.get(name, name)

    def view(self, name: str) -> str:
        """The first name that looks at this memory in the same way."""
        return self._view.get(name, name)

    def place(self, name: str, like: str | None, equal: bool = False) -> None:
        """Enter a result: in new memory, or in that of `like` and, if `equal`, looking at it in the same way."""
        self._root[name] = name if like is None else self.root(like)
        self._view[name] = self.view(like) if equal and like is not None else name
        self._members[self._root[name]].append(name)

    def write(self, name: str, result: str, by: str) -> None:
        """Note that `result` is what `name` and all equal views hold from now on."""
        for other in {self.root(name), *self._members[self.root(name)]}:
            if self.view(other) == self.view(name):
                self.current[other] = result
            else:
                self.stale[other] = by
        self.place(result, name, equal=True)


def functional(calls: Iterable[Call], kept: Mapping[str, tuple[str, str]]) -> tuple[list[Call], Names]:
    """The calls without in-place operators, and what the graph's outputs are called now.

    `kept` are inputs, parameters and buffers, which nothing may write to: how messages name them, and element types.
    """
    names = Names(
        {name: dtype for name, (_, dtype) in kept.items()}, {name: shown for name, (shown, _) in kept.items()}
    )
    pure: list[Call] = []
    for original in calls:
        call = _renamed(original, names)
        if call.target == "aten.detach_.default":  # a write to what autograd knows, not to memory
            call = replace(call, target="aten.detach.default")
        names.dtypes.update((name, kind.dtype) for name, kind in zip(call.results, call.types, strict=False))
        target = _pure_target(call.target)
        if target is not None:
            pure += _pure(call, target, names)
            continue
        pure.append(call)
        sources: list[str | None] = list(call.tensors) if call.target in VIEWS else []
        for i, result in enumerate(call.results):
            names.place(
                result, sources[min(i, len(sources) - 1)] if sources else None, call.target in _EQUAL_VIEWS
            )
    return pure, names


def _pure_target(target: str) -> str | None:
    """What an in-place operator is called without its side effect: `aten.add.Tensor` for `aten.add_.Tensor`,
    `aten.__or__.Tensor` for `aten.__ior__.Tensor`, '' for one that has no such form; None for a pure operator.
    """
    namespace, _, rest = target.partition(".")
    operator, _, overload = rest.partition(".")
    if overload == "out" or overload.endswith("_out"):
        return ""
    if match := re.fullmatch(r"__i(and|or|xor|lshift|rshift)__", operator):
        return f"{namespace}.__{match[1]}__.{overload}"
    if operator.endswith("_") and not operator.endswith("__"):
        return "" if operator in _RESHAPING else f"{namespace}.{operator.removesuffix('_')}.{overload}"
    return None


def _renamed(call: Call, names: Names) -> Call:
    """The call on current names; a fault if it reads memory that was changed behind its name."""
    changed = [names.stale[name] for name in call.tensors if name in names.stale]
    fault = call.fault or (stale_fault(changed[0]) if changed else "")
    arguments = {key: _rename(value, names.current) for key, value in call.arguments.items()}
    return replace(call, arguments=arguments, fault=fault)


def stale_fault(by: str) -> str:
    """What is wrong with reading memory that the operator `by` changed through another view."""
    return (
        f"found a read of memory that {by} changed through another view; expected operators without side effects; "
        "write torch.where or torch.cat in place of an assignment to a part"
    )


def write_fault(to: str) -> str:
    """What is wrong with writing to an input, parameter or buffer."""
    return (
        f"found a write to {to}; expected a model that changes neither its inputs nor its buffers; "
        "compute a new tensor instead"
    )


def _rename(value: Any, current: Mapping[str, str]) -> Any:
    if isinstance(value, Name):
        return Name(current.get(value.text, value.text))
    return tuple(_rename(item, current) for item in value) if isinstance(value, tuple) else value


def _pure(call: Call, target: str, names: Names) -> list[Call]:
    """The pure form `target` of an in-place call, with a conversion where that would give another element type."""
    written = call.tensors[0] if call.tensors else ""
    fault = call.fault
    if names.root(written) in names.kept:
        fault = fault or write_fault(names.kept[names.root(written)])
    elif not target or not call.tensors or len(call.results) != 1 or len(call.types) != 1:
        fault = (
            fault
            or "found an operator that changes its argument; expected one that gives a result; use that form"
        )
    if fault:
        return [replace(call, fault=fault, lasting=True)]
    names.write(written, call.results[0], call.target)
    pure, kind = replace(call, target=target), call.types[0]
    operator = call.target.split(".")[1]
    dtype = _pure_dtype(operator, [names.dtypes.get(name, kind.dtype) for name in call.tensors])
    if dtype == kind.dtype:
        return [pure]
    promoted = f"{call.results[0]}.promoted"
    cast = {"self": Name(promoted), "dtype": kind.dtype}
    return [
        replace(pure, results=(promoted,), types=(replace(kind, dtype=dtype),)),
        Call("aten.to.dtype", cast, call.results, call.types, call.module),
    ]


def _pure_dtype(operator: str, dtypes: list[str]) -> str:
    """The element type that the pure form gives; torch has refused a write of a higher kind."""
    if operator in _COMPARISONS:
        return "bool"
    if operator in _KEEP_TYPE:
        return dtypes[0]
    kind = np.dtype(dtypes[0]).kind
    return max((d for d in dtypes if np.dtype(d).kind == kind), key=lambda d: np.dtype(d).itemsize)
