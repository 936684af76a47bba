#include "smtp/explain.h"

#include "smtp/session_settings.h"
#include "smtp/srv_proxy.h"
#include "smtp/stage.h"

/* An explanation in the making. */
struct making {
    struct explanation *out;
    const struct explain_query *query;
    struct routing_context context;
    struct stage_facts facts;
    struct envelope env;
    struct envelope_rcpt rcpt;
    struct expr_trace trace;
    enum expr_status stages[STAGE_PROGRAMS];
    bool said[STAGE_PROGRAMS]; /* what they yield, where they are done */
    enum expr_status limits, offers;
};

/* --- what was looked at ------------------------------------------------------------------------
 */

static void note(void *arg, const struct expr_step *step)
{
    struct making *m = arg;
    struct explanation *out = m->out;
    size_t room = mx_min_size(EXPLAIN_TEXT_BYTES - out->text_len, EXPLAIN_VALUE_MAX);
    if (out->step_count == EXPLAIN_STEPS_MAX || room < EXPLAIN_VALUE_MAX) {
        out->steps_cut = true;
        return;
    }
    struct writer w = writer_init(out->text + out->text_len, room);
    put_expr_value(&w, step->value);
    out->text_len += w.len;
    out->steps[out->step_count++] = (struct explain_step){.program = m->context.vm->program,
                                                          .part = step->part,
                                                          .start = step->start,
                                                          .end = step->end,
                                                          .decides = step->decides,
                                                          .result = step->result,
                                                          .value = writer_slice(&w),
                                                          .truthy = expr_truthy(step->value)};
}

/* Of a program that has just been asked, if there is one. */
static void decided(struct making *m, struct explain_decision decision, enum expr_status status)
{
    struct explanation *out = m->out;
    out->waits = out->waits || status == EXPR_WAITING;
    if (decision.program == NULL || out->decision_count == EXPLAIN_DECISIONS_MAX) {
        return;
    }
    if (status == EXPR_FAILED) {
        const char *reason = m->context.vm->failure;
        decision.problem = reason != NULL ? reason : "it could not be evaluated";
    }
    decision.cut = out->steps_cut;
    out->decisions[out->decision_count++] = decision;
}

/* --- the session -------------------------------------------------------------------------------
 */

static const struct listener_conf *find_listener(const struct image *image, struct slice name)
{
    for (uint32_t i = 0; i < image->listener_count; i++) {
        if (slice_equal(image->listeners[i].name, name)) {
            return &image->listeners[i];
        }
    }
    return NULL;
}

static void decided_stage(struct making *m, enum stage_program which, const char *stage,
                          const char *object)
{
    decided(m,
            (struct explain_decision){.stage = stage,
                                      .object = object,
                                      .setting = stage_setting(which),
                                      .program = m->context.image->stages[which]},
            m->stages[which]);
}

static void run_stage(struct making *m, enum stage_program which, const char *stage,
                      const char *object)
{
    const struct image *image = m->context.image;
    struct expr_value value;
    m->stages[which] = EXPR_DONE;
    m->said[which] = which == STAGE_SENDER; /* as by default */
    if (image->stages[which] == NULL) {
        return;
    }
    m->stages[which] =
        stage_run(&value, image, which, &m->facts, m->context.vm, m->context.asker, &m->trace);
    m->said[which] = m->stages[which] == EXPR_DONE && expr_truthy(&value);
    decided_stage(m, which, stage, object);
}

/* Limits and offers that are worked out in this context. */
static enum expr_status run_settings(struct making *m, struct session_settings *settings,
                                     enum expr_context context, const char *stage)
{
    const struct image *image = m->context.image;
    struct session_run run = {.image = image,
                              .facts = &m->facts.session,
                              .helo = m->facts.helo,
                              .vm = m->context.vm,
                              .asker = m->context.asker,
                              .trace = &m->trace};
    enum expr_status status = session_settings_take(settings, context, &run);
    for (unsigned i = 0; i < SESSION_SETTINGS; i++) {
        const struct session_setting_row *row = session_setting_row((enum session_setting)i);
        bool stopped = status != EXPR_DONE && i == run.failed;
        if (row->context == context) {
            decided(m,
                    (struct explain_decision){.stage = stage,
                                              .object = row->object,
                                              .setting = row->name,
                                              .program = image->session_programs[i]},
                    stopped ? status : EXPR_DONE);
        }
        if (stopped) {
            break;
        }
    }
    return status;
}

/* What takes the place of an address. */
static struct slice run_rewrite(struct making *m, enum stage_program which, const char *stage,
                                const char *object)
{
    const struct image *image = m->context.image;
    bool of_sender = which == STAGE_REWRITE_SENDER;
    struct slice address;
    m->stages[which] = stage_rewrite(&address, m->out->text_of[of_sender], image, which, &m->facts,
                                     true, m->context.vm, m->context.asker, &m->trace);
    bool is_run = of_sender ? m->facts.sender.len > 0 : m->facts.rcpt.len > 0;
    if (is_run) {
        decided_stage(m, which, stage, object);
    }
    return address;
}

/* As a session of this client goes on to RCPT. */
static void run_session(struct making *m)
{
    struct session_settings settings;
    struct srv_conf conf = {.hostname = m->context.image->hostname};
    session_settings_init(&settings, m->context.image, &conf);
    m->limits = run_settings(m, &settings, EXPR_CONN, "connect");
    run_stage(m, STAGE_GREETING, "connect", "MtaStageConnect");
    run_stage(m, STAGE_FQDN, "EHLO", "MtaStageEhlo");
    m->offers = run_settings(m, &settings, EXPR_EHLO, "EHLO");
    m->out->limits = settings.limits;
    run_stage(m, STAGE_SENDER, "MAIL", "MtaStageMail");
    m->out->sender = run_rewrite(m, STAGE_REWRITE_SENDER, "MAIL", "MtaStageMail");
    m->facts.sender = m->env.sender = m->out->sender;
    m->facts.rcpt = m->query->rcpt;
    m->out->rcpt = run_rewrite(m, STAGE_REWRITE_RCPT, "RCPT", "MtaStageRcpt");
    m->facts.rcpt = m->rcpt.address = m->out->rcpt;
}

/* --- routing -----------------------------------------------------------------------------------
 */

static enum expr_status status_of(const struct routing *routing)
{
    return routing->waits ? EXPR_WAITING : routing->problem != NULL ? EXPR_FAILED : EXPR_DONE;
}

struct outbound_setting {
    const char *setting;
    const struct expr_program *program;
};

/* Two that were asked one after the other, the second only when the first has yielded something.
 * status: of the one that was asked last. */
static void decided_two(struct making *m, enum expr_status status, const char *stage,
                        struct outbound_setting first, struct outbound_setting second)
{
    bool at_first = status != EXPR_DONE && m->context.vm->program == first.program;
    struct explain_decision decision = {.stage = stage,
                                        .object = "MtaOutboundStrategy",
                                        .setting = first.setting,
                                        .program = first.program};
    decided(m, decision, at_first ? status : EXPR_DONE);
    if (!at_first) {
        decision.setting = second.setting;
        decision.program = second.program;
        decided(m, decision, status);
    }
}

static void run_routing(struct making *m)
{
    struct explanation *out = m->out;
    const struct image *image = m->context.image;
    routing_find(&out->routing, &m->context, out->rcpt, &m->env);
    enum expr_status status = status_of(&out->routing);
    if (out->routing.schedule != NULL) {
        out->schedule = *out->routing.schedule;
    }
    decided_two(m, status, "queue", (struct outbound_setting){"schedule", image->schedule_program},
                (struct outbound_setting){"route", image->route_program});
}

/* The first host that is tried, or what is known of it. */
static struct routing_host first_host(struct explanation *out)
{
    struct routing_host host = {.mx = out->routing.route->address};
    if (out->hop.address_count > 0) {
        struct slice name = slice_of_text(out->hop.addresses[0].host);
        host.remote = &out->hop.addresses[0].addr;
        host.mx = name.len > 0 ? name : host.mx;
    }
    return host;
}

static void run_strategies(struct making *m, const struct routing_host *host)
{
    struct explanation *out = m->out;
    const struct outbound_conf *conf = &m->context.image->outbound;
    struct strategy_question q = {
        .context = &m->context, .host = host, .rcpt = out->rcpt, .env = &m->env};
    if (conf->tls_program == NULL && conf->connection_program == NULL) {
        out->strategy = (struct strategy_pick){&outbound_tls_default, &outbound_connection_default};
        return;
    }
    decided_two(m, strategy_pick(&out->strategy, &q), "host",
                (struct outbound_setting){"connection", conf->connection_program},
                (struct outbound_setting){"tls", conf->tls_program});
}

/* How each of its addresses would be connected to, and what would count it there. */
static void run_addresses(struct making *m)
{
    struct explanation *out = m->out;
    struct routing_context quiet = m->context;
    quiet.trace = NULL;
    for (unsigned i = 0; i < out->hop.address_count; i++) {
        struct explain_address *address = &out->hop.addresses[i];
        struct slice name = slice_of_text(address->host);
        struct routing_host host = {.mx = name.len > 0 ? name : out->routing.route->address,
                                    .remote = &address->addr};
        struct strategy_question q = {
            .context = &quiet, .host = &host, .rcpt = out->rcpt, .env = &m->env};
        struct explain_rates rates;
        const struct outbound_conf *conf = &quiet.image->outbound;
        enum expr_status status = EXPR_DONE;
        if (conf->tls_program == NULL && conf->connection_program == NULL) {
            address->strategy =
                (struct strategy_pick){&outbound_tls_default, &outbound_connection_default};
        } else {
            status = strategy_pick(&address->strategy, &q);
        }
        out->waits = out->waits || status == EXPR_WAITING;
        if (address->strategy.connection != NULL) {
            host.local = strategy_local(address->strategy.connection, host.remote);
        }
        explain_outbound(&rates, &quiet, &host, out->rcpt, &m->env);
        address->throttles = rates.outbound;
    }
}

/* How it would leave, and which rates count it. */
static void run_outbound(struct making *m)
{
    struct explanation *out = m->out;
    const struct route_conf *route = out->routing.route;
    struct routing_host host = {.remote = NULL};
    out->strategy = (struct strategy_pick){.tls = NULL};
    out->has_host = route != NULL && route->kind != ROUTE_LOCAL;
    out->host_mx = SLICE_EMPTY;
    out->host_remote = out->host_local = (struct netaddr){.family = 0};
    if (out->has_host) {
        host = first_host(out);
        run_strategies(m, &host);
        run_addresses(m);
        if (out->strategy.connection != NULL) {
            host.local = strategy_local(out->strategy.connection, host.remote);
        }
        out->host_mx = host.mx;
        out->host_remote = host.remote != NULL ? *host.remote : out->host_remote;
        out->host_local = host.local != NULL ? *host.local : out->host_local;
    }
    explain_rates(&out->rates, &m->context, &m->facts, &host, out->rcpt, &m->env);
}

/* --- the outcome -------------------------------------------------------------------------------
 */

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

static void refuse(struct explanation *out, const char *stage, enum reply reply, const char *reason)
{
    out->stage = stage;
    out->reply = reply;
    out->outcome = reply_row(reply)->code < 500 ? EXPLAIN_TEMPORARY : EXPLAIN_REFUSED;
    out->reason = reason;
}

static bool is_qualified(struct slice name)
{
    size_t dot = slice_find(name, '.');
    return dot > 0 && dot + 1 < name.len && name.ptr[0] != '[';
}

/* Whether the session comes as far as RCPT. */
static bool decide_session(struct making *m)
{
    struct explanation *out = m->out;
    uint64_t size_max = out->limits.size_bytes_max;
    bool no_helo = m->query->helo.len == 0;
    if (out->blocked) {
        refuse(out, "connect", REPLY_OVERLOAD,
               "the client is blocked: its connection is closed without a word");
        out->outcome = EXPLAIN_REFUSED;
    } else if (m->limits == EXPR_FAILED || m->stages[STAGE_GREETING] == EXPR_FAILED) {
        refuse(out, "connect", REPLY_OVERLOAD, "what the session starts with cannot be told");
    } else if (m->stages[STAGE_FQDN] == EXPR_FAILED || m->offers == EXPR_FAILED) {
        refuse(out, "EHLO", REPLY_LOOKUP_FAILED, "what EHLO depends on cannot be told");
    } else if (!no_helo && m->said[STAGE_FQDN] && !is_qualified(m->query->helo)) {
        refuse(out, "EHLO", REPLY_HELO_NOT_FQDN, NULL);
    } else if (m->stages[STAGE_SENDER] == EXPR_FAILED) {
        refuse(out, "MAIL", REPLY_LOOKUP_FAILED, "whether the sender is allowed cannot be told");
    } else if (!m->said[STAGE_SENDER]) {
        refuse(out, "MAIL", REPLY_SENDER_DENIED, NULL);
    } else if (m->stages[STAGE_REWRITE_SENDER] == EXPR_FAILED) {
        refuse(out, "MAIL", REPLY_LOOKUP_FAILED, "what the sender becomes cannot be told");
    } else if (size_max != 0 && m->query->size > size_max) {
        refuse(out, "MAIL", REPLY_TOO_BIG, NULL);
    } else if (m->stages[STAGE_REWRITE_RCPT] == EXPR_FAILED) {
        refuse(out, "RCPT", REPLY_LOOKUP_FAILED, "what the recipient becomes cannot be told");
    } else {
        return true;
    }
    return false;
}

/* A recipient whose domain is not served here. */
static enum reply relay(const struct making *m)
{
    return m->stages[STAGE_RELAYING] == EXPR_FAILED ? REPLY_LOOKUP_FAILED
           : !m->said[STAGE_RELAYING]               ? REPLY_RELAY_DENIED
           : m->out->routing.route == NULL          ? REPLY_LOOKUP_FAILED
                                                    : REPLY_OK;
}

static void decide(struct making *m)
{
    struct explanation *out = m->out;
    if (!decide_session(m)) {
        return;
    }
    enum reply reply = routing_reply(&out->routing);
    reply = reply == REPLY_RELAY_DENIED ? relay(m) : reply;
    if (reply == REPLY_OK) {
        decide_accepted(out);
        return;
    }
    refuse(out, "RCPT", reply, out->routing.problem);
    if (reply == REPLY_RELAY_DENIED && m->context.image->stages[STAGE_RELAYING] != NULL) {
        out->reason = "MtaStageRcpt.allowRelaying does not let this client relay";
    }
}

/* As smtp/client_limit.c does. */
static void limit_connections(struct explanation *out, const struct netaddr *client)
{
    const struct image *image = out->image;
    bool free = client->family != 0 &&
                (netaddr_is_loopback(client) ||
                 (out->listener != NULL && srv_proxy_trusts(image, out->listener, client)));
    out->client_connections_max = free ? 0 : image->client_connections_max;
    out->network_connections_max = free ? 0 : image->network_connections_max;
}

void explain(struct explanation *out, const struct explain_query *query,
             const struct routing_context *context)
{
    struct making m = {.out = out,
                       .query = query,
                       .context = *context,
                       .rcpt = {.address = query->rcpt},
                       .trace = {&m, note}};
    m.context.trace = &m.trace;
    m.env = (struct envelope){.sender = query->sender,
                              .mail.size = query->size,
                              .client = query->client,
                              .arrived_wall_ms = context->now_ms,
                              .rcpt_count = 1,
                              .rcpts = &m.rcpt};
    out->err = MX_OK;
    out->waits = false;
    out->image = context->image;
    out->stage = out->reason = NULL;
    out->reply = REPLY_OK;
    out->decision_count = out->step_count = 0;
    out->steps_cut = false;
    out->text_len = 0;
    out->paused = false;
    out->listener = find_listener(context->image, query->listener);
    out->blocked = image_blocks(context->image, &query->client, context->now_ms);
    m.facts = (struct stage_facts){.session = {.listener = out->listener,
                                               .client = query->client,
                                               .directory = context->directory},
                                   .helo = query->helo,
                                   .sender = query->sender,
                                   .env = NULL};
    if (out->listener != NULL) {
        m.facts.session.tls = out->listener->tls_implicit;
        m.facts.session.local = out->listener->binds[0];
    }
    limit_connections(out, &query->client);
    run_session(&m);
    run_routing(&m);
    if (out->routing.resolution.kind == RESOLVE_UNKNOWN_DOMAIN) {
        run_stage(&m, STAGE_RELAYING, "RCPT", "MtaStageRcpt");
    }
    m.facts.rcpt = out->rcpt;
    run_outbound(&m);
    out->verify =
        (struct explain_verify){.asks = routing_verifies(&out->routing), .known = VERIFY_LATER};
    decide(&m);
}
