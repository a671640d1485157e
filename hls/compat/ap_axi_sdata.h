// Stand-in for Vitis' ap_axi_sdata.h: one AXI4-Stream beat with TKEEP, TSTRB and TLAST.
#pragma once

#include <ap_int.h>

#include <cstddef>

namespace hls {

template <typename T, std::size_t UserBits, std::size_t IdBits, std::size_t DestBits>
struct axis {
    static_assert(UserBits == 0 && IdBits == 0 && DestBits == 0, "the stand-in has no TUSER, TID and TDEST");

    T data;
    ap_uint<int(sizeof(T))> keep;
    ap_uint<int(sizeof(T))> strb;
    ap_uint<1> last;
};

}  // namespace hls
