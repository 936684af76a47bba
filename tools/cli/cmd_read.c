/* get and query. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/input.h"
#include "tools/cli/schema.h"
#include "tools/cli/table.h"
#include "tools/cli/view.h"

#include <stdlib.h>

/* New reference: the names of --fields; NULL without a failure: all (*out_good). */
static json_t *wanted_fields(struct cli *cli, const char *object, bool *out_good)
{
    const struct values *values = &cli->args->values[OPT_FIELDS];
    *out_good = true;
    if (values->count == 0) {
        return NULL;
    }
    json_t *properties = schema_all_fields(cli->client.schema, object);
    json_t *names = need(json_array());
    for (size_t i = 0; i < values->count && *out_good; i++) {
        *out_good = input_names(names, values->items[i], properties);
    }
    json_decref(properties);
    return names;
}

/* --- get ---------------------------------------------------------------------------------------
 */

static void show_object(struct cli *cli, const char *object, const json_t *value, struct buf *out)
{
    struct labels labels = {0};
    struct look look = {.schema = cli->client.schema, .labels = &labels, .color = cli->color};
    labels_look_up(&labels, &cli->client, schema_fields_of(cli->client.schema, object, value),
                   value);
    put_view(out, &look, object, value);
    labels_free(&labels);
}

static bool show_result(struct cli *cli, const char *object, const char *id, const json_t *result)
{
    const json_t *list = json_object_get(result, "list"), *value = json_array_get(list, 0);
    struct buf out = {0};
    if (!json_is_array(list)) {
        return fail("unexpected server response: get has no 'list'");
    }
    if (value == NULL) {
        return fail("%s %s not found", schema_display(object), id);
    }
    if (!json_is_object(value)) {
        return fail("unexpected server response: get did not return an object");
    }
    if (cli->args->given[OPT_JSON]) {
        put_json(&out, value);
        buf_add(&out, "\n");
    } else {
        show_object(cli, object, value, &out);
    }
    return cli_print(&out);
}

bool command_get(struct cli *cli)
{
    const char *object = cli_object(cli);
    const char *id = object ? cli_id(cli, object) : NULL;
    bool good;
    json_t *names = id ? wanted_fields(cli, object, &good) : NULL;
    if (id == NULL || !good) {
        json_decref(names);
        return false;
    }
    json_t *result = jmap_call(
        &cli->client, object, "get",
        need(json_pack("{s:[s],s:o}", "ids", id, "properties", names ? names : json_null())));
    good = result != NULL && show_result(cli, object, id, result);
    json_decref(result);
    return good;
}

/* --- query -------------------------------------------------------------------------------------
 */

struct query {
    struct cli *cli;
    const char *object;
    json_t *filter;
    json_t *columns;    /* names; NULL: only ids are known */
    json_t *properties; /* of all variants */
    struct labels labels;
};

/* Names from --fields, else id and the columns of the type's list; NULL: there are none. */
static json_t *columns_of(struct query *query, bool *out_good)
{
    json_t *names = wanted_fields(query->cli, query->object, out_good), *column;
    const json_t *list = schema_list(query->cli->client.schema, query->object);
    if (names != NULL || list == NULL) {
        return names;
    }
    names = need(json_pack("[s]", "id"));
    size_t i;
    json_array_foreach(json_object_get(list, "columns"), i, column)
    {
        const char *name = member_text(column, "name");
        if (name != NULL && strcmp(name, "id") != 0) {
            json_array_append_new(names, json_string(name));
        }
    }
    return names;
}

static const char *column_label(struct query *query, const char *name)
{
    json_t *schema = query->cli->client.schema;
    const json_t *columns = json_object_get(schema_list(schema, query->object), "columns");
    size_t i;
    json_t *column;
    json_array_foreach(query->cli->args->given[OPT_FIELDS] ? NULL : columns, i, column)
    {
        const char *its = member_text(column, "name");
        if (its != NULL && strcmp(its, name) == 0 && member_text(column, "label") != NULL) {
            return member_text(column, "label");
        }
    }
    if (strcmp(name, "id") == 0) {
        return query->cli->args->given[OPT_FIELDS] ? "id" : "Id";
    }
    const char *label = schema_field_label(schema, query->object, name);
    return label ? label : name;
}

static void add_row(struct query *query, struct table *table, const json_t *row)
{
    struct look look = {
        .schema = query->cli->client.schema, .labels = &query->labels, .color = query->cli->color};
    size_t i;
    json_t *name;
    json_array_foreach(query->columns, i, name)
    {
        const char *column = json_string_value(name);
        const json_t *value = json_object_get(row, column);
        struct buf cell = {0};
        if (value != NULL) {
            put_value(&cell, &look, field_type(json_object_get(query->properties, column)), value);
        }
        table_cell(table, buf_text(&cell));
        buf_free(&cell);
    }
}

static void show_rows(struct query *query, const json_t *rows, struct buf *out)
{
    struct table table = {.columns = json_array_size(query->columns), .short_cells = true};
    size_t i;
    json_t *item;
    labels_look_up_all(&query->labels, &query->cli->client, query->properties, rows);
    json_array_foreach(query->columns, i, item)
    {
        table_cell(&table, column_label(query, json_string_value(item)));
    }
    json_array_foreach(rows, i, item)
    {
        add_row(query, &table, item);
    }
    table_put(out, &table, 0, query->cli->color);
    table_free(&table);
}

/* Rows or ids of one page. */
static bool show_page(struct query *query, const json_t *items)
{
    struct buf out = {0};
    size_t i;
    json_t *item;
    bool json = query->cli->args->given[OPT_JSON];
    if (!json && query->columns != NULL) {
        show_rows(query, items, &out);
        return cli_print(&out);
    }
    json_array_foreach(items, i, item)
    {
        if (json) {
            put_json(&out, item);
        } else {
            buf_add(&out, json_is_string(item) ? json_string_value(item) : "?");
        }
        buf_add(&out, "\n");
    }
    return cli_print(&out);
}

/* New reference: the rows or ids of the page after anchor; NULL: failure. */
static json_t *fetch_page(struct query *query, const char *anchor)
{
    struct client *client = &query->cli->client;
    json_t *args = jmap_page(query->filter, client->max_get, anchor, true);
    json_t *found = NULL, *got = NULL, *items = NULL;
    if (query->columns == NULL) {
        got = jmap_call(client, query->object, "query", args);
        items = got ? json_object_get(got, "ids") : NULL;
    } else if (jmap_query_get(client, query->object, args, json_incref(query->columns), &found,
                              &got)) {
        items = json_object_get(got, "list");
    }
    if (got != NULL && !json_is_array(items)) {
        fail("unexpected server response: query has no 'ids'");
        items = NULL;
    }
    json_incref(items);
    json_decref(found);
    json_decref(got);
    return items;
}

static bool run_query(struct query *query)
{
    char *anchor = NULL;
    bool good, more;
    do {
        json_t *items = fetch_page(query, anchor);
        free(anchor);
        const char *last = last_id(items);
        anchor = last ? need(strdup(last)) : NULL;
        good = items != NULL && (json_array_size(items) == 0 || show_page(query, items));
        more = good && anchor != NULL && json_array_size(items) >= query->cli->client.max_get;
        json_decref(items);
    } while (more);
    free(anchor);
    return good;
}

static bool filter_of(struct query *query)
{
    const struct values *where = &query->cli->args->values[OPT_WHERE];
    for (size_t i = 0; i < where->count; i++) {
        if (!input_where(query->filter, where->items[i], query->properties)) {
            return false;
        }
    }
    return true;
}

bool command_query(struct cli *cli)
{
    struct query query = {.cli = cli, .object = cli_object(cli)};
    if (query.object == NULL) {
        return false;
    }
    if (schema_is_singleton(cli->client.schema, query.object)) {
        return fail("%s is a singleton and does not support query", schema_display(query.object));
    }
    bool good;
    query.filter = need(json_object());
    query.properties = schema_all_fields(cli->client.schema, query.object);
    query.columns = columns_of(&query, &good);
    good = good && filter_of(&query) && run_query(&query);
    json_decref(query.filter);
    json_decref(query.properties);
    json_decref(query.columns);
    labels_free(&query.labels);
    return good;
}
