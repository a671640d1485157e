// Words, beats and derived constants of the engine.
#pragma once

#include <ap_axi_sdata.h>
#include <hls_stream.h>
#ifdef FLOW_COSIM
#include <memory_port.h>
#endif

#include <cstdint>

#include "config.hpp"

namespace flow {

constexpr int smaller(int a, int b) { return a < b ? a : b; }
constexpr int larger(int a, int b) { return a > b ? a : b; }
constexpr int ceil_divide(int a, int b) { return (a + b - 1) / b; }
constexpr bool is_power_of_two(int a) { return a > 0 && (a & (a - 1)) == 0; }

static_assert(is_power_of_two(Tokens) && is_power_of_two(Banks) && is_power_of_two(Rows), "lanes are powers of two");
static_assert(is_power_of_two(NormLanes) && is_power_of_two(Heads), "lanes are powers of two");
static_assert(is_power_of_two(StreamBytes) && StreamBytes <= 64, "TKEEP is held in 64 bits");
static_assert(is_power_of_two(BeatBytes) && BeatBytes >= 8 && BeatBytes <= 128, "AXI4 data is 64 to 1024 bits wide");
static_assert(Tokens % Rows == 0 && Rows <= Banks && Heads <= Banks, "P divides T; P and H are at most B");

constexpr int BeatWords = BeatBytes / 8;
constexpr int BeatBits = BeatBytes * 8;
constexpr int RowBanks = Rows * Banks;
// Banks that one head takes when all H lie side by side: the finest split of the adder tree.
constexpr int SegmentBanks = Banks / Heads;
constexpr int SequenceTiles = ceil_divide(Sequence, Tokens);

// T tokens of one channel: a word of the operand memories and of the store.
struct Word {
    uint8_t lane[Tokens];
};

// P channels of one key: a word of the values memory.
struct ValuesWord {
    int8_t lane[Rows];
};

// One beat of the memory image, little endian.
struct Beat {
    uint64_t word[BeatWords];
};

struct StreamWord {
    uint8_t byte[StreamBytes];
};
using StreamBeat = hls::axis<StreamWord, 0, 0, 0>;

// The AXI4 master: a pointer; in simulation beside a clock, a port whose reads take their time.
#ifdef FLOW_COSIM
using MemoryPort = hls::memory_port<Beat>;
#else
using MemoryPort = const Beat *;
#endif

using BeatStream = hls::stream<Beat>;
using FrameStream = hls::stream<StreamBeat>;

// One value per output row and token: what the stages behind the array pass on.
template <typename Value>
struct Lanes {
    Value lane[Rows][Tokens];
};

inline uint32_t tiles_of(uint32_t tokens) { return (tokens + Tokens - 1) / Tokens; }

}  // namespace flow
