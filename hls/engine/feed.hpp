// The data that a step needs from the memory image, as one stream of beats in the order of use.
//
// A step reads its image data strictly in order, so a process of its own fetches them ahead of use: the step
// never waits for the latency of the AXI4 master, only for its bandwidth.
#pragma once

#include <cassert>

#include "types.hpp"

namespace flow {

// A run of beats in the image.
struct Span {
    uint32_t offset;
    uint32_t beats;
};

constexpr int MaxSpans = 2;
constexpr int MaxPageBeats = ceil_divide(8 * (1 + MaxShapes + MaxCodeEntries), BeatBytes);

// What a step reads: a code page (its first beat tells its length), then the spans in order.
struct FetchPlan {
    bool has_page;
    uint32_t page;
    Span span[MaxSpans];
};

inline uint32_t beats_of(uint64_t bytes) {
    #pragma HLS INLINE
    return uint32_t((bytes + BeatBytes - 1) / BeatBytes);
}

// Beats of a code page: [u16 shapes, u16 entries, u32 0], then one word per shape and per entry. A page beyond
// the limits counts as one beat; the loader reports it.
inline uint32_t page_beats(const Beat &first) {
    #pragma HLS INLINE
    const uint32_t shapes = uint32_t(first.word[0]) & 0xFFFF;
    const uint32_t entries = uint32_t(first.word[0] >> 16) & 0xFFFF;
    const bool valid = shapes <= uint32_t(MaxShapes) && entries <= uint32_t(MaxCodeEntries);
    return valid ? beats_of(8 * uint64_t(1 + shapes + entries)) : 1;
}

// The consumer's end. It counts, so that a damaged program ends in a status instead of a deadlock: beyond the
// promised beats it reads zeros.
struct Feed {
    uint32_t left;

    Beat take(BeatStream &data) {
        #pragma HLS INLINE
        Beat beat = {};
        if (left > 0) {
            beat = data.read();
            --left;
        }
        return beat;
    }

    void drain(BeatStream &data) {
        #pragma HLS INLINE
        // lint: allow loop-bound: every turn takes one of the `left` beats
    drain_loop:
        while (left > 0) {
            // A beat a cycle.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=0 max=1
            take(data);
        }
    }
};

inline void read_span(MemoryPort memory, Span span, BeatStream &beats) {
    #pragma HLS INLINE
    // lint: allow loop-bound: `inside` has checked the span against the image, which the host sizes
span_loop:
    for (uint32_t i = 0; i < span.beats; ++i) {
        // Consecutive addresses at II=1 become AXI4 bursts of the full length.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=0 max=4096
        beats.write(memory[span.offset + i]);
    }
}

// The producer's end.
inline void fetch(MemoryPort memory, const FetchPlan &plan, uint32_t image_beats, BeatStream &beats) {
    // A process of its own, beside the step that it feeds.
    #pragma HLS INLINE off
    if (plan.has_page) {
        const Beat first = memory[plan.page];
        const uint32_t count = page_beats(first);
        assert(count <= uint32_t(MaxPageBeats));
        const uint32_t inside = image_beats - plan.page;
        const uint32_t present = count < inside ? count : inside;
        beats.write(first);
        read_span(memory, {plan.page + 1, present - 1}, beats);
    pad_loop:
        for (uint32_t i = present; i < count; ++i) {
            // A beat a cycle.
            #pragma HLS PIPELINE II=1
            #pragma HLS LOOP_TRIPCOUNT min=0 max=1
            beats.write(Beat());
        }
    }
fetch_loop:
    for (int i = 0; i < MaxSpans; ++i) {
        #pragma HLS LOOP_FLATTEN off
        read_span(memory, plan.span[i], beats);
    }
}

// Whether every span, and the page's first beat, lie inside the image.
inline bool inside(const FetchPlan &plan, uint32_t image_beats) {
    #pragma HLS INLINE
    bool ok = !plan.has_page || plan.page < image_beats;
inside_loop:
    for (int i = 0; i < MaxSpans; ++i) {
        #pragma HLS UNROLL
        ok &= uint64_t(plan.span[i].offset) + plan.span[i].beats <= image_beats;
    }
    return ok;
}

}  // namespace flow
