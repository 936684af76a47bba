#include "admin/explain_json.h"

#include "admin/explain_parts.h"
#include "admin/object_id.h"

#include <stdio.h>

static json_t *text(struct slice s)
{
    json_t *made = json_stringn((const char *)s.ptr, s.len);
    return made != NULL ? made : json_string("(not UTF-8)");
}

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

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
    set(step, "step", json_string(name));
    set(step, "value", text(value));
    set(step, "result", json_string(result));
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
    set(object, "result", json_string(kinds[r->kind]));
    if (r->kind == RESOLVE_LOCAL) {
        char id[OBJECT_ID_TEXT_MAX];
        struct writer w = writer_init(id, sizeof id);
        put_object_id(&w, r->object_id);
        set(object, "kind", json_string(kind_name(r)));
        set(object, "mailbox", text(r->mailbox));
        set(object, "objectId", text(writer_slice(&w)));
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
    set(object, "name", text(route->name));
    set(object, "type", json_string(kinds[route->kind]));
    return object;
}

/* In the order in which they are tried. */
static json_t *addresses_of(const struct explanation *e)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < e->hop.address_count; i++) {
        const struct explain_address *address = &e->hop.addresses[i];
        char buf[NETADDR_TEXT_MAX + 8];
        struct writer w = writer_init(buf, sizeof buf);
        put_netaddr_port(&w, &address->addr);
        json_t *object = json_object();
        set(object, "address", text(writer_slice(&w)));
        set(object, "host", address->host[0] != '\0' ? json_string(address->host) : json_null());
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *connection_of(const struct connection_strategy *strategy)
{
    if (strategy == NULL) {
        return json_null();
    }
    json_t *object = json_object(), *sources = json_array();
    for (uint32_t i = 0; i < strategy->source_count; i++) {
        char buf[NETADDR_TEXT_MAX];
        struct writer w = writer_init(buf, sizeof buf);
        put_netaddr(&w, &strategy->sources[i].addr);
        json_array_append_new(sources, text(writer_slice(&w)));
    }
    set(object, "name", text(strategy->name));
    set(object, "ehloHostname",
        strategy->ehlo_name.len > 0 ? text(strategy->ehlo_name) : json_null());
    set(object, "sourceIps", sources);
    set(object, "connectTimeout", number(strategy->times.connect));
    set(object, "dataTimeout", number(strategy->times.data));
    return object;
}

static json_t *tls_of(const struct tls_strategy *strategy)
{
    static const char *const starts[] = {[START_TLS_OPTIONAL] = "optional",
                                         [START_TLS_REQUIRE] = "require",
                                         [START_TLS_DISABLE] = "disable"};
    if (strategy == NULL) {
        return json_null();
    }
    json_t *object = json_object();
    set(object, "name", text(strategy->name));
    set(object, "startTls", json_string(starts[strategy->start_tls]));
    set(object, "allowInvalidCerts", json_boolean(strategy->allow_invalid_certs));
    set(object, "tlsTimeout", number(strategy->handshake_ms));
    return object;
}

static json_t *next_hop(const struct explanation *e, struct slice rcpt)
{
    const struct route_conf *route = e->routing.route;
    json_t *hop = json_object();
    if (route->kind == ROUTE_LOCAL) {
        set(hop, "mailbox", text(e->routing.resolution.mailbox));
    } else if (route->kind == ROUTE_MX) {
        set(hop, "mxOf", text(part_of(rcpt, true)));
    } else {
        set(hop, "address", text(route->address));
        set(hop, "port", number(route->port));
        set(hop, "protocol", json_string(route->lmtp ? "lmtp" : "smtp"));
        set(hop, "tls", json_string(route->implicit_tls ? "implicit" : "STARTTLS when offered"));
        set(hop, "allowInvalidCerts", json_boolean(route->allow_invalid_certs));
    }
    if (route->kind != ROUTE_LOCAL) {
        set(hop, "addresses", addresses_of(e));
        set(hop, "connection", connection_of(e->strategy.connection));
        set(hop, "tlsStrategy", tls_of(e->strategy.tls));
        set(hop, "problem",
            e->hop.down                    ? json_string(e->hop.problem)
            : e->hop.names_problem != NULL ? json_string(e->hop.names_problem)
                                           : json_null());
    }
    if (e->hop.known) {
        set(hop, "down", json_boolean(e->hop.down));
        set(hop, "failures", number(e->hop.failures));
        set(hop, "connections", number(e->hop.connections));
        set(hop, "maxConnections", number(e->hop.connections_max));
        set(hop, "waiting", number(e->hop.waiting));
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
    set(object, "otherwise", json_string(dir_verify_name(e->routing.resolution.domain->verify)));
    set(object, "known", knows ? json_string(known[e->verify.known]) : json_null());
    set(object, "for", knows ? number(e->verify.left_ms) : json_null());
    return object;
}

static json_t *times(const uint64_t *ms, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++) {
        json_array_append_new(list, number(ms[i]));
    }
    return list;
}

static json_t *schedule_of(const struct image *image, const struct schedule *schedule)
{
    json_t *object = json_object();
    set(object, "name", text(schedule->name));
    set(object, "queue",
        text(schedule->queue < image->queue_count ? image->queues[schedule->queue].name
                                                  : SLICE_EMPTY));
    set(object, "retry", times(schedule->retry_ms, schedule->retry_count));
    set(object, "notify", times(schedule->notify_ms, schedule->notify_count));
    set(object, "expiry", schedule->attempts_max > 0 ? json_null() : number(schedule->expire_ms));
    set(object, "maxAttempts",
        schedule->attempts_max > 0 ? number(schedule->attempts_max) : json_null());
    return object;
}

/* What RCPT answers, in the words of the session. */
static json_t *reply_json(enum reply reply)
{
    const struct reply_row *row = reply_row(reply == REPLY_OK ? REPLY_RCPT_OK : reply);
    json_t *object = json_object();
    set(object, "code", number(row->code));
    set(object, "enhanced", json_string(row->enhanced));
    set(object, "text", json_string(row->text));
    return object;
}

static json_t *rewritten(struct slice now, struct slice before)
{
    return slice_equal(now, before) ? json_null() : text(now);
}

json_t *explain_json(const struct explanation *e, const struct explain_query *query)
{
    json_t *object = json_object();
    set(object, "recipient", text(query->rcpt));
    set(object, "sender", text(query->sender));
    set(object, "rewrittenRecipient", rewritten(e->rcpt, query->rcpt));
    set(object, "rewrittenSender", rewritten(e->sender, query->sender));
    set(object, "generation", number(e->image->generation));
    set(object, "outcome", json_string(explain_outcome_name(e->outcome)));
    set(object, "reason", e->reason != NULL ? json_string(e->reason) : json_null());
    set(object, "stage", e->stage != NULL ? json_string(e->stage) : json_null());
    set(object, "reply", e->blocked ? json_null() : reply_json(e->reply));
    set(object, "resolver", resolver(&e->routing.resolution, e->rcpt));
    set(object, "resolution", resolution(&e->routing.resolution));
    set(object, "rule", explain_rule_json(e, e->image->route_program));
    set(object, "ruleCut", json_boolean(e->steps_cut));
    set(object, "route", route_of(e->routing.route));
    set(object, "nextHop", e->routing.route != NULL ? next_hop(e, e->rcpt) : json_null());
    set(object, "verification", verification_of(e));
    set(object, "schedule", schedule_of(e->image, &e->schedule));
    set(object, "paused", json_boolean(e->paused));
    set(object, "decisions", explain_decisions_json(e));
    set(object, "limits", explain_limits_json(e));
    set(object, "rates", explain_rates_json(e));
    return object;
}
