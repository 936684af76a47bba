#include "admin/auth.h"

#include "admin/access.h"
#include "admin/api_key.h"
#include "admin/ban.h"
#include "admin/base64.h"
#include "admin/bootstrap.h"
#include "admin/objects.h"
#include "admin/password.h"
#include "admin/value.h"
#include "core/text.h"
#include "core/timefmt.h"
#include "io/digest.h"
#include "io/random.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEY_BYTES = 32, MEMO_INPUT_MAX = PASSWORD_HASH_MAX + AUTH_HEADER_MAX };

/* A password that fitted a hash. */
struct memo {
    uint8_t digest[DIGEST_SHA256_BYTES];
    int64_t until_ms; /* 0: free */
};

struct auth {
    struct auth_conf conf;
    char recovery_user[AUTH_NAME_MAX + 1];
    char recovery_hash[PASSWORD_HASH_MAX];
    char decoy_hash[PASSWORD_HASH_MAX]; /* of nobody's password */
    uint8_t key[KEY_BYTES];
    struct memo memos[AUTH_MEMO_ENTRIES];
    struct offence_count failures;
    uint64_t hashes;
};

/* One attempt. */
struct attempt {
    struct auth *auth;
    const struct netaddr *peer;
    struct auth_time now;
    struct auth_caller *caller;
    struct auth_verdict *verdict;
};

/* id of administrators without an account in the management contract */
static const char no_account[] = "d333333";

static void fill_caller(struct auth_caller *caller, struct slice name, uint64_t account)
{
    *caller = (struct auth_caller){.account = account};
    snprintf(caller->name, sizeof caller->name, "%.*s", SLICE_ARGS(name));
    if (account == 0) {
        memcpy(caller->account_id, no_account, sizeof no_account);
        caller->permissions = permission_all();
        return;
    }
    struct writer w = writer_init(caller->account_id, OBJECT_ID_TEXT_MAX);
    put_object_id(&w, account);
    caller->account_id[w.len] = '\0';
}

static mx_err refuse(struct attempt *a, const char *reason)
{
    a->verdict->result = AUTH_REFUSED;
    a->verdict->reason = reason;
    return MX_OK;
}

static mx_err accept(struct attempt *a)
{
    a->verdict->result = AUTH_OK;
    return MX_OK;
}

/* Passwords -------------------------------------------------------------------------------- */

/* As password_verify, but cheap for what fitted lately. */
static bool fits(struct attempt *a, const char *hash, struct slice secret)
{
    struct auth *auth = a->auth;
    uint8_t input[MEMO_INPUT_MAX];
    uint8_t digest[DIGEST_SHA256_BYTES];
    struct writer w = writer_init(input, sizeof input);
    put_slice16(&w, slice_of_text(hash));
    put_slice(&w, secret);
    if (w.overflow) {
        explicit_bzero(input, sizeof input);
        return false;
    }
    digest_hmac(digest, slice_of(auth->key, sizeof auth->key), writer_slice(&w));
    explicit_bzero(input, w.len);
    struct memo *memo = &auth->memos[(digest[0] | digest[1] << 8) % AUTH_MEMO_ENTRIES];
    struct slice wanted = slice_of(digest, sizeof digest);
    if (memo->until_ms > a->now.monotonic_ms &&
        digest_equal(slice_of(memo->digest, sizeof memo->digest), wanted)) {
        return true;
    }
    auth->hashes++;
    if (!password_verify(hash, secret)) {
        return false;
    }
    memcpy(memo->digest, digest, sizeof digest);
    memo->until_ms = a->now.monotonic_ms + AUTH_MEMO_MS;
    return true;
}

/* The time that a password of somebody would have taken. */
static mx_err refuse_slowly(struct attempt *a, struct slice secret, const char *reason)
{
    (void)fits(a, a->auth->decoy_hash, secret);
    return refuse(a, reason);
}

/* Accounts --------------------------------------------------------------------------------- */

static bool is_in(const struct netaddr *peer, const char *network)
{
    struct netmask mask;
    return netmask_parse(&mask, slice_of_text(network)) == MX_OK && netmask_contains(&mask, peer);
}

/* What passwords and API keys are limited by. NULL: nothing is in the way. */
static const char *limit_reason(const struct attempt *a, const json_t *credential)
{
    const json_t *expires = json_object_get(credential, "expiresAt");
    const json_t *allowed = json_object_get(credential, "allowedIps");
    int64_t expires_ms = 0;
    if (json_is_string(expires) &&
        (rfc3339_parse(&expires_ms, slice_of_text(json_string_value(expires))) ||
         expires_ms <= a->now.wall_ms)) {
        return "expired";
    }
    bool inside = json_object_size(allowed) == 0;
    const char *text;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)allowed, text, yes)
    {
        inside = inside || is_in(a->peer, text);
    }
    return inside ? NULL : "not from this address";
}

/* The account's domain and its full name. MX_ERR_NOTFOUND: it is not served. */
static mx_err check_domain(struct attempt *a, const json_t *account, uint64_t id)
{
    uint64_t domain_id = 0;
    json_t *domain = NULL;
    const char *local = json_string_value(json_object_get(account, "name"));
    const char *text = json_string_value(json_object_get(account, "domainId"));
    mx_err err = object_id_parse(&domain_id, slice_of_text(text));
    err = err ? err
              : store_get(a->auth->conf.store, &domain, reg_type_find(SLICE_LITERAL("Domain")),
                          domain_id);
    if (err) {
        return err;
    }
    char name[AUTH_NAME_MAX + 1];
    int len = snprintf(name, sizeof name, "%s@%s", local,
                       json_string_value(json_object_get(domain, "name")));
    bool enabled = json_is_true(json_object_get(domain, "isEnabled"));
    json_decref(domain);
    if (!enabled || len < 0 || (size_t)len >= sizeof name) {
        return MX_ERR_NOTFOUND;
    }
    fill_caller(a->caller, slice_of_text(name), id);
    return MX_OK;
}

/* The account that a login names; MX_ERR_NOTFOUND. */
static mx_err find_account(struct attempt *a, struct slice login, uint64_t *out_id)
{
    struct store *store = a->auth->conf.store;
    struct value_problem problem;
    uint8_t text[AUTH_NAME_MAX];
    struct writer w = writer_init(text, sizeof text);
    size_t at = slice_find(login, '@');
    bool bare = at == login.len;
    uint64_t domain = 0;
    if (bare ? value_local_part(&w, login, &problem)
             : value_normalize(&w, FORMAT_EMAIL, login, &problem)) {
        return MX_ERR_NOTFOUND;
    }
    struct slice name = writer_slice(&w);
    mx_err err = MX_OK;
    if (bare) {
        json_t *settings = NULL;
        err = object_get(store, &settings, reg_type_find(SLICE_LITERAL("SystemSettings")),
                         OBJECT_ID_SINGLETON);
        const char *id = json_string_value(json_object_get(settings, "defaultDomainId"));
        if (!err && (!id || object_id_parse(&domain, slice_of_text(id)))) {
            err = MX_ERR_NOTFOUND;
        }
        json_decref(settings);
    } else {
        at = slice_find(name, '@');
        err = store_find_label(store, &domain, reg_type_find(SLICE_LITERAL("Domain")),
                               slice_from(name, at + 1));
        name = slice_first(name, at);
    }
    int position = 0;
    err = err ? err : store_find_address(store, out_id, &position, domain, name);
    return !err && position >= 0 ? MX_ERR_NOTFOUND : err;
}

static mx_err check_password(struct attempt *a, uint64_t id, const json_t *account,
                             struct slice secret)
{
    const char *key;
    json_t *credential;
    json_object_foreach(json_object_get(account, "credentials"), key, credential)
    {
        const char *hash = json_string_value(json_object_get(credential, "secret"));
        if (!hash || !fits(a, hash, secret)) {
            return refuse(a, "wrong password");
        }
        const char *reason = limit_reason(a, credential);
        if (reason) {
            return refuse(a, reason);
        }
        mx_err err = check_domain(a, account, id);
        err = err ? err : access_of_account(a->auth->conf.store, &a->caller->permissions, account);
        return err == MX_ERR_NOTFOUND ? refuse(a, "domain disabled") : err ? err : accept(a);
    }
    return refuse_slowly(a, secret, "no password");
}

static mx_err basic_account(struct attempt *a, struct slice login, struct slice secret)
{
    uint64_t id = 0;
    json_t *account = NULL;
    mx_err err = find_account(a, login, &id);
    err =
        err ? err
            : store_get(a->auth->conf.store, &account, reg_type_find(SLICE_LITERAL("Account")), id);
    if (err) {
        return err == MX_ERR_NOTFOUND ? refuse_slowly(a, secret, "unknown user") : err;
    }
    err = check_password(a, id, account, secret);
    json_decref(account);
    return err;
}

/* Basic ------------------------------------------------------------------------------------ */

static mx_err check_built_in(struct attempt *a, struct slice login, const char *hash,
                             struct slice secret)
{
    if (!fits(a, hash, secret)) {
        return refuse(a, "wrong password");
    }
    fill_caller(a->caller, login, 0);
    return accept(a);
}

static mx_err check_login(struct attempt *a, struct slice login, struct slice secret)
{
    struct auth *auth = a->auth;
    snprintf(a->verdict->login, sizeof a->verdict->login, "%.*s", SLICE_ARGS(login));
    if (auth->recovery_user[0] && slice_equal(login, slice_of_text(auth->recovery_user))) {
        return check_built_in(a, login, auth->recovery_hash, secret);
    }
    if (slice_equal(login, SLICE_LITERAL(BOOTSTRAP_USER))) {
        char hash[PASSWORD_HASH_MAX];
        mx_err err = bootstrap_hash(auth->conf.store, hash, sizeof hash);
        if (err != MX_ERR_NOTFOUND) {
            return err ? err : check_built_in(a, login, hash, secret);
        }
    }
    return basic_account(a, login, secret);
}

/* The login is lower-cased for the counters, so that no spelling gets a count of its own. */
static mx_err check_basic(struct attempt *a, struct slice encoded)
{
    uint8_t plain[AUTH_HEADER_MAX];
    struct writer w = writer_init(plain, sizeof plain);
    bool decoded = base64_decode(&w, encoded) == MX_OK;
    struct slice both = writer_slice(&w);
    size_t colon = slice_find(both, ':');
    bool good = decoded && colon > 0 && colon < both.len && colon <= AUTH_NAME_MAX &&
                text_is_utf8(slice_first(both, colon));
    mx_err err = good ? check_login(a, slice_first(both, colon), slice_from(both, colon + 1))
                      : refuse(a, "malformed");
    explicit_bzero(plain, sizeof plain);
    return err;
}

/* Bearer ----------------------------------------------------------------------------------- */

static mx_err check_bearer(struct attempt *a, struct slice token)
{
    struct store *store = a->auth->conf.store;
    json_t *key = NULL;
    json_t *account = NULL;
    uint64_t key_id = 0, id = 0;
    mx_err err = api_key_find(store, &key, &key_id, &id, token);
    err = err ? err : store_get(store, &account, reg_type_find(SLICE_LITERAL("Account")), id);
    err = err ? err : check_domain(a, account, id);
    err = err ? err : access_of_account(store, &a->caller->permissions, account);
    const char *reason = err ? "unknown API key" : limit_reason(a, key);
    if (!err) {
        access_of_key(&a->caller->permissions, key);
        a->caller->key = key_id;
    }
    json_decref(account);
    json_decref(key);
    if (err && err != MX_ERR_NOTFOUND) {
        return err;
    }
    return reason ? refuse(a, reason) : accept(a);
}

/* Failures --------------------------------------------------------------------------------- */

static uint32_t delay_of(uint32_t failures)
{
    uint32_t delay = AUTH_DELAY_MIN_MS;
    while (failures-- > 1 && delay < AUTH_DELAY_MAX_MS) {
        delay *= 2;
    }
    return delay < AUTH_DELAY_MAX_MS ? delay : AUTH_DELAY_MAX_MS;
}

static void over_rate(struct attempt *a, const struct netmask *client)
{
    const struct auth_conf *conf = &a->auth->conf;
    if (conf->ban && conf->ban(conf->arg, a->peer)) {
        offence_count_forget(&a->auth->failures, client);
        a->verdict->result = AUTH_BANNED;
        a->verdict->delay_ms = 0;
    }
}

static mx_err count_failure(struct attempt *a)
{
    struct ban_rule rule;
    uint8_t lower[AUTH_NAME_MAX];
    struct slice login = slice_of_text(a->verdict->login);
    text_lower(lower, login);
    mx_err err = ban_rule_read(a->auth->conf.store, &rule, OFFENCE_AUTH);
    if (err) {
        return err;
    }
    struct netmask client = offence_client(a->peer, rule.ipv6_bits);
    struct offence_total total =
        offence_count_add(&a->auth->failures, &client, slice_of(lower, login.len), 1, &rule.rate,
                          a->now.monotonic_ms);
    a->verdict->delay_ms = delay_of(total.most);
    if (total.over) {
        over_rate(a, &client);
    }
    return MX_OK;
}

/* Interface -------------------------------------------------------------------------------- */

/* True when text begins with the scheme and a blank; *rest is what follows. */
static bool has_scheme(struct slice text, struct slice scheme, struct slice *rest)
{
    if (!text_starts_nocase(text, scheme) || text.len == scheme.len ||
        text.ptr[scheme.len] != ' ') {
        return false;
    }
    *rest = text_trim(slice_from(text, scheme.len));
    return true;
}

static mx_err check_header(struct attempt *a, struct slice authorization)
{
    struct slice rest;
    if (authorization.len > AUTH_HEADER_MAX) {
        return refuse(a, "too long");
    }
    if (has_scheme(authorization, SLICE_LITERAL("Basic"), &rest)) {
        return check_basic(a, rest);
    }
    return has_scheme(authorization, SLICE_LITERAL("Bearer"), &rest) ? check_bearer(a, rest)
                                                                     : refuse(a, "unknown scheme");
}

mx_err auth_check(struct auth *auth, struct slice authorization, const struct netaddr *peer,
                  struct auth_time now, struct auth_caller *out_caller,
                  struct auth_verdict *out_verdict)
{
    struct auth_caller caller = {0};
    struct attempt a = {auth, peer, now, &caller, out_verdict};
    *out_verdict = (struct auth_verdict){.result = AUTH_MISSING};
    if (text_trim(authorization).len == 0) {
        return MX_OK;
    }
    mx_err err = check_header(&a, text_trim(authorization));
    if (!err && out_verdict->result == AUTH_REFUSED) {
        err = count_failure(&a);
    }
    if (!err && out_verdict->result == AUTH_OK) {
        *out_caller = caller;
    }
    return err;
}

uint64_t auth_hashes(const struct auth *auth)
{
    return auth->hashes;
}

bool auth_allows(const struct auth_caller *caller, const char *permission)
{
    return permission_has(&caller->permissions, permission_find(slice_of_text(permission)));
}

static mx_err keep_recovery(struct auth *auth, const struct auth_conf *conf)
{
    struct slice secret = conf->recovery_password;
    if (conf->recovery_user.len == 0) {
        return MX_OK;
    }
    if (conf->recovery_user.len > AUTH_NAME_MAX) {
        return MX_ERR_INVALID;
    }
    memcpy(auth->recovery_user, conf->recovery_user.ptr, conf->recovery_user.len);
    if (!password_is_hash(secret)) {
        return password_hash(auth->recovery_hash, secret);
    }
    if (password_hash_problem(secret)) {
        return MX_ERR_INVALID;
    }
    memcpy(auth->recovery_hash, secret.ptr, secret.len);
    return MX_OK;
}

mx_err auth_new(struct auth **out_auth, const struct auth_conf *conf)
{
    struct auth *auth = calloc(1, sizeof *auth);
    if (!auth) {
        return MX_ERR_NOMEM;
    }
    auth->conf = *conf;
    auth->conf.recovery_user = auth->conf.recovery_password = SLICE_EMPTY;
    random_fill(auth->key, sizeof auth->key);
    offence_count_init(&auth->failures, random_u64());
    password_decoy(auth->decoy_hash);
    mx_err err = keep_recovery(auth, conf);
    if (err) {
        auth_free(auth);
        return err;
    }
    *out_auth = auth;
    return MX_OK;
}

void auth_free(struct auth *auth)
{
    if (auth) {
        explicit_bzero(auth, sizeof *auth);
        free(auth);
    }
}
