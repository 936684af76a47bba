/* A scratch store with a domain, an account and signing in to it. */
#pragma once

#include "tests/admin/support.h"

#include "admin/auth.h"
#include "admin/base64.h"
#include "admin/objects.h"

#define ANN_SECRET "correct horse battery"

/* 2026-11-26T12:00:00Z */
static const int64_t noon_ms = INT64_C(1795694400000);

struct world {
    struct store *store;
    struct auth *auth;
    struct auth_time now;
    struct netaddr peer;
    struct auth_caller caller;
    struct auth_verdict verdict;
    uint64_t domain, ann;
    int bans;
    bool exempt; /* nobody may be banned */
};

static inline const struct reg_type *type_of(const char *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(name));
    CHECK(type != NULL);
    return type;
}

static inline json_t *json_of(const char *format, ...) MX_PRINTF(1, 2);

static inline json_t *json_of(const char *format, ...)
{
    char text[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_t *json = json_loads(text, 0, NULL);
    if (!json) {
        failures++;
        fprintf(stderr, "not JSON: %s\n", text);
    }
    return json;
}

struct id_text {
    char text[OBJECT_ID_TEXT_MAX + 1];
};

static inline struct id_text id_text(uint64_t id)
{
    struct id_text out = {0};
    struct writer w = writer_init(out.text, OBJECT_ID_TEXT_MAX);
    put_object_id(&w, id);
    return out;
}

static inline void begin(struct world *w)
{
    CHECK(store_begin(w->store, "test", noon_ms) == MX_OK);
}

/* Takes body. The first error's text, or "" and the transaction is committed. */
static char first_error[SET_PROPERTY_MAX + SET_TEXT_MAX + 64];

static inline const char *end(struct world *w, mx_err err, const struct set_errors *errors)
{
    CHECK(err == MX_OK);
    first_error[0] = '\0';
    if (err || errors->count) {
        snprintf(first_error, sizeof first_error, "%s %s: %s",
                 set_error_name(errors->items[0].type), errors->items[0].property,
                 errors->items[0].text);
        store_rollback(w->store);
    } else {
        CHECK(store_commit(w->store) == MX_OK);
    }
    return first_error;
}

static inline const char *create(struct world *w, const char *type, json_t *body, uint64_t *out_id)
{
    struct set_errors errors;
    uint64_t id = 0;
    errors.count = 0;
    begin(w);
    mx_err err = object_create(w->store, &id, type_of(type), body, NULL, &errors);
    json_decref(body);
    if (out_id) {
        *out_id = id;
    }
    return end(w, err, &errors);
}

static inline const char *update(struct world *w, const char *type, uint64_t id, json_t *patch)
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    mx_err err = object_update(w->store, type_of(type), id, patch, NULL, NULL, NULL, &errors);
    json_decref(patch);
    return end(w, err, &errors);
}

static inline const char *destroy(struct world *w, const char *type, uint64_t id)
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    return end(w, object_destroy(w->store, type_of(type), id, NULL, &errors), &errors);
}

static inline bool on_ban(void *arg, const struct netaddr *peer)
{
    struct world *w = arg;
    CHECK(netaddr_equal(peer, &w->peer));
    w->bans++;
    return !w->exempt;
}

static inline void set_peer(struct world *w, const char *text)
{
    CHECK(netaddr_parse(&w->peer, slice_of_text(text)) == MX_OK);
}

static inline void auth_open(struct world *w, const char *user, const char *password)
{
    struct auth_conf conf = {.store = w->store,
                             .recovery_user = slice_of_text(user),
                             .recovery_password = slice_of_text(password),
                             .arg = w,
                             .ban = on_ban};
    auth_free(w->auth);
    w->auth = NULL;
    CHECK(auth_new(&w->auth, &conf) == MX_OK);
}

/* example.org with ann, who has a password. */
static inline void world_open(struct world *w)
{
    struct config_problem problem;
    *w = (struct world){.now = {noon_ms, 1000000}};
    if (store_open_scratch(&w->store, &problem)) {
        fprintf(stderr, "%s\n", problem.text);
        exit(2);
    }
    set_peer(w, "192.0.2.1");
    auth_open(w, NULL, NULL);
    CHECK_TEXT(create(w, "Domain", json_of("{\"name\":\"example.org\"}"), &w->domain), "");
    CHECK_TEXT(create(w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"ann\",\"domainId\":\"%s\","
                              "\"aliases\":{\"0\":{\"name\":\"a\",\"domainId\":\"%s\"}},"
                              "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":\"%s\"}}}",
                              id_text(w->domain).text, id_text(w->domain).text, ANN_SECRET),
                      &w->ann),
               "");
}

static inline void world_close(struct world *w)
{
    auth_free(w->auth);
    store_close(w->store);
}

static inline enum auth_result try_header(struct world *w, const char *header)
{
    w->verdict = (struct auth_verdict){0};
    CHECK(auth_check(w->auth, slice_of_text(header), &w->peer, w->now, &w->caller, &w->verdict) ==
          MX_OK);
    return w->verdict.result;
}

/* Standard base64 with padding, for the header. */
static inline void put_base64(struct writer *w, const char *text)
{
    size_t start = w->len;
    put_base64url(w, slice_of_text(text));
    for (size_t i = start; i < w->len; i++) {
        w->buf[i] = w->buf[i] == '-' ? '+' : w->buf[i] == '_' ? '/' : w->buf[i];
    }
    while ((w->len - start) % 4 != 0) {
        put_char(w, '=');
    }
}

static inline enum auth_result try_basic(struct world *w, const char *user, const char *password)
{
    char both[512];
    char header[1024];
    struct writer out = writer_init(header, sizeof header - 1);
    snprintf(both, sizeof both, "%s:%s", user, password);
    put_text(&out, "Basic ");
    put_base64(&out, both);
    header[out.len] = '\0';
    return try_header(w, header);
}

static inline enum auth_result try_bearer(struct world *w, const char *token)
{
    char header[256];
    snprintf(header, sizeof header, "Bearer %s", token);
    return try_header(w, header);
}
