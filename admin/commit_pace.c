#include "admin/commit_pace.h"

uint64_t commit_pace_hold_ns(struct commit_pace *pace, uint64_t sync_ns, uint64_t objects,
                             uint64_t begun_ns, uint64_t now_ns)
{
    uint64_t most_ns = begun_ns + objects * COMMIT_PACE_OBJECT_NS;
    uint64_t full_ns = (pace->full_ns > now_ns ? pace->full_ns : now_ns);
    full_ns += sync_ns * COMMIT_PACE_SHARE;
    uint64_t until_ns = full_ns > COMMIT_PACE_BURST_NS ? full_ns - COMMIT_PACE_BURST_NS : 0;
    if (until_ns > most_ns) {
        /* What is beyond is forgiven, or one slow sync would hold up all that follow. */
        until_ns = most_ns;
        full_ns = (most_ns > now_ns ? most_ns : now_ns) + COMMIT_PACE_BURST_NS;
    }
    pace->full_ns = full_ns;
    return until_ns > now_ns ? until_ns - now_ns : 0;
}
