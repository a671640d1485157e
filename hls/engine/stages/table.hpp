// Stage `table`: a pointwise function (GELU, tanh, SiLU, sigmoid) as a table over an affine index.
#pragma once

#include <cassert>

#include "../feed.hpp"

namespace flow {

struct LookupTable {
    int16_t entry[1 << TableBits];

    LookupTable() {
        // T*P lanes look up in one cycle.
        #pragma HLS BIND_STORAGE variable=entry type=ram_1wnr impl=lutram
    }
};

// 2^bits int16 entries from the step's data.
inline void load_table(BeatStream &data, uint32_t bits, LookupTable &table) {
    #pragma HLS INLINE
    assert(bits <= uint32_t(TableBits));
    Beat beat = {};
table_load_loop:
    for (uint32_t i = 0; i < (uint32_t(1) << bits); ++i) {
        // An entry a cycle; a beat holds several.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=256 max=256
        if (i % (BeatBytes / 2) == 0) beat = data.read();
        const uint32_t at = i % (BeatBytes / 2);
        table.entry[i] = int16_t(uint16_t(beat.word[at / 4] >> (16 * (at % 4))));
    }
}

// value = table[clip(scaled + zero, 0, 2^bits - 1)].
inline void table_stage(
    const Lanes<int64_t> &scaled, int32_t zero, uint32_t bits, const LookupTable &table, Lanes<int32_t> &value
) {
    #pragma HLS INLINE
    const int64_t last = (int64_t(1) << bits) - 1;
table_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            const int64_t index = scaled.lane[p][t] + zero;
            value.lane[p][t] = table.entry[index < 0 ? 0 : index > last ? last : index];
        }
    }
}

}  // namespace flow
