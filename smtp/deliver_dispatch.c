/* Where each recipient of a message goes: deliver's part of it. One delivery for each next hop and
 * virtual queue. */
#include "core/check.h"
#include "smtp/bounce.h"
#include "smtp/deliver_ask.h"
#include "smtp/deliver_private.h"
#include "smtp/expand.h"
#include "smtp/hop.h"
#include "smtp/mx_hops.h"

#include <stdlib.h>

/* Deliveries of one message under construction, one per hop and virtual queue. */
struct grouping {
    struct delivery *list[64];
    unsigned count;
};

static struct delivery *delivery_new(struct active *active, struct hop *hop, unsigned queue,
                                     uint32_t rcpts_max)
{
    struct delivery *delivery = calloc(1, sizeof *delivery + rcpts_max * sizeof delivery->rcpts[0]);
    if (delivery != NULL) {
        delivery->active = active;
        delivery->hop = hop;
        delivery->queue = (uint8_t)queue;
        if (hop != NULL) {
            hop->references++;
        }
        active->deliveries++;
    }
    return delivery;
}

struct delivery *delivery_split(struct delivery *delivery, const uint32_t *positions,
                                uint32_t count)
{
    struct delivery *other = delivery_new(delivery->active, delivery->hop, delivery->queue, count);
    if (other == NULL) {
        return NULL;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        if (other->rcpt_count < count && positions[other->rcpt_count] == i) {
            MX_ASSERT(!delivery->rcpts[i].decided);
            other->rcpts[other->rcpt_count++] = delivery->rcpts[i];
        } else {
            delivery->rcpts[kept++] = delivery->rcpts[i];
        }
    }
    MX_ASSERT(kept > 0 && other->rcpt_count == count);
    other->open = count;
    other->retried = delivery->retried;
    other->refused = delivery->refused;
    delivery->rcpt_count = kept;
    delivery->open -= count;
    return other;
}

void delivery_free(struct delivery *delivery)
{
    if (delivery->hop != NULL) {
        delivery->hop->references--;
    }
    if (delivery->has_worker) {
        hop_worker_free(delivery->active->deliver, delivery->queue);
    }
    dns_answers_free(delivery->answers);
    free(delivery);
}

static struct delivery *delivery_for(struct grouping *group, struct active *active, struct hop *hop,
                                     unsigned queue)
{
    for (unsigned i = 0; i < group->count; i++) {
        struct delivery *delivery = group->list[i];
        if (delivery->hop == hop && delivery->queue == queue &&
            delivery->rcpt_count < DELIVER_RCPTS_MAX) {
            return delivery;
        }
    }
    if (group->count == mx_countof(group->list)) {
        return NULL; /* the rest is due again at once, after these */
    }
    uint32_t max = active->txn->env.rcpt_count;
    struct delivery *delivery =
        delivery_new(active, hop, queue, max < DELIVER_RCPTS_MAX ? max : DELIVER_RCPTS_MAX);
    if (delivery != NULL) {
        group->list[group->count++] = delivery;
    }
    return delivery;
}

static void no_such_mailbox(struct outcome *out, bool is_postmaster)
{
    if (is_postmaster) { /* accepted without asking (RFC 5321): an administrator has to say whose */
        *out = deliver_problem(
            SLICE_LITERAL("no account takes postmaster mail: set SystemSettings.postmasterAddress"),
            SLICE_LITERAL("local delivery"));
        out->host_fault = false;
        return;
    }
    *out = (struct outcome){.kind = OUTCOME_PERMANENT,
                            .status = {5, 1, 1},
                            .text = SLICE_LITERAL("no such mailbox"),
                            .command = SLICE_LITERAL("local delivery")};
}

/* A recipient that is a list, or was one when its expansion began. True when it is under way or has
 * to wait; else *out_expanded tells whether there is an outcome, or it is no list. */
static bool is_expanding(struct active *active, uint32_t i, const struct routing *routing,
                         bool *out_expanded, struct outcome *out)
{
    bool local = routing->route != NULL && routing->route->kind == ROUTE_LOCAL;
    bool is_list =
        local && routing->resolution.kind == RESOLVE_LOCAL && routing->resolution.found == DIR_LIST;
    *out_expanded = is_list || active->msg->rcpts[i].expanded == LIST_BUCKETS;
    return *out_expanded && !expand(active, i, &routing->resolution, out);
}

/* Behind the last at sign; empty without one. */
static struct slice domain_of(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

struct routing_context active_routing(const struct active *active, uint32_t i)
{
    const struct deliver *d = active->deliver;
    return (struct routing_context){.image = d->image,
                                    .directory = d->directory,
                                    .vm = d->vm,
                                    .now_ms = d->shard->wall_ms,
                                    .state = &active->msg->rcpts[i],
                                    .schedule = &d->conf.schedule};
}

/* An administrator has cancelled it, and its sender is to be told. */
static void give_up(struct grouping *group, struct active *active, uint32_t i)
{
    struct delivery *delivery = delivery_for(group, active, NULL, 0);
    if (delivery != NULL) {
        struct outcome outcome = {.kind = OUTCOME_PERMANENT,
                                  .status = {5, 0, 0},
                                  .text = SLICE_LITERAL("cancelled by an administrator"),
                                  .command = SLICE_LITERAL("queue")};
        uint32_t at = delivery->rcpt_count++;
        delivery->open++;
        delivery->rcpts[at].rcpt = i;
        delivery_decide(delivery, at, &outcome);
    }
}

static void note_name(struct deliver *d, text_id *kept, text_id name)
{
    if (*kept != name) {
        texts_drop(&d->spool->texts, *kept);
        *kept = texts_share(&d->spool->texts, name);
    }
}

void deliver_note_queue(struct deliver *d, struct rcpt_state *state,
                        const struct schedule *schedule)
{
    note_name(d, &state->queue, d->queue_texts[virtual_queue_slot(&d->queues, d->image, schedule)]);
}

void deliver_note_end(struct rcpt_state *state, const struct schedule *schedule, int64_t arrived_ms)
{
    if (!(state->flags & RCPT_EXPIRES)) {
        int64_t end_ms =
            schedule_end_ms(schedule, &(struct schedule_progress){.arrived_ms = arrived_ms});
        state->expires_ms = end_ms != 0 ? end_ms : RCPT_BY_ATTEMPTS;
    }
}

/* Adds recipient i to the delivery that it belongs to; decides at once what cannot be delivered. */
static void route_rcpt(struct grouping *group, struct active *active, uint32_t i)
{
    struct deliver *d = active->deliver;
    if (active->msg->rcpts[i].flags & RCPT_GIVE_UP) {
        give_up(group, active, i);
        return;
    }
    struct routing_context ctx = active_routing(active, i);
    struct expr_asker asker;
    struct routing routing;
    deliver_asker(&asker, active);
    ctx.asker = &asker;
    routing_find(&routing, &ctx, active->txn->rcpts[i].address, &active->txn->env);
    unsigned queue = virtual_queue_slot(&d->queues, d->image, routing.schedule);
    if (routing.schedule != NULL) {
        deliver_note_end(&active->msg->rcpts[i], routing.schedule, active->msg->arrived_ms);
        deliver_note_queue(d, &active->msg->rcpts[i], routing.schedule);
    }
    struct hop *hop = routing.route != NULL ? d->route[routing.route->index] : NULL;
    struct outcome outcome;
    bool expanded;
    if (is_expanding(active, i, &routing, &expanded, &outcome)) {
        return;
    }
    if (routing.route != NULL && routing.route->kind == ROUTE_MX) {
        struct hop *of_domain = mx_hop(d, hop, domain_of(active->txn->rcpts[i].address));
        hop = of_domain != NULL ? of_domain : hop;
    }
    if (routing.route != NULL) {
        note_name(d, &active->msg->rcpts[i].hop, hop->name);
    }
    struct delivery *delivery = delivery_for(group, active, hop, queue);
    if (delivery == NULL) {
        return;
    }
    uint32_t at = delivery->rcpt_count++;
    delivery->open++;
    delivery->rcpts[at].rcpt = i;
    delivery->rcpts[at].expanded = expanded;
    if (expanded) {
        delivery_decide(delivery, at, &outcome);
        return;
    }
    /* A copy: the record may be gone when the mailbox is written. */
    if (txn_text(&delivery->rcpts[at].mailbox, active->txn, routing.resolution.mailbox)) {
        outcome = deliver_problem(SLICE_LITERAL("out of memory"), SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        delivery_decide(delivery, at, &outcome);
    } else if (routing.route == NULL) {
        const char *problem =
            routing.waits ? "the expression asks the DNS for something else now" : routing.problem;
        outcome = deliver_problem(slice_of_text(problem), SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        outcome.no_step = routing.schedule == NULL;
        delivery_decide(delivery, at, &outcome);
    } else if (hop->route.kind == ROUTE_LOCAL && routing.resolution.kind != RESOLVE_LOCAL) {
        no_such_mailbox(&outcome, routing.resolution.is_postmaster);
        delivery_decide(delivery, at, &outcome);
    } else if (hop->route.kind == ROUTE_MX && hop->domain.len == 0) {
        outcome = deliver_problem(
            SLICE_LITERAL("no next hop for this domain now: too many domains have mail here"),
            SLICE_LITERAL("routing"));
        outcome.host_fault = false;
        delivery_decide(delivery, at, &outcome);
    }
}

static void submit(struct delivery *delivery)
{
    struct hop *hop = delivery->hop;
    struct active *active = delivery->active;
    if (delivery->open == 0) {
        delivery_done(delivery);
    } else if (virtual_queue_is_paused(&active->deliver->queues, delivery->queue)) {
        active->rests = true;
        active->no_room = true;
        active->deliveries--;
        delivery_free(delivery);
    } else if (!hop->paused && hop_is_down(hop)) {
        delivery_decide_rest(delivery, &hop->problem);
        delivery_done(delivery);
    } else if (hop->paused || !hop_submit(hop, delivery)) {
        active_park_at(active, hop);
        active->no_room = true;
        active->deliveries--;
        delivery_free(delivery);
    }
}

bool deliver_is_due(const struct deliver *d, const struct rcpt_state *state)
{
    return rcpt_waits(state) &&
           (state->due_ms <= d->shard->wall_ms + WHEEL_TICK_MS || (state->flags & RCPT_EARLY) != 0);
}

void active_dispatch(struct active *active)
{
    struct deliver *d = active->deliver;
    struct message *msg = active->msg;
    struct grouping group = {.count = 0};
    uint32_t end = 0;
    bool start = !d->stopping && !d->conf.pause.all;
    active->deliveries++; /* held until all are submitted */
    if (start && !deliver_routes_known(active, &end)) {
        end = 0;
    }
    for (uint32_t i = 0; i < end; i++) {
        const struct rcpt_state *state = &msg->rcpts[i];
        if (deliver_is_due(d, state)) {
            route_rcpt(&group, active, i);
        } else if (state->report != 0) {
            bounce_note_open(active, i);
        }
    }
    for (unsigned i = 0; i < group.count; i++) {
        submit(group.list[i]);
    }
    dns_answers_rest(active->answers); /* all are routed, unless something is asked */
    active_release(active);
}
