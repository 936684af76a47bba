/* Signing in to the management: HTTP Basic (RFC 7617) with a password, Bearer (RFC 6750) with an
 * API key. Runs on the management worker.
 *
 * Who may sign in, in this order:
 *   recovery administrator   from the environment; asks neither directory nor store
 *   built-in administrator   "admin", see admin/bootstrap.h
 *   accounts                 "user@domain", or "user" in SystemSettings.defaultDomainId, by their
 *                            own address (not an alias), while the domain is enabled
 * A name that one of the first two has is theirs alone. All of them have every permission but the
 * accounts, which have what admin/access.h says, anew at every request.
 *
 * A name that does not exist costs the same argon2 as a wrong password. That a password fits its
 * hash is remembered for AUTH_MEMO_MS, by an HMAC over both with a key of this process; so a change
 * of anything counts at once, and a client that signs in with every request costs one argon2. */
#pragma once

#include "admin/object_id.h"
#include "admin/permission.h"
#include "admin/store.h"
#include "core/netaddr.h"

enum {
    AUTH_NAME_MAX = 320, /* of a login */
    AUTH_HEADER_MAX = 1024,
    AUTH_MEMO_ENTRIES = 256,
    AUTH_MEMO_MS = 5 * 60 * 1000,
    AUTH_DELAY_MIN_MS = 50, /* of the answer to a failure; doubled with each one more */
    AUTH_DELAY_MAX_MS = 500,
};

struct auth;

struct auth_conf {
    struct store *store;            /* outlives the auth */
    struct slice recovery_user;     /* empty: none */
    struct slice recovery_password; /* in clear or an argon2id hash; copied as a hash */
    void *arg;
    /* An address went over Security.authBanRate. True: it is banned. NULL: nobody is. */
    bool (*ban)(void *arg, const struct netaddr *peer);
};

struct auth_caller {
    char name[AUTH_NAME_MAX + 1]; /* "ann@example.org", "admin"; for people and the change log */
    char account_id[OBJECT_ID_TEXT_MAX + 1]; /* "d333333" when there is no account */
    uint64_t account;                        /* 0: no account */
    uint64_t key;                            /* the ApiKey that it took; 0: a password */
    struct permission_set permissions;
};

enum auth_result {
    AUTH_OK,
    AUTH_MISSING, /* no credentials: 401 at once */
    AUTH_REFUSED, /* wrong, unknown, expired, or not from here: 401 after delay_ms */
    AUTH_BANNED,  /* wrong once too often, this address is banned now: 429 */
};

struct auth_verdict {
    enum auth_result result;
    uint32_t delay_ms;             /* the answer is to wait so long */
    const char *reason;            /* of a refusal, for the log, never for the client; static */
    char login[AUTH_NAME_MAX + 1]; /* that was tried, for the log; may be empty */
};

/* Both clocks at the time of the request. */
struct auth_time {
    int64_t wall_ms, monotonic_ms;
};

/* conf is copied except its store. MX_ERR_INVALID: the recovery password is meant as a hash and is
 * none; MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err auth_new(struct auth **out_auth, const struct auth_conf *conf);
void auth_free(struct auth *auth); /* NULL is fine */

/* authorization is the header's value, empty if there is none. *out_caller is filled when the
 * result is AUTH_OK. An error is the store's: nothing is known about the caller. */
MX_MUST_CHECK mx_err auth_check(struct auth *auth, struct slice authorization,
                                const struct netaddr *peer, struct auth_time now,
                                struct auth_caller *out_caller, struct auth_verdict *out_verdict);
/* How many passwords were checked with argon2 so far. */
uint64_t auth_hashes(const struct auth *auth);
/* permission is a name ("sysDomainUpdate"). */
bool auth_allows(const struct auth_caller *caller, const char *permission);
