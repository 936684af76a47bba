/* queue list, show, content, shape. */
#include "core/timefmt.h"
#include "tools/cli/fail.h"
#include "tools/cli/queue.h"
#include "tools/cli/table.h"
#include "tools/cli/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LIST_LIMIT = 50, LIST_LIMIT_MAX = 1000000 };

/* --- times and states --------------------------------------------------------------------------
 */

/* "3 h" of a date: how long ago, or until then; "-" without one. */
static void put_distance(struct buf *out, const char *date)
{
    int64_t at_ms;
    if (rfc3339_parse(&at_ms, slice_of_text(date)) != MX_OK) {
        buf_add(out, "-");
        return;
    }
    int64_t away_s = at_ms / 1000 - (int64_t)time(NULL);
    int64_t s = away_s < 0 ? -away_s : away_s;
    buf_format(out, "%lld%s",
               (long long)(s < 120      ? s
                           : s < 7200   ? s / 60
                           : s < 172800 ? s / 3600
                                        : s / 86400),
               s < 120      ? "s"
               : s < 7200   ? "m"
               : s < 172800 ? "h"
                            : "d");
}

static bool is_pending(const json_t *rcpt)
{
    const char *type = queue_text(json_object_get(rcpt, "status"), "@type");
    return strcmp(type, "Scheduled") == 0 || strcmp(type, "TemporaryFailure") == 0;
}

static const char *state_of(const json_t *rcpt)
{
    const char *type = queue_text(json_object_get(rcpt, "status"), "@type");
    return !is_pending(rcpt) ? (strcmp(type, "Completed") == 0 ? "delivered" : "failed")
           : json_is_true(json_object_get(rcpt, "held")) ? "held"
           : strcmp(type, "Scheduled") == 0              ? "fresh"
                                                         : "deferred";
}

static void put_reply(struct buf *out, const json_t *rcpt)
{
    const json_t *status = json_object_get(rcpt, "status");
    json_int_t code = json_integer_value(json_object_get(status, "responseCode"));
    if (code != 0) {
        buf_format(out, "%lld ", (long long)code);
    }
    buf_add(out, queue_text(status, "responseMessage"));
}

/* --- list --------------------------------------------------------------------------------------
 */

static void cell(struct table *table, struct buf *text)
{
    table_cell(table, buf_text(text));
    buf_free(text);
}

/* The recipient that stands for the message: the first that waits. */
static const json_t *first_pending(const json_t *message, const char **out_address,
                                   size_t *out_others)
{
    const json_t *chosen = NULL;
    const char *address;
    json_t *rcpt;
    *out_others = 0;
    *out_address = "";
    json_object_foreach(json_object_get(message, "recipients"), address, rcpt)
    {
        if (!is_pending(rcpt)) {
            continue;
        }
        *out_others += chosen != NULL;
        *out_address = chosen != NULL ? *out_address : address;
        chosen = chosen != NULL ? chosen : rcpt;
    }
    return chosen;
}

static void add_row(struct table *table, const json_t *message)
{
    struct buf text = {0};
    const char *address;
    size_t others;
    const json_t *rcpt = first_pending(message, &address, &others);
    table_cell(table, queue_text(message, "queueId"));
    put_distance(&text, queue_text(message, "createdAt"));
    cell(table, &text);
    put_size(&text, (double)json_integer_value(json_object_get(message, "size")));
    cell(table, &text);
    table_cell(table, queue_text(message, "returnPath"));
    buf_add(&text, address);
    if (others > 0) {
        buf_format(&text, " +%zu", others);
    }
    cell(table, &text);
    table_cell(table, queue_text(rcpt, "nextHop"));
    table_cell(table, json_is_true(json_object_get(message, "damaged"))  ? "damaged"
                      : json_is_true(json_object_get(message, "active")) ? "active"
                      : rcpt != NULL                                     ? state_of(rcpt)
                                                                         : "");
    put_distance(&text, queue_text(message, "nextRetry"));
    cell(table, &text);
    put_reply(&text, rcpt);
    cell(table, &text);
}

static bool print_page(struct cli *cli, const json_t *list)
{
    static const char *const heads[] = {"Queue id", "Age",    "Size", "Sender",    "Recipient",
                                        "Next hop", "Status", "Next", "Last reply"};
    struct buf out = {0};
    struct table table = {.columns = sizeof heads / sizeof heads[0], .short_cells = true};
    size_t i;
    json_t *message;
    for (size_t h = 0; h < table.columns; h++) {
        table_cell(&table, heads[h]);
    }
    json_array_foreach(list, i, message)
    {
        if (cli->args->given[OPT_JSON]) {
            put_json(&out, message);
            buf_add(&out, "\n");
        } else {
            add_row(&table, message);
        }
    }
    if (!cli->args->given[OPT_JSON]) {
        table_put(&out, &table, 0, cli->color);
    }
    table_free(&table);
    return cli_print(&out);
}

/* -1: after a failure. */
static long long number_of(struct cli *cli, enum option_id option, const char *name, long long none)
{
    const char *text = argument(cli->args, option);
    char *end = NULL;
    long long number = text == NULL ? none : strtoll(text, &end, 10);
    if (text != NULL && (*text == '\0' || *end != '\0' || number < 0 || number > INT32_MAX)) {
        (void)fail("--%s: '%s' is not a number", name, text);
        return -1;
    }
    return number;
}

/* New reference: arguments of the query for the next page. */
static json_t *page_args(struct cli *cli, json_t *filter, size_t limit, long long position,
                         const char *anchor)
{
    bool total = cli->args->given[OPT_TOTAL] && anchor == NULL;
    json_t *args = jmap_page(filter, limit, anchor, total);
    if (anchor == NULL && position > 0) {
        json_object_set_new(args, "position", json_integer(position));
    }
    if (argument(cli->args, OPT_SORT) != NULL) {
        json_object_set_new(args, "sort",
                            need(json_pack("[{s:s,s:b}]", "property", argument(cli->args, OPT_SORT),
                                           "isAscending", 1)));
    }
    return args;
}

static void say_rest(struct cli *cli, const json_t *query, bool more)
{
    const json_t *total = json_object_get(query, "total");
    if (json_is_integer(total)) {
        fprintf(stderr, "%lld messages\n", (long long)json_integer_value(total));
    } else if (more && !cli->args->given[OPT_JSON]) {
        fprintf(stderr, "more follow: --limit N, --position N or --after QUEUE-ID\n");
    }
}

/* Pages until there are as many as were asked for. */
static bool list_pages(struct cli *cli, json_t *filter, size_t limit, long long position,
                       json_t *anchor)
{
    bool good = true, more = true;
    while (good && more && limit > 0) {
        size_t page = limit < cli->client.max_get ? limit : cli->client.max_get;
        json_t *query, *get;
        good = jmap_query_get(&cli->client, QUEUE_OBJECT,
                              page_args(cli, filter, page, position, json_string_value(anchor)),
                              NULL, &query, &get);
        if (!good) {
            break;
        }
        const json_t *list = json_object_get(get, "list"), *ids = json_object_get(query, "ids");
        good = json_array_size(list) == 0 || print_page(cli, list);
        if (good && anchor == NULL && json_array_size(list) == 0 && !cli->args->given[OPT_JSON] &&
            !cli->args->given[OPT_TOTAL]) {
            fprintf(stderr, "no messages\n");
        }
        limit -= json_array_size(ids) < limit ? json_array_size(ids) : limit;
        more = json_is_integer(json_object_get(query, "limit")) && json_array_size(ids) > 0;
        json_decref(anchor);
        anchor = json_incref(json_array_get(ids, json_array_size(ids) - 1));
        say_rest(cli, query, more && limit == 0);
        json_decref(query);
        json_decref(get);
    }
    json_decref(anchor);
    return good;
}

bool queue_list(struct cli *cli)
{
    const char *after = argument(cli->args, OPT_AFTER);
    long long limit = number_of(cli, OPT_LIMIT, "limit", LIST_LIMIT);
    long long position = number_of(cli, OPT_POSITION, "position", 0);
    if (limit < 0 || position < 0) {
        return false;
    }
    json_t *filter = queue_filter_json(cli, false);
    json_t *anchor = filter != NULL && after != NULL ? queue_id_json(cli, after) : NULL;
    bool good = filter != NULL && (after == NULL || anchor != NULL) &&
                list_pages(cli, filter, (size_t)limit, position, anchor);
    json_decref(filter);
    return good;
}

/* --- show --------------------------------------------------------------------------------------
 */

static void put_line(struct buf *out, const char *name, const char *value)
{
    if (value[0] != '\0') {
        buf_format(out, "%-14s %s\n", name, value);
    }
}

/* "2026-11-26T22:00:00.000Z  deferred  120 ms  source  mx.example.org (192.0.2.1:25)  451 reply" */
static void put_attempt(struct buf *out, const json_t *attempt)
{
    const char *host = queue_text(attempt, "host"), *peer = queue_text(attempt, "peer");
    json_int_t code = json_integer_value(json_object_get(attempt, "responseCode"));
    buf_format(out, "    %s  %-9s  %lld ms  %s", queue_text(attempt, "at"),
               queue_text(attempt, "result"),
               (long long)json_integer_value(json_object_get(attempt, "duration")),
               queue_text(attempt, "nextHop"));
    if (host[0] != '\0') {
        buf_format(out, "  %s (%s)", host, peer);
    }
    if (code != 0) {
        buf_format(out, "  %lld", (long long)code);
    }
    buf_format(out, "  %s\n", queue_text(attempt, "responseMessage"));
}

static void put_attempts(struct buf *out, const json_t *rcpt)
{
    const json_t *attempts = json_object_get(rcpt, "attempts");
    for (size_t i = 0; i < json_object_size(attempts); i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "%zu", i);
        buf_add(out, i == 0 ? "  history\n" : "");
        put_attempt(out, json_object_get(attempts, key));
    }
}

static void put_rcpt(struct buf *out, bool color, const char *address, const json_t *rcpt)
{
    struct buf reply = {0};
    buf_add(out, "\n");
    buf_styled(out, color, STYLE_BOLD, address);
    buf_format(out, "  %s\n", state_of(rcpt));
    buf_format(out, "  %-12s %lld\n", "attempts",
               (long long)json_integer_value(json_object_get(rcpt, "retryCount")));
    put_reply(&reply, rcpt);
    if (reply.len > 0) {
        buf_format(out, "  %-12s %s\n", "last reply", buf_text(&reply));
    }
    buf_free(&reply);
    if (queue_text(rcpt, "nextHop")[0] != '\0') {
        buf_format(out, "  %-12s %s\n", "next hop", queue_text(rcpt, "nextHop"));
    }
    if (queue_text(rcpt, "queueName")[0] != '\0') {
        buf_format(out, "  %-12s %s\n", "queue", queue_text(rcpt, "queueName"));
    }
    if (is_pending(rcpt)) {
        const char *due = queue_text(rcpt, "retryDue");
        buf_format(out, "  %-12s %s\n", "next attempt", due[0] != '\0' ? due : "none: it is held");
        buf_format(out, "  %-12s %s\n", "expires",
                   queue_text(json_object_get(rcpt, "expires"), "expiresAt"));
        buf_format(out, "  %-12s %lld\n", "delay notes",
                   (long long)json_integer_value(json_object_get(rcpt, "notifyCount")));
    }
    put_attempts(out, rcpt);
}

static void put_message(struct buf *out, bool color, const json_t *message)
{
    const char *address;
    json_t *rcpt;
    put_line(out, "queue id", queue_text(message, "queueId"));
    put_line(out, "id", queue_text(message, "id"));
    put_line(out, "sender", queue_text(message, "returnPath"));
    put_line(out, "accepted", queue_text(message, "createdAt"));
    put_line(out, "client", queue_text(message, "receivedFromIp"));
    put_line(out, "envelope id", queue_text(message, "envId"));
    buf_format(out, "%-14s %lld\n", "size",
               (long long)json_integer_value(json_object_get(message, "size")));
    if (json_is_true(json_object_get(message, "damaged"))) {
        buf_add(out, "damaged: it is kept and never tried\n");
    }
    if (json_is_true(json_object_get(message, "active"))) {
        buf_add(out, "it is being delivered\n");
    }
    json_object_foreach(json_object_get(message, "recipients"), address, rcpt)
    {
        put_rcpt(out, color, address, rcpt);
    }
}

bool queue_show(struct cli *cli)
{
    const char *typed = cli->args->plain.items[1];
    json_t *id = queue_id_json(cli, typed);
    json_t *result = id == NULL ? NULL
                                : jmap_call(&cli->client, QUEUE_OBJECT, "get",
                                            need(json_pack("{s:[O]}", "ids", id)));
    const json_t *message = json_array_get(json_object_get(result, "list"), 0);
    struct buf out = {0};
    bool good = message != NULL;
    if (good && cli->args->given[OPT_JSON]) {
        put_json(&out, message);
        buf_add(&out, "\n");
    } else if (good) {
        put_message(&out, cli->color, message);
    } else if (result != NULL) {
        (void)fail("there is no message %s in the queue", typed);
    }
    json_decref(id);
    json_decref(result);
    return good && cli_print(&out);
}

bool queue_content(struct cli *cli)
{
    json_t *id = queue_id_json(cli, cli->args->plain.items[1]);
    struct buf path = {0}, text = {0};
    if (id == NULL) {
        return false;
    }
    buf_format(&path, "/jmap/download/a/%s%s/message.eml", json_string_value(id),
               cli->args->given[OPT_HEADERS] ? ".headers" : "");
    bool good = client_get(&cli->client, path.at, &text);
    json_decref(id);
    buf_free(&path);
    if (!good) {
        buf_free(&text);
    }
    return good && cli_print_bytes(&text);
}

/* --- shape -------------------------------------------------------------------------------------
 */

static void add_counts(struct table *table, const char *name, const json_t *row)
{
    struct buf text = {0};
    size_t i;
    json_t *count;
    table_cell(table, name[0] != '\0' ? name : "(not tried yet)");
    buf_format(&text, "%lld", (long long)json_integer_value(json_object_get(row, "total")));
    cell(table, &text);
    json_array_foreach(json_object_get(row, "ages"), i, count)
    {
        buf_format(&text, "%lld", (long long)json_integer_value(count));
        cell(table, &text);
    }
    buf_format(&text, "%lld", (long long)json_integer_value(json_object_get(row, "held")));
    cell(table, &text);
}

static void put_paused(struct buf *out, const json_t *paused)
{
    size_t i;
    json_t *name;
    if (json_is_true(json_object_get(paused, "everything"))) {
        buf_add(out, "paused: everything\n");
    }
    json_array_foreach(json_object_get(paused, "routes"), i, name)
    {
        buf_format(out, "paused: route %s\n", json_string_value(name));
    }
    json_array_foreach(json_object_get(paused, "queues"), i, name)
    {
        buf_format(out, "paused: queue %s\n", json_string_value(name));
    }
}

static void put_shape(struct buf *out, const struct cli *cli, const json_t *shape)
{
    const json_t *minutes = json_object_get(shape, "minutes"),
                 *others = json_object_get(shape, "others");
    struct table table = {.columns = json_array_size(minutes) + 4};
    struct buf head = {0};
    size_t i;
    json_t *item;
    table_cell(&table, "Next hop");
    table_cell(&table, "Total");
    json_array_foreach(minutes, i, item)
    {
        buf_format(&head, "<%lldm", (long long)json_integer_value(item));
        cell(&table, &head);
    }
    table_cell(&table, "older");
    table_cell(&table, "held");
    json_array_foreach(json_object_get(shape, "rows"), i, item)
    {
        add_counts(&table, queue_text(item, "nextHop"), item);
    }
    if (json_integer_value(json_object_get(others, "total")) > 0) {
        add_counts(&table, "(others)", others);
    }
    put_paused(out, json_object_get(shape, "paused"));
    table_put(out, &table, 0, cli->color);
    table_free(&table);
}

bool queue_shape(struct cli *cli)
{
    json_t *shape = queue_get_json(cli, "/api/queue/shape");
    struct buf out = {0};
    if (shape == NULL) {
        return false;
    }
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, shape);
        buf_add(&out, "\n");
    } else {
        put_shape(&out, cli, shape);
    }
    json_decref(shape);
    return cli_print(&out);
}
