#include "tools/cli/client.h"

#include "core/hash.h"
#include "core/text.h"
#include "tools/cli/cache.h"
#include "tools/cli/fail.h"
#include "tools/cli/gunzip.h"
#include "tools/cli/schema.h"

#include <stdio.h>
#include <stdlib.h>

void client_free(struct client *client)
{
    http_free(&client->http);
    json_decref(client->schema);
    free(client->api_path);
    *client = (struct client){0};
}

/* New reference, or NULL: what a problem document (RFC 9457) says, if it says more than the status
 * does. */
static json_t *problem_detail(const struct http_reply *reply)
{
    struct slice type = slice_of_text(buf_text(&reply->content_type));
    if (!text_starts_nocase(type, SLICE_LITERAL("application/problem+json"))) {
        return NULL;
    }
    json_t *problem = json_loadb(buf_text(&reply->body), reply->body.len, 0, NULL);
    json_t *detail = json_incref(json_object_get(problem, "detail"));
    const char *text = json_string_value(detail), *title = member_text(problem, "title");
    if (text == NULL || *text == '\0' || (title != NULL && strcmp(text, title) == 0)) {
        json_decref(detail);
        detail = NULL;
    }
    json_decref(problem);
    return detail;
}

bool fail_reply(const struct http_reply *reply)
{
    static const struct {
        unsigned status;
        bool whole; /* the text says all */
        const char *text;
    } texts[] = {
        {401, true, "authentication failed"},
        {403, false, "permission denied"},
        {404, true, "not found"},
        {429, false, "rate limited"},
    };
    struct buf text = {0};
    bool whole = false;
    for (size_t i = 0; i < mx_countof(texts); i++) {
        if (texts[i].status == reply->status) {
            buf_format(&text, "%s (HTTP %u)", texts[i].text, reply->status);
            whole = texts[i].whole;
        }
    }
    if (text.len == 0) {
        buf_format(&text, "server returned HTTP %u", reply->status);
    }
    json_t *detail = whole ? NULL : problem_detail(reply);
    (void)fail("%s%s%s", text.at, detail ? ": " : "", detail ? json_string_value(detail) : "");
    json_decref(detail);
    buf_free(&text);
    return false;
}

bool client_get(struct client *client, const char *path, struct buf *out_body)
{
    struct http_reply reply;
    bool good = http_call(&client->http, "GET", path, NULL, &reply) &&
                (reply.status / 100 == 2 || fail_reply(&reply));
    if (good) {
        buf_bytes(out_body, reply.body.at, reply.body.len);
    }
    http_reply_free(&reply);
    return good;
}

/* --- the schema --------------------------------------------------------------------------------
 */

static bool decode(const struct http_reply *reply, struct buf *out)
{
    struct slice body = slice_of(reply->body.at, reply->body.len);
    struct slice encoding = slice_of_text(buf_text(&reply->encoding));
    bool plain = encoding.len == 0 || text_equal_nocase(encoding, SLICE_LITERAL("identity"));
    bool packed = text_equal_nocase(encoding, SLICE_LITERAL("gzip")) ||
                  text_equal_nocase(encoding, SLICE_LITERAL("x-gzip"));
    if (!plain && !packed) {
        return fail("unexpected server response: Content-Encoding %s", buf_text(&reply->encoding));
    }
    if (packed || is_gzip(body)) {
        const char *problem = gunzip(out, body);
        return problem == NULL || fail("unexpected server response: the schema %s", problem);
    }
    buf_bytes(out, body.ptr, body.len);
    return true;
}

/* The schema in a response, kept under name; without one under its own hash. */
static json_t *schema_take(struct client *client, const struct http_reply *reply, const char *name)
{
    struct buf document = {0};
    char hash[17];
    json_t *schema = decode(reply, &document) ? schema_load(&document) : NULL;
    if (schema != NULL) {
        struct slice bytes = slice_of(document.at, document.len);
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)hash_checksum(bytes));
        cache_write(client->http.url.text, name ? name : hash, &document);
    }
    buf_free(&document);
    return schema;
}

static json_t *schema_cached(struct client *client, const char *name)
{
    struct buf document = {0};
    json_t *schema =
        cache_read(client->http.url.text, name, &document) ? schema_load(&document) : NULL;
    buf_free(&document);
    return schema;
}

/* The schema of that name: from the cache if it is the newest one there, else from the server. */
static json_t *schema_named(struct client *client, const char *name)
{
    struct buf latest = {0}, path = {0};
    bool known = cache_latest(client->http.url.text, &latest) && strcmp(latest.at, name) == 0;
    buf_free(&latest);
    json_t *schema = known ? schema_cached(client, name) : NULL;
    if (schema != NULL) {
        return schema;
    }
    struct http_reply reply;
    buf_format(&path, "/api/schema/%s", name);
    if (http_call(&client->http, "GET", path.at, NULL, &reply) &&
        (reply.status / 100 == 2 || fail_reply(&reply))) {
        schema = schema_take(client, &reply, name);
    }
    http_reply_free(&reply);
    buf_free(&path);
    return schema;
}

static json_t *schema_redirected(struct client *client, const char *location)
{
    const char *slash = strrchr(location, '/');
    const char *name = slash ? slash + 1 : location;
    if (!cache_name_is_fit(name)) {
        fail("unexpected server response: the schema's redirect to '%s'", location);
        return NULL;
    }
    return schema_named(client, name);
}

static json_t *schema_fetch(struct client *client)
{
    struct http_reply reply;
    json_t *schema = NULL;
    if (http_call(&client->http, "GET", "/api/schema", NULL, &reply)) {
        if (reply.status / 100 == 3) {
            schema = schema_redirected(client, buf_text(&reply.location));
        } else if (reply.status / 100 == 2) {
            schema = schema_take(client, &reply, NULL);
        } else {
            fail_reply(&reply);
        }
    }
    http_reply_free(&reply);
    return schema;
}

static json_t *schema_get(struct client *client)
{
    json_t *schema = schema_fetch(client);
    if (schema != NULL) {
        return schema;
    }
    struct buf why = {0}, latest = {0};
    buf_add(&why, fail_text());
    if (cache_latest(client->http.url.text, &latest)) {
        schema = schema_cached(client, latest.at);
    }
    if (schema != NULL) {
        fprintf(stderr, "warning: the schema cannot be fetched (%s); the kept one is used\n",
                why.at);
    } else {
        fail("%s", why.at);
    }
    buf_free(&why);
    buf_free(&latest);
    return schema;
}

/* --- the session -------------------------------------------------------------------------------
 */

static json_t *json_of(const struct buf *body, const char *what)
{
    json_error_t error;
    json_t *value = json_loadb(buf_text(body), body->len, JSON_ALLOW_NUL, &error);
    if (value == NULL) {
        fail("unexpected server response: %s is not JSON: %s", what, error.text);
    }
    return value;
}

static size_t limit_of(const json_t *core, const char *name)
{
    json_int_t limit = json_integer_value(json_object_get(core, name));
    return limit > 0 && limit <= INT32_MAX ? (size_t)limit : CLIENT_OBJECTS_MAX;
}

/* Only the path of an URL, without slashes at its end. */
static bool api_path_take(struct client *client, const char *api_url)
{
    const char *scheme = strstr(api_url, "://");
    const char *path = scheme ? strchr(scheme + 3, '/') : api_url;
    struct buf out = {0};
    if (path == NULL || *path != '/') {
        buf_add(&out, "/");
    }
    buf_add(&out, path ? path : "");
    while (out.len > 0 && out.at[out.len - 1] == '/') {
        out.at[--out.len] = '\0';
    }
    for (size_t i = 0; i < out.len; i++) {
        if (!ascii_is_graph((uint8_t)out.at[i])) {
            buf_free(&out);
            return fail("unexpected server response: apiUrl is '%s'", api_url);
        }
    }
    client->api_path = out.at;
    return true;
}

static bool session_take(struct client *client, const json_t *session)
{
    const json_t *core =
        json_object_get(json_object_get(session, "capabilities"), "urn:ietf:params:jmap:core");
    const char *api_url = member_text(session, "apiUrl");
    if (!json_is_object(core) || api_url == NULL) {
        return fail("unexpected server response: the session has no core capability or apiUrl");
    }
    client->max_get = limit_of(core, "maxObjectsInGet");
    client->max_set = limit_of(core, "maxObjectsInSet");
    return api_path_take(client, api_url);
}

bool client_start(struct client *client)
{
    client->schema = schema_get(client);
    if (client->schema == NULL) {
        return false;
    }
    struct buf body = {0};
    json_t *session =
        client_get(client, "/jmap/session", &body) ? json_of(&body, "the session") : NULL;
    bool good = session != NULL && session_take(client, session);
    json_decref(session);
    buf_free(&body);
    return good;
}

/* --- JMAP --------------------------------------------------------------------------------------
 */

const char *member_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

const char *last_id(const json_t *items)
{
    for (size_t i = json_array_size(items); i-- > 0;) {
        const json_t *item = json_array_get(items, i);
        const char *id = json_is_string(item) ? json_string_value(item) : member_text(item, "id");
        if (id != NULL) {
            return id;
        }
    }
    return NULL;
}

static json_t *method_call(const char *object, const char *verb, json_t *args, const char *id)
{
    struct buf name = {0};
    buf_format(&name, "%s/%s", object, verb);
    json_t *call = need(json_pack("[s,o,s]", name.at, args, id));
    buf_free(&name);
    return call;
}

/* Sends the calls (taken); the whole response. */
static json_t *exchange(struct client *client, json_t *calls, json_t *created_ids)
{
    json_t *request = need(json_pack("{s:[s,s],s:o}", "using", "urn:ietf:params:jmap:core",
                                     "urn:stalwart:jmap", "methodCalls", calls));
    if (json_object_size(created_ids) > 0) {
        json_object_set(request, "createdIds", created_ids);
    }
    char *text = need(json_dumps(request, JSON_COMPACT));
    struct buf body = {.at = text, .len = strlen(text), .cap = strlen(text) + 1};
    struct http_reply reply;
    json_t *response = NULL;
    if (http_call(&client->http, "POST", client->api_path, &body, &reply) &&
        (reply.status / 100 == 2 || fail_reply(&reply))) {
        response = json_of(&reply.body, "the response");
    }
    http_reply_free(&reply);
    buf_free(&body);
    json_decref(request);
    return response;
}

/* An error that stands beside what was done (serverPartialFail) names the objects that were made.
 */
static void fail_method(const json_t *error)
{
    const char *type = member_text(error, "type"), *why = member_text(error, "description");
    struct buf made = {0};
    const char *name;
    json_t *object;
    json_object_foreach(json_object_get(error, "created"), name, object)
    {
        const char *id = member_text(object, "id");
        buf_format(&made, "%s%s = %s", made.len > 0 ? ", " : "; created: ", name, id ? id : "?");
    }
    fail("jmap error: %s: %s%s", type ? type : "unknown", why ? why : "", buf_text(&made));
    buf_free(&made);
}

/* The result of a call (new reference) when it is the expected one. */
static json_t *result_of(const json_t *response, size_t index, const char *object, const char *verb)
{
    const json_t *item = json_array_get(json_object_get(response, "methodResponses"), index);
    const char *name = json_string_value(json_array_get(item, 0));
    json_t *result = json_array_get(item, 1);
    struct buf want = {0};
    buf_format(&want, "%s/%s", object, verb);
    bool good = false;
    if (name == NULL || result == NULL) {
        fail("unexpected server response: a method response is missing or malformed");
    } else if (strcmp(name, "error") == 0) {
        fail_method(result);
    } else if (strcmp(name, want.at) != 0) {
        fail("unexpected server response: expected %s, got %s", want.at, name);
    } else {
        good = true;
    }
    buf_free(&want);
    return good ? json_incref(result) : NULL;
}

static bool count_check(const json_t *response, size_t want)
{
    size_t count = json_array_size(json_object_get(response, "methodResponses"));
    return count == want ||
           fail("unexpected server response: expected %zu method responses, got %zu", want, count);
}

json_t *jmap_call_refs(struct client *client, const char *object, const char *verb, json_t *args,
                       json_t *created_ids, json_t *merge)
{
    json_t *calls = need(json_pack("[o]", method_call(object, verb, args, "c0")));
    json_t *response = exchange(client, calls, created_ids);
    if (response == NULL) {
        return NULL;
    }
    if (merge != NULL) {
        json_object_update(merge, json_object_get(response, "createdIds"));
    }
    json_t *result = count_check(response, 1) ? result_of(response, 0, object, verb) : NULL;
    json_decref(response);
    return result;
}

json_t *jmap_call(struct client *client, const char *object, const char *verb, json_t *args)
{
    return jmap_call_refs(client, object, verb, args, NULL, NULL);
}

bool jmap_query_get(struct client *client, const char *object, json_t *query_args,
                    json_t *properties, json_t **out_query, json_t **out_get)
{
    struct buf name = {0};
    buf_format(&name, "%s/query", object);
    json_t *get_args =
        need(json_pack("{s:{s:s,s:s,s:s},s:o}", "#ids", "resultOf", "q", "name", name.at, "path",
                       "/ids", "properties", properties ? properties : json_null()));
    buf_free(&name);
    json_t *calls = need(json_pack("[o,o]", method_call(object, "query", query_args, "q"),
                                   method_call(object, "get", get_args, "g")));
    json_t *response = exchange(client, calls, NULL);
    *out_query = *out_get = NULL;
    if (response != NULL && count_check(response, 2)) {
        *out_query = result_of(response, 0, object, "query");
        *out_get = *out_query ? result_of(response, 1, object, "get") : NULL;
    }
    json_decref(response);
    if (*out_get != NULL && !json_is_array(json_object_get(*out_get, "list"))) {
        fail("unexpected server response: get has no 'list'");
        json_decref(*out_get);
        *out_get = NULL;
    }
    if (*out_get == NULL) {
        json_decref(*out_query);
        *out_query = NULL;
    }
    return *out_get != NULL;
}

json_t *jmap_page(json_t *filter, size_t limit, const char *anchor, bool with_total)
{
    json_t *args = need(json_object());
    if (filter != NULL) {
        json_object_set(args, "filter", filter);
    }
    json_object_set_new(args, "limit", json_integer((json_int_t)limit));
    if (anchor != NULL) {
        json_object_set_new(args, "anchor", json_string(anchor));
        json_object_set_new(args, "anchorOffset", json_integer(1));
    } else if (with_total) {
        json_object_set_new(args, "calculateTotal", json_true());
    }
    return args;
}

bool jmap_all_ids(struct client *client, const char *object, json_t *filter, json_t *ids)
{
    const char *anchor = NULL;
    size_t count;
    do {
        json_t *result =
            jmap_call(client, object, "query", jmap_page(filter, client->max_get, anchor, true));
        if (result == NULL) {
            return false;
        }
        const json_t *found = json_object_get(result, "ids");
        count = json_array_size(found);
        json_array_extend(ids, (json_t *)(uintptr_t)found);
        json_decref(result);
        anchor = last_id(ids);
    } while (count >= client->max_get && anchor != NULL);
    return true;
}

static bool each_of(const json_t *list, bool (*each)(void *arg, const json_t *value), void *arg)
{
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value)
    {
        if (!each(arg, value)) {
            return false;
        }
    }
    return true;
}

bool jmap_each_object(struct client *client, const char *object, bool with_total,
                      bool (*each)(void *arg, const json_t *value), void *arg)
{
    json_t *filter = need(json_object());
    char *anchor = NULL;
    size_t count;
    bool good;
    do {
        json_t *query, *get;
        good =
            jmap_query_get(client, object, jmap_page(filter, client->max_get, anchor, with_total),
                           NULL, &query, &get);
        free(anchor);
        anchor = NULL;
        count = good ? json_array_size(json_object_get(query, "ids")) : 0;
        if (count > 0) {
            const char *last = last_id(json_object_get(query, "ids"));
            anchor = last ? need(strdup(last)) : NULL;
            good = each_of(json_object_get(get, "list"), each, arg);
        }
        json_decref(query);
        json_decref(get);
    } while (good && anchor != NULL && count >= client->max_get);
    free(anchor);
    json_decref(filter);
    return good;
}
