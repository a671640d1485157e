// Stand-in for Vitis' ap_int.h: what the side channels of an AXI4-Stream need, no more.
//
// On the include path only where Vitis' own headers are not. Arithmetic in the engine uses the standard
// integer types, so that it means the same to every compiler.
#pragma once

#include <cstdint>

// W-bit unsigned integer; values wrap modulo 2^W.
template <int W>
class ap_uint {
    static_assert(W >= 1 && W <= 64, "the stand-in holds at most 64 bits");

  public:
    ap_uint() = default;
    ap_uint(uint64_t value) : value_(value & mask()) {}
    operator uint64_t() const { return value_; }

  private:
    static constexpr uint64_t mask() { return ~uint64_t(0) >> (64 - W); }

    uint64_t value_ = 0;
};
