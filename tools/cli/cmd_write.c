/* create, update, delete. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/input.h"
#include "tools/cli/schema.h"
#include "tools/cli/set_error.h"
#include "tools/cli/source.h"
#include "tools/cli/view.h"

#include <stdio.h>
#include <stdlib.h>

/* --- input -------------------------------------------------------------------------------------
 */

static json_t *object_from_text(struct cli *cli)
{
    const char *json = argument(cli->args, OPT_JSON_TEXT), *file = argument(cli->args, OPT_FILE);
    if (json != NULL) {
        return input_object(json);
    }
    struct buf text = {0};
    bool good = file ? source_file(file, &text, SOURCE_MAX) : source_stdin(&text, SOURCE_MAX);
    json_t *object = good ? input_object(buf_text(&text)) : NULL;
    buf_free(&text);
    return object;
}

static json_t *object_from_fields(struct cli *cli, json_t *properties, enum input_mode mode)
{
    const struct values *fields = &cli->args->values[OPT_FIELD];
    json_t *object = need(json_object());
    for (size_t i = 0; i < fields->count; i++) {
        if (!input_field(object, fields->items[i], properties, mode)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* New reference: the object or patch from the one source that is given. none_is_fine: without a
 * source it is empty. */
static json_t *read_input(struct cli *cli, json_t *properties, enum input_mode mode,
                          bool none_is_fine)
{
    const bool *given = cli->args->given;
    int sources = given[OPT_FIELD] + given[OPT_JSON_TEXT] + given[OPT_FILE] + given[OPT_STDIN];
    if (sources > 1) {
        fail("only one of --field, --json, --file and --stdin can be used");
        return NULL;
    }
    if (sources == 0 && !none_is_fine) {
        fail("no input: use --field, --json, --file or --stdin");
        return NULL;
    }
    return sources == 0 || given[OPT_FIELD] ? object_from_fields(cli, properties, mode)
                                            : object_from_text(cli);
}

/* --- results -----------------------------------------------------------------------------------
 */

static void put_done(struct buf *out, const struct cli *cli, const char *verb, const char *object,
                     const char *id)
{
    buf_styled(out, cli->color, STYLE_GREEN, verb);
    buf_format(out, " %s ", schema_display(object));
    buf_styled(out, cli->color, STYLE_CYAN, id);
    buf_add(out, "\n");
}

static bool refused(const json_t *error, const char *what)
{
    struct buf text = {0};
    put_set_error(&text, error, "\n", false);
    fprintf(stderr, "%s\n", text.at);
    buf_free(&text);
    return fail("%s failed", what);
}

/* --- create ------------------------------------------------------------------------------------
 */

/* What the server gave beside the id, for example a secret that is shown once. */
static void put_created(struct buf *out, struct cli *cli, const char *object, const json_t *created)
{
    json_t *extras = need(json_copy((json_t *)(uintptr_t)created));
    json_object_del(extras, "id");
    if (json_object_size(extras) > 0) {
        struct labels labels = {0};
        struct look look = {
            .schema = cli->client.schema, .labels = &labels, .color = cli->color, .secrets = true};
        labels_look_up(&labels, &cli->client, schema_fields_of(look.schema, object, extras),
                       extras);
        buf_add(out, "\n");
        put_view(out, &look, object, extras);
        labels_free(&labels);
    }
    json_decref(extras);
}

static bool report_created(struct cli *cli, const char *object, const json_t *result)
{
    const json_t *error = json_object_get(json_object_get(result, "notCreated"), "n0");
    const json_t *created = json_object_get(json_object_get(result, "created"), "n0");
    const char *id = member_text(created, "id");
    if (error != NULL) {
        return refused(error, "create");
    }
    if (id == NULL) {
        return fail("unexpected server response: the created object has no id");
    }
    struct buf out = {0};
    put_done(&out, cli, "Created", object, id);
    put_created(&out, cli, object, created);
    return cli_print(&out);
}

static bool create(struct cli *cli, const char *object, const json_t *variant)
{
    json_t *schema = cli->client.schema;
    const char *name = member_text(variant, "name");
    json_t *properties =
        name ? json_incref(schema_fields(schema, object, name)) : schema_all_fields(schema, object);
    bool empty_variant = variant != NULL && member_text(variant, "schemaName") == NULL;
    json_t *input = read_input(cli, properties, INPUT_CREATE, empty_variant);
    json_decref(properties);
    if (input == NULL) {
        return false;
    }
    const char *at_type = member_text(input, "@type");
    if (name != NULL && json_object_get(input, "@type") == NULL) {
        json_object_set_new(input, "@type", json_string(name));
    } else if (name != NULL && (at_type == NULL || strcmp(at_type, name) != 0)) {
        fputs("warning: the @type in the input overrides the variant in OBJECT/VARIANT\n", stderr);
    }
    json_t *result =
        jmap_call(&cli->client, object, "set", need(json_pack("{s:{s:o}}", "create", "n0", input)));
    bool good = result != NULL && report_created(cli, object, result);
    json_decref(result);
    return good;
}

bool command_create(struct cli *cli)
{
    const char *typed = cli->args->plain.items[0], *slash = strchr(typed, '/');
    struct buf name = {0};
    buf_bytes(&name, typed, slash ? (size_t)(slash - typed) : strlen(typed));
    const char *object = schema_object(cli->client.schema, name.at);
    buf_free(&name);
    const json_t *variant = NULL;
    if (object != NULL && slash != NULL) {
        variant = schema_variant(cli->client.schema, object, slash + 1, true);
        if (schema_variants(cli->client.schema, object) == NULL) {
            return fail("%s has no variants; do not use OBJECT/VARIANT", schema_display(object));
        }
        if (variant == NULL) {
            return fail("unknown variant '%s' for object %s", slash + 1, schema_display(object));
        }
    }
    return object != NULL && create(cli, object, variant);
}

/* --- update ------------------------------------------------------------------------------------
 */

static bool report_updated(struct cli *cli, const char *object, const char *id,
                           const json_t *result)
{
    const json_t *error = json_object_get(json_object_get(result, "notUpdated"), id);
    const json_t *updated = json_object_get(json_object_get(result, "updated"), id);
    if (error != NULL) {
        return refused(error, "update");
    }
    if (updated == NULL) {
        return fail("%s: server did not acknowledge update for id `%s` (the id may not exist)",
                    schema_display(object), id);
    }
    struct buf out = {0};
    const char *name, *blank_line = "\n";
    json_t *value;
    put_done(&out, cli, "Updated", object, id);
    json_object_foreach((json_t *)(uintptr_t)updated, name, value)
    {
        buf_format(&out, "%s  %s: ", blank_line, name);
        put_json(&out, value);
        buf_add(&out, "\n");
        blank_line = "";
    }
    return cli_print(&out);
}

bool command_update(struct cli *cli)
{
    const char *object = cli_object(cli);
    const char *id = object ? cli_id(cli, object) : NULL;
    if (id == NULL) {
        return false;
    }
    json_t *properties = schema_all_fields(cli->client.schema, object);
    json_t *patch = read_input(cli, properties, INPUT_UPDATE, false);
    json_decref(properties);
    if (patch == NULL || json_object_size(patch) == 0) {
        bool empty = patch != NULL;
        json_decref(patch);
        return empty ? fail("no fields to update") : false;
    }
    json_t *result =
        jmap_call(&cli->client, object, "set", need(json_pack("{s:{s:o}}", "update", id, patch)));
    bool good = result != NULL && report_updated(cli, object, id, result);
    json_decref(result);
    return good;
}

/* --- delete ------------------------------------------------------------------------------------
 */

static json_t *ids_to_delete(struct cli *cli)
{
    const char *typed = argument(cli->args, OPT_IDS);
    if ((typed != NULL) == cli->args->given[OPT_STDIN]) {
        fail(typed ? "--ids and --stdin cannot both be used" : "either --ids or --stdin is needed");
        return NULL;
    }
    struct buf text = {0};
    if (typed != NULL) {
        buf_add(&text, typed);
    } else if (!source_stdin(&text, SOURCE_MAX)) {
        buf_free(&text);
        return NULL;
    }
    json_t *ids = input_ids(buf_text(&text));
    buf_free(&text);
    if (ids != NULL && json_array_size(ids) == 0) {
        fail("no ids are given");
        json_decref(ids);
        ids = NULL;
    }
    return ids;
}

static bool is_listed(const json_t *ids, const char *id)
{
    size_t i;
    json_t *item;
    json_array_foreach(ids, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), id) == 0) {
            return true;
        }
    }
    return false;
}

/* True: it is gone. */
static bool report_deleted(struct buf *out, const struct cli *cli, const char *id,
                           const json_t *result)
{
    const json_t *error = json_object_get(json_object_get(result, "notDestroyed"), id);
    bool gone = is_listed(json_object_get(result, "destroyed"), id);
    buf_styled(out, cli->color, gone ? STYLE_GREEN : STYLE_RED, id);
    if (gone) {
        buf_add(out, " deleted\n");
    } else if (error != NULL) {
        buf_add(out, " failed: ");
        put_set_error(out, error, "\n  ", false);
        buf_add(out, "\n");
    } else {
        buf_add(out, " failed: no response from server\n");
    }
    return gone;
}

static bool delete_chunk(struct cli *cli, const char *object, json_t *ids, size_t *deleted)
{
    json_t *result =
        jmap_call(&cli->client, object, "set", need(json_pack("{s:O}", "destroy", ids)));
    struct buf out = {0};
    size_t i;
    json_t *id;
    json_array_foreach(result ? ids : NULL, i, id)
    {
        *deleted += report_deleted(&out, cli, json_string_value(id), result);
    }
    bool good = result != NULL && cli_print(&out);
    json_decref(result);
    return good;
}

bool command_delete(struct cli *cli)
{
    const char *object = cli_object(cli);
    if (object == NULL) {
        return false;
    }
    if (schema_is_singleton(cli->client.schema, object)) {
        return fail("%s is a singleton and cannot be deleted", schema_display(object));
    }
    json_t *ids = ids_to_delete(cli);
    size_t count = json_array_size(ids), deleted = 0;
    bool good = ids != NULL;
    for (size_t begin = 0; good && begin < count; begin += cli->client.max_set) {
        json_t *chunk = need(json_array());
        for (size_t i = begin; i < count && i < begin + cli->client.max_set; i++) {
            json_array_append(chunk, json_array_get(ids, i));
        }
        good = delete_chunk(cli, object, chunk, &deleted);
        json_decref(chunk);
    }
    json_decref(ids);
    if (!good) {
        return false;
    }
    struct buf out = {0};
    buf_format(&out, "%zu deleted, %zu failed\n", deleted, count - deleted);
    return cli_print(&out) && (deleted == count || fail("one or more deletions failed"));
}
