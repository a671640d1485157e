// The emitted kernel behind the ports of flow_engine.sv: a process beside the clock that moves at most one beat a port
// and cycle. The functions at the end are what the module calls (DPI-C).
//
// Memories hold noise after a reset, as they may hold another model's data on a board: a program that reads what it
// has not written does not pass here.
#include <svdpi.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include "flow_engine.cpp"
#include "process.hpp"

namespace cosim {

// AXI4 reads of a kernel that asks for one beat after the other: consecutive ones become bursts of growing length.
class Reader : public hls::memory_reader<Beat> {
  public:
    explicit Reader(Process &clock) : clock_(clock) {}

    void reset(uint64_t base) {
        base_ = base;
        asking_ = known_ = has_beat_ = false;
        left_ = length_ = 0;
    }

    Beat read(uint64_t index) override {
        if (known_ && index + 1 == next_) return last_;
        if (!left_ || index != next_) {
            const bool follows = known_ && index == next_ && !left_;
            finish();
            ask(index, follows ? 2 * length_ : 1);
        }
        return last_ = take();
    }

    // Let a burst that the kernel has not used up come to its end.
    void finish() {
        while (left_) take();
    }

    bool asking() const { return asking_; }
    uint64_t address() const { return base_ + next_ * BeatBytes; }
    uint32_t beats() const { return length_; }
    void asked() { asking_ = false; }
    // Whether the kernel wants the next beat of a burst now.
    bool hungry() const { return clock_.waits_for(&has_beat_) && !has_beat_; }
    void feed(const void *beat) {
        std::memcpy(&beat_, beat, sizeof beat_);
        has_beat_ = true;
    }

  private:
    // A burst stays within 4096 bytes; a fetch ahead so stays within pages that the kernel reads anyway.
    void ask(uint64_t index, uint64_t wanted) {
        const uint64_t room = (4096 - (base_ + index * BeatBytes) % 4096) / BeatBytes;
        const uint64_t most = room < MaxBurst ? room : MaxBurst;
        next_ = index;
        length_ = uint32_t(wanted < most ? wanted : most);
        left_ = length_;
        known_ = false;
        asking_ = true;
        while (asking_) clock_.wait(&asking_);
    }

    Beat take() {
        while (!has_beat_) clock_.wait(&has_beat_);
        has_beat_ = false;
        known_ = true;
        ++next_;
        --left_;
        return beat_;
    }

    static constexpr uint64_t MaxBurst = 64;

    Process &clock_;
    uint64_t base_ = 0;
    uint64_t next_ = 0;    // the next beat to come
    uint32_t length_ = 0;  // of the last burst
    uint32_t left_ = 0;    // of it, to come
    bool asking_ = false;
    bool known_ = false;  // beat next_ - 1 is in last_
    bool has_beat_ = false;
    Beat beat_ = {};
    Beat last_ = {};
};

// What flow_kernel_run says: bit i is set ...
enum Flag { InReady = 1, OutValid = 2, AddressValid = 4, ReadReady = 8, Done = 16 };

class Shell {
  public:
    Shell() : in_("stream_in"), out_("stream_out"), reader_(process_) {
        in_.bind(process_, 1);
        out_.bind(process_, 1);
        const char *seconds = std::getenv("FLOW_KERNEL_SECONDS");
        patience_ = seconds ? std::atoi(seconds) : 60;
        process_.on_silence(patience_, [this] { end_at_work(); });
        reset();
    }

    void reset() {
        if (fresh_) return;
        process_.cancel();
        while (!in_.empty()) in_.read();
        while (!out_.empty()) out_.read();
        reader_.reset(0);
        machine_.reset(new Machine());
        Memories &memories = machine_->memories;
        fill(memories.operand0, sizeof memories.operand0);
        fill(memories.operand1, sizeof memories.operand1);
        fill(memories.store, sizeof memories.store);
        fill(memories.values, sizeof memories.values);
        busy_ = false;
        fresh_ = true;
    }

    void start(uint64_t memory, uint32_t command, uint32_t frames) {
        fresh_ = false;
        busy_ = true;
        taken_ = dropped_ = fed_ = 0;
        last_ = "no port";
        reader_.reset(memory);
        process_.start([this, command, frames] {
            run_command(hls::memory_port<Beat>(reader_), in_, out_, command, frames, info_, *machine_);
            reader_.finish();
        });
    }

    // Let the kernel work until it waits for a port, and say what the ports show until the next edge.
    int run() {
        if (busy_ && process_.running() && !stuck()) process_.resume();
        const bool done = busy_ && !process_.running() && out_.empty();
        if (done) busy_ = false;
        return (process_.waits_for(&in_) ? InReady : 0) | (out_.empty() ? 0 : OutValid) |
               (reader_.asking() ? AddressValid : 0) | (reader_.hungry() ? ReadReady : 0) | (done ? Done : 0);
    }

    void take_input(const StreamBeat &beat) {
        ++taken_;
        last_ = "stream_in";
        in_.write(beat);
    }

    void drop_output() {
        ++dropped_;
        last_ = "stream_out";
        out_.read();
    }

    void take_beat(const void *beat) {
        ++fed_;
        last_ = "m_axi_gmem";
        reader_.feed(beat);
    }

    FrameStream in_;
    FrameStream out_;
    uint32_t info_[InfoWords] = {};

  private:
    // A kernel that computes for ever: nothing that allocates may be called here.
    [[noreturn]] void end_at_work() const {
        char text[320];
        const int size = std::snprintf(
            text, sizeof text,
            "flow: kernel: found it at work for %d s of processor time after its last beat, of %s (%u of stream_in, %u of "
            "stream_out and %u of m_axi_gmem since its start); expected another one or its end; look for a loop that "
            "does not end\n",
            patience_, last_, taken_, dropped_, fed_
        );
        if (write(STDERR_FILENO, text, std::size_t(size)) < 0) _exit(2);
        _exit(1);
    }

    // Whether the port that the kernel waits for is as it was.
    bool stuck() const {
        return (process_.waits_for(&in_) && in_.empty()) || (process_.waits_for(&out_) && out_.full()) ||
               reader_.asking() || reader_.hungry();
    }

    void fill(void *data, std::size_t bytes) {
        auto *byte = static_cast<uint8_t *>(data);
        for (std::size_t i = 0; i < bytes; ++i) byte[i] = uint8_t(noise_());
    }

    std::mt19937 noise_;
    std::unique_ptr<Machine> machine_;
    bool fresh_ = false;
    bool busy_ = false;
    int patience_ = 0;
    uint32_t taken_ = 0;
    uint32_t dropped_ = 0;
    uint32_t fed_ = 0;
    const char *last_ = "no port";
    Process process_;

  public:
    Reader reader_;
};

void set_bits(svBitVecVal *target, uint64_t value, int bits) {
    for (int i = 0; 32 * i < bits; ++i) target[i] = svBitVecVal(value >> (32 * i));
}

Shell &shell(void *handle) { return *static_cast<Shell *>(handle); }

}  // namespace cosim

extern "C" {

void *flow_kernel_new() { return new cosim::Shell(); }

void flow_kernel_reset(void *kernel) { cosim::shell(kernel).reset(); }

void flow_kernel_start(void *kernel, uint64_t memory, uint32_t command, uint32_t frames) {
    cosim::shell(kernel).start(memory, command, frames);
}

void flow_kernel_take_input(void *kernel, const svBitVecVal *data) {
    StreamBeat beat = {};
    std::memcpy(&beat.data, data, sizeof beat.data);
    cosim::shell(kernel).take_input(beat);
}

void flow_kernel_drop_output(void *kernel) { cosim::shell(kernel).drop_output(); }

void flow_kernel_take_beat(void *kernel, const svBitVecVal *data) { cosim::shell(kernel).take_beat(data); }

void flow_kernel_drop_address(void *kernel) { cosim::shell(kernel).reader_.asked(); }

int flow_kernel_run(void *kernel) { return cosim::shell(kernel).run(); }

void flow_kernel_output(void *kernel, svBitVecVal *data, svBitVecVal *keep, svBitVecVal *strb, svBit *last) {
    const StreamBeat &beat = cosim::shell(kernel).out_.front();
    std::memcpy(data, &beat.data, sizeof beat.data);
    cosim::set_bits(keep, beat.keep, StreamBytes);
    cosim::set_bits(strb, beat.strb, StreamBytes);
    *last = svBit(beat.last != 0);
}

void flow_kernel_address(void *kernel, uint64_t *address, uint32_t *beats) {
    *address = cosim::shell(kernel).reader_.address();
    *beats = cosim::shell(kernel).reader_.beats();
}

void flow_kernel_info(void *kernel, svBitVecVal *info) {
    std::memcpy(info, cosim::shell(kernel).info_, sizeof cosim::shell(kernel).info_);
}

}
