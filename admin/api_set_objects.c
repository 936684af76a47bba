/* The entries of a set call: references, creates, updates, destroys. */
#include "admin/api_set.h"

#include "admin/api_owner.h"
#include "core/check.h"

#include <stdio.h>

/* References ------------------------------------------------------------------------------- */

static bool resolve(void *arg, struct slice name, uint64_t *out_id, const char **out_reason)
{
    struct set *set = arg;
    const json_t *id = json_object_getn(set->made, (const char *)name.ptr, name.len);
    if (!id) {
        id = json_object_getn(set->call->session->created, (const char *)name.ptr, name.len);
    }
    if (json_is_null(id)) {
        *out_reason = NULL; /* refused: the error is reported there */
        return false;
    }
    if (json_is_string(id) && object_id_parse(out_id, api_string(id)) == MX_OK) {
        return true;
    }
    bool circle = json_object_getn(set->args[CREATE], (const char *)name.ptr, name.len) != NULL;
    snprintf(set->reason, sizeof(set->reason), "%s",
             id       ? "its id is not one"
             : circle ? "the objects of this call refer to each other in a circle"
                      : "no object with this creation id was made");
    *out_reason = set->reason;
    return false;
}

static struct reference_resolver resolver_of(struct set *set)
{
    return (struct reference_resolver){.arg = set, .resolve = resolve};
}

/* Results ---------------------------------------------------------------------------------- */

static void refuse(struct set *set, enum verb verb, const char *key,
                   const struct set_errors *errors)
{
    json_object_set_new(set->refused[verb], key, api_set_error(errors));
}

static void refuse_one(struct set *set, enum verb verb, const char *key, enum set_error_type type,
                       const char *text)
{
    struct set_errors errors;
    errors.count = 0;
    set_error_add(&errors, type, NULL, "%s", text);
    refuse(set, verb, key, &errors);
}

/* True when an earlier round found it at fault. */
static bool is_barred(struct set *set, enum verb verb, const char *key)
{
    json_t *error = json_object_get(set->barred[verb], key);
    if (error) {
        json_object_set(set->refused[verb], key, error);
    }
    return error != NULL;
}

bool api_set_id(struct set *set, const char *key, uint64_t *out_id)
{
    const char *reason = NULL;
    return key[0] == '#' ? resolve(set, slice_of_text(key + 1), out_id, &reason)
                         : object_id_parse(out_id, slice_of_text(key)) == MX_OK;
}

static bool read_id(struct set *set, enum verb verb, const char *key, uint64_t *out_id)
{
    bool good = api_set_id(set, key, out_id);
    if (!good) {
        char text[SET_TEXT_MAX];
        snprintf(text, sizeof(text), "there is no %s with this id", set->call->type->shape.name);
        refuse_one(set, verb, key, SET_NOT_FOUND, text);
    }
    return good;
}

/* Create ----------------------------------------------------------------------------------- */

static bool not_supported(struct set *set, enum verb verb, const char *key)
{
    static const char *const words[VERB_COUNT] = {"created", "changed", "destroyed"};
    char text[SET_TEXT_MAX];
    snprintf(text, sizeof(text), "objects of the type %s cannot be %s here",
             set->call->type->shape.name, words[verb]);
    refuse_one(set, verb, key, SET_FORBIDDEN, text);
    return false;
}

/* "actionPauseMtaQueue" */
static bool may_create_variant(struct set *set, const json_t *body, struct set_errors *errors)
{
    const struct api_caller *caller = set->call->session->caller;
    const struct reg_type *type = set->call->type;
    const struct reg_variant *variant = object_variant(&type->shape, body);
    if (!type->variant_prefix || !variant || !variant->name) {
        return true;
    }
    char permission[API_PERMISSION_MAX];
    snprintf(permission, sizeof(permission), "%.15s%.*s", type->variant_prefix, REG_NAME_MAX,
             variant->name);
    if (caller->may(caller->arg, permission)) {
        return true;
    }
    set_error_add(errors, SET_FORBIDDEN, NULL, "needs the permission %s", permission);
    return false;
}

static mx_err create_foreign(struct set *set, uint64_t *out_id, json_t **out_shown,
                             const json_t *body, struct set_errors *errors)
{
    const struct api_call *call = set->call;
    struct reference_resolver resolver = resolver_of(set);
    json_t *normal = object_normalize(call->type, body, &resolver, errors);
    if (!normal) {
        return errors->count ? MX_OK : MX_ERR_NOMEM;
    }
    if (!may_create_variant(set, normal, errors)) {
        json_decref(normal);
        return MX_OK;
    }
    mx_err err = call->foreign->create(call->foreign->arg, call->session->caller, normal, out_id,
                                       out_shown, errors);
    json_decref(normal);
    return err;
}

static mx_err create_one(struct set *set, const char *key, const json_t *body)
{
    const struct api_call *call = set->call;
    struct set_errors errors;
    uint64_t id = 0;
    json_t *shown = NULL;
    mx_err err;
    errors.count = 0;
    set->owner = (struct owner){CREATE, key};
    json_object_set_new(set->made, key, json_null());
    if (is_barred(set, CREATE, key) ||
        (call->foreign && !call->foreign->create && !not_supported(set, CREATE, key))) {
        return MX_OK;
    }
    if (call->foreign) {
        err = create_foreign(set, &id, &shown, body, &errors);
    } else if (call->type->owner) {
        err = api_create_key(call, &id, &shown, body, &errors);
    } else {
        struct reference_resolver resolver = resolver_of(set);
        err = object_create(set->store, &id, call->type, body, &resolver, &errors);
    }
    if (!err && errors.count) {
        refuse(set, CREATE, key, &errors);
    } else if (!err) {
        shown = shown ? shown : json_object();
        json_object_set_new(shown, "id", api_id(id));
        json_object_set(set->made, key, json_object_get(shown, "id"));
        json_object_set(set->done[CREATE], key, shown);
    }
    json_decref(shown);
    return err;
}

/* Creation ids of this call that a body mentions, as keys of found. */
static void find_mentions(const struct set *set, const json_t *value, json_t *found)
{
    size_t index;
    const char *key;
    json_t *item;
    if (json_is_string(value)) {
        const char *text = json_string_value(value);
        if (text[0] == '#' && json_object_get(set->args[CREATE], text + 1)) {
            json_object_set_new(found, text + 1, json_true());
        }
    } else if (json_is_array(value)) {
        json_array_foreach(unconst(value), index, item)
        {
            find_mentions(set, item, found);
        }
    } else if (json_is_object(value)) {
        json_object_foreach(unconst(value), key, item)
        {
            if (key[0] == '#' && json_object_get(set->args[CREATE], key + 1)) {
                json_object_set_new(found, key + 1, json_true());
            }
            find_mentions(set, item, found);
        }
    }
}

static bool is_ready(const struct set *set, const json_t *mentions)
{
    const char *name;
    json_t *yes;
    json_object_foreach(unconst(mentions), name, yes)
    {
        if (!json_object_get(set->made, name)) {
            return false;
        }
    }
    return true;
}

/* In rounds: what refers to nothing that is still to be made. At most API_OBJECTS_SET rounds. */
mx_err api_set_create_all(struct set *set)
{
    json_t *waiting = json_object(); /* key -> mentions */
    const char *key;
    json_t *body;
    json_t *mentions;
    void *next;
    mx_err err = MX_OK;
    json_object_foreach(set->args[CREATE], key, body)
    {
        mentions = json_object();
        find_mentions(set, body, mentions);
        json_object_set_new(waiting, key, mentions);
    }
    bool circle = false;
    while (!err && json_object_size(waiting)) {
        bool progress = false;
        json_object_foreach_safe(waiting, next, key, mentions)
        {
            if (!err && (circle || is_ready(set, mentions))) {
                /* The arguments' own key: it lives as long as the set. */
                void *at = json_object_iter_at(set->args[CREATE], key);
                const char *own = json_object_iter_key(at);
                err = create_one(set, own, json_object_iter_value(at));
                json_object_del(waiting, own);
                progress = true;
            }
        }
        circle = !progress;
    }
    json_decref(waiting);
    return err;
}

/* Of foreign types -------------------------------------------------------------------------- */

static void collect(struct set *set, bool refused)
{
    if (!refused) {
        set->collected[set->collected_count++] = set->owner; /* as many as a call may have */
    }
}

/* It was taken for done. */
static void refuse_collected(void *arg, size_t number, const struct set_errors *errors)
{
    struct set *set = arg;
    MX_ASSERT(number < set->collected_count);
    const struct owner *owner = &set->collected[number];
    json_object_del(set->done[owner->verb], owner->key);
    refuse(set, owner->verb, owner->key, errors);
}

static mx_err settle(struct set *set)
{
    const struct api_foreign *foreign = set->call->foreign;
    if (!foreign || !foreign->settle || set->collected_count == 0) {
        return MX_OK;
    }
    return foreign->settle(foreign->arg, set->call->session->caller, refuse_collected, set);
}

/* Update and destroy ----------------------------------------------------------------------- */

/* False: it is another account's, as if it were not there; or the store failed. */
static bool check_owner(struct set *set, enum verb verb, const char *key, uint64_t id,
                        mx_err *out_err)
{
    bool owns = true;
    *out_err = api_owns_id(set->call, &owns, id);
    if (!*out_err && !owns) {
        refuse_one(set, verb, key, SET_NOT_FOUND, "there is no such object");
    }
    return !*out_err && owns;
}

/* Ids that the call destroys, as text, by whatever name it calls them. */
static json_t *find_doomed(struct set *set)
{
    json_t *doomed = json_object();
    const char *key;
    json_t *yes;
    json_object_foreach(set->args[DESTROY], key, yes)
    {
        uint64_t id;
        json_t *text = api_set_id(set, key, &id) ? api_id(id) : NULL;
        if (text) {
            json_object_set_new(doomed, json_string_value(text), json_true());
        }
        json_decref(text);
    }
    return doomed;
}

static bool is_doomed(const json_t *doomed, uint64_t id)
{
    json_t *text = api_id(id);
    bool found = json_object_get(doomed, json_string_value(text)) != NULL;
    json_decref(text);
    return found;
}

static mx_err update_one(struct set *set, const char *key, const json_t *patch,
                         const json_t *doomed)
{
    const struct api_call *call = set->call;
    struct set_errors errors;
    uint64_t id;
    mx_err err;
    errors.count = 0;
    set->owner = (struct owner){UPDATE, key};
    if (is_barred(set, UPDATE, key) ||
        (call->foreign && !call->foreign->update && !not_supported(set, UPDATE, key)) ||
        !read_id(set, UPDATE, key, &id)) {
        return MX_OK;
    }
    if (!check_owner(set, UPDATE, key, id, &err)) {
        return err;
    }
    if (is_doomed(doomed, id)) {
        refuse_one(set, UPDATE, key, SET_WILL_DESTROY, "is destroyed in the same call");
        return MX_OK;
    }
    if (call->foreign) {
        err = call->foreign->update(call->foreign->arg, call->session->caller, id, patch, &errors);
        collect(set, err || errors.count);
    } else {
        struct reference_resolver resolver = resolver_of(set);
        err = object_update(set->store, call->type, id, patch, &resolver, NULL, NULL, &errors);
    }
    if (!err && errors.count) {
        refuse(set, UPDATE, key, &errors);
    } else if (!err) {
        json_object_set_new(set->done[UPDATE], key, json_null());
    }
    return err;
}

mx_err api_set_update_all(struct set *set)
{
    const char *key;
    json_t *patch;
    mx_err err = MX_OK;
    const struct api_foreign *foreign = set->call->foreign;
    set->collected_count = 0;
    if (foreign && foreign->begin) {
        foreign->begin(foreign->arg);
    }
    json_t *doomed = find_doomed(set);
    json_object_foreach(set->args[UPDATE], key, patch)
    {
        err = err ? err : update_one(set, key, patch, doomed);
    }
    json_decref(doomed);
    return err;
}

/* *out_again: it is linked by an object of its own type, which may go in this call as well. */
static mx_err destroy_one(struct set *set, const char *key, bool *out_again)
{
    const struct api_call *call = set->call;
    struct set_errors errors;
    uint64_t id;
    mx_err err;
    errors.count = 0;
    *out_again = false;
    set->owner = (struct owner){DESTROY, key};
    if (is_barred(set, DESTROY, key) ||
        (call->foreign && !call->foreign->destroy && !not_supported(set, DESTROY, key)) ||
        !read_id(set, DESTROY, key, &id)) {
        return MX_OK;
    }
    if (!check_owner(set, DESTROY, key, id, &err)) {
        return err;
    }
    if (call->foreign) {
        err = call->foreign->destroy(call->foreign->arg, call->session->caller, id, &errors);
        collect(set, err || errors.count);
    } else {
        err = object_destroy(set->store, call->type, id, NULL, &errors);
    }
    if (!err && errors.count) {
        refuse(set, DESTROY, key, &errors);
        for (uint32_t i = 0; i < errors.items[0].linked_count; i++) {
            *out_again = *out_again || errors.items[0].linked[i].type == call->type;
        }
    } else if (!err) {
        json_object_del(set->refused[DESTROY], key);
        json_object_set_new(set->done[DESTROY], key, json_true());
    }
    return err;
}

mx_err api_set_destroy_all(struct set *set)
{
    bool again = true;
    mx_err err = MX_OK;
    while (again && !err) {
        const char *key;
        json_t *yes;
        bool progress = false;
        bool wanted = false;
        json_object_foreach(set->args[DESTROY], key, yes)
        {
            if (err || json_object_get(set->done[DESTROY], key)) {
                continue;
            }
            bool linked;
            err = destroy_one(set, key, &linked);
            wanted = wanted || linked;
            progress = progress || json_object_get(set->done[DESTROY], key);
        }
        again = wanted && progress;
    }
    return err ? err : settle(set);
}
