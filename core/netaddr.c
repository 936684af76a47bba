#include "core/netaddr.h"

#include "core/text.h"

static unsigned addr_bytes(const struct netaddr *addr)
{
    return addr->family == 4 ? 4 : addr->family == 6 ? 16 : 0;
}

/* --- printing ----------------------------------------------------------------------------------
 */

static unsigned group_of(const struct netaddr *addr, unsigned i)
{
    return (unsigned)addr->bytes[2 * i] << 8 | addr->bytes[2 * i + 1];
}

static void put_ipv6(struct writer *w, const struct netaddr *addr)
{
    /* RFC 5952: the longest run of at least two zero groups, the first one of equals, becomes "::".
     */
    unsigned best = 8, best_len = 1;
    for (unsigned i = 0; i < 8; i++) {
        unsigned len = 0;
        while (i + len < 8 && group_of(addr, i + len) == 0) {
            len++;
        }
        if (len > best_len) {
            best = i;
            best_len = len;
        }
    }
    for (unsigned i = 0; i < 8;) {
        if (i == best) {
            put_text(w, "::");
            i += best_len;
            continue;
        }
        put_hex(w, group_of(addr, i));
        i++;
        if (i < 8 && i != best) {
            put_char(w, ':');
        }
    }
}

void put_netaddr(struct writer *w, const struct netaddr *addr)
{
    if (addr->family == 6) {
        put_ipv6(w, addr);
        return;
    }
    if (addr->family != 4) {
        put_text(w, "unknown");
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (i > 0) {
            put_char(w, '.');
        }
        put_decimal(w, addr->bytes[i]);
    }
}

void put_netaddr_port(struct writer *w, const struct netaddr *addr)
{
    bool brackets = addr->family == 6;
    if (brackets) {
        put_char(w, '[');
    }
    put_netaddr(w, addr);
    if (brackets) {
        put_char(w, ']');
    }
    put_char(w, ':');
    put_decimal(w, addr->port);
}

/* --- parsing -----------------------------------------------------------------------------------
 */

static mx_err parse_ipv4(uint8_t out[4], struct slice text)
{
    for (unsigned i = 0; i < 4; i++) {
        size_t end = i < 3 ? slice_find(text, '.') : text.len;
        uint64_t value;
        struct slice part = slice_first(text, end);
        if (end == text.len && i < 3) {
            return MX_ERR_SYNTAX;
        }
        if (part.len > 3 || (part.len > 1 && part.ptr[0] == '0') || text_to_u64(&value, part) ||
            value > 255) {
            return MX_ERR_SYNTAX;
        }
        out[i] = (uint8_t)value;
        text = slice_from(text, i < 3 ? end + 1 : end);
    }
    return MX_OK;
}

static int hex_digit(uint8_t c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    uint8_t lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static mx_err parse_group(uint16_t *out_group, struct slice text)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 4) {
        return MX_ERR_SYNTAX;
    }
    for (size_t i = 0; i < text.len; i++) {
        int digit = hex_digit(text.ptr[i]);
        if (digit < 0) {
            return MX_ERR_SYNTAX;
        }
        value = value << 4 | (unsigned)digit;
    }
    *out_group = (uint16_t)value;
    return MX_OK;
}

/* Groups separated by ":", the last two possibly as dotted IPv4; at most max groups. */
static mx_err parse_groups(uint16_t *groups, unsigned *out_count, unsigned max, struct slice text,
                           bool ipv4_allowed)
{
    unsigned count = 0;
    while (text.len > 0) {
        size_t end = slice_find(text, ':');
        struct slice part = slice_first(text, end);
        uint8_t dotted[4];
        if (ipv4_allowed && end == text.len && slice_find(part, '.') < part.len) {
            if (count + 2 > max || parse_ipv4(dotted, part)) {
                return MX_ERR_SYNTAX;
            }
            groups[count++] = (uint16_t)(dotted[0] << 8 | dotted[1]);
            groups[count++] = (uint16_t)(dotted[2] << 8 | dotted[3]);
            break;
        }
        if (count == max || parse_group(&groups[count], part)) {
            return MX_ERR_SYNTAX;
        }
        count++;
        if (end == text.len) {
            break;
        }
        text = slice_from(text, end + 1);
        if (text.len == 0) {
            return MX_ERR_SYNTAX; /* trailing colon */
        }
    }
    *out_count = count;
    return MX_OK;
}

static size_t find_gap(struct slice text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.ptr[i] == ':' && text.ptr[i + 1] == ':') {
            return i;
        }
    }
    return text.len;
}

static mx_err parse_ipv6(uint8_t out[16], struct slice text)
{
    uint16_t groups[8] = {0}, tail[8];
    unsigned head_count = 0, tail_count = 0;
    size_t gap = find_gap(text);
    mx_err err;
    if (gap == text.len) {
        err = text.len == 0 ? MX_ERR_SYNTAX : parse_groups(groups, &head_count, 8, text, true);
        if (err || head_count != 8) {
            return MX_ERR_SYNTAX;
        }
    } else {
        err = parse_groups(groups, &head_count, 7, slice_first(text, gap), false);
        if (!err) {
            err = parse_groups(tail, &tail_count, 7 - head_count, slice_from(text, gap + 2), true);
        }
        if (err) {
            return err;
        }
        for (unsigned i = 0; i < tail_count; i++) {
            groups[8 - tail_count + i] = tail[i];
        }
    }
    for (unsigned i = 0; i < 8; i++) {
        out[2 * i] = (uint8_t)(groups[i] >> 8);
        out[2 * i + 1] = (uint8_t)groups[i];
    }
    return MX_OK;
}

void netaddr_unmap(struct netaddr *addr)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (addr->family == 6 && memcmp(addr->bytes, mapped, sizeof mapped) == 0) {
        memmove(addr->bytes, addr->bytes + 12, 4);
        memset(addr->bytes + 4, 0, 12);
        addr->family = 4;
    }
}

mx_err netaddr_parse(struct netaddr *out_addr, struct slice text)
{
    struct netaddr addr = {0};
    mx_err err;
    if (slice_find(text, ':') < text.len) {
        addr.family = 6;
        err = parse_ipv6(addr.bytes, text);
    } else {
        addr.family = 4;
        err = parse_ipv4(addr.bytes, text);
    }
    if (err) {
        return err;
    }
    netaddr_unmap(&addr);
    *out_addr = addr;
    return MX_OK;
}

mx_err netaddr_parse_port(struct netaddr *out_addr, struct slice text)
{
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':') {
        colon--;
    }
    uint64_t port;
    if (colon == 0 || text_to_u64(&port, slice_from(text, colon)) || port > UINT16_MAX) {
        return MX_ERR_SYNTAX;
    }
    struct slice host = slice_first(text, colon - 1);
    bool brackets = host.len > 1 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (brackets) {
        host = slice_of(host.ptr + 1, host.len - 2);
    }
    bool has_colon = slice_find(host, ':') < host.len;
    if (has_colon != brackets) {
        return MX_ERR_SYNTAX;
    }
    struct netaddr addr;
    mx_err err = netaddr_parse(&addr, host);
    if (!err) {
        addr.port = (uint16_t)port;
        *out_addr = addr;
    }
    return err;
}

static void clear_host_bits(struct netmask *mask)
{
    for (unsigned i = 0; i < addr_bytes(&mask->addr); i++) {
        unsigned kept = mask->bits > i * 8 ? mask->bits - i * 8 : 0;
        if (kept < 8) {
            mask->addr.bytes[i] &= (uint8_t)(0xff00u >> kept);
        }
    }
}

mx_err netmask_parse(struct netmask *out_mask, struct slice text)
{
    struct netmask mask;
    size_t slash = slice_find(text, '/');
    mx_err err = netaddr_parse(&mask.addr, slice_first(text, slash));
    if (err) {
        return err;
    }
    /* The length of a v4-mapped network counts from the start of the IPv6 address. */
    bool mapped = mask.addr.family == 4 && slice_find(text, ':') < slash;
    uint64_t bits_min = mapped ? 96 : 0;
    uint64_t bits_max = addr_bytes(&mask.addr) * 8 + bits_min;
    uint64_t bits = bits_max;
    if (slash < text.len) {
        if (text_to_u64(&bits, slice_from(text, slash + 1)) || bits > bits_max || bits < bits_min) {
            return MX_ERR_SYNTAX;
        }
    }
    bits -= bits_min;
    mask.bits = (uint8_t)bits;
    clear_host_bits(&mask);
    *out_mask = mask;
    return MX_OK;
}

struct netmask netmask_of(const struct netaddr *addr, uint8_t bits)
{
    struct netmask mask = {.addr = *addr};
    size_t most = addr_bytes(addr) * 8;
    mask.bits = (uint8_t)mx_min_size(bits, most);
    mask.addr.port = 0;
    clear_host_bits(&mask);
    return mask;
}

bool netmask_contains(const struct netmask *mask, const struct netaddr *addr)
{
    if (mask->addr.family != addr->family || addr->family == 0) {
        return false;
    }
    struct netmask other = {.addr = *addr, .bits = mask->bits};
    clear_host_bits(&other);
    return memcmp(other.addr.bytes, mask->addr.bytes, addr_bytes(addr)) == 0;
}

bool netaddr_equal(const struct netaddr *a, const struct netaddr *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, addr_bytes(a)) == 0;
}

bool netaddr_is_loopback(const struct netaddr *addr)
{
    static const uint8_t one[16] = {[15] = 1};
    return (addr->family == 4 && addr->bytes[0] == 127) ||
           (addr->family == 6 && memcmp(addr->bytes, one, sizeof one) == 0);
}

bool netaddr_is_no_host(const struct netaddr *addr)
{
    static const uint8_t zeros[16], broadcast[4] = {255, 255, 255, 255};
    const uint8_t *bytes = addr->bytes;
    if (addr->family == 6) {
        return bytes[0] == 0xff || memcmp(bytes, zeros, sizeof zeros) == 0;
    }
    return bytes[0] == 0 || bytes[0] >> 4 == 14 || memcmp(bytes, broadcast, sizeof broadcast) == 0;
}
