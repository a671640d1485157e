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

#include "memories.hpp"
#include "multiply.hpp"
#include "softmax.hpp"
#include "stages/table.hpp"
#include "weight_stream.hpp"

namespace flow {

enum class SweepKind : uint32_t { Linear, Scores, Context };

constexpr int BankGroups = Banks / Rows;
// Tokens whose keys lie in neighbouring banks of the values memory, whatever the number of heads abreast.
constexpr int KeyBanks = smaller(Tokens, SegmentBanks);
constexpr int QueryLines = HasAttention ? Depth : 1;

struct Sweep {
    SweepKind kind;
    uint32_t results;
    uint32_t planes;
    uint32_t cycles;
    uint32_t abreast;  // heads that keep sums of their own; 1 in a linear sweep
    bool operand_signed;
};

// The P output channels of a linear sweep.
struct LinearSweep {
    LinearRecord record;
    uint32_t length;
    uint32_t first_tile;
    uint32_t row;  // the first of P rows
    // In the values memory, where the banks of a head hold one row of keys each line:
    uint32_t key_shift;  // log2 of the banks of a head
    uint32_t key_bank;   // the head's first bank
    uint32_t key_stride; // lines from one row of keys to the next
    uint32_t key_line;   // first line
};

// One query tile and the heads that go side by side.
struct AttentionSweep {
    AttentionRecord record;
    KeyMask mask;
    uint32_t query_tile;
    uint32_t first_head;
    uint32_t slot;         // index of the first head in the softmax buffers
    uint32_t head_line;    // line of the first head's channels within a tile
    uint32_t first_bank;   // banks that take part in the scores
    uint32_t head_banks;
    uint32_t value_line;   // first values line
    uint32_t value_stride; // lines from one row of keys to the next
};

// A result on its way to memory: for every head abreast the P words of one bank group.
struct Writes {
    bool enable[Heads];
    uint32_t line[Heads];
    uint32_t bank_group[Heads];
    Word word[Heads][Rows];
};

// What a sweep of attention reads and writes beside the memories.
struct AttentionBuffers {
    Word query[QueryLines][Banks];  // one tile's queries, one head or as many as lie side by side
    Softmax softmax;

    AttentionBuffers() {
        // One word is one port's width.
        #pragma HLS AGGREGATE variable=query
        // All banks are read in every cycle.
        #pragma HLS ARRAY_PARTITION variable=query type=complete dim=2
        #pragma HLS BIND_STORAGE variable=query type=ram_s2p impl=lutram
    }
};

// The stages behind the array, as compiled in: dispatch.hpp defines it.
inline void post_stages(
    const LinearRecord &record, const RowGroup &rows, const LookupTable &table, const Lanes<int64_t> &total,
    const Lanes<int16_t> &residual, Lanes<int32_t> &value
);

inline void gather(
    const Word (&memory)[OperandDepth][Banks], uint32_t line, uint32_t cycle, const RowGroup &rows, ArrayInput &input
) {
    #pragma HLS INLINE
gather_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            set_operand(input, p, bank, memory[line + rows.offset[cycle][p][bank]][bank]);
            input.weight[p][bank] = rows.weight[cycle][p][bank];
        }
    }
}

// P keys of one store line, as weights for the queries; banks of other heads are left out.
inline void take_keys(
    const Word (&keys)[Banks], const Word (&query)[Banks], uint32_t lane, const AttentionSweep &step, ArrayInput &input
) {
    #pragma HLS INLINE
key_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            const bool mine = uint32_t(bank) - step.first_bank < step.head_banks;
            set_operand(input, p, bank, query[bank]);
            input.weight[p][bank] = mine ? int8_t(keys[bank].lane[lane + uint32_t(p)]) : int8_t(0);
        }
    }
}

// P channels of one values line, as weights for the numerators.
inline void take_values(const ValuesWord (&values)[Banks], const Word (&numerator)[Banks], ArrayInput &input) {
    #pragma HLS INLINE
value_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            set_operand(input, p, bank, numerator[bank]);
            input.weight[p][bank] = values[bank].lane[p];
        }
    }
}

// P neighbouring words of a line.
inline void take_bank_group(const Word (&line)[Banks], uint32_t bank_group, Word (&word)[Rows]) {
    #pragma HLS INLINE
bank_group_loop:
    for (int group = 0; group < BankGroups; ++group) {
        // Constant bank numbers: a multiplexer per row, no crossbar.
        #pragma HLS UNROLL
        if (uint32_t(group) == bank_group) {
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
                word[p] = line[group * Rows + p];
            }
        }
    }
}

inline void write_line(Word (&line)[Banks], uint32_t bank_group, const Word (&word)[Rows]) {
    #pragma HLS INLINE
write_bank_loop:
    for (int group = 0; group < BankGroups; ++group) {
        // Constant bank numbers: a write enable per bank.
        #pragma HLS UNROLL
        if (uint32_t(group) == bank_group) {
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
                line[group * Rows + p] = word[p];
            }
        }
    }
}

inline void disable(Writes &writes) {
    #pragma HLS INLINE
    for (int h = 0; h < Heads; ++h) {
        #pragma HLS UNROLL
        writes.enable[h] = false;
    }
}

inline void commit(Memories &memories, uint32_t space, const Writes &writes) {
    #pragma HLS INLINE
commit_head_loop:
    for (int h = 0; h < Heads; ++h) {
        #pragma HLS UNROLL
        if (!writes.enable[h]) continue;
        if (space == uint32_t(Space::Operand0)) {
            write_line(memories.operand0[writes.line[h]], writes.bank_group[h], writes.word[h]);
        } else if (space == uint32_t(Space::Operand1)) {
            write_line(memories.operand1[writes.line[h]], writes.bank_group[h], writes.word[h]);
        } else {
            write_line(memories.store[writes.line[h]], writes.bank_group[h], writes.word[h]);
        }
    }
}

// V is stored by key: token s of the tile goes to a bank of its own, P channels a word.
inline void write_values(
    Memories &memories, const LinearSweep &step, uint32_t first_token, const Lanes<int32_t> &value
) {
    #pragma HLS INLINE
key_part_loop:
    for (int part = 0; part < Tokens; part += KeyBanks) {
        // More than one part only where a tile has more tokens than a head has banks.
        #pragma HLS UNROLL
        const uint32_t key = first_token + uint32_t(part);
        const uint32_t line = step.key_line + (key >> step.key_shift) * step.key_stride;
        const uint32_t key_in_row = key & ((uint32_t(1) << step.key_shift) - 1);
        const uint32_t target = (step.key_bank + key_in_row) / KeyBanks;
    key_bank_loop:
        for (int group = 0; group < Banks / KeyBanks; ++group) {
            // Constant bank numbers: a write enable per bank.
            #pragma HLS UNROLL
            for (int t = 0; t < KeyBanks; ++t) {
                #pragma HLS UNROLL
                ValuesWord word;
                for (int p = 0; p < Rows; ++p) {
                    #pragma HLS UNROLL
                    word.lane[p] = int8_t(value.lane[p][part + t]);
                }
                if (uint32_t(group) == target && key + uint32_t(t) < step.length) {
                    memories.values[line][group * KeyBanks + t] = word;
                }
            }
        }
    }
}

// int16 residuals from their byte planes.
inline void join_planes(const Word (&plane)[2][Rows], Lanes<int16_t> &value) {
    #pragma HLS INLINE
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            value.lane[p][t] = join(plane[0][p].lane[t], plane[1][p].lane[t]);
        }
    }
}

inline void pick_plane(const Lanes<int32_t> &value, int plane, Word (&word)[Rows]) {
    #pragma HLS INLINE
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            word[p].lane[t] = uint8_t(value.lane[p][t] >> (8 * plane));
        }
    }
}

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
        for (int s = 0; s < Heads; ++s) {
            #pragma HLS UNROLL
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
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
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
        for (int s = 0; s < count / 2; ++s) {
            #pragma HLS UNROLL
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
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
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
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
        for (int p = 0; p < Rows; ++p) {
            #pragma HLS UNROLL
            for (int t = 0; t < Tokens; ++t) {
                #pragma HLS UNROLL
                const Reciprocal scale = softmax.scale[h][t];
                const int64_t mean = round_shift(total[h].lane[p][t] * int64_t(scale.r), scale.n + 7);
                writes.word[h][p].lane[t] = uint8_t(requantise(mean, int16_t(record.multiplier), record.shift, 8));
            }
        }
    }
}

// Results in order, for each its byte planes, for each plane its cycles.
struct SweepCounter {
    uint32_t result;
    uint32_t plane;
    uint32_t cycle;
    uint32_t left;  // cycles until the result is complete, this one included

    void start(const Sweep &sweep) {
        #pragma HLS INLINE
        result = 0;
        restart(sweep);
    }

    void advance(const Sweep &sweep) {
        #pragma HLS INLINE
        --left;
        if (++cycle < sweep.cycles) return;
        cycle = 0;
        if (++plane < sweep.planes) return;
        ++result;
        restart(sweep);
    }

  private:
    void restart(const Sweep &sweep) {
        #pragma HLS INLINE
        plane = 0;
        cycle = 0;
        left = sweep.planes * sweep.cycles;
    }
};

// One sweep. A result of two byte planes is written in two cycles, and its residual read in two, so that the store
// needs one read and one write port; such a result takes at least two cycles.
inline void run_sweep(
    const Sweep &sweep, const LinearSweep &linear, const AttentionSweep &attention, const RowGroup &rows,
    const LookupTable &table, Memories &memories, AttentionBuffers &buffers
) {
    // Called from several places, built once.
    #pragma HLS INLINE off
    const LinearRecord &record = linear.record;
    const bool is_linear = sweep.kind == SweepKind::Linear;
    const bool is_scores = HasAttention && sweep.kind == SweepKind::Scores;
    const bool is_context = HasAttention && sweep.kind == SweepKind::Context;
    const uint32_t space = is_linear ? record.space : attention.record.space;
    const bool to_values = is_linear && record.space == uint32_t(Space::Values);
    const bool two_planes = is_linear && planes_of(record.out_bits) == 2;
    const bool has_residual = HasAdd && is_linear && record.has_residual;

    // The array's operand registers keep their values in idle cycles.
    ArrayInput input = {};
    Accumulators acc = {};
    Word store_line[Banks] = {};
    Word residual[2][Rows] = {};
    Lanes<int32_t> value = {};
    Writes writes = {};
    bool high_pending = false;
    SweepCounter at;
    at.start(sweep);
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
    const uint32_t iterations = sweep.results * sweep.planes * sweep.cycles;
sweep_loop:
    for (uint32_t i = 0; i < iterations + uint32_t(two_planes); ++i) {
        // The array starts T*B*P products every cycle; the last iteration only writes a high byte plane.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=1024
        // A sweep never reads what it has written: the planner keeps operands and results apart, and a residual is
        // replaced only after its own read.
        #pragma HLS DEPENDENCE variable=memories.operand0 type=inter dependent=false
        #pragma HLS DEPENDENCE variable=memories.operand1 type=inter dependent=false
        #pragma HLS DEPENDENCE variable=memories.store type=inter dependent=false
        const bool active = i < iterations;
        const bool last = active && at.left == 1;
        const bool high_plane = at.plane == 1;
        const uint32_t tile = linear.first_tile + at.result;

        // The store's read port: keys, or a residual's low and then its high plane.
        if (active && (is_scores || (has_residual && at.left <= 2))) {
            const uint32_t key_tile = at.result * Rows / Tokens;
            const uint32_t key_line = attention.record.key_base + key_tile * attention.record.depth;
            const uint32_t residual_plane = 2 * tile + uint32_t(last);
            const uint32_t residual_line = record.residual_base + residual_plane * record.out_depth;
            const uint32_t line =
                is_scores ? key_line + attention.head_line + at.cycle : residual_line + linear.row / Banks;
            for (int bank = 0; bank < Banks; ++bank) {
                #pragma HLS UNROLL
                store_line[bank] = memories.store[line][bank];
            }
            take_bank_group(store_line, linear.row % Banks / Rows, residual[last ? 1 : 0]);
        }

        ArrayOutput output = {};
        #pragma HLS ARRAY_PARTITION variable=output.sum type=complete dim=0
        bool busy = active;
        bool operand_signed = sweep.operand_signed;
        if (is_linear) {
            const uint32_t line = record.source_base + (tile * sweep.planes + at.plane) * record.depth;
            busy = active && at.cycle < rows.cycles;
            if (sweep.planes == 2) operand_signed = high_plane;
            if (busy && record.source_space == uint32_t(Space::Operand0)) {
                gather(memories.operand0, line, at.cycle, rows, input);
            } else if (busy) {
                gather(memories.operand1, line, at.cycle, rows, input);
            }
        } else if (is_scores) {
            take_keys(store_line, buffers.query[at.cycle], at.result * Rows % Tokens, attention, input);
        } else if (is_context) {
            const uint32_t line = attention.value_line + at.cycle * attention.value_stride + at.result;
            take_values(memories.values[line], buffers.softmax.numerator[at.plane][at.cycle], input);
        }
        if (busy) multiply(input, operand_signed, output);
        if (active) accumulate(output, at.cycle == 0, high_plane, acc);

        // The write port: a result's low plane, or the high plane of the result before.
        Lanes<int64_t> total[Heads];
        #pragma HLS ARRAY_PARTITION variable=total type=complete
        disable(writes);
        if (high_pending) {
            writes.enable[0] = true;
            pick_plane(value, 1, writes.word[0]);
            writes.line[0] += record.out_depth;
            high_pending = false;
        }
        if (last) merge(acc, sweep.planes == 2, sweep.abreast, total);
        if (last && is_linear) {
            Lanes<int16_t> addend;
            join_planes(residual, addend);
            post_stages(record, rows, table, total[0], addend, value);
            pick_plane(value, 0, writes.word[0]);
            writes.enable[0] = !to_values;
            writes.line[0] = record.base + tile * planes_of(record.out_bits) * record.out_depth + linear.row / Banks;
            writes.bank_group[0] = linear.row % Banks / Rows;
            high_pending = two_planes;
            if (to_values) write_values(memories, linear, tile * Tokens, value);
        } else if (last && is_scores) {
            finish_scores(attention, sweep.abreast, at.result, total, buffers.softmax);
        } else if (last && is_context) {
            finish_context(attention, sweep.abreast, at.result, total, buffers.softmax, writes);
        }
        commit(memories, space, writes);
        if (active) at.advance(sweep);
    }
}

}  // namespace flow
