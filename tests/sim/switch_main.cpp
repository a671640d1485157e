// Run-time switching as a driver does it: LOAD once, RUN every frame, write the patch into the image, RUN them again.
//
//   switch_main IMAGE INPUT OUTPUT OFFSET PATCH
//
// OUTPUT gets the frames of both rounds.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "flow_engine.hpp"

using namespace flow;

namespace {

std::vector<uint8_t> read_file(const char *path) {
    std::ifstream file(path, std::ios::binary);
    return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    const std::vector<uint8_t> bytes = read_file(argv[1]);
    const std::vector<uint8_t> input = read_file(argv[2]);
    const std::vector<uint8_t> patch = read_file(argv[5]);
    const std::size_t offset = std::strtoul(argv[4], nullptr, 10);
    std::vector<Beat> image(bytes.size() / sizeof(Beat));
    if (bytes.size() % sizeof(Beat) || patch.empty() || offset + patch.size() > bytes.size()) return 2;
    std::memcpy(image.data(), bytes.data(), bytes.size());

    FrameStream in("input stream");
    FrameStream out("output stream");
    std::ofstream output(argv[3], std::ios::binary);
    uint32_t info[InfoWords];
    flow_engine(image.data(), in, out, uint32_t(Command::Load), 0, info);
    for (int round = 0; round < 2; ++round) {
        if (info[InfoStatus] != uint32_t(Status::Ok)) return 1;
        for (std::size_t at = 0; at < input.size(); at += StreamBytes) {
            StreamBeat beat = {};
            std::memcpy(beat.data.byte, &input[at], StreamBytes);
            in.write(beat);
        }
        while (info[InfoStatus] == uint32_t(Status::Ok) && !in.empty()) {
            flow_engine(image.data(), in, out, uint32_t(Command::Run), 1, info);
            while (!out.empty()) {
                output.write(reinterpret_cast<const char *>(out.read().data.byte), StreamBytes);
            }
        }
        std::memcpy(reinterpret_cast<uint8_t *>(image.data()) + offset, patch.data(), patch.size());
    }
    return info[InfoStatus] == uint32_t(Status::Ok) ? 0 : 1;
}
