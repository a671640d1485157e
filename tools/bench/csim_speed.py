"""Speed of C simulation: one 384-wide encoder layer, dense and hierarchically pruned, on one core.

The layer is BERT's: four 384x384 matrices, attention of 12 heads, FFN of 1536 with a table, two residuals, two norms.
Weights and activations are random; what is timed is the compiled kernel, LOAD and RUN, with the time of a run without
frames taken off. The kernel is one thread, so its user time is the wall time on a core of its own. A
multiply-accumulate counts where a weight is kept, for real tokens and channels. Run with
`python tools/bench/csim_speed.py [--tokens S] [--frames N]`.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from evidence import write_evidence

from flow.engine import Engine, ImageBuilder, Opcode, Port, Record, Space
from flow.formats import constants, encode, pack
from flow.formats.synthetic import Hierarchy, random_hp
from flow.numerics import exp_table
from flow.sim.kernel import Kernel

ENGINE = Engine(
    8,
    64,
    8,
    8,
    2,
    sequence=128,
    operand_depth=512,
    store_depth=1024,
    values_depth=512,
    depth=24,
    row_cycles=24,
)
WIDTH, HIDDEN, HEADS = 384, 1536, 12
BLOCK_ROWS = 64
SPARSITIES = (0.0, 0.8)
TARGET_GMACS, TARGET_RATIO = 1.0, 0.4


@dataclass
class Layer:
    """The program of one encoder layer and its multiply-accumulates."""

    sparsity: float
    tokens: int
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    steps: list[tuple[Opcode, dict[str, int | bytes]]] = field(default_factory=list)
    macs: int = 0

    def weights(self, rows: int, columns: int) -> npt.NDArray[np.int8]:
        """A random matrix at the expressible density nearest to `1 - sparsity`."""
        depth = columns // ENGINE.banks
        if self.sparsity == 0:
            return self.rng.integers(-127, 128, (rows, columns)).astype(np.int8)
        hierarchy = Hierarchy.nearest(depth, 1 - self.sparsity)
        return random_hp(
            self.rng, rows, columns, banks=ENGINE.banks, block_rows=BLOCK_ROWS, hierarchy=hierarchy
        )

    def linear(
        self, rows: int, columns: int, source: Space, target: Space, base: int, **words: int | bytes
    ) -> None:
        """One matrix, requantised so that outputs fill the range of their type."""
        encoded = encode(self.weights(rows, columns), banks=ENGINE.banks, rows_per_group=ENGINE.rows)
        shift = round(15 + np.log2(73 * 73 * np.sqrt(max(1, encoded.cycles * ENGINE.banks * 8 // rows)) / 40))
        table = constants(
            np.zeros(rows, int), np.full(rows, 20000), np.full(rows, shift - 8 * ("has_residual" in words))
        )
        stream = pack(encoded, table, ENGINE.beat_bytes)
        self.macs += encoded.positions * self.tokens
        self.steps.append((Opcode.LINEAR, {
            "source_space": source, "source_base": 0, "source_planes": 1, "source_signed": 1,
            "depth": columns // ENGINE.banks, "row_groups": len(encoded.row_groups), "weight_bits": 8,
            "page": encoded.page.pack(ENGINE.beat_bytes), "weights": stream,
            "weight_beats": len(stream) // ENGINE.beat_bytes,
            "out_bits": 8, "out_signed": 1, "space": target, "base": base, "out_depth": rows // ENGINE.banks, **words,
        }))  # fmt: skip

    def residual(self, base: int) -> dict[str, int | bytes]:
        """An int16 result onto the residual stream at `base`."""
        return {
            "out_bits": 16,
            "has_residual": 1,
            "residual_base": base,
            "residual_multiplier": 2**14,
            "residual_shift": 14,
        }

    def norm(self, base: int, target: Space) -> None:
        """LayerNorm to an int8 matmul input."""
        gains = np.full(WIDTH, 40 | 3 << 16, np.uint64).astype("<u8").tobytes()
        self.steps.append((Opcode.NORM, {
            "source_base": base, "depth": WIDTH // ENGINE.banks, "channels": WIDTH, "centred": 1, "epsilon_low": 1000,
            "outputs": 1, "constants0": gains, "shift0": 12, "bits0": 8, "space0": target, "base0": 0,
        }))  # fmt: skip

    def build(self) -> bytes:
        """The layer's memory image."""
        words = WIDTH // ENGINE.banks
        lines = ENGINE.tiles(self.tokens) * words
        stream, query, key = 0, 2 * lines, 3 * lines
        self.steps.append((Opcode.INPUT, {"planes": 2, "depth": words, "space": Space.STORE, "base": stream}))
        self.norm(stream, Space.OPERAND0)
        self.linear(WIDTH, WIDTH, Space.OPERAND0, Space.STORE, query)
        self.linear(WIDTH, WIDTH, Space.OPERAND0, Space.STORE, key)
        self.linear(WIDTH, WIDTH, Space.OPERAND0, Space.VALUES, 0, heads=HEADS, pitch=WIDTH // HEADS)
        self.steps.append((Opcode.ATTENTION, {
            "query_base": query, "key_base": key, "value_base": 0, "depth": words, "heads": HEADS,
            "pitch": WIDTH // HEADS, "score_multiplier": 20000, "score_shift": 24, "exp_bits": 8,
            "exp": exp_table(8).astype("<u2").tobytes(), "multiplier": 2**14, "shift": 20,
            "space": Space.OPERAND1, "base": 0,
        }))  # fmt: skip
        self.macs += 2 * self.tokens * self.tokens * WIDTH
        self.linear(WIDTH, WIDTH, Space.OPERAND1, Space.STORE, stream, **self.residual(stream))
        self.norm(stream, Space.OPERAND0)
        table = np.arange(-128, 128).clip(0).astype("<i2").tobytes()
        self.linear(HIDDEN, WIDTH, Space.OPERAND0, Space.OPERAND1, 0, table=table, table_bits=8, out_zero=128)
        self.linear(WIDTH, HIDDEN, Space.OPERAND1, Space.STORE, stream, **self.residual(stream))
        self.steps.append(
            (Opcode.OUTPUT, {"source_space": Space.STORE, "source_base": stream, "planes": 2, "depth": words})
        )
        image = ImageBuilder(ENGINE, len(self.steps))
        records = [
            Record(opcode, {k: image.place(v) if isinstance(v, bytes) else int(v) for k, v in step.items()})
            for opcode, step in self.steps
        ]
        return image.finish(records)

    def frame(self) -> bytes:
        """One frame of random residuals."""
        port = Port("x", tuple(range(WIDTH)), WIDTH // ENGINE.banks, 2, signed=True, single_token=False)
        x = self.rng.normal(0, 3000, (self.tokens, WIDTH)).clip(-32767, 32767).astype(np.int64)
        return struct.pack("<I", self.tokens).ljust(ENGINE.stream_bytes, b"\0") + port.pack(
            ENGINE, x, self.tokens
        )


def seconds(kernel: Kernel, image: bytes, stream: bytes, frames: int, repeats: int) -> float:
    """The least processor time of a run: wall time on a core of its own."""
    best = float("inf")
    for _ in range(repeats):
        start = os.times().children_user
        outcome = kernel.run(image, stream * frames)
        best = min(best, os.times().children_user - start)
        assert outcome.info["frames_done"] == frames, outcome.info
    return best


def measure(sparsity: float, tokens: int, frames: int, repeats: int) -> dict[str, float]:
    """Seconds and GMAC/s of a layer."""
    layer = Layer(sparsity, tokens)
    image, frame = layer.build(), layer.frame()
    kernel = Kernel.of(ENGINE)
    taken = seconds(kernel, image, frame, frames, repeats) - seconds(kernel, image, b"", 0, repeats)
    return {
        "sparsity": sparsity, "tokens": tokens, "macs_per_frame": layer.macs, "seconds_per_frame": taken / frames,
        "gmac_per_second": layer.macs * frames / taken / 1e9,
    }  # fmt: skip


def main() -> int:
    """Measure, print and write the evidence; status 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    results = [measure(s, arguments.tokens, arguments.frames, arguments.repeats) for s in SPARSITIES]
    dense, pruned = results
    ratio = pruned["seconds_per_frame"] / dense["seconds_per_frame"]
    report = {
        "results": results,
        "pruned_to_dense_time": ratio,
        "met": dense["gmac_per_second"] >= TARGET_GMACS and ratio < TARGET_RATIO,
    }
    for result in results:
        print(
            f"sparsity {result['sparsity']:.1f}: {result['macs_per_frame'] / 1e6:.0f} MMAC a frame in "
            f"{1e3 * result['seconds_per_frame']:.1f} ms, {result['gmac_per_second']:.2f} GMAC/s"
        )
    print(f"pruned / dense time {ratio:.2f}; targets >= {TARGET_GMACS} GMAC/s and < {TARGET_RATIO}")
    sources = [
        "flow/emit/*.py",
        "flow/formats/*.py",
        "flow/sim/kernel.py",
        "hls/**/*.hpp",
        "hls/**/*.h",
        "templates/*.j2",
    ]
    write_evidence("csim_speed", "python tools/bench/csim_speed.py", sources, report)
    return 0 if report["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
