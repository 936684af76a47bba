#include "io/proxy_parse.h"

#include "core/text.h"

static const uint8_t v2_signature[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                         0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
static const char v1_prefix[] = "PROXY ";

enum { V2_FIXED = 16, V2_INET = 12, V2_INET6 = 36, TLV_CRC32C = 0x03, V1_PREFIX_LEN = 6 };

void proxy_parse_init(struct proxy_parse *p)
{
    p->len = 0;
    p->need = 0;
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
    if (text.len > 5 || (text.len > 1 && text.ptr[0] == '0') || text_to_u64(&port, text) ||
        port > UINT16_MAX) {
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
        !next_word(&rest, &source_port) || slice_find(rest, ' ') < rest.len) {
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

static const char *v2_tlvs(const struct proxy_parse *p, size_t at)
{
    while (at < p->len) {
        if (p->len - at < 3) {
            return "version 2: truncated TLV";
        }
        size_t len = big16(p->buf + at + 1);
        if (len > p->len - at - 3) {
            return "version 2: TLV longer than the header";
        }
        if (p->buf[at] == TLV_CRC32C) {
            if (len != 4) {
                return "version 2: CRC32C of a wrong length";
            }
            if (crc32c(slice_of(p->buf, p->len), at + 3) != big32(p->buf + at + 3)) {
                return "version 2: CRC32C does not match";
            }
        }
        at += 3 + len;
    }
    return NULL;
}

static void v2_address(struct netaddr *out, const uint8_t *bytes, bool ipv6, const uint8_t *port)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool unmap = ipv6 && memcmp(bytes, mapped, sizeof mapped) == 0;
    *out = (struct netaddr){.family = ipv6 && !unmap ? 6 : 4, .port = big16(port)};
    memcpy(out->bytes, unmap ? bytes + 12 : bytes, ipv6 && !unmap ? 16 : 4);
}

static enum proxy_status v2_finish(struct proxy_parse *p)
{
    uint8_t command = p->buf[12] & 0x0f;
    uint8_t family = p->buf[13] >> 4, transport = p->buf[13] & 0x0f;
    size_t body = p->len - V2_FIXED;
    if (command == 0) {
        p->local = true; /* family and addresses are to be ignored */
        return PROXY_DONE;
    }
    if (family == 0 || transport == 0) {
        p->local = true;
        return PROXY_DONE;
    }
    if (family > 2 || transport != 1) {
        return malformed(p, "version 2: not TCP over IPv4 or IPv6");
    }
    size_t addresses = family == 1 ? V2_INET : V2_INET6;
    if (body < addresses) {
        return malformed(p, "version 2: header shorter than its addresses");
    }
    size_t one = family == 1 ? 4 : 16;
    const uint8_t *at = p->buf + V2_FIXED;
    v2_address(&p->source, at, family == 2, at + 2 * one);
    v2_address(&p->destination, at + one, family == 2, at + 2 * one + 2);
    const char *problem = v2_tlvs(p, V2_FIXED + addresses);
    return problem == NULL ? PROXY_DONE : malformed(p, problem);
}

static enum proxy_status v2_byte(struct proxy_parse *p)
{
    if (p->len <= sizeof v2_signature) {
        return p->buf[p->len - 1] == v2_signature[p->len - 1]
                   ? PROXY_MORE
                   : malformed(p, "no PROXY header where one is required");
    }
    if (p->len == 13 && (p->buf[12] >> 4) != 2) {
        return malformed(p, "version 2: unknown version");
    }
    if (p->len == 13 && (p->buf[12] & 0x0f) > 1) {
        return malformed(p, "version 2: unknown command");
    }
    if (p->len == 14 && ((p->buf[13] >> 4) > 3 || (p->buf[13] & 0x0f) > 2)) {
        return malformed(p, "version 2: unknown address family or protocol");
    }
    if (p->len == V2_FIXED) {
        p->need = V2_FIXED + big16(p->buf + 14);
        if (p->need > PROXY_V2_MAX) {
            return malformed(p, "version 2: header too long");
        }
    }
    return p->need > 0 && p->len == p->need ? v2_finish(p) : PROXY_MORE;
}

enum proxy_status proxy_parse_feed(struct proxy_parse *p, struct slice in, size_t *out_used)
{
    enum proxy_status status = PROXY_MORE;
    size_t used = 0;
    while (status == PROXY_MORE && used < in.len) {
        p->buf[p->len++] = in.ptr[used++];
        status = p->buf[0] == v2_signature[0] ? v2_byte(p) : v1_byte(p);
    }
    *out_used = used;
    return status;
}
