// The multiplier array at work: one pipelined loop that linear steps and attention share.
//
// A *sweep* produces results of P rows x T tokens. Each takes `planes` byte passes of `cycles` cycles; a cycle reads
// one word per row and bank, multiplies, and sums over banks. The kinds of sweep differ in where operands and
// weights come from and where a result goes:
//
//   sweep     operand (T lanes)         weight (P x B)              result
//   linear    operand memory, gathered  row group buffer            post stages -> any memory
//   scores    query buffer              P keys of a store line      softmax.score
//   context   softmax numerators        P channels of a values line reciprocal, rescale -> operand or store
//
// All of it is one loop because the array exists once: two loops would be two arrays.
#pragma once

#include <cassert>

#include "routing.hpp"

namespace flow {

// The stages behind the array, as compiled in: dispatch.hpp defines it.
inline void post_stages(
    const LinearRecord &record, const RowGroup &rows, const LookupTable &table, const StageParameters &parameters,
    const Lanes<int64_t> &total, const Lanes<int16_t> &residual, Lanes<int32_t> &value
);

// Sums of the array over cycles, and of the low byte plane where there are two.
struct Accumulators {
    int32_t sum[Rows][Heads][Tokens];
    int32_t low[Rows][Heads][Tokens];
};

inline void accumulate(const ArrayOutput &output, bool first_cycle, bool second_plane, Accumulators &acc) {
    #pragma HLS INLINE
accumulate_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    segment_loop:
        for (int s = 0; s < Heads; ++s) {
            #pragma HLS UNROLL
        token_loop:
            for (int t = 0; t < Tokens; ++t) {
                #pragma HLS UNROLL
                const int32_t before = acc.sum[p][s][t];
                if (first_cycle) acc.low[p][s][t] = second_plane ? before : 0;
                // Wraps like the hardware's 32 bits where a program breaks the bound that lowering proves.
                acc.sum[p][s][t] = int32_t(uint32_t(first_cycle ? 0 : before) + uint32_t(output.sum[p][s][t]));
            }
        }
    }
}

// low + 256*high, the segments of each head added up: total[j] belongs to head j of `abreast`.
inline void merge(const Accumulators &acc, bool two_planes, uint32_t abreast, Lanes<int64_t> (&total)[Heads]) {
    #pragma HLS INLINE
merge_segment_loop:
    for (int s = 0; s < Heads; ++s) {
        #pragma HLS UNROLL
    row_loop:
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
        token_loop:
            for (int t = 0; t < Tokens; ++t) {
                #pragma HLS UNROLL
                const int64_t sum = acc.sum[p][s][t];
                total[s].lane[p][t] = two_planes ? sum * 256 + acc.low[p][s][t] : sum;
            }
        }
    }
merge_level_loop:
    for (int count = Heads; count > 1; count /= 2) {
        // The top of the adder tree: every level is used or passed by.
        #pragma HLS UNROLL
        if (uint32_t(count) <= abreast) continue;
    level_segment_loop:
        for (int s = 0; s < count / 2; ++s) {
            #pragma HLS UNROLL
        level_row_loop:
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
            level_token_loop:
                for (int t = 0; t < Tokens; ++t) {
                    #pragma HLS UNROLL
                    total[s].lane[p][t] = total[2 * s].lane[p][t] + total[2 * s + 1].lane[p][t];
                }
            }
        }
    }
}

// Scores of P keys to int16, and the running maximum over the keys that a query sees.
inline void finish_scores(
    const AttentionSweep &step, uint32_t abreast, uint32_t key_group, const Lanes<int64_t> (&total)[Heads],
    Softmax &softmax
) {
    #pragma HLS INLINE
score_head_loop:
    for (int h = 0; h < Heads; ++h) {
        #pragma HLS UNROLL
        if (uint32_t(h) >= abreast) continue;
        const uint32_t slot = step.slot + uint32_t(h);
    row_loop:
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
        token_loop:
            for (int t = 0; t < Tokens; ++t) {
                #pragma HLS UNROLL
                const int16_t score = int16_t(requantise(
                    total[h].lane[p][t], int16_t(step.record.score_multiplier), step.record.score_shift, 16
                ));
                const uint32_t query = step.query_tile * Tokens + uint32_t(t);
                const bool seen = step.mask.sees(query, key_group * Rows + uint32_t(p));
                softmax.score[key_group][p][slot].lane[t] = score;
                if (seen && score > softmax.maximum[slot][t]) softmax.maximum[slot][t] = score;
            }
        }
    }
}

// The deferred division by the softmax sum, then int8.
inline void finish_context(
    const AttentionSweep &step, uint32_t abreast, uint32_t chunk, const Lanes<int64_t> (&total)[Heads],
    const Softmax &softmax, Writes &writes
) {
    #pragma HLS INLINE
    const AttentionRecord &record = step.record;
context_head_loop:
    for (int h = 0; h < Heads; ++h) {
        #pragma HLS UNROLL
        const uint32_t head = step.first_head + uint32_t(h);
        const uint32_t channel = head * record.pitch + chunk * Rows;
        writes.enable[h] = uint32_t(h) < abreast && head < record.heads;
        writes.line[h] = record.base + step.query_tile * record.depth + channel / Banks;
        writes.bank_group[h] = channel % Banks / Rows;
    row_loop:
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
        token_loop:
            for (int t = 0; t < Tokens; ++t) {
                #pragma HLS UNROLL
                const Reciprocal scale = softmax.scale[h][t];
                const int64_t mean = round_shift(total[h].lane[p][t] * int64_t(scale.r), scale.n + 7);
                writes.word[h][p].lane[t] = uint8_t(requantise(mean, int16_t(record.multiplier), record.shift, 8));
            }
        }
    }
}

// What a sweep holds from one cycle to the next.
struct SweepRegisters {
    ArrayInput input;  // operands keep their values in idle cycles
    Accumulators acc;
    Word store_line[Banks];
    Word residual[2][Rows];
    Lanes<int32_t> value;
    Writes writes;
    bool high_pending;  // the high plane of `value` is still to be written

    SweepRegisters() : input(), acc(), store_line(), residual(), value(), writes(), high_pending(false) {
        // Registers: every lane works in every cycle.
        #pragma HLS ARRAY_PARTITION variable=input.low type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=input.high type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=input.single type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=input.weight type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=acc.sum type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=acc.low type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=store_line type=complete
        #pragma HLS ARRAY_PARTITION variable=residual type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=value.lane type=complete dim=0
        #pragma HLS ARRAY_PARTITION variable=writes.word type=complete dim=0
    }
};

// The store's read port: keys in a sweep of scores; in a linear one a residual's low and then its high plane.
inline void read_store(
    const Sweep &sweep, const SweepCounter &at, const LinearSweep &linear, const AttentionSweep &attention,
    const Memories &memories, SweepRegisters &regs
) {
    #pragma HLS INLINE
    const bool is_scores = HasAttention && sweep.kind == SweepKind::Scores;
    const bool is_residual = HasAdd && sweep.kind == SweepKind::Linear && linear.record.has_residual && at.left <= 2;
    if (!is_scores && !is_residual) return;
    const bool high = at.left == 1;
    const uint32_t plane = 2 * (linear.first_tile + at.result) + uint32_t(high);
    const uint32_t residual_line = linear.record.residual_base + plane * linear.record.out_depth + linear.row / Banks;
    const uint32_t key_tile = at.result * Rows / Tokens;
    const uint32_t key_line = attention.record.key_base + key_tile * attention.record.depth + attention.head_line;
    const uint32_t line = is_scores ? key_line + at.cycle : residual_line;
bank_loop:
    for (int bank = 0; bank < Banks; ++bank) {
        #pragma HLS UNROLL
        regs.store_line[bank] = memories.store[line][bank];
    }
    take_bank_group(regs.store_line, linear.row % Banks / Rows, regs.residual[high ? 1 : 0]);
}

// Operands and weights of one cycle; false where the cycle is idle. `is_signed`: the sign of the operands.
inline bool feed_array(
    const Sweep &sweep, const SweepCounter &at, const LinearSweep &linear, const AttentionSweep &attention,
    const RowGroup &rows, const Memories &memories, const AttentionBuffers &buffers, SweepRegisters &regs,
    bool &is_signed
) {
    #pragma HLS INLINE
    is_signed = sweep.operand_signed;
    if (HasAttention && sweep.kind == SweepKind::Scores) {
        take_keys(regs.store_line, buffers.query[at.cycle], at.result * Rows % Tokens, attention, regs.input);
        return true;
    }
    if (HasAttention && sweep.kind == SweepKind::Context) {
        const uint32_t line = attention.value_line + at.cycle * attention.value_stride + at.result;
        take_values(memories.values[line], buffers.softmax.numerator[at.plane][at.cycle], regs.input);
        return true;
    }
    if (at.cycle >= rows.cycles) return false;
    const LinearRecord &record = linear.record;
    const uint32_t plane = (linear.first_tile + at.result) * sweep.planes + at.plane;
    const uint32_t line = record.source_base + plane * record.depth;
    // Of int16, the low byte is unsigned and the high byte signed.
    if (sweep.planes == 2) is_signed = at.plane == 1;
    if (record.source_space == uint32_t(Space::Operand0)) {
        gather(memories.operand0, line, at.cycle, rows, regs.input);
    } else {
        gather(memories.operand1, line, at.cycle, rows, regs.input);
    }
    return true;
}

// A finished result of a linear sweep: through the stages, its low plane to the write port.
inline void finish_linear(
    const LinearSweep &linear, uint32_t result, const RowGroup &rows, const LookupTable &table,
    const Lanes<int64_t> &total, Memories &memories, SweepRegisters &regs
) {
    #pragma HLS INLINE
    const LinearRecord &record = linear.record;
    const uint32_t tile = linear.first_tile + result;
    const uint32_t planes = planes_of(record.out_bits);
    Lanes<int16_t> residual;
    join_planes(regs.residual, residual);
    post_stages(record, rows, table, linear.parameters, total, residual, regs.value);
    if (HasAttention && record.space == uint32_t(Space::Values)) {
        write_values(memories, linear, tile * Tokens, regs.value);
        return;
    }
    pick_plane(regs.value, 0, regs.writes.word[0]);
    regs.writes.enable[0] = true;
    regs.writes.line[0] = record.base + tile * planes * record.out_depth + linear.row / Banks;
    regs.writes.bank_group[0] = linear.row % Banks / Rows;
    regs.high_pending = planes == 2;
}

// The high plane of the result before.
inline void write_high(const LinearSweep &linear, SweepRegisters &regs) {
    #pragma HLS INLINE
    pick_plane(regs.value, 1, regs.writes.word[0]);
    regs.writes.enable[0] = true;
    regs.writes.line[0] += linear.record.out_depth;
    regs.high_pending = false;
}

// The longest sweep: results of one row group, keys of a tile or channels of a head, two planes, and their cycles.
constexpr uint64_t MaxResults = larger(larger(SequenceTiles, KeyGroups), Depth * BankGroups);
constexpr uint64_t MaxResultCycles = larger(larger(RowCycles, 2), larger(Depth, NumeratorLines));
constexpr uint64_t MaxSweep = MaxResults * 2 * MaxResultCycles;

// One sweep. A result of two byte planes is written in two cycles, and its residual read in two, so that the store
// needs one read and one write port; such a result takes at least two cycles.
inline void run_sweep(
    const Sweep &sweep, const LinearSweep &linear, const AttentionSweep &attention, const RowGroup &rows,
    const LookupTable &table, Memories &memories, AttentionBuffers &buffers
) {
    // Called from several places, built once.
    #pragma HLS INLINE off
    const bool is_linear = sweep.kind == SweepKind::Linear;
    const uint32_t space = is_linear ? linear.record.space : attention.record.space;
    const uint32_t iterations = sweep.results * sweep.planes * sweep.cycles;
    // One more to write the last high plane.
    const uint32_t drain = is_linear && planes_of(linear.record.out_bits) == 2 ? 1 : 0;
    assert(iterations <= MaxSweep && drain <= 1);
    SweepRegisters regs;
    SweepCounter at;
    at.start(sweep);
sweep_loop:
    for (uint32_t i = 0; i < iterations + drain; ++i) {
        // The array starts T*B*P products every cycle.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=1024
        // A sweep never reads what it has written: the planner keeps operands and results apart, and a residual is
        // replaced only after its own read.
        #pragma HLS DEPENDENCE variable=memories.operand0 type=inter dependent=false
        #pragma HLS DEPENDENCE variable=memories.operand1 type=inter dependent=false
        #pragma HLS DEPENDENCE variable=memories.store type=inter dependent=false
        const bool active = i < iterations;
        disable(regs.writes);
        if (regs.high_pending) write_high(linear, regs);
        if (active) {
            const bool last = at.left == 1;
            bool is_signed;
            ArrayOutput output = {};
            read_store(sweep, at, linear, attention, memories, regs);
            if (feed_array(sweep, at, linear, attention, rows, memories, buffers, regs, is_signed)) {
                multiply(regs.input, is_signed, output);
            }
            accumulate(output, at.cycle == 0, at.plane == 1, regs.acc);
            if (last) {
                Lanes<int64_t> total[Heads];
                // Registers between the adder tree and the stages.
                #pragma HLS ARRAY_PARTITION variable=total type=complete
                merge(regs.acc, sweep.planes == 2, sweep.abreast, total);
                if (is_linear) {
                    finish_linear(linear, at.result, rows, table, total[0], memories, regs);
                } else if (HasAttention && sweep.kind == SweepKind::Scores) {
                    finish_scores(attention, sweep.abreast, at.result, total, buffers.softmax);
                } else if (HasAttention) {
                    finish_context(attention, sweep.abreast, at.result, total, buffers.softmax, regs.writes);
                }
            }
            at.advance(sweep);
        }
        commit(memories, space, regs.writes);
    }
}

}  // namespace flow
