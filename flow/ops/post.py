"""Stages of plug-ins: pointwise functions computed behind the array, each with a C++ function of its own, and a Verilog
module where it is to run in the Verilog engine.

A package outside flow brings one by an entry point of the group `flow.ops` that names a subclass of `PostStage`:

    [project.entry-points."flow.ops"]
    hardswish = "flow_hardswish:HardSwish"

Every engine that a model with this function is fitted to has the stage compiled in, under its `name` as a feature.
`docs/templates.md` walks through an example.
"""

from __future__ import annotations

import inspect
import re
import struct
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from flow.engine import STAGE_WORDS, Engine, register_stage
from flow.errors import FlowError, UnsupportedError, raise_all
from flow.ir.op import REGISTRY, Array, register
from flow.ir.types import TensorType
from flow.numerics import saturate
from flow.ops.device import DeviceOp, Estimate, Work, pipelined, storage
from flow.ops.float import ACTIVATIONS

GROUP = "flow.ops"
MAX_LATENCY = 64
"""Cycles of a stage in Verilog: every result of an engine that has the stage waits for it."""
OUTSIDE: dict[str, type[PostStage]] = {}
"""Stages of plug-ins by name."""


@dataclass(frozen=True, eq=False)
class PostStage(DeviceOp):
    """`y = sat(compute(x) + zero)` to `bits`, signed or not; x int16 [S, N], the rescaled result of a linear layer.

    Subclasses are frozen dataclasses (`eq=False`) with further fields for their integers. The C++ function is

        inline void NAME_stage(const Lanes<int16_t> &x, const StageParameters &parameters, Lanes<int64_t> &result);

    in namespace `flow`, and does on every lane what `compute` does; `parameters.word` holds `parameters()`. The Verilog
    module, where there is one, is

        module NAME_stage #(parameter Lanes = 1) (
            input wire clk_i, input wire [16*Lanes-1:0] value_i, input wire [511:0] parameters_i,
            output wire [48*Lanes-1:0] result_o
        );

    and does the same: a value of every lane each cycle, the result `latency` cycles later. Word i of the parameters is
    bits 32*i .. 32*i + 31; they belong to the values that come with them, and the next step's may follow at once.

    Attributes:
        bits: width of the result.
        signed: whether it is signed.
        zero: its zero point.
        scale: its real step.
    """

    stage: ClassVar[str | None]
    header: ClassVar[str]
    """File name of the C++ header, beside the module of the class."""
    module: ClassVar[str] = ""
    """File name of the Verilog module, likewise; without one the stage runs in C++ only."""
    latency: ClassVar[int] = 0
    """Cycles from a value to its result in Verilog, 1 to 64."""
    targets: ClassVar[tuple[str, ...]] = ()
    """Torch operators that are this function of their first operand, such as `aten.hardswish.default`. What is spelled
    out elementwise is recognised by its values."""

    bits: int
    signed: bool
    zero: int
    scale: float

    @staticmethod
    @abstractmethod
    def real(x: Array) -> Array:
        """The function on float64 arrays."""

    @classmethod
    @abstractmethod
    def of(cls, step: float, bits: int, signed: bool, zero: int, scale: float) -> Self:
        """The stage whose input has the real step `step` and whose result has the given type.

        Raises:
            FlowError: the steps do not suit the integers.
        """

    @abstractmethod
    def compute(self, x: Array) -> Array:
        """The function on int64 arrays within +-32767; |result| < 2^47."""

    @abstractmethod
    def parameters(self) -> tuple[int, ...]:
        """What the C++ function gets: at most 16 numbers of 32 bits, two's complement."""

    def packed(self) -> bytes:
        """The parameters as they lie in the image.

        Raises:
            FlowError: too many, or too wide.
        """
        words = self.parameters()
        if len(words) > STAGE_WORDS or any(not -(1 << 31) <= word < 1 << 31 for word in words):
            raise FlowError(
                f"stage {self.name}: found parameters {list(words)}; expected at most {STAGE_WORDS} of 32 bits; "
                "correct the plug-in"
            )
        return struct.pack(f"<{STAGE_WORDS}i", *words, *[0] * (STAGE_WORDS - len(words)))

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if inputs[0].dtype != "int16" or inputs[0].zero_point:
            raise UnsupportedError(f"{self.name}: found {inputs[0]}; expected int16 with zero point 0")
        return (TensorType(inputs[0].shape, storage(self.bits, self.signed), self.scale, self.zero),)

    def golden(self, *inputs: Array) -> tuple[Array, ...]:
        result = np.asarray(self.compute(np.asarray(inputs[0], np.int64)), np.int64)
        return (saturate(result + np.int64(self.zero), self.bits, self.signed),)

    def estimate(self, engine: Engine, work: Work) -> Estimate:
        """Pipelined behind the array: no cycles of its own."""
        return pipelined(self, engine)

    @classmethod
    def header_path(cls) -> Path:
        """Where the C++ header lies."""
        return Path(inspect.getfile(cls)).resolve().parent / cls.header

    @classmethod
    def module_path(cls) -> Path:
        """Where the Verilog module lies."""
        return Path(inspect.getfile(cls)).resolve().parent / cls.module


def register_outside(cls: type[PostStage]) -> None:
    """Enter a plug-in's stage: as an operator, as a stage of engines, as a function that is recognised.

    Raises:
        FlowError: lists everything that it lacks.
    """
    where = f"{cls.__module__}.{cls.__qualname__}"
    lacks = sorted(getattr(cls, "__abstractmethods__", ()))
    lacks += [name for name in ("name", "stage", "header") if not isinstance(getattr(cls, name, None), str)]
    faults = [f"{name}: found none; expected it" for name in lacks]
    if not faults:
        if cls.stage != cls.name:
            faults.append(f"stage: found {cls.stage!r}; expected the operator's name, {cls.name!r}")
        if (cls.name in ACTIVATIONS or cls.name in REGISTRY) and OUTSIDE.get(cls.name) is not cls:
            faults.append(f"name: found {cls.name!r}, which flow has already; expected another")
        if not cls.header_path().is_file():
            faults.append(f"header: found no {cls.header_path()}; expected the C++ function there")
        faults += _module_faults(cls) if cls.module else []
    raise_all(FlowError, f"{where}: found a stage that cannot be used; correct the plug-in", faults)
    register_stage(cls.name)
    register(cls)
    ACTIVATIONS[cls.name] = cls.real
    OUTSIDE[cls.name] = cls


def _module_faults(cls: type[PostStage]) -> list[str]:
    """What is wrong with the Verilog module that a stage names."""
    path, wanted, faults = cls.module_path(), f"{cls.name}_stage", []
    if not path.is_file():
        faults.append(f"module: found no {path}; expected the Verilog module there")
    else:
        found = re.findall(r"^[ \t]*module[ \t]+(\w+)", path.read_text(errors="replace"), re.MULTILINE)
        if found != [wanted]:
            faults.append(f"module: found {', '.join(found) or 'none'} in {path}; expected one, {wanted}")
    if not 1 <= cls.latency <= MAX_LATENCY:
        faults.append(f"latency: found {cls.latency}; expected the module's cycles, 1 to {MAX_LATENCY}")
    return faults


@cache
def load_plugins() -> None:
    """Register every stage that an installed package offers.

    Raises:
        FlowError: one cannot be imported, or is no stage; names the package.
    """
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        register_outside(_load(entry))


def _load(entry: EntryPoint) -> type[PostStage]:
    package = entry.dist.name if entry.dist is not None else "?"
    where = f"plug-in {entry.name!r} of {package} ({entry.value})"
    try:
        found = entry.load()
    except Exception as error:  # a package of somebody else's may fail in any way
        raise FlowError(
            f"{where}: found {type(error).__name__}: {error}; expected a module that can be imported; "
            f"mend {package} or uninstall it"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, PostStage)):
        raise FlowError(
            f"{where}: found {found!r}; expected a subclass of flow.ops.post.PostStage; "
            f"mend {package} or uninstall it"
        )
    return found
