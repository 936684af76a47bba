#include "smtp/hop_private.h"

#include "core/check.h"
#include "smtp/hop_lookup.h"
#include "smtp/local.h"
#include "smtp/mx_hops.h"
#include "smtp/relay.h"
#include "smtp/slots.h"

#include <stdlib.h>

enum { UNPARK_PER_RUN = 64 };

static enum stats_class class_of(const struct route_conf *route)
{
    return route->kind == ROUTE_LOCAL ? CLASS_LOCAL
           : route->kind == ROUTE_MX  ? CLASS_MX
           : route->lmtp              ? CLASS_LMTP
                                      : CLASS_SMTP;
}

/* Copies text behind the hop, with a NUL byte behind it. */
static struct slice keep_text(uint8_t **at, struct slice text)
{
    struct slice kept = slice_of(*at, text.len);
    if (text.len > 0) {
        memcpy(*at, text.ptr, text.len);
    }
    (*at)[text.len] = 0;
    *at += text.len + 1;
    return kept;
}

static text_id name_hold(struct deliver *d, const struct slice *route, struct slice domain)
{
    uint8_t text[TEXT_BYTES];
    struct writer w = writer_init(text, sizeof text);
    put_slice(&w, slice_first(*route, sizeof text / 2));
    if (domain.len > 0) {
        put_u8(&w, ':');
        put_slice(&w, slice_first(domain, writer_room(&w)));
    }
    return texts_hold(&d->spool->texts, writer_slice(&w));
}

struct hop *hop_new(struct deliver *d, const struct route_conf *route, struct slice hostname,
                    struct slice domain)
{
    size_t texts = route->name.len + route->address.len + hostname.len + domain.len + 4;
    struct hop *hop = calloc(1, sizeof *hop + texts);
    if (hop == NULL) {
        return NULL;
    }
    uint8_t *at = (uint8_t *)(hop + 1);
    hop->deliver = d;
    hop->row = stats_row(d->stats.routes, sizeof(struct route_row), route->name);
    hop->stats = &d->stats.classes[class_of(route)];
    hop->route = *route;
    hop->route.name = keep_text(&at, route->name);
    hop->route.address = keep_text(&at, route->address);
    hop->hostname = keep_text(&at, hostname);
    hop->domain = keep_text(&at, domain);
    hop->name = name_hold(d, &route->name, domain);
    hop->paused = deliver_pause_has(&d->conf.pause, route->name);
    for (unsigned i = 0; i < QUEUE_SLOTS; i++) {
        list_init(&hop->waiting[i]);
    }
    list_init(&hop->parked);
    list_init(&hop->asking);
    list_init(&hop->idle);
    list_init(&hop->conns);
    verify_hop_init(&hop->verify);
    hop->probe.fire = hop_probe_fire;
    if (route->kind != ROUTE_LOCAL && slots_join(d->slots, hop)) {
        texts_drop(&d->spool->texts, hop->name);
        free(hop);
        return NULL;
    }
    return hop;
}

void hop_free(struct hop *hop)
{
    MX_ASSERT(hop->lookup == NULL);
    list_remove(&hop->busy_node);
    if (hop->parent != NULL) {
        mx_hop_forget(hop);
    }
    if (hop->account != NULL) {
        slots_leave(hop->deliver->slots, hop);
    }
    texts_drop(&hop->deliver->spool->texts, hop->name);
    free(hop->host_names);
    free(hop);
}

void hop_busy(struct hop *hop)
{
    if (!list_linked(&hop->busy_node)) {
        list_push_back(&hop->deliver->busy, &hop->busy_node);
    }
}

bool hop_is_for(const struct hop *hop, const struct route_conf *route, struct slice hostname)
{
    const struct route_conf *own = &hop->route;
    return slice_equal(own->name, route->name) && own->kind == route->kind &&
           slice_equal(own->address, route->address) && own->port == route->port &&
           own->lmtp == route->lmtp && own->implicit_tls == route->implicit_tls &&
           own->allow_invalid_certs == route->allow_invalid_certs &&
           own->mx_hosts_max == route->mx_hosts_max &&
           own->mx_addresses_max == route->mx_addresses_max &&
           own->mx_families == route->mx_families && hop->domain.len == 0 &&
           slice_equal(hop->hostname, hostname);
}

/* Blocks are taken whole. */
static size_t delivery_bytes(const struct delivery *delivery)
{
    return (size_t)mx_round_up(delivery->active->bytes, BLOCK_BYTES);
}

/* Room for one more, or with parts = 2 for half of what could wait. A hop may keep waiting no more
 * than is left to all others, so however many of them stand still, they never fill the memory. */
static bool has_room(const struct hop *hop, unsigned parts)
{
    const struct deliver *d = hop->deliver;
    size_t active_max = d->performance.active_messages;
    size_t count_left = d->actives.used < active_max ? active_max - d->actives.used : 0;
    size_t bytes_left = deliver_bytes_left(d);
    size_t count_max = count_left > HOP_WAITING_SHARE ? count_left : HOP_WAITING_SHARE;
    size_t bytes_max = bytes_left > HOP_SHARE_BYTES ? bytes_left : HOP_SHARE_BYTES;
    return hop->waiting_count < mx_min_size(count_max, HOP_WAITING_MAX) / parts &&
           hop->waiting_bytes < bytes_max / parts;
}

static void count_in(struct hop *hop, const struct delivery *delivery)
{
    hop->waiting_mask |= UINT32_C(1) << delivery->queue;
    hop->waiting_count++;
    hop->waiting_bytes += delivery_bytes(delivery);
    hop->deliver->queues.slots[delivery->queue].waiting++;
}

bool hop_submit(struct hop *hop, struct delivery *delivery)
{
    if (!has_room(hop, 1) || hop->deliver->stopping || hop->retired) {
        return false;
    }
    list_push_back(&hop->waiting[delivery->queue], &delivery->node);
    count_in(hop, delivery);
    hop_busy(hop);
    return true;
}

void hop_park(struct hop *hop, struct message *msg)
{
    list_remove(&msg->wait_node);
    msg->parked_at = hop;
    list_push_back(&hop->parked, &msg->wait_node);
    hop_busy(hop);
}

int hop_ready_queue(const struct hop *hop)
{
    uint32_t ready = hop->waiting_mask & hop->deliver->queues.open;
    for (unsigned i = 0; ready != 0 && i < QUEUE_SLOTS; i++) {
        unsigned queue = (hop->next_queue + i) % QUEUE_SLOTS;
        if (ready >> queue & 1) {
            return (int)queue;
        }
    }
    return -1;
}

struct delivery *hop_take_of(struct hop *hop, unsigned queue)
{
    struct list_node *node = list_pop_front(&hop->waiting[queue]);
    if (node == NULL) {
        return NULL;
    }
    struct delivery *delivery = mx_container_of(node, struct delivery, node);
    if (list_empty(&hop->waiting[queue])) {
        hop->waiting_mask &= ~(UINT32_C(1) << queue);
    }
    hop->next_queue = queue + 1;
    hop->waiting_count--;
    hop->waiting_bytes -= delivery_bytes(delivery);
    hop->deliver->queues.slots[queue].waiting--;
    return delivery;
}

struct delivery *hop_take(struct hop *hop)
{
    int queue = hop_ready_queue(hop);
    struct delivery *delivery = queue < 0 ? NULL : hop_take_of(hop, (unsigned)queue);
    if (delivery != NULL) {
        virtual_queue_take(&hop->deliver->queues, delivery->queue);
        delivery->has_worker = true;
    }
    return delivery;
}

void hop_worker_free(struct deliver *d, unsigned queue)
{
    if (virtual_queue_release(&d->queues, queue)) {
        shard_again(d->shard); /* a hop that was looked at in this turn may wait for it */
    }
}

struct delivery *hop_take_any(struct hop *hop)
{
    unsigned queue = 0;
    while (queue < QUEUE_SLOTS && list_empty(&hop->waiting[queue])) {
        queue++;
    }
    return queue < QUEUE_SLOTS ? hop_take_of(hop, queue) : NULL;
}

void hop_give_back(struct hop *hop, struct delivery *delivery)
{
    if (delivery->has_worker) {
        /* Who waits for it looks in the next turn: a connection that only looked for something that
         * fits it must not keep the loop from resting. */
        delivery->has_worker = false;
        (void)!virtual_queue_release(&hop->deliver->queues, delivery->queue);
    }
    list_push_front(&hop->waiting[delivery->queue], &delivery->node);
    count_in(hop, delivery);
    hop_busy(hop);
}

void hop_ask(struct hop *hop, struct delivery *delivery)
{
    if (delivery->has_worker) {
        delivery->has_worker = false;
        hop_worker_free(hop->deliver, delivery->queue);
    }
    delivery->asking = true;
    list_push_back(&hop->asking, &delivery->node);
}

void hop_ask_done(struct hop *hop, struct delivery *delivery)
{
    MX_ASSERT(delivery->asking);
    delivery->asking = false;
    list_remove(&delivery->node);
    if (hop->paused || hop->deliver->stopping ||
        virtual_queue_is_paused(&hop->deliver->queues, delivery->queue)) {
        delivery_drop(delivery);
    } else {
        hop_give_back(hop, delivery);
    }
}

static void drop_asking(struct hop *hop)
{
    while (!list_empty(&hop->asking)) {
        struct list_node *node = list_first(&hop->asking);
        hop_ask_done(hop, mx_container_of(node, struct delivery, node));
    }
}

void hop_unpark(struct hop *hop, unsigned max)
{
    struct deliver *d = hop->deliver;
    struct list_node *node;
    while (max-- > 0 && (node = list_pop_front(&hop->parked)) != NULL) {
        struct message *msg = mx_container_of(node, struct message, wait_node);
        for (uint32_t i = 0; i < msg->rcpt_count; i++) {
            if (rcpt_waits(&msg->rcpts[i]) && !(msg->rcpts[i].flags & RCPT_THROTTLED)) {
                msg->rcpts[i].flags |= RCPT_EARLY;
            }
        }
        deliver_ready(d, msg);
    }
}

static void drop_waiting(struct hop *hop)
{
    struct delivery *delivery;
    while ((delivery = hop_take_any(hop)) != NULL) {
        delivery_drop(delivery);
    }
}

/* Of virtual queues that are paused. */
static void drop_paused(struct hop *hop)
{
    uint32_t paused = hop->waiting_mask & hop->deliver->queues.paused;
    for (unsigned queue = 0; paused != 0 && queue < QUEUE_SLOTS; queue++) {
        struct delivery *delivery;
        while (paused >> queue & 1 && (delivery = hop_take_of(hop, queue)) != NULL) {
            delivery_drop(delivery);
        }
    }
}

/* Gives back what waits here; its messages are routed again. Goes when nobody refers to it. */
static void wind_up(struct hop *hop)
{
    drop_waiting(hop);
    hop_unpark(hop, UNPARK_PER_RUN);
    if (hop->references == 0 && hop->connections == 0 && hop->batches == 0 &&
        hop->verify.connections == 0 && list_empty(&hop->parked)) {
        list_remove(&hop->all_node);
        hop_free(hop);
    }
}

void hop_retire(struct hop *hop)
{
    hop->retired = true;
    hop->down = false;
    wheel_cancel(&hop->deliver->shard->wheel, &hop->probe);
    hop_lookup_cancel(hop);
    if (hop->parent != NULL) {
        mx_hop_forget(hop);
    }
    hop_busy(hop);
    relay_stop_idle(hop);
    verify_hop_stop(hop);
    if (hop->account != NULL) {
        slots_settle(hop);
    }
}

void hop_run(struct hop *hop)
{
    if (hop->deliver->stopping) {
        return;
    }
    if (hop->retired) {
        wind_up(hop);
        return;
    }
    verify_hop_run(hop);
    if (hop->paused) {
        drop_waiting(hop); /* given back meanwhile: nobody can change it as long as it is here */
        return;
    }
    drop_paused(hop);
    if (!hop->down && !list_empty(&hop->parked) && has_room(hop, 2)) {
        hop_unpark(hop, UNPARK_PER_RUN);
    }
    if (hop_ready_queue(hop) < 0) {
        return;
    }
    if (hop->route.kind == ROUTE_LOCAL) {
        local_run(hop);
    } else {
        relay_run(hop);
    }
}

/* A hop that is down waits for its probe. */
static bool is_waiting(const struct hop *hop)
{
    bool can_go_on = !hop->down && !hop->paused;
    return hop->retired || hop->waiting_count > 0 || (can_go_on && !list_empty(&hop->parked));
}

void hops_run(struct deliver *d)
{
    struct list now;
    struct list_node *node;
    list_init(&now);
    list_splice(&now, &d->busy);
    while ((node = list_pop_front(&now)) != NULL) {
        struct hop *hop = mx_container_of(node, struct hop, busy_node);
        if (is_waiting(hop)) {
            hop_busy(hop); /* looked at again in the next turn; first, as it may be freed here */
            hop_run(hop);
        }
    }
}

void hop_pause(struct hop *hop)
{
    const struct deliver_pause *pause = &hop->deliver->conf.pause;
    bool was = hop->paused;
    hop->paused = deliver_pause_has(pause, hop->route.name);
    if (hop->paused && !was) {
        drop_asking(hop);
        drop_waiting(hop);
        relay_stop_idle(hop);
        if (hop->account != NULL) {
            slots_settle(hop);
        }
    } else if (was && !hop->paused) {
        hop_busy(hop);
    }
    drop_paused(hop);
}

void hop_stop(struct hop *hop)
{
    wheel_cancel(&hop->deliver->shard->wheel, &hop->probe);
    hop_lookup_cancel(hop);
    drop_asking(hop);
    drop_waiting(hop);
    relay_stop_idle(hop);
    verify_hop_stop(hop);
}
