#include "smtp/explain.h"

#include "core/check.h"
#include "io/shard.h"
#include "smtp/service.h"
#include "smtp/session_settings.h"

static void note(void *arg, const struct expr_step *step)
{
    struct explanation *out = arg;
    size_t room = mx_min_size(EXPLAIN_TEXT_BYTES - out->text_len, EXPLAIN_VALUE_MAX);
    if (out->step_count == EXPLAIN_STEPS_MAX || room < EXPLAIN_VALUE_MAX) {
        out->steps_cut = true;
        return;
    }
    struct writer w = writer_init(out->text + out->text_len, room);
    put_expr_value(&w, step->value);
    out->text_len += w.len;
    out->steps[out->step_count++] = (struct explain_step){.part = step->part,
                                                          .start = step->start,
                                                          .end = step->end,
                                                          .decides = step->decides,
                                                          .result = step->result,
                                                          .value = writer_slice(&w),
                                                          .truthy = expr_truthy(step->value)};
}

static const struct listener_conf *find_listener(const struct image *image, struct slice name)
{
    for (uint32_t i = 0; i < image->listener_count; i++) {
        if (slice_equal(image->listeners[i].name, name)) {
            return &image->listeners[i];
        }
    }
    return NULL;
}

/* Where an accepted recipient goes. */
static void decide_accepted(struct explanation *out)
{
    const struct routing *routing = &out->routing;
    enum route_kind kind = routing->route->kind;
    out->outcome = kind == ROUTE_LOCAL ? EXPLAIN_DELIVERED : EXPLAIN_RELAYED;
    if (kind == ROUTE_LOCAL && routing->resolution.kind != RESOLVE_LOCAL) {
        bool postmaster = routing->resolution.is_postmaster;
        out->outcome = postmaster ? EXPLAIN_TEMPORARY : EXPLAIN_REFUSED;
        out->reason = postmaster
                          ? "accepted, and kept until there is a mailbox for postmaster"
                          : "accepted, then returned to the sender: no mailbox for a local route";
    } else if (kind == ROUTE_LOCAL && routing->resolution.found == DIR_LIST) {
        out->reason = "sent on to the members of the list, each by its own route";
    } else if (out->verify.asks) {
        out->reason = "accepted if the relay has such a recipient: it is asked";
    }
}

/* As a session of this client begins. False: it would be told to come again. */
static bool take_limits(struct explanation *out, const struct explain_query *query,
                        const struct routing_context *context)
{
    const struct image *image = context->image;
    struct session_settings settings;
    struct session_facts facts = {
        .listener = out->listener, .client = query->client, .directory = context->directory};
    struct srv_conf conf = {.hostname = image->hostname};
    if (out->listener != NULL) {
        facts.tls = out->listener->tls_implicit;
        facts.local = out->listener->binds[0];
    }
    out->limits = image->limits;
    if (!image->session_varies) {
        return true;
    }
    struct session_run run = {.image = image, .facts = &facts, .vm = context->vm};
    session_settings_init(&settings, image, &conf);
    bool good = session_settings_take(&settings, EXPR_CONN, &run) == EXPR_DONE;
    out->reason = good ? out->reason : run.problem;
    out->limits = good ? settings.limits : out->limits;
    return good;
}

static void decide(struct explanation *out, const struct explain_query *query, bool limits_known)
{
    uint64_t size_max = out->limits.size_bytes_max;
    out->reply = routing_reply(&out->routing);
    if (out->blocked) {
        out->stage = "connect";
        out->outcome = EXPLAIN_REFUSED;
        out->reason = "the client is blocked: its connection is closed without a word";
    } else if (!limits_known) {
        out->stage = "connect";
        out->reply = REPLY_OVERLOAD;
        out->outcome = EXPLAIN_TEMPORARY;
    } else if (size_max != 0 && query->size > size_max) {
        out->stage = "MAIL";
        out->reply = REPLY_TOO_BIG;
        out->outcome = EXPLAIN_REFUSED;
    } else if (out->reply != REPLY_OK) {
        out->stage = "RCPT";
        out->outcome = reply_row(out->reply)->code < 500 ? EXPLAIN_TEMPORARY : EXPLAIN_REFUSED;
        out->reason = out->routing.problem;
        if (out->reply == REPLY_RELAY_DENIED && out->image->stages[STAGE_RELAYING] != NULL) {
            out->reason = "unless MtaStageRcpt.allowRelaying lets the client relay";
        }
    } else {
        decide_accepted(out);
    }
}

void explain(struct explanation *out, const struct explain_query *query,
             const struct routing_context *context)
{
    struct expr_trace trace = {out, note};
    struct routing_context traced = *context;
    struct envelope_rcpt rcpt = {.address = query->rcpt};
    struct envelope env = {.sender = query->sender,
                           .mail.size = query->size,
                           .client = query->client,
                           .arrived_wall_ms = context->now_ms,
                           .rcpt_count = 1,
                           .rcpts = &rcpt};
    out->err = MX_OK;
    out->image = context->image;
    out->stage = out->reason = NULL;
    out->step_count = 0;
    out->steps_cut = false;
    out->text_len = 0;
    out->hop = (struct explain_hop){.known = false};
    out->paused = false;
    out->listener = find_listener(context->image, query->listener);
    out->blocked = image_blocks(context->image, &query->client, context->now_ms);
    traced.trace = &trace;
    routing_find(&out->routing, &traced, query->rcpt, &env);
    out->verify =
        (struct explain_verify){.asks = routing_verifies(&out->routing), .known = VERIFY_LATER};
    if (out->routing.schedule != NULL) {
        out->schedule = *out->routing.schedule;
    }
    bool limits_known = take_limits(out, query, context);
    decide(out, query, limits_known);
}

/* --- at a core ---------------------------------------------------------------------------------
 */

static void look_at_hop(struct explain_hop *out, const struct deliver *d,
                        const struct route_conf *route)
{
    const struct hop *hop = route == NULL ? NULL : d->route[route->index];
    if (hop == NULL || route->kind != ROUTE_RELAY) {
        return;
    }
    *out = (struct explain_hop){.known = true,
                                .down = hop->down,
                                .failures = hop->failures,
                                .connections = hop->connections,
                                .connections_max = (unsigned)d->performance.hop_connections,
                                .waiting = hop->waiting_count};
    struct writer w = writer_init(out->problem, sizeof out->problem - 1);
    if (hop->down) {
        put_slice(&w, slice_first(hop->problem.text, writer_room(&w)));
    }
    out->problem[w.len] = '\0';
}

/* What is kept decides, as at RCPT. */
static void look_at_kept(struct explanation *out, const struct explain_query *query,
                         const struct service *service)
{
    const struct verify *v = &service->deliver.verify;
    const struct routing *routing = &out->routing;
    uint64_t until_ns = 0;
    if (!out->verify.asks) {
        return;
    }
    struct verify_key key = {.domain_id = routing->resolution.domain->id,
                             .route = routing->route->index,
                             .address = query->rcpt};
    out->verify.known = verify_known(v, &key, &until_ns);
    if (out->verify.known != VERIFY_LATER) {
        out->verify.left_ms = (until_ns - service->shard->now_ns) / MX_NS_PER_MS;
    }
    if (out->stage == NULL && out->verify.known == VERIFY_ACCEPTED) {
        out->reason = "the relay has said that it has such a recipient";
    } else if (out->stage == NULL && out->verify.known == VERIFY_REFUSED) {
        out->stage = "RCPT";
        out->reply = REPLY_NO_SUCH_USER;
        out->outcome = EXPLAIN_REFUSED;
        out->reason = "the relay has said that it has no such recipient";
    }
}

static void run(struct explain_request *request, struct shard *at)
{
    struct service *service = at->service;
    struct explanation *out = &request->out;
    if (service == NULL || !service->started || service->stopping) {
        out->err = MX_ERR_AGAIN;
        return;
    }
    struct routing_context context = service_routing(service);
    explain(out, &request->query, &context);
    look_at_kept(out, &request->query, service);
    out->paused =
        deliver_pause_has(&service->deliver.conf.pause,
                          out->routing.route == NULL ? SLICE_EMPTY : out->routing.route->name);
    look_at_hop(&out->hop, &service->deliver, out->routing.route);
}

void explain_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct explain_request *request = mx_container_of(msg, struct explain_request, msg);
    run(request, at);
    mx_err err = mbox_send(at->hub, at->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}
