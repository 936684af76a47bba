/* snapshot: objects of the server as a plan that makes them again. */
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/snapshot_order.h"
#include "tools/cli/snapshot_value.h"
#include "tools/cli/value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct snapshot {
    struct cli *cli;
    json_t *schema;
    json_t *objects, *singletons, *selected; /* arrays of names; the last has both */
    json_t *allowed;                         /* name -> true */
    json_t *fetched;                         /* type -> array of objects */
    struct snapshot_order order;
    struct snapshot_rules rules;
    FILE *file; /* NULL: standard output */
};

static void tell(const struct snapshot *s, const char *object, const char *variant, size_t count)
{
    if (!s->cli->args->given[OPT_QUIET]) {
        fprintf(stderr, "%s%s%s: %zu\n", schema_display(object), variant ? "/" : "",
                variant ? variant : "", count);
    }
}

static void warn_masked(struct snapshot *s, const char *object)
{
    if (s->rules.masked) {
        fprintf(stderr, "warning: %s has secrets that the server does not give\n",
                schema_display(object));
    }
    s->rules.masked = false;
}

static bool write_line(struct snapshot *s, struct buf *line)
{
    buf_add(line, "\n");
    if (s->file == NULL) {
        return cli_print(line);
    }
    bool good = fwrite(line->at, 1, line->len, s->file) == line->len;
    buf_free(line);
    return good || fail("%s: %s", argument(s->cli->args, OPT_OUTPUT), strerror(errno));
}

/* Takes op. */
static bool write_op(struct snapshot *s, json_t *op)
{
    struct buf line = {0};
    put_json(&line, op);
    json_decref(op);
    return write_line(s, &line);
}

/* --- objects -----------------------------------------------------------------------------------
 */

/* Borrowed: all objects of the type. */
static json_t *fetch(struct snapshot *s, const char *object)
{
    json_t *objects = json_object_get(s->fetched, object);
    if (objects != NULL) {
        return objects;
    }
    objects = need(json_array());
    if (!jmap_all_objects(&s->cli->client, object, false, objects)) {
        json_decref(objects);
        return NULL;
    }
    json_object_set_new(s->fetched, object, objects);
    return objects;
}

static bool is_of(const struct snapshot_part *part, const json_t *value)
{
    const char *at_type = member_text(value, "@type");
    return member_text(value, "id") != NULL &&
           (part->variant == NULL ? at_type == NULL
                                  : at_type != NULL && strcmp(at_type, part->variant) == 0);
}

/* New reference: the object without the fields that are set later, but with its match key. */
static json_t *entry_of(struct snapshot *s, const struct snapshot_part *part, const json_t *value,
                        const char *label)
{
    json_t *entry = snapshot_value(&s->rules, part->object, value), *flag;
    const char *field;
    json_object_foreach(part->later, field, flag)
    {
        json_object_del(entry, field);
    }
    json_t *key = label ? json_object_get(value, label) : NULL;
    if (key != NULL && json_object_get(entry, label) == NULL) {
        json_object_set(entry, label, key);
    }
    return entry;
}

static bool write_part(struct snapshot *s, const struct snapshot_part *part)
{
    json_t *objects = fetch(s, part->object), *entries = need(json_object()), *value;
    const char *label = schema_label(s->schema, part->object);
    size_t i;
    json_array_foreach(objects, i, value)
    {
        if (is_of(part, value)) {
            struct buf id = {0};
            put_client_id(&id, part->object, member_text(value, "id"));
            json_object_set_new(entries, id.at, entry_of(s, part, value, label));
            buf_free(&id);
        }
    }
    bool good = objects != NULL;
    size_t count = json_object_size(entries);
    if (good) {
        tell(s, part->object, part->variant, count);
        warn_masked(s, part->object);
    }
    if (good && count > 0) {
        json_t *op =
            need(json_pack("{s:s,s:s}", "@type", "upsert", "object", schema_display(part->object)));
        if (label != NULL) {
            json_object_set_new(op, "matchOn", need(json_pack("[s]", label)));
        } else {
            fprintf(stderr, "warning: %s has no match key: apply matches it by value\n",
                    schema_display(part->object));
        }
        json_object_set(op, "value", entries);
        good = write_op(s, op);
    }
    json_decref(entries);
    return good;
}

/* The fields that had to wait, as updates. */
static bool write_later(struct snapshot *s, const struct snapshot_part *part)
{
    json_t *objects = json_object_size(part->later) > 0 ? fetch(s, part->object) : NULL, *value;
    size_t i;
    bool good = true;
    json_array_foreach(objects, i, value)
    {
        if (!good || !is_of(part, value)) {
            continue;
        }
        json_t *whole = snapshot_value(&s->rules, part->object, value), *flag;
        json_t *patch = need(json_object());
        const char *field;
        json_object_foreach(part->later, field, flag)
        {
            json_t *later = json_object_get(whole, field);
            if (later != NULL) {
                json_object_set(patch, field, later);
            }
        }
        struct buf id = {0};
        buf_add(&id, "#");
        put_client_id(&id, part->object, member_text(value, "id"));
        if (json_object_size(patch) > 0) {
            good = write_op(
                s, need(json_pack("{s:s,s:s,s:s,s:O}", "@type", "update", "object",
                                  schema_display(part->object), "id", id.at, "value", patch)));
        }
        buf_free(&id);
        json_decref(patch);
        json_decref(whole);
    }
    s->rules.masked = false; /* was said */
    return good;
}

static bool write_singleton(struct snapshot *s, const char *object)
{
    json_t *result = jmap_call(&s->cli->client, object, "get",
                               need(json_pack("{s:[s],s:n}", "ids", "singleton", "properties")));
    const json_t *value = json_array_get(json_object_get(result, "list"), 0);
    bool good = result != NULL && (json_is_object(value) ||
                                   fail("singleton %s returned no value", schema_display(object)));
    if (good) {
        json_t *patch = snapshot_value(&s->rules, object, value);
        tell(s, object, NULL, 1);
        warn_masked(s, object);
        good = write_op(s, need(json_pack("{s:s,s:s,s:o}", "@type", "update", "object",
                                          schema_display(object), "value", patch)));
    }
    json_decref(result);
    return good;
}

/* --- the command -------------------------------------------------------------------------------
 */

static bool select_objects(struct snapshot *s)
{
    const struct values *plain = &s->cli->args->plain;
    json_t *seen = need(json_object());
    bool good = true;
    for (size_t i = 0; good && i < plain->count; i++) {
        const char *typed = plain->items[i];
        const char *object = strchr(typed, '/') == NULL ? schema_object(s->schema, typed) : NULL;
        if (strchr(typed, '/') != NULL) {
            fail("snapshot takes all variants of an object; use its bare name, not %s", typed);
        }
        good = object != NULL;
        if (good && json_object_get(seen, object) == NULL) {
            bool single = schema_is_singleton(s->schema, object);
            json_object_set_new(seen, object, json_true());
            json_array_append_new(single ? s->singletons : s->objects, json_string(object));
            json_array_append_new(s->selected, json_string(object));
        }
    }
    json_decref(seen);
    return good;
}

static bool allow_objects(struct snapshot *s)
{
    const struct values *given = &s->cli->args->values[OPT_ALLOW_UNRESOLVED];
    bool good = true;
    for (size_t i = 0; good && i < given->count; i++) {
        for (const char *at = given->items[i]; good && *at != '\0'; at += *at == ',') {
            size_t len = strcspn(at, ",");
            struct buf name = {0};
            buf_bytes(&name, at, len);
            const char *object = schema_object(s->schema, name.at);
            good = object != NULL;
            if (good) {
                json_object_set_new(s->allowed, object, json_true());
            }
            buf_free(&name);
            at += len;
        }
    }
    return good;
}

static bool write_all(struct snapshot *s)
{
    bool good = true;
    size_t i;
    json_t *name;
    for (i = 0; good && i < s->order.count; i++) {
        good = write_part(s, &s->order.parts[s->order.order[i]]);
    }
    for (i = 0; good && i < s->order.count; i++) {
        good = write_later(s, &s->order.parts[s->order.order[i]]);
    }
    json_array_foreach(s->singletons, i, name)
    {
        good = good && write_singleton(s, json_string_value(name));
    }
    return good;
}

static bool with_file(struct snapshot *s)
{
    const char *path = argument(s->cli->args, OPT_OUTPUT);
    if (path == NULL) {
        return write_all(s);
    }
    s->file = fopen(path, "we");
    if (s->file == NULL) {
        return fail("%s: %s", path, strerror(errno));
    }
    bool good = write_all(s);
    return (fclose(s->file) == 0 || fail("%s: %s", path, strerror(errno))) && good;
}

bool command_snapshot(struct cli *cli)
{
    struct snapshot s = {.cli = cli,
                         .schema = cli->client.schema,
                         .objects = need(json_array()),
                         .singletons = need(json_array()),
                         .selected = need(json_array()),
                         .allowed = need(json_object()),
                         .fetched = need(json_object())};
    s.rules = (struct snapshot_rules){.schema = s.schema,
                                      .allowed = s.allowed,
                                      .with_secrets = cli->args->given[OPT_INCLUDE_SECRETS]};
    bool good =
        select_objects(&s) && allow_objects(&s) && snapshot_check(s.schema, s.selected, s.allowed);
    if (good) {
        good = snapshot_order(&s.order, s.schema, s.objects) && with_file(&s);
        snapshot_order_free(&s.order);
    }
    json_decref(s.objects);
    json_decref(s.singletons);
    json_decref(s.selected);
    json_decref(s.allowed);
    json_decref(s.fetched);
    return good;
}
