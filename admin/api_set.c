/* x:TYPE/set: creates in the order of their references, updates, destroys; one transaction. An
 * object that is refused has written nothing, so the others go on without savepoints; when the
 * configuration as a whole does not compile, the call is run again without what is at fault. */
#include "admin/api_set.h"

#include "core/check.h"
#include "io/clock.h"

#include <stdlib.h>

/* Changes ---------------------------------------------------------------------------------- */

static void note_change(void *arg, const struct reg_type *type, uint64_t id, const json_t *before,
                        const json_t *after)
{
    struct set *set = arg;
    if (set->change_count == set->change_cap) {
        size_t cap = set->change_cap ? 2 * set->change_cap : 16;
        struct object_change *changes = realloc(set->changes, cap * sizeof(*changes));
        set->changes = changes ? changes : set->changes;
        struct owner *owners = realloc(set->owners, cap * sizeof(*owners));
        set->owners = owners ? owners : set->owners;
        if (!changes || !owners) {
            set->out_of_memory = true;
            return;
        }
        set->change_cap = cap;
    }
    set->owners[set->change_count] = set->owner;
    set->changes[set->change_count++] =
        (struct object_change){type, id, json_incref(unconst(before)), json_incref(unconst(after))};
}

static void forget_changes(struct set *set)
{
    for (size_t i = 0; i < set->change_count; i++) {
        json_decref(unconst(set->changes[i].before));
        json_decref(unconst(set->changes[i].after));
    }
    set->change_count = 0;
}

/* The call --------------------------------------------------------------------------------- */

static void reset(struct set *set)
{
    forget_changes(set);
    json_object_clear(set->made);
    for (int i = 0; i < VERB_COUNT; i++) {
        json_object_clear(set->done[i]);
        json_object_clear(set->refused[i]);
    }
}

static void bar(struct set *set, size_t change, const struct api_problem *problem)
{
    struct set_errors errors;
    errors.count = 0;
    struct set_error *error =
        set_error_add(&errors, SET_VALIDATION_FAILED, problem->property, "%s", problem->text);
    error->validation = SET_INVALID;
    const struct owner *owner = &set->owners[change];
    json_object_set_new(set->barred[owner->verb], owner->key, api_set_error(&errors));
}

/* What prepare refused is not tried again; after many rounds, everything that changes something. */
static void bar_refused(struct set *set, const struct api_problem *problem, unsigned round)
{
    if (problem->change < set->change_count && round < API_REFUSED_ROUNDS_MAX) {
        bar(set, problem->change, problem);
        return;
    }
    for (size_t i = 0; i < set->change_count; i++) {
        bar(set, i, problem);
    }
}

static mx_err run_once(struct set *set)
{
    reset(set);
    secret_memo_begin(set->call->session->secrets);
    mx_err err = store_begin(set->store, set->call->session->caller->name, clock_wall_ms());
    err = err ? err : api_set_create_all(set);
    err = err ? err : api_set_update_all(set);
    err = err ? err : api_set_destroy_all(set);
    return !err && set->out_of_memory ? MX_ERR_NOMEM : err;
}

static mx_err commit(struct set *set, bool prepared)
{
    const struct api_conf *conf = &set->call->api->conf;
    mx_err err = store_commit(set->store);
    if (err && prepared && conf->discard) {
        conf->discard(conf->arg);
    }
    return err;
}

/* A core could not be reached, or memory is short: not the fault of an object. */
static void fail_to_prepare(struct set *set, mx_err err, const struct api_problem *problem)
{
    if (err == MX_ERR_LIMIT) {
        api_fail(set->call, "requestTooLarge", "more than %d passwords in one call",
                 SECRET_MEMO_MAX);
    } else if (problem->text[0]) {
        api_fail(set->call, "serverUnavailable", "%s; nothing was changed", problem->text);
    } else {
        api_fail_store(set->call, err);
    }
}

enum round_end { ROUND_DONE, ROUND_FAILED, ROUND_BARRED /* something was: once more without it */ };

/* Nothing of the call was done, or will be. */
static enum round_end suspend(struct set *set)
{
    store_rollback(set->store);
    if (set->call->session->stopping) {
        api_fail(set->call, "serverUnavailable", "the server is stopping; nothing was changed");
    } else {
        set->call->suspended = true;
    }
    return ROUND_FAILED;
}

static enum round_end run_round(struct set *set, unsigned round)
{
    const struct api_conf *conf = &set->call->api->conf;
    struct api_problem problem = {.change = API_ANY_CHANGE};
    mx_err err = run_once(set);
    if (!err && secret_memo_wants(set->call->session->secrets)) {
        return suspend(set);
    }
    bool prepared = !err && set->change_count && conf->prepare;
    if (prepared) {
        err = conf->prepare(conf->arg, set->changes, set->change_count, &problem);
    }
    if (!err) {
        err = commit(set, prepared);
        if (err) {
            api_fail_store(set->call, err);
        }
        return err ? ROUND_FAILED : ROUND_DONE;
    }
    store_rollback(set->store);
    if (prepared && conf->discard) {
        conf->discard(conf->arg);
    }
    if (prepared && err == MX_ERR_INVALID) {
        bar_refused(set, &problem, round);
        return ROUND_BARRED;
    }
    fail_to_prepare(set, err, &problem);
    return ROUND_FAILED;
}

static void publish(struct set *set)
{
    const struct api_conf *conf = &set->call->api->conf;
    struct api_problem problem = {.change = API_ANY_CHANGE};
    if (set->change_count == 0 || !conf->publish) {
        return;
    }
    mx_err err = conf->publish(conf->arg, set->changes, set->change_count, &problem);
    if (err) {
        set->call->done_in_part = true;
        api_fail(set->call, "serverPartialFail",
                 "The changes are stored, but not in force "
                 "everywhere yet: %s",
                 problem.text[0] ? problem.text : err_text(err));
    }
}

static const char *const verbs[VERB_COUNT] = {"create", "update", "destroy"};

/* Of a change to the registry: what was given of a new object counts, not its defaults. A singleton
 * is never new: before it was stored, it had its defaults. */
static void tell_stored(const struct set *set, size_t index)
{
    const struct api_conf *conf = &set->call->api->conf;
    const struct object_change *change = &set->changes[index];
    const bool singleton = change->type->singleton;
    json_t *defaults = singleton && change->before == NULL ? object_defaults(change->type) : NULL;
    const struct owner *owner = &set->owners[index];
    char id[OBJECT_ID_TEXT_MAX + 1];
    struct writer w = writer_init(id, sizeof id);
    put_object_id(&w, change->id);
    id[w.len < sizeof id ? w.len : sizeof id - 1] = '\0';
    struct api_changed changed = {.type = change->type,
                                  .id = singleton ? "singleton" : id,
                                  .before = defaults != NULL ? defaults : change->before,
                                  .after = change->after};
    changed.verb = verbs[singleton                ? UPDATE
                         : change->before == NULL ? CREATE
                         : change->after == NULL  ? DESTROY
                                                  : UPDATE];
    if (change->before == NULL && owner->verb == CREATE) {
        changed.given = json_object_get(set->args[CREATE], owner->key);
    }
    conf->changed(conf->arg, set->call->session->caller, &changed);
    json_decref(defaults);
}

/* Of a type outside of the store: what was asked and done. */
static void tell_foreign(const struct set *set, enum verb verb)
{
    const struct api_conf *conf = &set->call->api->conf;
    const char *key;
    json_t *done;
    json_object_foreach(set->done[verb], key, done)
    {
        const json_t *id = json_object_get(done, "id");
        const json_t *given = json_object_get(set->args[verb], key);
        struct api_changed changed = {.verb = verbs[verb],
                                      .type = set->call->type,
                                      .id = id != NULL ? json_string_value(id) : key,
                                      .after = given,
                                      .given = given};
        conf->changed(conf->arg, set->call->session->caller, &changed);
    }
}

static void tell(const struct set *set)
{
    if (set->call->api->conf.changed == NULL) {
        return;
    }
    for (size_t i = 0; i < set->change_count; i++) {
        tell_stored(set, i);
    }
    for (int i = 0; set->call->foreign != NULL && i < VERB_COUNT; i++) {
        tell_foreign(set, i);
    }
}

/* What an entry of update or destroy is told under: the id, also where a creation id named it
 * (RFC 8620 section 5.3). A new reference. */
static json_t *told_id(struct set *set, const char *key)
{
    uint64_t id;
    return api_set_id(set, key, &id) ? api_id(id) : json_string(key);
}

static json_t *by_id(struct set *set, const json_t *entries)
{
    json_t *result = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(unconst(entries), key, value)
    {
        json_t *id = told_id(set, key);
        json_object_set(result, json_string_value(id), value);
        json_decref(id);
    }
    return result;
}

static json_t *ids_of(struct set *set, const json_t *entries)
{
    json_t *ids = json_array();
    const char *key;
    json_t *value;
    json_object_foreach(unconst(entries), key, value)
    {
        json_array_append_new(ids, told_id(set, key));
    }
    return ids;
}

static void add_to_reply(struct set *set, json_t *result, enum verb verb, const char *name,
                         const json_t *entries)
{
    if (json_object_size(entries)) {
        json_object_set_new(result, name,
                            verb == CREATE ? json_incref(unconst(entries)) : by_id(set, entries));
    }
}

static void reply(struct set *set)
{
    json_t *result = json_pack("{s:s}", "accountId", set->call->session->caller->account_id);
    add_to_reply(set, result, CREATE, "created", set->done[CREATE]);
    add_to_reply(set, result, UPDATE, "updated", set->done[UPDATE]);
    if (json_object_size(set->done[DESTROY])) {
        json_object_set_new(result, "destroyed", ids_of(set, set->done[DESTROY]));
    }
    add_to_reply(set, result, CREATE, "notCreated", set->refused[CREATE]);
    add_to_reply(set, result, UPDATE, "notUpdated", set->refused[UPDATE]);
    add_to_reply(set, result, DESTROY, "notDestroyed", set->refused[DESTROY]);
    set->call->reply = result;
}

static void run(struct set *set)
{
    enum round_end end = ROUND_BARRED;
    /* Every round bars an entry of the call, late ones everything that changes. */
    for (unsigned round = 0; end == ROUND_BARRED && round <= API_OBJECTS_SET; round++) {
        end = run_round(set, round);
    }
    MX_ASSERT(end != ROUND_BARRED);
    if (end == ROUND_FAILED) {
        return;
    }
    const char *key;
    json_t *id;
    json_object_foreach(set->made, key, id)
    {
        if (json_is_string(id)) {
            json_object_set(set->call->session->created, key, id);
        }
    }
    reply(set);
    tell(set);
    publish(set);
}

/* Arguments -------------------------------------------------------------------------------- */

static bool read_map(struct set *set, enum verb verb, const char *name)
{
    const json_t *given = json_object_get(set->call->args, name);
    if (given && !json_is_null(given) && !json_is_object(given)) {
        return api_fail(set->call, "invalidArguments", "'%s' has to be an object", name);
    }
    set->args[verb] = json_is_object(given) ? json_incref(unconst(given)) : json_object();
    return true;
}

static bool read_destroy(struct set *set)
{
    const json_t *given = json_object_get(set->call->args, "destroy");
    size_t index;
    json_t *id;
    set->args[DESTROY] = json_object();
    if (given && !json_is_null(given) && !json_is_array(given)) {
        return api_fail(set->call, "invalidArguments", "'destroy' has to be an array of ids");
    }
    json_array_foreach(unconst(given), index, id)
    {
        if (!json_is_string(id)) {
            return api_fail(set->call, "invalidArguments", "'destroy' has to be an array of ids");
        }
        json_object_set_new(set->args[DESTROY], json_string_value(id), json_true());
    }
    return true;
}

static bool check_may(struct set *set)
{
    bool singleton = set->call->type->singleton;
    return (json_object_size(set->args[CREATE]) == 0 ||
            api_may(set->call, singleton ? "Update" : "Create")) &&
           (json_object_size(set->args[UPDATE]) == 0 || api_may(set->call, "Update")) &&
           (json_object_size(set->args[DESTROY]) == 0 ||
            api_may(set->call, singleton ? "Update" : "Destroy"));
}

static bool check_size(struct set *set)
{
    size_t count = 0;
    for (int i = 0; i < VERB_COUNT; i++) {
        count += json_object_size(set->args[i]);
    }
    return count <= API_OBJECTS_SET ||
           api_fail(set->call, "requestTooLarge", "more than %d objects in one call",
                    API_OBJECTS_SET);
}

void api_set(struct api_call *call)
{
    struct set set = {.call = call, .store = call->api->conf.store, .made = json_object()};
    for (int i = 0; i < VERB_COUNT; i++) {
        set.done[i] = json_object();
        set.refused[i] = json_object();
        set.barred[i] = json_object();
    }
    if (read_map(&set, CREATE, "create") && read_map(&set, UPDATE, "update") &&
        read_destroy(&set) && check_size(&set) && check_may(&set)) {
        store_watch(set.store, note_change, &set);
        store_guard(set.store, call->api->conf.guard, call->api->conf.arg);
        store_seal_by(set.store, call->session->secrets);
        run(&set);
        store_seal_by(set.store, NULL);
        store_guard(set.store, NULL, NULL);
        store_watch(set.store, NULL, NULL);
    }
    forget_changes(&set);
    free(set.changes);
    free(set.owners);
    json_decref(set.made);
    for (int i = 0; i < VERB_COUNT; i++) {
        json_decref(set.args[i]);
        json_decref(set.done[i]);
        json_decref(set.refused[i]);
        json_decref(set.barred[i]);
    }
}
