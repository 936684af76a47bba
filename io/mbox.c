#include "io/mbox.h"

#include "core/check.h"
#include "core/spsc.h"
#include "io/ring.h"

#include <stdlib.h>
#include <unistd.h>

enum { WAKER_SLEEP_US = 10 };

/* One thread's end of the hub. */
struct endpoint {
    _Alignas(64) atomic_bool sleeping;
    _Atomic(struct ring *) ring;
    atomic_int eventfd;
    atomic_uint wakers; /* threads that are using ring or eventfd at this moment */
};

struct mbox_hub {
    unsigned count; /* cores, management loop, management worker */
    struct endpoint *ends;
    struct spsc *rings; /* [to * count + from] */
};

mx_err mbox_hub_new(struct mbox_hub **out_hub, unsigned cores)
{
    struct mbox_hub *hub = calloc(1, sizeof *hub);
    if (hub == NULL) {
        return MX_ERR_NOMEM;
    }
    hub->count = cores + MBOX_OTHERS;
    size_t ring_bytes = (size_t)hub->count * hub->count * sizeof *hub->rings;
    hub->ends = aligned_alloc(64, hub->count * sizeof *hub->ends);
    hub->rings = aligned_alloc(64, ring_bytes);
    bool good = hub->ends != NULL && hub->rings != NULL;
    for (unsigned i = 0; good && i < hub->count; i++) {
        atomic_init(&hub->ends[i].sleeping, false);
        atomic_init(&hub->ends[i].ring, NULL);
        atomic_init(&hub->ends[i].eventfd, -1);
        atomic_init(&hub->ends[i].wakers, 0);
    }
    for (unsigned i = 0; hub->rings != NULL && i < hub->count * hub->count; i++) {
        hub->rings[i].cells = NULL;
    }
    for (unsigned i = 0; good && i < hub->count * hub->count; i++) {
        good = spsc_init(&hub->rings[i], MBOX_CELLS) == MX_OK;
    }
    if (!good) {
        mbox_hub_free(hub);
        return MX_ERR_NOMEM;
    }
    *out_hub = hub;
    return MX_OK;
}

void mbox_hub_free(struct mbox_hub *hub)
{
    if (hub == NULL) {
        return;
    }
    for (unsigned i = 0; hub->rings != NULL && i < hub->count * hub->count; i++) {
        spsc_fini(&hub->rings[i]);
    }
    free(hub->rings);
    free(hub->ends);
    free(hub);
}

/* Nobody uses the former ring or eventfd after this; others hold them for one system call. */
static void await_wakers(struct endpoint *end)
{
    while (atomic_load(&end->wakers) != 0) {
        (void)usleep(WAKER_SLEEP_US);
    }
}

void mbox_attach_ring(struct mbox_hub *hub, unsigned index, struct ring *ring)
{
    MX_ASSERT(index < hub->count);
    atomic_store(&hub->ends[index].ring, ring);
    await_wakers(&hub->ends[index]);
}

void mbox_attach_eventfd(struct mbox_hub *hub, unsigned index, int eventfd)
{
    MX_ASSERT(index < hub->count);
    atomic_store(&hub->ends[index].eventfd, eventfd);
    atomic_store(&hub->ends[index].sleeping, true); /* it polls: always wake it */
    await_wakers(&hub->ends[index]);
}

static void wake(struct endpoint *end)
{
    atomic_fetch_add(&end->wakers, 1);
    struct ring *ring = atomic_load(&end->ring);
    int eventfd = atomic_load(&end->eventfd);
    if (ring != NULL) {
        ring_wake(ring);
    } else if (eventfd >= 0) {
        uint64_t one = 1;
        ssize_t written = write(eventfd, &one, sizeof one);
        (void)written;
    }
    atomic_fetch_sub(&end->wakers, 1);
}

mx_err mbox_send(struct mbox_hub *hub, unsigned from, unsigned to, struct mbox_msg *msg)
{
    MX_ASSERT(from < hub->count && to < hub->count && from != to);
    if (!spsc_push(&hub->rings[to * hub->count + from], msg)) {
        return MX_ERR_AGAIN;
    }
    if (atomic_load(&hub->ends[to].sleeping)) {
        wake(&hub->ends[to]);
    }
    return MX_OK;
}

unsigned mbox_drain(struct mbox_hub *hub, unsigned index, struct shard *at, unsigned max)
{
    unsigned drained = 0;
    for (unsigned from = 0; from < hub->count; from++) {
        struct mbox_msg *msg;
        while (drained < max && (msg = spsc_pop(&hub->rings[index * hub->count + from])) != NULL) {
            msg->receive(msg, at);
            drained++;
        }
    }
    return drained;
}

bool mbox_sleep(struct mbox_hub *hub, unsigned index)
{
    atomic_store(&hub->ends[index].sleeping, true);
    for (unsigned from = 0; from < hub->count; from++) {
        if (!spsc_empty(&hub->rings[index * hub->count + from])) {
            atomic_store(&hub->ends[index].sleeping, false);
            return false;
        }
    }
    return true;
}

void mbox_awake(struct mbox_hub *hub, unsigned index)
{
    atomic_store(&hub->ends[index].sleeping, false);
}
