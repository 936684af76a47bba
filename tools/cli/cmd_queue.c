/* queue: what waits, and what is to become of it. */
#include "core/text.h"
#include "core/timefmt.h"
#include "tools/cli/fail.h"
#include "tools/cli/queue.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *queue_text(const json_t *object, const char *name)
{
    const char *value = member_text(object, name);
    return value != NULL ? value : "";
}

/* --- times -------------------------------------------------------------------------------------
 */

/* Milliseconds; -1: it is no duration. */
static int64_t duration_ms(const char *text)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    char *end;
    long long count = strtoll(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (end > text && end[0] == units[i].unit && end[1] == '\0' && count >= 0 &&
            count <= 100000000) {
            return count * units[i].ms;
        }
    }
    return -1;
}

json_t *queue_date_json(const char *option, const char *text, bool ago)
{
    char date[40];
    struct writer w = writer_init(date, sizeof date);
    int64_t at_ms, length_ms = duration_ms(text);
    if (length_ms >= 0) {
        int64_t now_ms = (int64_t)time(NULL) * 1000;
        at_ms = ago ? now_ms - length_ms : now_ms + length_ms;
    } else if (rfc3339_parse(&at_ms, slice_of_text(text)) != MX_OK) {
        (void)fail("--%s: '%s' is neither a time as 30m, 2h or 7d nor a date as "
                   "2026-11-22T00:00:00Z",
                   option, text);
        return NULL;
    }
    put_rfc3339_ms(&w, at_ms);
    return need(json_stringn(date, w.len));
}

/* --- choosing ----------------------------------------------------------------------------------
 */

static const struct {
    enum option_id option;
    const char *member;
} texts[] = {{OPT_FROM, "returnPath"},  {OPT_TO, "to"},           {OPT_TEXT, "text"},
             {OPT_NEXT_HOP, "nextHop"}, {OPT_QUEUE, "queueName"}, {OPT_ERROR, "error"},
             {OPT_STATUS, "status"}};

static const struct {
    enum option_id option;
    const char *name;
    const char *member, *action_member;
    bool ago;
} times[] = {
    {OPT_OLDER, "older", "createdAtIsLessThan", "createdBefore", true},
    {OPT_NEWER, "newer", "createdAtIsGreaterThan", "createdAfter", true},
    {OPT_DUE_BEFORE, "due-before", "dueIsLessThan", "dueBefore", false},
    {OPT_DUE_AFTER, "due-after", "dueIsGreaterThan", "dueAfter", false},
};

json_t *queue_filter_json(struct cli *cli, bool action)
{
    json_t *filter = need(json_object());
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *value = argument(cli->args, texts[i].option);
        if (value != NULL) {
            json_object_set_new(filter, texts[i].member, need(json_string(value)));
        }
    }
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const char *value = argument(cli->args, times[i].option);
        json_t *date = value == NULL ? NULL : queue_date_json(times[i].name, value, times[i].ago);
        if (date != NULL) {
            json_object_set_new(filter, action ? times[i].action_member : times[i].member, date);
        } else if (value != NULL) {
            json_decref(filter);
            return NULL;
        }
    }
    return filter;
}

/* As core/qid.h prints it. */
static bool is_queue_id(const char *typed)
{
    unsigned dashes = 0;
    size_t digits = 0;
    for (; *typed != '\0'; typed++) {
        bool dash = *typed == '-';
        if (dash ? digits == 0 : strchr("0123456789abcdef", *typed) == NULL) {
            return false;
        }
        dashes += dash;
        digits = dash ? 0 : digits + 1;
    }
    return dashes == 3 && digits > 0;
}

json_t *queue_id_json(struct cli *cli, const char *typed)
{
    if (strchr(typed, '-') == NULL) {
        return need(json_string(typed));
    }
    if (!is_queue_id(typed)) {
        (void)fail("%s is no queue id: four hexadecimal numbers, as 1-3-2a-1f0c", typed);
        return NULL;
    }
    json_t *found = jmap_call(&cli->client, QUEUE_OBJECT, "query",
                              need(json_pack("{s:{s:s}}", "filter", "queueId", typed)));
    json_t *id = json_incref(json_array_get(json_object_get(found, "ids"), 0));
    if (found != NULL && id == NULL) {
        (void)fail("there is no message %s in the queue", typed);
    }
    json_decref(found);
    return id;
}

json_t *queue_get_json(struct cli *cli, const char *path)
{
    struct buf body = {0};
    json_t *answer = NULL;
    if (client_get(&cli->client, path, &body)) {
        answer = json_loadb(buf_text(&body), body.len, 0, NULL);
        if (answer == NULL) {
            (void)fail("unexpected server response: %s is not JSON", path);
        }
    }
    buf_free(&body);
    return answer;
}

/* --- verbs -------------------------------------------------------------------------------------
 */

static bool pause_it(struct cli *cli)
{
    return queue_pause(cli, true);
}

static bool resume_it(struct cli *cli)
{
    return queue_pause(cli, false);
}

static const struct {
    const char *name;
    bool (*run)(struct cli *cli);
    const char *operation; /* or this: of ChangeMtaQueue */
    unsigned ids_max;
} verbs[] = {
    {"list", queue_list, NULL, 0},          {"show", queue_show, NULL, 1},
    {"content", queue_content, NULL, 1},    {"shape", queue_shape, NULL, 0},
    {"pause", pause_it, NULL, 0},           {"resume", resume_it, NULL, 0},
    {"hold", NULL, "hold", UINT32_MAX},     {"release", NULL, "release", UINT32_MAX},
    {"retry", NULL, "retry", UINT32_MAX},   {"expire", NULL, "expire", UINT32_MAX},
    {"cancel", NULL, "cancel", UINT32_MAX}, {"bounce", NULL, "bounce", UINT32_MAX},
};

bool command_queue(struct cli *cli)
{
    const struct values *plain = &cli->args->plain;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (strcmp(verbs[i].name, plain->items[0]) != 0) {
            continue;
        }
        if (plain->count - 1 > verbs[i].ids_max) {
            return fail("queue %s takes %s", verbs[i].name,
                        verbs[i].ids_max == 0 ? "no id" : "one id");
        }
        if (verbs[i].ids_max == 1 && plain->count == 1) {
            return fail("queue %s needs an id", verbs[i].name);
        }
        return verbs[i].run != NULL ? verbs[i].run(cli) : queue_change(cli, verbs[i].operation);
    }
    return fail("queue %s: there is list, show, content, shape, hold, release, retry, expire, "
                "cancel, bounce, pause and resume",
                plain->items[0]);
}
