#include "admin/base64.h"

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char for_urls[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static mx_err decode(struct writer *out, struct slice text, const char alphabet[65])
{
    struct slice digits = slice_of(alphabet, 64);
    uint32_t bits = 0;
    unsigned have = 0; /* bits that are not written yet */
    if (text.len % 4 == 1) {
        return MX_ERR_SYNTAX;
    }
    for (size_t i = 0; i < text.len; i++) {
        size_t value = slice_find(digits, text.ptr[i]);
        if (value == digits.len) {
            return MX_ERR_SYNTAX;
        }
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            put_u8(out, (uint8_t)(bits >> have));
        }
        bits &= (1u << have) - 1;
    }
    return bits != 0 ? MX_ERR_SYNTAX : out->overflow ? MX_ERR_LIMIT : MX_OK;
}

mx_err base64_decode(struct writer *out, struct slice text)
{
    if (text.len % 4 != 0) {
        return MX_ERR_SYNTAX;
    }
    for (unsigned i = 0; i < 2 && text.len > 0 && text.ptr[text.len - 1] == '='; i++) {
        text.len--;
    }
    return decode(out, text, standard);
}

mx_err base64url_decode(struct writer *out, struct slice text)
{
    return decode(out, text, for_urls);
}

void put_base64url(struct writer *out, struct slice bytes)
{
    uint32_t bits = 0;
    unsigned have = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | bytes.ptr[i];
        for (have += 8; have >= 6;) {
            have -= 6;
            put_char(out, for_urls[bits >> have & 63]);
        }
        bits &= (1u << have) - 1;
    }
    if (have > 0) {
        put_char(out, for_urls[bits << (6 - have) & 63]);
    }
}
