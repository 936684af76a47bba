#include "smtp/strategy.h"

#include "core/check.h"
#include "smtp/hop.h"

bool strategy_is_fixed(const struct hop *hop)
{
    return outbound_is_fixed(&hop->deliver->image->outbound);
}

/* --- what holds --------------------------------------------------------------------------------
 */

static bool is_usable(const struct source_address *source, const struct netaddr *remote)
{
    return remote != NULL && source->addr.family == remote->family;
}

static uint32_t usable_sources(const struct connection_strategy *connection,
                               const struct netaddr *remote)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < connection->source_count; i++) {
        count += is_usable(&connection->sources[i], remote);
    }
    return count;
}

static const struct source_address *usable_source(const struct connection_strategy *connection,
                                                  const struct netaddr *remote, uint32_t which)
{
    uint32_t at = 0;
    while (!is_usable(&connection->sources[at], remote) || which-- > 0) {
        at++;
    }
    return &connection->sources[at];
}

const struct netaddr *strategy_local(const struct connection_strategy *connection,
                                     const struct netaddr *remote)
{
    return usable_sources(connection, remote) == 1 ? &usable_source(connection, remote, 0)->addr
                                                   : NULL;
}

/* Which of the names a program yields. */
static enum expr_status ask(struct slice *out_name, const struct strategy_question *q,
                            const struct expr_program *program, const struct routing_host *host)
{
    struct expr_value value;
    enum expr_status status = routing_run(&value, q->context, program, host, q->rcpt, q->env);
    *out_name = status == EXPR_DONE && value.type == EXPR_STRING ? value.string : SLICE_EMPTY;
    return status;
}

enum expr_status strategy_pick(struct strategy_pick *out, const struct strategy_question *q)
{
    const struct outbound_conf *conf = &q->context->image->outbound;
    struct routing_host from = *q->host;
    struct slice name;
    enum expr_status status = EXPR_DONE;
    *out = (struct strategy_pick){.tls = conf->tls_fixed, .connection = conf->connection_fixed};
    if (out->connection == NULL || q->context->trace != NULL) {
        status = conf->connection_program == NULL
                     ? EXPR_FAILED
                     : ask(&name, q, conf->connection_program, q->host);
        out->connection = status == EXPR_DONE ? outbound_connection(conf, name) : out->connection;
    }
    if (out->connection == NULL) {
        return status == EXPR_DONE ? EXPR_FAILED : status;
    }
    const struct netaddr *local = strategy_local(out->connection, q->host->remote);
    from.local = local != NULL ? local : from.local;
    if (out->tls == NULL || q->context->trace != NULL) {
        status = conf->tls_program == NULL ? EXPR_FAILED : ask(&name, q, conf->tls_program, &from);
        out->tls = status == EXPR_DONE ? outbound_tls(conf, name) : out->tls;
    }
    return out->tls != NULL ? EXPR_DONE : status == EXPR_DONE ? EXPR_FAILED : status;
}

static void answered(void *arg)
{
    struct delivery *delivery = arg;
    dns_answers_rest(delivery->answers);
    if (delivery->asking) {
        hop_ask_done(delivery->hop, delivery);
    } else {
        hop_busy(delivery->hop); /* it may go over a connection that looked at it */
    }
}

static struct dns_answers *answers_of(void *arg)
{
    struct delivery *delivery = arg;
    if (delivery->answers == NULL) {
        delivery->answers = dns_answers_new(delivery->active->deliver->conf.dns,
                                            delivery->active->deliver->conf.keys,
                                            DNS_ANSWERS_MESSAGE_MAX, answered, delivery);
    }
    return delivery->answers;
}

/* Of one recipient of the envelope. */
static enum expr_status pick(struct strategy_pick *out, struct delivery *delivery, uint32_t rcpt,
                             const struct routing_host *host)
{
    struct active *active = delivery->active;
    struct deliver *d = active->deliver;
    struct expr_asker asker = {.answers = answers_of, .arg = delivery};
    struct routing_context context = {.image = d->image,
                                      .directory = d->directory,
                                      .vm = d->vm,
                                      .now_ms = d->shard->wall_ms,
                                      .state = &active->msg->rcpts[rcpt],
                                      .schedule = &d->conf.schedule,
                                      .asker = &asker};
    struct strategy_question q = {.context = &context,
                                  .host = host,
                                  .rcpt = active->txn->rcpts[rcpt].address,
                                  .env = &active->txn->env};
    enum expr_status status = strategy_pick(out, &q);
    dns_answers_rest(delivery->answers);
    return status;
}

static struct strategy_pick pick_fixed(const struct outbound_conf *conf)
{
    return (struct strategy_pick){
        .tls = conf->tls_fixed != NULL ? conf->tls_fixed : &outbound_tls_default,
        .connection =
            conf->connection_fixed != NULL ? conf->connection_fixed : &outbound_connection_default};
}

bool strategy_is(const struct strategy_kept *kept, const struct strategy_pick *pick)
{
    return kept->tls_effect == pick->tls->effect &&
           kept->connection_effect == pick->connection->effect;
}

bool strategy_is_like(const struct strategy_kept *a, const struct strategy_kept *b)
{
    return a->tls_effect == b->tls_effect && a->connection_effect == b->connection_effect;
}

static bool has_tls(const struct outbound_conf *conf, uint64_t effect)
{
    bool has = conf->tls_fixed != NULL ? conf->tls_fixed->effect == effect
                                       : outbound_tls_default.effect == effect;
    for (uint32_t i = 0; conf->tls_fixed == NULL && i < conf->tls_count; i++) {
        has = has || conf->tls[i].effect == effect;
    }
    return has;
}

static bool has_connection(const struct outbound_conf *conf, uint64_t effect)
{
    bool has = conf->connection_fixed != NULL ? conf->connection_fixed->effect == effect
                                              : outbound_connection_default.effect == effect;
    for (uint32_t i = 0; conf->connection_fixed == NULL && i < conf->connection_count; i++) {
        has = has || conf->connections[i].effect == effect;
    }
    return has;
}

bool strategy_is_there(const struct strategy_kept *kept, const struct hop *hop)
{
    const struct outbound_conf *conf = &hop->deliver->image->outbound;
    return has_tls(conf, kept->tls_effect) && has_connection(conf, kept->connection_effect);
}

/* --- recipients --------------------------------------------------------------------------------
 */

/* Moves those for whom something else holds out of the delivery. False: all of them, or no memory.
 */
static bool narrow(const struct strategy_kept *kept, struct delivery *delivery,
                   const struct routing_host *host)
{
    uint32_t others[DELIVER_RCPTS_MAX], count = 0;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        struct strategy_pick own;
        if (!delivery->rcpts[i].decided &&
            !(pick(&own, delivery, delivery->rcpts[i].rcpt, host) == EXPR_DONE &&
              strategy_is(kept, &own))) {
            others[count++] = i;
        }
    }
    if (count == delivery->open) {
        return false;
    }
    struct delivery *other = count == 0 ? NULL : delivery_split(delivery, others, count);
    if (other != NULL) {
        hop_give_back(delivery->hop, other);
    }
    return count == 0 || other != NULL;
}

bool strategy_fits(const struct strategy_kept *kept, struct delivery *delivery,
                   const struct routing_host *host)
{
    if (strategy_is_fixed(delivery->hop)) {
        struct strategy_pick fixed = pick_fixed(&delivery->active->deliver->image->outbound);
        return strategy_is(kept, &fixed);
    }
    return narrow(kept, delivery, host);
}

void strategy_keep(struct strategy_kept *out, struct hop *hop, const struct strategy_pick *pick,
                   const struct netaddr *remote)
{
    uint32_t sources = usable_sources(pick->connection, remote);
    struct slice name = pick->connection->ehlo_name;
    *out = (struct strategy_kept){.tls_effect = pick->tls->effect,
                                  .connection_effect = pick->connection->effect,
                                  .start_tls = pick->tls->start_tls,
                                  .allow_invalid_certs = pick->tls->allow_invalid_certs,
                                  .handshake_ms = pick->tls->handshake_ms,
                                  .times = pick->connection->times};
    if (sources > 0) {
        uint32_t which = sources == 1 ? 0 : (uint32_t)(deliver_random(hop->deliver) % sources);
        const struct source_address *source = usable_source(pick->connection, remote, which);
        out->source = source->addr;
        name = source->ehlo_name.len > 0 ? source->ehlo_name : name;
    }
    name = slice_first(name.len > 0 ? name : hop->hostname, sizeof out->ehlo_text);
    memcpy(out->ehlo_text, name.ptr, name.len);
    out->ehlo_name = slice_of(out->ehlo_text, name.len);
}

enum expr_status strategy_of_question(struct strategy_pick *out, struct hop *hop, struct slice rcpt,
                                      const struct expr_asker *asker,
                                      const struct routing_host *host)
{
    struct deliver *d = hop->deliver;
    struct routing_context context = {.image = d->image,
                                      .directory = d->directory,
                                      .vm = d->vm,
                                      .now_ms = d->shard->wall_ms,
                                      .schedule = &d->conf.schedule,
                                      .asker = asker};
    struct envelope_rcpt to = {.address = rcpt};
    struct envelope env = {.rcpts = &to, .rcpt_count = 1};
    struct strategy_question q = {.context = &context, .host = host, .rcpt = rcpt, .env = &env};
    if (strategy_is_fixed(hop)) {
        *out = pick_fixed(&d->image->outbound);
        return EXPR_DONE;
    }
    return strategy_pick(out, &q);
}

bool strategy_choose(struct strategy_kept *out, struct hop *hop, struct delivery *delivery,
                     const struct routing_host *host)
{
    struct strategy_pick chosen = pick_fixed(&hop->deliver->image->outbound);
    if (strategy_is_fixed(hop)) {
        strategy_keep(out, hop, &chosen, host->remote);
        return true;
    }
    struct outcome problem =
        deliver_problem(SLICE_LITERAL("the tls or connection expression could not be evaluated"),
                        SLICE_LITERAL("routing"));
    problem.host_fault = false;
    for (uint32_t i = 0; i < delivery->rcpt_count; i++) {
        if (delivery->rcpts[i].decided) {
            continue;
        }
        enum expr_status status = pick(&chosen, delivery, delivery->rcpts[i].rcpt, host);
        if (status == EXPR_WAITING) {
            hop_ask(hop, delivery);
            return false;
        }
        if (status == EXPR_DONE) {
            strategy_keep(out, hop, &chosen, host->remote);
            if (narrow(out, delivery, host)) {
                return true;
            }
            problem.text = SLICE_LITERAL("out of memory");
        }
        delivery_decide(delivery, i, &problem);
    }
    delivery_done(delivery);
    return false;
}

uint64_t strategy_phase_ms(const struct strategy_kept *kept, enum cli_phase phase)
{
    const struct connection_times *times = &kept->times;
    uint64_t normal_ms = cli_phase_timeout_ms(phase);
    switch (phase) {
    case CLI_PHASE_GREETING:
        return times->greeting;
    case CLI_PHASE_EHLO:
        return times->ehlo;
    case CLI_PHASE_MAIL:
        return times->mail;
    case CLI_PHASE_RCPT:
        return times->rcpt;
    case CLI_PHASE_END:
        return times->data;
    case CLI_PHASE_RSET:
        return times->mail < normal_ms ? times->mail : normal_ms;
    case CLI_PHASE_DATA:
    case CLI_PHASE_BODY:
        return times->data < normal_ms ? times->data : normal_ms;
    default:
        return normal_ms;
    }
}

bool strategy_needs_tls(const struct strategy_kept *kept, const struct route_conf *route)
{
    return route->implicit_tls || kept->start_tls == START_TLS_REQUIRE;
}

bool strategy_verifies(const struct strategy_kept *kept, const struct route_conf *route)
{
    return strategy_needs_tls(kept, route) && !route->allow_invalid_certs &&
           !kept->allow_invalid_certs;
}

enum cli_tls_mode strategy_tls_mode(const struct strategy_kept *kept,
                                    const struct route_conf *route, bool in_clear)
{
    return route->implicit_tls || in_clear || kept->start_tls == START_TLS_DISABLE ? CLI_TLS_NEVER
           : kept->start_tls == START_TLS_REQUIRE ? CLI_TLS_REQUIRED
                                                  : CLI_TLS_OPPORTUNISTIC;
}
