// Data movement around the array: memories to operands and weights, results to memories.
//
// Banks are constant numbers everywhere: what looks like a search for the right bank is a write enable or a narrow
// multiplexer for each, and no crossbar.
#pragma once

#include "multiply.hpp"
#include "sweep.hpp"

namespace flow {

inline void gather(
    const Word (&memory)[OperandDepth][Banks], uint32_t line, uint32_t cycle, const RowGroup &rows, ArrayInput &input
) {
    #pragma HLS INLINE
gather_row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    bank_loop:
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
    bank_loop:
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
    bank_loop:
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
        row_loop:
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
        row_loop:
            for (int p = 0; p < Rows; ++p) {
                #pragma HLS UNROLL
                line[group * Rows + p] = word[p];
            }
        }
    }
}

inline void disable(Writes &writes) {
    #pragma HLS INLINE
head_loop:
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
        token_loop:
            for (int t = 0; t < KeyBanks; ++t) {
                #pragma HLS UNROLL
                ValuesWord word;
            row_loop:
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
row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            value.lane[p][t] = join(plane[0][p].lane[t], plane[1][p].lane[t]);
        }
    }
}

inline void pick_plane(const Lanes<int32_t> &value, int plane, Word (&word)[Rows]) {
    #pragma HLS INLINE
row_loop:
    for (int p = 0; p < Rows; ++p) {
        #pragma HLS UNROLL
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            word[p].lane[t] = uint8_t(value.lane[p][t] >> (8 * plane));
        }
    }
}

}  // namespace flow
