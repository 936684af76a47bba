#include "smtp/addr_parse.h"

#include "core/netaddr.h"
#include "core/text.h"
#include "smtp/envelope.h"

/* What a byte may be part of. */
enum { LET_DIG = 1, UTF8 = 2, HYPHEN = 4, ATEXT = 8 };

static const uint8_t classes[256] = {
    ['0' ... '9'] = LET_DIG | ATEXT,
    ['A' ... 'Z'] = LET_DIG | ATEXT,
    ['a' ... 'z'] = LET_DIG | ATEXT,
    [0x80 ... 0xff] = UTF8 | ATEXT,
    ['-'] = HYPHEN | ATEXT,
    ['!'] = ATEXT,
    ['#' ... '\''] = ATEXT,
    ['*' ... '+'] = ATEXT,
    ['/'] = ATEXT,
    ['='] = ATEXT,
    ['?'] = ATEXT,
    ['^' ... '`'] = ATEXT,
    ['{' ... '~'] = ATEXT,
};

static bool is(uint8_t c, uint8_t any)
{
    return (classes[c] & any) != 0;
}

static bool is_label(struct slice label, bool with_utf8)
{
    uint8_t end = with_utf8 ? LET_DIG | UTF8 : LET_DIG, seen = 0;
    if (label.len == 0 || !is(label.ptr[0], end) || !is(label.ptr[label.len - 1], end)) {
        return false;
    }
    for (size_t i = 0; i < label.len; i++) {
        if (!is(label.ptr[i], end | HYPHEN)) {
            return false;
        }
        seen |= classes[label.ptr[i]];
    }
    return (seen & UTF8) != 0 || label.len <= ADDR_LABEL_MAX;
}

bool addr_is_domain(struct slice text, bool with_utf8)
{
    if (text.len == 0 || text.len > DOMAIN_MAX || (with_utf8 && !text_is_utf8(text))) {
        return false;
    }
    for (;;) {
        size_t dot = slice_find(text, '.');
        if (!is_label(slice_first(text, dot), with_utf8)) {
            return false;
        }
        if (dot == text.len) {
            return true;
        }
        text = slice_from(text, dot + 1);
    }
}

bool addr_is_literal(struct slice text)
{
    static const struct slice tag = SLICE_LITERAL("IPv6:");
    struct netaddr addr;
    if (text.len < 3 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']') {
        return false;
    }
    struct slice inner = slice_first(slice_from(text, 1), text.len - 2);
    bool tagged = text_starts_nocase(inner, tag);
    if (tagged) {
        inner = slice_from(inner, tag.len);
    }
    bool has_colon = slice_find(inner, ':') < inner.len;
    return tagged == has_colon && netaddr_parse(&addr, inner) == MX_OK;
}

/* Length of the Dot-string at the start of text; 0 = none or malformed. */
static size_t dot_string(struct slice text)
{
    size_t used = 0;
    bool after_dot = true;
    while (used < text.len && (is(text.ptr[used], ATEXT) || text.ptr[used] == '.')) {
        bool dot = text.ptr[used] == '.';
        if (dot && after_dot) {
            return 0;
        }
        after_dot = dot;
        used++;
    }
    return after_dot || used > ADDR_LOCAL_CONTENT_MAX ? 0 : used;
}

/* Length of the Quoted-string at the start of text with its quotes; 0 = malformed. */
static size_t quoted_string(struct slice text)
{
    for (size_t i = 1; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '"') {
            return i - 1 > ADDR_LOCAL_CONTENT_MAX ? 0 : i + 1;
        }
        if (c == '\\') {
            i++;
            if (i == text.len || text.ptr[i] > 0x7e) {
                return 0;
            }
            c = text.ptr[i];
        }
        if (c < 0x20 || c == 0x7f) {
            return 0;
        }
    }
    return 0;
}

/* Length of the Domain or address-literal at the start of text, up to a byte that ends it. */
static size_t domain_extent(struct slice text)
{
    if (text.len > 0 && text.ptr[0] == '[') {
        size_t close = slice_find(text, ']');
        return close == text.len ? 0 : close + 1;
    }
    size_t used = 0;
    while (used < text.len &&
           (is(text.ptr[used], LET_DIG | UTF8 | HYPHEN) || text.ptr[used] == '.')) {
        used++;
    }
    return used;
}

static bool is_host(struct slice domain)
{
    return domain.len > 0 && domain.ptr[0] == '[' ? addr_is_literal(domain)
                                                  : addr_is_domain(domain, true);
}

/* The Mailbox at the start of text; *out_used = its length. */
static mx_err take_mailbox(struct address *out, size_t *out_used, struct slice text)
{
    struct address a = {.quoted = text.len > 0 && text.ptr[0] == '"'};
    size_t local = a.quoted ? quoted_string(text) : dot_string(text);
    if (local == 0 || local == text.len || text.ptr[local] != '@') {
        return MX_ERR_SYNTAX;
    }
    a.local = slice_first(text, local);
    struct slice rest = slice_from(text, local + 1);
    a.domain = slice_first(rest, domain_extent(rest));
    a.text = slice_first(text, local + 1 + a.domain.len);
    if (!is_host(a.domain) || !text_is_utf8(a.text) || a.text.len > ADDR_PATH_MAX - 2) {
        return MX_ERR_SYNTAX;
    }
    a.literal = a.domain.ptr[0] == '[';
    a.non_ascii = !text_is_ascii(a.text);
    *out = a;
    *out_used = a.text.len;
    return MX_OK;
}

mx_err addr_parse_mailbox(struct address *out_address, struct slice text)
{
    struct address a;
    size_t used = 0;
    mx_err err = take_mailbox(&a, &used, text);
    if (err != MX_OK || used != text.len) {
        return MX_ERR_SYNTAX;
    }
    *out_address = a;
    return MX_OK;
}

/* Length of the source route "@a,@b:" at the start of text with its colon; 0 = malformed. */
static size_t route_extent(struct slice text)
{
    size_t used = 0;
    for (;;) {
        if (used == text.len || text.ptr[used] != '@') {
            return 0;
        }
        struct slice rest = slice_from(text, used + 1);
        struct slice domain = slice_first(rest, domain_extent(rest));
        used += 1 + domain.len;
        if (!is_host(domain) || used == text.len) {
            return 0;
        }
        if (text.ptr[used] == ':') {
            return used + 1;
        }
        if (text.ptr[used] != ',') {
            return 0;
        }
        used++;
    }
}

static bool is_postmaster(struct slice text)
{
    static const struct slice name = SLICE_LITERAL("postmaster>");
    return text_starts_nocase(text, name);
}

mx_err addr_parse_path(struct path *out_path, size_t *out_used, struct slice text)
{
    struct path p = {.route = SLICE_EMPTY};
    size_t used = 1;
    if (text.len < 2 || text.ptr[0] != '<') {
        return MX_ERR_SYNTAX;
    }
    if (text.ptr[1] == '@') {
        size_t route = route_extent(slice_from(text, 1));
        if (route == 0) {
            return MX_ERR_SYNTAX;
        }
        p.route = slice_first(slice_from(text, 1), route - 1);
        used += route;
    }
    struct slice rest = slice_from(text, used);
    size_t mailbox = 0;
    if (p.route.len == 0 && is_postmaster(rest)) {
        mailbox = sizeof "postmaster" - 1;
        p.address.text = slice_first(rest, mailbox);
        p.address.local = p.address.text;
    } else if (p.route.len > 0 || text.ptr[1] != '>') {
        mx_err err = take_mailbox(&p.address, &mailbox, rest);
        if (err != MX_OK) {
            return err;
        }
    }
    p.address.non_ascii = p.address.non_ascii || !text_is_ascii(p.route);
    used += mailbox;
    if (used == text.len || text.ptr[used] != '>') {
        return MX_ERR_SYNTAX;
    }
    *out_path = p;
    *out_used = used + 1;
    return MX_OK;
}
