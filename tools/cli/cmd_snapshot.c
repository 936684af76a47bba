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
    json_t *fetched;                         /* type -> array of objects, where they are few */
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

typedef bool (*object_fn)(void *arg, const json_t *value);

/* Keeps the objects of a type as long as one page has them all: its parts need them again. */
struct pass {
    object_fn each;
    void *arg;
    json_t *page; /* NULL: there are more */
    size_t most;
};

static bool pass_one(void *arg, const json_t *value)
{
    struct pass *pass = arg;
    if (pass->page != NULL && json_array_size(pass->page) == pass->most) {
        json_decref(pass->page);
        pass->page = NULL;
    }
    if (pass->page != NULL) {
        json_array_append(pass->page, (json_t *)(uintptr_t)value);
    }
    return pass->each(pass->arg, value);
}

/* Calls each for all objects of the type until it is false (a failure). */
static bool each_object(struct snapshot *s, const char *object, object_fn each, void *arg)
{
    json_t *kept = json_object_get(s->fetched, object), *value;
    size_t i;
    json_array_foreach(kept, i, value)
    {
        if (!each(arg, value)) {
            return false;
        }
    }
    if (kept != NULL) {
        return true;
    }
    struct pass pass = {
        .each = each, .arg = arg, .page = need(json_array()), .most = s->cli->client.max_get};
    bool good = jmap_each_object(&s->cli->client, object, false, pass_one, &pass);
    if (good && pass.page != NULL) {
        json_object_set(s->fetched, object, pass.page);
    }
    json_decref(pass.page);
    return good;
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
                        json_t *match_key)
{
    json_t *entry = snapshot_value(&s->rules, part->object, value), *flag, *name;
    const char *field;
    size_t i;
    json_object_foreach(part->later, field, flag)
    {
        json_object_del(entry, field);
    }
    json_array_foreach(match_key, i, name)
    {
        json_t *key = json_object_get(value, json_string_value(name));
        if (key != NULL && json_object_get(entry, json_string_value(name)) == NULL) {
            json_object_set(entry, json_string_value(name), key);
        }
    }
    return entry;
}

/* The entries of a part, as many on a line as are asked for at a time. */
struct lot {
    struct snapshot *s;
    const struct snapshot_part *part;
    json_t *match_key; /* what apply matches by, an array; NULL: nothing */
    json_t *entries;
    size_t count; /* of all lines */
};

static bool write_lot(struct lot *lot)
{
    json_t *op = need(
        json_pack("{s:s,s:s}", "@type", "upsert", "object", schema_display(lot->part->object)));
    if (lot->match_key != NULL) {
        json_object_set(op, "matchOn", lot->match_key);
    }
    json_object_set_new(op, "value", lot->entries);
    lot->entries = need(json_object());
    return write_op(lot->s, op);
}

static bool add_entry(void *arg, const json_t *value)
{
    struct lot *lot = arg;
    struct snapshot *s = lot->s;
    if (!is_of(lot->part, value)) {
        return true;
    }
    if (json_object_size(lot->entries) == s->cli->client.max_get && !write_lot(lot)) {
        return false;
    }
    struct buf id = {0};
    put_client_id(&id, lot->part->object, member_text(value, "id"));
    json_object_set_new(lot->entries, id.at, entry_of(s, lot->part, value, lot->match_key));
    buf_free(&id);
    lot->count++;
    return true;
}

static bool write_part(struct snapshot *s, const struct snapshot_part *part)
{
    struct lot lot = {.s = s,
                      .part = part,
                      .match_key = schema_match_key(s->schema, part->object),
                      .entries = need(json_object())};
    bool good = each_object(s, part->object, add_entry, &lot);
    if (good) {
        tell(s, part->object, part->variant, lot.count);
        warn_masked(s, part->object);
    }
    if (good && lot.count > 0) {
        if (lot.match_key == NULL) {
            fprintf(stderr, "warning: %s has no match key: apply matches it by value\n",
                    schema_display(part->object));
        }
        good = write_lot(&lot);
    }
    json_decref(lot.match_key);
    json_decref(lot.entries);
    return good;
}

struct later {
    struct snapshot *s;
    const struct snapshot_part *part;
};

static bool write_one_later(void *arg, const json_t *value)
{
    const struct later *later = arg;
    const struct snapshot_part *part = later->part;
    if (!is_of(part, value)) {
        return true;
    }
    json_t *whole = snapshot_value(&later->s->rules, part->object, value), *flag;
    json_t *patch = need(json_object());
    const char *field;
    json_object_foreach(part->later, field, flag)
    {
        json_t *its = json_object_get(whole, field);
        if (its != NULL) {
            json_object_set(patch, field, its);
        }
    }
    struct buf id = {0};
    buf_add(&id, "#");
    put_client_id(&id, part->object, member_text(value, "id"));
    bool good = true;
    if (json_object_size(patch) > 0) {
        good = write_op(later->s,
                        need(json_pack("{s:s,s:s,s:s,s:O}", "@type", "update", "object",
                                       schema_display(part->object), "id", id.at, "value", patch)));
    }
    buf_free(&id);
    json_decref(patch);
    json_decref(whole);
    return good;
}

/* The fields that had to wait, as updates. */
static bool write_later(struct snapshot *s, const struct snapshot_part *part)
{
    struct later later = {.s = s, .part = part};
    bool good =
        json_object_size(part->later) == 0 || each_object(s, part->object, write_one_later, &later);
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
