// The integer arithmetic of flow/numerics.py: the same names, the same results.
#pragma once

#include <cstdint>

namespace flow {

// Clamp to +-(2^(bits-1) - 1) when signed, else to 0 .. 2^bits - 1.
inline int32_t saturate(int64_t value, uint32_t bits, bool is_signed) {
    #pragma HLS INLINE
    const int64_t high = (int64_t(1) << (is_signed ? bits - 1 : bits)) - 1;
    const int64_t low = is_signed ? -high : 0;
    return int32_t(value < low ? low : value > high ? high : value);
}

// 2^(shift-1), and 0 for a shift of 0; a shift is six bits wide.
inline int64_t half(uint32_t shift) {
    #pragma HLS INLINE
    return int64_t((uint64_t(1) << (shift & 63)) >> 1);
}

// (value + 2^(shift-1)) >> shift: round half up.
inline int64_t round_shift(int64_t value, uint32_t shift) {
    #pragma HLS INLINE
    return (value + half(shift)) >> (shift & 63);
}

// (acc*m + 2^(s-1)) >> s, unsaturated.
inline int64_t rescale(int64_t acc, int16_t multiplier, uint32_t shift) {
    #pragma HLS INLINE
    return round_shift(acc * multiplier, shift);
}

inline int32_t requantise(int64_t acc, int16_t multiplier, uint32_t shift, uint32_t bits) {
    #pragma HLS INLINE
    return saturate(rescale(acc, multiplier, shift), bits, true);
}

// Number of bits of value: floor(log2 value) + 1, and 0 for 0.
inline uint32_t bit_length(uint64_t value) {
    #pragma HLS INLINE
    uint32_t bits = 0;
bit_length_loop:
    for (int i = 0; i < 64; ++i) {
        // A priority encoder: no iteration depends on hardware of another.
        #pragma HLS UNROLL
        if ((value >> i) & 1) bits = uint32_t(i) + 1;
    }
    return bits;
}

// floor(sqrt(value)), one result bit per stage.
inline uint32_t isqrt(uint64_t value) {
    #pragma HLS INLINE
    uint64_t root = 0;
    uint64_t rest = value;
isqrt_loop:
    for (int bit = 31; bit >= 0; --bit) {
        // Unrolled, so that a surrounding pipeline takes a new value every cycle.
        #pragma HLS UNROLL
        const uint64_t trial = (root << (bit + 1)) + (uint64_t(1) << (2 * bit));
        if (rest >= trial) {
            rest -= trial;
            root |= uint64_t(1) << bit;
        }
    }
    return uint32_t(root);
}

// 1/value as r * 2^-(n+15): n = bit_length(value), r = floor(2^(n+15) / value), in (2^15, 2^16].
struct Reciprocal {
    uint32_t r;
    uint32_t n;
};

// Restoring division, one quotient bit per stage; value >= 1.
inline Reciprocal reciprocal(uint32_t value) {
    #pragma HLS INLINE
    constexpr int QuotientBits = 17;
    Reciprocal result;
    result.n = bit_length(value);
    result.r = 0;
    uint64_t rest = uint64_t(1) << (result.n - 1);
reciprocal_loop:
    for (int bit = 0; bit < QuotientBits; ++bit) {
        // Unrolled, so that a surrounding pipeline takes a new value every cycle.
        #pragma HLS UNROLL
        const bool fits = rest >= value;
        result.r = (result.r << 1) | uint32_t(fits);
        rest = (fits ? rest - value : rest) << 1;
    }
    return result;
}

}  // namespace flow
