/* What is in the journal after a restart. Runs before the cores start, reads all sets, and only
 * then decides what is alive: every MESSAGE with a recipient that has no final outcome. The result
 * is divided among the cores: whole sets, and sets whose records depend on each other stay
 * together, so any number of cores can take over what any other number left. */
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

MX_MUST_CHECK mx_err spool_recover(struct spool_recovery **out_recovery,
                                   struct journal_store *store, unsigned cores, struct log *log,
                                   struct spool_recovered *out_result);
void spool_recovery_free(struct spool_recovery *recovery);
struct spool_part *spool_recovery_part(struct spool_recovery *recovery, unsigned core);

const uint16_t *spool_part_sets(const struct spool_part *part);
unsigned spool_part_set_count(const struct spool_part *part);
/* Fills the spool with the part's messages and declares its dependencies to the journal. */
MX_MUST_CHECK mx_err spool_adopt(struct spool *spool, struct spool_part *part);

/* For listing: every living message. */
struct spool_listed {
    struct qid id;
    struct journal_ref ref;
    int64_t arrived_ms;
    uint64_t body_bytes;
    uint32_t rcpt_count;
    uint32_t prefix_bytes, envelope_bytes, inline_bytes, extent_count;
    const struct rcpt_state *rcpts;
    const struct slice *reasons; /* per recipient: last reason, may be empty */
    bool incomplete;
};
void spool_recovery_each(struct spool_recovery *recovery,
                         void (*each)(void *arg, const struct spool_listed *listed), void *arg);
