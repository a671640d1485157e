// Stage `hardswish`: x * clip(x + 3, 0, 6) / 6.
#pragma once

#include "outside.hpp"

namespace flow {

// result = (x*clip(x + three, 0, six)*m + 2^(s-1)) >> s.
inline void hardswish_stage(const Lanes<int16_t> &x, const StageParameters &parameters, Lanes<int64_t> &result) {
    #pragma HLS INLINE
    const int64_t three = parameters.word[0];
    const int64_t six = parameters.word[1];
    const int16_t multiplier = int16_t(parameters.word[2]);
    const uint32_t shift = uint32_t(parameters.word[3]);
hardswish_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            const int64_t in = x.lane[p][t];
            const int64_t moved = in + three;
            const int64_t gate = moved < 0 ? 0 : moved > six ? six : moved;
            result.lane[p][t] = rescale(in * gate, multiplier, shift);
        }
    }
}

}  // namespace flow
