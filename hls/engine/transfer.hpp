// Tensors between the outside and the memories: input and output streams, constants from the image.
//
// Outside, a tensor is the bytes [tile][plane][depth][bank][token]: lines in ascending order, so that a transfer is
// one counter. Words are T bytes; beats hold several of them, or a word takes several beats.
#pragma once

#include <cassert>

#include "feed.hpp"
#include "memories.hpp"

namespace flow {

// Words moved in a cycle when beats have `beat_bytes` bytes: what a beat holds, but one line at most.
constexpr int transfer_words(int beat_bytes) { return larger(1, smaller(beat_bytes / Tokens, Banks)); }

// Beats of BeatSize bytes to pieces of PieceSize bytes, either a multiple of the other.
template <int BeatSize, int PieceSize>
class Splitter {
  public:
    Splitter() {
        // Registers: a whole piece a cycle.
        #pragma HLS ARRAY_PARTITION variable=held_ type=complete
    }

    // Whether the next piece needs beats: `beats_per_piece` of them.
    bool hungry() const { return part_ == 0; }

    void feed(int index, const uint8_t (&beat)[BeatSize]) {
        #pragma HLS INLINE
    byte_loop:
        for (int i = 0; i < BeatSize; ++i) {
            #pragma HLS UNROLL
            held_[index * BeatSize + i] = beat[i];
        }
    }

    void take(uint8_t (&piece)[PieceSize]) {
        #pragma HLS INLINE
    byte_loop:
        for (int i = 0; i < PieceSize; ++i) {
            #pragma HLS UNROLL
            piece[i] = held_[part_ * PieceSize + i];
        }
        part_ = part_ + 1 == Parts ? 0 : part_ + 1;
    }

    static constexpr int BeatsPerPiece = PieceSize > BeatSize ? PieceSize / BeatSize : 1;

  private:
    static constexpr int Parts = BeatSize > PieceSize ? BeatSize / PieceSize : 1;
    uint8_t held_[BeatsPerPiece * BeatSize];
    int part_ = 0;
};

// A tensor's place: `tiles` tiles of planes*depth lines from `base` on.
struct Tensor {
    uint32_t space;
    uint32_t base;
    uint32_t planes;
    uint32_t depth;
    uint32_t tiles;
};

inline uint64_t lines_of(const Tensor &tensor) {
    #pragma HLS INLINE
    return uint64_t(tensor.tiles) * tensor.planes * tensor.depth;
}

inline bool valid_tensor(const Tensor &tensor) {
    #pragma HLS INLINE
    bool ok = tensor.planes == 1 || tensor.planes == 2;
    ok &= tensor.depth >= 1 && tensor.depth <= uint32_t(Depth) && tensor.tiles <= uint32_t(SequenceTiles);
    return ok && is_token_space(tensor.space) && fits(tensor.space, tensor.base, lines_of(tensor));
}

// The line's words first .. first + Words - 1, banks being constant numbers for the memories' sake.
template <int Words>
inline void write_words(Memories &memories, const Tensor &tensor, uint32_t line, uint32_t first, const uint8_t *bytes) {
    #pragma HLS INLINE
write_words_loop:
    for (int bank = 0; bank < Banks; ++bank) {
        #pragma HLS UNROLL
        if (uint32_t(bank / Words * Words) != first) continue;
        Word word;
    token_loop:
        for (int t = 0; t < Tokens; ++t) {
            #pragma HLS UNROLL
            word.lane[t] = bytes[bank % Words * Tokens + t];
        }
        write_word(memories, tensor.space, line, uint32_t(bank), word);
    }
}

// Beats from an input stream; TLAST is not looked at, the header's length says where a frame ends.
inline void take_bytes(FrameStream &stream, uint8_t (&bytes)[StreamBytes]) {
    #pragma HLS INLINE
    const StreamBeat beat = stream.read();
stream_byte_loop:
    for (int i = 0; i < StreamBytes; ++i) {
        #pragma HLS UNROLL
        bytes[i] = beat.data.byte[i];
    }
}

// Beats of the memory image.
inline void take_bytes(BeatStream &stream, uint8_t (&bytes)[BeatBytes]) {
    #pragma HLS INLINE
    const Beat beat = stream.read();
beat_byte_loop:
    for (int i = 0; i < BeatBytes; ++i) {
        #pragma HLS UNROLL
        bytes[i] = uint8_t(beat.word[i / 8] >> (8 * (i % 8)));
    }
}

template <int BeatSize, class Stream>
inline void load_tensor(Stream &stream, const Tensor &tensor, Memories &memories) {
    #pragma HLS INLINE
    constexpr int Words = transfer_words(BeatSize);
    constexpr int PieceSize = Words * Tokens;
    Splitter<BeatSize, PieceSize> splitter;
    const uint32_t lines = uint32_t(lines_of(tensor));
    assert(lines <= uint32_t(2 * SequenceTiles * Depth));
load_line_loop:
    for (uint32_t line = 0; line < lines; ++line) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=1024
    load_word_loop:
        for (int first = 0; first < Banks; first += Words) {
            // One beat a cycle, where a word is no wider than a beat.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=1 max=8
            uint8_t piece[PieceSize];
            // Registers: a whole piece a cycle.
            #pragma HLS ARRAY_PARTITION variable=piece type=complete
            if (splitter.hungry()) {
            byte_loop:
                for (int i = 0; i < splitter.BeatsPerPiece; ++i) {
                    uint8_t beat[BeatSize];
                    // Registers: a whole beat a cycle.
                    #pragma HLS ARRAY_PARTITION variable=beat type=complete
                    take_bytes(stream, beat);
                    splitter.feed(i, beat);
                }
            }
            splitter.take(piece);
            write_words<Words>(memories, tensor, tensor.base + line, uint32_t(first), piece);
        }
    }
}

inline Tensor input_tensor(const InputRecord &record, uint32_t length) {
    #pragma HLS INLINE
    return {record.space, record.base, record.planes, record.depth, tiles_of(length)};
}

inline void run_input(
    const InputRecord &record, uint32_t length, FrameStream &in, Memories &memories
) {
    #pragma HLS INLINE
    load_tensor<StreamBytes>(in, input_tensor(record, length), memories);
}

inline Tensor constant_tensor(const ConstantRecord &record) {
    #pragma HLS INLINE
    return {record.space, record.base, record.planes, record.depth, record.tiles};
}

inline FetchPlan plan_constant(const ConstantRecord &record) {
    #pragma HLS INLINE
    FetchPlan plan = {};
    plan.span[0] = {record.data, beats_of(lines_of(constant_tensor(record)) * Banks * Tokens)};
    return plan;
}

inline void run_constant(const ConstantRecord &record, BeatStream &data, Memories &memories) {
    #pragma HLS INLINE
    load_tensor<BeatBytes>(data, constant_tensor(record), memories);
}

inline Tensor output_tensor(const OutputRecord &record, uint32_t length) {
    #pragma HLS INLINE
    return {record.source_space, record.source_base, record.planes, record.depth, tiles_of(length)};
}

// Pieces of PieceSize bytes to stream beats, either a multiple of the other.
template <int PieceSize>
class Joiner {
  public:
    Joiner() {
        // Registers: a whole piece a cycle.
        #pragma HLS ARRAY_PARTITION variable=held_ type=complete
    }

    // `final`: the tensor ends here; a beat that it leaves unfinished is filled with zeros. `last` is TLAST.
    void put(FrameStream &stream, const uint8_t (&piece)[PieceSize], bool final, bool last) {
        #pragma HLS INLINE
    byte_loop:
        for (int i = 0; i < PieceSize; ++i) {
            #pragma HLS UNROLL
            held_[part_ * PieceSize + i] = piece[i];
        }
        ++part_;
        if (part_ < Parts && !final) return;
    beat_loop:
        for (int beat = 0; beat < BeatsPerPiece; ++beat) {
            send(stream, beat, last && beat + 1 == BeatsPerPiece);
        }
        part_ = 0;
    }

  private:
    static constexpr int BeatsPerPiece = PieceSize > StreamBytes ? PieceSize / StreamBytes : 1;
    static constexpr int Parts = StreamBytes > PieceSize ? StreamBytes / PieceSize : 1;

    void send(FrameStream &stream, int beat, bool last) {
        #pragma HLS INLINE
        StreamBeat out;
    byte_loop:
        for (int i = 0; i < StreamBytes; ++i) {
            #pragma HLS UNROLL
            const bool filled = BeatsPerPiece > 1 || i < part_ * PieceSize;
            out.data.byte[i] = filled ? held_[beat * StreamBytes + i] : uint8_t(0);
        }
        out.keep = -1;
        out.strb = -1;
        out.last = last;
        stream.write(out);
    }

    uint8_t held_[larger(PieceSize, StreamBytes)];
    int part_ = 0;
};

// Lanes beyond `length` are sent as zeros; TLAST ends the frame with its last output.
inline void run_output(
    const OutputRecord &record, uint32_t length, bool last_output, const Memories &memories,
    FrameStream &out
) {
    #pragma HLS INLINE
    constexpr int Words = transfer_words(StreamBytes);
    constexpr int PieceSize = Words * Tokens;
    const Tensor tensor = output_tensor(record, length);
    const uint32_t tile_lines = tensor.planes * tensor.depth;
    assert(tensor.tiles <= uint32_t(SequenceTiles) && tile_lines <= uint32_t(2 * Depth));
    Joiner<PieceSize> joiner;
output_tile_loop:
    for (uint32_t tile = 0; tile < tensor.tiles; ++tile) {
        #pragma HLS LOOP_TRIPCOUNT min=1 max=16
    output_line_loop:
        for (uint32_t line = 0; line < tile_lines; ++line) {
            #pragma HLS LOOP_TRIPCOUNT min=1 max=64
        output_word_loop:
            for (int first = 0; first < Banks; first += Words) {
                // One beat a cycle, where a word is no wider than a beat.
                #pragma HLS PIPELINE II=1
                #pragma HLS LOOP_TRIPCOUNT min=1 max=8
                uint8_t piece[PieceSize];
                // Registers: a whole piece a cycle.
                #pragma HLS ARRAY_PARTITION variable=piece type=complete
            byte_loop:
                for (int i = 0; i < Words; ++i) {
                    #pragma HLS UNROLL
                    const uint32_t at = tensor.base + tile * tile_lines + line;
                    const Word word = read_word(memories, tensor.space, at, uint32_t(first + i));
                token_loop:
                    for (int t = 0; t < Tokens; ++t) {
                        #pragma HLS UNROLL
                        const bool sent = tile * Tokens + uint32_t(t) < length;
                        piece[i * Tokens + t] = sent ? word.lane[t] : uint8_t(0);
                    }
                }
                const bool final = tile + 1 == tensor.tiles && line + 1 == tile_lines && first + Words == Banks;
                joiner.put(out, piece, final, final && last_output);
            }
        }
    }
}

}  // namespace flow
