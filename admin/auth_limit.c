#include "admin/auth_limit.h"

#include "core/hash.h"

enum { ADDRESS_BYTES = 18, IPV6_PREFIX_BYTES = 8 };

void auth_limit_init(struct auth_limit *limit, uint64_t seed)
{
    *limit = (struct auth_limit){.seed = seed};
}

static uint64_t key_of(const struct auth_limit *limit, struct slice bytes, uint64_t kind)
{
    uint64_t key = hash_seeded(bytes, limit->seed + kind);
    return key ? key : 1;
}

static uint64_t address_key(const struct auth_limit *limit, const struct netaddr *peer)
{
    uint8_t bytes[ADDRESS_BYTES] = {peer->family};
    memcpy(bytes + 1, peer->bytes, peer->family == 4 ? 4 : IPV6_PREFIX_BYTES);
    return key_of(limit, slice_of(bytes, sizeof bytes), 0);
}

static struct auth_count *find(const struct auth_limit *limit, uint64_t key)
{
    const struct auth_count *set = limit->counts[key % AUTH_LIMIT_SETS];
    for (size_t i = 0; i < AUTH_LIMIT_WAYS; i++) {
        if (set[i].key == key) {
            return (struct auth_count *)(uintptr_t)&set[i];
        }
    }
    return NULL;
}

static bool is_banned(const struct auth_count *count, int64_t now_ms)
{
    return count->banned_until > now_ms;
}

/* Smaller is worth less. */
static uint64_t worth(const struct auth_count *count, int64_t now_ms, int64_t period_ms)
{
    if (is_banned(count, now_ms)) {
        return UINT64_MAX;
    }
    return count->key == 0 || now_ms - count->window_ms >= period_ms ? 0 : count->count;
}

/* Counts one in the entry of the key, which takes the place of the least one if it is new. */
static struct auth_count *add(struct auth_limit *limit, uint64_t key, int64_t now_ms,
                              int64_t period_ms)
{
    struct auth_count *count = find(limit, key);
    if (!count) {
        struct auth_count *set = limit->counts[key % AUTH_LIMIT_SETS];
        count = &set[0];
        for (size_t i = 1; i < AUTH_LIMIT_WAYS; i++) {
            if (worth(&set[i], now_ms, period_ms) < worth(count, now_ms, period_ms)) {
                count = &set[i];
            }
        }
        *count = (struct auth_count){.key = key, .window_ms = now_ms};
    }
    if (now_ms - count->window_ms >= period_ms) {
        count->window_ms = now_ms;
        count->count = 0;
    }
    count->count += count->count < UINT32_MAX;
    return count;
}

int64_t auth_limit_banned(const struct auth_limit *limit, const struct netaddr *peer,
                          int64_t now_ms)
{
    const struct auth_count *count = find(limit, address_key(limit, peer));
    return count && is_banned(count, now_ms) ? count->banned_until : 0;
}

static uint32_t delay_of(uint32_t failures)
{
    uint32_t delay = AUTH_DELAY_MIN_MS;
    while (failures-- > 1 && delay < AUTH_DELAY_MAX_MS) {
        delay *= 2;
    }
    return delay < AUTH_DELAY_MAX_MS ? delay : AUTH_DELAY_MAX_MS;
}

uint32_t auth_limit_fail(struct auth_limit *limit, const struct netaddr *peer, struct slice login,
                         const struct auth_rate *rate, int64_t now_ms, bool *out_over)
{
    uint32_t by_login = 0;
    if (login.len > 0) {
        by_login = add(limit, key_of(limit, login, 1), now_ms, rate->period_ms)->count;
    }
    uint32_t own = add(limit, address_key(limit, peer), now_ms, rate->period_ms)->count;
    *out_over = rate->count > 0 &&
                (own > rate->count || (by_login > rate->count && own >= AUTH_LOGIN_BAN_OWN));
    return delay_of(own > by_login ? own : by_login);
}

void auth_limit_ban(struct auth_limit *limit, const struct netaddr *peer,
                    const struct auth_rate *rate, int64_t now_ms)
{
    struct auth_count *count = find(limit, address_key(limit, peer));
    if (count) {
        count->banned_until = rate->ban_ms > INT64_MAX - now_ms ? INT64_MAX : now_ms + rate->ban_ms;
    }
}
