/* A large message: its record makes it exist, so it is written when the extents are durable and not
 * at all when one of them failed. Before, a record whose extents had failed could be durable: mail
 * that nobody was promised and that stayed in the queue for ever, incomplete. */

#include "tests/check.h"

#include "io/journal.h"
#include "smtp/spool.h"
#include "smtp/spool_index.h"

static mx_err fake_append(struct journal *journal, struct journal_append *append, uint8_t type,
                          struct qid id, uint32_t len, unsigned flags, struct writer *out_payload);

/* The code under test over a journal that is in here. */
#define journal_append(journal, append, type, id, len, flags, out) \
    fake_append(journal, append, type, id, len, flags, out)
#define journal_next_id(journal) ((struct qid){.sequence = 7})
#define journal_wait(journal, waiter) (waiting = (waiter))
#define journal_unwait(waiter) (waiting = waiting == (waiter) ? NULL : waiting)
#define journal_depend(journal, later, of) ((void)(of))
#define journal_leave(journal, resident) ((void)(resident))
#define journal_settle(journal, resident, ref) settled++
#define spool_message_new(spool) pool_acquire_zero(&(spool)->messages)
#define spool_message_free(spool, msg) pool_release(&(spool)->messages, msg)
#define spool_txn_free(spool, txn) ((void)(txn))
#define spool_settle_end(spool, msg) ((void)(msg))

enum { EXTENTS = 2, APPENDS_MAX = 4, BODY_BYTES = EXTENTS * EXTENT_BYTES + 100 };

static struct journal_waiter *waiting;
static unsigned settled;

#include "smtp/incoming.c"

static struct {
    struct journal_append *append;
    uint8_t type;
} appends[APPENDS_MAX];
static unsigned append_count;
static bool no_room;
static uint8_t payloads[APPENDS_MAX][JOURNAL_RECORD_MAX];
static uint32_t payload_lens[APPENDS_MAX];
static unsigned append_flags[APPENDS_MAX];
static unsigned extents_expected;

static struct shard shard;
static struct spool spool;
static struct txn txn;
static unsigned queued, done;
static mx_err done_err;

static mx_err fake_append(struct journal *journal, struct journal_append *append, uint8_t type,
                          struct qid id, uint32_t len, unsigned flags, struct writer *out_payload)
{
    (void)journal;
    (void)id;
    if (no_room) {
        return MX_ERR_AGAIN;
    }
    CHECK(append_count < APPENDS_MAX && len <= sizeof payloads[0]);
    *out_payload = writer_init(payloads[append_count], len);
    payload_lens[append_count] = len;
    append_flags[append_count] = flags;
    appends[append_count].append = append;
    appends[append_count++].type = type;
    return MX_OK;
}

static void on_queued(void *arg, struct message *msg, struct txn *of, struct chain *content)
{
    (void)arg;
    (void)of;
    queued++;
    chain_clear(content, &shard.blocks);
    CHECK(msg->extent_count == extents_expected);
    if (msg->rcpts != &msg->one) {
        free(msg->rcpts); /* nobody else will */
    }
}

static void on_done(struct incoming *in, mx_err err)
{
    (void)in;
    done++;
    done_err = err;
}

static const struct spool_ops ops = {.queued = on_queued};

static void setup(void)
{
    append_count = settled = queued = done = 0;
    extents_expected = EXTENTS;
    no_room = false;
    waiting = NULL;
    spool = (struct spool){.shard = &shard, .ops = &ops};
    CHECK(pool_init(&shard.blocks, "blocks", sizeof(struct block), 1024) == MX_OK);
    CHECK(pool_init(&spool.incomings, "incomings", sizeof(struct incoming), 4) == MX_OK);
    CHECK(pool_init(&spool.extents, "extents", sizeof(struct extent), 16) == MX_OK);
    CHECK(pool_init(&spool.messages, "messages", sizeof(struct message), 4) == MX_OK);
    CHECK(spool_index_room(&spool, 0) == MX_OK);
    list_init(&spool.all);
    txn_init(&txn, &shard.blocks);
    CHECK(txn_add_rcpt(&txn, SLICE_LITERAL("a@example.org"), &(struct rcpt_params){0}) == MX_OK);
}

static void teardown(void)
{
    txn_fini(&txn);
    spool_index_fini(&spool);
    pool_fini(&spool.messages);
    pool_fini(&spool.extents);
    pool_fini(&spool.incomings);
    pool_fini(&shard.blocks);
}

/* Both extents are on their way. */
static struct incoming *body_arrives(void)
{
    static uint8_t body[BODY_BYTES];
    struct incoming *in = incoming_begin(&spool, &spool);
    CHECK(in != NULL);
    in->done = on_done;
    CHECK(incoming_body(in, slice_of(body, sizeof body)) == MX_OK);
    CHECK(append_count == EXTENTS && appends[0].type == RECORD_EXTENT);
    return in;
}

static void append_ends(unsigned i, mx_err err)
{
    appends[i].append->done(appends[i].append, err);
}

static void nothing_is_left(void)
{
    CHECK(spool.incomings.used == 0 && spool.extents.used == (queued > 0 ? EXTENTS : 0));
    CHECK(spool.messages.used == queued && waiting == NULL);
}

static void record_waits_for_its_extents(void)
{
    struct incoming *in = body_arrives();
    CHECK(incoming_commit(in, &txn) == MX_OK);
    CHECK(append_count == EXTENTS);
    append_ends(1, MX_OK);
    CHECK(append_count == EXTENTS && done == 0);
    append_ends(0, MX_OK);
    CHECK(append_count == EXTENTS + 1 && appends[EXTENTS].type == RECORD_MESSAGE && done == 0);
    append_ends(EXTENTS, MX_OK);
    CHECK(done == 1 && done_err == MX_OK && queued == 1 && settled == EXTENTS + 1);
    nothing_is_left();
}

static void no_record_without_an_extent(void)
{
    for (unsigned failing = 0; failing < EXTENTS; failing++) {
        append_count = 0;
        struct incoming *in = body_arrives();
        CHECK(incoming_commit(in, &txn) == MX_OK);
        append_ends(0, failing == 0 ? MX_ERR_IO : MX_OK);
        append_ends(1, failing == 1 ? MX_ERR_IO : MX_OK);
        CHECK(append_count == EXTENTS);
        CHECK(done == failing + 1 && done_err == MX_ERR_IO && queued == 0);
        nothing_is_left();
    }
}

static void extent_that_failed_before_the_commit(void)
{
    struct incoming *in = body_arrives();
    append_ends(0, MX_ERR_IO);
    append_ends(1, MX_OK);
    CHECK(incoming_commit(in, &txn) == MX_ERR_IO);
    CHECK(append_count == EXTENTS && done == 0 && queued == 0);
    nothing_is_left();
}

static void record_waits_for_room_behind_its_extents(void)
{
    struct incoming *in = body_arrives();
    CHECK(incoming_commit(in, &txn) == MX_OK);
    no_room = true;
    append_ends(0, MX_OK);
    append_ends(1, MX_OK);
    CHECK(append_count == EXTENTS && waiting != NULL && done == 0);
    no_room = false;
    struct journal_waiter *waiter = waiting;
    waiting = NULL;
    waiter->ready(waiter);
    CHECK(append_count == EXTENTS + 1);
    append_ends(EXTENTS, MX_OK);
    CHECK(done == 1 && queued == 1);
    nothing_is_left();
}

/* The session is gone, the message not: it may exist. */
static void client_gone_during_the_commit(void)
{
    struct incoming *in = body_arrives();
    CHECK(incoming_commit(in, &txn) == MX_OK);
    in->owner = NULL;
    append_ends(0, MX_OK);
    append_ends(1, MX_OK);
    append_ends(EXTENTS, MX_OK);
    CHECK(done == 0 && queued == 1);
    nothing_is_left();
}

/* As large as envelopes and charges get: the content finds no room beside them. It was answered 451
 * for ever. */
static void content_of_the_largest_record(void)
{
    static uint8_t body[EXTENT_BYTES], text[ORCPT_MAX];
    memset(text, 'x', sizeof text);
    struct incoming *in = incoming_begin(&spool, &spool);
    CHECK(in != NULL);
    in->done = on_done;
    for (unsigned i = 1; i < ENVELOPE_RCPTS_MAX; i++) {
        CHECK(txn_add_rcpt(&txn, slice_of(text, 254),
                           &(struct rcpt_params){.orcpt = slice_of(text, sizeof text)}) == MX_OK);
    }
    struct quota_hold *hold = calloc(1, sizeof *hold + QUOTA_CHARGES_MAX * sizeof hold->keys[0]);
    CHECK(hold != NULL);
    hold->count = QUOTA_CHARGES_MAX;
    in->hold = hold;
    CHECK(incoming_body(in, slice_of(body, sizeof body)) == MX_OK && append_count == 0);
    CHECK(incoming_commit(in, &txn) == MX_OK);
    CHECK(append_count == 1 && appends[0].type == RECORD_EXTENT);
    CHECK(payload_lens[0] == RECORD_EXTENT_HEAD_BYTES + EXTENT_BYTES && done == 0);
    append_ends(0, MX_OK);
    CHECK(append_count == 2 && appends[1].type == RECORD_MESSAGE);
    /* There is room for the states as well, when it is moved. */
    CHECK(payload_lens[1] + ENVELOPE_RCPTS_MAX * RECORD_RCPT_BYTES_MAX <= JOURNAL_RECORD_MAX);
    extents_expected = 1;
    append_ends(1, MX_OK);
    CHECK(done == 1 && done_err == MX_OK && queued == 1);
    free(hold);
}

/* Its record fits, but not with the states that it has when it is moved: the process ended at the
 * first attempt to move it, and at every one after. */
static void content_leaves_room_for_the_states(void)
{
    static uint8_t body[EXTENT_BYTES], text[ORCPT_MAX];
    memset(text, 'x', sizeof text);
    struct incoming *in = incoming_begin(&spool, &spool);
    CHECK(in != NULL);
    in->done = on_done;
    for (unsigned i = 1; i < ENVELOPE_RCPTS_MAX; i++) {
        CHECK(txn_add_rcpt(&txn, slice_of(text, 290),
                           &(struct rcpt_params){.orcpt = slice_of(text, sizeof text)}) == MX_OK);
    }
    size_t content = JOURNAL_RECORD_MAX - RECORD_MESSAGE_HEAD_BYTES - envelope_bytes(&txn.env);
    CHECK(content <= sizeof body && incoming_body(in, slice_of(body, sizeof body)) == MX_OK);
    chain_consume(&in->content, &shard.blocks, sizeof body - content);
    CHECK(incoming_commit(in, &txn) == MX_OK);
    CHECK(append_count == 1 && appends[0].type == RECORD_EXTENT);
    append_ends(0, MX_OK);
    CHECK(append_count == 2 && appends[1].type == RECORD_MESSAGE);
    CHECK(payload_lens[1] + ENVELOPE_RCPTS_MAX * RECORD_RCPT_BYTES_MAX <= JOURNAL_RECORD_MAX);
    extents_expected = 1;
    append_ends(1, MX_OK);
    CHECK(done == 1 && done_err == MX_OK && queued == 1);
}

/* A report of more than an extent: its record had the journal's last room, its extents had not, so
 * on a full disk it waited, behind new mail, with the message that it is about. */
static void report_has_the_last_room_for_all_of_it(void)
{
    struct incoming *in = incoming_begin(&spool, &spool);
    static uint8_t body[BODY_BYTES];
    CHECK(in != NULL);
    in->done = on_done;
    in->use_reserve = true;
    CHECK(incoming_body(in, slice_of(body, sizeof body)) == MX_OK && append_count == EXTENTS);
    append_ends(0, MX_OK);
    append_ends(1, MX_OK);
    CHECK(incoming_commit(in, &txn) == MX_OK && append_count == EXTENTS + 1);
    for (unsigned i = 0; i < append_count; i++) {
        CHECK((append_flags[i] & JOURNAL_LAST_RESERVE) != 0);
    }
    append_ends(EXTENTS, MX_OK);
    CHECK(done == 1 && queued == 1);
    nothing_is_left();
}

static unsigned readied;

static void on_ready(struct incoming *in)
{
    CHECK(!in->blocked);
    readied++;
}

/* A message of three extents and some: the third waits until one of the two before is written. */
static struct incoming *body_is_ahead(void)
{
    static uint8_t body[3 * EXTENT_BYTES + 100];
    struct incoming *in = incoming_begin(&spool, &spool);
    CHECK(in != NULL);
    in->done = on_done;
    in->ready = on_ready;
    readied = 0;
    CHECK(incoming_body(in, slice_of(body, sizeof body)) == MX_ERR_AGAIN);
    CHECK(append_count == INCOMING_EXTENTS_MAX && in->blocked && waiting == NULL);
    return in;
}

/* A client that streams made every commit as long as what it had sent meanwhile, up to a whole
 * group of 4 MiB; others, with small messages, waited for that. */
static void few_extents_are_on_their_way(void)
{
    struct incoming *in = body_is_ahead();
    append_ends(0, MX_OK);
    CHECK(append_count == 3 && readied == 1);
    append_ends(1, MX_OK);
    CHECK(incoming_commit(in, &txn) == MX_OK && append_count == 3);
    append_ends(2, MX_OK);
    CHECK(append_count == 4 && appends[3].type == RECORD_MESSAGE);
    extents_expected = 3;
    append_ends(3, MX_OK);
    CHECK(done == 1 && done_err == MX_OK && queued == 1 && readied == 1);
}

static void extent_behind_others_finds_no_room(void)
{
    struct incoming *in = body_is_ahead();
    no_room = true;
    append_ends(0, MX_OK);
    CHECK(append_count == 2 && readied == 0 && in->blocked && waiting != NULL);
    append_ends(1, MX_OK);
    CHECK(readied == 0 && in->blocked);
    no_room = false;
    struct journal_waiter *waiter = waiting;
    waiting = NULL;
    waiter->ready(waiter);
    CHECK(append_count == 3 && readied == 1);
    incoming_abort(in);
    append_ends(2, MX_OK);
    nothing_is_left();
}

static void extent_fails_while_the_next_waits(void)
{
    struct incoming *in = body_is_ahead();
    append_ends(0, MX_ERR_IO);
    CHECK(append_count == 2 && readied == 1 && in->failed == MX_ERR_IO);
    incoming_abort(in);
    append_ends(1, MX_ERR_IO);
    nothing_is_left();
}

static void client_gone_while_an_extent_waits(void)
{
    struct incoming *in = body_is_ahead();
    incoming_abort(in);
    append_ends(0, MX_OK);
    append_ends(1, MX_OK);
    CHECK(append_count == 2 && readied == 0);
    nothing_is_left();
}

int main(void)
{
    static void (*const tests[])(void) = {
        record_waits_for_its_extents,         no_record_without_an_extent,
        extent_that_failed_before_the_commit, record_waits_for_room_behind_its_extents,
        client_gone_during_the_commit,        content_of_the_largest_record,
        content_leaves_room_for_the_states,   report_has_the_last_room_for_all_of_it,
        few_extents_are_on_their_way,         extent_behind_others_finds_no_room,
        extent_fails_while_the_next_waits,    client_gone_while_an_extent_waits};
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
