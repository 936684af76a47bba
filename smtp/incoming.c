/* The receiving side of the spool: content into extents while it arrives, then the MESSAGE record.
 */
#include "core/check.h"
#include "core/hash.h"
#include "io/shard.h"
#include "smtp/spool.h"
#include "smtp/spool_index.h"

#include <stdlib.h>

static void extent_done(struct journal_append *append, mx_err err);
static void room_again(struct journal_waiter *waiter);
static void body_goes_on(struct incoming *in);
static mx_err record_write(struct incoming *in);
static void commit_go(struct incoming *in);
static void commit_done(struct journal_append *append, mx_err err);

struct incoming *incoming_begin(struct spool *spool, void *owner)
{
    struct incoming *in = pool_acquire(&spool->incomings);
    if (in != NULL) {
        *in = (struct incoming){.spool = spool, .owner = owner};
        in->id = journal_next_id(spool->journal);
    }
    return in;
}

static void incoming_free(struct incoming *in)
{
    struct spool *spool = in->spool;
    struct extent *extent = in->extents;
    while (extent != NULL) {
        struct extent *next = extent->next;
        journal_leave(spool->journal, &extent->res.resident);
        pool_release(&spool->extents, extent);
        extent = next;
    }
    chain_clear(&in->content, &spool->shard->blocks);
    journal_unwait(&in->waiter);
    if (in->message != NULL) {
        spool_message_free(spool, in->message);
    }
    if (in->hold != NULL) {
        spool->ops->released(spool->arg, in->hold);
    }
    spool_txn_free(spool, in->txn);
    pool_release(&spool->incomings, in);
}

void incoming_abort(struct incoming *in)
{
    MX_ASSERT(!in->committing);
    in->owner = NULL;
    in->aborted = true;
    journal_unwait(&in->waiter);
    if (in->in_flight == 0) {
        incoming_free(in);
    }
}

/* --- extents -----------------------------------------------------------------------------------
 */

/* Copies the first len bytes of a chain into a payload. */
static void put_chain(struct writer *w, const struct chain *chain, size_t len)
{
    for (const struct block *b = chain->head; b != NULL && len > 0; b = b->next) {
        struct slice part = slice_first(block_slice(b), len);
        put_slice(w, part);
        len -= part.len;
    }
}

static unsigned reserve_of(const struct incoming *in)
{
    return in->use_reserve ? JOURNAL_LAST_RESERVE : 0;
}

/* Writes an extent of `len` bytes from the front of the content. */
static mx_err extent_write(struct incoming *in, uint32_t len)
{
    struct spool *spool = in->spool;
    MX_ASSERT(len <= EXTENT_BYTES && len <= in->content.bytes);
    if (in->extent_count >= EXTENTS_MAX) {
        return MX_ERR_RANGE;
    }
    struct extent *extent = pool_acquire_zero(&spool->extents);
    if (extent == NULL) {
        return MX_ERR_NOMEM;
    }
    extent->append.done = extent_done;
    struct writer payload;
    mx_err err = journal_append(spool->journal, &extent->append, RECORD_EXTENT, in->id,
                                RECORD_EXTENT_HEAD_BYTES + len, reserve_of(in), &payload);
    if (err) {
        pool_release(&spool->extents, extent);
        return err;
    }
    extent->res.kind = RESIDENT_EXTENT;
    extent->incoming = in;
    extent->number = in->extent_count++;
    extent->len = len;
    /* The content goes in first: its checksum stands in front of it. */
    struct writer body = {.buf = payload.buf, .len = RECORD_EXTENT_HEAD_BYTES, .cap = payload.cap};
    put_chain(&body, &in->content, len);
    extent->checksum = hash_checksum(slice_from(writer_slice(&body), RECORD_EXTENT_HEAD_BYTES));
    record_extent_put(&payload,
                      &(struct record_extent){extent->number, extent->len, extent->checksum});
    chain_consume(&in->content, &spool->shard->blocks, len);
    if (in->last_extent != NULL) {
        in->last_extent->next = extent;
    } else {
        in->extents = extent;
    }
    in->last_extent = extent;
    in->in_flight++;
    return MX_OK;
}

static void extent_done(struct journal_append *append, mx_err err)
{
    struct extent *extent = mx_container_of(append, struct extent, append);
    struct incoming *in = extent->incoming;
    MX_ASSERT(in->in_flight > 0);
    in->in_flight--;
    if (err) {
        in->failed = err;
    } else {
        journal_settle(in->spool->journal, &extent->res.resident, append->ref);
    }
    if (in->in_flight == 0 && in->committing) {
        commit_go(in);
    } else if (in->in_flight == 0 && in->aborted) {
        incoming_free(in);
    } else if (in->ahead && !in->aborted) {
        body_goes_on(in);
    } else if (in->in_flight == 0 && in->drained != NULL) {
        in->drained(in);
    }
}

/* Moves full extents out of memory; MX_ERR_AGAIN when the journal has no room just now, or this
 * message has enough on its way. */
static mx_err extents_flush(struct incoming *in)
{
    mx_err err = in->failed;
    while (!err && in->content.bytes > EXTENT_BYTES) {
        in->ahead = in->in_flight >= INCOMING_EXTENTS_MAX;
        err = in->ahead ? MX_ERR_AGAIN : extent_write(in, EXTENT_BYTES);
    }
    return err;
}

static void wait_for_room(struct incoming *in)
{
    in->blocked = true;
    if (!in->ahead) {
        in->waiter.ready = room_again;
        journal_wait(in->spool->journal, &in->waiter);
    }
}

static void body_goes_on(struct incoming *in)
{
    in->ahead = false;
    mx_err err = extents_flush(in);
    if (err == MX_ERR_AGAIN) {
        wait_for_room(in);
        return;
    }
    in->failed = err;
    in->blocked = false;
    in->ready(in);
}

static void room_again(struct journal_waiter *waiter)
{
    struct incoming *in = mx_container_of(waiter, struct incoming, waiter);
    if (in->committing) {
        commit_go(in);
    } else {
        body_goes_on(in);
    }
}

mx_err incoming_body(struct incoming *in, struct slice bytes)
{
    MX_ASSERT(!in->committing && !in->blocked);
    if (in->failed) {
        return in->failed;
    }
    mx_err err = chain_append(&in->content, &in->spool->shard->blocks, bytes);
    if (err) {
        return err;
    }
    in->body_bytes += bytes.len;
    if (in->content.bytes <= EXTENT_BYTES) {
        return MX_OK;
    }
    err = extents_flush(in);
    if (err == MX_ERR_AGAIN) {
        wait_for_room(in);
    }
    return err;
}

/* --- commit ------------------------------------------------------------------------------------
 */

static struct message *message_new(struct incoming *in)
{
    const struct envelope *env = &in->txn->env;
    struct message *msg = spool_message_new(in->spool);
    if (msg == NULL) {
        return NULL;
    }
    msg->rcpts = &msg->one;
    if (env->rcpt_count > 1) {
        msg->rcpts = calloc(env->rcpt_count, sizeof *msg->rcpts);
        if (msg->rcpts == NULL) {
            spool_message_free(in->spool, msg);
            return NULL;
        }
    }
    msg->id = in->id;
    msg->arrived_ms = env->arrived_wall_ms;
    msg->body_bytes = in->body_bytes;
    msg->rcpt_count = env->rcpt_count;
    msg->rcpts_left = env->rcpt_count;
    for (uint32_t i = 0; i < env->rcpt_count; i++) {
        msg->rcpts[i].due_ms = env->arrived_wall_ms;
    }
    return msg;
}

static uint32_t marks_bytes(const struct incoming *in)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < in->mark_count; i++) {
        bytes += record_outcome_bytes(&in->marks[i]);
    }
    return (uint32_t)bytes;
}

static struct record_message describe(const struct incoming *in)
{
    return (struct record_message){
        .rcpt_count = in->txn->env.rcpt_count,
        .envelope_bytes = (uint32_t)envelope_bytes(&in->txn->env),
        .inline_bytes = (uint32_t)in->content.bytes,
        .extent_count = in->extent_count,
        .body_bytes = in->body_bytes,
        .arrived_ms = in->txn->env.arrived_wall_ms,
        .mark_count = in->mark_count,
        .marks_bytes = marks_bytes(in),
        .marks_of = in->mark_count > 0 ? in->marks_of->id : (struct qid){0},
        .charge_count = in->hold != NULL ? in->hold->count : 0,
    };
}

/* A copy of it, when it is moved, has the states of the recipients as well. */
static size_t record_max(const struct incoming *in)
{
    return JOURNAL_RECORD_MAX - (size_t)in->txn->env.rcpt_count * RECORD_RCPT_BYTES_MAX;
}

static mx_err record_write(struct incoming *in)
{
    struct record_message head = describe(in);
    size_t len = record_message_bytes(&head);
    if (len > record_max(in)) {
        return MX_ERR_RANGE;
    }
    struct writer payload;
    in->append.done = commit_done;
    mx_err err = journal_append(in->spool->journal, &in->append, RECORD_MESSAGE, in->id,
                                (uint32_t)len, JOURNAL_COUNTED | reserve_of(in), &payload);
    if (err == MX_ERR_AGAIN) {
        in->waiter.ready = room_again;
        journal_wait(in->spool->journal, &in->waiter);
    }
    if (err) {
        return err;
    }
    record_message_head_put(&payload, &head);
    for (uint32_t i = 0; i < head.charge_count; i++) {
        put_u64(&payload, in->hold->keys[i]);
    }
    for (uint32_t i = 0; i < in->mark_count; i++) {
        record_outcome_put(&payload, &in->marks[i]);
    }
    envelope_encode(&payload, &in->txn->env);
    put_chain(&payload, &in->content, in->content.bytes);
    MX_ASSERT(!payload.overflow && payload.len == len);
    in->message->envelope_bytes = head.envelope_bytes;
    in->message->inline_bytes = head.inline_bytes;
    in->message->extent_count = head.extent_count;
    return MX_OK;
}

/* Nobody is in the middle of a call: a failure is told through done. */
static void commit_go(struct incoming *in)
{
    mx_err err = in->failed ? in->failed : record_write(in);
    if (err && err != MX_ERR_AGAIN) {
        commit_done(&in->append, err);
    }
}

/* Very many recipients with long addresses, under many quotas, leave no room for content in the
 * record: it goes into one extent more. */
static mx_err content_fits(struct incoming *in)
{
    struct record_message head = describe(in);
    if (record_message_bytes(&head) <= record_max(in) || in->content.bytes == 0) {
        return MX_OK;
    }
    mx_err err = extent_write(in, (uint32_t)in->content.bytes);
    return err == MX_ERR_AGAIN ? MX_ERR_NOMEM : err; /* the journal has no room just now */
}

/* The record is written when the extents are durable: it makes the message exist, so it must not
 * be there without them. */
mx_err incoming_commit(struct incoming *in, struct txn *txn)
{
    MX_ASSERT(in->mark_count == 0 || in->in_flight == 0);
    in->txn = txn;
    in->message = message_new(in);
    mx_err err = in->message == NULL ? MX_ERR_NOMEM : in->failed;
    err = err || in->mark_count > 0 ? err : content_fits(in);
    if (!err) {
        in->committing = true;
        err = in->in_flight > 0 ? MX_OK : record_write(in);
    }
    if (err && err != MX_ERR_AGAIN) {
        in->committing = false;
        incoming_abort(in);
        return err;
    }
    return MX_OK;
}

static void message_queue(struct incoming *in)
{
    struct spool *spool = in->spool;
    struct message *msg = in->message;
    struct txn *txn = in->txn;
    struct chain content = in->content;
    in->message = NULL;
    msg->hold = in->hold;
    in->hold = NULL;
    in->txn = NULL;
    in->content = (struct chain){0};
    msg->extents = in->extents;
    in->extents = NULL;
    for (struct extent *e = msg->extents; e != NULL; e = e->next) {
        e->message = msg;
        e->incoming = NULL;
    }
    journal_settle(spool->journal, &msg->res.resident, in->append.ref);
    spool_enqueue(spool, msg);
    spool_index_addresses(spool, msg, &txn->env);
    spool->accepted++;
    spool->ops->queued(spool->arg, msg, txn, &content);
}

static void marks_durable(struct incoming *in)
{
    struct message *of = in->marks_of;
    journal_depend(in->spool->journal, in->append.ref.segment, of->res.resident.ref.segment);
    MX_ASSERT(of->writes > 0 && of->undecided > 0);
    of->writes--;
    of->undecided--;
    spool_settle_end(in->spool, of);
}

static void commit_done(struct journal_append *append, mx_err err)
{
    struct incoming *in = mx_container_of(append, struct incoming, append);
    MX_ASSERT(in->in_flight == 0);
    if (!err && in->marks_of != NULL) {
        marks_durable(in);
    }
    if (in->owner != NULL) {
        in->done(in, err);
    }
    if (!err) {
        message_queue(in);
    }
    in->committing = false;
    incoming_abort(in);
}
