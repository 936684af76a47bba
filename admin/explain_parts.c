#include "admin/explain_parts.h"

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
            set(value, "text", text(source));
            set(value, "value", text(step->value));
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
    set(branch, "branch", otherwise ? json_null() : number(end->part / 2));
    set(branch,
        end->decides ? "if"
        : otherwise  ? "else"
                     : "then",
        text(expr_part_text(program, end->part)));
    set(branch, "values", values_of(e, end));
    if (end->decides) {
        set(branch, "result", json_boolean(end->truthy));
    } else {
        set(branch, "result", text(end->value));
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
            return text(e->steps[i].value);
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
        set(object, "stage", json_string(decision->stage));
        set(object, "object", json_string(decision->object));
        set(object, "setting", json_string(decision->setting));
        set(object, "result", result_of(e, decision->program));
        set(object, "problem",
            decision->problem != NULL ? json_string(decision->problem) : json_null());
        set(object, "note",
            expr_changes(decision->program)
                ? json_string(
                      "explaining changes no key and no counter: counter_incr shows what it "
                      "would make")
                : json_null());
        set(object, "rule", explain_rule_json(e, decision->program));
        set(object, "cut", json_boolean(decision->cut));
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
    return e->image->client_connections_max > 0 ? e->image->client_connections_max : NO_LIMIT;
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
    return queue < e->image->queue_count ? e->image->queues[queue].workers : NO_LIMIT;
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
            set(object, limits[i].name, number(value));
        }
    }
    return object;
}

/* --- rates and quotas --------------------------------------------------------------------------
 */

static json_t *rate_json(const char *object, struct slice name, uint64_t count, uint64_t period_ms)
{
    return json_pack("{s:s,s:o,s:I,s:I}", "object", object, "name", text(name), "count",
                     (json_int_t)count, "period", (json_int_t)period_ms);
}

static void add_inbound(json_t *rows, const struct explanation *e)
{
    const struct inbound_throttles *all = &e->image->throttles;
    for (uint32_t i = 0; i < all->count; i++) {
        const struct inbound_throttle *t = &all->items[i];
        bool unknown = (e->rates.inbound_unknown >> i & 1) != 0;
        if (unknown || (e->rates.inbound >> i & 1) != 0) {
            json_t *row = rate_json("MtaInboundThrottle", t->name, t->count, t->period_ms);
            if (unknown) {
                set(row, "unknown", json_true());
            }
            json_array_append_new(rows, row);
        }
    }
}

static void add_quotas(json_t *rows, const struct explanation *e)
{
    const struct limits_conf *traffic = &e->image->traffic;
    for (uint32_t i = 0; i < traffic->quota_count; i++) {
        const struct quota_conf *q = &traffic->quotas[i];
        if ((e->rates.quotas >> i & 1) != 0) {
            json_array_append_new(rows,
                                  json_pack("{s:s,s:o,s:I,s:I}", "object", "MtaQueueQuota", "name",
                                            text(q->name), "messages", (json_int_t)q->messages_max,
                                            "size", (json_int_t)q->bytes_max));
        }
    }
}

static void add_outbound(json_t *rows, const struct explanation *e)
{
    const struct limits_conf *traffic = &e->image->traffic;
    bool leaves = e->routing.route != NULL && e->routing.route->kind != ROUTE_LOCAL;
    for (uint32_t i = 0; leaves && i < traffic->throttle_count; i++) {
        const struct throttle_conf *t = &traffic->throttles[i];
        if ((e->rates.outbound >> i & 1) != 0) {
            json_array_append_new(
                rows, rate_json("MtaOutboundThrottle", t->name, t->count, t->period_ms));
        }
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
