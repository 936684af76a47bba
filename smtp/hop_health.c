/* Whether a next hop works: found out by its deliveries and probes, told to all cores. */
#include "io/mbox.h"
#include "smtp/hop_private.h"
#include "smtp/mx_hops.h"
#include "smtp/relay.h"
#include "smtp/service.h"
#include "smtp/slots.h"

#include <stdlib.h>

bool hop_is_down(const struct hop *hop)
{
    return hop->down && !hop->probing;
}

static uint64_t probe_delay_ms(const struct hop *hop)
{
    unsigned doublings = hop->failures > 8 ? 8 : hop->failures;
    uint64_t delay_ms = (uint64_t)HOP_PROBE_FIRST_MS << doublings;
    if (delay_ms > HOP_PROBE_MAX_MS) {
        delay_ms = HOP_PROBE_MAX_MS;
    }
    uint64_t retry_ms = hop->deliver->conf.retry_ms;
    return retry_ms > 0 && retry_ms < delay_ms ? retry_ms : delay_ms;
}

static void probe_arm(struct hop *hop)
{
    uint64_t delay_ms = probe_delay_ms(hop);
    delay_ms += deliver_random(hop->deliver) % (delay_ms / 8 + 1);
    shard_after(hop->deliver->shard, &hop->probe, delay_ms * MX_NS_PER_MS);
}

void hop_probe_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    struct hop *hop = mx_container_of(timer, struct hop, probe);
    if (!hop->down) {
        return;
    }
    if (hop->paused) {
        probe_arm(hop); /* until it may be tried */
        return;
    }
    hop->probing = true;
    hop_unpark(hop, 1);
}

static struct slice keep(uint8_t *buf, size_t max, struct slice from)
{
    from = slice_first(from, max);
    if (from.len > 0) {
        memmove(buf, from.ptr, from.len);
    }
    return slice_of(buf, from.len);
}

static void remember_problem(struct hop *hop, const struct outcome *problem)
{
    hop->problem = *problem;
    hop->problem.kind = OUTCOME_TEMPORARY;
    hop->problem.host_fault = true;
    hop->problem.text = keep(hop->problem_text, sizeof hop->problem_text, problem->text);
    hop->problem.host = keep(hop->problem_host, sizeof hop->problem_host, problem->host);
}

/* What one core learns reaches all. */
struct health_msg {
    struct mbox_msg msg;
    uint64_t generation; /* of the image that the route's index is of */
    uint32_t route;
    bool down;
    struct outcome problem;
    uint8_t text[CLI_TEXT_MAX];
    uint8_t host[DOMAIN_MAX];
    size_t domain_len;
    uint8_t domain[DOMAIN_MAX];
};

static void go_down(struct hop *hop, const struct outcome *problem)
{
    remember_problem(hop, problem);
    hop->down = true;
    hop->probing = false;
    hop->failures++;
    probe_arm(hop);
    struct outcome outcome = hop->problem;
    struct delivery *delivery;
    while ((delivery = hop_take_any(hop)) != NULL) {
        delivery_decide_rest(delivery, &outcome);
        delivery_done(delivery);
    }
    if (hop->account != NULL) {
        slots_settle(hop);
    }
}

static void go_up(struct hop *hop)
{
    hop->down = false;
    hop->probing = false;
    hop->failures = 0;
    hop_busy(hop);
    wheel_cancel(&hop->deliver->shard->wheel, &hop->probe);
}

static void health_receive(struct mbox_msg *msg, struct shard *at)
{
    struct health_msg *health = mx_container_of(msg, struct health_msg, msg);
    struct service *service = at->service;
    struct deliver *d = service == NULL ? NULL : &service->deliver;
    if (d != NULL && d->route != NULL && !d->stopping &&
        d->image->generation == health->generation) {
        struct hop *hop = d->route[health->route];
        if (health->domain_len > 0) {
            hop = mx_hop_find(d, hop, slice_of(health->domain, health->domain_len));
        }
        if (hop == NULL || (health->down && relay_has_session(hop))) {
            /* no mail for that domain here; or the host works, and may just give no more
             * connections */
        } else if (health->down && !hop->down) {
            health->problem.text.ptr = health->text;
            health->problem.host.ptr = health->host;
            go_down(hop, &health->problem);
        } else if (!health->down && hop->down) {
            go_up(hop);
        }
    }
    free(health);
}

static void tell_others(struct hop *hop)
{
    struct shard *shard = hop->deliver->shard;
    for (unsigned i = 0; shard->hub != NULL && i < shard->conf.count; i++) {
        struct health_msg *health = i == shard->conf.id ? NULL : calloc(1, sizeof *health);
        if (health == NULL) {
            continue;
        }
        health->msg.receive = health_receive;
        health->generation = hop->deliver->image->generation;
        health->route = hop->parent != NULL ? hop->parent->route.index : hop->route.index;
        health->domain_len = hop->domain.len;
        if (hop->domain.len > 0) {
            memcpy(health->domain, hop->domain.ptr, hop->domain.len);
        }
        health->down = hop->down;
        health->problem = hop->problem;
        memcpy(health->text, hop->problem_text, sizeof health->text);
        memcpy(health->host, hop->problem_host, sizeof health->host);
        if (mbox_send(shard->hub, shard->conf.id, i, &health->msg) != MX_OK) {
            free(health); /* that core will find out by itself */
        }
    }
}

static void log_domain(struct log_line *line, const struct hop *hop)
{
    if (hop->domain.len > 0) {
        log_slice(line, "domain", hop->domain);
    }
}

void hop_failed(struct hop *hop, const struct outcome *problem)
{
    if (hop->retired) {
        return; /* its mail has another way now */
    }
    verify_hop_failed(hop, problem->text);
    bool news = !hop->down;
    go_down(hop, problem);
    if (news) {
        struct log *log = &hop->deliver->shard->log;
        struct log_line *line = log_begin(log, LOG_WARN, "next-hop-down");
        log_slice(line, "route", hop->route.name);
        log_domain(line, hop);
        if (hop->problem.host.len > 0) {
            log_slice(line, "host", hop->problem.host);
        }
        log_slice(line, "reason", hop->problem.text);
        log_text(line, "effect", "its mail stays queued; it is probed until it answers");
        log_end(log, line);
        tell_others(hop);
    }
}

void hop_works(struct hop *hop)
{
    if (!hop->down) {
        return;
    }
    go_up(hop);
    struct log *log = &hop->deliver->shard->log;
    struct log_line *line = log_begin(log, LOG_INFO, "next-hop-up");
    log_slice(line, "route", hop->route.name);
    log_domain(line, hop);
    log_end(log, line);
    tell_others(hop);
}

void hop_probe(struct hop *hop)
{
    hop->probing = hop->down;
}
