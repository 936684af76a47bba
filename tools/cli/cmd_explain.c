/* explain: what would become of a recipient, and why. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/table.h"
#include "tools/cli/value.h"

#include <stdlib.h>
#include <string.h>

/* --- asking ------------------------------------------------------------------------------------
 */

/* A new reference; NULL after a failure. */
static json_t *question(const struct cli *cli)
{
    static const struct {
        enum option_id option;
        const char *member;
    } texts[] = {
        {OPT_FROM, "sender"}, {OPT_IP, "ip"}, {OPT_LISTENER, "listener"}, {OPT_HELO, "helo"}};
    json_t *asked = need(json_pack("{s:s}", "recipient", cli->args->plain.items[0]));
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *value = argument(cli->args, texts[i].option);
        if (value != NULL) {
            json_object_set_new(asked, texts[i].member, need(json_string(value)));
        }
    }
    const char *size = argument(cli->args, OPT_SIZE);
    if (size != NULL) {
        char *end;
        long long bytes = strtoll(size, &end, 10);
        if (*size == '\0' || *end != '\0' || bytes < 0) {
            json_decref(asked);
            (void)fail("--size: '%s' is not a number of bytes", size);
            return NULL;
        }
        json_object_set_new(asked, "size", need(json_integer(bytes)));
    }
    return asked;
}

/* --- showing -----------------------------------------------------------------------------------
 */

static const char *text(const json_t *object, const char *name)
{
    const char *value = member_text(object, name);
    return value != NULL ? value : "";
}

static long long whole(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}

static void put_heading(struct buf *out, bool color, const char *name)
{
    buf_add(out, "\n");
    buf_styled(out, color, STYLE_BOLD, name);
    buf_add(out, "\n");
}

static void put_verdict(struct buf *out, const json_t *answer, bool color)
{
    const json_t *reply = json_object_get(answer, "reply");
    const char *outcome = text(answer, "outcome");
    buf_format(out, "%s: ", text(answer, "recipient"));
    buf_styled(out, color,
               strcmp(outcome, "refused") == 0     ? STYLE_RED
               : strcmp(outcome, "temporary") == 0 ? STYLE_YELLOW
                                                   : STYLE_GREEN,
               outcome);
    buf_add(out, "\n");
    if (json_is_object(reply)) {
        const char *stage = member_text(answer, "stage");
        buf_format(out, "%s answers %lld %s %s\n", stage != NULL ? stage : "RCPT",
                   whole(reply, "code"), text(reply, "enhanced"), text(reply, "text"));
    }
    if (text(answer, "reason")[0] != '\0') {
        buf_format(out, "%s\n", text(answer, "reason"));
    }
    buf_format(out, "configuration %lld\n", whole(answer, "generation"));
}

static void put_resolver(struct buf *out, const json_t *answer, bool color)
{
    struct table table = {.columns = 3};
    size_t i;
    json_t *step;
    table_cell(&table, "Step");
    table_cell(&table, "Value");
    table_cell(&table, "Result");
    json_array_foreach(json_object_get(answer, "resolver"), i, step)
    {
        table_cell(&table, text(step, "step"));
        table_cell(&table, text(step, "value"));
        table_cell(&table, text(step, "result"));
    }
    put_heading(out, color, "Resolver");
    table_put(out, &table, 2, color);
    table_free(&table);
    const json_t *resolution = json_object_get(answer, "resolution");
    if (member_text(resolution, "mailbox") != NULL) {
        buf_format(out, "  %s %s (id %s)\n", text(resolution, "kind"), text(resolution, "mailbox"),
                   text(resolution, "objectId"));
    }
}

static void put_branch(struct buf *out, const json_t *branch)
{
    static const char *const words[] = {"if", "then", "else"};
    size_t i;
    json_t *value;
    for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
        const char *source = member_text(branch, words[w]);
        if (source == NULL) {
            continue;
        }
        if (json_is_integer(json_object_get(branch, "branch"))) {
            buf_format(out, "  %lld %s %s", whole(branch, "branch"), words[w], source);
        } else {
            buf_format(out, "  %s %s", words[w], source);
        }
    }
    const json_t *result = json_object_get(branch, "result");
    buf_format(out, "  ->  %s\n",
               json_is_string(result) ? json_string_value(result)
               : json_is_true(result) ? "true"
                                      : "false");
    json_array_foreach(json_object_get(branch, "values"), i, value)
    {
        buf_format(out, "      %s = %s\n", text(value, "text"), text(value, "value"));
    }
}

static void put_rule(struct buf *out, const json_t *answer, bool color)
{
    size_t i;
    json_t *branch;
    put_heading(out, color, "Rule");
    json_array_foreach(json_object_get(answer, "rule"), i, branch)
    {
        put_branch(out, branch);
    }
    if (json_is_true(json_object_get(answer, "ruleCut"))) {
        buf_add(out, "  (further values are left out)\n");
    }
}

static void put_note(struct buf *out, const json_t *decision)
{
    const char *note = member_text(decision, "note");
    if (note != NULL) {
        buf_format(out, "    note: %s\n", note);
    }
}

/* What else was decided by an expression. */
static void put_decisions(struct buf *out, const json_t *answer, bool color)
{
    size_t i, k;
    json_t *decision, *branch;
    bool first = true;
    json_array_foreach(json_object_get(answer, "decisions"), i, decision)
    {
        const char *result = member_text(decision, "result");
        const char *problem = member_text(decision, "problem");
        if (strcmp(text(decision, "setting"), "route") == 0) {
            put_note(out, decision);
            continue; /* said before */
        }
        if (first) {
            put_heading(out, color, "Decisions");
            first = false;
        }
        buf_format(out, "  %s %s.%s: %s\n", text(decision, "stage"), text(decision, "object"),
                   text(decision, "setting"),
                   problem != NULL  ? problem
                   : result != NULL ? result
                                    : "(left out)");
        json_array_foreach(json_object_get(decision, "rule"), k, branch)
        {
            buf_add(out, "  ");
            put_branch(out, branch);
        }
        put_note(out, decision);
    }
}

static void put_scalar(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value));
    } else {
        put_json(out, value);
    }
}

/* "name quick, connectTimeout 5000": one line for what an object has. */
static void put_inside(struct buf *out, const json_t *object)
{
    const char *name, *between = "";
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!json_is_null(value)) {
            buf_format(out, "%s%s ", between, name);
            put_scalar(out, value);
            between = ", ";
        }
    }
}

static void put_members(struct buf *out, const json_t *object)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (json_is_null(value) || strcmp(name, "addresses") == 0) {
            continue; /* addresses have a table */
        }
        buf_format(out, "  %s ", name);
        if (json_is_object(value)) {
            put_inside(out, value);
        } else {
            put_scalar(out, value);
        }
        buf_add(out, "\n");
    }
}

static void put_throttles(struct table *table, const json_t *names)
{
    struct buf all = {0};
    size_t i;
    json_t *name;
    json_array_foreach(names, i, name)
    {
        buf_format(&all, "%s%s", i > 0 ? ", " : "", json_string_value(name));
    }
    table_cell(table, all.len > 0 ? all.at : "");
    buf_free(&all);
}

/* Of its MX record; hosts that share it are tried in any order. */
static void put_preference(struct table *table, const json_t *address)
{
    const json_t *preference = json_object_get(address, "preference");
    struct buf cell = {0};
    if (json_is_integer(preference)) {
        buf_format(&cell, "%lld%s", (long long)json_integer_value(preference),
                   json_is_true(json_object_get(address, "orderByChance")) ? ", any order" : "");
    }
    table_cell(table, cell.len > 0 ? cell.at : "");
    buf_free(&cell);
}

/* The hosts that are tried, in their order. */
static void put_addresses(struct buf *out, const json_t *addresses, bool color)
{
    static const char *const columns[] = {"address", "host", "connection", "tlsStrategy"};
    struct table table = {.columns = 6};
    size_t i, k;
    json_t *address;
    if (json_array_size(addresses) == 0) {
        return;
    }
    for (k = 0; k < sizeof columns / sizeof columns[0]; k++) {
        table_cell(&table, columns[k]);
    }
    table_cell(&table, "preference");
    table_cell(&table, "throttles");
    json_array_foreach(addresses, i, address)
    {
        for (k = 0; k < sizeof columns / sizeof columns[0]; k++) {
            table_cell(&table, text(address, columns[k]));
        }
        put_preference(&table, address);
        put_throttles(&table, json_object_get(address, "throttles"));
    }
    table_put(out, &table, 2, color);
    table_free(&table);
}

/* Rates and quotas that would count the message. */
static void put_rates(struct buf *out, const json_t *rates, bool color)
{
    size_t i;
    json_t *rate;
    if (json_array_size(rates) > 0) {
        put_heading(out, color, "Rates and quotas");
    }
    json_array_foreach(rates, i, rate)
    {
        buf_format(out, "  %s '%s'", text(rate, "object"), text(rate, "name"));
        if (json_object_get(rate, "count") != NULL) {
            buf_format(out, " %lld in %lld ms", whole(rate, "count"), whole(rate, "period"));
        } else {
            buf_format(out, " messages %lld, size %lld (0: any)", whole(rate, "messages"),
                       whole(rate, "size"));
        }
        buf_add(out, json_is_true(json_object_get(rate, "unknown"))
                         ? ", if its condition holds: it could not be evaluated\n"
                         : "\n");
    }
}

static void put_route(struct buf *out, const json_t *answer, bool color)
{
    const json_t *route = json_object_get(answer, "route");
    put_heading(out, color, "Route");
    if (!json_is_object(route)) {
        buf_add(out, "  none\n");
    } else {
        buf_format(out, "  %s (%s)\n", text(route, "name"), text(route, "type"));
    }
    put_members(out, json_object_get(answer, "nextHop"));
    put_addresses(out, json_object_get(json_object_get(answer, "nextHop"), "addresses"), color);
    if (json_is_object(json_object_get(answer, "verification"))) {
        put_heading(out, color, "Asked at the relay");
        put_members(out, json_object_get(answer, "verification"));
    }
    put_heading(out, color, "Schedule (ms)");
    if (json_is_object(json_object_get(answer, "schedule"))) {
        put_members(out, json_object_get(answer, "schedule"));
    } else {
        buf_add(out, "  not known\n");
    }
    if (json_is_true(json_object_get(answer, "paused"))) {
        buf_add(out, "  delivery is paused\n");
    }
    put_heading(out, color, "Limits");
    put_members(out, json_object_get(answer, "limits"));
    put_rates(out, json_object_get(answer, "rates"), color);
}

static const struct {
    const char *outcome;
    int code;
} exit_codes[] = {{"delivered", 0}, {"relayed", 3}, {"refused", 4}, {"temporary", 5}};

bool command_explain(struct cli *cli)
{
    json_t *asked = question(cli);
    json_t *answer = asked != NULL ? cli_post(cli, "/api/explain", asked) : NULL;
    struct buf out = {0};
    json_decref(asked);
    if (answer == NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof exit_codes / sizeof exit_codes[0]; i++) {
        if (strcmp(exit_codes[i].outcome, text(answer, "outcome")) == 0) {
            cli->exit_code = exit_codes[i].code;
        }
    }
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, answer);
        buf_add(&out, "\n");
    } else {
        put_verdict(&out, answer, cli->color);
        put_resolver(&out, answer, cli->color);
        put_rule(&out, answer, cli->color);
        put_decisions(&out, answer, cli->color);
        put_route(&out, answer, cli->color);
    }
    json_decref(answer);
    return cli_print(&out);
}
