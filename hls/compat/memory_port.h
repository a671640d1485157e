// The AXI4 master in simulation beside a clock: what takes the place of the kernel's pointer.
#pragma once

#include <cstdint>

namespace hls {

// Answers reads of elements of T; the answer may take its time.
template <typename T>
class memory_reader {
  public:
    virtual T read(uint64_t index) = 0;

  protected:
    ~memory_reader() = default;
};

// Reads like `const T *`; an element comes by value, when its beat has come.
template <typename T>
class memory_port {
  public:
    explicit memory_port(memory_reader<T> &reader) : reader_(&reader) {}
    T operator[](uint64_t index) const { return reader_->read(index); }

  private:
    memory_reader<T> *reader_;
};

}  // namespace hls
