/* What of a message's fate is written, and with which room, over a journal that is in here. */
#include "tests/check.h"

#include "io/journal.h"
#include "io/shard.h"
#include "smtp/spool_history.h"
#include "smtp/spool_index.h"

#include <stdlib.h>
#include <string.h>

static mx_err fake_append(struct journal_append *append, uint32_t len, unsigned flags,
                          struct writer *out);

#define journal_append(journal, append, type, id, len, flags, out) \
    fake_append(append, len, flags, out)
#define journal_room(journal, bytes, flags) \
    ((void)(journal), (void)(bytes), (void)(flags), refusal ? refusal : last > 0 ? MX_OK : full)
#define journal_depend(journal, later, of) ((void)(of))
#define shard_after(shard, timer, ns) (retries++)
#define journal_wait(journal, waiter) (waits++)
#define spool_index_remove(spool, msg) (ended++)
static unsigned retries, waits, ended, last, released;
static mx_err refusal, full;
#include "smtp/spool.c"

enum { RCPTS = 2, LAST_ROOM = 3 };

/* Records that fit: the common room, and behind it what is kept for outcomes. */
static unsigned common;
static struct journal_append *appends[16];
static unsigned append_count;
static uint8_t payloads[16][RECORD_OUTCOME_BYTES_MAX];

static mx_err fake_append(struct journal_append *append, uint32_t len, unsigned flags,
                          struct writer *out)
{
    bool is_outcome = (flags & JOURNAL_LAST_RESERVE) != 0;
    *out = writer_init(NULL, 0);
    if (refusal) {
        return refusal;
    }
    if (common > 0) {
        common--;
    } else if (is_outcome && last > 0) {
        last--;
    } else {
        return full;
    }
    CHECK(append_count < mx_countof(appends) && len <= RECORD_OUTCOME_BYTES_MAX);
    *out = writer_init(payloads[append_count], len);
    appends[append_count++] = append;
    return MX_OK;
}

static struct spool spool;
static struct message msg;
static struct rcpt_state states[RCPTS];

static void count_released(void *arg, struct quota_hold *hold)
{
    CHECK(arg == NULL && hold->count == 1);
    released++;
    free(hold);
}

static void setup(void)
{
    static const struct spool_ops ops = {.released = count_released};
    spool = (struct spool){.ops = &ops};
    list_init(&spool.all);
    list_init(&spool.blocked_writes);
    CHECK(pool_init(&spool.writes, "outcome-writes", sizeof(struct outcome_write), 1000) == MX_OK);
    msg = (struct message){.rcpts = states, .rcpt_count = RCPTS, .rcpts_left = RCPTS};
    memset(states, 0, sizeof states);
    common = 0;
    last = LAST_ROOM;
    refusal = MX_OK;
    full = MX_ERR_NOSPACE;
    retries = waits = ended = released = append_count = 0;
}

static void teardown(void)
{
    pool_fini(&spool.writes);
}

static void defer(unsigned rcpt)
{
    states[rcpt].attempts++;
    struct record_outcome outcome = {.rcpt = rcpt, .state = states[rcpt]};
    spool_mark_deferred(&spool, &msg, &outcome, 1);
}

static void deliver(unsigned rcpt)
{
    states[rcpt].status = RCPT_DELIVERED;
    struct record_outcome outcome = {.rcpt = rcpt, .state = states[rcpt]};
    spool_mark(&spool, &msg, &outcome, 1);
}

/* They had what is kept back for outcomes, until no message could end any more. */
static void deferrals_leave_the_last_room_alone(void)
{
    for (unsigned i = 0; i < 100; i++) {
        defer(i % RCPTS);
    }
    CHECK(last == LAST_ROOM && append_count == 0 && msg.writes == 0);
    CHECK(spool.unmarked == 0 && retries == 0 && list_empty(&spool.blocked_writes));
    deliver(0);
    CHECK(append_count == 1 && last == LAST_ROOM - 1 && msg.writes == 1);
    appends[0]->done(appends[0], MX_OK);
    CHECK(msg.writes == 0);
    common = 1; /* there is space again */
    defer(1);
    CHECK(append_count == 2 && common == 0 && last == LAST_ROOM - 1 && msg.writes == 1);
    appends[1]->done(appends[1], MX_OK);
    CHECK(msg.writes == 0);
}

/* One that waits behind an outcome is left out when its turn comes and the disk is full by then;
 * those behind it go on. */
static void deferral_in_the_line_gives_way(void)
{
    refusal = MX_ERR_IO;
    deliver(0);
    defer(1);
    deliver(1);
    CHECK(msg.writes == 3 && append_count == 0);
    refusal = MX_OK;
    writes_go_on(&spool);
    CHECK(append_count == 2 && last == LAST_ROOM - 2 && msg.writes == 2);
    CHECK(list_empty(&spool.blocked_writes));
    msg.rcpts_left = 1; /* it is not ended in here */
    appends[0]->done(appends[0], MX_OK);
    appends[1]->done(appends[1], MX_OK);
    CHECK(msg.writes == 0);
}

/* No segment can be made for another reason: outcomes did not wait behind what has no room. */
static void deferral_does_not_stop_outcomes(void)
{
    full = MX_ERR_IO;
    defer(1);
    deliver(0);
    CHECK(append_count == 1 && last == LAST_ROOM - 1 && msg.writes == 1);
    CHECK(list_empty(&spool.blocked_writes));
    appends[0]->done(appends[0], MX_OK);
}

/* A disk that fails is no full one: it waits as before, and comes in its order. */
static void deferral_waits_for_a_disk_that_fails(void)
{
    common = 1;
    refusal = MX_ERR_IO;
    defer(0);
    CHECK(msg.writes == 1 && retries == 1);
    refusal = MX_OK;
    writes_go_on(&spool);
    CHECK(append_count == 1 && common == 0 && msg.writes == 1);
    appends[0]->done(appends[0], MX_OK);
    CHECK(msg.writes == 0);
}

/* The queue shows it no more: a sender who is told that it is full would look in vain for why. */
static void quota_is_given_back_before_the_disk_has_it(void)
{
    static const uint64_t key = 1;
    msg.hold = quota_hold_new(&key, 1, 0);
    CHECK(msg.hold != NULL);
    deliver(0);
    msg.rcpts_left--;
    spool_settle_end(&spool, &msg);
    CHECK(released == 0 && ended == 0);
    deliver(1);
    msg.rcpts_left--;
    spool_settle_end(&spool, &msg);
    CHECK(msg.writes == 2 && ended == 1 && released == 1);
    appends[0]->done(appends[0], MX_OK);
    CHECK(msg.writes == 1 && released == 1);
}

int main(void)
{
    static void (*const tests[])(void) = {
        deferrals_leave_the_last_room_alone,
        deferral_in_the_line_gives_way,
        deferral_does_not_stop_outcomes,
        deferral_waits_for_a_disk_that_fails,
        quota_is_given_back_before_the_disk_has_it,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
