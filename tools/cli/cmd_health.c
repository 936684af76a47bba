/* health: pages that need no session. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/value.h"

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
