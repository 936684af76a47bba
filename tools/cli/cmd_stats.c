/* stats: all statistics, once or again and again. */
#include "tools/cli/fail.h"
#include "tools/cli/stats_page.h"
#include "tools/cli/table.h"
#include "tools/cli/value.h"

/* A histogram in short. */
static void put_histogram(struct buf *cell, const json_t *value)
{
    buf_format(cell, "%.6g x", json_number_value(json_object_get(value, "count")));
    if (json_number_value(json_object_get(value, "count")) > 0) {
        buf_format(cell, " p50 %.3g p99 %.3g max %.3g",
                   json_number_value(json_object_get(value, "p50")),
                   json_number_value(json_object_get(value, "p99")),
                   json_number_value(json_object_get(value, "max")));
    }
}

static void add_value(struct table *table, const json_t *value)
{
    struct buf cell = {0};
    if (json_is_object(value)) {
        put_histogram(&cell, value);
    } else if (json_is_string(value)) {
        buf_add(&cell, json_string_value(value));
    } else if (json_is_real(value)) {
        buf_format(&cell, "%.6g", json_real_value(value));
    } else if (value != NULL) {
        put_json(&cell, value);
    }
    table_cell(table, buf_text(&cell));
    buf_free(&cell);
}

/* What is of the whole server, one a line. */
static void put_single(struct buf *out, const json_t *page, bool color)
{
    struct table table = {.columns = 2};
    const char *name;
    json_t *value;
    table_cell(&table, "Name");
    table_cell(&table, "Value");
    json_object_foreach((json_t *)(uintptr_t)page, name, value)
    {
        if (!json_is_array(value) && !json_is_object(value)) {
            table_cell(&table, name);
            add_value(&table, value);
        }
    }
    table_put(out, &table, 0, color);
    table_free(&table);
}

/* {"row": null, ...}: all rows that some column has, in the order of the first. */
static json_t *all_rows(const json_t *columns)
{
    json_t *rows = need(json_object());
    size_t i;
    json_t *column, *value;
    const char *name;
    json_array_foreach((json_t *)(uintptr_t)columns, i, column)
    {
        json_object_foreach(column, name, value)
        {
            if (strcmp(name, "core") != 0) {
                json_object_set_new(rows, name, json_null());
            }
        }
    }
    return rows;
}

/* The cores side by side, all of them together first. */
static void put_cores(struct buf *out, const json_t *page, bool color)
{
    const json_t *cores = json_object_get(page, "cores"), *total = json_object_get(page, "total");
    json_t *columns = need(json_array()), *core, *value;
    size_t i;
    const char *name;
    json_array_foreach((json_t *)(uintptr_t)cores, i, core)
    {
        json_array_append_new(columns, stats_flat(core));
    }
    struct table table = {.columns = json_array_size(columns) + 1 + (total != NULL)};
    json_t *together = stats_flat(total);
    table_cell(&table, "Name");
    if (total != NULL) {
        table_cell(&table, "Total");
    }
    for (i = 0; i < json_array_size(columns); i++) {
        struct buf head = {0};
        buf_format(&head, "Core %zu", i);
        table_cell(&table, head.at);
        buf_free(&head);
    }
    json_t *rows = all_rows(columns);
    json_object_foreach(rows, name, value)
    {
        table_cell(&table, name);
        if (total != NULL) {
            add_value(&table, json_object_get(together, name));
        }
        json_array_foreach(columns, i, core)
        {
            add_value(&table, json_object_get(core, name));
        }
    }
    buf_add(out, "\n");
    table_put(out, &table, 0, color);
    table_free(&table);
    json_decref(rows);
    json_decref(columns);
    json_decref(together);
}

static bool show(struct cli *cli, bool again)
{
    struct buf out = {0};
    json_t *page = stats_page(cli);
    if (page == NULL) {
        return false;
    }
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, page);
        buf_add(&out, "\n");
    } else {
        if (again) {
            stats_clear(&out);
        }
        put_single(&out, page, cli->color);
        put_cores(&out, page, cli->color);
    }
    json_decref(page);
    return cli_print(&out);
}

bool command_stats(struct cli *cli)
{
    double seconds = 2;
    unsigned long count = 0; /* without end */
    bool watch = cli->args->given[OPT_WATCH];
    if (!stats_rounds(cli, &seconds, &count)) {
        return false;
    }
    bool good = show(cli, watch);
    for (unsigned long done = 1; good && watch && done != count; done++) {
        stats_sleep(seconds);
        good = show(cli, true);
    }
    return good;
}
