/* How far a client that sends content is behind the slowest rate that is put up with. A gap counts
 * in full, and every byte pays for its share of a second, so neither a byte now and then nor one
 * burst before a long silence wins time, and a link that halts for a moment loses nothing that it
 * does not catch up. Only waiting for the client counts: what it sent while we were busy waits in
 * the kernel, and pays when it is read. Pure. */
#pragma once

#include "core/base.h"

struct srv_pace {
    uint64_t behind_ns;
};

/* bytes have come after waited_ns; rate: bytes a second, 0 = any. */
void srv_pace_moved(struct srv_pace *pace, uint64_t waited_ns, uint64_t bytes, uint64_t rate);
/* How long it may send nothing more; 0: it is behind by more than grace_ns. UINT64_MAX with a rate
 * of 0. */
uint64_t srv_pace_left_ns(const struct srv_pace *pace, uint64_t rate, uint64_t grace_ns);
