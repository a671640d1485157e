// Stage `norm`: LayerNorm and RMSNorm over channels, in integers.
//
// Two passes over a token tile: sums of x and x^2, then the normalised value with each output's gain and bias. Square
// root and reciprocal are taken once per token in between.
#pragma once

#include <cassert>

#include "arithmetic.hpp"
#include "feed.hpp"
#include "memories.hpp"

namespace flow {

// Channels a cycle; they lie in neighbouring banks.
constexpr int ChannelLanes = smaller(NormLanes, Banks);
constexpr int NormOutputs = 2;
static_assert(Depth * Banks <= 65536, "C^2 * 2^30 must stay below 2^62");

struct NormBuffers {
    // Of a physical channel: bits 0..15 the int16 gain G, bits 16..63 the signed 48-bit bias Bq.
    uint64_t constants[NormOutputs][Depth][Banks];
    // One token tile, so that the second pass leaves the store's ports to the results.
    Word low[Depth][Banks];
    Word high[Depth][Banks];

    NormBuffers() {
        // One word is one port's width.
        #pragma HLS AGGREGATE variable=low
        #pragma HLS AGGREGATE variable=high
        // L neighbouring channels a cycle, for both outputs.
        #pragma HLS ARRAY_PARTITION variable=constants type=complete dim=1
        #pragma HLS ARRAY_PARTITION variable=constants type=cyclic factor=ChannelLanes dim=3
        #pragma HLS ARRAY_PARTITION variable=low type=cyclic factor=ChannelLanes dim=2
        #pragma HLS ARRAY_PARTITION variable=high type=cyclic factor=ChannelLanes dim=2
    }
};

struct NormOutput {
    uint32_t constants;
    uint32_t shift;
    uint32_t bits;
    uint32_t space;
    uint32_t base;
};

inline NormOutput norm_output(const NormRecord &record, int index) {
    #pragma HLS INLINE
    const NormOutput first = {record.constants0, record.shift0, record.bits0, record.space0, record.base0};
    const NormOutput second = {record.constants1, record.shift1, record.bits1, record.space1, record.base1};
    return index == 0 ? first : second;
}

inline bool valid_norm(const NormRecord &record, uint32_t length) {
    #pragma HLS INLINE
    const uint64_t lines = uint64_t(tiles_of(length)) * record.depth;
    bool ok = record.depth >= 1 && record.depth <= uint32_t(Depth);
    ok &= record.channels >= 1 && record.channels <= record.depth * Banks;
    ok &= record.outputs >= 1 && record.outputs <= uint32_t(NormOutputs);
    ok = ok && fits(uint32_t(Space::Store), record.source_base, 2 * lines);
valid_output_loop:
    for (int o = 0; o < NormOutputs; ++o) {
        #pragma HLS UNROLL
        if (uint32_t(o) >= record.outputs) continue;
        const NormOutput output = norm_output(record, o);
        ok &= output.bits >= 2 && output.bits <= 16 && is_token_space(output.space);
        ok = ok && fits(output.space, output.base, lines * planes_of(output.bits));
    }
    return ok;
}

inline uint32_t norm_constant_beats(const NormRecord &record) {
    #pragma HLS INLINE
    return beats_of(uint64_t(record.depth) * Banks * 8);
}

inline FetchPlan plan_norm(const NormRecord &record) {
    #pragma HLS INLINE
    FetchPlan plan = {};
    const uint32_t beats = norm_constant_beats(record);
    plan.span[0] = {record.constants0, beats};
    if (record.outputs > 1) plan.span[1] = {record.constants1, beats};
    return plan;
}

inline void load_norm_constants(const NormRecord &record, BeatStream &data, NormBuffers &buffers) {
    #pragma HLS INLINE
    assert(record.outputs <= uint32_t(NormOutputs) && record.depth <= uint32_t(Depth));
    Beat beat = {};
norm_output_loop:
    for (uint32_t o = 0; o < record.outputs; ++o) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=2
    norm_constant_loop:
        for (uint32_t i = 0; i < record.depth * Banks; ++i) {
            // A channel a cycle; a beat holds several.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=64 max=4096
            if (i % BeatWords == 0) beat = data.read();
            buffers.constants[o][i / Banks][i % Banks] = beat.word[i % BeatWords];
        }
    }
}

// Of one token: sum x and sum x^2, then the deviation's reciprocal.
struct Moments {
    int64_t sum[Tokens];
    int64_t squares[Tokens];
    Reciprocal scale[Tokens];
};

inline void gather_moments(
    const NormRecord &record, uint32_t tile, const Memories &memories, NormBuffers &buffers, Moments &moments
) {
    #pragma HLS INLINE
token_loop:
    for (int t = 0; t < Tokens; ++t) {
        #pragma HLS UNROLL
        moments.sum[t] = 0;
        moments.squares[t] = 0;
    }
    assert(record.depth <= uint32_t(Depth));
    const uint32_t base = record.source_base + 2 * tile * record.depth;
gather_line_loop:
    for (uint32_t line = 0; line < record.depth; ++line) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=64
    gather_channel_loop:
        for (int first = 0; first < Banks; first += ChannelLanes) {
            // Both byte planes at once: the store's two ports.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=96
        lane_loop:
            for (int lane = 0; lane < ChannelLanes; ++lane) {
                #pragma HLS UNROLL
                const int bank = first + lane;
                const Word low = memories.store[base + line][bank];
                const Word high = memories.store[base + record.depth + line][bank];
                buffers.low[line][bank] = low;
                buffers.high[line][bank] = high;
            sum_token_loop:
                for (int t = 0; t < Tokens; ++t) {
                    #pragma HLS UNROLL
                    const int32_t x = join(low.lane[t], high.lane[t]);
                    moments.sum[t] += x;
                    moments.squares[t] += x * x;
                }
            }
        }
    }
}

// A = C*sum(x^2) - (sum x)^2 + epsilon, sd = max(isqrt(A), 1), and 1/sd.
inline void finish_moments(const NormRecord &record, Moments &moments) {
    #pragma HLS INLINE
    const uint64_t epsilon = (uint64_t(record.epsilon_high) << 32) | record.epsilon_low;
moments_loop:
    for (int t = 0; t < Tokens; ++t) {
        // One square root and one divider, a token a cycle.
        #pragma HLS PIPELINE II=1
        const int64_t centre = record.centred ? moments.sum[t] : 0;
        const uint64_t spread = uint64_t(record.channels) * uint64_t(moments.squares[t]) + epsilon;
        const uint32_t deviation = isqrt(spread - uint64_t(centre) * uint64_t(centre));
        moments.scale[t] = reciprocal(deviation > 0 ? deviation : 1);
        moments.sum[t] = centre;
    }
}

// y = sat((z*G + Bq + 2^(k-1)) >> k) with z = ((C*x - sum x)*r + 2^(n+2)) >> (n+3).
inline void write_normalised(
    const NormRecord &record, uint32_t tile, const Moments &moments, const NormBuffers &buffers, Memories &memories
) {
    #pragma HLS INLINE
    assert(record.depth <= uint32_t(Depth));
normalise_line_loop:
    for (uint32_t line = 0; line < record.depth; ++line) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=64
    normalise_channel_loop:
        for (int first = 0; first < Banks; first += ChannelLanes) {
            // L channels of T tokens a cycle; an int16 output takes both write ports of its bank.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=96
        lane_loop:
            for (int lane = 0; lane < ChannelLanes; ++lane) {
                #pragma HLS UNROLL
                const int bank = first + lane;
                int64_t z[Tokens];
            token_loop:
                for (int t = 0; t < Tokens; ++t) {
                    #pragma HLS UNROLL
                    const int32_t x = join(buffers.low[line][bank].lane[t], buffers.high[line][bank].lane[t]);
                    const int64_t centred = int64_t(record.channels) * x - moments.sum[t];
                    z[t] = round_shift(centred * int64_t(moments.scale[t].r), moments.scale[t].n + 3);
                }
            norm_result_loop:
                for (int o = 0; o < NormOutputs; ++o) {
                    #pragma HLS UNROLL
                    if (uint32_t(o) >= record.outputs) continue;
                    const NormOutput output = norm_output(record, o);
                    const uint64_t constants = buffers.constants[o][line][bank];
                    const int64_t gain = int16_t(uint16_t(constants));
                    const int64_t bias = int64_t(constants) >> 16;
                    const uint32_t planes = planes_of(output.bits);
                    Word low;
                    Word high;
                result_token_loop:
                    for (int t = 0; t < Tokens; ++t) {
                        #pragma HLS UNROLL
                        const int32_t y = saturate(round_shift(z[t] * gain + bias, output.shift), output.bits, true);
                        low.lane[t] = uint8_t(y);
                        high.lane[t] = uint8_t(y >> 8);
                    }
                    const uint32_t at = output.base + tile * planes * record.depth + line;
                    write_word(memories, output.space, at, uint32_t(bank), low);
                    if (planes == 2) write_word(memories, output.space, at + record.depth, uint32_t(bank), high);
                }
            }
        }
    }
}

inline void run_norm(
    const NormRecord &record, uint32_t length, BeatStream &data, NormBuffers &buffers, Memories &memories
) {
    // A block of its own: it shares nothing with the array.
    #pragma HLS INLINE off
    assert(length <= uint32_t(Sequence));
    load_norm_constants(record, data, buffers);
norm_tile_loop:
    for (uint32_t tile = 0; tile < tiles_of(length); ++tile) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=16
        Moments moments;
        // Registers: every token lane works in every cycle.
        #pragma HLS ARRAY_PARTITION variable=moments.sum type=complete
        #pragma HLS ARRAY_PARTITION variable=moments.squares type=complete
        #pragma HLS ARRAY_PARTITION variable=moments.scale type=complete
        gather_moments(record, tile, memories, buffers, moments);
        finish_moments(record, moments);
        write_normalised(record, tile, moments, buffers, memories);
    }
}

}  // namespace flow
