#include "io/proxy_parse.h"

#include "core/text.h"

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char v1_prefix[] = "PROXY ";

enum {
    V1_PREFIX_LEN = 6,
    V1_PORT_DIGITS = 5,
    V2_VERSION = 2,
    V2_LOCAL = 0, /* command */
    V2_PROXY = 1,
    V2_UNSPEC = 0, /* family or transport */
    V2_INET = 1,
    V2_INET6 = 2,
    V2_UNIX = 3,
    V2_STREAM = 1,
    V2_DGRAM = 2,
    V2_FIXED = 16,
    V2_INET_BYTES = 12,
    V2_INET6_BYTES = 36,
    TLV_HEAD = 3,
    TLV_CRC32C = 0x03,
    TLV_UNIQUE_ID = 0x05,
    TLV_UNIQUE_ID_MAX = 128,
    TLV_SSL = 0x20,
    TLV_SSL_FIXED = 5,
};

void proxy_parse_init(struct proxy_parse *p)
{
    p->len = 0;
    p->need = 0;
    p->status = PROXY_MORE;
    p->local = false;
    p->source = (struct netaddr){0};
    p->destination = (struct netaddr){0};
    p->problem = "";
}

const char *proxy_parse_problem(const struct proxy_parse *p)
{
    return p->problem;
}

bool proxy_parse_is_local(const struct proxy_parse *p)
{
    return p->local;
}

const struct netaddr *proxy_parse_source(const struct proxy_parse *p)
{
    return &p->source;
}

const struct netaddr *proxy_parse_destination(const struct proxy_parse *p)
{
    return &p->destination;
}

static enum proxy_status malformed(struct proxy_parse *p, const char *problem)
{
    p->problem = problem;
    return PROXY_MALFORMED;
}

/* --- version 1 ---------------------------------------------------------------------------------
 */

/* The next word up to exactly one space; the last word goes to the end. */
static bool next_word(struct slice *rest, struct slice *out)
{
    size_t end = slice_find(*rest, ' ');
    *out = slice_first(*rest, end);
    *rest = end < rest->len ? slice_from(*rest, end + 1) : slice_from(*rest, rest->len);
    return out->len > 0;
}

static bool v1_address(struct netaddr *out, struct slice text, uint8_t family)
{
    struct netaddr addr;
    bool colon = slice_find(text, ':') < text.len;
    if (netaddr_parse(&addr, text) != MX_OK || colon != (family == 6)) {
        return false;
    }
    *out = addr;
    return true;
}

static bool v1_port(struct netaddr *addr, struct slice text)
{
    uint64_t port;
    if (text.len > V1_PORT_DIGITS || (text.len > 1 && text.ptr[0] == '0') ||
        text_to_u64(&port, text) || port > UINT16_MAX) {
        return false;
    }
    addr->port = (uint16_t)port;
    return true;
}

static enum proxy_status v1_finish(struct proxy_parse *p)
{
    struct slice rest = slice_of(p->buf + V1_PREFIX_LEN, p->len - V1_PREFIX_LEN - 2);
    struct slice family, source, destination, source_port, destination_port;
    if (!next_word(&rest, &family)) {
        return malformed(p, "version 1: no protocol");
    }
    if (slice_equal(family, SLICE_LITERAL("UNKNOWN"))) {
        p->local = true;
        return PROXY_DONE; /* the rest of the line is to be ignored */
    }
    uint8_t version = slice_equal(family, SLICE_LITERAL("TCP4"))   ? 4
                      : slice_equal(family, SLICE_LITERAL("TCP6")) ? 6
                                                                   : 0;
    if (version == 0) {
        return malformed(p, "version 1: unknown protocol");
    }
    if (!next_word(&rest, &source) || !next_word(&rest, &destination) ||
        !next_word(&rest, &source_port) || rest.len == 0 || slice_find(rest, ' ') < rest.len) {
        return malformed(p, "version 1: wrong number of fields");
    }
    destination_port = rest;
    if (!v1_address(&p->source, source, version) ||
        !v1_address(&p->destination, destination, version)) {
        return malformed(p, "version 1: malformed address");
    }
    if (!v1_port(&p->source, source_port) || !v1_port(&p->destination, destination_port)) {
        return malformed(p, "version 1: malformed port");
    }
    return PROXY_DONE;
}

static enum proxy_status v1_byte(struct proxy_parse *p)
{
    if (p->len <= V1_PREFIX_LEN) {
        return p->buf[p->len - 1] == (uint8_t)v1_prefix[p->len - 1]
                   ? PROXY_MORE
                   : malformed(p, "no PROXY header where one is required");
    }
    uint8_t last = p->buf[p->len - 1];
    if (last == '\n') {
        return p->buf[p->len - 2] == '\r'
                   ? v1_finish(p)
                   : malformed(p, "version 1: line feed without carriage return");
    }
    if (p->buf[p->len - 2] == '\r' || (last != '\r' && (last < 0x20 || last > 0x7e))) {
        return malformed(p, "version 1: control character in the header");
    }
    return p->len < PROXY_V1_MAX ? PROXY_MORE : malformed(p, "version 1: header too long");
}

/* --- version 2 ---------------------------------------------------------------------------------
 */

static uint16_t big16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t big32(const uint8_t *at)
{
    return (uint32_t)big16(at) << 16 | big16(at + 2);
}

/* Castagnoli polynomial, reflected (RFC 3720 appendix B.4). A header is short: no table. */
static uint32_t crc32c(struct slice bytes, size_t zero_at)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t byte = i >= zero_at && i < zero_at + 4 ? 0 : bytes.ptr[i];
        crc ^= byte;
        for (unsigned bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
        }
    }
    return ~crc;
}

/* NULL or what is wrong with the structure of the TLVs in body. */
static const char *tlvs_walk(struct slice body)
{
    while (body.len > 0) {
        if (body.len < TLV_HEAD) {
            return "version 2: truncated TLV";
        }
        size_t len = big16(body.ptr + 1);
        if (len > body.len - TLV_HEAD) {
            return "version 2: TLV longer than the header";
        }
        body = slice_from(body, TLV_HEAD + len);
    }
    return NULL;
}

/* at is the offset of a well-formed TLV. */
static const char *v2_tlv(const struct proxy_parse *p, size_t at, bool *crc_seen)
{
    struct slice value = slice_of(p->buf + at + TLV_HEAD, big16(p->buf + at + 1));
    switch (p->buf[at]) {
    case TLV_CRC32C:
        if (value.len != 4 || *crc_seen) {
            return "version 2: CRC32C of a wrong length, or repeated";
        }
        *crc_seen = true;
        return crc32c(slice_of(p->buf, p->len), at + TLV_HEAD) == big32(value.ptr)
                   ? NULL
                   : "version 2: CRC32C does not match";
    case TLV_UNIQUE_ID:
        return value.len <= TLV_UNIQUE_ID_MAX ? NULL : "version 2: unique id too long";
    case TLV_SSL:
        return value.len < TLV_SSL_FIXED ? "version 2: truncated TLV"
                                         : tlvs_walk(slice_from(value, TLV_SSL_FIXED));
    default:
        return NULL;
    }
}

static const char *v2_tlvs(const struct proxy_parse *p, size_t at)
{
    bool crc_seen = false;
    const char *problem = tlvs_walk(slice_of(p->buf + at, p->len - at));
    while (problem == NULL && at < p->len) {
        problem = v2_tlv(p, at, &crc_seen);
        at += TLV_HEAD + (size_t)big16(p->buf + at + 1);
    }
    return problem;
}

static void v2_address(struct netaddr *out, const uint8_t *bytes, bool ipv6, const uint8_t *port)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool unmap = ipv6 && memcmp(bytes, mapped, sizeof mapped) == 0;
    *out = (struct netaddr){.family = ipv6 && !unmap ? 6 : 4, .port = big16(port)};
    memcpy(out->bytes, unmap ? bytes + 12 : bytes, ipv6 && !unmap ? 16 : 4);
}

static bool v2_has_addresses(const struct proxy_parse *p)
{
    return (p->buf[12] & 0x0f) == V2_PROXY && (p->buf[13] >> 4) != V2_UNSPEC &&
           (p->buf[13] & 0x0f) != V2_UNSPEC;
}

static size_t v2_address_bytes(const struct proxy_parse *p)
{
    return (p->buf[13] >> 4) == V2_INET ? V2_INET_BYTES : V2_INET6_BYTES;
}

static enum proxy_status v2_finish(struct proxy_parse *p)
{
    if (!v2_has_addresses(p)) {
        p->local = true;
        return PROXY_DONE;
    }
    bool ipv6 = (p->buf[13] >> 4) == V2_INET6;
    size_t one = ipv6 ? 16 : 4;
    const uint8_t *at = p->buf + V2_FIXED;
    v2_address(&p->source, at, ipv6, at + 2 * one);
    v2_address(&p->destination, at + one, ipv6, at + 2 * one + 2);
    const char *problem = v2_tlvs(p, V2_FIXED + v2_address_bytes(p));
    return problem == NULL ? PROXY_DONE : malformed(p, problem);
}

static enum proxy_status v2_command(struct proxy_parse *p)
{
    if ((p->buf[12] >> 4) != V2_VERSION) {
        return malformed(p, "version 2: unknown version");
    }
    if ((p->buf[12] & 0x0f) > V2_PROXY) {
        return malformed(p, "version 2: unknown command");
    }
    return PROXY_MORE;
}

static enum proxy_status v2_family(struct proxy_parse *p)
{
    uint8_t family = p->buf[13] >> 4, transport = p->buf[13] & 0x0f;
    if ((p->buf[12] & 0x0f) == V2_LOCAL) {
        return PROXY_MORE;
    }
    if (family > V2_UNIX || transport > V2_DGRAM) {
        return malformed(p, "version 2: unknown address family or protocol");
    }
    if (v2_has_addresses(p) && (family == V2_UNIX || transport != V2_STREAM)) {
        return malformed(p, "version 2: not TCP over IPv4 or IPv6");
    }
    return PROXY_MORE;
}

static enum proxy_status v2_length(struct proxy_parse *p)
{
    size_t body = big16(p->buf + 14);
    p->need = (uint32_t)(V2_FIXED + body);
    if (p->need > PROXY_V2_MAX) {
        return malformed(p, "version 2: header too long");
    }
    if (v2_has_addresses(p) && body < v2_address_bytes(p)) {
        return malformed(p, "version 2: header shorter than its addresses");
    }
    return p->need == p->len ? v2_finish(p) : PROXY_MORE;
}

static enum proxy_status v2_byte(struct proxy_parse *p)
{
    if (p->len <= sizeof v2_signature) {
        return p->buf[p->len - 1] == v2_signature[p->len - 1]
                   ? PROXY_MORE
                   : malformed(p, "no PROXY header where one is required");
    }
    switch (p->len) {
    case 13:
        return v2_command(p);
    case 14:
        return v2_family(p);
    case 15:
        return PROXY_MORE;
    case V2_FIXED:
        return v2_length(p);
    default:
        return p->len == p->need ? v2_finish(p) : PROXY_MORE;
    }
}

enum proxy_status proxy_parse_feed(struct proxy_parse *p, struct slice in, size_t *out_used)
{
    size_t used = 0;
    while (p->status == PROXY_MORE && used < in.len) {
        p->buf[p->len++] = in.ptr[used++];
        p->status = p->buf[0] == v2_signature[0] ? v2_byte(p) : v1_byte(p);
    }
    *out_used = used;
    return p->status;
}
