"""The integer arithmetic of the accelerator: the one definition that golden, C++ and Verilog are held to.

Every function works on numpy int64 arrays (or Python integers) and is exact: no float enters a value that
reaches the device. Derivations of integer parameters from real scales happen here as well, in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flow.errors import UnsupportedError

Int = npt.NDArray[np.int64]

MULTIPLIER_BITS = 15
"""Requantise multipliers have magnitude in [2^14, 2^15)."""
SHIFT_MIN, SHIFT_MAX = 1, 46
ACCUMULATOR_LIMIT = 2**31
"""|bias| + sum |w| max|x| must stay below this for every output row."""
SCORE_STEP_LOG2 = -5
"""Attention scores are int16 at step 2^-5."""
EXP_ENTRIES = 256
NORM_FRACTION = 12
"""Fraction bits of a normalised value before its gain is applied."""


def limits(bits: int, signed: bool) -> tuple[int, int]:
    """Saturation range: symmetric +-(2^(bits-1) - 1) when signed, else 0 .. 2^bits - 1."""
    return (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


def saturate(value: Int, bits: int, signed: bool = True) -> Int:
    """Clamp to `limits(bits, signed)`."""
    low, high = limits(bits, signed)
    return np.clip(value, low, high)


def rescale(acc: Int, multiplier: Int | int, shift: Int | int) -> Int:
    """`(acc*m + (1 << (s-1))) >> s`: the unsaturated requantisation, round half up.

    `acc` is int32-ranged, m in +-[2^14, 2^15) or 0, s in 1..46; broadcast over the last axis. The result
    fits int64.
    """
    m = np.asarray(multiplier, dtype=np.int64)
    s = np.asarray(shift, dtype=np.int64)
    return (np.asarray(acc, dtype=np.int64) * m + (np.int64(1) << (s - 1))) >> s


def requantise(acc: Int, multiplier: Int | int, shift: Int | int, bits: int, signed: bool = True) -> Int:
    """`sat(rescale(acc, m, s))` to `bits`."""
    return saturate(rescale(acc, multiplier, shift), bits, signed)


@dataclass(frozen=True)
class Scale:
    """A real factor as `multiplier * 2^-shift`: multiplier in +-[2^14, 2^15) (or 0 for a factor of 0), shift
    in 1..46."""

    multiplier: int
    shift: int

    @property
    def real(self) -> float:
        """The factor that the integers express."""
        return self.multiplier * 2.0**-self.shift


def derive_scale(real: float, where: str = "scale") -> Scale:
    """The nearest `Scale` to a float64 factor.

    The relative error is at most 2^-15. A factor of magnitude below 2^-32 or not below 2^14 has no (m, s)
    with s in 1..46 and is refused, except 0 itself, which is (0, 1).

    Raises:
        UnsupportedError: the factor is not finite or does not fit.
    """
    if real == 0.0:
        return Scale(0, 1)
    if not math.isfinite(real):
        raise UnsupportedError(
            f"{where}: found the factor {real}; expected a finite one; calibrate the model again"
        )
    mantissa, exponent = math.frexp(abs(real))  # mantissa in [0.5, 1)
    multiplier = math.floor(mantissa * 2**MULTIPLIER_BITS + 0.5)
    if multiplier == 2**MULTIPLIER_BITS:  # rounding reached the next power of two
        multiplier, exponent = 2 ** (MULTIPLIER_BITS - 1), exponent + 1
    shift = MULTIPLIER_BITS - exponent
    if not SHIFT_MIN <= shift <= SHIFT_MAX:
        raise UnsupportedError(
            f"{where}: found the requantise factor {real:.6g}; expected a magnitude in [2^-32, 2^14); "
            "calibrate the model again"
        )
    return Scale(multiplier if real > 0 else -multiplier, shift)


def derive_scales(real: npt.NDArray[np.float64], where: str = "scale") -> tuple[Int, Int]:
    """`derive_scale` per output channel: (multipliers, shifts)."""
    scales = [
        derive_scale(float(r), f"{where}, channel {i}") for i, r in enumerate(np.asarray(real).reshape(-1))
    ]
    return (
        np.array([s.multiplier for s in scales], dtype=np.int64),
        np.array([s.shift for s in scales], dtype=np.int64),
    )


def isqrt(value: Int) -> Int:
    """floor(sqrt(value)) for 0 <= value < 2^62, exact."""
    v = np.asarray(value, dtype=np.int64)
    root = np.sqrt(v.astype(np.float64)).astype(np.int64)
    root -= root * root > v
    root += (root + 1) * (root + 1) <= v
    return root


def bit_length(value: Int) -> Int:
    """Number of bits of a positive integer below 2^53: floor(log2 v) + 1."""
    return np.frexp(np.asarray(value).astype(np.float64))[1].astype(np.int64)


def reciprocal(value: Int) -> tuple[Int, Int]:
    """(r, n) with n = bit_length(v) and r = floor(2^(n+15) / v), so r in [2^15, 2^16]; v >= 1."""
    n = bit_length(value)
    return (np.int64(1) << (n + 15)) // value, n


def norm_epsilon(eps: float, channels: int, step: float) -> int:
    """`round(eps * C^2 / h^2)`: LayerNorm's eps on integers of real step h (used for A of `normalise`)."""
    return round(eps * channels**2 / step**2)


def normalise(x: Int, epsilon: int, centred: bool) -> Int:
    """The normalised value with 12 fraction bits, over the last axis of C channels.

    LayerNorm (`centred`): `A = C*sum(x^2) - (sum x)^2 + epsilon`, d = C*x - sum x. RMSNorm: `A = C*sum(x^2) +
    epsilon`, d = C*x. `sd = max(isqrt(A), 1)`, `(r, n) = reciprocal(sd)`, `z = (d*r + 2^(n+2)) >> (n+3)`.
    int16 x and C <= 4096 keep every intermediate below 2^62.
    """
    x = np.asarray(x, dtype=np.int64)
    channels = x.shape[-1]
    total = x.sum(axis=-1, keepdims=True)
    squares = (x * x).sum(axis=-1, keepdims=True)
    spread = channels * squares + epsilon - (total * total if centred else 0)
    deviation = np.maximum(isqrt(spread), 1)
    r, n = reciprocal(deviation)
    d = channels * x - (total if centred else 0)
    z: Int = (d * r + (np.int64(1) << (n + 2))) >> (n + 3)
    return z


def norm_gain(z: Int, gain: Int, bias: Int, shift: int, bits: int) -> Int:
    """`sat((z*G + Bq + 2^(k-1)) >> k)`: int16 gain G and a bias per channel, one k per tensor."""
    return saturate((z * gain + bias + (np.int64(1) << (shift - 1))) >> shift, bits)


def derive_norm(
    weight: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    step: npt.NDArray[np.float64] | float,
    where: str,
) -> tuple[Int, Int, int]:
    """(G, Bq, k) so that `norm_gain(z)` is (weight * z/2^12 + bias) / step.

    k is the largest shift that keeps every |G| below 2^15 and every |Bq| below 2^39 (1 <= k <= 40).

    Raises:
        UnsupportedError: no k in range; the output scale is out of proportion to the gain.
    """
    gain = np.asarray(weight, np.float64) / step
    offset = np.asarray(bias, np.float64) / step
    largest = max(float(np.abs(gain).max(initial=0.0)), 2.0**-20)
    k = NORM_FRACTION + MULTIPLIER_BITS - math.frexp(largest)[1]
    if math.floor(largest * 2.0 ** (k - NORM_FRACTION) + 0.5) >= 2**MULTIPLIER_BITS:
        k -= 1
    top = float(np.abs(offset).max(initial=0.0))
    if top > 0:
        k = min(k, 38 - math.frexp(top)[1])
    k = min(k, 40)
    if k < 1:
        raise UnsupportedError(
            f"{where}: found a norm gain of {largest:.4g} output steps; expected below 2^26; calibrate again"
        )
    return (
        np.floor(gain * 2.0 ** (k - NORM_FRACTION) + 0.5).astype(np.int64),
        np.floor(offset * 2.0**k + 0.5).astype(np.int64),
        k,
    )


def exp_table(bits: int) -> Int:
    """EXP[i] = round(exp(-i/32) * (2^bits - 1)), i in 0..255, and EXP[255] = 0: the softmax numerators."""
    i = np.arange(EXP_ENTRIES, dtype=np.float64)
    table: Int = np.floor(np.exp(-i * 2.0**SCORE_STEP_LOG2) * (2**bits - 1) + 0.5).astype(np.int64)
    table[-1] = 0
    return table


def softmax_numerators(scores: Int, mask: npt.NDArray[np.bool_], bits: int) -> Int:
    """`e = EXP[min(max - score, 255)]` over the last axis; the maximum is over unmasked keys; masked keys
    give 0."""
    floor = np.iinfo(np.int64).min // 4
    top = np.where(mask, scores, floor).max(axis=-1, keepdims=True)
    index = np.clip(top - scores, 0, EXP_ENTRIES - 1)
    return np.where(mask, exp_table(bits)[index], 0)


def softmax_scale(acc: Int, numerators: Int) -> Int:
    """Deferred division: `t = (acc*r + 2^(n+6)) >> (n+7)`, Z = sum e, (r, n) = reciprocal(Z): acc/Z with 8
    fraction bits.

    acc is P*V's accumulator, shape [..., S, d]; numerators [..., S, keys]. A row whose keys are all masked
    has Z = 0 and yields 0.
    """
    z = numerators.sum(axis=-1, keepdims=True)
    r, n = reciprocal(np.maximum(z, 1))
    t: Int = (acc * r + (np.int64(1) << (n + 6))) >> (n + 7)
    return t


def mean_pool(total: Int, length: int, scale: Scale, bits: int) -> Int:
    """`requantise(sum * floor(2^16 / len))`: int16 inputs, len <= 2^15 keep the product below 2^31."""
    return requantise(total * (2**16 // length), scale.multiplier, scale.shift, bits)
