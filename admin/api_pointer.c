/* Result references (RFC 8620 section 3.7): "#ids": {"resultOf": "q", "name": "x:Domain/query",
 * "path": "/ids"} takes its value from an earlier response of the same request. */
#include "admin/api_private.h"

#include "core/text.h"

enum { POINTER_TOKEN_MAX = 128, POINTER_ITEMS_MAX = API_QUERY_IDS };

/* The next token of a JSON pointer (RFC 6901) into token, the rest behind it into *path. */
static bool next_token(struct slice *path, char token[POINTER_TOKEN_MAX])
{
    if (path->ptr[0] != '/') {
        return false;
    }
    *path = slice_from(*path, 1);
    size_t end = slice_find(*path, '/');
    size_t len = 0;
    for (size_t i = 0; i < end; i++) {
        char c = (char)path->ptr[i];
        if (c == '~' && i + 1 < end) {
            c = path->ptr[++i] == '1' ? '/' : '~';
        }
        if (len + 1 == POINTER_TOKEN_MAX || c == 0) {
            return false;
        }
        token[len++] = c;
    }
    token[len] = 0;
    *path = slice_from(*path, end);
    return true;
}

/* An index of an array is a number without leading zeros (RFC 6901 section 4). */
static bool is_index(const char *token, uint64_t *out_index)
{
    return (token[0] != '0' || token[1] == 0) &&
           text_to_u64(out_index, slice_of_text(token)) == MX_OK;
}

/* Counts what a request takes of what its references may bring; false when it is used up. */
static bool take(struct api_session *session, size_t bytes)
{
    session->referred = mx_min_size(session->referred + bytes, API_REFERRED_MAX + 1);
    return session->referred <= API_REFERRED_MAX;
}

static json_t *evaluate(struct api_session *session, const json_t *value, struct slice path);

/* "*": the rest of the path for every item; arrays among the results are opened. Items are counted
 * even if nothing comes of them: arrays of empty arrays would be looked through without end. */
static json_t *evaluate_all(struct api_session *session, const json_t *array, struct slice path)
{
    json_t *all = json_array();
    size_t index;
    json_t *item;
    json_array_foreach((json_t *)(uintptr_t)array, index, item)
    {
        json_t *part = take(session, sizeof(*item)) ? evaluate(session, item, path) : NULL;
        if (json_is_array(part)) {
            json_array_extend(all, part);
        } else if (part) {
            json_array_append(all, part);
        }
        bool good = part && json_array_size(all) <= POINTER_ITEMS_MAX;
        json_decref(part);
        if (!good) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

/* A new reference; NULL when the path leads nowhere. */
static json_t *evaluate(struct api_session *session, const json_t *value, struct slice path)
{
    char token[POINTER_TOKEN_MAX];
    while (value && path.len) {
        if (!next_token(&path, token)) {
            return NULL;
        }
        uint64_t at;
        if (json_is_object(value)) {
            value = json_object_get(value, token);
        } else if (json_is_array(value) && strcmp(token, "*") == 0) {
            return evaluate_all(session, value, path);
        } else if (json_is_array(value) && is_index(token, &at)) {
            value = json_array_get(value, at);
        } else {
            return NULL;
        }
    }
    return json_incref((json_t *)(uintptr_t)value);
}

static json_t *resolve(struct api_session *session, const json_t *reference,
                       const json_t *responses)
{
    const json_t *of = json_object_get(reference, "resultOf");
    const json_t *name = json_object_get(reference, "name");
    const json_t *path = json_object_get(reference, "path");
    if (!json_is_string(of) || !json_is_string(name) || !json_is_string(path)) {
        return NULL;
    }
    size_t index;
    json_t *response;
    json_array_foreach((json_t *)(uintptr_t)responses, index, response)
    {
        if (json_equal(json_array_get(response, 2), of)) {
            return json_equal(json_array_get(response, 0), name)
                       ? evaluate(session, json_array_get(response, 1), api_string(path))
                       : NULL;
        }
    }
    return NULL;
}

json_t *api_resolve_arguments(struct api_call *call, const json_t *args, const json_t *responses)
{
    json_t *resolved = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)args, key, value)
    {
        if (key[0] != '#') {
            json_object_set(resolved, key, value);
            continue;
        }
        if (json_object_get(args, key + 1)) {
            api_fail(call, "invalidArguments", "'%.64s' is given twice, once as a reference",
                     key + 1);
            break;
        }
        struct api_session *session = call->session;
        json_t *found = resolve(session, value, responses);
        if (session->referred > API_REFERRED_MAX ||
            (found && !take(session, api_weight(found, API_REFERRED_MAX)))) {
            json_decref(found);
            api_fail(call, "requestTooLarge",
                     "the references of a request may lead to %d bytes, all together",
                     API_REFERRED_MAX);
            break;
        }
        if (!found) {
            api_fail(call, "invalidResultReference",
                     "'%.64s' does not lead to a value of an earlier response", key);
            break;
        }
        json_object_set_new(resolved, key + 1, found);
    }
    if (call->error) {
        json_decref(resolved);
        return NULL;
    }
    return resolved;
}
