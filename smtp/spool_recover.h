/* What an earlier process left in the journal. Reads all sets, and only then decides what is alive:
 * every MESSAGE with a recipient that has no final outcome. The result is divided among the cores:
 * whole sets, and sets whose records depend on each other stay together, so any number of cores can
 * take over what any other number left. Blocks; one thread, which may run while the cores do
 * (smtp/takeover), since they write to segments that are not read here.
 *
 * A newer format of records comes with a newer version in the segments' headers, so that it is
 * refused when the store is opened, before mail is accepted. */
#pragma once

#include "smtp/spool.h"

struct spool_recovery;
struct spool_part;

struct spool_recovered {
    struct journal_scan_result scan;
    uint64_t messages;   /* alive */
    uint64_t finished;   /* found, but all recipients are final */
    uint64_t incomplete; /* content is missing: kept, not tried */
};

struct spool_recover_conf {
    struct log *log; /* of the calling thread */
    /* At first and behind each segment; an error ends the recovery with it. May be NULL. */
    mx_err (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

MX_MUST_CHECK mx_err spool_recover(struct spool_recovery **out_recovery,
                                   struct journal_store *store,
                                   const struct spool_recover_conf *conf,
                                   struct spool_recovered *out_result);
/* Closes the files of parts that nobody took over. */
void spool_recovery_free(struct spool_recovery *recovery);
/* Makes one part per core and takes the segments out of the store. Once; all journals are open. */
MX_MUST_CHECK mx_err spool_recovery_divide(struct spool_recovery *recovery, unsigned cores);
struct spool_part *spool_recovery_part(struct spool_recovery *recovery, unsigned core);

/* For listing: every living message. */
struct spool_listed {
    struct qid id;
    struct journal_ref ref;
    int64_t arrived_ms;
    uint64_t body_bytes;
    uint32_t rcpt_count;
    uint32_t prefix_bytes, envelope_bytes, inline_bytes, extent_count;
    const struct rcpt_state *rcpts;
    const struct texts *texts; /* that the states refer to */
    bool incomplete;
};
void spool_recovery_each(struct spool_recovery *recovery,
                         void (*each)(void *arg, const struct spool_listed *listed), void *arg);
