#include "core/text.h"

/* --- eight bytes at a time ---------------------------------------------------------------------
 */

#define ONES UINT64_C(0x0101010101010101)

static uint64_t load8(const uint8_t *at)
{
    uint64_t bytes;
    memcpy(&bytes, at, 8);
    return bytes;
}

/* What whole eights from the front leave over, in no particular order: some bytes may be there
 * twice, or have been seen before, and what is missing is 'a'. text is not empty. */
static uint64_t load_rest(struct slice text)
{
    const uint8_t *p = text.ptr;
    if (text.len >= 8) {
        return load8(p + text.len - 8);
    }
    if (text.len >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + text.len - 4, 4);
        return first | (uint64_t)last << 32;
    }
    return ONES * 'a' << 24 | (uint64_t)p[text.len - 1] << 16 | (uint64_t)p[text.len / 2] << 8 |
           p[0];
}

/* A-Z have the high bit of these sums set, and no other byte below 0x80. */
static uint64_t upper8(uint64_t bytes)
{
    uint64_t low = bytes & ONES * 0x7f;
    return (low + ONES * (0x80 - 'A')) & ~(low + ONES * (0x7f - 'Z')) & ~bytes & ONES * 0x80;
}

static uint64_t lower8(uint64_t bytes)
{
    return bytes | upper8(bytes) >> 2;
}

/* All eight are 0x01..0x7f. */
static bool is_ascii8(uint64_t bytes)
{
    return (((bytes & ONES * 0x7f) + ONES * 0x7f) & ~bytes & ONES * 0x80) == ONES * 0x80;
}

bool text_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len ||
        (a.len > 0 && ascii_lower(a.ptr[0]) != ascii_lower(b.ptr[0]))) { /* as most that differ */
        return false;
    }
    size_t i = 0;
    for (; i + 8 <= a.len; i += 8) {
        if (lower8(load8(a.ptr + i)) != lower8(load8(b.ptr + i))) {
            return false;
        }
    }
    return i == a.len || lower8(load_rest(a)) == lower8(load_rest(b));
}

bool text_starts_nocase(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && text_equal_nocase(slice_first(text, prefix.len), prefix);
}

struct slice text_lowered(uint8_t *buf, struct slice in)
{
    uint64_t upper = 0;
    size_t i = 0;
    for (; i + 8 <= in.len; i += 8) {
        upper |= upper8(load8(in.ptr + i));
    }
    if (i < in.len) {
        upper |= upper8(load_rest(in));
    }
    if (upper == 0) {
        return in;
    }
    text_lower(buf, in);
    return slice_of(buf, in.len);
}

void text_lower(uint8_t *out, struct slice in)
{
    size_t i = 0;
    for (; i + 8 <= in.len; i += 8) {
        uint64_t bytes = lower8(load8(in.ptr + i));
        memcpy(out + i, &bytes, 8);
    }
    for (; i < in.len; i++) {
        out[i] = ascii_lower(in.ptr[i]);
    }
}

bool text_is_ascii(struct slice text)
{
    size_t i = 0;
    for (; i + 8 <= text.len; i += 8) {
        if (!is_ascii8(load8(text.ptr + i))) {
            return false;
        }
    }
    return i == text.len || is_ascii8(load_rest(text));
}

/* --- byte by byte ------------------------------------------------------------------------------
 */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

struct slice text_trim(struct slice text)
{
    while (text.len > 0 && is_blank(text.ptr[0])) {
        text = slice_from(text, 1);
    }
    while (text.len > 0 && is_blank(text.ptr[text.len - 1])) {
        text.len--;
    }
    return text;
}

mx_err text_to_u64(uint64_t *out_value, struct slice text)
{
    if (text.len == 0) {
        return MX_ERR_SYNTAX;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_digit(text.ptr[i])) {
            return MX_ERR_SYNTAX;
        }
        uint64_t digit = (uint64_t)(text.ptr[i] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return MX_ERR_RANGE;
        }
        value = value * 10 + digit;
    }
    *out_value = value;
    return MX_OK;
}

/* Length of the well-formed sequence at the start of text, 0 if there is none. */
static size_t utf8_sequence(struct slice text)
{
    static const struct {
        uint8_t first_min, first_max, second_min, second_max, len;
    } forms[] = {
        {0x01, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };
    for (size_t i = 0; i < mx_countof(forms); i++) {
        if (text.ptr[0] < forms[i].first_min || text.ptr[0] > forms[i].first_max) {
            continue;
        }
        if (forms[i].len > text.len) {
            return 0;
        }
        if (forms[i].len > 1 &&
            (text.ptr[1] < forms[i].second_min || text.ptr[1] > forms[i].second_max)) {
            return 0;
        }
        for (size_t k = 2; k < forms[i].len; k++) {
            if ((text.ptr[k] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].len;
    }
    return 0;
}

struct slice text_first(struct slice text, size_t max)
{
    size_t len = mx_min_size(text.len, max);
    while (len > 0 && len < text.len && (text.ptr[len] & 0xc0) == 0x80) {
        len--;
    }
    return slice_first(text, len);
}

bool text_is_utf8(struct slice text)
{
    if (text_is_ascii(text)) {
        return true;
    }
    while (text.len > 0) {
        size_t len = utf8_sequence(text);
        if (len == 0) {
            return false;
        }
        text = slice_from(text, len);
    }
    return true;
}
