// Stand-in for Vitis' hls_stream.h: an unbounded FIFO that reports a deadlock, or a port beside a clock.
//
// A read from an empty stream would block for ever, since processes run one after the other in C simulation.
// It ends the program with a message that names the stream. A stream that is bound to a clock waits instead: for a
// beat to come, or, when it is full, for one to go.
#pragma once

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <deque>

namespace hls {

// Whoever lets a kernel wait for `port`: `wait` returns when something may have changed there.
class clock_beside {
  public:
    virtual void wait(const void *port) = 0;

  protected:
    ~clock_beside() = default;
};

template <typename T>
class stream {
  public:
    explicit stream(const char *name = "unnamed") : name_(name) {}
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    // From now on hold at most `depth` beats, and wait where there are none or too many.
    void bind(clock_beside &clock, std::size_t depth) {
        clock_ = &clock;
        depth_ = depth;
    }

    bool empty() const { return beats_.empty(); }
    bool full() const { return clock_ && beats_.size() >= depth_; }
    std::size_t size() const { return beats_.size(); }
    const T &front() const { return beats_.front(); }

    T read() {
        while (clock_ && beats_.empty()) clock_->wait(this);
        if (beats_.empty()) {
            std::fprintf(stderr, "deadlock: read from the empty stream '%s'\n", name_);
            std::exit(DeadlockExit);
        }
        T beat = beats_.front();
        beats_.pop_front();
        return beat;
    }
    void read(T &beat) { beat = read(); }
    void write(const T &beat) {
        while (full()) clock_->wait(this);
        beats_.push_back(beat);
    }

    static constexpr int DeadlockExit = 4;

  private:
    const char *name_;
    std::deque<T> beats_;
    clock_beside *clock_ = nullptr;
    std::size_t depth_ = 0;
};

}  // namespace hls
