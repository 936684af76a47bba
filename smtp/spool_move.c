#include "smtp/spool_move.h"

#include "core/check.h"
#include "io/shard.h"
#include "smtp/spool.h"
#include "smtp/spool_history.h"

#include <stdlib.h>

struct move {
    struct spool *spool;
    struct spool_resident *res;
    struct journal_read read;
    struct journal_append append;
    struct journal_waiter waiter;
    void *buf;
};

static void move_write(struct move *move);

static struct history *history_of(struct spool_resident *res)
{
    return mx_container_of(res, struct history, res);
}

/* NULL: of an extent that is still being received, or of a history that was replaced. */
static struct message *message_of(struct spool_resident *res)
{
    return res->kind == RESIDENT_EXTENT    ? mx_container_of(res, struct extent, res)->message
           : res->kind == RESIDENT_HISTORY ? history_of(res)->message
                                           : mx_container_of(res, struct message, res);
}

static void move_end(struct move *move)
{
    struct spool *spool = move->spool;
    struct spool_resident *res = move->res;
    res->moving = false;
    spool->moves--;
    free(move->buf);
    free(move);
    struct message *msg = message_of(res);
    if (msg == NULL && res->kind == RESIDENT_HISTORY) {
        spool_history_drop(spool, history_of(res)); /* it was replaced meanwhile */
    }
    if (msg != NULL) {
        spool_settle_end(spool, msg);
    }
}

static void append_done(struct journal_append *append, mx_err err)
{
    struct move *move = mx_container_of(append, struct move, append);
    struct journal *journal = move->spool->journal;
    struct journal_resident *resident = &move->res->resident;
    if (!err) {
        /* The copy must outlive the original, or a finished message could come back. */
        journal_depend(journal, append->ref.segment, resident->ref.segment);
        journal_leave(journal, resident);
        journal_settle(journal, resident, append->ref);
    }
    move_end(move);
}

static void room_again(struct journal_waiter *waiter)
{
    move_write(mx_container_of(waiter, struct move, waiter));
}

/* Copies share a write: one that has a block for itself would take as much room as the original
 * did, and be moved again, without end. The last one that is read takes the others along. */
static mx_err append(struct move *move, uint8_t type, struct qid id, size_t len,
                     struct writer *payload)
{
    unsigned flags = JOURNAL_RESERVE | (move->spool->moves_reading > 0 ? JOURNAL_LAZY : 0);
    return journal_append(move->spool->journal, &move->append, type, id, (uint32_t)len, flags,
                          payload);
}

static mx_err write_extent(struct move *move, struct extent *extent)
{
    struct writer payload;
    struct slice old = move->read.payload;
    struct qid id = extent->message != NULL ? extent->message->id : extent->incoming->id;
    mx_err err = append(move, RECORD_EXTENT, id, old.len, &payload);
    if (!err) {
        put_slice(&payload, old);
    }
    return err;
}

static mx_err write_history(struct move *move, const struct history *history)
{
    struct writer payload;
    struct slice old = move->read.payload;
    if (history->message == NULL) {
        return MX_ERR_INVALID;
    }
    mx_err err = append(move, RECORD_HISTORY, history->message->id, old.len, &payload);
    if (!err) {
        put_slice(&payload, old);
    }
    return err;
}

/* What was said last about recipient i, and what its next hop and its queue are called; false:
 * nothing. */
static bool said(const struct spool *spool, const struct message *msg, uint32_t i,
                 struct record_outcome *out)
{
    const struct rcpt_state *state = &msg->rcpts[i];
    *out = (struct record_outcome){.rcpt = i,
                                   .state = *state,
                                   .text = texts_get(&spool->texts, state->reply),
                                   .hop = texts_get(&spool->texts, state->hop),
                                   .queue = texts_get(&spool->texts, state->queue)};
    return out->text.len > 0 || out->hop.len > 0 || out->queue.len > 0;
}

/* The texts go with the copy as marks about itself: the records that had them go with their
 * segment. What the record has no room for stays behind. */
static void describe_texts(struct record_message *head, const struct spool *spool,
                           const struct message *msg)
{
    struct record_outcome mark;
    head->mark_count = 0;
    head->marks_bytes = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        if (!said(spool, msg, i, &mark)) {
            continue;
        }
        size_t bytes = record_outcome_bytes(&mark);
        if (record_message_bytes(head) + bytes > JOURNAL_RECORD_MAX) {
            break;
        }
        head->mark_count++;
        head->marks_bytes += (uint32_t)bytes;
    }
    head->marks_of = head->mark_count > 0 ? msg->id : (struct qid){0};
}

static void put_texts(struct writer *payload, uint32_t count, const struct spool *spool,
                      const struct message *msg)
{
    struct record_outcome mark;
    for (uint32_t i = 0; count > 0 && i < msg->rcpt_count; i++) {
        if (said(spool, msg, i, &mark)) {
            record_outcome_put(payload, &mark);
            count--;
        }
    }
}

static mx_err write_message(struct move *move, struct message *msg)
{
    struct record_message head;
    struct slice old = move->read.payload;
    if (msg->writes > 0) {
        return MX_ERR_INVALID; /* later: see spool_move */
    }
    mx_err err = record_message_head_get(&head, old);
    if (err) {
        return err;
    }
    size_t old_prefix = record_message_prefix_bytes(&head);
    head.has_states = true;
    head.states_bytes = 0;
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        head.states_bytes += (uint32_t)record_rcpt_bytes(&msg->rcpts[i]);
    }
    if (old_prefix > old.len || head.rcpt_count != msg->rcpt_count) {
        return MX_ERR_DAMAGED;
    }
    if (record_message_bytes(&head) - head.marks_bytes > JOURNAL_RECORD_MAX) {
        move->res->stuck = true; /* written when records had to leave no room for the states */
        return MX_ERR_RANGE;
    }
    describe_texts(&head, move->spool, msg);
    struct writer payload;
    size_t len = record_message_bytes(&head);
    err = append(move, RECORD_MESSAGE, msg->id, len, &payload);
    if (err) {
        return err;
    }
    record_message_head_put(&payload, &head);
    put_slice(&payload, slice_first(slice_from(old, RECORD_MESSAGE_HEAD_BYTES),
                                    (size_t)head.charge_count * RECORD_CHARGE_BYTES));
    put_texts(&payload, head.mark_count, move->spool, msg);
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        record_rcpt_put(&payload, &msg->rcpts[i]);
    }
    put_slice(&payload, slice_from(old, old_prefix));
    MX_ASSERT(payload.len == len);
    return MX_OK;
}

static void move_write(struct move *move)
{
    enum resident_kind kind = (enum resident_kind)move->res->kind;
    if (kind == RESIDENT_MESSAGE && message_of(move->res)->undecided > 0) {
        move_end(move); /* later: its states hold only once another record is durable */
        return;
    }
    mx_err err = kind == RESIDENT_EXTENT
                     ? write_extent(move, mx_container_of(move->res, struct extent, res))
                 : kind == RESIDENT_HISTORY ? write_history(move, history_of(move->res))
                                            : write_message(move, message_of(move->res));
    if (err == MX_ERR_AGAIN) {
        journal_wait(move->spool->journal, &move->waiter);
    } else if (err) {
        move_end(move);
    }
}

static void read_done(struct journal_read *read, mx_err err)
{
    struct move *move = mx_container_of(read, struct move, read);
    move->spool->moves_reading--;
    if (err) {
        struct log *log = &move->spool->shard->log;
        struct log_line *line = log_begin(log, LOG_ERROR, "queue-record-unreadable");
        if (message_of(move->res) != NULL) {
            log_qid(line, "id", message_of(move->res)->id);
        }
        log_err(line, "reason", err);
        log_text(line, "effect", "its journal segment cannot be reclaimed");
        log_end(log, line);
        if (err == MX_ERR_DAMAGED && move->res->kind == RESIDENT_HISTORY) {
            spool_history_forget(history_of(move->res)); /* it is a comfort only */
        } else {
            move->res->stuck = err == MX_ERR_DAMAGED;
        }
        move_end(move);
        return;
    }
    move_write(move);
}

void spool_move(struct spool *spool, struct spool_resident *res)
{
    if (res->moving || res->stuck || spool->moves >= SPOOL_MOVES_MAX) {
        return;
    }
    if (message_of(res) == NULL) {
        return; /* still being received: it will be settled or dropped soon */
    }
    if (res->kind == RESIDENT_MESSAGE && message_of(res)->writes > 0) {
        return; /* the copy would say what is not durable yet: failed, without its DSN */
    }
    struct move *move = calloc(1, sizeof *move);
    size_t bytes = (size_t)mx_round_up(journal_read_bytes(res->resident.ref), JOURNAL_BLOCK_BYTES);
    void *buf = move == NULL ? NULL : aligned_alloc(JOURNAL_BLOCK_BYTES, bytes);
    if (buf == NULL) {
        free(move);
        return;
    }
    res->moving = true;
    spool->moves++;
    spool->moves_reading++;
    *move = (struct move){.spool = spool, .res = res, .buf = buf};
    move->read = (struct journal_read){.done = read_done, .ref = res->resident.ref, .buf = buf};
    move->append.done = append_done;
    move->waiter.ready = room_again;
    journal_read(spool->journal, &move->read);
}
