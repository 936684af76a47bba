#include "admin/api_private.h"
#include "admin/json_text.h"
#include "core/check.h"
#include "core/hash.h"
#include "core/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { BASE_URL_MAX = 512 };

static const char json_media[] = "application/json; charset=utf-8";
static const char problem_media[] = "application/problem+json";

static bool begins(struct slice text, const char *prefix)
{
    struct slice want = slice_of_text(prefix);
    return text.len >= want.len && slice_equal(slice_first(text, want.len), want);
}

/* Answers ---------------------------------------------------------------------------------- */

struct slice api_string(const json_t *value)
{
    return slice_of(json_string_value(value), json_string_length(value));
}

json_t *api_id(uint64_t id)
{
    uint8_t buf[OBJECT_ID_TEXT_MAX];
    struct writer w = writer_init(buf, sizeof(buf));
    put_object_id(&w, id);
    return json_stringn((const char *)buf, w.len);
}

static void answer_body(struct api_answer *answer, unsigned status, const char *type, json_t *body)
{
    static const char no_memory[] = "{\"type\":\"about:blank\",\"status\":503,\"title\":"
                                    "\"Temporarily Unavailable\",\"detail\":\"out of memory\"}";
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    answer->status = text ? status : 503;
    answer->content_type = text ? type : problem_media;
    answer->is_static = !text;
    answer->body = (uint8_t *)(text ? text : (char *)(uintptr_t)no_memory);
    answer->len = strlen((const char *)answer->body);
}

void api_answer_json(struct api_answer *answer, unsigned status, json_t *body)
{
    answer_body(answer, status, json_media, body);
}

void api_answer_problem(struct api_answer *answer, unsigned status, const char *title,
                        const char *detail)
{
    answer_body(answer, status, problem_media,
                json_pack("{s:s,s:i,s:s,s:o}", "type", "about:blank", "status", (int)status,
                          "title", title, "detail", json_text(slice_of_text(detail))));
}

static void redirect(struct api_answer *answer, unsigned status, const char *to, const char *more)
{
    answer->status = status;
    answer->cache_control = "no-cache";
    snprintf(answer->location, sizeof(answer->location), "%s%s", to, more);
}

/* Sign-in ---------------------------------------------------------------------------------- */

bool api_sign_in(struct api *api, const struct api_request *request, struct api_caller *caller,
                 struct api_answer *answer)
{
    enum api_sign_in result =
        request->authorization.len
            ? api->conf.authenticate(api->conf.arg, request->authorization, &request->peer, caller)
            : API_REFUSED;
    switch (result) {
    case API_SIGNED_IN:
        return true;
    case API_REFUSED:
        api_answer_problem(answer, 401, "Unauthorized", "You have to authenticate first.");
        return false;
    case API_BLOCKED:
        api_answer_problem(answer, 403, "Forbidden", "Forbidden");
        return false;
    case API_UNKNOWN:
        api_answer_problem(answer, 503, "Temporarily Unavailable",
                           "The registry cannot be read; nobody can sign in at the moment.");
        return false;
    case API_SLOW_DOWN:
        break;
    }
    api_answer_problem(answer, 429, "Too Many Requests",
                       "Too many sign-ins failed; try again later.");
    answer->retry_after_s = API_RETRY_AFTER_S;
    return false;
}

bool api_permits(struct api *api, const struct api_request *request, const char *permission,
                 struct api_answer *answer)
{
    struct api_caller caller;
    *answer = (struct api_answer){0};
    if (!api_sign_in(api, request, &caller, answer)) {
        return false;
    }
    if (!caller.may(caller.arg, permission)) {
        char text[API_PERMISSION_MAX + 32];
        snprintf(text, sizeof(text), "Needs the permission %s.", permission);
        api_answer_problem(answer, 403, "Forbidden", text);
        return false;
    }
    return true;
}

/* Session (RFC 8620 section 2) ------------------------------------------------------------- */

static bool is_host(struct slice host)
{
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.ptr[i];
        if (!ascii_is_alnum(c) && !strchr(".-_:[]", c ? c : ' ')) {
            return false;
        }
    }
    return host.len > 0 && host.len < BASE_URL_MAX / 2;
}

/* What advertised URLs begin with; empty (relative URLs) when the host is of no use. */
static struct slice base_url(const struct api *api, const struct api_request *request,
                             char buf[BASE_URL_MAX])
{
    struct slice url = text_trim(api->conf.public_url);
    while (url.len && url.ptr[url.len - 1] == '/') {
        url.len--;
    }
    if (url.len) {
        return url;
    }
    if (!is_host(request->host)) {
        return SLICE_EMPTY;
    }
    int len = snprintf(buf, BASE_URL_MAX, "http%s://%.*s", request->tls ? "s" : "",
                       SLICE_ARGS(request->host));
    return slice_of(buf, (size_t)len);
}

static void set_url(json_t *session, const char *name, struct slice base, const char *path)
{
    char url[2 * BASE_URL_MAX];
    int len = snprintf(url, sizeof(url), "%.*s%s", SLICE_ARGS(base), path);
    json_object_set_new(session, name,
                        json_stringn(url, mx_min_size((size_t)len, sizeof(url) - 1)));
}

static json_t *capabilities(void)
{
    return json_pack("{s:{s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:[]},s:{}}", "urn:ietf:params:jmap:core",
                     "maxSizeUpload", 0, "maxConcurrentUpload", 1, "maxSizeRequest", API_BODY_MAX,
                     "maxConcurrentRequests", 4, "maxCallsInRequest", API_CALLS_MAX,
                     "maxObjectsInGet", API_OBJECTS_GET, "maxObjectsInSet", API_OBJECTS_SET,
                     "collationAlgorithms", "urn:stalwart:jmap");
}

static void get_session(struct api *api, const struct api_request *request,
                        struct api_answer *answer)
{
    struct api_caller caller = {0};
    if (request->authorization.len && !api_sign_in(api, request, &caller, answer)) {
        return;
    }
    json_t *accounts = json_object();
    json_t *primary = json_object();
    if (caller.may) {
        json_object_set_new(accounts, caller.account_id,
                            json_pack("{s:s,s:b,s:b,s:{s:{}}}", "name", caller.name, "isPersonal",
                                      1, "isReadOnly", 0, "accountCapabilities",
                                      "urn:stalwart:jmap"));
        json_object_set_new(primary, "urn:stalwart:jmap", json_string(caller.account_id));
    }
    json_t *session = json_pack("{s:o,s:o,s:o,s:s}", "capabilities", capabilities(), "accounts",
                                accounts, "primaryAccounts", primary, "username", caller.name);
    char buf[BASE_URL_MAX];
    struct slice base = base_url(api, request, buf);
    set_url(session, "apiUrl", base, "/jmap/");
    set_url(session, "downloadUrl", base,
            "/jmap/download/{accountId}/{blobId}/{name}?accept={type}");
    set_url(session, "uploadUrl", base, "/jmap/upload/{accountId}/");
    set_url(session, "eventSourceUrl", base,
            "/jmap/eventsource/?types={types}&closeafter={closeafter}&ping={ping}");
    json_object_set_new(session, "state", api_session_state(api, &caller));
    api_answer_json(answer, 200, session);
}

json_t *api_session_state(const struct api *api, const struct api_caller *caller)
{
    char text[32];
    uint64_t hash = hash_checksum_next(hash_checksum(slice_of_text(api->schema.hash)),
                                       slice_of_text(caller->account_id));
    snprintf(text, sizeof(text), "%llx", (unsigned long long)hash);
    return json_string(text);
}

/* Documents -------------------------------------------------------------------------------- */

/* RFC 9110 section 13.1.2, compared weakly; the tag has its quotes. */
static bool is_among(struct slice tags, struct slice tag)
{
    while (tags.len > 0) {
        size_t end = slice_find(tags, ',');
        struct slice one = text_trim(slice_first(tags, end));
        one = begins(one, "W/") ? slice_from(one, 2) : one;
        if (slice_equal(one, tag) || slice_equal(one, SLICE_LITERAL("*"))) {
            return true;
        }
        tags = slice_from(tags, mx_min_size(end + 1, tags.len));
    }
    return false;
}

static void get_schema(struct api *api, const struct api_request *request,
                       struct api_answer *answer)
{
    struct api_caller caller;
    if (!api_sign_in(api, request, &caller, answer)) {
        return;
    }
    struct slice hash =
        slice_from(request->path, mx_min_size(strlen("/api/schema/"), request->path.len));
    if (!slice_equal(hash, slice_of_text(api->schema.hash))) {
        redirect(answer, 302, "/api/schema/", api->schema.hash);
        return;
    }
    snprintf(answer->etag, sizeof(answer->etag), "\"%s\"", api->schema.hash);
    answer->status = 200;
    answer->content_type = "application/json";
    answer->cache_control = "public, max-age=31536000, immutable";
    answer->is_static = true;
    if (is_among(request->if_none_match, slice_of_text(answer->etag))) {
        answer->status = 304;
        return;
    }
    answer->gzip = true;
    answer->body = api->schema.gzip;
    answer->len = api->schema.len;
}

static void add_permissions(json_t *list, const struct api_caller *caller,
                            const struct reg_type *type)
{
    static const char *const verbs[] = {"Get", "Update", "Query", "Create", "Destroy"};
    for (size_t i = 0; i < (type->singleton ? 2 : mx_countof(verbs)); i++) {
        char permission[API_PERMISSION_MAX];
        api_permission(permission, type, verbs[i]);
        if (caller->may(caller->arg, permission)) {
            json_array_append_new(list, json_string(permission));
        }
    }
    for (uint32_t i = 0; type->variant_prefix && i < type->shape.variant_count; i++) {
        char permission[API_PERMISSION_MAX];
        snprintf(permission, sizeof(permission), "%.15s%.*s", type->variant_prefix, REG_NAME_MAX,
                 type->shape.variants[i].name);
        if (caller->may(caller->arg, permission)) {
            json_array_append_new(list, json_string(permission));
        }
    }
}

static void get_account(struct api *api, const struct api_request *request,
                        struct api_answer *answer)
{
    struct api_caller caller;
    if (!api_sign_in(api, request, &caller, answer)) {
        return;
    }
    json_t *permissions = json_array();
    for (uint32_t i = 0; i < reg_type_count; i++) {
        add_permissions(permissions, &caller, &reg_types[i]);
    }
    api_answer_json(answer, 200,
                    json_pack("{s:o,s:s,s:s}", "permissions", permissions, "edition", "oss",
                              "locale", "en_US"));
}

/* Anybody else is content with /healthz/live and /healthz/ready. */
static void get_health(struct api *api, const struct api_request *request,
                       struct api_answer *answer)
{
    if (!api->conf.health) {
        api_answer_problem(answer, 404, "Not Found", "There is nothing at this path.");
    } else if (api_permits(api, request, "sysSystemSettingsGet", answer)) {
        api_answer_json(answer, 200, api->conf.health(api->conf.arg));
    }
}

static void get_discovery(struct api *api, const struct api_request *request,
                          struct api_answer *answer)
{
    (void)api;
    (void)request;
    redirect(answer, 307, "/jmap/session", "");
}

static void post_jmap(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    struct api_caller caller;
    if (api_sign_in(api, request, &caller, answer)) {
        api_jmap(api, &caller, request, answer);
    }
}

/* Routing ---------------------------------------------------------------------------------- */

static const struct endpoint {
    const char *path;
    bool prefix; /* everything below it as well */
    bool post;   /* POST, else GET and HEAD */
    void (*run)(struct api *api, const struct api_request *request, struct api_answer *answer);
} endpoints[] = {
    {"/.well-known/jmap", false, false, get_discovery},
    {"/jmap/session", false, false, get_session},
    {"/jmap", false, true, post_jmap},
    {"/jmap/", false, true, post_jmap},
    {"/api/schema", false, false, get_schema},
    {"/api/schema/", true, false, get_schema},
    {"/api/account", false, false, get_account},
    {"/healthz", false, false, get_health},
    {"/api/explain", false, true, api_post_explain},
    {"/api/trace", false, true, api_post_trace},
    {"/api/queue/shape", false, false, api_get_shape},
    {"/jmap/download/", true, false, api_download},
};

static const struct endpoint *find_endpoint(struct slice path)
{
    for (size_t i = 0; i < mx_countof(endpoints); i++) {
        struct slice own = slice_of_text(endpoints[i].path);
        if (slice_equal(path, own) || (endpoints[i].prefix && begins(path, endpoints[i].path))) {
            return &endpoints[i];
        }
    }
    return NULL;
}

static bool method_is(const struct api_request *request, const char *method)
{
    return slice_equal(request->method, slice_of_text(method));
}

static const char *allowed(const struct endpoint *endpoint)
{
    return endpoint && endpoint->post ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

void api_begin(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    *answer = (struct api_answer){0};
    const struct endpoint *endpoint = find_endpoint(request->path);
    if (method_is(request, "OPTIONS") &&
        (endpoint || begins(request->path, "/jmap") || begins(request->path, "/api") ||
         begins(request->path, "/auth"))) {
        answer->status = 204;
        answer->allow = allowed(endpoint);
        return;
    }
    if (!endpoint) {
        api_answer_problem(answer, 404, "Not Found", "There is nothing at this path.");
        return;
    }
    bool fits = endpoint->post ? method_is(request, "POST")
                               : method_is(request, "GET") || method_is(request, "HEAD");
    if (!fits) {
        api_answer_problem(answer, 405, "Method Not Allowed",
                           "This path is for another request method.");
        answer->allow = allowed(endpoint);
        return;
    }
    endpoint->run(api, request, answer);
}

void api_run(struct api *api, const struct api_request *request, struct api_answer *answer)
{
    api_begin(api, request, answer);
    while (answer->work) {
        api_continue(answer, false);
    }
}

/* Life ------------------------------------------------------------------------------------- */

mx_err api_new(struct api **out_api, const struct api_conf *conf)
{
    MX_ASSERT(conf->store && conf->authenticate);
    struct api *api = calloc(1, sizeof(*api));
    if (!api) {
        return MX_ERR_NOMEM;
    }
    api->conf = *conf;
    mx_err err = api_schema_build(&api->schema);
    if (err) {
        api_free(api);
        return err;
    }
    *out_api = api;
    return MX_OK;
}

void api_free(struct api *api)
{
    if (api) {
        free(api->schema.gzip);
        free(api);
    }
}
