/* queue hold, release, retry, expire, cancel, bounce, pause, resume. */
#include "tools/cli/fail.h"
#include "tools/cli/queue.h"
#include "tools/cli/value.h"

#include <stdio.h>
#include <string.h>

enum { EXIT_REFUSED = 1, EXIT_NOTHING = 3 };

struct sums {
    json_int_t found, changed, refused;
};

/* The one thing that was created, a new reference; NULL after a failure. */
static json_t *act(struct cli *cli, json_t *action)
{
    json_t *answer = jmap_call(&cli->client, "x:Action", "set",
                               need(json_pack("{s:{s:o}}", "create", "n", action)));
    json_t *made = json_incref(json_object_get(json_object_get(answer, "created"), "n"));
    const json_t *refused = json_object_get(json_object_get(answer, "notCreated"), "n");
    if (answer != NULL && made == NULL) {
        (void)fail("%s", member_text(refused, "description") != NULL
                             ? member_text(refused, "description")
                             : "unexpected server response: nothing was created");
    }
    json_decref(answer);
    return made;
}

static bool report(struct cli *cli, const char *operation, const struct sums *sums)
{
    struct buf out = {0};
    if (cli->args->given[OPT_JSON]) {
        buf_format(
            &out, "{\"operation\":\"%s\",\"found\":%lld,\"changed\":%lld,\"refused\":%lld}\n",
            operation, (long long)sums->found, (long long)sums->changed, (long long)sums->refused);
    } else {
        buf_format(&out, "%s: %lld of %lld messages changed", operation, (long long)sums->changed,
                   (long long)sums->found);
        if (sums->refused > 0) {
            buf_format(&out, ", %lld refused", (long long)sums->refused);
        }
        buf_add(&out, "\n");
    }
    cli->exit_code = sums->refused > 0 ? EXIT_REFUSED : sums->found == 0 ? EXIT_NOTHING : 0;
    return cli_print(&out);
}

/* --- by filter ---------------------------------------------------------------------------------
 */

/* Piece by piece; mail that comes meanwhile is left alone. */
static bool sweep(struct cli *cli, const char *operation, json_t *filter, json_t *at)
{
    struct sums sums = {0};
    json_t *cursor = need(json_null());
    bool good = true;
    do {
        json_t *action = need(json_pack("{s:s,s:s,s:O,s:o}", "@type", "ChangeMtaQueue", "operation",
                                        operation, "at", at, "cursor", cursor));
        json_object_update(action, filter);
        json_t *made = act(cli, action);
        good = made != NULL;
        sums.found += json_integer_value(json_object_get(made, "found"));
        sums.changed += json_integer_value(json_object_get(made, "changed"));
        sums.refused += json_integer_value(json_object_get(made, "refused"));
        cursor = json_is_string(json_object_get(made, "cursor"))
                     ? json_incref(json_object_get(made, "cursor"))
                     : NULL;
        json_decref(made);
    } while (cursor != NULL);
    return good && report(cli, operation, &sums);
}

static bool by_filter(struct cli *cli, const char *operation, json_t *at)
{
    json_t *filter = queue_filter_json(cli, true);
    if (filter == NULL) {
        return false;
    }
    if (json_object_size(filter) == 0 && !cli->args->given[OPT_ALL]) {
        json_decref(filter);
        return fail("queue %s: which messages? Give ids, options that choose them, or --all",
                    operation);
    }
    if (json_object_get(filter, "createdBefore") == NULL) {
        /* The present second is not over. */
        json_object_set_new(filter, "createdBefore", queue_date_json("older", "1s", false));
    }
    bool good = sweep(cli, operation, filter, at);
    json_decref(filter);
    return good;
}

/* --- by id -------------------------------------------------------------------------------------
 */

/* What a message's property, or a recipient's, is to be. */
static json_t *value_for(const char *operation, bool rcpt, json_t *at)
{
    if (strcmp(operation, "hold") == 0 || strcmp(operation, "release") == 0) {
        return need(json_boolean(operation[0] == 'h'));
    }
    if (strcmp(operation, "retry") == 0) {
        return json_is_null(at) ? need(json_string("2000-01-01T00:00:00Z")) : json_incref(at);
    }
    if (strcmp(operation, "expire") == 0) {
        return json_incref(at);
    }
    return rcpt && strcmp(operation, "cancel") == 0
               ? need(json_null())
               : need(json_pack("{s:s}", "@type", "PermanentFailure"));
}

static const char *property_for(const char *operation, bool rcpt)
{
    return strcmp(operation, "hold") == 0 || strcmp(operation, "release") == 0 ? "held"
           : strcmp(operation, "retry") == 0  ? (rcpt ? "retryDue" : "nextRetry")
           : strcmp(operation, "expire") == 0 ? (rcpt ? "expires/expiresAt" : "expiresAt")
           : strcmp(operation, "bounce") == 0 ? "status"
                                              : NULL;
}

static void add_rcpt(json_t *patch, const char *address, const char *operation, json_t *at)
{
    struct buf key = {0};
    const char *property = property_for(operation, true);
    buf_add(&key, "recipients/");
    for (const char *c = address; *c != '\0'; c++) {
        buf_format(&key, *c == '/' ? "~1" : *c == '~' ? "~0" : "%c", *c);
    }
    if (property != NULL) {
        buf_format(&key, "/%s", property);
    }
    json_object_set_new(patch, key.at, value_for(operation, true, at));
    buf_free(&key);
}

/* Every recipient that waits: a report cannot be asked for as a whole. */
static bool add_all_rcpts(struct cli *cli, json_t *patch, json_t *id, const char *operation,
                          json_t *at)
{
    json_t *result =
        jmap_call(&cli->client, QUEUE_OBJECT, "get",
                  need(json_pack("{s:[O],s:[s]}", "ids", id, "properties", "recipients")));
    const json_t *message = json_array_get(json_object_get(result, "list"), 0);
    const char *address;
    json_t *rcpt;
    json_object_foreach(json_object_get(message, "recipients"), address, rcpt)
    {
        const char *type = queue_text(json_object_get(rcpt, "status"), "@type");
        if (strcmp(type, "Completed") != 0 && strcmp(type, "PermanentFailure") != 0) {
            add_rcpt(patch, address, operation, at);
        }
    }
    bool good = result != NULL;
    json_decref(result);
    return good;
}

/* New reference: arguments of the call that changes one message. */
static json_t *change_args(struct cli *cli, json_t *id, const char *operation, json_t *at)
{
    const struct values *rcpts = &cli->args->values[OPT_RCPT];
    const char *property = property_for(operation, false);
    if (rcpts->count == 0 && property == NULL) {
        return need(json_pack("{s:[O]}", "destroy", id));
    }
    json_t *patch = need(json_object());
    for (size_t i = 0; i < rcpts->count; i++) {
        add_rcpt(patch, rcpts->items[i], operation, at);
    }
    if (rcpts->count == 0 && strcmp(operation, "bounce") == 0) {
        if (!add_all_rcpts(cli, patch, id, operation, at)) {
            json_decref(patch);
            return NULL;
        }
    } else if (rcpts->count == 0) {
        json_object_set_new(patch, property, value_for(operation, false, at));
    }
    return need(json_pack("{s:{s:o}}", "update", json_string_value(id), patch));
}

/* False: the server does not answer. */
static bool change_one(struct cli *cli, const char *typed, const char *operation, json_t *at,
                       struct sums *sums)
{
    json_t *id = queue_id_json(cli, typed);
    json_t *args = id == NULL ? NULL : change_args(cli, id, operation, at);
    json_t *answer = args == NULL ? NULL : jmap_call(&cli->client, QUEUE_OBJECT, "set", args);
    const char *key = json_string_value(id);
    const json_t *refused = json_object_get(json_object_get(answer, "notUpdated"), key);
    refused =
        refused != NULL ? refused : json_object_get(json_object_get(answer, "notDestroyed"), key);
    if (answer != NULL) {
        sums->found++;
        sums->changed += refused == NULL;
        sums->refused += refused != NULL;
    }
    if (refused != NULL) {
        fprintf(stderr, "%s: %s\n", typed, queue_text(refused, "description"));
    }
    bool good = answer != NULL;
    json_decref(id);
    json_decref(answer);
    return good;
}

bool queue_change(struct cli *cli, const char *operation)
{
    const struct values *plain = &cli->args->plain;
    const char *typed_at = argument(cli->args, OPT_AT);
    struct sums sums = {0};
    if (typed_at == NULL && strcmp(operation, "expire") == 0) {
        return fail("queue expire needs --at: a time from now on as 2h, or a date");
    }
    json_t *at = typed_at == NULL ? need(json_null()) : queue_date_json("at", typed_at, false);
    if (at == NULL) {
        return false;
    }
    bool good = true;
    for (size_t i = 1; good && i < plain->count; i++) {
        good = change_one(cli, plain->items[i], operation, at, &sums);
    }
    good =
        good && (plain->count == 1 ? by_filter(cli, operation, at) : report(cli, operation, &sums));
    json_decref(at);
    return good;
}

/* --- pause -------------------------------------------------------------------------------------
 */

bool queue_pause(struct cli *cli, bool pause)
{
    const char *route = argument(cli->args, OPT_ROUTE), *queue = argument(cli->args, OPT_QUEUE);
    json_t *made = act(
        cli, need(json_pack("{s:s,s:s?,s:s?}", "@type", pause ? "PauseMtaQueue" : "ResumeMtaQueue",
                            "route", route, "queue", queue)));
    struct buf out = {0};
    if (made == NULL) {
        return false;
    }
    json_decref(made);
    const char *word = pause ? "paused" : "resumed";
    if (route != NULL) {
        buf_format(&out, "%s: route %s\n", word, route);
    }
    if (queue != NULL) {
        buf_format(&out, "%s: queue %s\n", word, queue);
    }
    if (route == NULL && queue == NULL) {
        buf_format(&out, "%s: everything\n", word);
    }
    return cli_print(&out);
}
