#include "admin/explain_json.h"

#include "admin/explain_parts.h"
#include "admin/object_id.h"

#include <stdio.h>

const char *explain_outcome_name(enum explain_outcome outcome)
{
    static const char *const names[] = {"delivered", "relayed", "refused", "temporary"};
    return names[outcome];
}

/* --- resolver ----------------------------------------------------------------------------------
 */

static void add_step(json_t *steps, const char *name, struct slice value, const char *result)
{
    json_t *step = json_object();
    explain_set(step, "step", json_string(name));
    explain_set(step, "value", explain_text(value));
    explain_set(step, "result", json_string(result));
    json_array_append_new(steps, step);
}

static const char *kind_name(const struct resolution *r)
{
    static const char *const names[] = {[DIR_ACCOUNT] = "account",
                                        [DIR_ALIAS] = "alias",
                                        [DIR_GROUP] = "group",
                                        [DIR_LIST] = "list"};
    return names[r->found];
}

static struct slice part_of(struct slice address, bool domain)
{
    size_t at = address.len;
    while (at > 0 && address.ptr[at - 1] != '@') {
        at--;
    }
    return domain ? slice_from(address, at) : slice_first(address, at > 0 ? at - 1 : address.len);
}

static void add_found(json_t *steps, const struct resolution *r, struct slice local)
{
    char found[64];
    (void)snprintf(found, sizeof found, "%s found", kind_name(r));
    if (r->via_tag) {
        add_step(steps, "address", local, "not here");
        add_step(steps, "without tag", slice_first(local, slice_find(local, '+')), found);
    } else if (r->via_catch_all) {
        add_step(steps, "address", local, "not here");
        add_step(steps, "catch-all", r->domain != NULL ? r->domain->catch_all : SLICE_EMPTY, found);
    } else if (r->is_postmaster) {
        add_step(steps, "address", local, "not here");
        add_step(steps, "postmaster", r->mailbox, found);
    } else {
        add_step(steps, "address", local, found);
    }
}

static json_t *resolver(const struct resolution *r, struct slice rcpt)
{
    json_t *steps = json_array();
    struct slice local = part_of(rcpt, false);
    if (r->kind == RESOLVE_UNKNOWN_DOMAIN) {
        add_step(steps, "domain", part_of(rcpt, true), "not served here");
        return steps;
    }
    if (r->domain != NULL) {
        add_step(steps, "domain", part_of(rcpt, true), "local");
    }
    if (r->kind == RESOLVE_LOCAL) {
        add_found(steps, r, local);
    } else {
        add_step(steps, "address", local, "not here");
        add_step(steps, "allowRelaying",
                 r->domain != NULL && r->domain->allow_relaying ? SLICE_LITERAL("true")
                                                                : SLICE_LITERAL("false"),
                 r->kind == RESOLVE_UNKNOWN_USER ? "unknown recipient"
                 : r->is_postmaster              ? "postmaster: by the route"
                                                 : "by the route");
    }
    return steps;
}

static json_t *resolution(const struct resolution *r)
{
    static const char *const kinds[] = {[RESOLVE_LOCAL] = "local",
                                        [RESOLVE_RELAY] = "relay",
                                        [RESOLVE_UNKNOWN_USER] = "unknownUser",
                                        [RESOLVE_UNKNOWN_DOMAIN] = "unknownDomain"};
    json_t *object = json_object();
    explain_set(object, "result", json_string(kinds[r->kind]));
    if (r->kind == RESOLVE_LOCAL) {
        char id[OBJECT_ID_TEXT_MAX];
        struct writer w = writer_init(id, sizeof id);
        put_object_id(&w, r->object_id);
        explain_set(object, "kind", json_string(kind_name(r)));
        explain_set(object, "mailbox", explain_text(r->mailbox));
        explain_set(object, "objectId", explain_text(writer_slice(&w)));
    }
    return object;
}

/* --- where it goes -----------------------------------------------------------------------------
 */

static json_t *route_of(const struct route_conf *route)
{
    static const char *const kinds[] = {
        [ROUTE_LOCAL] = "Local", [ROUTE_MX] = "Mx", [ROUTE_RELAY] = "Relay"};
    json_t *object = json_object();
    if (route == NULL) {
        json_decref(object);
        return json_null();
    }
    explain_set(object, "name", explain_text(route->name));
    explain_set(object, "type", json_string(kinds[route->kind]));
    return object;
}

/* What its programs were told of it; null: they saw an empty text. */
static json_t *host_of(const struct explanation *e)
{
    json_t *object = json_object();
    explain_set(object, "mx", e->host_mx.len > 0 ? explain_text(e->host_mx) : json_null());
    explain_set(object, "remoteIp", explain_netaddr(&e->host_remote));
    explain_set(object, "localIp", explain_netaddr(&e->host_local));
    return object;
}

static json_t *next_hop(const struct explanation *e, struct slice rcpt)
{
    const struct route_conf *route = e->routing.route;
    json_t *hop = json_object();
    if (route->kind == ROUTE_LOCAL) {
        explain_set(hop, "mailbox", explain_text(e->routing.resolution.mailbox));
    } else if (route->kind == ROUTE_MX) {
        explain_set(hop, "mxOf", explain_text(part_of(rcpt, true)));
    } else {
        explain_set(hop, "address", explain_text(route->address));
        explain_set(hop, "port", explain_number(route->port));
        explain_set(hop, "protocol", json_string(route->lmtp ? "lmtp" : "smtp"));
        explain_set(hop, "tls",
                    json_string(route->implicit_tls ? "implicit" : "STARTTLS when offered"));
        explain_set(hop, "allowInvalidCerts", json_boolean(route->allow_invalid_certs));
    }
    if (route->kind != ROUTE_LOCAL) {
        explain_set(hop, "addresses", explain_addresses_json(e));
        explain_set(hop, "assumedHost", host_of(e));
        explain_set(hop, "connection", explain_connection_json(e->strategy.connection));
        explain_set(hop, "tlsStrategy", explain_tls_json(e->strategy.tls));
        explain_set(hop, "problem",
                    e->hop.down                    ? json_string(e->hop.problem)
                    : e->hop.names_problem != NULL ? json_string(e->hop.names_problem)
                                                   : json_null());
    }
    if (e->hop.known) {
        explain_set(hop, "down", json_boolean(e->hop.down));
        explain_set(hop, "failures", explain_number(e->hop.failures));
        explain_set(hop, "connections", explain_number(e->hop.connections));
        explain_set(hop, "maxConnections", explain_number(e->hop.connections_max));
        explain_set(hop, "waiting", explain_number(e->hop.waiting));
    }
    return hop;
}

static json_t *verification_of(const struct explanation *e)
{
    static const char *const known[] = {
        [VERIFY_ACCEPTED] = "accepted", [VERIFY_REFUSED] = "refused"};
    if (!e->verify.asks) {
        return json_null();
    }
    bool knows = e->verify.known != VERIFY_LATER;
    json_t *object = json_object();
    explain_set(object, "otherwise",
                json_string(dir_verify_name(e->routing.resolution.domain->verify)));
    explain_set(object, "known", knows ? json_string(known[e->verify.known]) : json_null());
    explain_set(object, "for", knows ? explain_number(e->verify.left_ms) : json_null());
    return object;
}

static json_t *times(const uint64_t *ms, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, explain_number(ms[i]));
    }
    return list;
}

static json_t *schedule_of(const struct image *image, const struct schedule *schedule)
{
    json_t *object = json_object();
    explain_set(object, "name", explain_text(schedule->name));
    explain_set(object, "queue",
                explain_text(schedule->queue < image->queue_count
                                 ? image->queues[schedule->queue].name
                                 : SLICE_EMPTY));
    explain_set(object, "retry", times(schedule->retry_ms, schedule->retry_count));
    explain_set(object, "notify", times(schedule->notify_ms, schedule->notify_count));
    explain_set(object, "expiry",
                schedule->attempts_max > 0 ? json_null() : explain_number(schedule->expire_ms));
    explain_set(object, "maxAttempts",
                schedule->attempts_max > 0 ? explain_number(schedule->attempts_max) : json_null());
    return object;
}

/* What RCPT answers, in the words of the session. */
static json_t *reply_json(enum reply reply)
{
    const struct reply_row *row = reply_row(reply == REPLY_OK ? REPLY_RCPT_OK : reply);
    json_t *object = json_object();
    explain_set(object, "code", explain_number(row->code));
    explain_set(object, "enhanced", json_string(row->enhanced));
    explain_set(object, "text", json_string(row->text));
    return object;
}

static json_t *rewritten(struct slice now, struct slice before)
{
    return slice_equal(now, before) ? json_null() : explain_text(now);
}

json_t *explain_json(const struct explanation *e, const struct explain_query *query)
{
    json_t *object = json_object();
    explain_set(object, "recipient", explain_text(query->rcpt));
    explain_set(object, "sender", explain_text(query->sender));
    explain_set(object, "rewrittenRecipient", rewritten(e->rcpt, query->rcpt));
    explain_set(object, "rewrittenSender", rewritten(e->sender, query->sender));
    explain_set(object, "generation", explain_number(e->image->generation));
    explain_set(object, "outcome", json_string(explain_outcome_name(e->outcome)));
    explain_set(object, "reason", e->reason != NULL ? json_string(e->reason) : json_null());
    explain_set(object, "stage", e->stage != NULL ? json_string(e->stage) : json_null());
    explain_set(object, "reply", e->blocked ? json_null() : reply_json(e->reply));
    explain_set(object, "resolver", resolver(&e->routing.resolution, e->rcpt));
    explain_set(object, "resolution", resolution(&e->routing.resolution));
    explain_set(object, "rule", explain_rule_json(e, e->image->route_program));
    explain_set(object, "ruleCut", json_boolean(e->steps_cut));
    explain_set(object, "route", route_of(e->routing.route));
    explain_set(object, "nextHop", e->routing.route != NULL ? next_hop(e, e->rcpt) : json_null());
    explain_set(object, "verification", verification_of(e));
    explain_set(object, "schedule",
                e->routing.schedule != NULL ? schedule_of(e->image, &e->schedule) : json_null());
    explain_set(object, "paused", json_boolean(e->paused));
    explain_set(object, "decisions", explain_decisions_json(e));
    explain_set(object, "limits", explain_limits_json(e));
    explain_set(object, "rates", explain_rates_json(e));
    return object;
}
