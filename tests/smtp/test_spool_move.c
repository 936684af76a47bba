/* When a message's record may be copied to another segment: never while its states hold only with
 * another message's record (a DSN, mail to a list's members) that is not durable yet. A copy that
 * said "failed" before the DSN existed would, after a crash, be a message that nobody hears of. */
#include <criterion/criterion.h>

#include "io/journal.h"
#include "smtp/spool.h"

#include <string.h>

static mx_err fake_append(struct journal *journal, struct journal_append *append, uint8_t type,
                          struct qid id, uint32_t len, unsigned flags, struct writer *out_payload);
static void fake_read(struct journal *journal, struct journal_read *read);
static void fake_wait(struct journal *journal, struct journal_waiter *waiter);
static void fake_depend(struct journal *journal, struct segment *later, struct segment *of);
static void fake_leave(struct journal *journal, struct journal_resident *resident);
static void fake_settle(struct journal *journal, struct journal_resident *resident,
                        struct journal_ref ref);
static size_t fake_read_bytes(struct journal_ref ref);
static void fake_settle_end(struct spool *spool, struct message *msg);
static void fake_history_drop(struct spool *spool, struct history *history);

/* The code under test over a journal that is in here. */
#define journal_append(journal, append, type, id, len, flags, out) \
    fake_append(journal, append, type, id, len, flags, out)
#define journal_read(journal, read) fake_read(journal, read)
#define journal_wait fake_wait
#define journal_depend fake_depend
#define journal_leave fake_leave
#define journal_settle fake_settle
#define journal_read_bytes fake_read_bytes
#define spool_settle_end fake_settle_end
#define spool_history_drop fake_history_drop
#include "smtp/spool_move.c"

enum { RCPTS = 2, ENVELOPE_BYTES = 10, INLINE_BYTES = 20, RECORD_MAX = 512 };

static uint8_t old_record[RECORD_MAX], new_record[RECORD_MAX];
static uint32_t old_len;
static struct journal_read *reading;
static struct journal_append *appending;
static struct journal_waiter *waiting;
static bool room;
static unsigned appended;
static unsigned appended_flags;
static uint8_t expected_type;
static char calls[64]; /* of depend, leave, settle */

static struct shard shard;
static struct spool spool;
static struct message msg;
static struct rcpt_state states[RCPTS];

static mx_err fake_append(struct journal *journal, struct journal_append *append, uint8_t type,
                          struct qid id, uint32_t len, unsigned flags, struct writer *out_payload)
{
    (void)journal;
    (void)id;
    appended_flags = flags;
    cr_assert(type == expected_type && len <= sizeof new_record);
    if (!room) {
        return MX_ERR_AGAIN;
    }
    appending = append;
    appended++;
    *out_payload = writer_init(new_record, len);
    return MX_OK;
}

static void fake_read(struct journal *journal, struct journal_read *read)
{
    (void)journal;
    reading = read;
}

static void fake_wait(struct journal *journal, struct journal_waiter *waiter)
{
    (void)journal;
    waiting = waiter;
}

static void fake_depend(struct journal *journal, struct segment *later, struct segment *of)
{
    (void)journal;
    (void)later;
    (void)of;
    strcat(calls, "depend ");
}

static void fake_leave(struct journal *journal, struct journal_resident *resident)
{
    (void)journal;
    (void)resident;
    strcat(calls, "leave ");
}

static void fake_settle(struct journal *journal, struct journal_resident *resident,
                        struct journal_ref ref)
{
    (void)journal;
    (void)resident;
    (void)ref;
    strcat(calls, "settle");
}

static size_t fake_read_bytes(struct journal_ref ref)
{
    (void)ref;
    return RECORD_MAX;
}

static void fake_history_drop(struct spool *of, struct history *history)
{
    cr_assert(of == &spool && history->message == NULL && !history->res.moving);
    strcat(calls, " drop");
}

static void fake_settle_end(struct spool *of, struct message *message)
{
    cr_assert(of == &spool && message == &msg);
}

/* A message with one recipient that failed and one that is pending; its record knows neither. */
static void setup(void)
{
    struct record_message head = {
        .rcpt_count = RCPTS, .envelope_bytes = ENVELOPE_BYTES, .inline_bytes = INLINE_BYTES};
    struct writer w = writer_init(old_record, sizeof old_record);
    record_message_head_put(&w, &head);
    old_len = (uint32_t)record_message_bytes(&head);
    states[0] = (struct rcpt_state){.status = RCPT_FAILED};
    states[1] = (struct rcpt_state){.status = RCPT_PENDING};
    msg = (struct message){.rcpts = states, .rcpt_count = RCPTS, .rcpts_left = 1};
    spool = (struct spool){.shard = &shard};
    reading = NULL;
    appending = NULL;
    waiting = NULL;
    room = true;
    appended = 0;
    appended_flags = 0;
    expected_type = RECORD_MESSAGE;
    calls[0] = '\0';
}

static void read_ends(void)
{
    struct journal_read *read = reading;
    reading = NULL;
    read->payload = slice_of(old_record, old_len);
    read->done(read, MX_OK);
}

static void dsn_begins(void)
{
    msg.writes = msg.undecided = 1;
}

static void dsn_is_durable(void)
{
    msg.writes = msg.undecided = 0;
}

/* It goes through once the other record is durable. */
static void moves_now(void)
{
    dsn_is_durable();
    cr_assert(spool.moves == 0 && !msg.res.moving && appended == 0);
    spool_move(&spool, &msg.res);
    cr_assert_not_null(reading);
    read_ends();
    cr_assert(appended == 1);
    appending->done(appending, MX_OK);
    cr_assert_str_eq(calls, "depend leave settle");
    cr_assert(spool.moves == 0 && !msg.res.moving);
}

TestSuite(spool_move, .init = setup);

Test(spool_move, copy_knows_the_states)
{
    struct record_message head;
    moves_now();
    cr_assert(record_message_head_get(&head, slice_of(new_record, sizeof new_record)) == MX_OK);
    cr_assert(head.has_states && head.rcpt_count == RCPTS && head.mark_count == 0);
}

/* What next hops said stays with a message that is moved: the records that had it go. */
Test(spool_move, copy_has_the_texts)
{
    struct slice reply = SLICE_LITERAL("4.2.0 later"), hop = SLICE_LITERAL("source");
    struct record_message head;
    struct record_outcome mark;
    cr_assert(texts_init(&spool.texts) == MX_OK);
    msg.id = (struct qid){.set = 1, .epoch = 2, .sequence = 3};
    states[1].reply = texts_hold(&spool.texts, reply);
    states[1].hop = texts_hold(&spool.texts, hop);
    moves_now();
    struct slice copy = slice_of(new_record, sizeof new_record);
    cr_assert(record_message_head_get(&head, copy) == MX_OK);
    cr_assert(head.mark_count == 1 && qid_equal(head.marks_of, msg.id));
    struct reader r =
        reader_init(slice_first(slice_from(copy, RECORD_MESSAGE_HEAD_BYTES), head.marks_bytes));
    cr_assert(record_outcome_get(&mark, &r) == MX_OK && reader_left(&r) == 0);
    cr_assert(mark.rcpt == 1 && slice_equal(mark.text, reply) && slice_equal(mark.hop, hop));
    texts_fini(&spool.texts);
}

/* Texts that the record has no room for stay behind; it is moved all the same. */
Test(spool_move, copy_leaves_texts_that_do_not_fit)
{
    enum { MANY = 1000 };
    static struct rcpt_state many[MANY];
    struct record_message head = {.rcpt_count = MANY, .has_states = true};
    cr_assert(texts_init(&spool.texts) == MX_OK);
    text_id text = texts_hold(&spool.texts, SLICE_LITERAL("4.2.0 later"));
    for (unsigned i = 0; i < MANY; i++) {
        many[i] = (struct rcpt_state){.reply = text};
    }
    head.states_bytes = MANY * RECORD_RCPT_BYTES;
    head.envelope_bytes = JOURNAL_RECORD_MAX - head.states_bytes - 1000;
    msg.rcpts = many;
    msg.rcpt_count = MANY;
    describe_texts(&head, &spool, &msg);
    cr_assert(head.mark_count > 0 && head.mark_count < 1000 / RECORD_RCPT_BYTES);
    cr_assert(record_message_bytes(&head) <= JOURNAL_RECORD_MAX);
    texts_fini(&spool.texts);
}

Test(spool_move, none_is_begun_while_undecided)
{
    dsn_begins();
    spool_move(&spool, &msg.res);
    cr_assert_null(reading);
    moves_now();
}

Test(spool_move, undecided_while_it_is_read)
{
    spool_move(&spool, &msg.res);
    dsn_begins();
    read_ends();
    moves_now();
}

Test(spool_move, undecided_while_it_waits_for_room)
{
    room = false;
    spool_move(&spool, &msg.res);
    read_ends();
    cr_assert_not_null(waiting);
    dsn_begins();
    room = true;
    waiting->ready(waiting);
    moves_now();
}

/* An earlier program took a message of that size, without room for the states in a copy. */
Test(spool_move, too_large_for_its_states)
{
    struct record_message head = {.rcpt_count = RCPTS,
                                  .envelope_bytes = ENVELOPE_BYTES,
                                  .inline_bytes = JOURNAL_RECORD_MAX - RECORD_MESSAGE_HEAD_BYTES -
                                                  ENVELOPE_BYTES};
    struct writer w = writer_init(old_record, sizeof old_record);
    record_message_head_put(&w, &head);
    spool_move(&spool, &msg.res);
    read_ends();
    cr_assert(appended == 0 && spool.moves == 0 && !msg.res.moving && msg.res.stuck);
    spool_move(&spool, &msg.res);
    cr_assert_null(reading);
}

/* As large as all that a resident may be: the compiler sees where it is used as what. */
static struct history *history_make(void)
{
    static union {
        struct history history;
        struct message message;
        struct extent extent;
    } place;
    place.history =
        (struct history){.res = {.kind = RESIDENT_HISTORY}, .message = &msg, .number = 7};
    return &place.history;
}

/* A history is copied as it is, whatever is being written about its message. */
Test(spool_move, history)
{
    struct history *history = history_make();
    expected_type = RECORD_HISTORY;
    msg.history = history;
    dsn_begins();
    spool_move(&spool, &history->res);
    cr_assert_not_null(reading);
    read_ends();
    cr_assert(appended == 1 && memcmp(new_record, old_record, old_len) == 0);
    appending->done(appending, MX_OK);
    cr_assert_str_eq(calls, "depend leave settle");
    cr_assert(spool.moves == 0 && !history->res.moving && msg.history == history);
}

/* A copy that is written while others are still being read waits for them; the last one does not.
 * All may use the room that is kept for what frees room. */
Test(spool_move, copies_share_a_write)
{
    struct history *history = history_make();
    msg.history = history;
    spool_move(&spool, &msg.res);
    struct journal_read *first = reading;
    spool_move(&spool, &history->res);
    struct journal_read *last = reading;
    cr_assert(first != last && spool.moves == 2);

    reading = first;
    read_ends();
    struct journal_append *first_copy = appending;
    cr_assert(appended == 1 && appended_flags == (JOURNAL_RESERVE | JOURNAL_LAZY));
    expected_type = RECORD_HISTORY;
    reading = last;
    read_ends();
    cr_assert(appended == 2 && appended_flags == JOURNAL_RESERVE);

    appending->done(appending, MX_OK);
    first_copy->done(first_copy, MX_OK);
    cr_assert(spool.moves == 0 && spool.moves_reading == 0);
}

/* One whose reading fails is not waited for. */
Test(spool_move, copies_do_not_wait_for_what_is_unreadable)
{
    struct history *history = history_make();
    msg.history = history;
    cr_assert(log_init(&shard.log, -1, LOG_ERROR) == MX_OK);
    spool_move(&spool, &history->res);
    struct journal_read *unreadable = reading;
    spool_move(&spool, &msg.res);
    unreadable->done(unreadable, MX_ERR_DAMAGED);
    read_ends();
    cr_assert(appended == 1 && appended_flags == JOURNAL_RESERVE);
    appending->done(appending, MX_OK);
    cr_assert(spool.moves == 0 && spool.moves_reading == 0);
    log_fini(&shard.log);
}

/* A newer one takes its place, or its message ends: it goes when the move lets go of it. */
Test(spool_move, history_that_is_replaced)
{
    struct history *history = history_make();
    expected_type = RECORD_HISTORY;
    spool_move(&spool, &history->res);
    history->message = NULL;
    read_ends();
    cr_assert(appended == 0 && spool.moves == 0);
    cr_assert_str_eq(calls, " drop");
    calls[0] = '\0';
    history->message = &msg;
    spool_move(&spool, &history->res);
    read_ends();
    history->message = NULL;
    appending->done(appending, MX_OK);
    cr_assert_str_eq(calls, "depend leave settle drop");
}

/* A damaged one is given up: it must not keep its segment. */
Test(spool_move, history_that_is_damaged)
{
    struct history *history = history_make();
    msg.history = history;
    cr_assert(log_init(&shard.log, -1, LOG_ERROR) == MX_OK);
    spool_move(&spool, &history->res);
    reading->done(reading, MX_ERR_DAMAGED);
    cr_assert(msg.history == NULL && !history->res.stuck && spool.moves == 0);
    cr_assert_str_eq(calls, " drop");
    log_fini(&shard.log);
}
