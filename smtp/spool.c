#include "smtp/spool.h"

#include "core/check.h"
#include "io/shard.h"
#include "smtp/spool_adopt.h"
#include "smtp/spool_history.h"
#include "smtp/spool_index.h"
#include "smtp/spool_move.h"

#include <stdlib.h>

/* An OUTCOME record on its way to the disk. */
struct outcome_write {
    struct journal_append append;
    struct list_node node; /* in blocked_writes */
    struct spool *spool;
    struct message *message;
    bool deferred; /* may be left out */
    uint32_t len;
    uint8_t bytes[RECORD_OUTCOME_BYTES_MAX];
};

static void write_submit(struct outcome_write *write);
static void unmarked_go_on(struct spool *spool);

static void writes_go_on(struct spool *spool)
{
    struct list again;
    list_init(&again);
    list_splice(&again, &spool->blocked_writes);
    struct list_node *node;
    while ((node = list_pop_front(&again)) != NULL) {
        write_submit(mx_container_of(node, struct outcome_write, node));
    }
    unmarked_go_on(spool);
}

static void writes_room(struct journal_waiter *waiter)
{
    writes_go_on(mx_container_of(waiter, struct spool, writes_waiter));
}

static void writes_timer(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    writes_go_on(mx_container_of(timer, struct spool, writes_retry));
}

static void retry_later(struct spool *spool)
{
    if (!timer_armed(&spool->writes_retry)) {
        shard_after(spool->shard, &spool->writes_retry, SPOOL_RETRY_MS * MX_NS_PER_MS);
    }
}

static void write_blocked(struct outcome_write *write, mx_err err)
{
    struct spool *spool = write->spool;
    list_push_back(&spool->blocked_writes, &write->node);
    if (err != MX_ERR_AGAIN) {
        retry_later(spool);
    } else if (!list_linked(&spool->writes_waiter.node)) {
        journal_wait(spool->journal, &spool->writes_waiter);
    }
}

static void write_end(struct outcome_write *write)
{
    struct spool *spool = write->spool;
    struct message *msg = write->message;
    pool_release(&spool->writes, write);
    MX_ASSERT(msg->writes > 0);
    msg->writes--;
    spool_settle_end(spool, msg);
}

static void write_done(struct journal_append *append, mx_err err)
{
    struct outcome_write *write = mx_container_of(append, struct outcome_write, append);
    if (err) {
        write_blocked(write, MX_ERR_IO);
        return;
    }
    const struct message *msg = write->message;
    journal_depend(write->spool->journal, append->ref.segment, msg->res.resident.ref.segment);
    write_end(write);
}

/* Nothing but what is kept for outcomes is left. Those behind it are not to wait for more. */
static bool is_left_out(const struct outcome_write *write, mx_err err)
{
    const struct journal *journal = write->spool->journal;
    return write->deferred && err != MX_ERR_AGAIN &&
           (err == MX_ERR_NOSPACE ||
            journal_room(journal, write->len, JOURNAL_LAST_RESERVE) == MX_OK);
}

static void write_submit(struct outcome_write *write)
{
    struct spool *spool = write->spool;
    unsigned flags = JOURNAL_LAZY | (write->deferred ? 0 : JOURNAL_LAST_RESERVE);
    struct writer payload;
    if (!list_empty(&spool->blocked_writes)) {
        /* Behind them: of two states of a recipient the newer one must come last on the disk. */
        list_push_back(&spool->blocked_writes, &write->node);
        return;
    }
    mx_err err = journal_append(spool->journal, &write->append, RECORD_OUTCOME, write->message->id,
                                write->len, flags, &payload);
    if (err && is_left_out(write, err)) {
        write_end(write);
        return;
    }
    if (err) {
        write_blocked(write, err);
        return;
    }
    put_bytes(&payload, write->bytes, write->len);
}

/* NULL: no memory. */
static struct outcome_write *write_new(struct spool *spool, struct message *msg, bool deferred)
{
    struct outcome_write *write = pool_acquire(&spool->writes);
    if (write != NULL) {
        *write = (struct outcome_write){.spool = spool, .message = msg, .deferred = deferred};
        write->append.done = write_done;
        msg->writes++;
    }
    return write;
}

/* False: from some outcome on, there was no memory. */
static bool mark(struct spool *spool, struct message *msg, const struct record_outcome *outcomes,
                 uint32_t count, bool deferred)
{
    struct outcome_write *write = NULL;
    struct writer w;
    for (uint32_t i = 0; i < count; i++) {
        if (write != NULL && writer_room(&w) < record_outcome_bytes(&outcomes[i])) {
            write->len = (uint32_t)w.len;
            write_submit(write);
            write = NULL;
        }
        if (write == NULL) {
            write = write_new(spool, msg, deferred);
            if (write == NULL) {
                return false;
            }
            w = writer_init(write->bytes, sizeof write->bytes);
        }
        record_outcome_put(&w, &outcomes[i]);
        MX_ASSERT(!w.overflow);
    }
    if (write != NULL) {
        write->len = (uint32_t)w.len;
        write_submit(write);
    }
    return true;
}

void spool_mark(struct spool *spool, struct message *msg, const struct record_outcome *outcomes,
                uint32_t count)
{
    if (!mark(spool, msg, outcomes, count, false) && !msg->unmarked) {
        msg->unmarked = true;
        msg->writes++; /* keeps the message */
        spool->unmarked++;
        retry_later(spool);
    }
}

void spool_mark_deferred(struct spool *spool, struct message *msg,
                         const struct record_outcome *outcomes, uint32_t count)
{
    (void)mark(spool, msg, outcomes, count, true); /* without memory they are left out as well */
}

/* The states as they are now. */
static bool mark_states(struct spool *spool, struct message *msg)
{
    for (uint32_t i = 0; i < msg->rcpt_count; i++) {
        struct record_outcome outcome = {.rcpt = i,
                                         .state = msg->rcpts[i],
                                         .text = texts_get(&spool->texts, msg->rcpts[i].reply),
                                         .hop = texts_get(&spool->texts, msg->rcpts[i].hop),
                                         .queue = texts_get(&spool->texts, msg->rcpts[i].queue)};
        if (!mark(spool, msg, &outcome, 1, false)) {
            return false;
        }
    }
    return true;
}

/* Rare, so it looks at all messages instead of keeping a list. */
static void unmarked_go_on(struct spool *spool)
{
    struct list_node *node = spool->unmarked > 0 ? list_first(&spool->all) : NULL;
    while (node != NULL) {
        struct list_node *next = list_next(&spool->all, node);
        struct message *msg = mx_container_of(node, struct message, all_node);
        node = next;
        if (!msg->unmarked) {
            continue;
        }
        /* Its states hold only once another record is durable. */
        if (msg->undecided > 0 || !mark_states(spool, msg)) {
            retry_later(spool);
            return;
        }
        msg->unmarked = false;
        msg->writes--;
        spool->unmarked--;
        spool_settle_end(spool, msg);
    }
}

struct message *spool_message_new(struct spool *spool)
{
    struct message *msg = pool_acquire_zero(&spool->messages);
    if (msg == NULL || handles_add(&spool->handles, msg, &msg->handle)) {
        pool_release(&spool->messages, msg);
        return NULL;
    }
    if (spool_index_room(spool, msg->handle)) {
        handles_remove(&spool->handles, msg->handle);
        pool_release(&spool->messages, msg);
        return NULL;
    }
    return msg;
}

void spool_enqueue(struct spool *spool, struct message *msg)
{
    list_push_back(&spool->all, &msg->all_node);
    spool->count++;
    spool->bytes += msg->body_bytes;
    spool_index_add(spool, msg);
}

/* It is queued no longer: its keys may be used again. */
static void release_hold(struct spool *spool, struct message *msg)
{
    struct quota_hold *hold = msg->hold;
    msg->hold = NULL;
    if (hold != NULL) {
        spool->ops->released(spool->arg, hold);
    }
}

void spool_message_free(struct spool *spool, struct message *msg)
{
    for (uint32_t i = 0; msg->rcpts != NULL && i < msg->rcpt_count; i++) {
        texts_drop(&spool->texts, msg->rcpts[i].reply);
        texts_drop(&spool->texts, msg->rcpts[i].hop);
        texts_drop(&spool->texts, msg->rcpts[i].queue);
    }
    release_hold(spool, msg);
    if (msg->rcpts != &msg->one) {
        free(msg->rcpts);
    }
    handles_remove(&spool->handles, msg->handle);
    pool_release(&spool->messages, msg);
}

void spool_forget(struct spool *spool, struct message *msg)
{
    struct extent *extent = msg->extents;
    while (extent != NULL) {
        struct extent *next = extent->next;
        journal_leave(spool->journal, &extent->res.resident);
        pool_release(&spool->extents, extent);
        extent = next;
    }
    if (msg->history != NULL) {
        spool_history_drop(spool, msg->history);
    }
    journal_leave(spool->journal, &msg->res.resident);
    wheel_cancel(&spool->shard->wheel, &msg->due);
    spool_index_remove(spool, msg);
    list_remove(&msg->all_node);
    list_remove(&msg->wait_node);
    spool->count--;
    spool->bytes -= msg->body_bytes;
    spool_message_free(spool, msg);
}

static bool is_moving(const struct message *msg)
{
    bool moving = msg->res.moving;
    for (const struct extent *e = msg->extents; e != NULL && !moving; e = e->next) {
        moving = e->res.moving;
    }
    return moving;
}

void spool_settle_end(struct spool *spool, struct message *msg)
{
    if (msg->rcpts_left > 0) {
        return;
    }
    if (msg->writes > 0 || msg->active != NULL || is_moving(msg)) {
        spool_index_remove(spool, msg); /* it has ended but for the disk */
        release_hold(spool, msg);
        return;
    }
    spool->finished++;
    spool->ops->ended(spool->arg, msg);
    spool_forget(spool, msg);
}

static void evict(void *arg, struct journal_resident *resident)
{
    spool_move(arg, mx_container_of(resident, struct spool_resident, resident));
}

static const struct journal_ops journal_callbacks = {.evict = evict,
                                                     .indexed = record_indexed_bytes};

static mx_err pools_open(struct spool *spool)
{
    struct {
        struct pool *pool;
        const char *name;
        size_t bytes, max;
    } pools[] = {
        {&spool->messages, "messages", sizeof(struct message), SPOOL_MESSAGES_MAX},
        {&spool->extents, "extents", sizeof(struct extent), SPOOL_EXTENTS_MAX},
        {&spool->histories, "histories", sizeof(struct history), SPOOL_MESSAGES_MAX},
        {&spool->writes, "outcome-writes", sizeof(struct outcome_write), SPOOL_WRITES_MAX},
        {&spool->txns, "transactions", sizeof(struct txn), 64 * 1024},
        {&spool->incomings, "incoming", sizeof(struct incoming), 64 * 1024},
    };
    for (size_t i = 0; i < mx_countof(pools); i++) {
        mx_err err = pool_init(pools[i].pool, pools[i].name, pools[i].bytes, pools[i].max);
        if (err) {
            return err;
        }
    }
    mx_err err = handles_init(&spool->handles, SPOOL_MESSAGES_MAX);
    return err ? err : texts_init(&spool->texts);
}

static void pools_close(struct spool *spool)
{
    pool_fini(&spool->messages);
    handles_fini(&spool->handles);
    spool_index_fini(spool);
    texts_fini(&spool->texts);
    pool_fini(&spool->extents);
    pool_fini(&spool->histories);
    pool_fini(&spool->writes);
    pool_fini(&spool->txns);
    pool_fini(&spool->incomings);
}

static void turn(struct shard_hook *hook)
{
    struct spool *spool = mx_container_of(hook, struct spool, hook);
    spool_adopt_step(spool);
    journal_expect(spool->journal, spool->count);
}

mx_err spool_open(struct spool *spool, struct shard *shard, struct journal_store *store,
                  const struct spool_ops *ops, void *arg)
{
    *spool = (struct spool){.shard = shard, .ops = ops, .arg = arg};
    list_init(&spool->all);
    list_init(&spool->blocked_writes);
    spool->writes_waiter.ready = writes_room;
    spool->writes_retry.fire = writes_timer;
    mx_err err = pools_open(spool);
    if (!err) {
        err =
            journal_open(&spool->journal, store, shard, shard->conf.id, &journal_callbacks, spool);
    }
    if (err && spool->journal != NULL) {
        spool_close(spool);
    } else if (err) {
        pools_close(spool);
        return err;
    }
    spool->hook.turn = turn;
    shard_add_hook(shard, &spool->hook);
    return MX_OK;
}

bool spool_quiet(const struct spool *spool)
{
    return list_empty(&spool->blocked_writes) && spool->unmarked == 0 && spool->moves == 0 &&
           journal_quiet(spool->journal);
}

void spool_close(struct spool *spool)
{
    struct list_node *node;
    while ((node = list_pop_front(&spool->all)) != NULL) {
        struct message *msg = mx_container_of(node, struct message, all_node);
        wheel_cancel(&spool->shard->wheel, &msg->due);
        free(msg->hold);
        if (msg->rcpts != &msg->one) {
            free(msg->rcpts);
        }
    }
    wheel_cancel(&spool->shard->wheel, &spool->writes_retry);
    wheel_cancel(&spool->shard->wheel, &spool->adopt_retry);
    journal_close(spool->journal);
    spool->journal = NULL;
    pools_close(spool);
}

struct txn *spool_txn_new(struct spool *spool)
{
    struct txn *txn = pool_acquire(&spool->txns);
    if (txn != NULL) {
        txn_init(txn, &spool->shard->blocks);
    }
    return txn;
}

void spool_txn_free(struct spool *spool, struct txn *txn)
{
    if (txn != NULL) {
        txn_fini(txn);
        pool_release(&spool->txns, txn);
    }
}
