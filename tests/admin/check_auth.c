/* Signing in: who, with what, from where, how often; and what they may do then. */
#include "tests/admin/support.h"

#include "admin/access.h"
#include "admin/api_key.h"
#include "admin/auth.h"
#include "admin/base64.h"
#include "admin/bootstrap.h"
#include "admin/objects.h"
#include "admin/offence_count.h"
#include "admin/password.h"
#include "admin/password_strength.h"
#include "admin/secret.h"

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

static const struct reg_type *type_of(const char *name)
{
    const struct reg_type *type = reg_type_find(slice_of_text(name));
    CHECK(type != NULL);
    return type;
}

static json_t *json_of(const char *format, ...) MX_PRINTF(1, 2);

static json_t *json_of(const char *format, ...)
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

static struct id_text id_text(uint64_t id)
{
    struct id_text out = {0};
    struct writer w = writer_init(out.text, OBJECT_ID_TEXT_MAX);
    put_object_id(&w, id);
    return out;
}

static void begin(struct world *w)
{
    CHECK(store_begin(w->store, "test", noon_ms) == MX_OK);
}

/* Takes body. The first error's text, or "" and the transaction is committed. */
static char first_error[SET_PROPERTY_MAX + SET_TEXT_MAX + 64];

static const char *end(struct world *w, mx_err err, const struct set_errors *errors)
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

static const char *create(struct world *w, const char *type, json_t *body, uint64_t *out_id)
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

static const char *update(struct world *w, const char *type, uint64_t id, json_t *patch)
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    mx_err err = object_update(w->store, type_of(type), id, patch, NULL, NULL, NULL, &errors);
    json_decref(patch);
    return end(w, err, &errors);
}

static const char *destroy(struct world *w, const char *type, uint64_t id)
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    return end(w, object_destroy(w->store, type_of(type), id, NULL, &errors), &errors);
}

static bool on_ban(void *arg, const struct netaddr *peer)
{
    struct world *w = arg;
    CHECK(netaddr_equal(peer, &w->peer));
    w->bans++;
    return !w->exempt;
}

static void set_peer(struct world *w, const char *text)
{
    CHECK(netaddr_parse(&w->peer, slice_of_text(text)) == MX_OK);
}

static void auth_open(struct world *w, const char *user, const char *password)
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
static void world_open(struct world *w)
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

static void world_close(struct world *w)
{
    auth_free(w->auth);
    store_close(w->store);
}

static enum auth_result try_header(struct world *w, const char *header)
{
    w->verdict = (struct auth_verdict){0};
    CHECK(auth_check(w->auth, slice_of_text(header), &w->peer, w->now, &w->caller, &w->verdict) ==
          MX_OK);
    return w->verdict.result;
}

/* Standard base64 with padding, for the header. */
static void put_base64(struct writer *w, const char *text)
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

static enum auth_result try_basic(struct world *w, const char *user, const char *password)
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

static enum auth_result try_bearer(struct world *w, const char *token)
{
    char header[256];
    snprintf(header, sizeof header, "Bearer %s", token);
    return try_header(w, header);
}

/* Parts ------------------------------------------------------------------------------------ */

static void check_base64(void)
{
    static const char *const good[][2] = {
        {"", ""}, {"Zg==", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9vYmFy", "foobar"}};
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9v====", "Zm-_", "Z g="};
    uint8_t buf[16];
    for (size_t i = 0; i < mx_countof(good); i++) {
        struct writer w = writer_init(buf, sizeof buf);
        CHECK(base64_decode(&w, slice_of_text(good[i][0])) == MX_OK);
        CHECK(slice_equal(writer_slice(&w), slice_of_text(good[i][1])));
        uint8_t text[32];
        struct writer encoded = writer_init(text, sizeof text);
        put_base64url(&encoded, slice_of_text(good[i][1]));
        w = writer_init(buf, sizeof buf);
        CHECK(base64url_decode(&w, writer_slice(&encoded)) == MX_OK);
        CHECK(slice_equal(writer_slice(&w), slice_of_text(good[i][1])));
    }
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct writer w = writer_init(buf, sizeof buf);
        CHECK(base64_decode(&w, slice_of_text(bad[i])) == MX_ERR_SYNTAX);
    }
    struct writer w = writer_init(buf, 2);
    CHECK(base64_decode(&w, SLICE_LITERAL("Zm9v")) == MX_ERR_LIMIT);
}

static void check_passwords(void)
{
    char hash[PASSWORD_HASH_MAX];
    char again[PASSWORD_HASH_MAX];
    struct slice secret = SLICE_LITERAL(ANN_SECRET);
    CHECK(password_hash(hash, secret) == MX_OK && password_hash(again, secret) == MX_OK);
    CHECK(strcmp(hash, again) != 0); /* salted */
    CHECK(password_verify(hash, secret));
    CHECK(!password_verify(hash, SLICE_LITERAL("correct horse batterY")));
    CHECK(!password_verify(hash, SLICE_EMPTY));
    CHECK(password_hash_problem(slice_of_text(hash)) == NULL);
    /* What is checked for a name that is not there looks and costs like any other. */
    char decoy[PASSWORD_HASH_MAX];
    size_t parameters = (size_t)(strstr(hash, "p=1$") - hash) + 4;
    password_decoy(decoy);
    CHECK(strlen(decoy) == strlen(hash) && strncmp(decoy, hash, parameters) == 0);
    CHECK(password_hash_problem(slice_of_text(decoy)) == NULL);
    CHECK(!password_verify(decoy, secret) && !password_verify(decoy, SLICE_EMPTY));
    password_decoy(again);
    CHECK(strcmp(decoy, again) != 0);
    static const char *const bad[] = {
        "$argon2id$",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ",
        "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa",
        "$argon2id$v=19$m=65536,t=16,p=1$c29tZXNhbHQ$aaaaaaaaaaaaaaaaaaaaaa",
    };
    for (size_t i = 0; i < mx_countof(bad); i++) {
        CHECK(password_hash_problem(slice_of_text(bad[i])) != NULL);
        CHECK(!password_verify(bad[i], secret));
    }
    CHECK(password_problem(secret) == NULL);
    CHECK_HAS(password_problem(SLICE_LITERAL("short 7")), "too weak");
    CHECK_HAS(password_problem(SLICE_LITERAL("aaaaaaaaaaaa")), "too weak");
    CHECK_HAS(password_problem(SLICE_LITERAL("$6$salt$hash")), "not supported by ringmx");
    CHECK_HAS(password_problem(SLICE_LITERAL("{SSHA}c2FsdA==")), "not supported by ringmx");
    CHECK(password_problem(SLICE_LITERAL("{but a word} of mine")) == NULL);
    CHECK(password_problem(SLICE_LITERAL("$ 100 for a pass")) == NULL);
}

/* What is guessed first is refused, whatever is done to it; what is long enough is not. */
static void check_strength(void)
{
    static const char *const weak[] = {
        "password",       "Password1",  "p@ssw0rd!",    "PASSWORD2026",     "12345678",
        "1234567890",     "87654321",   "abcdefgh",     "qwertyuiop",       "QwErTy12",
        "asdfghjkl;",     "adminadmin", "letmein1",     "changeme1",        "summer2026",
        "Winter2025!",    "ringmx2026", "abcdabcdabcd", "admin123",         "test1234",
        "11112222333344", "iloveyou1",  "trustno1",     "passwortpasswort", "drowssap1",
        "1qaz2wsx",       "Liverpool1", "1ooprevil",    "12.05.1987",       "1987-12-24!"};
    static const char *const strong[] = {"correct horse battery",
                                         "x7Kq9zPw",
                                         "Tr0ub4dor&3",
                                         "eight words are more than enough",
                                         "password of the third helpdesk",
                                         "f3Lq-90Zt",
                                         "\xc3\xa4"
                                         "rgern \xc3\xbc"
                                         "bt sich leicht",
                                         "gcmkbranhbwppe2d",
                                         "24.12.1987, in the snow",
                                         "7-3-1-9 of twelve"};
    for (size_t i = 0; i < mx_countof(weak); i++) {
        CHECK_HAS(password_problem(slice_of_text(weak[i])), "too weak");
    }
    for (size_t i = 0; i < mx_countof(strong); i++) {
        CHECK(password_problem(slice_of_text(strong[i])) == NULL);
    }
    CHECK(password_bits(SLICE_EMPTY) == 0);
    CHECK(password_bits(SLICE_LITERAL("a")) == 4 && password_bits(SLICE_LITERAL("5")) == 3);
    uint8_t long_one[2 * PASSWORD_MAX];
    memset(long_one, 'x', sizeof(long_one));
    CHECK(password_bits(slice_of(long_one, sizeof(long_one))) == 5); /* one run */
}

static void check_permission_names(void)
{
    struct permission_set all = permission_all();
    int count = 0;
    for (int i = 0; i < PERMISSION_BITS; i++) {
        if (permission_has(&all, i)) {
            uint8_t name[PERMISSION_NAME_MAX];
            struct writer w = writer_init(name, sizeof name);
            put_permission(&w, i);
            CHECK(!w.overflow && permission_find(writer_slice(&w)) == i);
            count++;
        }
    }
    int expected = 0;
    for (uint32_t i = 0; i < reg_type_count; i++) {
        expected += reg_types[i].singleton ? 2 : 5;
        expected += reg_types[i].variant_prefix ? (int)reg_types[i].shape.variant_count : 0;
    }
    CHECK(count == expected);
    CHECK(permission_find(SLICE_LITERAL("actionReloadSettings")) >= 0);
    static const char *const none[] = {"",
                                       "action",
                                       "actionFlyToTheMoon",
                                       "sys",
                                       "sysDomain",
                                       "sysdomainGet",
                                       "DomainGet",
                                       "sysDomainGets",
                                       "sysSystemSettingsCreate",
                                       "sysSecurityDestroy"};
    for (size_t i = 0; i < mx_countof(none); i++) {
        CHECK(permission_find(slice_of_text(none[i])) == -1);
    }
}

/* Passwords -------------------------------------------------------------------------------- */

static void check_basic(void)
{
    struct world w;
    world_open(&w);
    CHECK(try_header(&w, "") == AUTH_MISSING && w.verdict.delay_ms == 0);
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK_TEXT(w.caller.name, "ann@example.org");
    CHECK_TEXT(w.caller.account_id, id_text(w.ann).text);
    CHECK(w.caller.account == w.ann && w.verdict.delay_ms == 0);
    CHECK(auth_allows(&w.caller, "sysApiKeyCreate"));
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));
    CHECK(!auth_allows(&w.caller, "sysNothingGet"));
    CHECK(try_basic(&w, " ANN@Example.ORG", ANN_SECRET) == AUTH_OK);
    /* as cheap again, and still right about what is wrong */
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET "x") == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "wrong password");
    CHECK_TEXT(w.verdict.login, "ann@example.org");
    CHECK(w.verdict.delay_ms == AUTH_DELAY_MIN_MS);
    CHECK(try_basic(&w, "bob@example.org", ANN_SECRET) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "unknown user");
    CHECK(w.verdict.delay_ms == 2 * AUTH_DELAY_MIN_MS);
    CHECK(try_basic(&w, "a@example.org", ANN_SECRET) == AUTH_REFUSED); /* an alias */
    CHECK(try_basic(&w, "ann@example.net", ANN_SECRET) == AUTH_REFUSED);
    CHECK(try_basic(&w, "ann", ANN_SECRET) == AUTH_REFUSED); /* there is no default domain */
    CHECK(w.verdict.delay_ms == AUTH_DELAY_MAX_MS);
    CHECK_TEXT(update(&w, "SystemSettings", OBJECT_ID_SINGLETON,
                      json_of("{\"defaultDomainId\":\"%s\"}", id_text(w.domain).text)),
               "");
    CHECK(try_basic(&w, "ann", ANN_SECRET) == AUTH_OK);
    CHECK_TEXT(w.caller.name, "ann@example.org");
    CHECK_TEXT(update(&w, "Domain", w.domain, json_of("{\"isEnabled\":false}")), "");
    CHECK(try_basic(&w, "ann", ANN_SECRET) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "domain disabled");
    world_close(&w);
}

static void check_malformed(void)
{
    static const char *const headers[] = {
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YW5u" /* no colon */,
        "Basic OnB3" /* no user */,
        "Bearer",
        "Bearer ",
        "Bearer API_",
        "Bearer API_aaaa",
        "Digest x",
        "Basic\tYW5uOnB3",
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < mx_countof(headers); i++) {
        CHECK(try_header(&w, headers[i]) == AUTH_REFUSED);
        CHECK(w.verdict.delay_ms >= AUTH_DELAY_MIN_MS && w.verdict.reason != NULL);
    }
    char *longest = calloc(1, 3 * AUTH_HEADER_MAX);
    memcpy(longest, "Basic ", 6);
    memset(longest + 6, 'A', 2 * AUTH_HEADER_MAX);
    CHECK(try_header(&w, longest) == AUTH_REFUSED);
    free(longest);
    world_close(&w);
}

static void check_limits_of_passwords(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"credentials/0/allowedIps\":{\"192.0.2.0/24\":true},"
                              "\"credentials/0/expiresAt\":\"2026-11-26T13:00:00+00:30\"}")),
               "");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    set_peer(&w, "198.51.100.1");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "not from this address");
    set_peer(&w, "192.0.2.77");
    w.now.wall_ms = noon_ms + 30 * 60 * 1000 - 1;
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    w.now.wall_ms++;
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "expired");
    world_close(&w);
}

/* What is remembered must not outlive a change. */
static void check_memo(void)
{
    struct world w;
    world_open(&w);
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK_TEXT(
        update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"another horse\"}")), "");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_REFUSED);
    CHECK(try_basic(&w, "ann@example.org", "another horse") == AUTH_OK);
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK(try_basic(&w, "ann@example.org", "another horse") == AUTH_OK);
    CHECK(auth_allows(&w.caller, "sysDomainGet"));
    w.now.monotonic_ms += AUTH_MEMO_MS + 1;
    CHECK(try_basic(&w, "ann@example.org", "another horse") == AUTH_OK);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials\":{}}")), "");
    CHECK(try_basic(&w, "ann@example.org", "another horse") == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "no password");
    CHECK_TEXT(destroy(&w, "Account", w.ann), "");
    CHECK(try_basic(&w, "ann@example.org", "another horse") == AUTH_REFUSED);
    world_close(&w);
}

/* An attempt costs one argon2, whatever is wrong, and none while it is remembered as right. */
static void check_cost(void)
{
    static const char *const wrong[][2] = {
        {"ann@example.org", "not hers"}, {"bob@example.org", ANN_SECRET},
        {"ann@example.net", ANN_SECRET}, {"ann", ANN_SECRET},
        {"not an address", ANN_SECRET},  {"root", "wrong"}};
    struct world w;
    world_open(&w);
    auth_open(&w, "root", "pw");
    for (size_t i = 0; i < mx_countof(wrong); i++) {
        CHECK(try_basic(&w, wrong[i][0], wrong[i][1]) == AUTH_REFUSED);
        CHECK(auth_hashes(w.auth) == i + 1);
    }
    uint64_t before = auth_hashes(w.auth);
    for (int i = 0; i < 3; i++) {
        CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
        CHECK(try_basic(&w, "root", "pw") == AUTH_OK);
    }
    CHECK(auth_hashes(w.auth) == before + 2);
    w.now.monotonic_ms += AUTH_MEMO_MS;
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK(auth_hashes(w.auth) == before + 3);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials\":{}}")), "");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_REFUSED);
    CHECK(auth_hashes(w.auth) == before + 4);
    world_close(&w);
}

/* Secrets ---------------------------------------------------------------------------------- */

static json_t *stored(struct world *w, const char *type, uint64_t id)
{
    json_t *object = NULL;
    CHECK(store_get(w->store, &object, type_of(type), id) == MX_OK);
    return object;
}

static char *secret_of(struct world *w)
{
    json_t *object = stored(w, "Account", w->ann);
    json_t *list = json_object_get(object, "credentials");
    const char *secret = json_string_value(json_object_get(json_object_get(list, "0"), "secret"));
    char *copy = strdup(secret ? secret : "");
    json_decref(object);
    return copy;
}

static void check_secrets(void)
{
    struct world w;
    world_open(&w);
    char *first = secret_of(&w);
    CHECK(password_is_hash(slice_of_text(first)));
    json_t *shown = NULL;
    CHECK(object_show(w.store, &shown, type_of("Account"), w.ann) == MX_OK);
    char *text = json_dumps(shown, 0);
    CHECK_HAS(text, "\"secret\": \"****\"");
    CHECK(!strstr(text, "argon2"));
    free(text);

    /* The mask, the whole list as shown, the same password: nothing changes. */
    uint64_t generation = store_generation(w.store);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"****\"}")), "");
    json_t *patch = json_object();
    json_object_set(patch, "credentials", json_object_get(shown, "credentials"));
    CHECK_TEXT(update(&w, "Account", w.ann, patch), "");
    CHECK_TEXT(
        update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", ANN_SECRET)), "");
    CHECK(store_generation(w.store) == generation);
    char *second = secret_of(&w);
    CHECK_TEXT(second, first);
    json_decref(shown);

    /* A hash is stored as it is. */
    char hash[PASSWORD_HASH_MAX];
    CHECK(password_hash(hash, SLICE_LITERAL("from elsewhere")) == MX_OK);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", hash)),
               "");
    char *third = secret_of(&w);
    CHECK_TEXT(third, hash);
    CHECK(try_basic(&w, "ann@example.org", "from elsewhere") == AUTH_OK);
    CHECK(try_basic(&w, "ann@example.org", hash) == AUTH_REFUSED);
    free(first);
    free(second);
    free(third);
    world_close(&w);
}

static void check_bad_secrets(void)
{
    static const char *const bad[][2] = {
        {"short", "is too weak: shorter than 8 bytes"},
        {"aaaaaaaaaaaaaa", "is too weak: fewer than 4 different characters"},
        {"$2b$12$abcdefgh", "is a hash of a kind that is not supported by ringmx; it takes "
                            "$argon2id$"},
        {"$argon2id$v=19$m=99999999,t=1,p=1$YWFhYWFhYWE$YWFhYQ",
         "is not an argon2id hash of at most 128 MiB, 16 passes and 8 lanes"},
    };
    struct world w;
    world_open(&w);
    for (size_t i = 0; i < mx_countof(bad); i++) {
        char expected[300];
        snprintf(expected, sizeof expected, "invalidProperties credentials/0/secret: %s",
                 bad[i][1]);
        CHECK_TEXT(
            update(&w, "Account", w.ann, json_of("{\"credentials/0/secret\":\"%s\"}", bad[i][0])),
            expected);
    }
    CHECK_TEXT(create(&w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"bob\",\"domainId\":\"%s\","
                              "\"credentials\":{\"0\":{\"@type\":\"Password\",\"secret\":"
                              "\"****\"}}}",
                              id_text(w.domain).text),
                      NULL),
               "invalidProperties credentials/0/secret: stands for a secret, and there is none "
               "here yet");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"credentials/1\":{\"@type\":\"Password\",\"secret\":\"second "
                              "one\"}}")),
               "validationFailed credentials: has more than 1 members");
    CHECK_HAS(update(&w, "Account", w.ann,
                     json_of("{\"credentials/0\":{\"@type\":\"ApiKey\",\"description\":\"x\"}}")),
              "'ApiKey' is not supported by ringmx");
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    world_close(&w);
}

/* Nothing on the disk has the password: neither the objects nor the log of changes. */
static void check_disk(void)
{
    struct scratch scratch;
    scratch_open(&scratch);
    apply_good(&scratch,
               "{\"@type\":\"create\",\"object\":\"Domain\",\"value\":{\"d\":{\"name\":"
               "\"example.org\"}}}\n"
               "{\"@type\":\"upsert\",\"object\":\"Account\",\"value\":{\"a\":{\"@type\":"
               "\"User\",\"name\":\"ann\",\"domainId\":\"#d\",\"credentials\":{\"0\":{\"@type\":"
               "\"Password\",\"secret\":\"" ANN_SECRET "\"}},\"roles\":{\"@type\":\"Admin\"}}}}\n",
               NULL);
    char *dump = dump_registry(&scratch);
    CHECK_HAS(dump, "$argon2id$");
    CHECK(!strstr(dump, ANN_SECRET));
    free(dump);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM account_access WHERE administrator = 1") == 1);
    scratch_close(&scratch);
}

/* Roles ------------------------------------------------------------------------------------ */

static void sign_in(struct world *w)
{
    CHECK(try_basic(w, "ann@example.org", ANN_SECRET) == AUTH_OK);
}

static void check_roles(void)
{
    struct world w;
    uint64_t base = 0;
    uint64_t top = 0;
    world_open(&w);
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"base\",\"enabledPermissions\":{"
                              "\"sysDomainGet\":true,\"sysDomainUpdate\":true}}"),
                      &base),
               "");
    CHECK_TEXT(create(&w, "Role",
                      json_of("{\"description\":\"top\",\"enabledPermissions\":{"
                              "\"sysAccountGet\":true},\"disabledPermissions\":{"
                              "\"sysDomainUpdate\":true},\"roleIds\":{\"%s\":true}}",
                              id_text(base).text),
                      &top),
               "");
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"roles\":{\"@type\":\"Custom\",\"roleIds\":{\"%s\":true}}}",
                              id_text(top).text)),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysAccountGet") && auth_allows(&w.caller, "sysDomainGet"));
    CHECK(!auth_allows(&w.caller, "sysDomainUpdate")); /* disabled wins over inherited */
    CHECK(!auth_allows(&w.caller, "sysApiKeyCreate")); /* Custom is instead of User */

    /* also over what the account itself enables */
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysDomainUpdate\":true,\"sysRoleGet\":true},"
                              "\"disabledPermissions\":{\"sysAccountGet\":true}}}")),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysRoleGet") && auth_allows(&w.caller, "sysDomainGet"));
    CHECK(!auth_allows(&w.caller, "sysDomainUpdate") && !auth_allows(&w.caller, "sysAccountGet"));
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"enabledPermissions\":{"
                              "\"sysRoleGet\":true,\"sysRoleQuery\":true},"
                              "\"disabledPermissions\":{\"sysRoleQuery\":true}}}")),
               "");
    sign_in(&w);
    CHECK(auth_allows(&w.caller, "sysRoleGet") && !auth_allows(&w.caller, "sysRoleQuery"));
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));

    /* a change of a role counts at once */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"permissions\":{\"@type\":\"Inherit\"}}")),
               "");
    CHECK_TEXT(update(&w, "Role", base, json_of("{\"enabledPermissions/sysDomainGet\":null}")), "");
    sign_in(&w);
    CHECK(!auth_allows(&w.caller, "sysDomainGet"));

    CHECK_TEXT(update(&w, "Role", base, json_of("{\"roleIds/%s\":true}", id_text(top).text)),
               "invalidProperties roleIds: leads back to the role");
    CHECK_HAS(update(&w, "Role", base, json_of("{\"enabledPermissions/sysNoneGet\":true}")),
              "'sysNoneGet' is not a permission of ringmx");
    CHECK_HAS(update(&w, "Role", base, json_of("{\"roleIds/b\":true}")), "invalidForeignKey");
    CHECK_HAS(destroy(&w, "Role", base), "objectIsLinked : is used by Role top");
    CHECK_HAS(destroy(&w, "Role", top), "objectIsLinked : is used by Account ann@example.org");
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"User\"}}")), "");
    CHECK_TEXT(destroy(&w, "Role", top), "");
    CHECK_TEXT(destroy(&w, "Role", base), "");
    world_close(&w);
}

static const char *check_change(struct world *w, const char *type, json_t *before, json_t *after)
{
    struct set_errors errors;
    errors.count = 0;
    first_error[0] = '\0';
    CHECK(access_check_change(w->store, &w->caller.permissions, type_of(type), before, after,
                              &errors) == MX_OK);
    if (errors.count) {
        snprintf(first_error, sizeof first_error, "%s", errors.items[0].text);
    }
    json_decref(before);
    json_decref(after);
    return first_error;
}

static json_t *account_with(const char *secret, const char *roles)
{
    return json_of("{\"@type\":\"User\",\"credentials\":{\"0\":{\"secret\":\"%s\"}},\"roles\":%s,"
                   "\"permissions\":{\"@type\":\"Inherit\"}}",
                   secret, roles);
}

#define USER "{\"@type\":\"User\"}"
#define ADMIN "{\"@type\":\"Admin\"}"

/* Nobody makes himself or others more than he is. */
static void check_grants(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Merge\",\"enabledPermissions\":{"
                              "\"sysAccountUpdate\":true,\"sysRoleUpdate\":true}}}")),
               "");
    sign_in(&w);
    CHECK_TEXT(check_change(&w, "Account", NULL, account_with("x", USER)), "");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", USER)), "");
    CHECK_HAS(check_change(&w, "Account", account_with("x", USER), account_with("x", ADMIN)),
              "this would give permissions that you do not have: sysDomainGet, ");
    /* the password of an administrator, and his role */
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), account_with("y", ADMIN)),
              "the account has permissions that you do not have");
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), account_with("x", USER)),
              "the account has permissions that you do not have");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", ADMIN), account_with("x", ADMIN)), "");
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), NULL),
              "the account has permissions that you do not have");
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), NULL), "");
    json_t *renamed = account_with("x", ADMIN);
    json_object_set_new(renamed, "name", json_string("other"));
    CHECK_HAS(check_change(&w, "Account", account_with("x", ADMIN), renamed),
              "the account has permissions that you do not have");
    json_t *described = account_with("x", ADMIN);
    json_object_set_new(described, "description", json_string("other"));
    CHECK_TEXT(check_change(&w, "Account", account_with("x", ADMIN), described), "");
    /* What every user has is not looked at: who has not even that may set passwords of users. */
    CHECK_TEXT(update(&w, "Account", w.ann,
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"enabledPermissions\":{"
                              "\"sysAccountUpdate\":true,\"sysRoleUpdate\":true}}}")),
               "");
    sign_in(&w);
    CHECK(!auth_allows(&w.caller, "sysApiKeyCreate"));
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", USER)), "");
    CHECK_TEXT(check_change(&w, "Account", NULL, account_with("x", USER)), "");
    CHECK_HAS(
        check_change(&w, "Role", NULL, json_of("{\"enabledPermissions\":{\"sysDomainGet\":true}}")),
        "sysDomainGet");
    CHECK_HAS(check_change(&w, "Role", json_of("{\"disabledPermissions\":{\"sysDomainGet\":true}}"),
                           json_of("{\"disabledPermissions\":{}}")),
              "sysDomainGet");
    CHECK_TEXT(check_change(&w, "Role", NULL,
                            json_of("{\"enabledPermissions\":{\"sysAccountUpdate\":true}}")),
               "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(check_change(&w, "Account", account_with("x", USER), account_with("y", ADMIN)), "");
    world_close(&w);
}

/* API keys --------------------------------------------------------------------------------- */

static json_t *key_of(uint64_t account, const char *permissions)
{
    return json_of("{\"description\":\"x\",\"accountId\":\"%s\",\"permissions\":{%s}}",
                   id_text(account).text, permissions);
}

#define INHERIT "\"@type\":\"Inherit\""
#define KEYS_ONLY                                                                          \
    "\"@type\":\"Replace\",\"permissions\":{\"sysApiKeyCreate\":true,\"sysApiKeyUpdate\":" \
    "true}"

/* Who has a key that may do little makes none that may do more, of it or beside it. */
static void check_keys_of_keys(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    w.caller.permissions = permission_all();
    CHECK_TEXT(check_change(&w, "ApiKey", NULL, key_of(w.ann, INHERIT)), "");
    json_t *little = key_of(w.ann, KEYS_ONLY);
    access_of_key(&w.caller.permissions, little);
    json_decref(little);
    CHECK_TEXT(check_change(&w, "ApiKey", NULL, key_of(w.ann, KEYS_ONLY)), "");
    CHECK_HAS(check_change(&w, "ApiKey", NULL, key_of(w.ann, INHERIT)),
              "this would give permissions that you do not have: ");
    CHECK_HAS(check_change(&w, "ApiKey", key_of(w.ann, KEYS_ONLY), key_of(w.ann, INHERIT)),
              "this would give permissions that you do not have: ");
    CHECK_TEXT(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), key_of(w.ann, INHERIT)), "");
    CHECK_TEXT(check_change(&w, "ApiKey", key_of(w.ann, INHERIT), NULL), "");
    world_close(&w);
}

static const char *make_key(struct world *w, uint64_t account, json_t *body, uint64_t *out_id,
                            char secret[API_KEY_TEXT_MAX])
{
    struct set_errors errors;
    errors.count = 0;
    begin(w);
    mx_err err = api_key_create(w->store, out_id, secret, account, body, &errors);
    json_decref(body);
    return end(w, err, &errors);
}

static void check_api_keys(void)
{
    struct world w;
    uint64_t id = 0;
    char secret[API_KEY_TEXT_MAX];
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK_TEXT(make_key(&w, w.ann,
                        json_of("{\"description\":\"backup\",\"allowedIps\":{\"192.0.2.1\":true},"
                                "\"expiresAt\":\"2026-11-26T12:00:01Z\"}"),
                        &id, secret),
               "");
    CHECK(strncmp(secret, "API_", 4) == 0 && strlen(secret) > 40);
    CHECK(try_bearer(&w, secret) == AUTH_OK);
    CHECK_TEXT(w.caller.name, "ann@example.org");
    CHECK(w.caller.account == w.ann && auth_allows(&w.caller, "sysDomainUpdate"));

    json_t *shown = NULL;
    CHECK(object_show(w.store, &shown, type_of("ApiKey"), id) == MX_OK);
    CHECK_TEXT(json_string_value(json_object_get(shown, "secret")), "****");
    CHECK_TEXT(json_string_value(json_object_get(shown, "createdAt")), "2026-11-26T12:00:00.000Z");
    CHECK_TEXT(json_string_value(json_object_get(shown, "accountId")), id_text(w.ann).text);
    json_decref(shown);

    /* wrong in one character, or not a key at all */
    size_t last = strlen(secret) - 2;
    secret[last] = secret[last] == 'A' ? 'B' : 'A';
    CHECK(try_bearer(&w, secret) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "unknown API key");
    CHECK_HAS(create(&w, "ApiKey", json_of("{\"description\":\"x\"}"), NULL), "forbidden");
    CHECK_HAS(update(&w, "ApiKey", id, json_of("{\"secret\":\"****\"}")), "is set by the server");
    CHECK_HAS(update(&w, "ApiKey", id, json_of("{\"accountId\":\"b\"}")), "is set by the server");
    CHECK_HAS(make_key(&w, 7, json_of("{\"description\":\"x\"}"), &id, secret), "forbidden");
    world_close(&w);
}

static void check_key_limits(void)
{
    struct world w;
    uint64_t ids[API_KEYS_MAX + 1];
    char secrets[API_KEYS_MAX + 1][API_KEY_TEXT_MAX];
    world_open(&w);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    for (int i = 0; i < API_KEYS_MAX; i++) {
        CHECK_TEXT(make_key(&w, w.ann, json_of("{\"description\":\"%d\"}", i), &ids[i], secrets[i]),
                   "");
    }
    CHECK_HAS(make_key(&w, w.ann, json_of("{\"description\":\"x\"}"), &ids[5], secrets[5]),
              "overQuota : the account has 5 API keys already");

    CHECK_TEXT(update(&w, "ApiKey", ids[0], json_of("{\"expiresAt\":\"2026-11-26T11:59:59Z\"}")),
               "");
    CHECK(try_bearer(&w, secrets[0]) == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "expired");
    CHECK_TEXT(update(&w, "ApiKey", ids[1], json_of("{\"allowedIps\":{\"2001:db8::/32\":true}}")),
               "");
    CHECK(try_bearer(&w, secrets[1]) == AUTH_REFUSED);
    CHECK_TEXT(update(&w, "ApiKey", ids[2],
                      json_of("{\"permissions\":{\"@type\":\"Disable\",\"permissions\":{"
                              "\"sysDomainGet\":true}}}")),
               "");
    CHECK(try_bearer(&w, secrets[2]) == AUTH_OK);
    CHECK(!auth_allows(&w.caller, "sysDomainGet") && auth_allows(&w.caller, "sysDomainUpdate"));
    CHECK_TEXT(update(&w, "ApiKey", ids[3],
                      json_of("{\"permissions\":{\"@type\":\"Replace\",\"permissions\":{"
                              "\"sysDomainGet\":true}}}")),
               "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_OK);
    CHECK(auth_allows(&w.caller, "sysDomainGet") && !auth_allows(&w.caller, "sysDomainUpdate"));
    /* never more than the account */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"User\"}}")), "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_OK && !auth_allows(&w.caller, "sysDomainGet"));

    CHECK_TEXT(destroy(&w, "ApiKey", ids[4]), "");
    CHECK(try_bearer(&w, secrets[4]) == AUTH_REFUSED);
    /* The keys go with the credentials, and so with the account. */
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials\":{}}")), "");
    CHECK(try_bearer(&w, secrets[3]) == AUTH_REFUSED);
    bool has = true;
    CHECK(store_has(w.store, &has, type_of("ApiKey"), ids[3]) == MX_OK && !has);
    world_close(&w);
}

/* Administrators without an account -------------------------------------------------------- */

static void check_recovery(void)
{
    struct world w;
    char hash[PASSWORD_HASH_MAX];
    world_open(&w);
    auth_open(&w, "root", "pw");
    CHECK(try_basic(&w, "root", "pw") == AUTH_OK);
    CHECK_TEXT(w.caller.name, "root");
    CHECK_TEXT(w.caller.account_id, "d333333");
    CHECK(w.caller.account == 0 && auth_allows(&w.caller, "sysSystemSettingsUpdate"));
    CHECK(try_basic(&w, "root", "pw2") == AUTH_REFUSED);
    CHECK(try_basic(&w, "Root", "pw") == AUTH_REFUSED);
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);

    CHECK(password_hash(hash, SLICE_LITERAL("hashed")) == MX_OK);
    auth_open(&w, "ann@example.org", hash); /* the name of an account is now the recovery's */
    CHECK(try_basic(&w, "ann@example.org", "hashed") == AUTH_OK && w.caller.account == 0);
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_REFUSED);
    struct auth *none = NULL;
    struct auth_conf conf = {.store = w.store,
                             .recovery_user = SLICE_LITERAL("x"),
                             .recovery_password = SLICE_LITERAL("$argon2id$nonsense")};
    CHECK(auth_new(&none, &conf) == MX_ERR_INVALID && none == NULL);
    world_close(&w);
}

static void check_bootstrap(void)
{
    struct world w;
    bool made = false;
    char first[BOOTSTRAP_PASSWORD_CHARS + 1];
    char second[BOOTSTRAP_PASSWORD_CHARS + 1];
    world_open(&w);
    CHECK(try_basic(&w, "admin", "whatever") == AUTH_REFUSED);
    CHECK(bootstrap_make(w.store, &made, first) == MX_OK && made);
    CHECK(strlen(first) == 16);
    CHECK(try_basic(&w, "admin", first) == AUTH_OK);
    CHECK(w.caller.account == 0 && auth_allows(&w.caller, "sysDomainCreate"));
    CHECK(try_basic(&w, "admin", "whatever") == AUTH_REFUSED);
    CHECK(bootstrap_make(w.store, &made, second) == MX_OK && !made); /* once */

    /* An Admin without a credential is nobody; with one, the built-in administrator rests. */
    CHECK_TEXT(create(&w, "Account",
                      json_of("{\"@type\":\"User\",\"name\":\"boss\",\"domainId\":\"%s\","
                              "\"roles\":{\"@type\":\"Admin\"}}",
                              id_text(w.domain).text),
                      NULL),
               "");
    CHECK(try_basic(&w, "admin", first) == AUTH_OK);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"roles\":{\"@type\":\"Admin\"}}")), "");
    CHECK(try_basic(&w, "admin", first) == AUTH_REFUSED);
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK_TEXT(update(&w, "Account", w.ann, json_of("{\"credentials\":{}}")), "");
    CHECK(try_basic(&w, "admin", first) == AUTH_OK);

    CHECK(bootstrap_renew(w.store, second) == MX_OK);
    CHECK(try_basic(&w, "admin", first) == AUTH_REFUSED);
    CHECK(try_basic(&w, "admin", second) == AUTH_OK);
    CHECK(bootstrap_remove(w.store) == MX_OK);
    CHECK(try_basic(&w, "admin", second) == AUTH_REFUSED);
    CHECK(bootstrap_make(w.store, &made, first) == MX_OK && !made); /* for good */
    world_close(&w);
}

static void check_bootstrap_command(void)
{
    struct scratch scratch;
    char *text = NULL;
    size_t len = 0;
    scratch_open(&scratch);
    char words[4][8] = {"admin", "renew", "remove", "--data"};
    char *renew[] = {words[0], words[1], words[3], scratch.data};
    char *removal[] = {words[0], words[2], words[3], scratch.data};
    FILE *out = open_memstream(&text, &len);
    CHECK(bootstrap_command(4, renew, out, out) == 0);
    fflush(out);
    CHECK_HAS(text, "user admin, password ");
    char *dump = dump_registry(&scratch);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM notes WHERE value LIKE '$argon2id$%'") == 1);
    free(dump);
    CHECK(bootstrap_command(4, removal, out, out) == 0);
    CHECK(count_rows(&scratch, "SELECT count(*) FROM notes WHERE value = 'removed'") == 1);
    CHECK(bootstrap_command(3, removal, out, out) == 2);
    fclose(out);
    free(text);
    scratch_close(&scratch);
}

/* Rates ------------------------------------------------------------------------------------ */

static void check_rate(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON,
                      json_of("{\"authBanRate\":{\"count\":3,\"period\":60000}}")),
               "");
    for (int i = 0; i < 3; i++) {
        CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_REFUSED);
    }
    CHECK(w.bans == 0 && w.verdict.delay_ms == 200);
    CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_BANNED);
    CHECK(w.bans == 1 && w.verdict.delay_ms == 0);
    /* The ban is not kept here: who was let in again begins anew. */
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    set_peer(&w, "192.0.2.2"); /* nobody else suffers */
    CHECK(try_basic(&w, "ann@example.org", ANN_SECRET) == AUTH_OK);
    CHECK(try_basic(&w, "ann@example.org", "mistyped") == AUTH_REFUSED && w.bans == 1);
    set_peer(&w, "192.0.2.1");
    w.now.monotonic_ms += 600000;
    /* a new window */
    CHECK(try_basic(&w, "ann@example.org", "wrong") == AUTH_REFUSED && w.bans == 1);
    CHECK(w.verdict.delay_ms == AUTH_DELAY_MIN_MS);
    world_close(&w);
}

static void fail_often(struct world *w, const char *peer)
{
    set_peer(w, peer);
    for (int i = 0; i < 6; i++) {
        (void)try_header(w, "Bearer API_x");
    }
}

static void check_who_is_counted(void)
{
    struct world w;
    world_open(&w);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON,
                      json_of("{\"authBanRate\":{\"count\":5,\"period\":60000}}")),
               "");
    w.exempt = true;
    fail_often(&w, "127.0.0.1");
    CHECK(w.verdict.result == AUTH_REFUSED && w.verdict.delay_ms == AUTH_DELAY_MAX_MS &&
          w.bans == 1);
    w.exempt = false;
    fail_often(&w, "2001:db8:1:2::3");
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 2);
    fail_often(&w, "2001:db8:1:3::3"); /* another /64 */
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 3);
    for (int i = 0; i < 6; i++) {
        char address[64];
        snprintf(address, sizeof address, "2001:db8:1:4::%d", i);
        set_peer(&w, address); /* all in one /64 */
        (void)try_header(&w, "Bearer API_x");
    }
    CHECK(w.verdict.result == AUTH_BANNED && w.bans == 4);
    CHECK_TEXT(update(&w, "Security", OBJECT_ID_SINGLETON, json_of("{\"authBanRate\":null}")), "");
    fail_often(&w, "198.51.100.9");
    CHECK(w.verdict.result == AUTH_REFUSED && w.bans == 4);
    world_close(&w);
}

/* Many addresses that guess one name: each is banned once it has failed often itself. */
static void check_login_rate(void)
{
    struct offence_count *counts = calloc(1, sizeof *counts);
    struct offence_rate rate = {.count = 20, .period_ms = 60000};
    struct netaddr peer = {.family = 4, .bytes = {10, 0, 0, 0}};
    struct slice login = SLICE_LITERAL("ann@example.org");
    struct netmask client;
    offence_count_init(counts, 5);
    for (unsigned i = 0; i < 30; i++) {
        peer.bytes[3] = (uint8_t)i;
        client = offence_client(&peer, 64);
        CHECK(!offence_count_add(counts, &client, login, 1, &rate, 1000).over);
    }
    for (unsigned i = 2; i <= OFFENCE_NAME_OWN; i++) {
        CHECK(offence_count_add(counts, &client, login, 1, &rate, 1000).over ==
              (i == OFFENCE_NAME_OWN));
    }
    offence_count_forget(counts, &client);
    CHECK(!offence_count_add(counts, &client, login, 1, &rate, 1000).over);
    /* A flood of addresses does not push out who has offended much in this window. */
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, 10, &rate, 1000).most == 11);
    struct netaddr other = {.family = 4, .bytes = {11}};
    for (uint32_t i = 0; i < 100000; i++) {
        memcpy(other.bytes + 1, &i, 3);
        struct netmask one = offence_client(&other, 64);
        (void)offence_count_add(counts, &one, SLICE_EMPTY, 1, &rate, 1000);
    }
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, 10, &rate, 1000).over);
    CHECK(offence_count_add(counts, &client, SLICE_EMPTY, UINT32_MAX, &rate, 61000).over);
    free(counts);
}

/* The name and the password of an administrator that is not set are empty, and so are these: that
 * was a way in. */
static void check_nobody_signs_in_without_an_administrator(void)
{
    struct world w;
    world_open(&w); /* no recovery administrator, and nobody was made by `ringmx init` */
    CHECK(try_basic(&w, "", "") == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "malformed");
    CHECK(try_basic(&w, "", "x") == AUTH_REFUSED);
    CHECK(try_header(&w, "Basic") != AUTH_OK);
    CHECK(try_header(&w, "Basic ") != AUTH_OK);
    CHECK(try_header(&w, "Basic Og") != AUTH_OK);
    CHECK(try_basic(&w, " ", "") == AUTH_REFUSED);
    CHECK(try_basic(&w, BOOTSTRAP_USER, "") == AUTH_REFUSED);
    CHECK_TEXT(w.verdict.reason, "unknown user");
    CHECK(try_bearer(&w, "") != AUTH_OK);
    /* Nor with an administrator who is set, by leaving both out. */
    auth_open(&w, "root", "correct horse battery staple");
    CHECK(try_basic(&w, "", "") == AUTH_REFUSED && try_basic(&w, "root", "") == AUTH_REFUSED);
    CHECK(try_basic(&w, "root", "correct horse battery staple") == AUTH_OK);
    world_close(&w);
}

int main(void)
{
    check_nobody_signs_in_without_an_administrator();
    check_base64();
    check_passwords();
    check_strength();
    check_permission_names();
    check_basic();
    check_malformed();
    check_limits_of_passwords();
    check_memo();
    check_cost();
    check_secrets();
    check_bad_secrets();
    check_disk();
    check_roles();
    check_grants();
    check_keys_of_keys();
    check_api_keys();
    check_key_limits();
    check_recovery();
    check_bootstrap();
    check_bootstrap_command();
    check_rate();
    check_who_is_counted();
    check_login_rate();
    return report("auth");
}
