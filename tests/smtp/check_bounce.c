/* Reports while the disk is full, over a spool that is in here. */
#include "tests/check.h"

#include "smtp/bounce.h"
#include "smtp/content.h"
#include "smtp/deliver_private.h"

#include <stdio.h>
#include <string.h>

static mx_err room;               /* of the journal */
static struct rcpt_state written; /* the last mark */
static char written_hop[16];
static unsigned marks, durable;
static struct incoming one;

static void fake_mark(const struct spool *to, const struct message *of,
                      const struct record_outcome *outcomes, uint32_t count)
{
    CHECK(to != NULL && of->undecided == 0 && count == 1);
    written = outcomes[0].state;
    (void)snprintf(written_hop, sizeof written_hop, "%.*s", (int)outcomes[0].hop.len,
                   (const char *)outcomes[0].hop.ptr);
    marks++;
}

static mx_err fake_commit(struct incoming *in)
{
    CHECK(in->mark_count == 1 && in->marks[0].state.report == 0);
    in->marks_of->writes--;
    in->marks_of->undecided--;
    durable++;
    in->done(in, MX_OK);
    return MX_OK;
}

#define journal_room(journal, bytes, flags) ((void)(journal), (void)(bytes), (void)(flags), room)
#define journal_next_id(journal) ((void)(journal), (struct qid){.sequence = 7})
#define spool_mark(...) fake_mark(__VA_ARGS__)
#define spool_mark_deferred(...) fake_mark(__VA_ARGS__)
#define incoming_begin(spool, by) ((void)(spool), one = (struct incoming){.owner = (by)}, &one)
#define incoming_body(in, bytes) ((void)(in), (void)(bytes), MX_OK)
#define incoming_commit(in, txn) (spool_txn_free(&spool, txn), fake_commit(in))
#define incoming_abort(in) ((void)(in), CHECK(!"nothing is given up"))
static struct spool spool;
#include "smtp/bounce.c"

enum { MESSAGES_MAX = 4096, HEADER_BYTES = 12000 };

static struct shard shard;
static struct image image;
static struct deliver deliver;
static struct message messages[MESSAGES_MAX];
static char header[HEADER_BYTES];

static void setup(void)
{
    memset(&shard, 0, sizeof shard);
    shard.wall_ms = 1000000;
    shard.now_ns = 5 * MX_NS_PER_S;
    wheel_init(&shard.wheel, shard.now_ns);
    CHECK(pool_init(&shard.blocks, "blocks", sizeof(struct block), 1000) == MX_OK);
    CHECK(log_init(&shard.log, -1, LOG_ERROR) == MX_OK);
    spool = (struct spool){.shard = &shard};
    CHECK(pool_init(&spool.txns, "txns", sizeof(struct txn), 10) == MX_OK);
    CHECK(texts_init(&spool.texts) == MX_OK);
    image = (struct image){.hostname = SLICE_LITERAL("mx.example.org")};
    deliver = (struct deliver){.shard = &shard, .spool = &spool, .image = &image};
    memset(messages, 0, sizeof messages);
    for (size_t i = 0; i < sizeof header; i += 100) {
        memset(header + i, 'x', 100);
        header[i + 1] = ':';
        memcpy(header + i + 98, "\r\n", 2);
    }
    marks = durable = 0;
    room = MX_ERR_NOSPACE;
}

static void teardown(void)
{
    CHECK(deliver.dsns == 0 && deliver.dsn_bytes == 0);
    CHECK(spool.txns.used == 0 && shard.blocks.used == 0);
    texts_fini(&spool.texts);
    pool_fini(&spool.txns);
    pool_fini(&shard.blocks);
    log_fini(&shard.log);
}

/* Its only recipient has come to this, now or (NULL) in an earlier activation; the message leaves
 * memory. */
static void end_with(struct message *msg, const struct bounce_item *item)
{
    struct active active = {.deliver = &deliver,
                            .msg = msg,
                            .loaded = (uint8_t *)header,
                            .inline_content = slice_of((const uint8_t *)header, sizeof header)};
    msg->rcpts = &msg->one;
    msg->rcpt_count = 1;
    active.txn = spool_txn_new(&spool);
    CHECK(active.txn != NULL);
    active.txn->env.sender = SLICE_LITERAL("s@example.com");
    CHECK(txn_add_rcpt(active.txn, SLICE_LITERAL("a@example.org"), &(struct rcpt_params){0}) ==
          MX_OK);
    if (item == NULL) {
        bounce_note_open(&active, 0);
    } else {
        bounce_note(&active, item);
    }
    bounce_send(&active);
    free(active.reports);
    spool_txn_free(&spool, active.txn);
}

static void fail(struct message *msg)
{
    static const struct bounce_item failed = {.action = DSN_FAILED,
                                              .outcome = {.kind = OUTCOME_PERMANENT, .code = 550}};
    bool again = msg->rcpts != NULL;
    msg->one.status = RCPT_FAILED;
    end_with(msg, again ? NULL : &failed);
}

/* Until one finds no place any more; how many there are then. */
static unsigned fail_many(void)
{
    unsigned count = 0;
    while (count < MESSAGES_MAX && marks == 0) {
        fail(&messages[count++]);
    }
    CHECK(marks == 1 && count < MESSAGES_MAX);
    return count;
}

static void disk_has_room(void)
{
    room = MX_OK;
    shard.now_ns += 2 * BOUNCE_RETRY_MS * MX_NS_PER_MS;
    (void)wheel_advance(&shard.wheel, shard.now_ns, 2 * MESSAGES_MAX);
}

/* Each report of a long queue that expires on a full disk stayed in memory until there was room. */
static void reports_that_wait_are_bounded(void)
{
    unsigned count = fail_many();
    const struct message *last = &messages[count - 1];
    CHECK(deliver.dsn_bytes < BOUNCE_BYTES_MAX + 2 * DSN_HEADER_MAX && deliver.dsns == count - 1);
    CHECK(durable == 0 && last->rcpts_left == 1 && last->undecided == 0);
    CHECK(written.status == RCPT_FAILED && written.report == DSN_FAILED + 1);
    CHECK(last->one.due_ms == shard.wall_ms + POSTPONED_MS);
    disk_has_room();
    CHECK(durable == count - 1 && deliver.dsns == 0);
    fail(&messages[count - 1]);
    CHECK(durable == count && last->rcpts_left == 0 && marks == 1);
}

/* What is open is written once: again and again it would use up what outcomes need. */
static void open_report_is_written_once(void)
{
    unsigned count = fail_many();
    for (unsigned i = 0; i < 10; i++) {
        fail(&messages[count - 1]);
    }
    CHECK(marks == 1 && messages[count - 1].rcpts_left == 1);
    disk_has_room();
    fail(&messages[count - 1]);
    CHECK(durable == count);
}

/* Mail that is late was tried every minute as long as there was no place for the report of it, and
 * what its attempts came to was not written down. */
static void late_mail_keeps_its_schedule(void)
{
    static const struct bounce_item late = {
        .action = DSN_DELAYED, .notices = 1, .outcome = {.kind = OUTCOME_TEMPORARY, .code = 450}};
    const int64_t due_ms = shard.wall_ms + 30 * 60 * 1000;
    static struct message msg;
    (void)fail_many();
    msg = (struct message){.rcpts_left = 1,
                           .one = {.status = RCPT_PENDING, .attempts = 3, .due_ms = due_ms}};
    msg.one.hop = texts_hold(&spool.texts, SLICE_LITERAL("relay"));
    end_with(&msg, &late);
    CHECK(marks == 2 && msg.one.due_ms == due_ms && msg.one.notified == 0 && msg.rcpts_left == 1);
    CHECK(written.status == RCPT_PENDING && written.attempts == 3 && written.due_ms == due_ms);
    CHECK(strcmp(written_hop, "relay") == 0);
    disk_has_room();
    end_with(&msg, &late); /* its next attempt */
    CHECK(marks == 2 && msg.one.notified == 1 && msg.one.due_ms == due_ms && msg.rcpts_left == 1);
    texts_drop(&spool.texts, msg.one.hop);
}

int main(void)
{
    static void (*const tests[])(void) = {
        reports_that_wait_are_bounded,
        open_report_is_written_once,
        late_mail_keeps_its_schedule,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
