#include "smtp/spool_adopt.h"

#include "core/check.h"
#include "core/log.h"
#include "io/shard.h"
#include "smtp/spool_history.h"
#include "smtp/spool_recover_private.h"

#include <stdlib.h>

static void retry(struct timer *timer, uint64_t now_ns)
{
    (void)timer;
    (void)now_ns; /* it only ends the wait: the hook goes on */
}

void spool_adopt(struct spool *spool, struct spool_part *part)
{
    MX_ASSERT(spool->part == NULL);
    spool->part = part;
    spool->adopt_retry.fire = retry;
    journal_adopt(spool->journal, &part->segments);
}

static bool has_room(const struct pool *pool)
{
    return pool->used < pool->slots_max / 100 * SPOOL_ADOPT_PERCENT;
}

static struct message *message_new(struct spool *spool, const struct entry *entry)
{
    struct message *msg = spool_message_new(spool);
    if (msg == NULL) {
        return NULL;
    }
    msg->rcpts = entry->rcpt_count > 1 ? calloc(entry->rcpt_count, sizeof *msg->rcpts) : &msg->one;
    if (msg->rcpts == NULL) {
        spool_message_free(spool, msg);
        return NULL;
    }
    return msg;
}

static bool extents_new(struct spool *spool, struct message *msg, const struct entry *entry)
{
    struct extent **tail = &msg->extents;
    for (const struct found_extent *e = entry->extents; e != NULL; e = e->next) {
        struct extent *extent =
            has_room(&spool->extents) ? pool_acquire_zero(&spool->extents) : NULL;
        if (extent == NULL) {
            return false;
        }
        extent->res.kind = RESIDENT_EXTENT;
        extent->message = msg;
        extent->number = e->head.number;
        extent->len = e->head.len;
        extent->checksum = e->head.checksum;
        journal_settle(spool->journal, &extent->res.resident, e->ref);
        *tail = extent;
        tail = &extent->next;
    }
    return true;
}

static void states_copy(struct spool *spool, struct message *msg, struct entry *entry)
{
    const struct texts *found = &spool->part->recovery->texts;
    const struct rcpt_state *states = entry_rcpts(entry);
    for (uint32_t i = 0; i < entry->rcpt_count; i++) {
        struct rcpt_state *state = &msg->rcpts[i];
        *state = states[i];
        state->reply = texts_hold(&spool->texts, texts_get(found, states[i].reply));
        state->hop = texts_hold(&spool->texts, texts_get(found, states[i].hop));
        state->queue = texts_hold(&spool->texts, texts_get(found, states[i].queue));
        msg->rcpts_left += rcpt_open(state);
        if (state->attempts == 0 && !(state->flags & (RCPT_PUT_OFF | RCPT_THROTTLED))) {
            state->due_ms = entry->arrived_ms; /* it only waited for a hop */
        }
    }
}

/* What it counts under comes last, as nothing is given back that did not count. */
static bool hold_new(struct message *msg, const struct entry *entry)
{
    if (entry->charge_count == 0) {
        return true;
    }
    msg->hold = quota_hold_new(entry->charges, entry->charge_count, entry->body_bytes);
    return msg->hold != NULL;
}

/* False: no memory now, nothing was taken. */
static bool adopt_message(struct spool *spool, struct entry *entry)
{
    struct message *msg = has_room(&spool->messages) ? message_new(spool, entry) : NULL;
    if (msg == NULL) {
        return false;
    }
    msg->id = entry->id;
    msg->arrived_ms = entry->arrived_ms;
    msg->body_bytes = entry->body_bytes;
    msg->rcpt_count = entry->rcpt_count;
    msg->envelope_bytes = entry->envelope_bytes;
    msg->inline_bytes = entry->inline_bytes;
    msg->extent_count = entry->extent_count;
    msg->recovered = true;
    msg->held = entry->incomplete;
    states_copy(spool, msg, entry);
    journal_settle(spool->journal, &msg->res.resident, entry->ref);
    spool_enqueue(spool, msg);
    if (!extents_new(spool, msg, entry) || !hold_new(msg, entry)) {
        spool_forget(spool, msg);
        return false;
    }
    spool_history_adopt(spool, msg, entry->history, entry->history_number);
    spool->ops->recovered(spool->arg, msg);
    return true;
}

static void adopt_end(struct spool *spool)
{
    spool->part = NULL;
    journal_adopted(spool->journal);
    spool->ops->adopted(spool->arg);
}

static void adopt_wait(struct spool *spool)
{
    if (!spool->adopt_waited) {
        spool->adopt_waited = true;
        struct log_line *line = log_begin(&spool->shard->log, LOG_WARN, "queue-recovery-waits");
        log_u64(line, "messages", spool->count);
        log_text(line, "reason", "no memory for more messages");
        log_text(line, "effect", "the rest of the old queue is taken up as messages leave");
        log_end(&spool->shard->log, line);
    }
    shard_after(spool->shard, &spool->adopt_retry, SPOOL_ADOPT_RETRY_MS * MX_NS_PER_MS);
}

void spool_adopt_step(struct spool *spool)
{
    struct spool_part *part = spool->part;
    if (part == NULL || timer_armed(&spool->adopt_retry)) {
        return;
    }
    for (unsigned i = 0; i < SPOOL_ADOPT_PER_TURN && part->first != 0; i++) {
        struct entry *entry = &part->recovery->entries[part->first - 1];
        if (!adopt_message(spool, entry)) {
            adopt_wait(spool);
            return;
        }
        part->first = entry->next;
    }
    if (part->first == 0) {
        adopt_end(spool);
    } else {
        shard_again(spool->shard);
    }
}
