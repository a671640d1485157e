// The sequencer: loads a program, then walks its steps once per frame.
#pragma once

#include <cassert>

#include "memories.hpp"
#include "transfer.hpp"

namespace flow {

// The program on chip.
struct Program {
    bool loaded;
    uint32_t steps;
    uint32_t image_beats;
    uint32_t last_output;  // the step whose last beat carries TLAST
    StepWords step[MaxSteps];
};

// What a command reports.
struct Outcome {
    Status status;
    uint32_t failed_step;
    uint32_t frames_done;
};

constexpr uint32_t NoStep = 0xFFFFFFFF;

// The image in 64-bit words: records need not begin on beats.
inline uint64_t image_word(MemoryPort memory, uint32_t word) {
    #pragma HLS INLINE
    return memory[word / BeatWords].word[word % BeatWords];
}

// The image's first 64 bytes.
struct ImageHeader {
    uint32_t magic;
    uint32_t version;
    uint64_t engine_hash;
    uint32_t steps;
    uint32_t records;  // byte offset of the first record
    uint32_t beats;
};

inline ImageHeader read_header(MemoryPort memory) {
    #pragma HLS INLINE
    ImageHeader header;
    const uint64_t first = image_word(memory, 0);
    const uint64_t third = image_word(memory, 2);
    header.magic = uint32_t(first);
    header.version = uint32_t(first >> 32);
    header.engine_hash = image_word(memory, 1);
    header.steps = uint32_t(third);
    header.records = uint32_t(third >> 32);
    header.beats = uint32_t(image_word(memory, 3));
    return header;
}

// Records lie on words and inside the image.
inline bool records_inside(const ImageHeader &header) {
    #pragma HLS INLINE
    const uint64_t end = header.records + uint64_t(header.steps) * RecordWords * 4;
    const bool placed = header.records % 8 == 0 && header.records >= uint32_t(HeaderBytes);
    return placed && end <= uint64_t(header.beats) * BeatBytes;
}

// Whether the engine has the stage that an opcode asks for: dispatch.hpp defines it.
inline bool has_stage(uint32_t opcode);

inline Status check_header(const ImageHeader &header) {
    #pragma HLS INLINE
    if (header.magic != ProgramMagic) return Status::BadMagic;
    if (header.version != ProgramVersion) return Status::BadVersion;
    if (header.engine_hash != EngineHash) return Status::WrongEngine;
    if (header.steps > uint32_t(MaxSteps)) return Status::TooManySteps;
    return records_inside(header) ? Status::Ok : Status::BadStep;
}

// LOAD: header and records. Data stay in memory and are read when their step runs.
inline Outcome load_program(MemoryPort memory, Program &program) {
    // Runs once a program: kept out of the way of the frame loop.
    #pragma HLS INLINE off
    const ImageHeader header = read_header(memory);
    Outcome outcome = {check_header(header), NoStep, 0};
    program.loaded = false;
    program.steps = 0;
    if (outcome.status != Status::Ok) return outcome;
    program.image_beats = header.beats;
    program.last_output = NoStep;
    constexpr uint32_t RecordPairs = RecordWords / 2;
    assert(header.steps <= uint32_t(MaxSteps));
record_loop:
    for (uint32_t i = 0; i < header.steps * RecordPairs; ++i) {
        // Two words a cycle, in consecutive addresses: AXI4 bursts.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=16 max=4096
        const uint64_t word = image_word(memory, header.records / 8 + i);
        const uint32_t index = i / RecordPairs;
        program.step[index].word[2 * (i % RecordPairs)] = uint32_t(word);
        program.step[index].word[2 * (i % RecordPairs) + 1] = uint32_t(word >> 32);
    }
    uint32_t steps = 0;
opcode_loop:
    for (uint32_t i = 0; i < header.steps; ++i) {
        // A record a cycle.
        #pragma HLS PIPELINE II=1
        #pragma HLS LOOP_TRIPCOUNT min=1 max=256
        const uint32_t opcode = program.step[i].word[0];
        if (opcode == uint32_t(Opcode::End)) break;
        if (opcode == uint32_t(Opcode::Output)) program.last_output = i;
        if (!has_stage(opcode) && outcome.failed_step == NoStep) outcome.failed_step = i;
        steps = i + 1;
    }
    if (outcome.failed_step != NoStep) {
        outcome.status = Status::BadStep;
        return outcome;
    }
    program.steps = steps;
    program.loaded = true;
    return outcome;
}

// A frame begins with a beat whose first u32 is the number of tokens.
inline uint32_t read_length(FrameStream &in) {
    #pragma HLS INLINE
    const StreamBeat beat = in.read();
    static_assert(StreamBytes >= 4, "the length fits the header beat");
    uint32_t length = 0;
byte_loop:
    for (int i = 0; i < 4; ++i) {
        #pragma HLS UNROLL
        length |= uint32_t(beat.data.byte[i]) << (8 * i);
    }
    return length;
}

}  // namespace flow
