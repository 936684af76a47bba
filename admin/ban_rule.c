/* Who is banned for what: Security, and who is exempt. */
#include "admin/ban.h"

#include "admin/object_id.h"
#include "admin/objects.h"
#include "core/timefmt.h"

enum {
    NO_RATE_PERIOD_MS = 5 * 60 * 1000 /* counts without a rate slow sign-ins down all the same */
};

/* Names of the fields. */
static const struct {
    const char *rate, *period;
} fields[OFFENCE_COUNT] = {
    [OFFENCE_AUTH] = {"authBanRate", "authBanPeriod"},
    [OFFENCE_ABUSE] = {"abuseBanRate", "abuseBanPeriod"},
    [OFFENCE_LOITER] = {"loiterBanRate", "loiterBanPeriod"},
    [OFFENCE_SCAN] = {"scanBanRate", "scanBanPeriod"},
};

mx_err ban_rule_read(struct store *store, struct ban_rule *out, enum offence kind)
{
    json_t *security = NULL;
    mx_err err =
        object_get(store, &security, reg_type_find(SLICE_LITERAL("Security")), OBJECT_ID_SINGLETON);
    if (err) {
        return err;
    }
    const json_t *rate = json_object_get(security, fields[kind].rate);
    const json_t *period = json_object_get(security, fields[kind].period);
    *out = (struct ban_rule){
        .rate = {.count = (uint32_t)json_integer_value(json_object_get(rate, "count")),
                 .period_ms = json_is_object(rate)
                                  ? json_integer_value(json_object_get(rate, "period"))
                                  : NO_RATE_PERIOD_MS},
        .ban_ms = json_is_integer(period) ? json_integer_value(period) : INT64_MAX,
        .ipv6_bits = (unsigned)json_integer_value(json_object_get(security, "ipv6PrefixLength"))};
    json_decref(security);
    return MX_OK;
}

/* Exemptions ------------------------------------------------------------------------------- */

struct exemption {
    const struct netaddr *addr;
    int64_t wall_ms;
    bool found;
};

static bool is_in(const struct exemption *e, const char *network)
{
    struct netmask mask;
    return network && netmask_parse(&mask, slice_of_text(network)) == MX_OK &&
           netmask_contains(&mask, e->addr);
}

static void look_at_set(struct exemption *e, const json_t *networks)
{
    const char *network;
    json_t *yes;
    json_object_foreach((json_t *)(uintptr_t)networks, network, yes)
    {
        e->found = e->found || is_in(e, network);
    }
}

/* An AllowedIp. */
static mx_err look_at_allowed(void *arg, uint64_t id, json_t *object)
{
    struct exemption *e = arg;
    int64_t expires_ms = INT64_MAX;
    const char *expires = json_string_value(json_object_get(object, "expiresAt"));
    (void)id;
    if (!expires || rfc3339_parse(&expires_ms, slice_of_text(expires)) == MX_OK) {
        e->found = e->found || (expires_ms > e->wall_ms &&
                                is_in(e, json_string_value(json_object_get(object, "address"))));
    }
    return MX_OK;
}

/* A NetworkListener. */
static mx_err look_at_listener(void *arg, uint64_t id, json_t *object)
{
    (void)id;
    look_at_set(arg, json_object_get(object, "overrideProxyTrustedNetworks"));
    return MX_OK;
}

mx_err ban_exempt(struct store *store, bool *out_exempt, const struct netaddr *addr,
                  int64_t wall_ms)
{
    struct exemption e = {addr, wall_ms, netaddr_is_loopback(addr)};
    json_t *settings = NULL;
    mx_err err = object_get(store, &settings, reg_type_find(SLICE_LITERAL("SystemSettings")),
                            OBJECT_ID_SINGLETON);
    look_at_set(&e, json_object_get(settings, "proxyTrustedNetworks"));
    json_decref(settings);
    err = err ? err
              : store_each(store, reg_type_find(SLICE_LITERAL("AllowedIp")), look_at_allowed, &e);
    err = err ? err
              : store_each(store, reg_type_find(SLICE_LITERAL("NetworkListener")), look_at_listener,
                           &e);
    *out_exempt = e.found;
    return err;
}
