#include "smtp/worker_lease.h"

#include "core/check.h"
#include "core/hash.h"
#include "smtp/service.h"

#include <stdlib.h>

/* A report to the owner, or a loan from it. */
struct lease_msg {
    struct tour tour;
    uint64_t key;
    unsigned from;
    struct lending_report report;
    uint16_t granted, recalled;
};

static void report_apply(struct worker_leases *leases, uint64_t key, unsigned from,
                         const struct lending_report *told);

static uint64_t key_of(struct slice name)
{
    uint64_t key = hash_checksum(name);
    return key == 0 ? 1 : key;
}

static struct worker_leases *leases_at(struct shard *at)
{
    struct service *service = at->service;
    return &service->deliver.worker_leases;
}

static void look_again(struct worker_leases *leases, uint64_t delay_ms)
{
    if (!timer_armed(&leases->again)) {
        shard_after(leases->d->shard, &leases->again, delay_ms * MX_NS_PER_MS);
    }
}

static void tell_later(struct worker_leases *leases)
{
    look_again(leases, WORKER_TELL_AGAIN_MS);
}

/* It only wakes the loop; the turn does the rest. */
static void again_fire(struct timer *timer, uint64_t now_ns)
{
    (void)timer;
    (void)now_ns;
}

/* --- the borrower ------------------------------------------------------------------------------
 */

static void report_arrive(struct tour *tour, struct shard *at)
{
    struct lease_msg *msg = mx_container_of(tour, struct lease_msg, tour);
    report_apply(leases_at(at), msg->key, msg->from, &msg->report);
    free(msg);
}

/* False: no memory now. */
static bool report(struct worker_leases *leases, uint64_t key, const struct lending_report *told)
{
    unsigned owner = tours_owner(&leases->tours, key);
    if (owner == leases->tours.self) {
        report_apply(leases, key, owner, told);
        return true;
    }
    struct lease_msg *msg = calloc(1, sizeof *msg);
    if (msg == NULL) {
        tell_later(leases);
        return false;
    }
    *msg = (struct lease_msg){
        .tour = {.arrive = report_arrive}, .key = key, .from = leases->tours.self, .report = *told};
    tours_send(&leases->tours, &msg->tour, owner);
    return true;
}

static uint16_t cut(uint32_t number)
{
    return number < UINT16_MAX ? (uint16_t)number : UINT16_MAX;
}

static struct worker_lease *lease_find(struct worker_leases *leases, uint64_t key)
{
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        if (leases->slots[i].key == key) {
            return &leases->slots[i];
        }
    }
    return NULL;
}

static void show(struct worker_leases *leases, const struct worker_lease *lease)
{
    virtual_queue_resize(&leases->d->queues, (unsigned)(lease - leases->slots), lease->lent);
}

/* False: no memory to give back what is not wanted here. */
static bool loan_apply(struct worker_leases *leases, uint64_t key, struct worker_untold loan)
{
    struct worker_lease *lease = lease_find(leases, key);
    if (lease == NULL) {
        struct lending_report told = {.returned = loan.granted};
        return loan.granted == 0 || report(leases, key, &told);
    }
    lease->lent += loan.granted;
    lease->recalled += loan.recalled;
    lease->asked = lease->asked && loan.granted == 0;
    show(leases, lease);
    return true;
}

/* Asked back, or not needed: not taken by another delivery any more. */
static void set_apart(struct worker_leases *leases, struct worker_lease *lease, bool needed)
{
    const struct queue_slot *queue = &leases->d->queues.slots[lease - leases->slots];
    uint32_t unused = lease->lent > queue->used ? lease->lent - queue->used : 0;
    uint32_t count = needed || lease->recalled > unused ? lease->recalled : unused;
    count = count < lease->lent ? count : lease->lent;
    lease->recalled = 0;
    lease->lent -= count;
    lease->owed += count;
    show(leases, lease);
}

static void settle(struct worker_leases *leases, struct worker_lease *lease)
{
    const struct queue_slot *queue = &leases->d->queues.slots[lease - leases->slots];
    bool needed = queue->waiting > 0 && !leases->d->stopping;
    bool short_of = needed && queue->used >= lease->lent;
    uint64_t now_ns = leases->d->shard->now_ns;
    set_apart(leases, lease, needed);
    uint32_t all = lease->lent + lease->owed;
    uint32_t free_ones = all > queue->used ? all - queue->used : 0;
    bool again = now_ns >= lease->asked_ns + WORKER_ASK_AGAIN_MS * MX_NS_PER_MS;
    struct lending_report told = {
        .returned = cut(lease->owed < free_ones ? lease->owed : free_ones),
        .asks = short_of ? !lease->asked || again : lease->asked,
        .wants = short_of ? cut(queue->waiting) : 0,
    };
    if (leases->d->stopping) {
        return;
    }
    if (short_of) {
        look_again(leases, WORKER_ASK_AGAIN_MS);
    }
    if (told.returned == 0 && !told.asks) {
        return;
    }
    struct worker_lease before = *lease;
    lease->owed -= told.returned;
    lease->asked = told.asks ? short_of : lease->asked;
    lease->asked_ns = told.asks ? now_ns : lease->asked_ns;
    if (!report(leases, lease->key, &told)) {
        *lease = before;
    }
}

/* --- the owner ---------------------------------------------------------------------------------
 */

static struct worker_owner *owner_find(struct worker_leases *leases, uint64_t key)
{
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        if (leases->owners[i].key == key) {
            return &leases->owners[i];
        }
    }
    return NULL;
}

static void loan_arrive(struct tour *tour, struct shard *at)
{
    struct worker_leases *leases = leases_at(at);
    struct lease_msg *msg = mx_container_of(tour, struct lease_msg, tour);
    struct worker_untold loan = {msg->granted, msg->recalled};
    if (loan_apply(leases, msg->key, loan)) {
        free(msg);
    } else {
        tours_send(&leases->tours, tour, leases->tours.self);
    }
}

/* False: no memory now. */
static bool loan_send(struct worker_leases *leases, uint64_t key, unsigned core,
                      struct worker_untold loan)
{
    if (core == leases->tours.self) {
        return loan_apply(leases, key, loan);
    }
    struct lease_msg *msg = calloc(1, sizeof *msg);
    if (msg == NULL) {
        return false;
    }
    *msg = (struct lease_msg){.tour = {.arrive = loan_arrive},
                              .key = key,
                              .granted = loan.granted,
                              .recalled = loan.recalled};
    tours_send(&leases->tours, &msg->tour, core);
    return true;
}

static void tell(struct worker_leases *leases, struct worker_owner *owner)
{
    for (unsigned i = 0; i < leases->tours.cores; i++) {
        struct worker_untold loan = owner->untold[i];
        if (loan.granted == 0 && loan.recalled == 0) {
            continue;
        }
        owner->untold[i] = (struct worker_untold){0};
        if (!loan_send(leases, owner->key, i, loan)) {
            owner->untold[i] = loan; /* nothing else has come to be told meanwhile */
            tell_later(leases);
        }
    }
}

static void decide(struct worker_leases *leases, struct worker_owner *owner)
{
    enum lending_act act;
    unsigned core;
    while ((act = lending_next(&owner->lending, &core)) != LENDING_NOTHING) {
        struct worker_untold *untold = &owner->untold[core];
        ++*(act == LENDING_GRANT ? &untold->granted : &untold->recalled);
    }
    tell(leases, owner);
}

static void report_apply(struct worker_leases *leases, uint64_t key, unsigned from,
                         const struct lending_report *told)
{
    struct worker_owner *owner = owner_find(leases, key);
    if (owner == NULL || key == 0) {
        return; /* not leased any more, or not yet: who wants some asks again */
    }
    struct lending_report known = *told;
    uint16_t lent = owner->lending.cores[from].lent;
    known.returned = known.returned < lent ? known.returned : lent; /* of an earlier lease */
    lending_report(&owner->lending, from, &known, leases->d->shard->now_ns);
    decide(leases, owner);
}

/* The whole limit is lent from the beginning: it is not the next hop that has to bear it. */
static void set_limit(struct worker_owner *owner, uint32_t limit)
{
    lending_limit(&owner->lending, limit);
    owner->lending.window = limit;
}

/* A place that no queue of the image has; there are as many again. */
static struct worker_owner *owner_place(struct worker_leases *leases, const struct image *image)
{
    struct worker_owner *best = NULL;
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        struct worker_owner *place = &leases->owners[i];
        bool taken = false;
        for (uint32_t k = 0; k < image->queue_count; k++) {
            taken = taken || place->key == key_of(image->queues[k].name);
        }
        if (!taken && (best == NULL || place->key == 0 || lending_is_idle(&place->lending))) {
            best = place;
        }
    }
    MX_ASSERT(best != NULL);
    return best;
}

static void owner_begin(struct worker_leases *leases, const struct image *image, uint64_t key,
                        uint32_t limit)
{
    struct worker_owner *owner = owner_find(leases, key);
    if (owner == NULL) {
        struct lending_core *cores;
        owner = owner_place(leases, image);
        owner->key = key;
        cores = owner->lending.cores;
        memset(cores, 0, leases->tours.cores * sizeof *cores);
        memset(owner->untold, 0, leases->tours.cores * sizeof *owner->untold);
        lending_init(&owner->lending, cores, leases->tours.cores, limit);
    }
    set_limit(owner, limit);
    decide(leases, owner);
}

/* --- images ------------------------------------------------------------------------------------
 */

static void end_lease(struct worker_leases *leases, unsigned slot)
{
    leases->slots[slot] = (struct worker_lease){0};
    leases->leased &= ~(UINT32_C(1) << slot);
}

static void end_owner(struct worker_leases *leases, uint64_t key)
{
    struct worker_owner *owner = owner_find(leases, key);
    if (owner != NULL) {
        owner->key = 0;
    }
}

static void switch_queue(struct worker_leases *leases, const struct image *image, uint32_t i)
{
    const struct queue_conf *conf = &image->queues[i];
    unsigned slot = leases->d->queues.of_image[i];
    struct worker_lease *lease = &leases->slots[slot];
    uint64_t key = key_of(conf->name);
    bool leased = conf->workers < leases->tours.cores;
    if (lease->key != 0 && (lease->key != key || !leased)) {
        end_lease(leases, slot);
    }
    if (!leased) {
        end_owner(leases, key);
        return;
    }
    lease->key = key;
    leases->leased |= UINT32_C(1) << slot;
    show(leases, lease);
    if (tours_owner(&leases->tours, key) == leases->tours.self) {
        owner_begin(leases, image, key, conf->workers);
    }
}

void worker_leases_switch(struct worker_leases *leases, const struct image *image)
{
    for (uint32_t i = 0; i < image->queue_count; i++) {
        switch_queue(leases, image, i);
    }
}

void worker_leases_turn(struct worker_leases *leases)
{
    for (unsigned i = 0; leases->leased != 0 && i < QUEUE_SLOTS; i++) {
        const struct queue_slot *queue = &leases->d->queues.slots[i];
        struct worker_lease *lease = &leases->slots[i];
        if (leases->owners[i].key != 0) {
            tell(leases, &leases->owners[i]);
        }
        if (lease->key == 0) {
            continue;
        }
        settle(leases, lease);
        if (!queue->in_image && queue->used + queue->waiting + lease->lent + lease->owed == 0) {
            end_lease(leases, i);
        }
    }
}

/* --- life --------------------------------------------------------------------------------------
 */

mx_err worker_leases_open(struct worker_leases *leases, struct deliver *d)
{
    *leases = (struct worker_leases){.d = d};
    tours_open(&leases->tours, d->shard);
    leases->again.fire = again_fire;
    size_t each = sizeof(struct lending_core) + sizeof(struct worker_untold);
    leases->memory = calloc((size_t)QUEUE_SLOTS * leases->tours.cores, each);
    if (leases->memory == NULL) {
        return MX_ERR_NOMEM;
    }
    struct lending_core *cores = leases->memory;
    struct worker_untold *untold =
        (struct worker_untold *)(cores + (size_t)QUEUE_SLOTS * leases->tours.cores);
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        leases->owners[i].lending.cores = cores + (size_t)i * leases->tours.cores;
        leases->owners[i].lending.count = leases->tours.cores;
        leases->owners[i].untold = untold + (size_t)i * leases->tours.cores;
    }
    return MX_OK;
}

void worker_leases_close(struct worker_leases *leases)
{
    if (leases->d != NULL) {
        wheel_cancel(&leases->d->shard->wheel, &leases->again);
        tours_close(&leases->tours);
        free(leases->memory);
        *leases = (struct worker_leases){0};
    }
}
