/* top: what every core does now, from the difference of two looks at /stats. */
#include "tools/cli/fail.h"
#include "tools/cli/stats_page.h"
#include "tools/cli/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

/* Two looks at a core (or at all together), and the time between them. */
struct looks {
    const json_t *before, *after; /* of stats_flat */
    double seconds;
};

static double grown(const struct looks *looks, const char *name)
{
    return stats_growth(stats_sum(looks->before, name), stats_sum(looks->after, name));
}

static double rate(const struct looks *looks, const char *name)
{
    return grown(looks, name) / looks->seconds;
}

static double histogram_grown(const struct looks *looks, const char *name, const char *member)
{
    return stats_growth(stats_number(looks->before, name, member),
                        stats_number(looks->after, name, member));
}

/* The mean of what came to a histogram in between. */
static double mean(const struct looks *looks, const char *name)
{
    double count = histogram_grown(looks, name, "count");
    return count > 0 ? histogram_grown(looks, name, "sum") / count : 0;
}

/* --- columns -----------------------------------------------------------------------------------
 */

static void put_state(struct buf *out, const struct looks *looks, const char *name)
{
    (void)name;
    double silent = stats_number(looks->after, "core_silent_seconds", NULL);
    if (stats_number(looks->after, "core_answered", NULL) == 0) {
        buf_format(out, "SILENT %.1fs", silent);
    } else if (stats_number(looks->after, "ready", NULL) == 0) {
        buf_add(out, "NOT READY");
    } else if (stats_sum(looks->after, "overload_level") > 0) {
        buf_add(out, "strained");
    } else {
        buf_add(out, stats_number(looks->after, "delivery_paused", NULL) > 0 ? "paused" : "ok");
    }
}

static void put_busy(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.0f", 100 * histogram_grown(looks, name, "sum") / looks->seconds);
}

static void put_now(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.0f", stats_sum(looks->after, name));
}

static void put_rate(struct buf *out, const struct looks *looks, const char *name)
{
    double value = rate(looks, name);
    buf_format(out, value < 100 ? "%.1f" : "%.0f", value);
}

static void put_kib(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.1f", rate(looks, name) / 1024);
}

static void put_mean(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.1f", mean(looks, name));
}

static void put_mean_ms(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.2f", 1e3 * mean(looks, name));
}

static void put_ms(struct buf *out, const struct looks *looks, const char *name)
{
    buf_format(out, "%.1f", 1e3 * stats_sum(looks->after, name));
}

/* By how much they matter: a narrow terminal leaves out the last ones. */
static const struct {
    const char *title, *statistic;
    void (*put)(struct buf *out, const struct looks *looks, const char *statistic);
} columns[] = {
    {"State", "", put_state},
    {"Busy%", "loop_turn_seconds", put_busy},
    {"Turn ms", "core_busy_seconds", put_ms},
    {"Sessions", "sessions", put_now},
    {"Msg/s", "messages_received_total", put_rate},
    {"Queue", "queue_messages", put_now},
    {"Dlv/s", "recipients_delivered_total", put_rate},
    {"Dfr/s", "recipients_deferred_total", put_rate},
    {"Fail/s", "recipients_failed_total", put_rate},
    {"Down", "next_hops_down", put_now},
    {"Ref/s", "sessions_refused_total", put_rate},
    {"Acc/s", "sessions_accepted_total", put_rate},
    {"Ack ms", "message_acknowledge_seconds", put_mean_ms},
    {"Sync ms", "journal_sync_seconds", put_mean_ms},
    {"Rec/commit", "journal_commit_records", put_mean},
    {"Conns", "delivery_connections", put_now},
    {"Nobuf/s", "ring_no_buffer_total", put_rate},
    {"In KiB/s", "network_received_bytes_total", put_kib},
    {"Out KiB/s", "network_sent_bytes_total", put_kib},
};

/* --- the view ----------------------------------------------------------------------------------
 */

/* The page's total has no turn, which is told apart by core: it gets the longest. */
static json_t *total_with_turn(const json_t *page)
{
    json_t *total = json_object_get(page, "total"), *core;
    double longest = 0;
    size_t i;
    json_array_foreach(json_object_get(page, "cores"), i, core)
    {
        json_t *flat = stats_flat(core);
        double turn = stats_sum(flat, "core_busy_seconds");
        longest = turn > longest ? turn : longest;
        json_decref(flat);
    }
    json_object_set_new(total, "core_busy_seconds", json_real(longest));
    return total;
}

static void add_line(struct table *table, const char *name, const json_t *before,
                     const json_t *after, double seconds)
{
    json_t *flat_before = stats_flat(before), *flat_after = stats_flat(after);
    struct looks looks = {flat_before, flat_after, seconds};
    table_cell(table, name);
    for (size_t i = 0; i < mx_countof(columns); i++) {
        struct buf cell = {0};
        columns[i].put(&cell, &looks, columns[i].statistic);
        table_cell(table, buf_text(&cell));
        buf_free(&cell);
    }
    json_decref(flat_before);
    json_decref(flat_after);
}

/* Zeros: standard output is no terminal, or one that does not say. */
static struct winsize screen_size(void)
{
    struct winsize size = {0};
    (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    return size;
}

/* How many have room beside the header, the line of all, and the last, where the cursor stays; of
 * fewer than all a line is said as well. */
static size_t cores_shown(size_t count, size_t lines)
{
    if (lines == 0 || count + 3 <= lines) {
        return count;
    }
    return lines > 4 ? lines - 4 : 0;
}

static void put_view(struct buf *out, const struct cli *cli, const json_t *before,
                     const json_t *after, double seconds)
{
    struct winsize screen = screen_size();
    struct table table = {.columns = mx_countof(columns) + 1, .width_max = screen.ws_col};
    json_t *cores = json_object_get(after, "cores"), *core;
    size_t i, count = json_array_size(cores), shown = cores_shown(count, screen.ws_row);
    table_cell(&table, "Core");
    for (i = 0; i < mx_countof(columns); i++) {
        table_cell(&table, columns[i].title);
    }
    json_array_foreach(cores, i, core)
    {
        char name[24];
        if (i == shown) {
            break;
        }
        snprintf(name, sizeof name, "%zu", i);
        add_line(&table, name, json_array_get(json_object_get(before, "cores"), i), core, seconds);
    }
    add_line(&table, "all", json_object_get(before, "total"), total_with_turn(after), seconds);
    table_put(out, &table, 0, cli->color);
    if (shown < count) {
        buf_format(out, "Cores not shown: %zu\n", count - shown);
    }
    table_free(&table);
}

bool command_top(struct cli *cli)
{
    double seconds = 1;
    unsigned long count = cli->args->given[OPT_ONCE] ? 1 : 0; /* 0: without end */
    if (!stats_rounds(cli, &seconds, &count)) {
        return false;
    }
    double before_s = stats_clock();
    json_t *before = stats_page(cli);
    for (unsigned long done = 0; before != NULL && (count == 0 || done < count); done++) {
        stats_sleep(seconds);
        double after_s = stats_clock();
        json_t *after = stats_page(cli);
        struct buf out = {0};
        if (after == NULL) {
            json_decref(before);
            return false;
        }
        if (count != 1) {
            stats_clear(&out);
        }
        put_view(&out, cli, before, after, after_s - before_s);
        json_decref(before);
        before = after;
        before_s = after_s;
        if (!cli_print(&out)) {
            break;
        }
    }
    bool good = before != NULL;
    json_decref(before);
    return good;
}
