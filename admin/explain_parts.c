#include "admin/explain_parts.h"

#include "admin/json_text.h"

json_t *explain_text(struct slice text)
{
    return json_text(text);
}

json_t *explain_number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

json_t *explain_netaddr(const struct netaddr *addr)
{
    char buf[NETADDR_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    if (addr->family == 0) {
        return json_null();
    }
    put_netaddr(&w, addr);
    return explain_text(writer_slice(&w));
}

void explain_set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

/* --- rules -------------------------------------------------------------------------------------
 */

static struct slice source_of(const struct explain_step *step)
{
    struct slice part = expr_part_text(step->program, step->part);
    return slice_first(slice_from(part, step->start), step->end - step->start);
}

/* Of the same part of the same program. */
static bool is_beside(const struct explain_step *a, const struct explain_step *b)
{
    return a->program == b->program && a->part == b->part;
}

/* The values of one part in the order in which they were worked out, each text once. */
static json_t *values_of(const struct explanation *e, const struct explain_step *end)
{
    json_t *values = json_array();
    for (uint32_t i = 0; i < e->step_count; i++) {
        const struct explain_step *step = &e->steps[i];
        struct slice source = source_of(step);
        bool said = !is_beside(step, end) || step->decides || step->result ||
                    slice_equal(source, step->value); /* a literal */
        for (uint32_t k = 0; k < i && !said; k++) {
            said = is_beside(&e->steps[k], end) && slice_equal(source_of(&e->steps[k]), source) &&
                   slice_equal(e->steps[k].value, step->value);
        }
        if (!said) {
            json_t *value = json_object();
            explain_set(value, "text", explain_text(source));
            explain_set(value, "value", explain_text(step->value));
            json_array_append_new(values, value);
        }
    }
    return values;
}

static void add_branch(json_t *rule, const struct explanation *e, const struct explain_step *end)
{
    const struct expr_program *program = end->program;
    bool otherwise = end->part + 1 == expr_part_count(program);
    json_t *branch = json_object();
    explain_set(branch, "branch", otherwise ? json_null() : explain_number(end->part / 2));
    explain_set(branch,
                end->decides ? "if"
                : otherwise  ? "else"
                             : "then",
                explain_text(expr_part_text(program, end->part)));
    explain_set(branch, "values", values_of(e, end));
    if (end->decides) {
        explain_set(branch, "result", json_boolean(end->truthy));
    } else {
        explain_set(branch, "result", explain_text(end->value));
    }
    json_array_append_new(rule, branch);
}

json_t *explain_rule_json(const struct explanation *e, const struct expr_program *program)
{
    json_t *rule = json_array();
    for (uint32_t i = 0; i < e->step_count; i++) {
        const struct explain_step *step = &e->steps[i];
        if (step->program == program && (step->decides || step->result)) {
            add_branch(rule, e, step);
        }
    }
    return rule;
}

/* What a program yields, where it could be evaluated and its steps are all there. */
static json_t *result_of(const struct explanation *e, const struct expr_program *program)
{
    for (uint32_t i = 0; i < e->step_count; i++) {
        if (e->steps[i].program == program && e->steps[i].result) {
            return explain_text(e->steps[i].value);
        }
    }
    return json_null();
}

json_t *explain_decisions_json(const struct explanation *e)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < e->decision_count; i++) {
        const struct explain_decision *decision = &e->decisions[i];
        json_t *object = json_object();
        explain_set(object, "stage", json_string(decision->stage));
        explain_set(object, "object", json_string(decision->object));
        explain_set(object, "setting", json_string(decision->setting));
        explain_set(object, "result", result_of(e, decision->program));
        explain_set(object, "problem",
                    decision->problem != NULL ? json_string(decision->problem) : json_null());
        explain_set(
            object, "note",
            expr_changes(decision->program)
                ? json_string(
                      "explaining changes no key and no counter: counter_incr shows what it "
                      "would make")
                : json_null());
        explain_set(object, "rule", explain_rule_json(e, decision->program));
        explain_set(object, "cut", json_boolean(decision->cut));
        json_array_append_new(list, object);
    }
    return list;
}

/* --- limits ------------------------------------------------------------------------------------
 */

/* One limit: its number; NO_LIMIT when there is none. */
#define NO_LIMIT UINT64_MAX
#define SESSION_LIMIT(member)                                   \
    static uint64_t limit_##member(const struct explanation *e) \
    {                                                           \
        return e->limits.member;                                \
    }
SESSION_LIMIT(size_bytes_max)
SESSION_LIMIT(rcpts_max)
SESSION_LIMIT(messages_max)
SESSION_LIMIT(received_max)
SESSION_LIMIT(commands_max)
SESSION_LIMIT(errors_max)
SESSION_LIMIT(line_bytes_max)
SESSION_LIMIT(idle_ms)
SESSION_LIMIT(data_block_ms)
SESSION_LIMIT(session_ms)

static uint64_t limit_connections(const struct explanation *e)
{
    return e->image->connections_max;
}

static uint64_t limit_client(const struct explanation *e)
{
    return e->client_connections_max > 0 ? e->client_connections_max : NO_LIMIT;
}

static uint64_t limit_network(const struct explanation *e)
{
    return e->network_connections_max > 0 ? e->network_connections_max : NO_LIMIT;
}

static uint64_t limit_listener(const struct explanation *e)
{
    return e->listener != NULL ? e->listener->connections_max : NO_LIMIT;
}

static bool is_sent(const struct explanation *e)
{
    return e->routing.route != NULL && e->routing.route->kind != ROUTE_LOCAL;
}

static uint64_t limit_hop(const struct explanation *e)
{
    return is_sent(e) && e->hop.connections_max > 0 ? e->hop.connections_max : NO_LIMIT;
}

static uint64_t limit_slots_lent(const struct explanation *e)
{
    return is_sent(e) && e->hop.known ? e->hop.slots_lent : NO_LIMIT;
}

static uint64_t limit_slots_used(const struct explanation *e)
{
    return is_sent(e) && e->hop.known ? e->hop.slots_used : NO_LIMIT;
}

static uint64_t limit_workers(const struct explanation *e)
{
    uint32_t queue = e->schedule.queue;
    return e->routing.schedule != NULL && queue < e->image->queue_count
               ? e->image->queues[queue].workers
               : NO_LIMIT;
}

static uint64_t limit_workers_used(const struct explanation *e)
{
    return e->schedule.queue < e->image->queue_count && e->hop.known ? e->hop.queue_used : NO_LIMIT;
}

static const struct {
    const char *name;
    uint64_t (*value)(const struct explanation *e);
} limits[] = {
    /* of the session */
    {"maxMessageSize", limit_size_bytes_max},
    {"maxRecipients", limit_rcpts_max},
    {"maxMessages", limit_messages_max},
    {"maxReceivedHeaders", limit_received_max},
    {"maxCommands", limit_commands_max},
    {"maxErrors", limit_errors_max},
    {"maxLineLength", limit_line_bytes_max},
    {"timeout", limit_idle_ms},
    {"dataTimeout", limit_data_block_ms},
    {"maxDuration", limit_session_ms},
    {"maxConnections", limit_connections},
    {"maxConnectionsPerClient", limit_client},
    {"maxConnectionsPerNetwork", limit_network},
    {"listenerConnections", limit_listener},
    /* of the delivery; *Here: of the core that was asked */
    {"queueWorkers", limit_workers},
    {"queueWorkersUsedHere", limit_workers_used},
    {"hopConnections", limit_hop},
    {"hopConnectionsLentHere", limit_slots_lent},
    {"hopConnectionsUsedHere", limit_slots_used},
};

json_t *explain_limits_json(const struct explanation *e)
{
    json_t *object = json_object();
    for (size_t i = 0; i < mx_countof(limits); i++) {
        uint64_t value = limits[i].value(e);
        if (value != NO_LIMIT) {
            explain_set(object, limits[i].name, explain_number(value));
        }
    }
    return object;
}

/* --- rates and quotas --------------------------------------------------------------------------
 */

static json_t *rate_json(const char *object, struct slice name, uint64_t count, uint64_t period_ms)
{
    return json_pack("{s:s,s:o,s:I,s:I}", "object", object, "name", explain_text(name), "count",
                     (json_int_t)count, "period", (json_int_t)period_ms);
}

/* One whose condition holds, or could not be told. Takes the row. */
static void add_rate(json_t *rows, json_t *row, uint32_t i, uint64_t holds, uint64_t unknown)
{
    if ((unknown >> i & 1) != 0) {
        explain_set(row, "unknown", json_true());
    }
    if (((holds | unknown) >> i & 1) != 0) {
        json_array_append(rows, row);
    }
    json_decref(row);
}

static void add_inbound(json_t *rows, const struct explanation *e)
{
    const struct inbound_throttles *all = &e->image->throttles;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct inbound_throttle *t = &all->items[i];
        add_rate(rows, rate_json("MtaInboundThrottle", t->name, t->count, t->period_ms), i,
                 e->rates.inbound, e->rates.inbound_unknown);
    }
}

static void add_quotas(json_t *rows, const struct explanation *e)
{
    const struct limits_conf *traffic = &e->image->traffic;
    for (uint32_t i = 0; i < traffic->quota_count; i++) {
        const struct quota_conf *q = &traffic->quotas[i];
        json_t *row =
            json_pack("{s:s,s:o,s:I,s:I}", "object", "MtaQueueQuota", "name", explain_text(q->name),
                      "messages", (json_int_t)q->messages_max, "size", (json_int_t)q->bytes_max);
        add_rate(rows, row, i, e->rates.quotas, e->rates.quotas_unknown);
    }
}

static void add_outbound(json_t *rows, const struct explanation *e)
{
    const struct limits_conf *traffic = &e->image->traffic;
    for (uint32_t i = 0; is_sent(e) && i < traffic->throttle_count; i++) {
        const struct throttle_conf *t = &traffic->throttles[i];
        add_rate(rows, rate_json("MtaOutboundThrottle", t->name, t->count, t->period_ms), i,
                 e->rates.outbound, e->rates.outbound_unknown);
    }
}

json_t *explain_rates_json(const struct explanation *e)
{
    json_t *rows = json_array();
    add_inbound(rows, e);
    add_quotas(rows, e);
    add_outbound(rows, e);
    return rows;
}
