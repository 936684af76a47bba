/* Watches what the server may run out of (core/overload), on the management loop: a few times a
 * second it reads the gauges, tells every core the levels (smtp/shed) and the log every change.
 * File systems and descriptors are read by a helper thread, since a network file system may keep it
 * waiting; until it has answered, what it said last counts. */
#pragma once

#include "core/err.h"
#include "io/shard.h"

struct expr_metrics;
struct image;
struct overload_watch;

enum { OVERLOAD_WATCH_MS = 250, OVERLOAD_FOLDERS_MAX = 3 };

struct overload_watch_conf {
    struct shard *shard; /* of the loop, with a worker thread */
    unsigned cores;
    const struct image *image; /* has the thresholds; replaced by overload_watch_image */
    /* Whose file systems count; borrowed. */
    const char *folders[OVERLOAD_FOLDERS_MAX];
    unsigned folder_count;
    struct expr_metrics *metrics; /* what the cores add up to is written there; NULL: nowhere */
};

MX_MUST_CHECK mx_err overload_watch_new(struct overload_watch **out_watch,
                                        const struct overload_watch_conf *conf);
void overload_watch_image(struct overload_watch *watch, const struct image *image);
/* No further reading begins. True: none is under way. NULL is fine. */
bool overload_watch_stop(struct overload_watch *watch);
/* After overload_watch_stop has said true and the cores have ended. NULL is fine. */
void overload_watch_free(struct overload_watch *watch);
