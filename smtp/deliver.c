#include "smtp/deliver.h"

#include "core/check.h"
#include "io/random.h"
#include "io/tls.h"
#include "smtp/deliver_ask.h"
#include "smtp/deliver_private.h"
#include "smtp/hop.h"
#include "smtp/mx_hops.h"
#include "smtp/relay.h"
#include "smtp/slots.h"

#include <stdlib.h>

uint64_t deliver_random(struct deliver *d)
{
    /* xorshift64*: jitter needs spread, not secrecy. */
    d->random ^= d->random >> 12;
    d->random ^= d->random << 25;
    d->random ^= d->random >> 27;
    return d->random * UINT64_C(2685821657736338717);
}

struct outcome deliver_problem(struct slice text, struct slice command)
{
    return (struct outcome){.kind = OUTCOME_TEMPORARY,
                            .status = {4, 4, 1},
                            .host_fault = true,
                            .text = text,
                            .command = command};
}

/* --- life --------------------------------------------------------------------------------------
 */

static mx_err parts_open(struct deliver *d)
{
    mx_err err =
        pool_init(&d->actives, "active-messages", sizeof(struct active), DELIVER_ACTIVE_MAX);
    if (!err) {
        err = pool_init(&d->clis, "client-sessions", cli_bytes(), DELIVER_CONNECTIONS_MAX);
    }
    if (!err) {
        err =
            pool_init(&d->conns, "client-connections", relay_conn_bytes(), DELIVER_CONNECTIONS_MAX);
    }
    if (!err) {
        err = tls_client_ctx_new(&d->tls_any, &(struct tls_client_conf){.verify = false});
    }
    if (!err) {
        err = tls_client_ctx_new(&d->tls_strict, &(struct tls_client_conf){.verify = true});
    }
    if (!err) {
        err = verify_open(&d->verify, d);
    }
    err = err ? err : slots_open(&d->slots, d);
    err = err ? err : worker_leases_open(&d->worker_leases, d);
    d->vm = err ? NULL : calloc(1, sizeof *d->vm);
    if (d->vm != NULL) {
        d->vm->metrics = d->conf.metrics;
    }
    return !err && d->vm == NULL ? MX_ERR_NOMEM : err;
}

mx_err deliver_open(struct deliver *d, struct shard *shard, struct spool *spool,
                    const struct image *image, const struct directory *directory,
                    const struct deliver_conf *conf)
{
    *d = (struct deliver){.shard = shard,
                          .spool = spool,
                          .image = image,
                          .performance = performance_complete(&image->performance),
                          .directory = directory,
                          .conf = *conf,
                          .random = random_u64() | 1,
                          .mx_seed = random_u64()};
    virtual_queues_init(&d->queues);
    list_init(&d->ready);
    list_init(&d->resting);
    list_init(&d->recalled);
    list_init(&d->asking);
    list_init(&d->busy);
    list_init(&d->hops);
    mx_err err = parts_open(d);
    err = err ? err : deliver_prepare(d, image);
    if (err) {
        deliver_close(d);
        return err;
    }
    deliver_switch(d, image);
    d->hook.turn = deliver_turn;
    shard_add_hook(shard, &d->hook);
    return MX_OK;
}

static void each_hop(struct deliver *d, void (*each)(struct hop *hop))
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        each(mx_container_of(node, struct hop, all_node));
    }
}

void deliver_stop(struct deliver *d)
{
    d->stopping = true;
    deliver_stop_asking(d);
    tours_stop(&d->worker_leases.tours);
    each_hop(d, hop_stop);
}

bool deliver_quiet(const struct deliver *d)
{
    return d->actives.used == 0 && d->conns.used == 0 && d->dsns == 0 && verify_quiet(&d->verify);
}

void deliver_abort(struct deliver *d)
{
    each_hop(d, relay_abort_all);
}

static void forget_queue_names(struct deliver *d)
{
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        if (d->queue_texts[i] != 0) { /* else it may have come to nothing */
            texts_drop(&d->spool->texts, d->queue_texts[i]);
            d->queue_texts[i] = 0;
        }
    }
}

/* By which recipients remember them. */
static void name_queues(struct deliver *d)
{
    forget_queue_names(d);
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        const struct queue_slot *slot = &d->queues.slots[i];
        struct slice name = slice_of(slot->name, slot->name_len);
        d->queue_texts[i] = name.len == 0 ? 0 : texts_hold(&d->spool->texts, name);
    }
}

void deliver_close(struct deliver *d)
{
    struct list_node *node;
    d->stopping = true;
    /* Those of domains come after their route's, to which they refer. */
    while (d->hops.head.next != NULL && !list_empty(&d->hops)) {
        node = d->hops.head.prev;
        list_remove(node);
        hop_free(mx_container_of(node, struct hop, all_node));
    }
    mx_hops_close(d);
    forget_queue_names(d);
    slots_close(d->slots);
    worker_leases_close(&d->worker_leases);
    pool_fini(&d->actives);
    pool_fini(&d->clis);
    pool_fini(&d->conns);
    verify_close(&d->verify);
    tls_ctx_free(d->tls_any);
    tls_ctx_free(d->tls_strict);
    free(d->route);
    free(d->vm);
    *d = (struct deliver){0};
}

/* --- another image -----------------------------------------------------------------------------
 */

static struct hop *hop_serving(struct deliver *d, const struct route_conf *route,
                               struct slice hostname)
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        struct hop *hop = mx_container_of(node, struct hop, all_node);
        if (!hop->retired && hop_is_for(hop, route, hostname)) {
            return hop;
        }
    }
    return NULL;
}

mx_err deliver_prepare(struct deliver *d, const struct image *image)
{
    MX_ASSERT(image->route_count > 0 && d->next_route == NULL);
    mx_err err = virtual_queues_prepare(&d->queues, image);
    if (err) {
        return err;
    }
    d->next_count = image->route_count;
    d->next_route = calloc(image->route_count, sizeof(struct hop *));
    if (d->next_route == NULL) {
        return MX_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < image->route_count; i++) {
        struct hop *hop = hop_serving(d, &image->routes[i], image->hostname);
        if (hop == NULL) {
            hop = hop_new(d, &image->routes[i], image->hostname, SLICE_EMPTY);
        }
        if (hop == NULL) {
            deliver_cancel(d);
            return MX_ERR_NOMEM;
        }
        hop->kept = true;
        d->next_route[i] = hop;
    }
    return MX_OK;
}

static void forget_kept(struct deliver *d)
{
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        mx_container_of(node, struct hop, all_node)->kept = false;
    }
}

/* Whichever schedule it has. */
static void find_longest_waits(struct deliver *d, const struct image *image)
{
    for (uint32_t i = 0; i < SCHEDULE_STEPS_MAX; i++) {
        d->longest_ms[i] = schedule_longest_wait_ms(&d->conf.schedule, i + 1);
        for (uint32_t k = 0; k < image->schedule_count; k++) {
            uint64_t longest_ms = schedule_longest_wait_ms(&image->schedules[k], i + 1);
            d->longest_ms[i] = longest_ms > d->longest_ms[i] ? longest_ms : d->longest_ms[i];
        }
    }
}

void deliver_switch(struct deliver *d, const struct image *image)
{
    MX_ASSERT(d->next_route != NULL);
    bool same_routes = d->route != NULL && d->image->route_count == image->route_count &&
                       memcmp(d->route, d->next_route, image->route_count * sizeof *d->route) == 0;
    free(d->route);
    d->route = d->next_route;
    d->next_route = NULL;
    d->image = image;
    virtual_queues_switch(&d->queues, image, d->shard->conf.id, d->shard->conf.count);
    name_queues(d);
    worker_leases_switch(&d->worker_leases, image);
    deliver_pause_queues(d);
    find_longest_waits(d, image);
    struct performance before = d->performance;
    d->performance = performance_complete(&image->performance);
    for (uint32_t i = 0; i < image->route_count; i++) {
        struct hop *hop = d->route[i];
        hop->route.index = i;
        if (d->performance.connection_idle_ms != before.connection_idle_ms) {
            relay_keep_idle(hop);
        }
        if (!list_linked(&hop->all_node)) {
            list_push_back(&d->hops, &hop->all_node);
        }
    }
    struct list_node *node = list_first(&d->hops);
    for (; node != NULL; node = list_next(&d->hops, node)) {
        struct hop *hop = mx_container_of(node, struct hop, all_node);
        bool kept = hop->parent != NULL ? hop->parent->kept : hop->kept;
        hop_pause(hop); /* it may have been made before the last pause */
        if (!kept && !hop->retired) {
            hop_retire(hop);
        }
    }
    forget_kept(d);
    verify_tune(&d->verify);
    if (!same_routes) {
        verify_forget_all(&d->verify);
    }
    if (d->performance.hop_connections != before.hop_connections) {
        slots_limit(d->slots);
    }
}

void deliver_cancel(struct deliver *d)
{
    if (d->next_route == NULL) {
        return;
    }
    forget_kept(d);
    /* The list ends early where memory ran out. */
    for (uint32_t i = 0; i < d->next_count && d->next_route[i] != NULL; i++) {
        if (!list_linked(&d->next_route[i]->all_node)) {
            hop_free(d->next_route[i]);
        }
    }
    free(d->next_route);
    d->next_route = NULL;
}
