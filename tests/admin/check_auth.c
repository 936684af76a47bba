/* Signing in: who, with what, from where; and the administrators without an account. */
#include "tests/admin/auth_support.h"

#include "admin/bootstrap.h"
#include "admin/password.h"

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
    check_basic();
    check_malformed();
    check_limits_of_passwords();
    check_memo();
    check_cost();
    check_recovery();
    check_bootstrap();
    check_bootstrap_command();
    return report("auth");
}
