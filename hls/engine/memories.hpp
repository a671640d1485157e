// Reading and writing the on-chip memories that steps name, and what fits into them.
#pragma once

#include "storage.hpp"
#include "types.hpp"

namespace flow {

inline bool is_operand(uint32_t space) {
    #pragma HLS INLINE
    return space == uint32_t(Space::Operand0) || space == uint32_t(Space::Operand1);
}

// A memory of words of T tokens, which every step but attention's values uses.
inline bool is_token_space(uint32_t space) {
    #pragma HLS INLINE
    return is_operand(space) || space == uint32_t(Space::Store);
}

// Whether lines base .. base + count - 1 (base modulo 2^32) exist in a memory.
inline bool fits(uint32_t space, uint32_t base, uint64_t count) {
    #pragma HLS INLINE
    uint64_t capacity = 0;
    if (is_operand(space)) capacity = OperandDepth;
    if (space == uint32_t(Space::Store)) capacity = StoreDepth;
    if (space == uint32_t(Space::Values)) capacity = ValuesDepth;
    return count <= capacity && base <= capacity - count;
}

inline Word read_word(const Memories &memories, uint32_t space, uint32_t line, uint32_t bank) {
    #pragma HLS INLINE
    return space == uint32_t(Space::Operand0)   ? memories.operand0[line][bank]
           : space == uint32_t(Space::Operand1) ? memories.operand1[line][bank]
                                                : memories.store[line][bank];
}

inline void write_word(Memories &memories, uint32_t space, uint32_t line, uint32_t bank, const Word &word) {
    #pragma HLS INLINE
    if (space == uint32_t(Space::Operand0)) {
        memories.operand0[line][bank] = word;
    } else if (space == uint32_t(Space::Operand1)) {
        memories.operand1[line][bank] = word;
    } else {
        memories.store[line][bank] = word;
    }
}

// Byte planes of an element: one up to 8 bits, else two.
inline uint32_t planes_of(uint32_t bits) {
    #pragma HLS INLINE
    return bits > 8 ? 2 : 1;
}

// int16 from its byte planes.
inline int16_t join(uint8_t low, uint8_t high) {
    #pragma HLS INLINE
    return int16_t(uint16_t(low | (uint32_t(high) << 8)));
}

}  // namespace flow
