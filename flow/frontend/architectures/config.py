"""Reads configuration keys and collects every fault before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flow.errors import FlowError, raise_all

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
"""Activation names of configurations, and ours. `gelu_new` spells out the formula that `gelu_pytorch_tanh` calls."""

MAX_SIZE = 1 << 20
"""No size in a configuration exceeds this: absurd values fail here, before memory is asked for."""

MAX_LAYERS = 1024

MAX_TOKENS = 1 << 16

_REFUSED: dict[str, str] = {
    "is_decoder": "decoders are not supported",
    "is_encoder_decoder": "decoders are not supported",
    "add_cross_attention": "cross-attention is not supported",
    "pruned_heads": "export the model with torch.export instead",
    "quantization_config": "dequantize the checkpoint to float weights first",
}
"""Keys that change the arithmetic of every family; anything but false or empty is refused, with this advice."""


class ConfigReader:
    """Typed access to a configuration; a bad value is noted and a stand-in returned, and `finish` raises for all.

    A fault reads `key: found; expected; remedy`.
    """

    def __init__(self, config: Mapping[str, Any], where: str = "config") -> None:
        self._config = config
        self._where = where
        self._bad: set[str] = set()
        self.faults: list[str] = []
        for key, remedy in _REFUSED.items():
            if config.get(key):
                self.faults.append(
                    f"{key}: found {_brief(config[key])}; expected it absent or false; {remedy}"
                )
        method = config.get("position_embedding_type", "absolute")
        if method != "absolute":
            self.faults.append(
                f"position_embedding_type: found {_brief(method)}; expected 'absolute'; "
                "relative positions are not supported"
            )

    def integer(self, key: str, default: int | None = None, maximum: int = MAX_SIZE, minimum: int = 1) -> int:
        """An integer in minimum..maximum; required when there is no default."""
        value = self._config.get(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum:
            return value
        self._fault(key, f"an integer in {minimum}..{maximum}")
        return minimum

    def pair(self, key: str, default: int | None = None) -> tuple[int, int]:
        """(height, width) from one integer or a list of two."""
        value = self._config.get(key, default)
        items = value if isinstance(value, (list, tuple)) else [value, value]
        if len(items) == 2 and all(
            isinstance(i, int) and not isinstance(i, bool) and 1 <= i <= MAX_SIZE for i in items
        ):
            return items[0], items[1]
        self._fault(key, f"an integer in 1..{MAX_SIZE} or a list of two")
        return 1, 1

    def positive(self, key: str, default: float) -> float:
        """A real number in (0, 1], such as an epsilon."""
        value = self._config.get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1:
            return float(value)
        self._fault(key, "a number greater than 0 and at most 1")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._config.get(key, default)
        if isinstance(value, bool):
            return value
        self._fault(key, "true or false")
        return default

    def choice(self, key: str, options: Iterable[str], default: str | None = None) -> str:
        """One of the options."""
        names = list(options)
        value = self._config.get(key, default)
        if isinstance(value, str) and value in names:
            return value
        self._fault(key, f"one of {', '.join(names)}")
        return names[0]

    def activation(self, key: str, default: str | None = None) -> str:
        """One of our activation names, from any of `ACTIVATIONS`."""
        return ACTIVATIONS[self.choice(key, ACTIVATIONS, default)]

    def names(
        self, key: str, required: Iterable[str], optional: Iterable[str], default: tuple[str, ...]
    ) -> tuple[str, ...]:
        """A list that holds all required names and any of the optional ones; returned in the order of those two."""
        known = [*required, *optional]
        value = self._config.get(key, list(default))
        if (
            isinstance(value, list)
            and all(isinstance(v, str) and v in known for v in value)
            and set(required) <= set(value)
        ):
            return tuple(name for name in known if name in value)
        self._fault(
            key, f"a list of {', '.join(required)}" + "".join(f", optionally {name}" for name in optional)
        )
        return default

    def labels(self) -> int:
        """The number of classes: `num_labels`, else the length of `id2label`, else 2 (as Hugging Face defaults)."""
        named = self._config.get("id2label")
        default = len(named) if isinstance(named, dict) and named else 2
        return self.integer("num_labels", default)

    def architecture(self, known: Iterable[str], inferred: str) -> str:
        """The first entry of `architectures`, or what the tensors suggest."""
        value = self._config.get("architectures")
        names = list(known)
        if value is None or value == []:
            return inferred
        if isinstance(value, list) and isinstance(value[0], str) and value[0] in names:
            return value[0]
        found = value[0] if isinstance(value, list) else value
        self.faults.append(
            f"architectures: found {_brief(found)}; expected one of {', '.join(names)}; "
            f"name {names[0]} to take the encoder alone"
        )
        return inferred

    def divides(self, part: str, divisor: int, whole: str, dividend: int) -> None:
        """Note a fault unless `divisor` divides `dividend`, or one of them has a fault of its own."""
        if dividend % divisor and not self._bad & {part, whole}:
            self.faults.append(
                f"{part}: found {divisor}, which does not divide {whole} {dividend}; expected a divisor"
            )

    def at_most(self, key: str, value: int, limit: int, why: str) -> None:
        """Note a fault when a value exceeds the limit that another key sets; `why` names it."""
        if value > limit and not self._bad & {key, why}:
            self.faults.append(f"{key}: found {value}; expected at most {limit} ({why})")

    def finish(self) -> None:
        """Raise for every fault noted so far.

        Raises:
            FlowError: lists them all.
        """
        raise_all(
            FlowError,
            f"{self._where}: found keys that cannot be built; expected the values below",
            self.faults,
        )

    def _fault(self, key: str, expected: str) -> None:
        self._bad.add(key)
        found = _brief(self._config[key]) if key in self._config else "nothing"
        self.faults.append(f"{key}: found {found}; expected {expected}")


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
