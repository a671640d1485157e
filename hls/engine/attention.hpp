// Attention: softmax(Q K^T) V for one query tile and up to H heads at a time.
//
// Query tiles are outermost, so that the scores of one tile are all that is ever stored.
#pragma once

#include <cassert>

#include "linear.hpp"

namespace flow {

inline bool valid_attention(const AttentionRecord &record, uint32_t length) {
    #pragma HLS INLINE
    const uint64_t lines = uint64_t(tiles_of(length)) * record.depth;
    bool ok = record.depth >= 1 && record.depth <= uint32_t(Depth) && valid_pitch(record.heads, record.pitch);
    ok = ok && record.heads * record.pitch <= record.depth * Banks;
    ok &= record.exp_bits == 8 || record.exp_bits == 16;
    ok &= fits(uint32_t(Space::Store), record.query_base, lines);
    ok &= fits(uint32_t(Space::Store), record.key_base, lines);
    ok &= is_token_space(record.space) && fits(record.space, record.base, lines);
    return ok && values_fit(record.heads, record.pitch, record.value_base, length);
}

inline FetchPlan plan_attention(const AttentionRecord &record) {
    #pragma HLS INLINE
    FetchPlan plan = {};
    plan.span[0] = {record.exp, beats_of(ExpBytes)};
    return plan;
}

inline void load_queries(uint32_t line, uint32_t lines, const Memories &memories, AttentionBuffers &buffers) {
    #pragma HLS INLINE
    assert(lines <= uint32_t(QueryLines));
query_loop:
    for (uint32_t i = 0; i < lines; ++i) {
        // Held for a whole sweep, which leaves the store's read port to the keys.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=2
    bank_loop:
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            buffers.query[i][bank] = memories.store[line + i][bank];
        }
    }
}

// Channels beyond the last head hold zeros.
inline void clear_rest(const AttentionRecord &record, uint32_t tile, Memories &memories) {
    #pragma HLS INLINE
    const Word zero = {};
    const uint32_t used = record.heads * record.pitch;
    assert(record.depth <= uint32_t(Depth));
rest_loop:
    for (uint32_t line = used / Banks; line < record.depth; ++line) {
        // A line a cycle: every bank has its own write port.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=0 max=1
    bank_loop:
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            if (line * Banks + uint32_t(bank) >= used) {
                write_word(memories, record.space, record.base + tile * record.depth + line, uint32_t(bank), zero);
            }
        }
    }
}

// Q K^T, all heads of the round at once where they fill the banks of their segments; else one after the other.
inline void run_scores(
    AttentionSweep step, const HeadLayout &layout, uint32_t keys, const RowGroup &rows, const LookupTable &table,
    Memories &memories, AttentionBuffers &buffers
) {
    #pragma HLS INLINE
    const LinearSweep none = {};
    const uint32_t pitch = step.record.pitch;
    const bool together = pitch << layout.shift >= uint32_t(Banks);
    const uint32_t first_bank = step.first_head * pitch % Banks;
    Sweep sweep;
    sweep.kind = SweepKind::Scores;
    sweep.results = (keys + Rows - 1) / Rows;
    sweep.planes = 1;
    sweep.cycles = pitch > uint32_t(Banks) ? pitch / Banks : 1;
    sweep.abreast = together ? layout.abreast : 1;
    sweep.operand_signed = true;
    const uint32_t sweeps = together ? 1 : layout.abreast;
    assert(sweeps <= uint32_t(Heads));
scores_loop:
    for (uint32_t slot = 0; slot < sweeps; ++slot) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=1
        step.slot = slot;
        step.first_bank = together ? 0 : (first_bank + slot * pitch) % Banks;
        step.head_banks = together ? uint32_t(Banks) : pitch;
        run_sweep(sweep, none, step, rows, table, memories, buffers);
    }
}

inline void run_context(
    const AttentionSweep &step, const HeadLayout &layout, uint32_t keys, const RowGroup &rows,
    const LookupTable &table, Memories &memories, AttentionBuffers &buffers
) {
    #pragma HLS INLINE
    const LinearSweep none = {};
    Sweep sweep;
    sweep.kind = SweepKind::Context;
    sweep.results = layout.chunks;
    sweep.planes = planes_of(step.record.exp_bits);
    sweep.cycles = key_rows(layout, keys);
    sweep.abreast = layout.abreast;
    sweep.operand_signed = false;
    run_sweep(sweep, none, step, rows, table, memories, buffers);
}

inline void run_attention(
    const AttentionRecord &record, uint32_t length, BeatStream &data, const LinearBuffers &linear,
    AttentionBuffers &buffers, Memories &memories
) {
    #pragma HLS INLINE
    load_exp(data, buffers.softmax);
    const HeadLayout layout = head_layout(record.heads, record.pitch);
    AttentionSweep step = {};
    step.record = record;
    step.mask = {length, record.causal != 0};
    step.value_stride = layout.rounds * layout.chunks;
    assert(length <= uint32_t(Sequence) && layout.rounds <= uint32_t(Depth * BankGroups));
    const uint32_t head_lines = record.pitch > uint32_t(Banks) ? record.pitch / Banks : 1;
query_tile_loop:
    for (uint32_t tile = 0; tile < tiles_of(length); ++tile) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=16
        const uint32_t seen = record.causal ? (tile + 1) * Tokens : length;
        const uint32_t keys = seen < length ? seen : length;
        step.query_tile = tile;
    round_loop:
        for (uint32_t round = 0; round < layout.rounds; ++round) {
            #pragma HLS LOOP_TRIPCOUNT min=1 max=12
            step.first_head = round << layout.shift;
            step.head_line = step.first_head * record.pitch / Banks;
            step.value_line = record.value_base + round * layout.chunks;
            load_queries(record.query_base + tile * record.depth + step.head_line, head_lines, memories, buffers);
            clear_softmax(buffers.softmax);
            run_scores(step, layout, keys, linear.rows0, linear.table, memories, buffers);
            exponentiate(
                tile * Tokens, layout.abreast, layout.key_shift, key_rows(layout, keys), step.mask, buffers.softmax
            );
            run_context(step, layout, keys, linear.rows0, linear.table, memories, buffers);
        }
        clear_rest(record, tile, memories);
    }
}

}  // namespace flow
