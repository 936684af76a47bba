/* What happens to a message between the queue and a hop, with a journal and hops that are in here.
 */
#include "tests/check.h"

#include "io/journal.h"
#include "smtp/hop.h"

#include <string.h>

static bool fake_submit(struct hop *hop, struct delivery *delivery);
static void fake_park(struct hop *hop, struct message *msg);
static void fake_read(struct journal *journal, struct journal_read *read);

#define hop_submit fake_submit
#define hop_park fake_park
#define journal_read(journal, read) fake_read(journal, read)
#define journal_read_bytes(ref) ((size_t)(ref).len)
#include "smtp/deliver.c"
#include "smtp/deliver_active.c"
#include "smtp/deliver_dispatch.c"
#include "smtp/deliver_outcome.c"

#include <stdio.h>

enum { RCPTS = 2, RECORD_MAX = 1024 };

static struct shard shard;
static struct spool spool;
static struct deliver deliver;
static struct message msg;
static struct rcpt_state states[RCPTS];
static struct hop hop;
static bool hop_has_room;
static unsigned parked;
static struct journal_read *reading;
/* As in journal.c only known by its address. */
static uint8_t segments[2];
static struct segment *const here = (struct segment *)(void *)&segments[0];
static struct segment *const there = (struct segment *)(void *)&segments[1];

static bool fake_submit(struct hop *to, struct delivery *delivery)
{
    (void)delivery;
    CHECK(to == &hop);
    return hop_has_room;
}

static void fake_park(struct hop *at, struct message *message)
{
    CHECK(at == &hop && message == &msg);
    parked++;
}

static void fake_read(struct journal *journal, struct journal_read *read)
{
    (void)journal;
    reading = read;
}

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
    CHECK(pool_init(&spool.writes, "writes", 64, 100) == MX_OK);
    deliver = (struct deliver){.shard = &shard, .spool = &spool};
    schedule_default(&deliver.conf.schedule);
    list_init(&deliver.ready);
    CHECK(pool_init(&deliver.actives, "actives", sizeof(struct active), 10) == MX_OK);
    hop = (struct hop){.deliver = &deliver};
    msg = (struct message){.rcpts = states, .rcpt_count = RCPTS, .rcpts_left = RCPTS};
    msg.arrived_ms = shard.wall_ms;
    for (unsigned i = 0; i < RCPTS; i++) {
        states[i] = (struct rcpt_state){.due_ms = shard.wall_ms};
    }
    parked = 0;
    reading = NULL;
}

static void teardown(void)
{
    CHECK(deliver.actives.used == 0 && spool.txns.used == 0 && shard.blocks.used == 0);
    CHECK(hop.references == 0);
    pool_fini(&deliver.actives);
    pool_fini(&spool.writes);
    pool_fini(&spool.txns);
    pool_fini(&shard.blocks);
    log_fini(&shard.log);
}

/* A message that found no room at its hop got a later time, which a move of its record stored:
 * after a crash it waited for a minute. Its timer alone may be later. */
static void busy_hop_does_not_move_the_times_of_a_message(void)
{
    struct active *active = active_new(&deliver, &msg);
    CHECK(NULL != active);
    active->deliveries++; /* as in dispatch */
    struct delivery *delivery = delivery_new(active, &hop, 0, RCPTS);
    CHECK(NULL != delivery);
    for (unsigned i = 0; i < RCPTS; i++) {
        delivery->rcpts[i].rcpt = i;
    }
    delivery->rcpt_count = delivery->open = RCPTS;
    hop_has_room = false;
    submit(delivery);
    active_release(active);
    CHECK(msg.active == NULL && parked == 1);
    for (unsigned i = 0; i < RCPTS; i++) {
        CHECK(states[i].due_ms == shard.wall_ms && states[i].attempts == 0);
    }
    CHECK(timer_armed(&msg.due) && msg.due.deadline_ns > shard.now_ns);
}

/* Its record as it was written first, without states; returns its length. */
static size_t record_make(uint8_t *buf, struct slice content)
{
    static const struct envelope_rcpt rcpts[RCPTS] = {{.address = SLICE_LITERAL("a@example.org")},
                                                      {.address = SLICE_LITERAL("b@example.org")}};
    const struct envelope env = {.sender = SLICE_LITERAL("s@example.com"),
                                 .body_bytes = content.len,
                                 .rcpt_count = RCPTS,
                                 .rcpts = rcpts};
    struct record_message head = {.rcpt_count = RCPTS,
                                  .envelope_bytes = (uint32_t)envelope_bytes(&env),
                                  .inline_bytes = (uint32_t)content.len,
                                  .extent_count = 1};
    struct writer w = writer_init(buf, RECORD_MAX);
    record_message_head_put(&w, &head);
    envelope_encode(&w, &env);
    put_slice(&w, content);
    CHECK(!w.overflow && w.len == record_message_bytes(&head));
    msg.envelope_bytes = head.envelope_bytes;
    msg.inline_bytes = head.inline_bytes;
    return w.len;
}

/* A message that was moved while it was read was taken for damaged and held until a restart: where
 * its envelope begins was looked up in what is known of the copy, which holds its states as well.
 */
static void message_moved_while_it_is_read(void)
{
    struct slice content = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n");
    struct extent extent = {.res.resident.ref = {.segment = here, .len = 100}};
    uint8_t record[RECORD_MAX];
    size_t len = record_make(record, content);
    msg.extents = &extent;
    msg.extent_count = 1;
    msg.res.resident.ref = (struct journal_ref){.segment = here, .len = (uint32_t)len};
    deliver.performance.delivery_bytes = DELIVER_BYTES_MAX;
    activate(&deliver, &msg);
    CHECK(reading != NULL && reading->ref.segment == here);
    /* The copy is durable elsewhere before the read has ended. */
    msg.res.resident.ref =
        (struct journal_ref){.segment = there, .len = (uint32_t)len + RCPTS * RECORD_RCPT_BYTES};
    struct journal_read *read = reading;
    reading = NULL;
    read->payload = slice_of(record, len);
    read->done(read, MX_OK);
    CHECK(!msg.held && msg.active != NULL);
    CHECK(reading != NULL);
    CHECK(slice_equal(msg.active->inline_content, content));
    CHECK(slice_equal(msg.active->txn->env.sender, SLICE_LITERAL("s@example.com")));
    /* An error now ends it for a moment, not for good. */
    reading->done(reading, MX_ERR_IO);
    CHECK(!msg.held && msg.active == NULL && timer_armed(&msg.due));
}

/* The old place was given to others before the read: not damage, it is read again. */
static void message_moved_before_it_is_read(void)
{
    msg.res.resident.ref = (struct journal_ref){.segment = here, .len = 100};
    activate(&deliver, &msg);
    msg.res.resident.ref.segment = there;
    reading->done(reading, MX_ERR_DAMAGED);
    CHECK(!msg.held && timer_armed(&msg.due));
}

/* Damage where the message is: it is kept, and not tried again. */
static void damaged_message_is_held(void)
{
    msg.res.resident.ref = (struct journal_ref){.segment = here, .len = 100};
    activate(&deliver, &msg);
    reading->done(reading, MX_ERR_DAMAGED);
    CHECK(msg.held && msg.active == NULL && msg.rcpts_left == RCPTS);
}

/* While the report of a delay was being written, another attempt's outcome said that it was sent:
 * with the outcome durable, the report not, and a crash then, the sender was never told. */
static void no_attempt_before_the_report_is_durable(void)
{
    msg.res.resident.ref = (struct journal_ref){.segment = here, .len = 100};
    msg.writes = msg.undecided = 1;
    states[0].flags = RCPT_EARLY;
    states[0].due_ms = shard.wall_ms + 1000;
    activate(&deliver, &msg);
    CHECK(reading == NULL && msg.active == NULL && timer_armed(&msg.due));
    shard.now_ns += DELIVER_REPORT_WAIT_MS * MX_NS_PER_MS + WHEEL_TICK_MS * MX_NS_PER_MS;
    (void)wheel_advance(&shard.wheel, shard.now_ns, 10);
    CHECK(!timer_armed(&msg.due) && list_first(&deliver.ready) == &msg.wait_node);
    CHECK(states[0].due_ms == shard.wall_ms + 1000); /* its time is still to come */
    list_remove(&msg.wait_node);
    msg.writes = msg.undecided = 0;
    activate(&deliver, &msg);
    CHECK(reading != NULL && msg.active != NULL);
    reading->done(reading, MX_ERR_IO);
}

/* A message with a history is made active, up to the reading of that. */
static void activate_with_history(uint32_t history_bytes)
{
    static struct history history;
    uint8_t record[RECORD_MAX];
    struct slice content = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n");
    size_t len = record_make(record, content);
    /* It is not that of a large message. */
    struct writer extents = writer_init(record + 16, 4);
    put_u32(&extents, 0);
    history = (struct history){.message = &msg,
                               .res.resident.ref = {.segment = there, .len = history_bytes}};
    msg.history = &history;
    msg.extent_count = 0;
    msg.res.resident.ref = (struct journal_ref){.segment = here, .len = (uint32_t)len};
    deliver.stopping = true; /* nothing is tried */
    activate(&deliver, &msg);
    struct journal_read *read = reading;
    reading = NULL;
    read->payload = slice_of(record, len);
    read->done(read, MX_OK);
}

/* Histories in memory count like the content of messages, and have a share of their own. */
static void histories_count(void)
{
    deliver.performance.delivery_bytes = 8000 * DELIVER_HISTORY_SHARE;
    activate_with_history(5000);
    CHECK(reading != NULL && reading->ref.segment == there);
    CHECK(deliver.history_bytes == 5000 && deliver.active_bytes > 5000);
    struct active *active = msg.active;
    CHECK(active_history_take(active, 8000) && deliver.history_bytes == 8000);
    CHECK(!active_history_take(active, 8001) && deliver.history_bytes == 8000);
    reading->done(reading, MX_ERR_IO);
    CHECK(msg.active == NULL && deliver.history_bytes == 0 && deliver.active_bytes == 0);
    CHECK(deliver.history_peak == 8000);
}

/* One that there is no room for stays as it is; the message is tried all the same. */
static void history_without_room_stays(void)
{
    deliver.performance.delivery_bytes = 4000 * DELIVER_HISTORY_SHARE;
    activate_with_history(5000);
    CHECK(reading == NULL && msg.active == NULL && msg.history != NULL);
    CHECK(deliver.history_bytes == 0 && deliver.active_bytes == 0);
}

static void wait_at_hop(unsigned queue)
{
    struct active *active = active_new(&deliver, &msg);
    CHECK(active != NULL);
    struct delivery *delivery = delivery_new(active, &hop, queue, RCPTS);
    CHECK(delivery != NULL);
    for (unsigned i = 0; i < RCPTS; i++) {
        delivery->rcpts[i].rcpt = i;
    }
    delivery->rcpt_count = delivery->open = RCPTS;
    hop_give_back(&hop, delivery);
    CHECK(hop.waiting_count == 1 && deliver.queues.slots[queue].waiting == 1);
}

static void nothing_waits_at_hop(void)
{
    CHECK(hop.waiting_count == 0 && hop.waiting_mask == 0);
    CHECK(msg.active == NULL && timer_armed(&msg.due));
    wheel_cancel(&shard.wheel, &msg.due);
}

static void hop_lists(void)
{
    list_init(&deliver.busy);
    list_init(&hop.parked);
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        list_init(&hop.waiting[i]);
    }
    verify_hop_init(&hop.verify);
}

/* A delivery that a connection gave back while its route, or its virtual queue, was paused stayed
 * in memory for as long as the pause lasted, and nobody could change or cancel its message. */
static void given_back_during_a_pause(void)
{
    hop_lists();
    hop.paused = true;
    wait_at_hop(0);
    hop_run(&hop);
    nothing_waits_at_hop();
    hop.paused = false;
    deliver.queues.paused = 1;
    wait_at_hop(0);
    hop_run(&hop);
    nothing_waits_at_hop();
}

/* Its bit is the highest there is: what was looked for behind it was found again and again. */
static void pause_of_the_last_virtual_queue(void)
{
    const unsigned last = QUEUE_SLOTS - 1;
    hop_lists();
    wait_at_hop(last);
    deliver.queues.paused = UINT32_C(1) << last;
    hop_pause(&hop);
    nothing_waits_at_hop();
}

/* --- when nobody can say which schedule holds
 * ------------------------------------------------ */

enum { DAY_MS = 24 * 60 * 60 * 1000 };

static struct schedule schedules[] = {
    {.retry_ms = {60000}, .retry_count = 1, .expire_ms = UINT64_C(30) * DAY_MS},
    {.retry_ms = {60000}, .retry_count = 1, .attempts_max = 3},
};

/* With a schedule expression that fails whenever it is evaluated: there is no store to ask. */
static void with_unknown_schedules(void (*run)(struct active *active))
{
    static struct image image;
    const struct expr_source source = {.otherwise = SLICE_LITERAL("key_get('*', rcpt)")};
    struct expr_problem problem;
    struct expr_program *program = NULL;
    struct directory *directory = NULL;
    struct class_stats stats = {0};
    CHECK(expr_compile(&program, &source, EXPR_QRCPT, &problem) == MX_OK);
    CHECK(directory_new(&directory, 42) == MX_OK);
    CHECK(texts_init(&spool.texts) == MX_OK);
    image = (struct image){.schedules = schedules,
                           .schedule_count = mx_countof(schedules),
                           .schedule_program = program};
    deliver.image = &image;
    deliver.directory = directory;
    deliver.vm = calloc(1, sizeof *deliver.vm);
    hop.stats = &stats;
    struct active *active = active_new(&deliver, &msg);
    CHECK(deliver.vm != NULL && active != NULL);
    active->txn = spool_txn_new(&spool);
    CHECK(active->txn != NULL);
    active->txn->env.sender = SLICE_LITERAL("s@example.com");
    for (unsigned i = 0; i < RCPTS; i++) {
        active->txn->rcpts[i].address = SLICE_LITERAL("a@example.org");
    }
    active->txn->env.rcpt_count = RCPTS;
    active->deliveries++;
    run(active);
    active_release(active);
    for (unsigned i = 0; i < RCPTS; i++) {
        texts_drop(&spool.texts, states[i].reply);
    }
    texts_fini(&spool.texts);
    free(deliver.vm);
    directory_free(directory);
    expr_free(program);
}

/* What a next hop says for now, to the first recipient. */
static enum outcome_kind put_off_once(struct active *active)
{
    struct delivery *delivery = delivery_new(active, &hop, 0, RCPTS);
    CHECK(delivery != NULL);
    struct outcome outcome = deliver_problem(SLICE_LITERAL("not now"), SLICE_LITERAL("RCPT TO"));
    delivery->rcpt_count = delivery->open = 1;
    delivery_decide(delivery, 0, &outcome);
    apply(delivery, &delivery->rcpts[0]);
    enum outcome_kind kind = delivery->rcpts[0].outcome.kind;
    delivery_free(delivery);
    active->deliveries--;
    return kind;
}

static void waits_for_every_schedule(struct active *active)
{
    shard.wall_ms = msg.arrived_ms + INT64_C(6) * DAY_MS; /* over the default of five */
    for (unsigned i = 1; i <= 4; i++) {
        CHECK(put_off_once(active) == OUTCOME_TEMPORARY);
        CHECK(states[0].status == RCPT_PENDING && states[0].attempts == i);
        CHECK(states[0].due_ms > shard.wall_ms);
    }
    shard.wall_ms = msg.arrived_ms + INT64_C(30) * DAY_MS;
    states[0].attempts = 1; /* the other one gives it two more */
    CHECK(put_off_once(active) == OUTCOME_TEMPORARY && states[0].attempts == 2);
    CHECK(put_off_once(active) == OUTCOME_PERMANENT && states[0].status == RCPT_FAILED);
    msg.rcpts_left = RCPTS;
    states[0].status = RCPT_PENDING;
}

static void counts_for_no_step(struct active *active)
{
    struct grouping group = {.count = 0};
    shard.wall_ms = msg.arrived_ms + INT64_C(6) * DAY_MS;
    states[0].expires_ms = 12345; /* as the schedule said when it could be asked */
    route_rcpt(&group, active, 0);
    CHECK(group.count == 1 && group.list[0]->open == 0);
    struct delivery *delivery = group.list[0];
    apply(delivery, &delivery->rcpts[0]);
    CHECK(delivery->rcpts[0].outcome.kind == OUTCOME_TEMPORARY);
    CHECK(states[0].attempts == 0 && states[0].expires_ms == 12345);
    CHECK(states[0].due_ms > shard.wall_ms && rcpt_is_deferred(&states[0]));
    delivery_free(delivery);
    active->deliveries--;
}

/* The default schedule took the place of one that could not be told for a moment, and its five days
 * ended mail that had thirty. */
static void unknown_schedule_ends_no_mail(void)
{
    with_unknown_schedules(waits_for_every_schedule);
}

/* Nothing was tried, so of a schedule that gives a number of attempts none is used up. */
static void unknown_schedule_is_no_attempt(void)
{
    with_unknown_schedules(counts_for_no_step);
}

int main(void)
{
    static void (*const tests[])(void) = {
        busy_hop_does_not_move_the_times_of_a_message,
        message_moved_while_it_is_read,
        message_moved_before_it_is_read,
        damaged_message_is_held,
        no_attempt_before_the_report_is_durable,
        histories_count,
        history_without_room_stays,
        pause_of_the_last_virtual_queue,
        given_back_during_a_pause,
        unknown_schedule_ends_no_mail,
        unknown_schedule_is_no_attempt,
    };
    for (size_t i = 0; i < mx_countof(tests); i++) {
        setup();
        tests[i]();
        teardown();
    }
    return 0;
}
