// Stand-in for Vitis' hls_stream.h: an unbounded FIFO that reports a deadlock.
//
// A read from an empty stream would block for ever, since processes run one after the other in C simulation.
// It ends the program with a message that names the stream.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

template <typename T>
class stream {
  public:
    explicit stream(const char *name = "unnamed") : name_(name) {}
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    bool empty() const { return beats_.empty(); }
    std::size_t size() const { return beats_.size(); }

    T read() {
        if (beats_.empty()) {
            std::fprintf(stderr, "deadlock: read from the empty stream '%s'\n", name_);
            std::exit(DeadlockExit);
        }
        T beat = beats_.front();
        beats_.pop_front();
        return beat;
    }
    void read(T &beat) { beat = read(); }
    void write(const T &beat) { beats_.push_back(beat); }

    static constexpr int DeadlockExit = 4;

  private:
    const char *name_;
    std::deque<T> beats_;
};

}  // namespace hls
