/* Every interleaving, with the weak memory of C11, of what crosses threads: the single-producer
 * ring and the mailbox with its sleeping flag and wake-up. The code is the product's (this file is
 * compiled with instrumentation, see model.h). Then seeded bugs: each weaker memory order and a
 * consumer that does not look twice must be found. */
#include "model.h"

#include "core/spsc.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int model_usleep(unsigned us);
#define usleep model_usleep /* where the mailbox waits for another thread */
#include "io/mbox.c"

enum { RECEIVER = 0, SENDER = 1, OTHER_SENDER = 2, ITEMS_MAX = 4 };

struct item {
    struct mbox_msg msg;
    unsigned value;
};

static struct item items[MODEL_THREADS_MAX][ITEMS_MAX];
static unsigned got[MODEL_THREADS_MAX], got_all;

static void items_reset(void)
{
    memset(items, 0, sizeof items);
    memset(got, 0, sizeof got);
    got_all = 0;
}

/* --- the ring alone ----------------------------------------------------------------------------
 */

enum { RING_CELLS = 2, RING_ITEMS = 3 }; /* it gets full and wraps around */

static struct spsc ring;

static void ring_setup(void)
{
    if (ring.cells == NULL && spsc_init(&ring, RING_CELLS) != MX_OK) {
        exit(2);
    }
    atomic_init(&ring.head, 0);
    atomic_init(&ring.tail, 0);
    items_reset();
}

static void ring_thread(unsigned index)
{
    for (unsigned i = 0; i < RING_ITEMS; i++) {
        if (index == SENDER) {
            items[SENDER][i].value = i + 1;
            while (!spsc_push(&ring, &items[SENDER][i])) {
                model_await_change(&ring.head);
            }
        } else {
            struct item *item;
            while ((item = spsc_pop(&ring)) == NULL) {
                model_await_change(&ring.tail);
            }
            model_check(item == &items[SENDER][i] && item->value == i + 1, "another item");
            got_all++;
        }
    }
}

static void ring_check(void)
{
    model_check(got_all == RING_ITEMS && spsc_empty(&ring), "not every item arrived");
}

/* --- the mailbox -------------------------------------------------------------------------------
 */

enum { MAILS = 2 }; /* per sender */

/* What the mailbox wakes: an event of the kernel that is remembered until the next wait. */
struct ring {
    struct model_event event;
    unsigned open;
};

static struct mbox_hub *hub;
static struct ring kernel;
static unsigned senders;

void ring_wake(struct ring *r)
{
    model_check(r->open != 0, "a ring is used after it was closed");
    model_set(&r->event);
}

static int model_usleep(unsigned us)
{
    (void)us;
    model_await_change(&hub->ends[RECEIVER].wakers);
    return 0;
}

static void hub_setup(void)
{
    if (hub == NULL && mbox_hub_new(&hub, 1) != MX_OK) {
        exit(2);
    }
    for (unsigned i = 0; i < hub->count; i++) {
        atomic_init(&hub->ends[i].sleeping, false);
        atomic_init(&hub->ends[i].wakers, 0);
        atomic_init(&hub->ends[i].ring, i == RECEIVER ? &kernel : NULL);
    }
    for (unsigned i = 0; i < hub->count * hub->count; i++) {
        atomic_init(&hub->rings[i].head, 0);
        atomic_init(&hub->rings[i].tail, 0);
    }
    kernel = (struct ring){.open = 1};
    senders = 1;
    items_reset();
}

static void hub_setup_two(void)
{
    hub_setup();
    senders = 2;
}

static void receive(struct mbox_msg *msg, struct shard *at)
{
    const struct item *item = mx_container_of(msg, struct item, msg);
    unsigned from = (unsigned)((item - &items[0][0]) / ITEMS_MAX);
    (void)at;
    model_check(item->value == ++got[from], "a message is out of order");
    got_all++;
}

static void send_all(unsigned from, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        items[from][i].msg.receive = receive;
        items[from][i].value = i + 1;
        mx_err err = mbox_send(hub, from, RECEIVER, &items[from][i].msg);
        model_check(err == MX_OK, "the mailbox is full");
    }
}

/* As io/shard does: announce, wait, drain. */
static void receive_all(unsigned count)
{
    while (got_all < count) {
        if (mbox_sleep(hub, RECEIVER)) {
            model_wait(&kernel.event);
        }
        mbox_awake(hub, RECEIVER);
        (void)mbox_drain(hub, RECEIVER, NULL, UINT32_MAX);
    }
}

static void mail_thread(unsigned index)
{
    if (index == RECEIVER) {
        receive_all(MAILS);
    } else {
        send_all(index, MAILS);
    }
}

static void mail_two_thread(unsigned index)
{
    if (index == RECEIVER) {
        receive_all(2);
    } else {
        send_all(index, 1);
    }
}

/* A seeded bug: the receiver does not look once more after it has announced. */
static void careless_thread(unsigned index)
{
    if (index != RECEIVER) {
        send_all(index, 1);
        return;
    }
    while (got_all < 1) {
        (void)mbox_drain(hub, RECEIVER, NULL, UINT32_MAX);
        if (got_all == 0) {
            atomic_store(&hub->ends[RECEIVER].sleeping, true);
            model_wait(&kernel.event);
            mbox_awake(hub, RECEIVER);
        }
    }
}

static void mail_check(void)
{
    model_check(got_all == senders * (senders == 1 ? MAILS : 1), "not every message arrived");
}

static void careless_check(void)
{
    model_check(got_all == 1, "not every message arrived");
}

/* --- the end of a receiver ---------------------------------------------------------------------
 */

/* It closes its ring while another sends and wakes. */
static void close_thread(unsigned index)
{
    if (index == RECEIVER) {
        (void)mbox_sleep(hub, RECEIVER);
        mbox_attach_ring(hub, RECEIVER, NULL);
        kernel.open = 0;
    } else {
        send_all(index, 1);
    }
}

static void close_check(void)
{
    model_check(kernel.open == 0, "it did not close");
}

/* --- the checker itself ------------------------------------------------------------------------
 *
 * Classical tests of memory models: what C11 allows must be seen, what it forbids must not. */

static atomic_uint x, y;
static unsigned seen[2];
static memory_order store_order, load_order;

static void litmus_setup(void)
{
    atomic_init(&x, 0);
    atomic_init(&y, 0);
    memset(seen, 0, sizeof seen);
}

static void buffering_thread(unsigned index)
{
    atomic_store_explicit(index == 0 ? &x : &y, 1, store_order);
    seen[index] = atomic_load_explicit(index == 0 ? &y : &x, load_order);
}

static void buffering_check(void)
{
    model_check(seen[0] != 0 || seen[1] != 0, "both loads came before both stores");
}

static void passing_thread(unsigned index)
{
    if (index == 0) {
        atomic_store_explicit(&x, 1, memory_order_relaxed);
        atomic_store_explicit(&y, 1, store_order);
    } else {
        seen[0] = atomic_load_explicit(&y, load_order);
        seen[1] = atomic_load_explicit(&x, memory_order_relaxed);
    }
}

static void passing_check(void)
{
    model_check(seen[0] <= seen[1], "the flag was seen and the value was not");
}

static void coherence_thread(unsigned index)
{
    if (index == 0) {
        atomic_store_explicit(&x, 1, memory_order_relaxed);
        atomic_store_explicit(&x, 2, memory_order_relaxed);
    } else {
        seen[0] = atomic_load_explicit(&x, memory_order_relaxed);
        seen[1] = atomic_load_explicit(&x, memory_order_relaxed);
    }
}

static void coherence_check(void)
{
    model_check(seen[0] <= seen[1], "a location went back");
}

static const struct model_scenario buffering = {"store buffering", 2, litmus_setup,
                                                buffering_thread, buffering_check};
static const struct model_scenario passing = {"message passing", 2, litmus_setup, passing_thread,
                                              passing_check};
static const struct model_scenario coherence = {"coherence", 2, litmus_setup, coherence_thread,
                                                coherence_check};

/* --- running -----------------------------------------------------------------------------------
 */

static const struct model_scenario ring_scenario = {"ring", 2, ring_setup, ring_thread, ring_check};
static const struct model_scenario mail = {"mailbox", 2, hub_setup, mail_thread, mail_check};
static const struct model_scenario mail_two = {"mailbox, two senders", 3, hub_setup_two,
                                               mail_two_thread, mail_check};
static const struct model_scenario closing = {"close while waking", 2, hub_setup, close_thread,
                                              close_check};
static const struct model_scenario careless = {"no second look", 2, hub_setup, careless_thread,
                                               careless_check};

static unsigned passed, failed;

static void expect(const struct model_scenario *scenario, const struct model_weakening *weakening,
                   const char *what, bool error)
{
    struct model_result result;
    model_run(&result, scenario, weakening);
    bool good = (result.error != NULL) == error;
    passed += good;
    failed += !good;
    printf("%s %s%s%s: %llu executions, %llu pruned%s%s\n", good ? "ok" : "FAIL", scenario->name,
           what[0] != '\0' ? ", " : "", what, (unsigned long long)result.executions,
           (unsigned long long)result.pruned, result.error != NULL ? "; found: " : "",
           result.error != NULL ? result.error : "");
    if (!good && result.error != NULL) {
        printf("%s", result.trace);
    }
}

static void expect_found(const struct model_scenario *scenario, const char *what,
                         const void *location, enum model_op op, int order)
{
    struct model_weakening weakening = {location, op, order};
    expect(scenario, &weakening, what, true);
}

static void litmus(const struct model_scenario *scenario, memory_order store, memory_order load,
                   const char *what, bool allowed)
{
    store_order = store;
    load_order = load;
    expect(scenario, NULL, what, allowed);
}

int main(void)
{
    litmus(&buffering, memory_order_seq_cst, memory_order_seq_cst, "seq_cst", false);
    litmus(&buffering, memory_order_release, memory_order_seq_cst, "release", true);
    litmus(&buffering, memory_order_seq_cst, memory_order_acquire, "acquire", true);
    litmus(&passing, memory_order_release, memory_order_acquire, "release, acquire", false);
    litmus(&passing, memory_order_relaxed, memory_order_acquire, "relaxed, acquire", true);
    litmus(&passing, memory_order_release, memory_order_relaxed, "release, relaxed", true);
    litmus(&coherence, memory_order_relaxed, memory_order_relaxed, "relaxed", false);

    expect(&ring_scenario, NULL, "", false);
    expect_found(&ring_scenario, "relaxed store of tail", &ring.tail, MODEL_STORE,
                 memory_order_relaxed);
    expect_found(&ring_scenario, "relaxed load of tail", &ring.tail, MODEL_LOAD,
                 memory_order_relaxed);
    expect_found(&ring_scenario, "relaxed store of head", &ring.head, MODEL_STORE,
                 memory_order_relaxed);
    expect_found(&ring_scenario, "relaxed load of head", &ring.head, MODEL_LOAD,
                 memory_order_relaxed);

    expect(&mail, NULL, "", false);
    struct endpoint *end = &hub->ends[RECEIVER];
    struct spsc *box = &hub->rings[RECEIVER * hub->count + SENDER];
    expect_found(&mail, "store of tail not seq_cst", &box->tail, MODEL_STORE, memory_order_release);
    expect_found(&mail, "load of tail not seq_cst", &box->tail, MODEL_LOAD, memory_order_acquire);
    expect_found(&mail, "store of the flag not seq_cst", &end->sleeping, MODEL_STORE,
                 memory_order_release);
    expect_found(&mail, "load of the flag not seq_cst", &end->sleeping, MODEL_LOAD,
                 memory_order_acquire);
    expect(&careless, NULL, "", true);

    expect(&mail_two, NULL, "", false);

    expect(&closing, NULL, "", false);
    expect_found(&closing, "store of the ring not seq_cst", &end->ring, MODEL_STORE,
                 memory_order_release);
    expect_found(&closing, "load of wakers relaxed", &end->wakers, MODEL_LOAD,
                 memory_order_relaxed);
    expect_found(&closing, "load of the ring not seq_cst", &end->ring, MODEL_LOAD,
                 memory_order_acquire);
    printf("%u passed, %u failed\n", passed, failed);
    mbox_hub_free(hub);
    spsc_fini(&ring);
    return failed == 0 ? 0 : 1;
}
