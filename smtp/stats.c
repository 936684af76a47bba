#include "smtp/stats.h"

#include "core/check.h"

static const char *const refusals[] = {
    [REFUSAL_LISTENER_FULL] = "listener_full",
    [REFUSAL_SERVER_FULL] = "server_full",
    [REFUSAL_CLIENT_FULL] = "client_full",
    [REFUSAL_NETWORK_FULL] = "network_full",
    [REFUSAL_MEMORY] = "memory",
    [REFUSAL_NO_SESSION] = "no_session",
    [REFUSAL_STOPPING] = "stopping",
    [REFUSAL_BLOCKED] = "blocked",
    [REFUSAL_PROXY_HEADER] = "proxy_header",
    [REFUSAL_PROXY_TIMEOUT] = "proxy_timeout",
    [REFUSAL_PROXY_WAITS] = "proxy_waits",
};
_Static_assert(mx_countof(refusals) == STATS_REFUSALS, "every refusal has a name");

static const char *const verdicts[] = {
    [VERDICT_LOCAL] = "local",
    [VERDICT_RELAY] = "relay",
    [VERDICT_MX] = "mx",
    [VERDICT_DUPLICATE] = "duplicate",
    [VERDICT_UNKNOWN_USER] = "unknown_user",
    [VERDICT_UNKNOWN_DOMAIN] = "unknown_domain",
    [VERDICT_REFUSED_THERE] = "refused_there",
    [VERDICT_NOT_VERIFIED] = "not_verified",
    [VERDICT_NO_ROUTE] = "no_route",
    [VERDICT_NO_MEMORY] = "no_memory",
    [VERDICT_THROTTLED] = "throttled",
};
_Static_assert(mx_countof(verdicts) == STATS_VERDICTS, "every verdict has a name");

static const char *const classes[] = {
    [CLASS_LOCAL] = "local", [CLASS_SMTP] = "smtp", [CLASS_LMTP] = "lmtp", [CLASS_MX] = "mx"};
_Static_assert(mx_countof(classes) == STATS_CLASSES, "every class has a name");

const char *stats_refusal_name(unsigned refusal)
{
    MX_ASSERT(refusal < STATS_REFUSALS);
    return refusals[refusal];
}

const char *stats_verdict_name(unsigned verdict)
{
    MX_ASSERT(verdict < STATS_VERDICTS);
    return verdicts[verdict];
}

const char *stats_class_name(unsigned hop_class)
{
    MX_ASSERT(hop_class < STATS_CLASSES);
    return classes[hop_class];
}

unsigned stats_row(void *rows, size_t stride, struct slice name)
{
    struct slice cut = slice_first(name, STATS_NAME_MAX - 1);
    for (unsigned i = STATS_OTHERS + 1; i < STATS_ROWS_MAX && cut.len > 0; i++) {
        char *own = (char *)rows + i * stride;
        if (own[0] == '\0') {
            memcpy(own, cut.ptr, cut.len);
            own[cut.len] = '\0';
            return i;
        }
        if (slice_equal(slice_of_text(own), cut)) {
            return i;
        }
    }
    return STATS_OTHERS;
}
