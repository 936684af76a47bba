/* The HISTORY record of a message: what its attempts said (smtp/history). One counts, the one with
 * the highest number; it lives as long as its message and moves forward as that does. It is a
 * comfort: without memory, room or disk the newest attempts are not in it, and nothing else
 * suffers. */
#pragma once

#include "smtp/spool.h"

struct history {
    struct spool_resident res;
    struct journal_append append;
    struct spool *spool;
    struct message *message; /* NULL: replaced while it was being moved */
    uint32_t number;
};

/* Writes all of a message's history anew. */
void spool_history_write(struct spool *spool, struct message *msg, struct slice entries);
/* The message ends, or the record is replaced. */
void spool_history_drop(struct spool *spool, struct history *history);
/* It is damaged: its message has none any more. It goes with the move that found that. */
void spool_history_forget(struct history *history);
/* What was found of an earlier process. Without memory there is none. */
void spool_history_adopt(struct spool *spool, struct message *msg, struct journal_ref ref,
                         uint32_t number);
/* The entries in the payload of a record; empty when it is malformed. */
struct slice spool_history_entries(struct slice payload);
