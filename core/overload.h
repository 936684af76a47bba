/* Whether the server runs out of something: a gauge for each resource goes in, a level comes out.
 * Pure.
 *
 * Each resource has a threshold that an administrator sets, of what is used or of what must be
 * left. Load is shed in this order, each step before the next one is needed:
 *
 *   OVERLOAD_STRAINED  clients get fewer connections and shorter timeouts;
 *                      whoever behaves notices nothing
 *   OVERLOAD_REFUSING  new connections are answered 421;
 *                      those that are open finish, with yet shorter timeouts
 *
 * A level is entered at once. It is left when the gauge has been on the good side of a lower mark
 * for OVERLOAD_CALM readings in a row, so that a gauge that wavers around a mark neither flaps nor
 * fills the log. */
#pragma once

#include "core/base.h"

enum overload_resource {
    OVERLOAD_DESCRIPTORS,    /* of the process */
    OVERLOAD_MEMORY,         /* of a core, for content and output */
    OVERLOAD_DISK_BYTES,     /* free, where the queue and the mailboxes are */
    OVERLOAD_DISK_INODES,    /* likewise */
    OVERLOAD_QUEUE_MESSAGES, /* of all cores */
    OVERLOAD_QUEUE_BYTES,
    OVERLOAD_RESOURCES
};

enum overload_level { OVERLOAD_NONE, OVERLOAD_STRAINED, OVERLOAD_REFUSING, OVERLOAD_LEVELS };

enum { OVERLOAD_CALM = 8 };

/* Of one resource. Zeroed: nothing is short. */
struct overload_state {
    uint8_t level; /* enum overload_level */
    uint8_t calm;  /* readings in a row that would allow a lower one */
};

struct overload_text {
    const char *name;   /* "disk_bytes": label of the statistic */
    const char *said;   /* "overload: disk space": why the server is not ready */
    const char *advice; /* what an administrator does about it */
};

/* The level after one more reading. value: what is used, or of the disk what is left, in the unit
 * of the threshold (at least 1). True: it has changed. */
bool overload_step(struct overload_state *state, enum overload_resource resource, uint64_t value,
                   uint64_t threshold);
const struct overload_text *overload_text(enum overload_resource resource);
