"""The headers that synthesisable code may include, as declarations: the lint needs no C++ library and no Vitis.

Wheels of libclang carry no headers of their own; with these the result is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping

_CSTDINT = """#pragma once
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t;
typedef unsigned long uint64_t; typedef long intptr_t; typedef unsigned long uintptr_t;
namespace std {
using ::int8_t; using ::int16_t; using ::int32_t; using ::int64_t;
using ::uint8_t; using ::uint16_t; using ::uint32_t; using ::uint64_t;
}
#define INT8_MIN (-128)
#define INT8_MAX 127
#define UINT8_MAX 255
#define INT16_MIN (-32768)
#define INT16_MAX 32767
#define UINT16_MAX 65535
#define INT32_MIN (-2147483647 - 1)
#define INT32_MAX 2147483647
#define UINT32_MAX 4294967295U
#define INT64_MAX 9223372036854775807L
#define INT64_MIN (-INT64_MAX - 1)
#define UINT64_MAX 18446744073709551615UL
"""
_CSTDDEF = """#pragma once
typedef unsigned long size_t;
typedef long ptrdiff_t;
namespace std { using ::size_t; using ::ptrdiff_t; }
"""
_TYPE_TRAITS = """#pragma once
namespace std {
template <class T, T V> struct integral_constant { static constexpr T value = V; };
template <bool C, class A, class B> struct conditional { typedef A type; };
template <class A, class B> struct conditional<false, A, B> { typedef B type; };
template <bool C, class T = void> struct enable_if {};
template <class T> struct enable_if<true, T> { typedef T type; };
template <class A, class B> struct is_same : integral_constant<bool, false> {};
template <class A> struct is_same<A, A> : integral_constant<bool, true> {};
template <bool C, class A, class B> using conditional_t = typename conditional<C, A, B>::type;
template <bool C, class T = void> using enable_if_t = typename enable_if<C, T>::type;
}
"""
_CASSERT = """#pragma once
void flow_lint_assert(bool condition);
#define assert(condition) flow_lint_assert(condition)
"""
_CSTDIO = """#pragma once
struct FILE;
extern FILE *stdin, *stdout, *stderr;
int printf(const char *, ...); int fprintf(FILE *, const char *, ...); int sprintf(char *, const char *, ...);
int puts(const char *); int getc(FILE *); int getchar(); FILE *fopen(const char *, const char *); int fclose(FILE *);
namespace std { using ::printf; using ::fprintf; using ::puts; using ::fopen; using ::fclose; using ::FILE; }
"""
_CSTDLIB = """#pragma once
typedef unsigned long size_t;
void *malloc(size_t); void *calloc(size_t, size_t); void *realloc(void *, size_t); void free(void *);
void exit(int); void abort(); int rand(); int abs(int); char *getenv(const char *);
namespace std {
using ::malloc; using ::calloc; using ::realloc; using ::free; using ::exit; using ::abort; using ::rand;
}
"""
_CSTRING = """#pragma once
typedef unsigned long size_t;
void *memcpy(void *, const void *, size_t); void *memset(void *, int, size_t);
namespace std { using ::memcpy; using ::memset; }
"""
_HLS_STREAM = """#pragma once
namespace hls {
template <class T, int Depth = 0> class stream {
  public:
    stream(); explicit stream(const char *name);
    stream(const stream &) = delete; stream &operator=(const stream &) = delete;
    bool empty() const; bool full() const; unsigned size() const;
    T read(); void read(T &value); bool read_nb(T &value); void write(const T &value); bool write_nb(const T &value);
    stream &operator>>(T &value); stream &operator<<(const T &value);
};
}
"""
_AP_INT = """#pragma once
template <int W> struct ap_uint {
    ap_uint(); ap_uint(unsigned long value); operator unsigned long() const;
};
template <int W> struct ap_int {
    ap_int(); ap_int(long value); operator long() const;
};
"""
_AP_AXI = """#pragma once
#include <ap_int.h>
namespace hls {
template <class T, unsigned long User = 0, unsigned long Id = 0, unsigned long Dest = 0> struct axis {
    T data; ap_uint<sizeof(T)> keep; ap_uint<sizeof(T)> strb; ap_uint<1> last;
};
}
"""

HEADERS: Mapping[str, str] = {
    "cstdint": _CSTDINT, "stdint.h": _CSTDINT, "cstddef": _CSTDDEF, "stddef.h": _CSTDDEF, "climits": "",
    "type_traits": _TYPE_TRAITS, "cassert": _CASSERT, "assert.h": _CASSERT, "cstdio": _CSTDIO, "stdio.h": _CSTDIO,
    "cstdlib": _CSTDLIB, "stdlib.h": _CSTDLIB, "cstring": _CSTRING, "string.h": _CSTRING,
    "hls_stream.h": _HLS_STREAM, "ap_int.h": _AP_INT, "ap_axi_sdata.h": _AP_AXI,
}  # fmt: skip
"""What an `#include <…>` may name. What of it cannot be synthesised (malloc, printf) is found where it is called."""

SYNTHESISABLE_CALLS = frozenset({"flow_lint_assert", "memcpy", "memset", "abs"})
"""Functions without a body in the kernel that Vitis HLS knows."""
VENDOR_HEADERS = frozenset({"hls_stream.h", "ap_int.h", "ap_axi_sdata.h"})
"""Their member functions are the compiler's own."""
