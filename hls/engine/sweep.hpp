// What a sweep of the array is, and what it carries. array.hpp runs it.
#pragma once

#include "memories.hpp"
#include "softmax.hpp"
#include "stages/outside.hpp"
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
    StageParameters parameters;
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

}  // namespace flow
