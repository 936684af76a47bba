/* apply: carries a plan out. Destroys first, in reverse order; then the other operations; last what
 * reconciles found to be too much, in reverse order. */
#include "tools/cli/apply_match.h"
#include "tools/cli/apply_report.h"
#include "tools/cli/apply_scope.h"
#include "tools/cli/cli.h"
#include "tools/cli/fail.h"
#include "tools/cli/schema.h"
#include "tools/cli/set_error.h"
#include "tools/cli/source.h"

#include <stdlib.h>

enum { EXPLAIN_MAX = 4000000 }; /* plan, and recipients: both go in one request */

struct apply {
    struct cli *cli;
    struct plan plan;
    struct matcher matcher;
    json_t *ids;     /* client id -> id, of those that something refers to */
    json_t *touched; /* type -> id -> true: created or changed by the plan */
    json_t *surplus; /* [{"object", "index", "ids": [...]}] of reconciles */
    struct report report;
};

static json_t *member_object(json_t *parent, const char *name)
{
    json_t *child = json_object_get(parent, name);
    if (child == NULL) {
        child = need(json_object());
        json_object_set_new(parent, name, child);
    }
    return child;
}

static void touch(struct apply *a, const char *object, const char *id)
{
    if (a->plan.ops[OP_RECONCILE] > 0) { /* nobody else asks */
        json_object_set_new(member_object(a->touched, object), id, json_true());
    }
}

/* --- client ids --------------------------------------------------------------------------------
 */

/* A plan may make a million objects; few are referred to. */
static void note_id(struct apply *a, const char *name, const char *id)
{
    if (id != NULL && plan_refers(&a->plan, name)) {
        json_object_set_new(a->ids, name, json_string(id));
    }
}

static void add_ref(const struct apply *a, const char *ref, const json_t *chunk, json_t *refs)
{
    json_t *id = ref ? json_object_get(a->ids, ref) : NULL;
    if (id != NULL && json_object_get(chunk, ref) == NULL) {
        json_object_set(refs, ref, id);
    }
}

/* Adds to refs the ids of all client ids in value that are known and not created in the same call
 * (chunk, may be NULL). */
static void collect_refs(const struct apply *a, const json_t *value, const json_t *chunk,
                         json_t *refs)
{
    const char *name;
    json_t *item;
    size_t i;
    add_ref(a, client_ref(value), chunk, refs);
    json_array_foreach(value, i, item)
    {
        collect_refs(a, item, chunk, refs);
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, item)
    {
        add_ref(a, name[0] == '#' ? name + 1 : NULL, chunk, refs);
        collect_refs(a, item, chunk, refs);
    }
}

/* A set with the client ids it refers to. */
static json_t *call_set(struct apply *a, const char *object, json_t *args, const json_t *value,
                        const json_t *chunk)
{
    json_t *refs = need(json_object()), *made = need(json_object()), *id;
    const char *name;
    collect_refs(a, value, chunk, refs);
    json_t *result = jmap_call_refs(&a->cli->client, object, "set", args, refs, made);
    json_object_foreach(made, name, id)
    {
        note_id(a, name, json_string_value(id));
    }
    json_decref(refs);
    json_decref(made);
    return result;
}

/* Fails with the first error of a set's answer; true: there is none. */
static bool none_refused(const char *object, const json_t *errors, const char *what)
{
    const char *id;
    json_t *error;
    json_object_foreach((json_t *)(uintptr_t)errors, id, error)
    {
        struct buf text = {0};
        put_set_error(&text, error, " | ", false);
        fail("%s: %s failed for `%s`: %s", schema_display(object), what, id, text.at);
        buf_free(&text);
        return false;
    }
    return true;
}

/* --- set ---------------------------------------------------------------------------------------
 */

/* Notes what the server created: the objects as sent, with what it added. */
static size_t note_created(struct apply *a, const char *object, const json_t *chunk,
                           const json_t *created)
{
    const char *name;
    json_t *given;
    size_t count = 0;
    json_object_foreach((json_t *)(uintptr_t)created, name, given)
    {
        const char *id = member_text(given, "id");
        if (id == NULL) {
            continue;
        }
        json_t *value = need(json_copy(json_object_get(chunk, name)));
        json_object_update(value, given);
        note_id(a, name, id);
        touch(a, object, id);
        count += matcher_created(&a->matcher, object, value);
        json_decref(value);
    }
    return count;
}

static bool create_chunk(struct apply *a, const char *object, json_t *chunk, size_t *created)
{
    json_t *result = call_set(a, object, need(json_pack("{s:O}", "create", chunk)), chunk, chunk);
    if (result == NULL) {
        return false;
    }
    size_t count = note_created(a, object, chunk, json_object_get(result, "created"));
    *created += count;
    bool good = none_refused(object, json_object_get(result, "notCreated"), "create") &&
                (count == json_object_size(chunk) ||
                 fail("%s: the server did not say what became of %zu objects",
                      schema_display(object), json_object_size(chunk) - count));
    json_decref(result);
    return good;
}

static bool create_all(struct apply *a, const char *object, json_t *value, size_t *created)
{
    size_t left = json_object_size(value), most = a->cli->client.max_set, batch = 0;
    void *at = json_object_iter(value);
    bool good = true;
    while (good && at != NULL) {
        json_t *chunk = need(json_object());
        for (size_t i = 0; i < most && at != NULL; i++, left--) {
            json_object_set(chunk, json_object_iter_key(at), json_object_iter_value(at));
            at = json_object_iter_next(value, at);
        }
        report_batch(&a->report, "creating", object, ++batch, json_object_size(chunk));
        good = create_chunk(a, object, chunk, created);
        json_decref(chunk);
    }
    return good;
}

/* id -> patch, at most as many as the server takes in one call. */
static bool update_chunk(struct apply *a, const char *object, json_t *patches, size_t *updated)
{
    json_t *result =
        call_set(a, object, need(json_pack("{s:O}", "update", patches)), patches, NULL);
    if (result == NULL) {
        return false;
    }
    bool good = true;
    const char *id, *silent = NULL;
    json_t *patch, *refused = json_object_get(result, "notUpdated");
    json_object_foreach(patches, id, patch)
    {
        if (json_object_get(json_object_get(result, "updated"), id) != NULL) {
            good = matcher_updated(&a->matcher, object, id, patch) && good;
            touch(a, object, id);
            *updated += 1;
        } else if (json_object_get(refused, id) == NULL) {
            silent = id;
        }
    }
    good = good && none_refused(object, refused, "update") &&
           (silent == NULL ||
            fail("%s: server did not acknowledge update for id `%s` (the id may not exist)",
                 schema_display(object), silent));
    json_decref(result);
    return good;
}

static bool update_all(struct apply *a, const char *object, json_t *patches, size_t *updated)
{
    size_t most = a->cli->client.max_set, batch = 0;
    void *at = json_object_iter(patches);
    bool good = true;
    while (good && at != NULL) {
        json_t *chunk = need(json_object());
        for (size_t i = 0; i < most && at != NULL; i++) {
            json_object_set(chunk, json_object_iter_key(at), json_object_iter_value(at));
            at = json_object_iter_next(patches, at);
        }
        report_batch(&a->report, "updating", object, ++batch, json_object_size(chunk));
        good = update_chunk(a, object, chunk, updated);
        json_decref(chunk);
    }
    return good;
}

static bool destroy_all(struct apply *a, const char *object, json_t *ids, size_t *destroyed)
{
    size_t count = json_array_size(ids), most = a->cli->client.max_set;
    bool good = true;
    for (size_t begin = 0; good && begin < count; begin += most) {
        json_t *chunk = need(json_array());
        for (size_t i = begin; i < count && i < begin + most; i++) {
            json_array_append(chunk, json_array_get(ids, i));
        }
        report_batch(&a->report, "destroying", object, begin / most + 1, json_array_size(chunk));
        json_t *result =
            jmap_call(&a->cli->client, object, "set", need(json_pack("{s:O}", "destroy", chunk)));
        size_t gone = json_array_size(json_object_get(result, "destroyed"));
        *destroyed += gone;
        good = result != NULL &&
               none_refused(object, json_object_get(result, "notDestroyed"), "destroy") &&
               (gone == json_array_size(chunk) ||
                fail("%s: the server did not say what became of %zu objects",
                     schema_display(object), json_array_size(chunk) - gone));
        json_decref(result);
        json_decref(chunk);
    }
    if (count > 0) {
        matcher_forget(&a->matcher, object);
    }
    return good;
}

/* --- upsert and reconcile ----------------------------------------------------------------------
 */

/* The work of one operation. */
struct split {
    json_t *creates; /* client id -> object */
    json_t *updates; /* id -> patch */
    json_t *matched; /* id -> true */
};

/* New reference: without properties that cannot be sent. */
static json_t *sendable(json_t *schema, const char *object, const json_t *value, bool is_patch)
{
    json_t *out = need(json_object()), *part;
    json_t *fields = schema_fields_of(schema, object, value);
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)value, name, part)
    {
        const json_t *field = json_object_get(fields, name);
        bool drop = field_is_mode(field, "serverSet") ||
                    (is_patch && field_is_mode(field, "immutable")) ||
                    (is_patch && strcmp(name, "@type") == 0);
        if (!drop) {
            json_object_set(out, name, part);
        }
    }
    return out;
}

static bool split_one(struct apply *a, const struct match_key *key, const char *name,
                      const json_t *value, struct split *split)
{
    const char *id;
    if (!matcher_find(&a->matcher, key, value, a->ids, &id)) {
        return false;
    }
    json_t *part = sendable(a->matcher.schema, key->object, value, id != NULL);
    if (id == NULL) {
        json_object_set(split->creates, name, part);
    } else {
        note_id(a, name, id);
        json_object_set_new(split->matched, id, json_true());
        touch(a, key->object, id);
        if (json_object_size(part) > 0) {
            json_object_set(split->updates, id, part);
        }
    }
    json_decref(part);
    return true;
}

/* Two entries that are matched alike would be created twice, or change one object twice. */
static bool is_new(struct apply *a, const struct op *op, const struct match_key *key,
                   const char *name, const json_t *value, json_t *seen)
{
    char *signature = match_signature(key, a->matcher.schema, value, a->ids);
    const char *other = signature ? member_text(seen, signature) : NULL;
    if (other != NULL) {
        fail("%s operation #%zu (%s): `%s` and `%s` are matched alike", op_names[op->kind],
             op->index + 1, schema_display(op->object), other, name);
    } else if (signature != NULL) {
        json_object_set_new(seen, signature, json_string(name));
    }
    free(signature);
    return signature != NULL && other == NULL;
}

static bool split_all(struct apply *a, const struct op *op, const struct match_key *key,
                      struct split *split)
{
    json_t *seen = need(json_object()), *entry;
    const char *name;
    bool good = true;
    json_object_foreach(op->value, name, entry)
    {
        json_t *value = need(json_copy(entry));
        json_object_update_missing(value, key->scope);
        good =
            good && is_new(a, op, key, name, value, seen) && split_one(a, key, name, value, split);
        json_decref(value);
    }
    json_decref(seen);
    return good;
}

static bool change_all(struct apply *a, const char *object, const struct split *split,
                       struct done *done)
{
    return create_all(a, object, split->creates, &done->created) &&
           update_all(a, object, split->updates, &done->updated);
}

struct surplus {
    const json_t *matched, *touched;
    json_t *ids;
};

static void add_surplus(void *arg, const char *id)
{
    struct surplus *surplus = arg;
    if (json_object_get(surplus->matched, id) == NULL &&
        json_object_get(surplus->touched, id) == NULL) {
        json_array_append_new(surplus->ids, json_string(id));
    }
}

/* What is in scope and neither matched nor created here: to be destroyed at the end. */
static void note_surplus(struct apply *a, const struct op *op, const struct match_key *key,
                         const struct split *split)
{
    struct surplus surplus = {.matched = split->matched,
                              .touched = json_object_get(a->touched, op->object),
                              .ids = need(json_array())};
    matcher_each_in_scope(&a->matcher, key, add_surplus, &surplus);
    json_array_append_new(a->surplus, need(json_pack("{s:s,s:I,s:o}", "object", op->object, "index",
                                                     (json_int_t)op->index, "ids", surplus.ids)));
}

static bool match_and_change(struct apply *a, const struct op *op, struct done *done)
{
    if (!matcher_load(&a->matcher, &a->cli->client, op->object)) {
        return false;
    }
    struct match_key key = {.object = op->object,
                            .properties = op_match_properties(op, a->matcher.schema),
                            .scope = scope_resolve(op, a->matcher.schema, a->ids)};
    struct split split = {need(json_object()), need(json_object()), need(json_object())};
    if (key.properties == NULL && !op->by_value) {
        report_by_value(&a->report, op->object);
    }
    bool good = (op->scope == NULL || key.scope != NULL) && split_all(a, op, &key, &split) &&
                change_all(a, op->object, &split, done);
    if (good && op->kind == OP_RECONCILE) {
        note_surplus(a, op, &key, &split);
    }
    json_decref(split.creates);
    json_decref(split.updates);
    json_decref(split.matched);
    json_decref(key.properties);
    json_decref(key.scope);
    return good;
}

/* --- operations --------------------------------------------------------------------------------
 */

static bool run_destroy(struct apply *a, const struct op *op, struct done *done)
{
    json_t *ids = need(json_array());
    bool good = jmap_all_ids(&a->cli->client, op->object, op->value, ids) &&
                destroy_all(a, op->object, ids, &done->destroyed);
    json_decref(ids);
    return good;
}

static bool run_update(struct apply *a, const struct op *op, struct done *done)
{
    const char *id = op->id;
    if (id[0] == '#' && id[1] != '\0') {
        id = member_text(a->ids, id + 1);
        if (id == NULL) {
            return fail("%s: `%s` was not created", schema_display(op->object), op->id);
        }
    }
    json_t *patches = need(json_pack("{s:O}", id, op->value));
    bool good = update_chunk(a, op->object, patches, &done->updated);
    json_decref(patches);
    return good;
}

static bool run_create(struct apply *a, const struct op *op, struct done *done)
{
    return create_all(a, op->object, op->value, &done->created);
}

static bool (*const runs[OP_KINDS])(struct apply *a, const struct op *op, struct done *done) = {
    [OP_DESTROY] = run_destroy,     [OP_UPDATE] = run_update,          [OP_CREATE] = run_create,
    [OP_UPSERT] = match_and_change, [OP_RECONCILE] = match_and_change,
};

static void done_add(struct done *total, const struct done *more)
{
    total->created += more->created;
    total->updated += more->updated;
    total->destroyed += more->destroyed;
    total->failed += more->failed;
}

/* False: the run ends here. */
static bool run_op(struct apply *a, size_t index, bool destroys)
{
    struct op op;
    struct done done = {0};
    if (!op_parse(&op, &a->plan, index, a->matcher.schema)) {
        return false;
    }
    bool good = true;
    if ((op.kind == OP_DESTROY) == destroys) {
        good = runs[op.kind](a, &op, &done);
        done.failed = !good;
        report_op(&a->report, op_names[op.kind], op.object, index, &done, good);
        done_add(&a->report.done, &done);
        good = good || a->cli->args->given[OPT_CONTINUE];
    }
    op_free(&op);
    return good;
}

static bool remove_surplus(struct apply *a, const json_t *entry, json_t *gone)
{
    const char *object = member_text(entry, "object");
    json_t *ids = need(json_array()), *id, *gone_here = member_object(gone, object);
    const json_t *touched = json_object_get(a->touched, object);
    struct done done = {0};
    size_t i, index = (size_t)json_integer_value(json_object_get(entry, "index"));
    json_array_foreach(json_object_get(entry, "ids"), i, id)
    {
        const char *text = json_string_value(id);
        if (json_object_get(touched, text) == NULL && json_object_get(gone_here, text) == NULL) {
            json_array_append(ids, id);
            json_object_set_new(gone_here, text, json_true());
        }
    }
    bool good = true;
    if (json_array_size(ids) > 0) {
        good = destroy_all(a, object, ids, &done.destroyed);
        done.failed = !good;
        report_cleanup(&a->report, object, index, &done, good);
        done_add(&a->report.done, &done);
    }
    json_decref(ids);
    return good || a->cli->args->given[OPT_CONTINUE];
}

static bool run_all(struct apply *a)
{
    bool on = true;
    for (size_t i = a->plan.lines.count; on && i-- > 0;) {
        on = a->plan.ops[OP_DESTROY] == 0 || run_op(a, i, true);
    }
    for (size_t i = 0; on && i < a->plan.lines.count; i++) {
        on = run_op(a, i, false);
    }
    json_t *gone = need(json_object());
    for (size_t i = json_array_size(a->surplus); on && i-- > 0;) {
        on = remove_surplus(a, json_array_get(a->surplus, i), gone);
    }
    json_decref(gone);
    report_end(&a->report, &a->plan);
    size_t failed = a->report.done.failed;
    if (!on) {
        return false; /* with the failure's own text */
    }
    return failed == 0 || fail("apply completed with %zu failed operation(s)", failed);
}

static bool read_plan(struct apply *a)
{
    const char *file = argument(a->cli->args, OPT_FILE);
    if ((file != NULL) == a->cli->args->given[OPT_STDIN]) {
        return fail(file ? "--file and --stdin cannot both be used"
                         : "no plan: use --file or --stdin");
    }
    return (file ? lines_open_file(&a->plan.lines, file) : lines_open_stdin(&a->plan.lines)) &&
           plan_check(&a->plan, a->cli->client.schema);
}

/* The plan in one piece, at most EXPLAIN_MAX bytes. */
static bool plan_text(struct apply *a, struct buf *out)
{
    struct slice line;
    for (size_t i = 0; i < a->plan.lines.count; i++) {
        if (!lines_read(&a->plan.lines, i, &line)) {
            return false;
        }
        buf_bytes(out, line.ptr, line.len);
        buf_add(out, "\n");
        if (out->len > EXPLAIN_MAX) {
            return fail("--explain takes plans of at most %d bytes", EXPLAIN_MAX);
        }
    }
    return true;
}

/* The server tries the plan whole and says what would become of the recipients. */
static bool explain_plan(struct apply *a)
{
    struct buf recipients = {0}, plan = {0};
    if (!source_file(argument(a->cli->args, OPT_EXPLAIN), &recipients, EXPLAIN_MAX) ||
        !plan_text(a, &plan)) {
        buf_free(&recipients);
        buf_free(&plan);
        return false;
    }
    json_t *asked = json_pack("{s:s%,s:s%}", "plan", buf_text(&plan), plan.len, "recipients",
                              buf_text(&recipients), recipients.len);
    buf_free(&recipients);
    buf_free(&plan);
    if (asked == NULL) {
        return fail("plan or recipients are not UTF-8");
    }
    json_t *answer = cli_post(a->cli, "/api/explain", asked);
    json_decref(asked);
    if (answer == NULL) {
        return false;
    }
    struct buf out = {0};
    const char *report = member_text(answer, "report");
    buf_add(&out, report != NULL ? report : "");
    json_decref(answer);
    return cli_print(&out);
}

static bool check_explain(const struct arguments *args)
{
    return args->given[OPT_DRY_RUN] || !args->given[OPT_EXPLAIN] ||
           fail("--explain is for --dry-run");
}

bool command_apply(struct cli *cli)
{
    struct apply a = {.cli = cli,
                      .ids = need(json_object()),
                      .touched = need(json_object()),
                      .surplus = need(json_array())};
    report_init(&a.report, cli);
    matcher_init(&a.matcher, cli->client.schema, &a.plan);
    bool good = check_explain(cli->args) && read_plan(&a);
    if (good && cli->args->given[OPT_EXPLAIN]) {
        good = explain_plan(&a);
    } else if (good) {
        report_plan(&a.report, &a.plan);
        good = cli->args->given[OPT_DRY_RUN] || run_all(&a);
    }
    matcher_free(&a.matcher);
    report_free(&a.report);
    plan_free(&a.plan);
    json_decref(a.ids);
    json_decref(a.touched);
    json_decref(a.surplus);
    return good;
}
