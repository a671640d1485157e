// The emitted kernel behind a model of its registers, driven by the emitted C loader.
//
//   register_model IMAGE INPUT OUTPUT FRAMES     prints one line for each command: its name, status, frames done
//
// The model is strict: unknown offsets, writes while the engine works, and arguments that were never written end it.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "flow_engine.hpp"
#include "flow_loader.h"

namespace {

[[noreturn]] void fail(const std::string &message) {
    std::fprintf(stderr, "register model: %s\n", message.c_str());
    std::exit(2);
}

std::vector<uint8_t> read_file(const char *path) {
    std::FILE *file = std::fopen(path, "rb");
    if (!file) fail(path);
    std::vector<uint8_t> bytes;
    for (int c; (c = std::fgetc(file)) != EOF;) bytes.push_back(uint8_t(c));
    std::fclose(file);
    return bytes;
}

struct Board {
    flow::FrameStream in{"stream_in"};
    flow::FrameStream out{"stream_out"};
    std::map<uint32_t, uint32_t> written;
    uint32_t info[FLOW_INFO_WORDS] = {};
    bool started = false;
    bool done = false;
    int waits = 0;

    uint32_t argument(uint32_t offset) const {
        const auto found = written.find(offset);
        if (found == written.end()) fail("an argument was not written");
        return found->second;
    }
    // The engine works when it is asked for the third time.
    void work() {
        const uint64_t low = written.count(0x10) ? argument(0x10) : 0;
        const uint64_t high = written.count(0x14) ? argument(0x14) : 0;
        const auto *memory = reinterpret_cast<const flow::Beat *>(uintptr_t(high << 32 | low));
        flow_engine(memory, in, out, argument(0x1c), argument(0x24), info);
        started = false;
        done = true;
    }
};

Board &board_of(void *context) { return *static_cast<Board *>(context); }

uint32_t read_register(void *context, uint32_t offset) {
    Board &board = board_of(context);
    if (offset == 0x00) {
        const uint32_t value = (board.started ? 1u : 0u) | (board.done ? 0xeu : board.started ? 0u : 4u);
        board.done = false;
        return value;
    }
    if (offset < 0x80 || offset >= 0x100 || offset % 4) fail("read of an unknown register");
    if (board.started) fail("read of the information block while the engine works");
    return board.info[(offset - 0x80) / 4];
}

void write_register(void *context, uint32_t offset, uint32_t value) {
    Board &board = board_of(context);
    if (board.started) fail("write while the engine works");
    if (offset == 0x00) {
        if (value != 1) fail("another value than START in ap_ctrl");
        board.started = true;
        board.done = false;
        board.waits = 0;
        return;
    }
    if (offset != 0x10 && offset != 0x14 && offset != 0x1c && offset != 0x24) fail("write of an unknown register");
    board.written[offset] = value;
}

int wait(void *context) {
    Board &board = board_of(context);
    if (!board.started) fail("waited for an engine that rests");
    if (++board.waits == 3) board.work();
    return 0;
}

int give_up(void *) { return 1; }

int send(void *context, const void *frame, size_t bytes) {
    for (size_t at = 0; at < bytes; at += FLOW_STREAM_BYTES) {
        flow::StreamBeat beat = {};
        std::memcpy(beat.data.byte, static_cast<const uint8_t *>(frame) + at, FLOW_STREAM_BYTES);
        board_of(context).in.write(beat);
    }
    return 0;
}

int receive(void *context, void *frame, size_t bytes) {
    Board &board = board_of(context);
    if (board.started) board.work();
    for (size_t at = 0; at < bytes; at += FLOW_STREAM_BYTES) {
        const flow::StreamBeat beat = board.out.read();
        std::memcpy(static_cast<uint8_t *>(frame) + at, beat.data.byte, FLOW_STREAM_BYTES);
        if ((beat.last != 0) != (at + FLOW_STREAM_BYTES == bytes)) fail("TLAST in another place than the end");
    }
    return board.out.empty() ? 0 : 1;
}

void say(const char *command, int status, const uint32_t *info) {
    std::printf("%s %s %u\n", command, flow_status_name(status), unsigned(info[FLOW_INFO_FRAMES_DONE]));
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 5) fail("expected IMAGE INPUT OUTPUT FRAMES");
    const std::vector<uint8_t> image = read_file(argv[1]), input = read_file(argv[2]);
    std::vector<uint8_t> output = read_file(argv[3]);
    const size_t expected = output.size(), frames = size_t(std::atoi(argv[4]));
    Board board;
    const flow_device device = {&board, read_register, write_register, wait, send, receive};
    uint32_t info[FLOW_INFO_WORDS] = {};

    say("identify", flow_identify(&device, info), info);
    const uint64_t hash = info[FLOW_INFO_HASH_LOW] | uint64_t(info[FLOW_INFO_HASH_HIGH]) << 32;
    if (hash != FLOW_ENGINE_HASH) fail("the engine's hash is not the header's");
    say("early", flow_run(&device, input.data(), 0, output.data(), 0, info), info);

    say("check", flow_check_image(image.data(), image.size()), info);
    say("short", flow_check_image(image.data(), image.size() - 1), info);
    std::vector<uint8_t> other = image;
    other[8] ^= 1;
    say("other", flow_check_image(other.data(), other.size()), info);
    std::vector<flow::Beat> memory(flow_padded_bytes(image.size()) / sizeof(flow::Beat));
    std::memcpy(memory.data(), other.data(), other.size());
    say("load", flow_load(&device, uint64_t(uintptr_t(memory.data())), info), info);
    std::memcpy(memory.data(), image.data(), image.size());
    say("load", flow_load(&device, uint64_t(uintptr_t(memory.data())), info), info);

    std::vector<uint8_t> found(expected);
    for (size_t i = 0; i < frames; ++i) {
        const size_t in = input.size() / frames, out = expected / frames;
        say("run", flow_run(&device, &input[i * in], in, &found[i * out], out, info), info);
    }
    if (found != output) fail("another output than expected");
    flow_device impatient = device;
    impatient.wait = give_up;
    say("stuck", flow_identify(&impatient, info), info);
    return 0;
}
