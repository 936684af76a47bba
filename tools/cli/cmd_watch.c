/* stats and health: pages that need no session. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/table.h"
#include "tools/cli/value.h"

/* --- stats -------------------------------------------------------------------------------------
 */

static void add_value(struct table *table, const json_t *value)
{
    struct buf cell = {0};
    if (json_is_string(value)) {
        buf_add(&cell, json_string_value(value));
    } else if (json_is_real(value)) {
        buf_format(&cell, "%.6g", json_real_value(value));
    } else if (value != NULL) {
        put_json(&cell, value);
    }
    table_cell(table, buf_text(&cell));
    buf_free(&cell);
}

/* What is not an array, one a line. */
static void put_single(struct buf *out, const json_t *stats, bool color)
{
    struct table table = {.columns = 2};
    const char *name;
    json_t *value;
    table_cell(&table, "Name");
    table_cell(&table, "Value");
    json_object_foreach((json_t *)(uintptr_t)stats, name, value)
    {
        if (!json_is_array(value)) {
            table_cell(&table, name);
            add_value(&table, value);
        }
    }
    table_put(out, &table, 0, color);
    table_free(&table);
}

/* The cores side by side; members as the first core has them. */
static void put_cores(struct buf *out, const json_t *cores, bool color)
{
    struct table table = {.columns = json_array_size(cores) + 1};
    const char *name;
    json_t *value, *core;
    size_t i;
    table_cell(&table, "Name");
    json_array_foreach(cores, i, core)
    {
        struct buf head = {0};
        buf_format(&head, "Core %zu", i);
        table_cell(&table, head.at);
        buf_free(&head);
    }
    json_object_foreach(json_array_get(cores, 0), name, value)
    {
        table_cell(&table, name);
        json_array_foreach(cores, i, core)
        {
            add_value(&table, json_object_get(core, name));
        }
    }
    buf_add(out, "\n");
    table_put(out, &table, 0, color);
    table_free(&table);
}

bool command_stats(struct cli *cli)
{
    struct buf body = {0}, out = {0};
    if (!client_get(&cli->client, "/stats", &body)) {
        return false;
    }
    json_error_t error;
    json_t *stats = json_loadb(buf_text(&body), body.len, 0, &error);
    buf_free(&body);
    if (stats == NULL) {
        return fail("unexpected server response: /stats is not JSON: %s", error.text);
    }
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, stats);
        buf_add(&out, "\n");
    } else {
        put_single(&out, stats, cli->color);
        put_cores(&out, json_object_get(stats, "cores"), cli->color);
    }
    json_decref(stats);
    return cli_print(&out);
}

/* --- health ------------------------------------------------------------------------------------
 */

/* New reference: {"status": 200, "detail": "..."}; NULL: no answer. */
static json_t *health_of(struct cli *cli, const char *path)
{
    struct http_reply reply;
    json_t *health = NULL;
    if (http_call(&cli->client.http, "GET", path, NULL, &reply)) {
        json_t *problem = json_loadb(buf_text(&reply.body), reply.body.len, 0, NULL);
        const char *detail = member_text(problem, "detail");
        health = need(
            json_pack("{s:i,s:s}", "status", (int)reply.status, "detail", detail ? detail : ""));
        json_decref(problem);
    }
    http_reply_free(&reply);
    return health;
}

static bool is_well(const json_t *health)
{
    return json_integer_value(json_object_get(health, "status")) == 200;
}

static void put_health(struct buf *out, const struct cli *cli, const char *name,
                       const json_t *health)
{
    buf_format(out, "%-6s ", name);
    buf_styled(out, cli->color, is_well(health) ? STYLE_GREEN : STYLE_RED,
               is_well(health) ? "yes" : "no ");
    buf_format(out, "  %s\n", member_text(health, "detail"));
}

bool command_health(struct cli *cli)
{
    json_t *live = health_of(cli, "/healthz/live");
    json_t *ready = live ? health_of(cli, "/healthz/ready") : NULL;
    bool good = ready != NULL;
    struct buf out = {0};
    if (good && cli->args->given[OPT_JSON]) {
        json_t *both = need(json_pack("{s:O,s:O}", "live", live, "ready", ready));
        put_json(&out, both);
        buf_add(&out, "\n");
        json_decref(both);
    } else if (good) {
        put_health(&out, cli, "live", live);
        put_health(&out, cli, "ready", ready);
    }
    bool well = good && is_well(live) && is_well(ready);
    json_decref(live);
    json_decref(ready);
    return good && cli_print(&out) && (well || fail("the server would not take a message now"));
}
