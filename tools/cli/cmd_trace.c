/* trace: what happened to a message, to mail of an address, or to a client. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/value.h"

#include <string.h>

/* A new reference; NULL after a failure. */
static json_t *ask(struct cli *cli)
{
    json_t *asked = need(json_pack("{s:s}", "of", cli->args->plain.items[0]));
    json_t *answer = cli_post(cli, "/api/trace", asked);
    json_decref(asked);
    return answer;
}

/* --- showing -----------------------------------------------------------------------------------
 */

static long long whole(const json_t *record, const char *name)
{
    return (long long)json_integer_value(json_object_get(record, name));
}

/* What a record stands under: its message, else its session, else its client. */
static void put_title(struct buf *out, const json_t *record)
{
    const char *id = member_text(record, "id");
    const char *client = member_text(record, "client");
    if (id != NULL) {
        buf_format(out, "message %s", id);
    } else if (json_object_get(record, "session") != NULL) {
        buf_format(out, "session %lld of core %lld", whole(record, "session"),
                   whole(record, "core"));
    } else {
        buf_format(out, "client %s", client != NULL ? client : "?");
    }
}

static bool is_heading(const char *key)
{
    static const char *const keys[] = {"time", "core", "event", "id"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* As in the log: no text of others looks like the end of its field. */
static void put_quoted(struct buf *out, const char *text)
{
    buf_add(out, "\"");
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            buf_format(out, "\\x%02x", (unsigned)*text);
        } else {
            buf_bytes(out, text, 1);
        }
    }
    buf_add(out, "\"");
}

static void put_field(struct buf *out, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    buf_format(out, " %s=", key);
    if (text == NULL) {
        buf_format(out, "%lld", (long long)json_integer_value(value));
    } else if (*text == '\0' || strpbrk(text, " \"\\=") != NULL) {
        put_quoted(out, text);
    } else {
        buf_add(out, text);
    }
}

static void put_record(struct buf *out, json_t *record, bool color)
{
    const char *time = member_text(record, "time"), *event = member_text(record, "event");
    const char *key;
    json_t *value;
    buf_format(out, "  %s ", time != NULL ? time : "?");
    buf_styled(out, color, STYLE_BOLD, event != NULL ? event : "?");
    json_object_foreach(record, key, value)
    {
        if (!is_heading(key)) {
            put_field(out, key, value);
        }
    }
    buf_add(out, "\n");
}

/* Title -> its records, in the order of their beginnings. */
static json_t *group(const json_t *records)
{
    json_t *groups = need(json_object());
    size_t i;
    json_t *record;
    json_array_foreach(records, i, record)
    {
        struct buf title = {0};
        put_title(&title, record);
        json_t *members = json_object_get(groups, buf_text(&title));
        if (members == NULL) {
            members = need(json_array());
            json_object_set_new(groups, buf_text(&title), members);
        }
        json_array_append(members, record);
        buf_free(&title);
    }
    return groups;
}

static void put_trace(struct buf *out, const json_t *answer, bool color)
{
    json_t *groups = group(json_object_get(answer, "records"));
    const char *title;
    json_t *members, *record;
    size_t i;
    json_object_foreach(groups, title, members)
    {
        buf_styled(out, color, STYLE_BOLD, title);
        buf_add(out, "\n");
        json_array_foreach(members, i, record)
        {
            put_record(out, record, color);
        }
    }
    json_decref(groups);
    if (json_is_true(json_object_get(answer, "more"))) {
        buf_add(out, "There is more, older than this.\n");
    }
}

bool command_trace(struct cli *cli)
{
    json_t *answer = ask(cli);
    struct buf out = {0};
    if (answer == NULL) {
        return false;
    }
    bool empty = json_array_size(json_object_get(answer, "records")) == 0;
    const char *since = member_text(answer, "since");
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, answer);
        buf_add(&out, "\n");
    } else {
        put_trace(&out, answer, cli->color);
    }
    bool good = cli_print(&out);
    if (good && empty) {
        good = since != NULL
                   ? fail("nothing is kept of '%s'; the trace goes back to %s",
                          cli->args->plain.items[0], since)
                   : fail("nothing is kept of '%s'; the trace is empty", cli->args->plain.items[0]);
    }
    json_decref(answer);
    return good;
}
