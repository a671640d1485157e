/* Loads a program into the engine and runs frames: the register sequence of docs/program-format.md in C99.
 *
 * The platform gives five functions; flow_engine.h, beside this file, gives the engine's numbers. The Python driver
 * (flow_driver.py) does the same.
 *
 *     struct flow_device device = {&board, read_register, write_register, wait, send, receive};
 *     if (flow_check_image(image, image_bytes) == FLOW_STATUS_OK) {
 *         ... copy the image to a page of memory that the engine reads, padded to whole pages with zeros ...
 *         int status = flow_load(&device, physical_address, info);
 *         if (status == FLOW_STATUS_OK) status = flow_run(&device, frame, frame_bytes, output, output_bytes, info);
 *     }
 */
#ifndef FLOW_LOADER_H
#define FLOW_LOADER_H

#include <stddef.h>
#include <stdint.h>

#include "flow_engine.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Returned in place of a status where the platform gave up waiting, or a stream failed. */
#define FLOW_GAVE_UP (-1)

/* How to reach an engine. `context` is handed to every function. */
struct flow_device {
    void *context;
    /* 32-bit registers by byte offset. */
    uint32_t (*read)(void *context, uint32_t offset);
    void (*write)(void *context, uint32_t offset, uint32_t value);
    /* Called as long as the engine works; not 0: give up. NULL: keep asking. */
    int (*wait)(void *context);
    /* Begin to send a frame; wait for an output frame while it travels. Not 0: failed. Only flow_run calls them. */
    int (*send)(void *context, const void *frame, size_t bytes);
    int (*receive)(void *context, void *frame, size_t bytes);
};

/* Whether an image is whole and for this engine; FLOW_STATUS_OK or what LOAD would say. */
int flow_check_image(const void *image, size_t bytes);

/* Bytes of memory that an image takes: whole pages, because bursts may end beyond its last beat. */
size_t flow_padded_bytes(size_t bytes);

/* Commands. Each returns its status and fills `info`; the image stays where it is after LOAD. */
int flow_identify(const struct flow_device *device, uint32_t info[FLOW_INFO_WORDS]);
int flow_load(const struct flow_device *device, uint64_t address, uint32_t info[FLOW_INFO_WORDS]);
int flow_run(
    const struct flow_device *device, const void *frame, size_t frame_bytes, void *output, size_t output_bytes,
    uint32_t info[FLOW_INFO_WORDS]
);

/* The halves of a command, for a platform that moves frames by itself. */
void flow_start(const struct flow_device *device, uint32_t command, uint32_t frames);
int flow_finish(const struct flow_device *device, uint32_t info[FLOW_INFO_WORDS]);

/* A status as docs/program-format.md calls it. */
const char *flow_status_name(int status);

#ifdef __cplusplus
}
#endif

#endif
