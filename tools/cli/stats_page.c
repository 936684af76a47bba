#include "tools/cli/stats_page.h"

#include "tools/cli/fail.h"
#include "tools/cli/value.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL_MAX_S = 3600 };

json_t *stats_page(struct cli *cli)
{
    struct buf body = {0};
    json_error_t error;
    json_t *page = NULL;
    if (client_get(&cli->client, "/stats", &body)) {
        page = json_loadb(buf_text(&body), body.len, 0, &error);
        if (page == NULL) {
            fail("unexpected server response: /stats is not JSON: %s", error.text);
        }
    }
    buf_free(&body);
    return page;
}

/* "name{label=value,...}": the members of a row that are text are its labels. */
static void row_name(struct buf *out, const char *name, json_t *row)
{
    const char *key, *separator = "{";
    json_t *value;
    buf_add(out, name);
    json_object_foreach(row, key, value)
    {
        if (json_is_string(value)) {
            buf_format(out, "%s%s=%s", separator, key, json_string_value(value));
            separator = ",";
        }
    }
    buf_add(out, "}");
}

static void add_rows(json_t *flat, const char *name, json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        struct buf full = {0};
        json_t *value = json_object_get(row, "value");
        row_name(&full, name, row);
        json_object_set(flat, full.at, value != NULL ? value : row);
        buf_free(&full);
    }
}

json_t *stats_flat(const json_t *statistics)
{
    json_t *flat = need(json_object());
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)statistics, name, value)
    {
        if (json_is_array(value)) {
            add_rows(flat, name, value);
        } else {
            json_object_set(flat, name, value);
        }
    }
    return flat;
}

double stats_number(const json_t *flat, const char *name, const char *member)
{
    json_t *value = json_object_get(flat, name);
    return json_number_value(member != NULL ? json_object_get(value, member) : value);
}

double stats_sum(const json_t *flat, const char *name)
{
    double sum = 0;
    const char *row;
    json_t *value;
    size_t len = strlen(name);
    json_object_foreach((json_t *)(uintptr_t)flat, row, value)
    {
        if (strncmp(row, name, len) == 0 && (row[len] == '{' || row[len] == '\0')) {
            sum += json_number_value(value);
        }
    }
    return sum;
}

double stats_growth(double before, double after)
{
    return after < before ? after : after - before;
}

bool stats_rounds(const struct cli *cli, double *out_seconds, unsigned long *out_count)
{
    const char *interval = argument(cli->args, OPT_INTERVAL);
    const char *count = argument(cli->args, OPT_COUNT_ROUNDS);
    char *end = NULL;
    if (interval != NULL) {
        *out_seconds = strtod(interval, &end);
        if (*end != '\0' || !(*out_seconds > 0) || *out_seconds > INTERVAL_MAX_S) {
            return fail("--interval: '%s' is no number of seconds up to %d", interval,
                        INTERVAL_MAX_S);
        }
    }
    if (count != NULL) {
        *out_count = strtoul(count, &end, 10);
        if (*end != '\0' || *out_count == 0) {
            return fail("--count: '%s' is no number above zero", count);
        }
    }
    return true;
}

double stats_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void stats_sleep(double seconds)
{
    time_t whole = (time_t)seconds;
    struct timespec left = {.tv_sec = whole, .tv_nsec = (long)((seconds - (double)whole) * 1e9)};
    while (nanosleep(&left, &left) != 0) {
    }
}

void stats_clear(struct buf *out)
{
    if (isatty(STDOUT_FILENO)) {
        buf_add(out, "\x1b[H\x1b[2J");
    }
}
