#include "core/text.h"

bool text_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len) {
        return false;
    }
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i])) {
            return false;
        }
    }
    return true;
}

bool text_starts_nocase(struct slice text, struct slice prefix)
{
    return text.len >= prefix.len && text_equal_nocase(slice_first(text, prefix.len), prefix);
}

/* Eight bytes at a time: A-Z have the high bit of these sums set, and no other byte below 0x80. */
static uint64_t upper8(uint64_t bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t low = bytes & ones * 0x7f;
    return (low + ones * (0x80 - 'A')) & ~(low + ones * (0x7f - 'Z')) & ~bytes & ones * 0x80;
}

struct slice text_lowered(uint8_t *buf, struct slice in)
{
    uint64_t upper = 0;
    size_t i = 0;
    for (; i + 8 <= in.len; i += 8) {
        uint64_t bytes;
        memcpy(&bytes, in.ptr + i, 8);
        upper |= upper8(bytes);
    }
    for (; i < in.len; i++) {
        upper |= ascii_lower(in.ptr[i]) != in.ptr[i];
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
        uint64_t bytes;
        memcpy(&bytes, in.ptr + i, 8);
        bytes |= upper8(bytes) >> 2;
        memcpy(out + i, &bytes, 8);
    }
    for (; i < in.len; i++) {
        out[i] = ascii_lower(in.ptr[i]);
    }
}

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

bool text_is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == 0 || text.ptr[i] > 0x7f) {
            return false;
        }
    }
    return true;
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

bool text_is_utf8(struct slice text)
{
    while (text.len > 0) {
        size_t len = utf8_sequence(text);
        if (len == 0) {
            return false;
        }
        text = slice_from(text, len);
    }
    return true;
}
