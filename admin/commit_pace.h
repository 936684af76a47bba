/* A change is synced to the disk that mail is synced to as well, and what waits for the disk waits
 * for all of it. So while mail comes in, who changes much is answered later: commits have a share
 * of the time, after a burst, and a client that waits for its answers before it goes on (as `apply`
 * does) keeps to it. A call is never held for longer than its objects justify: a million accounts
 * are there within ten minutes, and single changes are not noticeably slower. Pure. */
#pragma once

#include "core/base.h"

enum {
    COMMIT_PACE_SHARE = 200,        /* one part in so many of the time */
    COMMIT_PACE_OBJECT_NS = 500000, /* a call is held for at most this by the object */
    COMMIT_PACE_MAIL_MS = 1000,     /* mail comes in: a core has synced something since */
};

#define COMMIT_PACE_BURST_NS (UINT64_C(2) * 1000 * 1000 * 1000) /* times the share: 10 ms */

/* When the share has been kept to; 0 at first. */
struct commit_pace {
    uint64_t full_ns;
};

/* A call that began at begun_ns (monotonic, as now_ns) has kept the disk for sync_ns to commit so
 * many objects, while mail came in. How long, from now on, its answer is held. */
uint64_t commit_pace_hold_ns(struct commit_pace *pace, uint64_t sync_ns, uint64_t objects,
                             uint64_t begun_ns, uint64_t now_ns);
