/* The queue that an earlier process left, taken over while the cores already accept mail:
 *
 *   managing shard -> helper thread: scan, judge, divide (smtp/spool_recover) -> managing shard ->
 *   every core: its part (io/mbox), adopted in slices (smtp/spool_adopt) -> managing shard: all
 * parts are taken, the index of the recovery is freed
 *
 * Until the scan has ended, nothing of the old queue is delivered, moved or freed. An end of the
 * process at any moment leaves it on the disk as it was, but for what was delivered meanwhile. */
#pragma once

#include "core/log.h"
#include "smtp/spool_recover.h"

struct mbox_hub;
struct shard;
struct takeover;

enum { TAKEOVER_PROGRESS_MS = 1000 }; /* a log line at most so often */

struct takeover_result {
    mx_err err; /* MX_OK, or why the old queue cannot be read */
    struct spool_recovered found;
    uint64_t took_ms; /* from takeover_begin until now */
};

struct takeover_conf {
    struct journal_store *store;
    struct mbox_hub *hub;
    unsigned cores;
    enum log_level log_level;
    /* In the managing shard's thread, once: everything is with its core, or it has failed. */
    void (*ended)(void *owner, const struct takeover_result *result);
    void *owner;
};

/* Before the cores start; outlives them. */
MX_MUST_CHECK mx_err takeover_new(struct takeover **out_takeover, const struct takeover_conf *conf);
/* After all cores have ended; NULL is fine. */
void takeover_free(struct takeover *takeover);
/* The helper thread's log, for the thread that writes log lines. */
struct log *takeover_log(struct takeover *takeover);

/* In the thread of the managing shard, which is none of the cores but has a number in the hub.
 * begin: once all journals are open. stop: the scan ends soon, nothing more is handed out. quiet:
 * the helper thread has nothing to do. end: waits for that. NULL is fine for all but begin. */
void takeover_begin(struct takeover *takeover, struct shard *shard);
void takeover_stop(struct takeover *takeover);
bool takeover_quiet(const struct takeover *takeover);
void takeover_end(struct takeover *takeover);

/* In the thread of the core that has taken over its part. */
void takeover_taken(struct takeover *takeover, struct shard *at);
