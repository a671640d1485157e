// The T x B x P array: products of bytes and weights, summed over banks.
//
// A weight is shared by T token lanes, so one DSP primitive computes two products of it: the wide operand holds
// a1 * 2^DspSpacing + a0, exact for 9-bit activations, and the product holds both results. The lower one carries
// into the upper: a negative lower sum borrows 1, which its sign bit p[DspSpacing-1] gives back.
#pragma once

#include "types.hpp"

namespace flow {

static_assert(DspProducts == 1 || DspProducts == 2, "one or two products a primitive");
// Lane t is packed with lane t + TokenPairs; a single token lane has no partner.
constexpr int TokenPairs = DspProducts == 2 ? Tokens / 2 : 0;
constexpr int SingleTokens = Tokens - 2 * TokenPairs;
constexpr int Spacing = DspProducts == 2 ? DspSpacing : 18;
// The largest lower product: an unsigned byte times the most negative weight.
constexpr int LargestProduct = 255 * 128;
// Products that may be summed before they are unpacked (18: 4, 16: 1): the lower sum must stay signed Spacing bits.
constexpr int PackedTerms = smaller(((1 << (Spacing - 1)) - 1) / LargestProduct, SegmentBanks);
static_assert(PackedTerms >= 1 && PackedTerms * LargestProduct < (1 << (Spacing - 1)), "the lower sum overflows");
constexpr int Chain = is_power_of_two(PackedTerms) ? PackedTerms : PackedTerms & ~1;
static_assert(SegmentBanks % Chain == 0, "chains of DSP primitives tile a segment of the adder tree");

// What one cycle feeds to the array.
struct ArrayInput {
    Word operand[Rows][Banks];
    int8_t weight[Rows][Banks];
};

// One sum per row, segment of the adder tree and token.
struct ArrayOutput {
    int32_t sum[Rows][Heads][Tokens];
};

// Sums over one segment for the lanes that are packed in pairs.
inline void multiply_pairs(const Word *operand, const int8_t *weight, int32_t sign, int32_t *sum) {
    #pragma HLS INLINE
    int32_t low[TokenPairs + 1] = {};
    int32_t high[TokenPairs + 1] = {};
chain_loop:
    for (int first = 0; first < SegmentBanks; first += Chain) {
        #pragma HLS UNROLL
        int64_t product[TokenPairs + 1] = {};
    cascade_loop:
        for (int term = 0; term < Chain; ++term) {
            // Summed along the DSP cascade, which costs no logic.
            #pragma HLS UNROLL
            const int bank = first + term;
            for (int t = 0; t < TokenPairs; ++t) {
                #pragma HLS UNROLL
                const int32_t a0 = (operand[bank].lane[t] ^ sign) - sign;
                const int32_t a1 = (operand[bank].lane[t + TokenPairs] ^ sign) - sign;
                product[t] += int64_t(a1 * (1 << Spacing) + a0) * weight[bank];
            }
        }
    unpack_loop:
        for (int t = 0; t < TokenPairs; ++t) {
            #pragma HLS UNROLL
            low[t] += int32_t(int64_t(uint64_t(product[t]) << (64 - Spacing)) >> (64 - Spacing));
            high[t] += int32_t((product[t] >> Spacing) + ((product[t] >> (Spacing - 1)) & 1));
        }
    }
    for (int t = 0; t < TokenPairs; ++t) {
        #pragma HLS UNROLL
        sum[t] = low[t];
        sum[t + TokenPairs] = high[t];
    }
}

// Sums over one segment for lanes without a partner.
inline void multiply_singles(const Word *operand, const int8_t *weight, int32_t sign, int32_t *sum) {
    #pragma HLS INLINE
    for (int t = 2 * TokenPairs; t < Tokens; ++t) {
        #pragma HLS UNROLL
        sum[t] = 0;
    }
single_loop:
    for (int bank = 0; bank < SegmentBanks; ++bank) {
        #pragma HLS UNROLL
        for (int t = 2 * TokenPairs; t < Tokens; ++t) {
            #pragma HLS UNROLL
            sum[t] += ((operand[bank].lane[t] ^ sign) - sign) * weight[bank];
        }
    }
}

// sum[p][s][t] = sum over the banks b of segment s of weight[p][b] * operand[p][b][t].
inline void multiply(const ArrayInput &input, bool operand_signed, ArrayOutput &output) {
    #pragma HLS INLINE
    // Sign extension to 9 bits without a multiplexer: flip the top bit, then subtract its weight.
    const int32_t sign = operand_signed ? 0x80 : 0;
row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    segment_loop:
        for (int s = 0; s < Heads; ++s) {
            #pragma HLS UNROLL
            const Word *operand = &input.operand[p][s * SegmentBanks];
            const int8_t *weight = &input.weight[p][s * SegmentBanks];
            multiply_pairs(operand, weight, sign, output.sum[p][s]);
            multiply_singles(operand, weight, sign, output.sum[p][s]);
        }
    }
}

}  // namespace flow
