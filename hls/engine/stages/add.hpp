// Stage `add`: the residual stream, int16, added before saturation.
#pragma once

#include "../arithmetic.hpp"
#include "../types.hpp"

namespace flow {

// scaled += (residual*m + 2^(s-1)) >> s.
inline void add_stage(const Lanes<int16_t> &residual, int16_t multiplier, uint32_t shift, Lanes<int64_t> &scaled) {
    #pragma HLS INLINE
add_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            scaled.lane[p][t] += rescale(residual.lane[p][t], multiplier, shift);
        }
    }
}

}  // namespace flow
