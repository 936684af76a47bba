#include "smtp/stats.h"

#include "core/check.h"
#include "core/cursor.h"
#include "core/hash.h"

enum {
    HASH_BYTES = 1 + 16, /* '~' and hexadecimal digits */
    CUT_BYTES = STATS_NAME_MAX - 1 - HASH_BYTES,
    WHOLE_BYTES = CUT_BYTES - 3, /* a cut name is longer, without what a character had in front */
};

static const char *const refusals[] = {
    [REFUSAL_LISTENER_FULL] = "listener_full",
    [REFUSAL_SERVER_FULL] = "server_full",
    [REFUSAL_CLIENT_FULL] = "client_full",
    [REFUSAL_NETWORK_FULL] = "network_full",
    [REFUSAL_MEMORY] = "memory",
    [REFUSAL_NO_SESSION] = "no_session",
    [REFUSAL_STOPPING] = "stopping",
    [REFUSAL_OVERLOAD] = "overload",
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

/* The name as rows have it. No character is cut through: that would not be UTF-8 any more. */
static struct slice row_name(struct slice name, uint8_t buf[STATS_NAME_MAX])
{
    if (name.len <= WHOLE_BYTES) {
        return name;
    }
    struct writer w = writer_init(buf, STATS_NAME_MAX - 1);
    size_t len = mx_min_size(name.len, CUT_BYTES);
    while (len > WHOLE_BYTES && len < name.len && (name.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    put_slice(&w, slice_first(name, len));
    put_char(&w, '~');
    put_hex(&w, hash_checksum(name));
    return writer_slice(&w);
}

unsigned stats_row(void *rows, size_t stride, struct slice name)
{
    uint8_t buf[STATS_NAME_MAX];
    struct slice own_name = row_name(name, buf);
    for (unsigned i = STATS_OTHERS + 1; i < STATS_ROWS_MAX && own_name.len > 0; i++) {
        char *own = (char *)rows + i * stride;
        if (own[0] == '\0') {
            memcpy(own, own_name.ptr, own_name.len);
            own[own_name.len] = '\0';
            return i;
        }
        if (slice_equal(slice_of_text(own), own_name)) {
            return i;
        }
    }
    return STATS_OTHERS;
}
