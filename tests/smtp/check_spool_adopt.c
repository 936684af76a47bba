/* What a start takes over from the process before. */
#include "tests/check.h"

#include "io/journal.h"
#include "smtp/spool.h"
#include "smtp/spool_index.h"

#include <stdlib.h>

#define journal_settle(journal, resident, ref) ((void)(resident))
#define journal_adopt(journal, segments) ((void)(segments))
#define journal_adopted(journal) ((void)0)
#define spool_message_new(spool) pool_acquire_zero(&(spool)->messages)
#define spool_message_free(spool, msg) pool_release(&(spool)->messages, msg)
#define spool_forget(spool, msg) ((void)(msg))
#define shard_after(shard, timer, ns) ((void)(ns))
#define shard_again(shard) ((void)(shard))
#include "smtp/spool_adopt.c"

enum { RCPTS = 5 };

static const int64_t arrived_ms = 1000000;
static struct message *taken;
static bool ended;

static void on_recovered(void *arg, struct message *msg)
{
    (void)arg;
    taken = msg;
}

static void on_adopted(void *arg)
{
    (void)arg;
    ended = true;
}

/* While a hop is down or busy its messages may have a fallback time; stored with a moved copy it
 * made a restart wait although nothing had been tried. */
static void recipient_that_was_never_tried_is_due(void)
{
    static const struct spool_ops ops = {.recovered = on_recovered, .adopted = on_adopted};
    static struct shard shard;
    struct rcpt_state states[RCPTS] = {
        {.due_ms = arrived_ms + 60000},
        {.due_ms = arrived_ms + 60000, .attempts = 1},
        {.due_ms = arrived_ms + 60000, .flags = RCPT_PUT_OFF},
        {.due_ms = arrived_ms + 60000, .attempts = 1, .status = RCPT_DELIVERED},
        {.due_ms = arrived_ms + 60000, .flags = RCPT_THROTTLED},
    };
    struct entry entry = {.arrived_ms = arrived_ms, .rcpt_count = RCPTS, .rcpts = states};
    struct spool_recovery recovery = {.entries = &entry, .entry_count = 1};
    struct spool_part part = {.recovery = &recovery, .first = 1};
    struct spool spool = {.shard = &shard, .ops = &ops};
    list_init(&spool.all);
    CHECK(pool_init(&spool.messages, "messages", sizeof(struct message), 1000) == MX_OK);
    CHECK(pool_init(&spool.extents, "extents", sizeof(struct extent), 1000) == MX_OK);
    CHECK(spool_index_room(&spool, 0) == MX_OK);
    spool_adopt(&spool, &part);
    spool_adopt_step(&spool);
    CHECK(ended && taken != NULL && taken->recovered && taken->rcpts_left == RCPTS - 1);
    CHECK(taken->rcpts[0].due_ms == arrived_ms);            /* it only waited for a hop */
    CHECK(taken->rcpts[1].due_ms == arrived_ms + 60000);    /* it was tried */
    CHECK(taken->rcpts[2].due_ms == arrived_ms + 60000);    /* somebody wanted it so */
    CHECK(taken->rcpts[4].due_ms == arrived_ms + 60000);    /* its place in a line */
    CHECK(spool_index_due_ms(&spool, taken) == arrived_ms); /* of the first */
    free(taken->rcpts);
    spool_index_fini(&spool);
    pool_fini(&spool.extents);
    pool_fini(&spool.messages);
}

int main(void)
{
    recipient_that_was_never_tried_is_due();
    return 0;
}
