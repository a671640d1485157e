// The T x B x P array: products of bytes and weights, summed over banks.
//
// A weight is shared by T token lanes, so one DSP primitive computes two products of it: the wide operand holds
// a1 * 2^Spacing + a0, exact for 9-bit activations, and the product holds both results. Where the lower one is
// negative it borrows 1 from the upper, which its sign bit p[Spacing-1] gives back.
//
// Lanes of one row are flat arrays, index bank * lanes + lane: fully parallel in hardware, vectors in C simulation.
#pragma once

#include "types.hpp"

namespace flow {

static_assert(DspProducts == 1 || DspProducts == 2, "one or two products a primitive");
// Lane t is packed with lane t + TokenPairs; a lane without a partner is single.
constexpr int TokenPairs = DspProducts == 2 ? Tokens / 2 : 0;
constexpr int SingleTokens = Tokens - 2 * TokenPairs;
constexpr int Spacing = DspProducts == 2 ? DspSpacing : 18;
// The largest lower product: an unsigned byte times the most negative weight.
constexpr int LargestProduct = 255 * 128;
// Packed products that may be summed before they are unpacked (4 at spacing 18, 1 at 16): the lower sum must stay a
// signed number of Spacing bits.
constexpr int Chain = smaller(((1 << (Spacing - 1)) - 1) / LargestProduct, SegmentBanks);
static_assert(Chain >= 1 && Chain * LargestProduct < (1 << (Spacing - 1)), "the lower sum overflows");
static_assert(SegmentBanks % Chain == 0, "chains of DSP primitives tile a segment of the adder tree");
constexpr int Chains = SegmentBanks / Chain;

// Zero-length arrays do not exist: one element where there are no such lanes.
constexpr int PairLanes = larger(1, Banks * TokenPairs);
constexpr int SingleLanes = larger(1, Banks * SingleTokens);

// What one cycle feeds to the array.
struct ArrayInput {
    uint8_t low[Rows][PairLanes];
    uint8_t high[Rows][PairLanes];
    uint8_t single[Rows][SingleLanes];
    int8_t weight[Rows][Banks];
};

// One sum per row, segment of the adder tree and token.
struct ArrayOutput {
    int32_t sum[Rows][Heads][Tokens];
};

// A word of T tokens to the lanes of row p.
inline void set_operand(ArrayInput &input, int p, int bank, const Word &word) {
    #pragma HLS INLINE
pair_loop:
    for (int t = 0; t < TokenPairs; ++t) {
        #pragma HLS UNROLL
        input.low[p][bank * TokenPairs + t] = word.lane[t];
        input.high[p][bank * TokenPairs + t] = word.lane[t + TokenPairs];
    }
single_loop:
    for (int t = 0; t < SingleTokens; ++t) {
        #pragma HLS UNROLL
        input.single[p][bank * SingleTokens + t] = word.lane[2 * TokenPairs + t];
    }
}

// Bytes to 9-bit signed: `sign` is 0x80 for signed bytes and 0 for unsigned ones. Flipping the top bit and taking its
// weight off extends the sign without a multiplexer.
inline int32_t extend(uint8_t byte, int32_t sign) {
    #pragma HLS INLINE
    return (byte ^ sign) - sign;
}

// Sums over one segment for the lanes that are packed in pairs.
inline void multiply_pairs(
    const uint8_t *low, const uint8_t *high, const int8_t *weight, int32_t sign, int32_t *sum
) {
    #pragma HLS INLINE
    constexpr int SegmentLanes = larger(1, SegmentBanks * TokenPairs);
    constexpr int ChainLanes = larger(1, Chains * TokenPairs);
    int32_t packed[SegmentLanes];
    int32_t factor[SegmentLanes];
    int64_t product[ChainLanes] = {};
    // Wires and pipeline registers of the array.
    #pragma HLS ARRAY_PARTITION variable=packed type=complete
    #pragma HLS ARRAY_PARTITION variable=factor type=complete
    #pragma HLS ARRAY_PARTITION variable=product type=complete
pack_loop:
    for (int i = 0; i < SegmentBanks * TokenPairs; ++i) {
        // The pre-adder of the DSP primitive.
        #pragma HLS UNROLL
        packed[i] = extend(high[i], sign) * (1 << Spacing) + extend(low[i], sign);
    }
share_loop:
    for (int bank = 0; bank < SegmentBanks; ++bank) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < TokenPairs; ++t) {
            #pragma HLS UNROLL
            factor[bank * TokenPairs + t] = weight[bank];
        }
    }
cascade_loop:
    for (int link = 0; link < Chain; ++link) {
        // Summed along the DSP cascade, which costs no logic; a chain takes every Chains-th bank.
        #pragma HLS UNROLL
    lane_loop:
        for (int i = 0; i < Chains * TokenPairs; ++i) {
            #pragma HLS UNROLL
            const int at = link * Chains * TokenPairs + i;
            product[i] += int64_t(packed[at]) * factor[at];
        }
    }
    int32_t low_sum[ChainLanes];
    int32_t high_sum[ChainLanes];
    // Wires and pipeline registers of the array.
    #pragma HLS ARRAY_PARTITION variable=low_sum type=complete
    #pragma HLS ARRAY_PARTITION variable=high_sum type=complete
unpack_loop:
    for (int i = 0; i < Chains * TokenPairs; ++i) {
        #pragma HLS UNROLL
        const int64_t p = product[i];
        low_sum[i] = int32_t(uint32_t(p) << (32 - Spacing)) >> (32 - Spacing);
        high_sum[i] = int32_t((p >> Spacing) + ((p >> (Spacing - 1)) & 1));
    }
clear_loop:
    for (int t = 0; t < 2 * TokenPairs; ++t) {
        #pragma HLS UNROLL
        sum[t] = 0;
    }
tree_loop:
    for (int chain = 0; chain < Chains; ++chain) {
        // Balanced into an adder tree: integer addition is associative.
        #pragma HLS UNROLL
    pair_loop:
        for (int t = 0; t < TokenPairs; ++t) {
            #pragma HLS UNROLL
            sum[t] += low_sum[chain * TokenPairs + t];
            sum[t + TokenPairs] += high_sum[chain * TokenPairs + t];
        }
    }
}

// Sums over one segment for lanes without a partner.
inline void multiply_singles(const uint8_t *single, const int8_t *weight, int32_t sign, int32_t *sum) {
    #pragma HLS INLINE
clear_loop:
    for (int t = 0; t < SingleTokens; ++t) {
        #pragma HLS UNROLL
        sum[t] = 0;
    }
single_loop:
    for (int bank = 0; bank < SegmentBanks; ++bank) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < SingleTokens; ++t) {
            #pragma HLS UNROLL
            sum[t] += extend(single[bank * SingleTokens + t], sign) * weight[bank];
        }
    }
}

// sum[p][s][t] = sum over the banks b of segment s of weight[p][b] * operand[p][b][t].
inline void multiply(const ArrayInput &input, bool operand_signed, ArrayOutput &output) {
    #pragma HLS INLINE
    const int32_t sign = operand_signed ? 0x80 : 0;
row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    segment_loop:
        for (int s = 0; s < Heads; ++s) {
            #pragma HLS UNROLL
            const int bank = s * SegmentBanks;
            const int8_t *weight = &input.weight[p][bank];
            int32_t *sum = output.sum[p][s];
            if (TokenPairs > 0) {
                const uint8_t *low = &input.low[p][bank * TokenPairs];
                multiply_pairs(low, &input.high[p][bank * TokenPairs], weight, sign, sum);
            }
            if (SingleTokens > 0) {
                multiply_singles(&input.single[p][bank * SingleTokens], weight, sign, sum + 2 * TokenPairs);
            }
        }
    }
}

}  // namespace flow
