/* Failed sign-ins, counted per client address (an IPv6 /64 is one) and per login name, in fixed
 * windows. A bounded table: when it is full the smallest count goes. Pure apart from its seed. */
#pragma once

#include "core/netaddr.h"

enum {
    AUTH_LIMIT_SETS = 1024,
    AUTH_LIMIT_WAYS = 4,
    AUTH_DELAY_MIN_MS = 50,
    AUTH_DELAY_MAX_MS = 500,
    /* Over the rate of a login name an address is banned only if it failed so often itself: others
     * who guess must not lock out who mistypes once. */
    AUTH_LOGIN_BAN_OWN = 5,
};

struct auth_count {
    uint64_t key;         /* 0: free */
    int64_t window_ms;    /* start */
    int64_t banned_until; /* 0: not banned */
    uint32_t count;
};

struct auth_limit {
    uint64_t seed;
    struct auth_count counts[AUTH_LIMIT_SETS][AUTH_LIMIT_WAYS];
};

/* How many failures in how long lead to a ban, and for how long it holds. */
struct auth_rate {
    uint32_t count; /* 0: never bans */
    int64_t period_ms;
    int64_t ban_ms; /* INT64_MAX: for ever */
};

void auth_limit_init(struct auth_limit *limit, uint64_t seed);
/* Until when the address is banned; 0: it is not. Times are of one monotonic clock in ms. */
int64_t auth_limit_banned(const struct auth_limit *limit, const struct netaddr *peer,
                          int64_t now_ms);
/* Counts one failure (login may be empty). Returns by how many ms the answer is to be delayed. True
 * in *out_over when this failure went over the rate. */
uint32_t auth_limit_fail(struct auth_limit *limit, const struct netaddr *peer, struct slice login,
                         const struct auth_rate *rate, int64_t now_ms, bool *out_over);
/* Of an address that has failed just now. */
void auth_limit_ban(struct auth_limit *limit, const struct netaddr *peer,
                    const struct auth_rate *rate, int64_t now_ms);
