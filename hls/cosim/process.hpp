// A function that runs beside a clock: on a stack of its own, up to the next place where it has to wait.
#pragma once

#include <hls_stream.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>

namespace cosim {

class Process : public hls::clock_beside {
  public:
    Process() {
        watch();
        // The lowest page stays out of reach: a stack that grows too large ends the program, and nothing else.
        const long page = sysconf(_SC_PAGESIZE);
        stack_ = mmap(nullptr, StackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack_ == MAP_FAILED || mprotect(stack_, std::size_t(page), PROT_NONE) != 0) {
            std::perror("cosim: no memory for the kernel's stack");
            std::exit(1);
        }
    }
    Process(const Process &) = delete;
    Process &operator=(const Process &) = delete;
    ~Process() {
        cancel();
        munmap(stack_, StackBytes);
    }

    // `body` begins with the next `resume`.
    void start(std::function<void()> body) {
        cancel();
        body_ = std::move(body);
        getcontext(&inside_);
        inside_.uc_stack.ss_sp = stack_;
        inside_.uc_stack.ss_size = StackBytes;
        inside_.uc_link = nullptr;
        makecontext(&inside_, reinterpret_cast<void (*)()>(&Process::enter), 2, low_half(), high_half());
        running_ = true;
        port_ = nullptr;
    }

    // On to the next `wait`, or to the end.
    void resume() {
        working() = this;
        silence() = 0;
        swapcontext(&outside_, &inside_);
        working() = nullptr;
    }

    // Leave every scope of a process that waits, so that nothing it holds is lost, and forget it.
    void cancel() {
        if (running_ && port_) {
            cancelled_ = true;
            resume();
            cancelled_ = false;
        }
        running_ = false;
        port_ = nullptr;
    }

    // What is called where the process has worked for `seconds` of processor time without a wait; it does not return.
    // No clock passes meanwhile, so that nothing beside the process can notice.
    void on_silence(int seconds, std::function<void()> report) {
        patience_ = seconds;
        report_ = std::move(report);
    }

    bool running() const { return running_; }
    bool waits_for(const void *port) const { return running_ && port_ == port; }

    void wait(const void *port) override {
        port_ = port;
        swapcontext(&inside_, &outside_);
        port_ = nullptr;
        if (cancelled_) throw Cancelled();
    }

  private:
    static constexpr std::size_t StackBytes = std::size_t(4) << 20;
    struct Cancelled {};

    // makecontext passes ints: a pointer goes in two halves.
    unsigned low_half() const { return unsigned(reinterpret_cast<uintptr_t>(this)); }
    unsigned high_half() const { return unsigned(uint64_t(reinterpret_cast<uintptr_t>(this)) >> 32); }

    static void enter(unsigned low, unsigned high) {
        auto *process = reinterpret_cast<Process *>(uintptr_t(uint64_t(high) << 32 | low));
        try {
            process->body_();
        } catch (const Cancelled &) {
        }
        process->running_ = false;
        swapcontext(&process->inside_, &process->outside_);
    }

    // Whoever is inside `resume`, and how many ticks it has been there.
    static Process *volatile &working() {
        static Process *volatile process = nullptr;
        return process;
    }
    static volatile std::sig_atomic_t &silence() {
        static volatile std::sig_atomic_t ticks = 0;
        return ticks;
    }

    // A tick a second of the program's own time.
    static void watch() {
        struct sigaction action = {};
        action.sa_handler = [](int) {
            Process *process = working();
            if (process && process->report_ && ++silence() > process->patience_) process->report_();
        };
        action.sa_flags = SA_RESTART;
        sigaction(SIGVTALRM, &action, nullptr);
        const itimerval second = {{1, 0}, {1, 0}};
        setitimer(ITIMER_VIRTUAL, &second, nullptr);
    }

    void *stack_;
    int patience_ = 0;
    std::function<void()> report_;
    ucontext_t inside_;
    ucontext_t outside_;
    std::function<void()> body_;
    const void *port_ = nullptr;
    bool running_ = false;
    bool cancelled_ = false;
};

}  // namespace cosim
