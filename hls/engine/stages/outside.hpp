// What stages of plug-ins share: their parameters, and the int16 values that they read.
#pragma once

#include "../arithmetic.hpp"
#include "../feed.hpp"

namespace flow {

// The parameters of one step's stage.
struct StageParameters {
    int32_t word[StageWords];

    StageParameters() : word() {
        // Every lane reads them in every cycle.
        #pragma HLS ARRAY_PARTITION variable=word type=complete
    }
};

// From the step's data.
inline void load_stage(BeatStream &data, StageParameters &parameters) {
    #pragma HLS INLINE
    Beat beat = {};
stage_load_loop:
    for (int i = 0; i < StageWords; ++i) {
        // A word a cycle; a beat holds several.
        #pragma HLS PIPELINE II=1
        if (i % (BeatBytes / 4) == 0) beat = data.read();
        const int at = i % (BeatBytes / 4);
        parameters.word[i] = int32_t(uint32_t(beat.word[at / 2] >> (32 * (at % 2))));
    }
}

// x = sat(scaled, 16).
inline void narrow_stage(const Lanes<int64_t> &scaled, Lanes<int16_t> &x) {
    #pragma HLS INLINE
narrow_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            x.lane[p][t] = int16_t(saturate(scaled.lane[p][t], 16, true));
        }
    }
}

}  // namespace flow
