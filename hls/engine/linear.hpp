// Linear steps: W[N, C] * x over all token tiles, one row group at a time.
//
// Row groups outermost, token tiles inside: every weight is read once per step. While the array works on one row
// group, the loader expands the next.
#pragma once

#include <cassert>

#include "array.hpp"

namespace flow {

// The tiles that a linear step works on: all of the sequence, or a super-tile of it.
struct TileRange {
    uint32_t first;
    uint32_t count;
};

inline TileRange tile_range(const LinearRecord &record, uint32_t length) {
    #pragma HLS INLINE
    const uint32_t tiles = tiles_of(length);
    TileRange range;
    range.first = record.first_tile < tiles ? record.first_tile : tiles;
    const uint32_t rest = tiles - range.first;
    range.count = record.tiles == 0 || record.tiles > rest ? rest : record.tiles;
    return range;
}

// Heads of attention: powers of two side by side, so that no geometry needs a divider.
struct HeadLayout {
    uint32_t shift;     // log2 of the heads abreast, min(H, B / pitch) and at least 1
    uint32_t abreast;
    uint32_t key_shift; // log2 of the banks of one of them
    uint32_t rounds;    // ceil(heads / abreast)
    uint32_t chunks;    // words of P channels
};

constexpr uint32_t log2_of(int value) { return value > 1 ? 1 + log2_of(value / 2) : 0; }
constexpr uint32_t HeadsLog2 = log2_of(Heads);
constexpr uint32_t BanksLog2 = log2_of(Banks);

inline HeadLayout head_layout(uint32_t heads, uint32_t pitch) {
    #pragma HLS INLINE
    HeadLayout layout;
    layout.shift = 0;
abreast_loop:
    for (uint32_t shift = 1; shift <= HeadsLog2; ++shift) {
        #pragma HLS UNROLL
        if (pitch << shift <= uint32_t(Banks)) layout.shift = shift;
    }
    layout.abreast = uint32_t(1) << layout.shift;
    layout.key_shift = BanksLog2 - layout.shift;
    layout.rounds = (heads + layout.abreast - 1) >> layout.shift;
    layout.chunks = pitch / Rows;
    return layout;
}

// Rows of keys in the values memory: ceil(keys / banks of a head).
inline uint32_t key_rows(const HeadLayout &layout, uint32_t keys) {
    #pragma HLS INLINE
    return (keys + (uint32_t(1) << layout.key_shift) - 1) >> layout.key_shift;
}

// Whether heads of this pitch lie as the engine expects: a power of two below B, or a multiple of B; P divides it.
inline bool valid_pitch(uint32_t heads, uint32_t pitch) {
    #pragma HLS INLINE
    const bool small = pitch >= uint32_t(Rows) && pitch < uint32_t(Banks) && (pitch & (pitch - 1)) == 0;
    const bool large = pitch >= uint32_t(Banks) && pitch % Banks == 0;
    const uint32_t most = uint32_t(Depth * Banks);
    return heads >= 1 && (small || large) && pitch <= most && heads <= most / pitch;
}

// Whether the values of `keys` keys fit from line `base` on.
inline bool values_fit(uint32_t heads, uint32_t pitch, uint32_t base, uint32_t keys) {
    #pragma HLS INLINE
    const HeadLayout layout = head_layout(heads, pitch);
    return fits(uint32_t(Space::Values), base, uint64_t(key_rows(layout, keys)) * layout.rounds * layout.chunks);
}

inline bool valid_linear(const LinearRecord &record, uint32_t length) {
    #pragma HLS INLINE
    const TileRange range = tile_range(record, length);
    const uint32_t planes = planes_of(record.out_bits);
    const uint32_t source_line = record.source_base + range.first * record.source_planes * record.depth;
    const uint64_t source_lines = uint64_t(range.count) * record.source_planes * record.depth;
    const uint32_t out_line = record.base + range.first * planes * record.out_depth;
    const uint64_t out_lines = uint64_t(range.count) * planes * record.out_depth;
    bool ok = record.depth >= 1 && record.depth <= uint32_t(Depth);
    ok &= record.source_planes == 1 || record.source_planes == 2;
    ok &= is_operand(record.source_space) && fits(record.source_space, source_line, source_lines);
    ok &= record.weight_bits == 8 || record.weight_bits == 4;
    ok &= record.out_bits >= 2 && record.out_bits <= 16;
    ok &= record.row_groups <= uint32_t(Depth * BankGroups);
    if (record.table_bits > 0) {
        ok &= HasTable && record.table_bits <= uint32_t(TableBits) && !record.has_residual;
    }
    if (record.stage > 0) {
        ok &= record.stage <= uint32_t(OutsideStages) && record.table_bits == 0 && !record.has_residual;
    }
    if (record.has_residual) {
        const uint32_t line = record.residual_base + range.first * 2 * record.out_depth;
        const uint64_t lines = uint64_t(range.count) * 2 * record.out_depth;
        ok &= HasAdd && planes == 2 && fits(uint32_t(Space::Store), line, lines);
    }
    if (record.space == uint32_t(Space::Values)) {
        ok &= HasAttention && planes == 1 && valid_pitch(record.heads, record.pitch);
        ok = ok && values_fit(record.heads, record.pitch, record.base, length);
    } else {
        ok &= is_token_space(record.space) && record.out_depth >= 1 && record.out_depth <= uint32_t(Depth);
        ok &= record.row_groups <= record.out_depth * BankGroups && fits(record.space, out_line, out_lines);
    }
    return ok;
}

inline FetchPlan plan_linear(const LinearRecord &record) {
    #pragma HLS INLINE
    FetchPlan plan = {};
    plan.has_page = true;
    plan.page = record.page;
    if (record.table_bits > 0) plan.span[0] = {record.table, beats_of(uint64_t(2) << record.table_bits)};
    if (record.stage > 0) plan.span[0] = {record.stage_data, beats_of(4 * StageWords)};
    plan.span[1] = {record.weights, record.weight_beats};
    return plan;
}

inline LinearSweep start_linear(const LinearRecord &record, uint32_t length) {
    #pragma HLS INLINE
    LinearSweep step = {};
    step.record = record;
    step.length = length;
    step.first_tile = tile_range(record, length).first;
    return step;
}

// Where the step's P rows lie in the values memory.
inline void place_rows(const HeadLayout &layout, uint32_t head, uint32_t chunk, LinearSweep &step) {
    #pragma HLS INLINE
    const uint32_t side = head & (layout.abreast - 1);
    step.key_shift = layout.key_shift;
    step.key_bank = side << layout.key_shift;
    step.key_stride = layout.rounds * layout.chunks;
    step.key_line = step.record.base + (head >> layout.shift) * layout.chunks + chunk;
}

inline Sweep linear_sweep(const LinearRecord &record, uint32_t length, uint32_t row_cycles) {
    #pragma HLS INLINE
    Sweep sweep;
    sweep.kind = SweepKind::Linear;
    sweep.results = tile_range(record, length).count;
    sweep.planes = record.source_planes;
    sweep.cycles = row_cycles > 0 ? row_cycles : 1;
    // Two byte planes are written in two cycles.
    if (planes_of(record.out_bits) == 2 && sweep.planes * sweep.cycles < 2) sweep.cycles = 2;
    sweep.abreast = 1;
    sweep.operand_signed = record.source_signed != 0;
    return sweep;
}

// What the weight loader and the stages behind the array keep during a linear step.
struct LinearBuffers {
    CodePage page;
    ColumnLists lists;
    LookupTable table;
    RowGroup rows0;
    RowGroup rows1;
};

// False where the step's data are damaged.
inline bool run_linear(
    const LinearRecord &record, uint32_t length, BeatStream &data, LinearBuffers &buffers, AttentionBuffers &attention,
    Memories &memories
) {
    #pragma HLS INLINE
    bool ok = load_code_page(data, buffers.page);
    if (HasTable && record.table_bits > 0) load_table(data, record.table_bits, buffers.table);
    LinearSweep step = start_linear(record, length);
    if (OutsideStages > 0 && record.stage > 0) load_stage(data, step.parameters);
    const WeightFormat format = {record.depth, record.weight_bits};
    const HeadLayout layout = head_layout(record.heads, record.pitch);
    const AttentionSweep none = {};
    FieldReader reader;
    reader.start(data, record.weight_beats);
    buffers.lists.count = 0;
    // Rows beyond the last head are padding that the values memory has no room for.
    const uint32_t head_groups = record.heads * layout.chunks;
    const bool cut = record.space == uint32_t(Space::Values) && head_groups < record.row_groups;
    const uint32_t row_groups = cut ? head_groups : record.row_groups;
    assert(row_groups <= uint32_t(Depth * BankGroups));
    uint32_t head = 0;
    uint32_t chunk = 0;
    ok = ok && row_groups > 0;
    ok = ok && load_row_group(data, reader, format, buffers.page, buffers.lists, buffers.rows0);
row_group_loop:
    for (uint32_t group = 0; ok && group < row_groups; ++group) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=128
        const bool more = group + 1 < row_groups;
        step.row = group * Rows;
        place_rows(layout, head, chunk, step);
        // Ping-pong: the two calls of a branch touch different row groups, so they run side by side.
        if (group % 2 == 0) {
            const Sweep sweep = linear_sweep(record, length, buffers.rows0.cycles);
            if (more) ok = load_row_group(data, reader, format, buffers.page, buffers.lists, buffers.rows1);
            run_sweep(sweep, step, none, buffers.rows0, buffers.table, memories, attention);
        } else {
            const Sweep sweep = linear_sweep(record, length, buffers.rows1.cycles);
            if (more) ok = load_row_group(data, reader, format, buffers.page, buffers.lists, buffers.rows0);
            run_sweep(sweep, step, none, buffers.rows1, buffers.table, memories, attention);
        }
        if (++chunk == layout.chunks) {
            chunk = 0;
            ++head;
        }
    }
    reader.drain(data);
    return ok;
}

}  // namespace flow
