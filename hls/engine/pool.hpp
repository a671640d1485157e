// Stage `pool`: the mean over tokens, or the first token, of an int16 tensor.
#pragma once

#include <cassert>

#include "norm.hpp"

namespace flow {

inline bool valid_pool(const PoolRecord &record, uint32_t length) {
    #pragma HLS INLINE
    const uint64_t lines = uint64_t(tiles_of(length)) * record.depth;
    bool ok = record.depth >= 1 && record.depth <= uint32_t(Depth) && record.bits >= 2 && record.bits <= 16;
    ok = ok && fits(uint32_t(Space::Store), record.source_base, 2 * lines);
    return ok && is_token_space(record.space) && fits(record.space, record.base, planes_of(record.bits) * record.depth);
}

// requantise(sum * floor(2^16 / length)), or requantise(x[0]); one token in lane 0, zeros beside it.
inline void run_pool(const PoolRecord &record, uint32_t length, Memories &memories) {
    // A block of its own: it shares nothing with the array.
    #pragma HLS INLINE off
    const uint32_t tiles = record.mean ? tiles_of(length) : 1;
    const uint32_t tokens = record.mean ? length : 1;
    const int64_t factor = record.mean ? int64_t((uint32_t(1) << 16) / length) : 1;
    const uint32_t planes = planes_of(record.bits);
    assert(record.depth <= uint32_t(Depth) && tiles <= uint32_t(SequenceTiles));
pool_line_loop:
    for (uint32_t line = 0; line < record.depth; ++line) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=64
    pool_channel_loop:
        for (int first = 0; first < Banks; first += ChannelLanes) {
            int64_t total[ChannelLanes] = {};
            // Registers: every lane adds in every cycle.
            #pragma HLS ARRAY_PARTITION variable=total type=complete
        pool_tile_loop:
            for (uint32_t tile = 0; tile < tiles; ++tile) {
                // Both byte planes at once: the store's two ports.
                #pragma HLS PIPELINE II=1
                #pragma HLS LOOP_TRIPCOUNT min=1 max=16
                const uint32_t at = record.source_base + 2 * tile * record.depth + line;
            lane_loop:
                for (int lane = 0; lane < ChannelLanes; ++lane) {
                    #pragma HLS UNROLL
                    const Word low = memories.store[at][first + lane];
                    const Word high = memories.store[at + record.depth][first + lane];
                token_loop:
                    for (int t = 0; t < Tokens; ++t) {
                        #pragma HLS UNROLL
                        if (tile * Tokens + uint32_t(t) < tokens) total[lane] += join(low.lane[t], high.lane[t]);
                    }
                }
            }
        run_pool_lane_loop:
            for (int lane = 0; lane < ChannelLanes; ++lane) {
                #pragma HLS UNROLL
                const int64_t mean = total[lane] * factor;
                const int32_t y = requantise(mean, int16_t(record.multiplier), record.shift, record.bits);
                Word low = {};
                Word high = {};
                low.lane[0] = uint8_t(y);
                high.lane[0] = uint8_t(y >> 8);
                const uint32_t bank = uint32_t(first + lane);
                write_word(memories, record.space, record.base + line, bank, low);
                if (planes == 2) write_word(memories, record.space, record.base + record.depth + line, bank, high);
            }
        }
    }
}

}  // namespace flow
