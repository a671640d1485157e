"""Options of quantization-aware fine-tuning, which a command line can check before torch is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from flow.errors import FlowError, raise_all


@dataclass(frozen=True)
class FinetuneOptions:
    """`steps` of Adam on `batch` samples each. `rate` is the first learning rate as a share of a tensor's root mean
    square; it falls to 0 along a cosine. `seed` orders the samples."""

    steps: int
    rate: float = 1e-3
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("steps", self.steps >= 1, "at least 1"),
            ("rate", 0 < self.rate <= 1, "above 0, at most 1"),
            ("batch", self.batch >= 1, "at least 1"),
            ("seed", self.seed >= 0, "at least 0"),
        )
        raise_all(
            FlowError,
            "fine-tuning options: found values out of range; choose others",
            [f"{n}: found {getattr(self, n)}; expected {e}" for n, good, e in checks if not good],
        )
