/* What is asked of all messages of a core lies side by side, by their handles: a look at a million
 * of them then reads some megabytes from one end to the other instead of a million places. It costs
 * a few stores when a message comes, is put off or goes. */
#pragma once

#include "smtp/spool.h"

#define SPOOL_NOT_THERE INT64_MIN

struct spool_block {
    int64_t due_ms[SPOOL_BLOCK]; /* of the earliest recipient (spool_due_ms), as it was when the
                                    message last left memory; SPOOL_NOT_THERE: no such message */
    int64_t arrived_ms[SPOOL_BLOCK];
    uint32_t checks[SPOOL_BLOCK];             /* of the queue id (queue_id_check) */
    struct queue_digest digests[SPOOL_BLOCK]; /* of the addresses; queue_digest_any: not known */
    int64_t oldest_ms, newest_ms; /* all arrivals that there have been here lie between */
};

/* Memory for a message with that handle. MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err spool_index_room(struct spool *spool, uint32_t handle);
void spool_index_fini(struct spool *spool);
/* The message is in spool->all. */
void spool_index_add(struct spool *spool, const struct message *msg);
void spool_index_addresses(struct spool *spool, const struct message *msg,
                           const struct envelope *env);
/* Its states have changed. Nothing for a message that is not there (any more). */
void spool_index_due(struct spool *spool, const struct message *msg);
/* By which it is in order; of a message that is there. */
int64_t spool_index_due_ms(const struct spool *spool, const struct message *msg);
/* It is not to be found any more; harmless where it is not there. */
void spool_index_remove(struct spool *spool, const struct message *msg);

/* When the earliest recipient is due, for an attempt or a report; INT64_MAX: none waits. */
int64_t spool_due_ms(const struct message *msg);
