/* What an administrator changes of a message, with a journal that is in here. */
#include "tests/check.h"

#include "smtp/deliver_private.h"
#include "smtp/hop.h"
#include "smtp/spool_index.h"

#include <string.h>

static struct rcpt_state written;
static unsigned marks_written;

static void fake_mark(const struct record_outcome *marks, uint32_t count)
{
    CHECK(count == 1);
    written = marks[0].state;
    marks_written++;
}

#define spool_mark(spool, msg, marks, count) ((void)(spool), (void)(msg), fake_mark(marks, count))
#define spool_index_due(spool, msg) ((void)(spool), (void)(msg))
#define deliver_schedule(d, msg) ((void)(d), (void)(msg))
#define deliver_ready(d, msg) ((void)(d), (void)(msg))
#include "smtp/deliver_control.c"

enum { RCPTS = 2, LATER_MS = 3600000 };

static struct shard shard;
static struct spool spool;
static struct deliver deliver;
static struct message msg;
static struct rcpt_state states[RCPTS];

static void setup(void)
{
    memset(&shard, 0, sizeof shard);
    shard.wall_ms = 1000000;
    wheel_init(&shard.wheel, shard.now_ns);
    spool = (struct spool){.shard = &shard};
    deliver = (struct deliver){.shard = &shard, .spool = &spool};
    list_init(&deliver.hops);
    msg = (struct message){.rcpts = states, .rcpt_count = RCPTS, .rcpts_left = RCPTS};
    for (unsigned i = 0; i < RCPTS; i++) {
        states[i] = (struct rcpt_state){.due_ms = shard.wall_ms + LATER_MS / 2};
    }
    marks_written = 0;
}

static void change(enum deliver_change_kind kind, int64_t at_ms)
{
    const struct deliver_change change = {.kind = kind, .rcpt = 0, .at_ms = at_ms};
    bool made = false;
    mx_err err = deliver_change(&deliver, &msg, &change, &made);
    CHECK(err == MX_OK || err == MX_ERR_AGAIN);
    CHECK(made && marks_written == 1);
}

/* One that its next hop had called back, and that then found no room, stayed due at any time: it
 * was tried with the next recipient of its message, before the time that was set for it. */
static void put_off_recipient_is_not_early_any_more(void)
{
    states[0].flags = RCPT_EARLY;
    CHECK(deliver_is_due(&deliver, &states[0]));
    change(CHANGE_RETRY, shard.wall_ms + LATER_MS);
    CHECK(!deliver_is_due(&deliver, &states[0]));
    CHECK(states[0].due_ms == shard.wall_ms + LATER_MS && written.due_ms == states[0].due_ms);
    shard.wall_ms += LATER_MS;
    CHECK(deliver_is_due(&deliver, &states[0]));
}

/* Nor is what is held, for as long as it is. */
static void held_recipient_is_not_due(void)
{
    states[0].flags = RCPT_EARLY;
    change(CHANGE_HOLD, 0);
    CHECK(!deliver_is_due(&deliver, &states[0]) && (written.flags & RCPT_HELD) != 0);
    marks_written = 0;
    change(CHANGE_RELEASE, 0);
    CHECK(deliver_is_due(&deliver, &states[0]) && (written.flags & RCPT_HELD) == 0);
}

int main(void)
{
    static void (*const tests[])(void) = {
        put_off_recipient_is_not_early_any_more,
        held_recipient_is_not_due,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
    }
    return 0;
}
