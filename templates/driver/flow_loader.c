/* See flow_loader.h. */
#include "flow_loader.h"

/* Control and status of ap_ctrl (UG1399, "S_AXILITE Control Register Map"). */
#define START 1u
#define DONE 2u

/* Byte offsets of the image's header. */
enum { MAGIC_AT = 0, VERSION_AT = 4, HASH_AT = 8, BEATS_AT = 24, HEADER_BYTES = 64 };

static uint64_t little_endian(const unsigned char *bytes, int count) {
    uint64_t value = 0;
    int i;
    for (i = 0; i < count; ++i) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

int flow_check_image(const void *image, size_t bytes) {
    const unsigned char *header = (const unsigned char *)image;
    if (bytes < HEADER_BYTES || little_endian(header + MAGIC_AT, 4) != FLOW_PROGRAM_MAGIC) return FLOW_STATUS_BAD_MAGIC;
    if (little_endian(header + VERSION_AT, 4) != FLOW_PROGRAM_VERSION) return FLOW_STATUS_BAD_VERSION;
    if (little_endian(header + HASH_AT, 8) != FLOW_ENGINE_HASH) return FLOW_STATUS_WRONG_ENGINE;
    /* A file that was cut short. */
    if (little_endian(header + BEATS_AT, 4) * FLOW_BEAT_BYTES > bytes) return FLOW_STATUS_BAD_STEP;
    return FLOW_STATUS_OK;
}

size_t flow_padded_bytes(size_t bytes) {
    return (bytes + FLOW_PAGE_BYTES - 1) / FLOW_PAGE_BYTES * FLOW_PAGE_BYTES;
}

void flow_start(const struct flow_device *device, uint32_t command, uint32_t frames) {
    device->write(device->context, FLOW_REGISTER_COMMAND, command);
    device->write(device->context, FLOW_REGISTER_FRAMES, frames);
    device->write(device->context, FLOW_REGISTER_AP_CTRL, START);
}

int flow_finish(const struct flow_device *device, uint32_t info[FLOW_INFO_WORDS]) {
    uint32_t i;
    while (!(device->read(device->context, FLOW_REGISTER_AP_CTRL) & DONE)) {
        if (device->wait && device->wait(device->context)) return FLOW_GAVE_UP;
    }
    for (i = 0; i < FLOW_INFO_WORDS; ++i) info[i] = device->read(device->context, FLOW_REGISTER_INFO + 4 * i);
    return (int)info[FLOW_INFO_STATUS];
}

int flow_identify(const struct flow_device *device, uint32_t info[FLOW_INFO_WORDS]) {
    flow_start(device, FLOW_COMMAND_IDENTIFY, 0);
    return flow_finish(device, info);
}

int flow_load(const struct flow_device *device, uint64_t address, uint32_t info[FLOW_INFO_WORDS]) {
    device->write(device->context, FLOW_REGISTER_MEMORY, (uint32_t)address);
    device->write(device->context, FLOW_REGISTER_MEMORY + 4, (uint32_t)(address >> 32));
    flow_start(device, FLOW_COMMAND_LOAD, 0);
    return flow_finish(device, info);
}

int flow_run(
    const struct flow_device *device, const void *frame, size_t frame_bytes, void *output, size_t output_bytes,
    uint32_t info[FLOW_INFO_WORDS]
) {
    flow_start(device, FLOW_COMMAND_RUN, 1);
    if (device->send(device->context, frame, frame_bytes)) return FLOW_GAVE_UP;
    if (device->receive(device->context, output, output_bytes)) return FLOW_GAVE_UP;
    return flow_finish(device, info);
}

const char *flow_status_name(int status) {
    static const char *const names[] = FLOW_STATUS_NAMES;
    if (status == FLOW_GAVE_UP) return "GAVE_UP";
    return status >= 0 && status < (int)(sizeof names / sizeof *names) ? names[status] : "UNKNOWN";
}
