// The first and the last stage behind the array: bias and scale, offset and saturation.
#pragma once

#include "../arithmetic.hpp"
#include "../weight_stream.hpp"

namespace flow {

// scaled = ((total + bias)*m + 2^(s-1)) >> s, per output row.
inline void rescale_stage(const Lanes<int64_t> &total, const RowGroup &rows, Lanes<int64_t> &scaled) {
    #pragma HLS INLINE
rescale_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            scaled.lane[p][t] = rescale(total.lane[p][t] + rows.bias[p], rows.multiplier[p], rows.shift[p]);
        }
    }
}

// value = sat(scaled + zero).
inline void saturate_stage(
    const Lanes<int64_t> &scaled, int32_t zero, uint32_t bits, bool is_signed, Lanes<int32_t> &value
) {
    #pragma HLS INLINE
saturate_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            value.lane[p][t] = saturate(scaled.lane[p][t] + zero, bits, is_signed);
        }
    }
}

}  // namespace flow
