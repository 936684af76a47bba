#include "smtp/mx_hops.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/text.h"
#include "smtp/addr_parse.h"
#include "smtp/idn.h"

#include <stdlib.h>

enum { SLOTS = 4096 }; /* power of two */

static struct hop **slot_of(struct deliver *d, struct slice domain)
{
    return &d->mx_slots[hash_seeded(domain, d->mx_seed) & (SLOTS - 1)];
}

/* In lower case, with A-labels. False: it is none. */
static bool canonical(struct writer *w, struct slice domain)
{
    if (text_is_ascii(domain)) {
        put_slice(w, domain);
    } else if (idn_address(w, domain, 0)) {
        return false;
    }
    text_lower(w->buf, writer_slice(w));
    return !w->overflow && w->len > 0;
}

static struct hop *find(struct deliver *d, const struct hop *route, struct slice domain)
{
    struct hop *hop = d->mx_slots == NULL ? NULL : *slot_of(d, domain);
    while (hop != NULL && (hop->parent != route || !slice_equal(hop->domain, domain))) {
        hop = hop->mx_next;
    }
    return hop;
}

struct hop *mx_hop_find(struct deliver *d, const struct hop *route, struct slice domain)
{
    uint8_t text[DOMAIN_MAX + 1];
    struct writer w = writer_init(text, sizeof text);
    return canonical(&w, domain) ? find(d, route, writer_slice(&w)) : NULL;
}

/* --- those without mail ------------------------------------------------------------------------
 */

static bool is_idle(const struct hop *hop)
{
    return hop->parent != NULL && hop->references == 0 && hop->connections == 0 &&
           hop->waiting_count == 0 && hop->lookup == NULL && list_empty(&hop->parked) &&
           !timer_armed(&hop->probe);
}

static void sweep_now(struct deliver *d)
{
    struct list_node *node = list_first(&d->hops);
    while (node != NULL) {
        struct hop *hop = mx_container_of(node, struct hop, all_node);
        node = list_next(&d->hops, node);
        if (is_idle(hop)) {
            list_remove(&hop->all_node);
            hop_free(hop);
        }
    }
}

static void sweep_arm(struct deliver *d)
{
    if (d->mx_count > 0 && !timer_armed(&d->mx_sweep)) {
        shard_after(d->shard, &d->mx_sweep, MX_HOPS_SWEEP_MS * MX_NS_PER_MS);
    }
}

static void sweep(struct timer *timer, uint64_t now_ns)
{
    struct deliver *d = mx_container_of(timer, struct deliver, mx_sweep);
    (void)now_ns;
    sweep_now(d);
    sweep_arm(d);
}

/* --- making ------------------------------------------------------------------------------------
 */

static bool has_place(struct deliver *d)
{
    if (d->mx_slots == NULL) {
        d->mx_slots = calloc(SLOTS, sizeof(struct hop *));
        d->mx_sweep.fire = sweep;
    }
    if (d->mx_count >= MX_HOPS_MAX) {
        sweep_now(d);
    }
    return d->mx_slots != NULL && d->mx_count < MX_HOPS_MAX;
}

struct hop *mx_hop(struct deliver *d, struct hop *route, struct slice domain)
{
    uint8_t text[DOMAIN_MAX + 1];
    struct writer w = writer_init(text, sizeof text);
    if (!canonical(&w, domain)) {
        return NULL;
    }
    struct hop *hop = find(d, route, writer_slice(&w));
    if (hop != NULL || !has_place(d)) {
        return hop;
    }
    hop = hop_new(d, &route->route, route->hostname, writer_slice(&w));
    if (hop == NULL) {
        return NULL;
    }
    struct hop **slot = slot_of(d, hop->domain);
    hop->parent = route;
    route->references++;
    hop->mx_next = *slot;
    *slot = hop;
    d->mx_count++;
    list_push_back(&d->hops, &hop->all_node);
    sweep_arm(d);
    return hop;
}

void mx_hop_forget(struct hop *hop)
{
    struct deliver *d = hop->deliver;
    struct hop **at = slot_of(d, hop->domain);
    while (*at != hop) {
        MX_ASSERT(*at != NULL);
        at = &(*at)->mx_next;
    }
    *at = hop->mx_next;
    d->mx_count--;
    hop->parent->references--;
    hop->parent = NULL;
}

void mx_hops_close(struct deliver *d)
{
    if (d->shard != NULL) {
        wheel_cancel(&d->shard->wheel, &d->mx_sweep);
    }
    free(d->mx_slots);
    d->mx_slots = NULL;
}
