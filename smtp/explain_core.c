/* Explaining at a core: with what it knows of the next hop, and what the DNS says. */
#include "core/check.h"
#include "io/shard.h"
#include "smtp/explain.h"
#include "smtp/explain_lookup.h"
#include "smtp/hop_lookup.h"
#include "smtp/mx_hops.h"
#include "smtp/service.h"
#include "smtp/slots.h"

static void attempt(struct explain_request *request);

/* --- the next hop ------------------------------------------------------------------------------
 */

static struct slice domain_of(struct slice address)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_EMPTY : slice_from(address, at);
}

static void copy_text(char *out, size_t cap, struct slice text)
{
    struct writer w = writer_init(out, cap - 1);
    put_slice(&w, slice_first(text, cap - 1));
    out[w.len] = '\0';
}

static const struct hop *hop_of(struct deliver *d, const struct route_conf *route,
                                struct slice rcpt)
{
    const struct hop *hop = d->route[route->index];
    return route->kind == ROUTE_MX ? mx_hop_find(d, hop, domain_of(rcpt)) : hop;
}

static void look_at_addresses(struct explain_hop *out, const struct hop *hop)
{
    for (unsigned i = 0; i < hop->address_count && out->address_count < EXPLAIN_ADDRESSES_MAX;
         i++) {
        unsigned at = (hop->first_address + i) % hop->address_count;
        struct explain_address *address = &out->addresses[out->address_count++];
        address->addr = hop->addresses[at].addr;
        copy_text(address->host, sizeof address->host, hop->addresses[at].host);
    }
}

static void look_at_hop(struct explain_request *request, struct deliver *d)
{
    const struct routing *routing = &request->out.routing;
    struct explain_hop *out = &request->out.hop;
    const struct route_conf *route = routing->route;
    bool foreign = request->config != NULL; /* its routes and queues are not this core's */
    const struct hop *hop = foreign || route == NULL || route->kind == ROUTE_LOCAL
                                ? NULL
                                : hop_of(d, route, request->out.rcpt);
    if (routing->schedule != NULL && !foreign) {
        const struct queue_slot *queue =
            &d->queues.slots[virtual_queue_slot(&d->queues, d->image, routing->schedule)];
        out->queue_workers = queue->workers;
        out->queue_used = queue->used;
    }
    out->connections_max = (unsigned)d->performance.hop_connections;
    if (hop == NULL) {
        return;
    }
    out->known = true;
    out->down = hop->down;
    out->failures = hop->failures;
    out->connections = hop->connections;
    out->waiting = hop->waiting_count;
    if (hop->account != NULL) {
        out->slots_lent = hop->account->lent;
        out->slots_used = hop->account->used;
    }
    copy_text(out->problem, sizeof out->problem, hop->down ? hop->problem.text : SLICE_EMPTY);
    if (hop_addresses_fresh(hop)) {
        look_at_addresses(out, hop);
    }
}

/* Under load a client gets less. */
static void shed_limits(struct explanation *out, const struct service *service)
{
    if (out->client_connections_max > 0) {
        out->client_connections_max =
            shed_client_limit(&service->shed, out->client_connections_max);
    }
    if (out->network_connections_max > 0) {
        out->network_connections_max =
            shed_client_limit(&service->shed, out->network_connections_max);
    }
}

/* A domain that takes no mail: what is accepted for it comes back at once. */
static void look_at_domain(struct explanation *out, const struct explain_lookup *lookup)
{
    if (lookup != NULL && explain_lookup_never(lookup) && out->outcome == EXPLAIN_RELAYED) {
        out->outcome = EXPLAIN_REFUSED;
        out->reason = "accepted, then returned to the sender: nobody takes mail for the domain";
    }
}

/* What is kept decides, as at RCPT. */
static void look_at_kept(struct explanation *out, const struct service *service)
{
    const struct verify *v = &service->deliver.verify;
    const struct routing *routing = &out->routing;
    uint64_t until_ns = 0;
    if (!out->verify.asks) {
        return;
    }
    struct verify_key key = {.domain_id = routing->resolution.domain->id,
                             .route = routing->route->index,
                             .address = out->rcpt};
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

static void look_at_pauses(struct explanation *out, const struct deliver *d)
{
    const struct routing *routing = &out->routing;
    out->paused = deliver_pause_has(&d->conf.pause,
                                    routing->route == NULL ? SLICE_EMPTY : routing->route->name) ||
                  (routing->schedule != NULL &&
                   virtual_queue_is_paused(
                       &d->queues, virtual_queue_slot(&d->queues, d->image, routing->schedule)));
}

/* --- the request -------------------------------------------------------------------------------
 */

static void answer(struct explain_request *request)
{
    struct shard *at = request->at;
    wheel_cancel(&at->wheel, &request->timer);
    dns_answers_free(request->answers);
    explain_lookup_free(request->lookup);
    request->answers = NULL;
    request->lookup = NULL;
    mx_err err = mbox_send(at->hub, at->conf.id, request->reply_to, &request->reply);
    MX_ASSERT(err == MX_OK); /* one question at a time */
}

static void again(void *arg)
{
    attempt(arg);
}

static struct dns_answers *answers_of(void *arg)
{
    struct explain_request *request = arg;
    struct service *service = request->at->service;
    if (request->answers == NULL) {
        request->answers =
            dns_answers_new(&service->dns, &service->keys, EXPLAIN_DNS_NAMES_MAX, again, request);
    }
    return request->answers;
}

/* What is not known by now will not be asked. */
static void time_is_up(struct timer *timer, uint64_t now_ns)
{
    struct explain_request *request = mx_container_of(timer, struct explain_request, timer);
    (void)now_ns;
    if (request->answers != NULL) {
        dns_answers_close(request->answers);
    }
    if (request->lookup != NULL) {
        explain_lookup_stop(request->lookup);
    }
    attempt(request);
}

/* True: the DNS is asked where mail for it goes. */
static bool looks_up(struct explain_request *request, struct service *service)
{
    const struct route_conf *route = request->out.routing.route;
    struct explain_hop *hop = &request->out.hop;
    if (route == NULL || route->kind == ROUTE_LOCAL || hop->address_count > 0) {
        return false;
    }
    if (request->lookup == NULL) {
        request->lookup = explain_lookup_new(service, request->out.image, route,
                                             domain_of(request->out.rcpt), again, request);
    }
    if (request->lookup == NULL) {
        hop->names_problem = err_text(MX_ERR_NOMEM);
        return false;
    }
    if (!explain_lookup_done(request->lookup, hop)) {
        return true;
    }
    const struct hop *known =
        request->config != NULL ? NULL : hop_of(&service->deliver, route, request->out.rcpt);
    if (known != NULL && explain_lookup_not_now(request->lookup)) {
        look_at_addresses(hop, known); /* the best guess, for mail too */
    }
    return false;
}

/* From the beginning, with the answers that are there. */
static void attempt(struct explain_request *request)
{
    struct service *service = request->at->service;
    struct explanation *out = &request->out;
    if (service == NULL || !service->started || service->stopping) {
        out->err = MX_ERR_AGAIN;
        answer(request);
        return;
    }
    struct expr_asker asker = {.answers = answers_of, .arg = request, .peeks = true};
    struct routing_context context = service_routing(service);
    context.asker = &asker;
    if (request->config != NULL) {
        context.image = request->config->image;
        context.directory = request->config->directory;
    }
    out->hop = (struct explain_hop){.known = false};
    explain(out, &request->query, &context);
    if (out->waits) {
        return;
    }
    look_at_hop(request, &service->deliver);
    if (looks_up(request, service)) {
        return;
    }
    if (out->hop.address_count > 0) { /* now that the host is known */
        explain(out, &request->query, &context);
        if (out->waits) {
            return;
        }
    }
    look_at_domain(out, request->lookup);
    shed_limits(out, service);
    if (request->config == NULL) {
        look_at_kept(out, service);
        look_at_pauses(out, &service->deliver);
    }
    answer(request);
}

void explain_request_receive(struct mbox_msg *msg, struct shard *at)
{
    struct explain_request *request = mx_container_of(msg, struct explain_request, msg);
    request->at = at;
    request->timer = (struct timer){.fire = time_is_up};
    request->answers = NULL;
    request->lookup = NULL;
    shard_after(at, &request->timer, EXPLAIN_WAIT_MS * MX_NS_PER_MS);
    attempt(request);
}
