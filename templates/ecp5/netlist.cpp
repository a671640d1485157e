// Simulates a netlist of ECP5 primitives that flow/sim/netlist.py has made numbers of, an edge of its clock a call.
//
// Event-driven: a net that changes marks what reads it. Combinational parts are sorted so that a reader lies behind what it
// reads, and one scan over the marks settles them all. Registers whose inputs have not changed keep their value, so
// that only marked ones are looked at; block RAMs are looked at in every cycle.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "svdpi.h"

namespace {

constexpr int32_t kMagic = 0x464C4E31;
constexpr int kTable = 0, kMultiplier = 1, kRead = 2;
constexpr int kOne = 1, kNowhere = -1;
constexpr int kFactorBits = 18, kProductBits = 36;
constexpr int kNormal = 0, kWriteThrough = 1;
constexpr int kLockCycles = 15;

[[noreturn]] void fail(const char* file, const char* what) {
    std::fprintf(stderr, "flow: %s: found %s; expected a netlist of flow\n", file, what);
    std::abort();
}

// Bits to look at; found in ascending order, and while others are added behind.
class Marks {
  public:
    explicit Marks(size_t count) : words_((count + 63) / 64) {
        for (size_t i = 0; i < count; ++i) add(i);
    }
    void add(size_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
    template <typename Visit>
    void take_all(Visit visit) {
        for (size_t w = 0; w < words_.size(); ++w) {
            while (words_[w]) {
                const int bit = __builtin_ctzll(words_[w]);
                words_[w] &= words_[w] - 1;
                visit(w * 64 + bit);
            }
        }
    }

  private:
    std::vector<uint64_t> words_;
};

struct Op {
    int32_t kind, code, a, b, c, d, e;
};
// A table's output is `a`, its inputs b to e; the others' nets lie in the extras from `a` on, b read and c driven.

struct FlipFlop {
    int32_t q, d, enable, enable_inverted, set, set_inverted, value;
};

struct SmallRam {
    int32_t enable, inverted, address[4], data[4], word[16];
};

struct Port {
    int32_t width, mode, enable, write, select[3], address[14], data[18];
};

struct BlockRam {
    Port port[2];
    int32_t out[2][18];
    int32_t word[1024];
};

class Netlist {
  public:
    explicit Netlist(const char* file) : file_(file) {
        read();
        connect();
        settle();
    }

    void step(bool edge, const svBitVecVal* pins, svBitVecVal* results) {
        for (size_t i = 0; i < pins_.size(); ++i) set(pins_[i], pins[i / 32] >> (i % 32) & 1);
        settle();
        if (edge) {
            clock();
            settle();
        }
        for (size_t i = 0; i < (results_.size() + 31) / 32; ++i) results[i] = 0;
        for (size_t i = 0; i < results_.size(); ++i) results[i / 32] |= uint32_t{value_[results_[i]]} << (i % 32);
    }

  private:
    void read() {
        std::FILE* in = std::fopen(file_, "rb");
        if (!in) fail(file_, "no file");
        std::vector<int32_t> words;
        int32_t buffer[4096];
        for (size_t got; (got = std::fread(buffer, sizeof(int32_t), 4096, in)) > 0;)
            words.insert(words.end(), buffer, buffer + got);
        std::fclose(in);
        if (words.empty() || words[0] != kMagic) fail(file_, "another kind of file");
        size_t at = 1;
        auto section = [&]() {
            if (at >= words.size() || words[at] < 0 || words.size() - at - 1 < size_t(words[at])) fail(file_, "its end");
            const auto begin = words.begin() + at + 1;
            at += 1 + words[at];
            return std::vector<int32_t>(begin, words.begin() + at);
        };
        const auto sizes = section();
        pins_ = section();
        results_ = section();
        ops_ = as<Op>(section());
        extras_ = section();
        flip_flops_ = as<FlipFlop>(section());
        small_ = as<SmallRam>(section());
        blocks_ = as<BlockRam>(section());
        value_.assign(sizes.at(0), 0);
        lock_ = sizes.at(1);
    }

    template <typename T>
    std::vector<T> as(const std::vector<int32_t>& words) {
        if (words.size() * sizeof(int32_t) % sizeof(T)) fail(file_, "part of a record");
        const auto* first = reinterpret_cast<const T*>(words.data());
        return std::vector<T>(first, first + words.size() * sizeof(int32_t) / sizeof(T));
    }

    // Who reads a net: parts first, then flip-flops, then distributed RAMs.
    void connect() {
        const int flip_flops = int(ops_.size()), rams = flip_flops + int(flip_flops_.size());
        std::vector<std::vector<int32_t>> readers(value_.size());
        for (int i = 0; i < flip_flops; ++i) {
            const Op& op = ops_[i];
            if (op.kind == kTable)
                for (int net : {op.b, op.c, op.d, op.e}) readers.at(net).push_back(i);
            else
                for (int n = 0; n < op.b; ++n) readers.at(extras_.at(op.a + n)).push_back(i);
            if (op.kind == kRead) read_of_.push_back({op.code, i});
        }
        for (int i = 0; i < int(flip_flops_.size()); ++i)
            for (int net : {flip_flops_[i].d, flip_flops_[i].enable, flip_flops_[i].set})
                readers.at(net).push_back(flip_flops + i);
        for (int i = 0; i < int(small_.size()); ++i) {
            readers.at(small_[i].enable).push_back(rams + i);
            for (int n = 0; n < 4; ++n) {
                readers.at(small_[i].address[n]).push_back(rams + i);
                readers.at(small_[i].data[n]).push_back(rams + i);
            }
        }
        first_.assign(1, 0);
        for (const auto& row : readers) {
            readers_.insert(readers_.end(), row.begin(), row.end());
            first_.push_back(int32_t(readers_.size()));
        }
        reader_.assign(small_.size(), 0);
        for (const auto& [ram, op] : read_of_) reader_.at(ram) = op;
        value_[kOne] = 1;
        for (const FlipFlop& f : flip_flops_) value_.at(f.q) = uint8_t(f.value);
        marked_ = Marks(ops_.size());
        due_ = Marks(flip_flops_.size() + small_.size());
    }

    void set(int net, bool value) {
        if (net == kNowhere || value_[net] == value) return;
        value_[net] = value;
        for (int i = first_[net]; i < first_[net + 1]; ++i) {
            const size_t reader = readers_[i];
            if (reader < ops_.size()) marked_.add(reader);
            else due_.add(reader - ops_.size());
        }
    }

    template <typename Nets>
    uint32_t number(const Nets& nets, int bits) const {
        uint32_t found = 0;
        for (int i = 0; i < bits; ++i) found |= uint32_t{value_[nets[i]]} << i;
        return found;
    }

    void settle() {
        marked_.take_all([&](size_t i) {
            const Op& op = ops_[i];
            if (op.kind == kTable) {
                const int index = value_[op.b] | value_[op.c] << 1 | value_[op.d] << 2 | value_[op.e] << 3;
                set(op.a, op.code >> index & 1);
                return;
            }
            const int32_t* reads = &extras_[op.a];
            const int32_t* drives = reads + op.b;
            uint64_t result;
            if (op.kind == kMultiplier) {
                auto factor = [&](int at, int sign) {
                    const int64_t value = number(reads + at, kFactorBits);
                    const bool negative = value_[reads[sign]] && value >> (kFactorBits - 1);
                    return negative ? value - (int64_t{1} << kFactorBits) : value;
                };
                result = uint64_t(factor(0, kProductBits) * factor(kFactorBits, kProductBits + 1));
            } else {
                result = uint64_t(small_[op.code].word[number(reads, 4)]);
            }
            for (int n = 0; n < op.c; ++n) set(drives[n], result >> n & 1);
        });
    }

    // All of a cycle's changes come from the values before its edge.
    void clock() {
        changes_.clear();
        due_.take_all([&](size_t i) {
            if (i < flip_flops_.size()) {
                const FlipFlop& f = flip_flops_[i];
                const bool enable = value_[f.enable] ^ f.enable_inverted, set = value_[f.set] ^ f.set_inverted;
                if (set) changes_.push_back({f.q, f.value});
                else if (enable) changes_.push_back({f.q, value_[f.d]});
                return;
            }
            SmallRam& ram = small_[i - flip_flops_.size()];
            if (value_[ram.enable] ^ ram.inverted) {
                ram.word[number(ram.address, 4)] = int32_t(number(ram.data, 4));
                marked_.add(reader_[i - flip_flops_.size()]);
            }
        });
        for (BlockRam& ram : blocks_) clock(ram);
        if (lock_ != kNowhere && ++cycles_ == kLockCycles) changes_.push_back({lock_, 1});
        for (const Change& change : changes_) set(change.net, change.value);
    }

    // The place of a bit in a word of two bytes of nine; widths of 1, 2 and 4 leave the ninth bit out.
    static int place(uint32_t address) { return int(address & 7) + (address & 8 ? 9 : 0); }

    // Ports of 18 bits have their byte enables in the lowest address bits. With a width of 36, port A writes two words, of
    // which port B's data are the upper one, and port B reads two, the lower one at port A's outputs.
    void clock(BlockRam& ram) {
        struct Access {
            uint32_t address, data;
            bool selected, write;
        } access[2];
        int32_t written[2], old[2];
        for (int side = 0; side < 2; ++side) {
            const Port& port = ram.port[side];
            Access& a = access[side];
            a.selected = value_[port.enable] && !value_[port.select[0]] && !value_[port.select[1]] &&
                         !value_[port.select[2]];
            if (!a.selected) continue;
            a.write = value_[port.write];
            a.address = number(port.address, 14);
            a.data = number(port.data, 18);
            old[side] = ram.word[a.address >> 4];
            written[side] = a.write ? merged(old[side], port.width, a.address, a.data) : old[side];
        }
        for (int side = 0; side < 2; ++side) {
            const Port& port = ram.port[side];
            const Access& a = access[side];
            if (!a.selected || (a.write && port.mode == kNormal)) continue;
            if (side == 1 && port.width == 36) {
                const uint32_t pair = a.address >> 5 << 1;
                give(ram.out[0], ram.word[pair]);
                give(ram.out[1], ram.word[pair + 1]);
            } else if (!(side == 0 && ram.port[1].width == 36)) {
                const int32_t word = a.write && port.mode == kWriteThrough ? written[side] : old[side];
                give(ram.out[side], narrow(word, port.width, a.address));
            }
        }
        for (int side = 0; side < 2; ++side) {
            const Access& a = access[side];
            if (!a.selected || !a.write) continue;
            if (side == 0 && ram.port[0].width == 36) {
                const uint32_t pair = a.address >> 5 << 1, high = number(ram.port[1].data, 18);
                ram.word[pair] = bytes(ram.word[pair], a.data, a.address & 3);
                ram.word[pair + 1] = bytes(ram.word[pair + 1], high, a.address >> 2 & 3);
            } else {
                ram.word[a.address >> 4] = written[side];
            }
        }
    }

    static int32_t bytes(int32_t old, uint32_t data, uint32_t enables) {
        const uint32_t mask = (enables & 1 ? 0x1FFu : 0u) | (enables & 2 ? 0x3FE00u : 0u);
        return int32_t((uint32_t(old) & ~mask) | (data & mask));
    }

    static int32_t merged(int32_t old, int width, uint32_t address, uint32_t data) {
        if (width >= 18) return bytes(old, data, address & 3);
        const int at = width == 9 ? (address & 8 ? 9 : 0) : place(address & ~uint32_t(width - 1));
        const uint32_t mask = ((1u << width) - 1) << at;
        return int32_t((uint32_t(old) & ~mask) | (data << at & mask));
    }

    static int32_t narrow(int32_t word, int width, uint32_t address) {
        if (width >= 18) return word;
        const int at = width == 9 ? (address & 8 ? 9 : 0) : place(address & ~uint32_t(width - 1));
        return word >> at & ((1 << width) - 1);
    }

    void give(const int32_t* nets, int32_t word) {
        for (int i = 0; i < 18; ++i)
            if (nets[i] != kNowhere) changes_.push_back({nets[i], word >> i & 1});
    }

    struct Change {
        int32_t net, value;
    };
    struct ReadOf {
        int32_t ram, op;
    };

    const char* file_;
    std::vector<int32_t> pins_, results_, extras_, first_, readers_, reader_;
    std::vector<Op> ops_;
    std::vector<FlipFlop> flip_flops_;
    std::vector<SmallRam> small_;
    std::vector<BlockRam> blocks_;
    std::vector<ReadOf> read_of_;
    std::vector<uint8_t> value_;
    std::vector<Change> changes_;
    Marks marked_{0}, due_{0};
    int lock_ = kNowhere, cycles_ = 0;
};

}  // namespace

extern "C" void* flow_netlist_open(const char* file) { return new Netlist(file); }

extern "C" void flow_netlist_step(
    void* netlist, svBit edge, const svBitVecVal* pins, svBitVecVal* results) {
    static_cast<Netlist*>(netlist)->step(edge, pins, results);
}
