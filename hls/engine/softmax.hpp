// Softmax with deferred division: numerators from a table, one reciprocal per query.
#pragma once

#include <cassert>

#include "arithmetic.hpp"
#include "feed.hpp"

namespace flow {

constexpr int ExpEntries = 256;
constexpr int ExpBytes = 2 * ExpEntries;
// Keys are handled P at a time; the last of B/h keys that a head's values span may lie beyond the sequence.
constexpr int KeyGroups = HasAttention ? ceil_divide(Sequence + Banks, Rows) : 1;
// Lines of numerators when H heads lie side by side, B/H keys each.
constexpr int NumeratorLines = HasAttention ? ceil_divide(Sequence, SegmentBanks) + 1 : 1;

struct ScoreWord {
    int16_t lane[Tokens];
};

// What attention keeps of one query tile and up to H heads.
struct Softmax {
    uint16_t exp[ExpEntries];
    // Scores of key group*P + p, [key group][p][head].
    ScoreWord score[KeyGroups][Rows][Heads];
    int16_t maximum[Heads][Tokens];
    // exp(score - maximum) as bytes, low and high; key s of head h is at line s / (B/h), bank h*(B/h) + s % (B/h).
    Word numerator[2][NumeratorLines][Banks];
    uint32_t sum[Heads][Tokens];
    Reciprocal scale[Heads][Tokens];

    Softmax() {
        // T*P*H lanes look up in one cycle.
        #pragma HLS BIND_STORAGE variable=exp type=ram_1wnr impl=lutram
        // One word is one port's width.
        #pragma HLS AGGREGATE variable=score
        #pragma HLS AGGREGATE variable=numerator
        // P keys of H heads in one cycle.
        #pragma HLS ARRAY_PARTITION variable=score type=complete dim=2
        #pragma HLS ARRAY_PARTITION variable=score type=complete dim=3
        // Both bytes of a numerator are written at once; all banks are read in one cycle.
        #pragma HLS ARRAY_PARTITION variable=numerator type=complete dim=1
        #pragma HLS ARRAY_PARTITION variable=numerator type=complete dim=3
        // Registers: every lane works in every cycle.
        #pragma HLS ARRAY_PARTITION variable=maximum type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=sum type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=scale type=complete dim=0
    }
};

// Which keys a query may see.
struct KeyMask {
    uint32_t length;
    bool causal;

    bool sees(uint32_t query, uint32_t key) const {
        #pragma HLS INLINE
        return key < length && (!causal || key <= query);
    }
};

inline void load_exp(BeatStream &data, Softmax &softmax) {
    #pragma HLS INLINE
    Beat beat = {};
exp_load_loop:
    for (int i = 0; i < ExpEntries; ++i) {
        // An entry a cycle; a beat holds several.
        #pragma HLS PIPELINE II=1
        if (i % (BeatBytes / 2) == 0) beat = data.read();
        const int at = i % (BeatBytes / 2);
        softmax.exp[i] = uint16_t(beat.word[at / 4] >> (16 * (at % 4)));
    }
}

inline void clear_softmax(Softmax &softmax) {
    #pragma HLS INLINE
clear_head_loop:
    for (int h = 0; h < Heads; ++h) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            softmax.maximum[h][t] = INT16_MIN;
            softmax.sum[h][t] = 0;
        }
    }
}

// e = EXP[min(maximum - score, 255)], 0 for masked keys, and their sums: for `abreast` heads of 2^key_shift banks
// each, over `rows` rows of as many keys. Rows are whole: banks beyond the last key get zeros.
inline void exponentiate(
    uint32_t first_query, uint32_t abreast, uint32_t key_shift, uint32_t rows, const KeyMask &mask, Softmax &softmax
) {
    // A block of its own: it needs no multiplier.
    #pragma HLS INLINE off
    const uint32_t groups = (rows << key_shift) / Rows;
    assert(groups <= uint32_t(KeyGroups));
exp_loop:
    for (uint32_t group = 0; group < groups; ++group) {
        // P keys of all heads a cycle, as many as the array delivers scores.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=128
        const uint32_t line = group * Rows >> key_shift;
        const uint32_t group_in_head = group - (line << key_shift) / Rows;
    exp_head_loop:
        for (int h = 0; h < Heads; ++h) {
            #pragma HLS UNROLL
            if (uint32_t(h) >= abreast) continue;
            Word low[Rows];
            Word high[Rows];
        exp_key_loop:
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
            token_loop:
                for (int t = 0; t < Tokens; ++t) {
                    #pragma HLS UNROLL
                    const int32_t distance = softmax.maximum[h][t] - softmax.score[group][p][h].lane[t];
                    const bool seen = mask.sees(first_query + uint32_t(t), group * Rows + uint32_t(p));
                    const int32_t index = distance < 0 ? 0 : distance > 255 ? 255 : distance;
                    const uint16_t e = seen ? softmax.exp[index] : uint16_t(0);
                    softmax.sum[h][t] += e;
                    low[p].lane[t] = uint8_t(e);
                    high[p].lane[t] = uint8_t(e >> 8);
                }
            }
            const uint32_t target = (uint32_t(h) << key_shift) / Rows + group_in_head;
        exp_bank_loop:
            for (int bank = 0; bank < Banks; ++bank) {
                // Constant bank numbers: a write enable per bank, no crossbar.
                #pragma HLS UNROLL
                if (uint32_t(bank / Rows) == target) {
                    softmax.numerator[0][line][bank] = low[bank % Rows];
                    softmax.numerator[1][line][bank] = high[bank % Rows];
                }
            }
        }
    }
reciprocal_head_loop:
    for (int h = 0; h < Heads; ++h) {
    reciprocal_token_loop:
        for (int t = 0; t < Tokens; ++t) {
            // One divider for all queries: it is needed once per tile and head.
            #pragma HLS PIPELINE II=1
            const uint32_t sum = softmax.sum[h][t];
            softmax.scale[h][t] = reciprocal(sum > 0 ? sum : 1);
        }
    }
}

}  // namespace flow
