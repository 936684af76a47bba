#include "smtp/spool_history.h"

#include "core/check.h"

static struct history *history_new(struct spool *spool, struct message *msg, uint32_t number)
{
    struct history *history = pool_acquire_zero(&spool->histories);
    if (history != NULL) {
        history->res.kind = RESIDENT_HISTORY;
        history->spool = spool;
        history->message = msg;
        history->number = number;
    }
    return history;
}

void spool_history_drop(struct spool *spool, struct history *history)
{
    history->message = NULL;
    if (!history->res.moving) { /* else when the copy is there */
        journal_leave(spool->journal, &history->res.resident);
        pool_release(&spool->histories, history);
    }
}

void spool_history_forget(struct history *history)
{
    if (history->message != NULL && history->message->history == history) {
        history->message->history = NULL;
    }
    history->message = NULL;
}

static void write_done(struct journal_append *append, mx_err err)
{
    struct history *history = mx_container_of(append, struct history, append);
    struct spool *spool = history->spool;
    struct message *msg = history->message;
    MX_ASSERT(msg->writes > 0);
    msg->writes--;
    if (err) {
        pool_release(&spool->histories, history);
    } else {
        if (msg->history != NULL) {
            spool_history_drop(spool, msg->history);
        }
        journal_settle(spool->journal, &history->res.resident, append->ref);
        msg->history = history;
    }
    spool_settle_end(spool, msg);
}

void spool_history_write(struct spool *spool, struct message *msg, struct slice entries)
{
    uint32_t number = msg->history != NULL ? msg->history->number + 1 : 1;
    struct history *history = history_new(spool, msg, number);
    struct writer payload;
    if (history == NULL) {
        return;
    }
    history->append.done = write_done;
    uint32_t len = RECORD_HISTORY_HEAD_BYTES + (uint32_t)entries.len;
    if (journal_append(spool->journal, &history->append, RECORD_HISTORY, msg->id, len, JOURNAL_LAZY,
                       &payload)) {
        pool_release(&spool->histories, history);
        return;
    }
    put_u32(&payload, number);
    put_slice(&payload, entries);
    msg->writes++;
}

void spool_history_adopt(struct spool *spool, struct message *msg, struct journal_ref ref,
                         uint32_t number)
{
    struct history *history = ref.segment == NULL ? NULL : history_new(spool, msg, number);
    if (history != NULL) {
        journal_settle(spool->journal, &history->res.resident, ref);
        msg->history = history;
    }
}

struct slice spool_history_entries(struct slice payload)
{
    return slice_from(payload, mx_min_size(RECORD_HISTORY_HEAD_BYTES, payload.len));
}
