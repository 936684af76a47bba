/* Bytes as ASCII text, without locale. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}
static inline bool ascii_is_alpha(uint8_t c)
{
    return (uint8_t)((c | 0x20) - 'a') < 26;
}
static inline bool ascii_is_digit(uint8_t c)
{
    return (uint8_t)(c - '0') < 10;
}
static inline bool ascii_is_alnum(uint8_t c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c);
}
/* Printable, not space: 0x21..0x7e. */
static inline bool ascii_is_graph(uint8_t c)
{
    return c >= 0x21 && c <= 0x7e;
}

/* Equal apart from the case of A-Z. */
bool text_equal_nocase(struct slice a, struct slice b);
bool text_starts_nocase(struct slice text, struct slice prefix);
/* Lower-cases A-Z into out, which holds at least in.len bytes; out may be in.ptr. */
void text_lower(uint8_t *out, struct slice in);
/* The same, or in itself when it has no A-Z: nothing is copied then. */
struct slice text_lowered(uint8_t *buf, struct slice in);
/* Without spaces and tabs at both ends. */
struct slice text_trim(struct slice text);
/* Decimal digits only, the whole of text, up to UINT64_MAX; MX_ERR_SYNTAX or MX_ERR_RANGE. */
MX_MUST_CHECK mx_err text_to_u64(uint64_t *out_value, struct slice text);
/* True when every byte is 0x01..0x7f. */
bool text_is_ascii(struct slice text);
/* The first bytes, at most max, without a last character of UTF-8 that would be cut. */
struct slice text_first(struct slice text, size_t max);
/* True when text is well-formed UTF-8 (RFC 3629) without NUL. */
bool text_is_utf8(struct slice text);
