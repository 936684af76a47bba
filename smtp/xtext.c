#include "smtp/xtext.h"

#include "core/text.h"

static bool is_xchar(uint8_t c)
{
    return ascii_is_graph(c) && c != '+' && c != '=';
}

/* Value of an upper-case hex digit, or 16. */
static unsigned hex_value(uint8_t c)
{
    if (ascii_is_digit(c)) {
        return (unsigned)(c - '0');
    }
    return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A' + 10) : 16;
}

/* Takes one decoded byte from the start of *text; false when it is malformed there. */
static bool take_byte(struct slice *text, uint8_t *out)
{
    if (is_xchar(text->ptr[0])) {
        *out = text->ptr[0];
        *text = slice_from(*text, 1);
        return true;
    }
    if (text->ptr[0] != '+' || text->len < 3) {
        return false;
    }
    unsigned high = hex_value(text->ptr[1]);
    unsigned low = hex_value(text->ptr[2]);
    if (high > 15 || low > 15) {
        return false;
    }
    *out = (uint8_t)(high << 4 | low);
    *text = slice_from(*text, 3);
    return true;
}

mx_err xtext_decode(struct writer *w, struct slice text)
{
    uint8_t byte = 0;
    while (text.len > 0) {
        if (!take_byte(&text, &byte)) {
            return MX_ERR_SYNTAX;
        }
        put_u8(w, byte);
    }
    return w->overflow ? MX_ERR_LIMIT : MX_OK;
}

bool xtext_is_printable(struct slice text)
{
    uint8_t byte = 0;
    while (text.len > 0) {
        if (!take_byte(&text, &byte) || byte < 0x20 || byte > 0x7e) {
            return false;
        }
    }
    return true;
}

void put_xtext(struct writer *w, struct slice plain)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < plain.len; i++) {
        uint8_t c = plain.ptr[i];
        if (is_xchar(c)) {
            put_u8(w, c);
        } else {
            put_char(w, '+');
            put_char(w, digits[c >> 4]);
            put_char(w, digits[c & 15]);
        }
    }
}

/* Takes one character from the start of *text. */
static uint32_t take_character(struct slice *text)
{
    size_t len = 1;
    while (len < text->len && (text->ptr[len] & 0xc0) == 0x80) {
        len++;
    }
    struct slice bytes = slice_first(*text, len);
    uint32_t value = bytes.ptr[0];
    *text = slice_from(*text, len);
    if (value < 0x80 && len == 1) {
        return value;
    }
    if (!text_is_utf8(bytes)) {
        return 0xfffd;
    }
    value &= len == 2 ? 0x1f : len == 3 ? 0x0f : 0x07;
    for (size_t i = 1; i < len; i++) {
        value = value << 6 | (bytes.ptr[i] & 0x3f);
    }
    return value;
}

static void put_code_point(struct writer *w, uint32_t value)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned shift = 4; /* two digits at least */
    while (shift < 20 && value >> (shift + 4) != 0) {
        shift += 4;
    }
    put_text(w, "\\x{");
    for (unsigned at = shift + 4; at > 0; at -= 4) {
        put_char(w, digits[value >> (at - 4) & 15]);
    }
    put_char(w, '}');
}

void put_utf8_xtext(struct writer *w, struct slice address, bool is_coded)
{
    while (address.len > 0) {
        uint32_t value = take_character(&address);
        bool plain = value < 0x80 && is_xchar((uint8_t)value) && value != '\\';
        if (plain || (is_coded && value < 0x80)) {
            put_u8(w, (uint8_t)value);
        } else {
            put_code_point(w, value);
        }
    }
}
