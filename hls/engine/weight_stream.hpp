// The weight loader: bit fields out of beats, codes into column offsets, one row group at a time.
//
// A row group is P output rows. Its record holds G codes per (row, bank), each naming which K of V kept columns the
// next K weights belong to; the loader turns them into one column offset per weight, so that the array reads
// operands without knowing how the matrix was pruned. docs/program-format.md has the layout.
#pragma once

#include <cassert>
#include <type_traits>

#include "arithmetic.hpp"
#include "feed.hpp"

namespace flow {

constexpr int MaxTake = 16;
// Codes expanded in a cycle: codes are at most 12 bits, fields at most 16, and a cycle sees one beat's worth of bits.
constexpr int CodeLanes = smaller(Banks, BeatBytes / 2);
// Weights unpacked in a cycle.
constexpr int WeightLanes = smaller(RowBanks, BeatBytes);
static_assert(Banks % CodeLanes == 0 && RowBanks % WeightLanes == 0, "lanes tile a row group");
static_assert(CodeLanes * 16 <= BeatBits && WeightLanes * 8 <= BeatBits, "a cycle consumes at most one beat");

using Offset = std::conditional<Depth <= 256, uint8_t, uint16_t>::type;

// One way to read a group: its code is an entry of the subset table, or the column itself (identity).
struct Shape {
    uint32_t take;
    uint32_t code_bits;
    uint32_t stride;
    uint32_t first_entry;
    uint32_t entries;
    bool identity;
};

struct CodePage {
    uint32_t shapes;
    uint32_t entries;
    Shape shape[MaxShapes];
    // An entry is sixteen 4-bit members.
    uint64_t entry[MaxCodeEntries];

    CodePage() {
        // A handful of registers.
        #pragma HLS ARRAY_PARTITION variable=shape type=complete
        // Every code lane looks a member up in every cycle: copies in LUTRAM.
        #pragma HLS BIND_STORAGE variable=entry type=ram_1wnr impl=lutram
    }
};

// The kept columns of the block in force: offsets by (entry, bank).
struct ColumnLists {
    uint32_t count;
    Offset offset[MaxColumns][Banks];

    ColumnLists() {
        // The code lanes belong to different banks.
        #pragma HLS ARRAY_PARTITION variable=offset type=complete dim=2
        #pragma HLS BIND_STORAGE variable=offset type=ram_s2p impl=lutram
    }
};

// P rows, ready for the array.
struct RowGroup {
    uint32_t cycles;
    int32_t bias[Rows];
    int16_t multiplier[Rows];
    uint8_t shift[Rows];
    int8_t weight[RowCycles][Rows][Banks];
    Offset offset[RowCycles][Rows][Banks];

    RowGroup() {
        // Constants of all P rows at once, while the stages work.
        #pragma HLS ARRAY_PARTITION variable=bias type=complete
        #pragma HLS ARRAY_PARTITION variable=multiplier type=complete
        #pragma HLS ARRAY_PARTITION variable=shift type=complete
        // The array reads P*B weights and offsets a cycle, the loader writes a beat's worth: a small memory a lane.
        #pragma HLS ARRAY_PARTITION variable=weight type=complete dim=2
        #pragma HLS ARRAY_PARTITION variable=weight type=complete dim=3
        #pragma HLS ARRAY_PARTITION variable=offset type=complete dim=2
        #pragma HLS ARRAY_PARTITION variable=offset type=complete dim=3
        #pragma HLS BIND_STORAGE variable=weight type=ram_s2p impl=lutram
        #pragma HLS BIND_STORAGE variable=offset type=ram_s2p impl=lutram
    }
};

// Bit fields, least significant first, out of a stream of beats.
class FieldReader {
  public:
    FieldReader() {
        // Registers in front of the bit shifter.
        #pragma HLS ARRAY_PARTITION variable=window_ type=complete
    }

    // Fill the window at the start of a stream of `beats` beats.
    void start(BeatStream &data, uint32_t beats) {
        #pragma HLS INLINE
        feed_.left = beats;
        left_ = beats;
        load(data, 0);
        load(data, BeatWords);
    }

    // A record of `beats` beats begins; false where the stream is shorter.
    bool start_record(uint32_t beats) {
        #pragma HLS INLINE
        const bool within = beats <= left_;
        left_ -= within ? beats : 0;
        taken_ = 0;
        return within;
    }

    // The next Fields fields of `bits` bits each; Fields * bits is at most a beat.
    template <int Fields>
    void take(BeatStream &data, uint32_t bits, uint16_t (&field)[Fields]) {
        #pragma HLS INLINE
        const uint32_t mask = (uint32_t(1) << bits) - 1;
    field_loop:
        for (int i = 0; i < Fields; ++i) {
            #pragma HLS UNROLL
            const uint32_t at = position_ + uint32_t(i) * bits;
            const uint32_t word = at / 64;
            const uint32_t bit = at % 64;
            // A field may straddle two words; shifting by 1 and 63 - bit avoids a shift by 64.
            const uint64_t both = (window_[word] >> bit) | ((window_[word + 1] << 1) << (63 - bit));
            field[i] = uint16_t(uint32_t(both) & mask);
        }
        advance(data, Fields * bits);
    }

    uint32_t take_one(BeatStream &data, uint32_t bits) {
        #pragma HLS INLINE
        uint16_t field[1];
        take(data, bits, field);
        return field[0];
    }

    // The next word; the position must be a multiple of 64.
    uint64_t peek_word() const {
        #pragma HLS INLINE
        return window_[position_ / 64];
    }

    uint64_t take_word(BeatStream &data) {
        #pragma HLS INLINE
        const uint64_t word = peek_word();
        advance(data, 64);
        return word;
    }

    // Sections begin on words.
    void align(BeatStream &data) {
        #pragma HLS INLINE
        advance(data, (64 - position_ % 64) % 64);
    }

    // Go to the beat `beats` beyond the record's first; false where that lies behind.
    bool finish_record(BeatStream &data, uint32_t beats) {
        #pragma HLS INLINE
        if (position_ > 0) advance(data, BeatBits - position_);
        const bool within = taken_ <= beats;
        // lint: allow loop-bound: every turn takes a beat of the record, whose length start_record has checked
    skip_loop:
        while (taken_ < beats) {
            // A beat a cycle; records are rarely longer than their sections.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=0 max=1
            advance(data, BeatBits);
        }
        return within;
    }

    // Take what is left, so that the stream is empty after the step.
    void drain(BeatStream &data) {
        #pragma HLS INLINE
        feed_.drain(data);
    }

  private:
    void load(BeatStream &data, int first) {
        #pragma HLS INLINE
        const Beat beat = feed_.take(data);
    word_loop:
        for (int i = 0; i < BeatWords; ++i) {
            #pragma HLS UNROLL
            window_[first + i] = beat.word[i];
        }
    }

    void advance(BeatStream &data, uint32_t bits) {
        #pragma HLS INLINE
        position_ += bits;
        if (position_ >= uint32_t(BeatBits)) {
        word_loop:
            for (int i = 0; i < BeatWords; ++i) {
                #pragma HLS UNROLL
                window_[i] = window_[BeatWords + i];
            }
            load(data, BeatWords);
            position_ -= BeatBits;
            ++taken_;
        }
    }

    Feed feed_ = {0};
    // Two beats, and a zero word that only unused bits of the last field read.
    uint64_t window_[2 * BeatWords + 1] = {};
    uint32_t position_ = 0;  // bits of the first beat that are used up
    uint32_t taken_ = 0;     // beats used up since the record began
    uint32_t left_ = 0;      // beats that no record has claimed
};

// The code page at the front of a linear step's data; false where it is damaged.
inline bool load_code_page(BeatStream &data, CodePage &page) {
    #pragma HLS INLINE
    Beat beat = data.read();
    Feed feed = {page_beats(beat) - 1};
    page.shapes = uint32_t(beat.word[0]) & 0xFFFF;
    page.entries = uint32_t(beat.word[0] >> 16) & 0xFFFF;
    bool ok = page.shapes <= uint32_t(MaxShapes) && page.entries <= uint32_t(MaxCodeEntries);
    const uint32_t words = ok ? page.shapes + page.entries : 0;
    assert(words <= uint32_t(MaxShapes + MaxCodeEntries));
page_loop:
    for (uint32_t i = 1; i <= words; ++i) {
        // A word a cycle; pages are read once a step.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=260
        if (i % BeatWords == 0) beat = feed.take(data);
        const uint64_t word = beat.word[i % BeatWords];
        if (i <= page.shapes) {
            Shape shape;
            shape.take = uint32_t(word) & 0xFF;
            shape.code_bits = uint32_t(word >> 8) & 0xFF;
            shape.stride = uint32_t(word >> 16) & 0xFFFF;
            shape.first_entry = uint32_t(word >> 32) & 0xFFFF;
            shape.entries = uint32_t(word >> 48);
            shape.identity = shape.first_entry == 0xFFFF;
            const bool table = shape.first_entry + shape.entries <= page.entries && shape.entries > 0;
            ok &= shape.take >= 1 && shape.take <= uint32_t(MaxTake) && shape.code_bits <= 12;
            ok &= shape.identity ? shape.take == 1 : table;
            page.shape[i - 1] = shape;
        } else {
            page.entry[i - 1 - page.shapes] = word;
        }
    }
    return ok;
}

enum class MapKind : uint32_t { Keep = 0, Identity = 1, List = 2, Bitmap = 3 };

// The first word of a record.
struct RecordHeader {
    uint32_t groups;
    uint32_t shape;
    MapKind map;
    uint32_t columns;
    uint32_t beats;
};

inline RecordHeader decode_header(uint64_t word) {
    #pragma HLS INLINE
    RecordHeader header;
    header.groups = uint32_t(word) & 0xFFF;
    header.shape = uint32_t(word >> 12) & 0xF;
    header.map = MapKind(uint32_t(word >> 16) & 0x3);
    header.columns = uint32_t(word >> 18) & 0xFFF;
    header.beats = uint32_t(word >> 32);
    return header;
}

// Bits of an offset in a list map: ceil(log2 depth), at least 1.
inline uint32_t offset_bits(uint32_t depth) {
    #pragma HLS INLINE
    return depth > 2 ? bit_length(depth - 1) : 1;
}

inline bool load_identity(uint32_t depth, ColumnLists &lists) {
    #pragma HLS INLINE
    assert(depth <= uint32_t(Depth));
    lists.count = depth;
identity_loop:
    for (uint32_t i = 0; i < depth; ++i) {
        // A line a cycle: every bank has its own list.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=64
    bank_loop:
        for (int bank = 0; bank < Banks; ++bank) {
            #pragma HLS UNROLL
            lists.offset[i][bank] = Offset(i);
        }
    }
    return true;
}

inline bool load_list(BeatStream &data, FieldReader &reader, uint32_t columns, uint32_t depth, ColumnLists &lists) {
    #pragma HLS INLINE
    const uint32_t bits = offset_bits(depth);
    assert(columns <= uint32_t(MaxColumns));
    bool ok = true;
    lists.count = columns;
list_bank_loop:
    for (int bank = 0; bank < Banks; ++bank) {
    list_loop:
        for (uint32_t i = 0; i < columns; ++i) {
            // One entry a cycle: a map is read once per block of rows, in the shadow of the array.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=32
            const uint32_t offset = reader.take_one(data, bits);
            ok &= offset < depth;
            lists.offset[i][bank] = Offset(offset < depth ? offset : 0);
        }
    }
    reader.align(data);
    return ok;
}

// A set bit keeps the column; a bank with fewer than `columns` repeats its last one (column 0 where it keeps none).
inline bool load_bitmap(
    BeatStream &data, FieldReader &reader, uint32_t columns, uint32_t depth, ColumnLists &lists
) {
    #pragma HLS INLINE
    assert(depth <= uint32_t(Depth) && columns <= uint32_t(MaxColumns));
    bool ok = true;
    lists.count = columns;
bitmap_bank_loop:
    for (int bank = 0; bank < Banks; ++bank) {
        uint32_t kept = 0;
        uint32_t last = 0;
    bitmap_loop:
        for (uint32_t offset = 0; offset < depth; ++offset) {
            // A bit a cycle: a map is read once per block of rows, in the shadow of the array.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=64
            if (reader.take_one(data, 1)) {
                last = offset;
                ok &= kept < columns;
                if (kept < columns) lists.offset[kept][bank] = Offset(offset);
                ++kept;
            }
        }
    repeat_loop:
        for (uint32_t i = kept; i < columns; ++i) {
            // An entry a cycle.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=0 max=1
            lists.offset[i][bank] = Offset(last);
        }
    }
    reader.align(data);
    return ok;
}

inline bool load_columns(
    BeatStream &data, FieldReader &reader, const RecordHeader &header, uint32_t depth, ColumnLists &lists
) {
    #pragma HLS INLINE
    if (header.map == MapKind::Keep) return true;
    if (header.map == MapKind::Identity) return load_identity(depth, lists);
    if (header.columns > uint32_t(MaxColumns)) return false;
    if (header.map == MapKind::List) return load_list(data, reader, header.columns, depth, lists);
    return load_bitmap(data, reader, header.columns, depth, lists);
}

// Codes to offsets: weight g*K + k of a lane belongs to entry g*stride + member k of its bank's list.
inline bool expand_codes(
    BeatStream &data, FieldReader &reader, uint32_t groups, const Shape &shape, const CodePage &page,
    const ColumnLists &lists, RowGroup &rows
) {
    #pragma HLS INLINE
    bool ok = true;
    uint16_t code[CodeLanes];
    // Registers: every code lane works in every cycle.
    #pragma HLS ARRAY_PARTITION variable=code type=complete
    assert(groups <= uint32_t(RowCycles));
group_loop:
    for (uint32_t g = 0; g < groups; ++g) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=16
        assert(shape.take <= uint32_t(MaxTake));
    code_row_loop:
        for (int p = 0; p < Rows; ++p) {
        code_bank_loop:
            for (int first = 0; first < Banks; first += CodeLanes) {
            member_loop:
                for (uint32_t k = 0; k < shape.take; ++k) {
                    // K cycles a code: every lane writes one offset a cycle.
                    #pragma HLS PIPELINE II=1
                    #pragma HLS LOOP_TRIPCOUNT min=1 max=4
                    if (k == 0) reader.take(data, shape.code_bits, code);
                code_lane_loop:
                    for (int lane = 0; lane < CodeLanes; ++lane) {
                        #pragma HLS UNROLL
                        const uint32_t named = shape.first_entry + code[lane];
                        const bool known = shape.identity || code[lane] < shape.entries;
                        const uint64_t entry = known && !shape.identity ? page.entry[named] : 0;
                        const uint32_t member = shape.identity ? code[lane] : uint32_t(entry >> (4 * k)) & 0xF;
                        const uint32_t column = g * shape.stride + member;
                        const bool listed = known && column < lists.count;
                        ok &= listed;
                        rows.offset[g * shape.take + k][p][first + lane] =
                            listed ? lists.offset[column][first + lane] : Offset(0);
                    }
                }
            }
        }
    }
    reader.align(data);
    return ok;
}

template <int Bits>
inline void unpack_weights(BeatStream &data, FieldReader &reader, RowGroup &rows) {
    #pragma HLS INLINE
    assert(rows.cycles <= uint32_t(RowCycles));
cycle_loop:
    for (uint32_t i = 0; i < rows.cycles; ++i) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=64
    weight_loop:
        for (int first = 0; first < RowBanks; first += WeightLanes) {
            // A beat's worth of weights a cycle.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=8
            uint16_t field[WeightLanes];
            // Registers: every weight lane works in every cycle.
            #pragma HLS ARRAY_PARTITION variable=field type=complete
            reader.take(data, Bits, field);
        lane_loop:
            for (int lane = 0; lane < WeightLanes; ++lane) {
                #pragma HLS UNROLL
                const int at = first + lane;
                // Sign extension of a Bits-wide field.
                rows.weight[i][at / Banks][at % Banks] = int8_t(int8_t(field[lane] << (8 - Bits)) >> (8 - Bits));
            }
        }
    }
    reader.align(data);
}

// What a record leaves to its step.
struct WeightFormat {
    uint32_t depth;        // words per bank of the operand
    uint32_t weight_bits;  // 8 or 4
};

// One record of the weight stream; false where it is damaged.
inline bool load_row_group(
    BeatStream &data, FieldReader &reader, const WeightFormat &format, const CodePage &page, ColumnLists &lists,
    RowGroup &rows
) {
    // Runs beside the sweep of the row group before.
    #pragma HLS INLINE off
    const RecordHeader header = decode_header(reader.peek_word());
    if (!reader.start_record(header.beats)) return false;
    reader.take_word(data);
    if (header.shape >= page.shapes && header.groups > 0) return false;
    const Shape shape = page.shape[header.shape % MaxShapes];
    rows.cycles = header.groups > 0 ? header.groups * shape.take : 0;
    if (rows.cycles > uint32_t(RowCycles)) return false;
constants_loop:
    for (int p = 0; p < Rows; ++p) {
        // A row a cycle.
        #pragma HLS PIPELINE II=1
        const uint64_t word = reader.take_word(data);
        rows.bias[p] = int32_t(uint32_t(word));
        rows.multiplier[p] = int16_t(uint16_t(word >> 32));
        rows.shift[p] = uint8_t(word >> 48) & 63;
    }
    bool ok = load_columns(data, reader, header, format.depth, lists);
    ok &= expand_codes(data, reader, header.groups, shape, page, lists, rows);
    if (format.weight_bits == 8) {
        unpack_weights<8>(data, reader, rows);
    } else {
        unpack_weights<4>(data, reader, rows);
    }
    return ok & reader.finish_record(data, header.beats);
}

}  // namespace flow
