#include "smtp/reply_parse.h"

#include "core/text.h"

void reply_parse_reset(struct reply_parse *p)
{
    p->code = 0;
    p->lines = 0;
    p->has_status = false;
    p->text_len = 0;
}

static void text_add(struct reply_parse *p, struct slice text)
{
    if (p->text_len > 0 && p->text_len < sizeof p->text) {
        p->text[p->text_len++] = ' ';
    }
    for (size_t i = 0; i < text.len && p->text_len < sizeof p->text; i++) {
        uint8_t c = text.ptr[i];
        p->text[p->text_len++] = c >= 0x20 && c <= 0x7e ? c : '?';
    }
}

/* One number of an enhanced code: up to three digits. */
static bool status_part(struct slice *text, unsigned *out, unsigned digits_max)
{
    unsigned value = 0, digits = 0;
    while (digits < text->len && digits < digits_max && ascii_is_digit(text->ptr[digits])) {
        value = value * 10 + (unsigned)(text->ptr[digits++] - '0');
    }
    *text = slice_from(*text, digits);
    *out = value;
    return digits > 0;
}

static bool skip(struct slice *text, uint8_t c)
{
    if (text->len == 0 || text->ptr[0] != c) {
        return false;
    }
    *text = slice_from(*text, 1);
    return true;
}

/* "5.1.1 text": its class must be the reply's. */
static struct slice status_take(struct reply_parse *p, struct slice text)
{
    struct slice rest = text;
    unsigned class_, subject, detail;
    if (!status_part(&rest, &class_, 1) || !skip(&rest, '.') || !status_part(&rest, &subject, 3) ||
        !skip(&rest, '.') || !status_part(&rest, &detail, 3) ||
        (rest.len > 0 && rest.ptr[0] != ' ') || class_ != p->code / 100 || subject > 255 ||
        detail > 255) {
        return text;
    }
    if (!p->has_status) {
        p->status[0] = (uint8_t)class_;
        p->status[1] = (uint8_t)subject;
        p->status[2] = (uint8_t)detail;
        p->has_status = true;
    }
    return text_trim(rest);
}

static bool code_parse(uint16_t *out, struct slice line)
{
    if (line.len < 3 || line.ptr[0] < '2' || line.ptr[0] > '5' || !ascii_is_digit(line.ptr[1]) ||
        !ascii_is_digit(line.ptr[2])) {
        return false;
    }
    *out = (uint16_t)((line.ptr[0] - '0') * 100 + (line.ptr[1] - '0') * 10 + (line.ptr[2] - '0'));
    return true;
}

enum reply_event reply_parse_next(struct reply_parse *p, struct slice *in, struct slice *out_text)
{
    size_t end = slice_find(*in, '\n');
    if (end == in->len) {
        return in->len > CLI_REPLY_LINE_MAX ? REPLY_BAD : REPLY_MORE;
    }
    struct slice line = slice_first(*in, end);
    *in = slice_from(*in, end + 1);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    uint16_t code;
    if (line.len > CLI_REPLY_LINE_MAX || !code_parse(&code, line) ||
        (p->lines > 0 && code != p->code) || ++p->lines > CLI_REPLY_LINES_MAX) {
        return REPLY_BAD;
    }
    bool more = line.len > 3 && line.ptr[3] == '-';
    if (line.len > 3 && !more && line.ptr[3] != ' ') {
        return REPLY_BAD;
    }
    p->code = code;
    *out_text = line.len > 4 ? slice_from(line, 4) : SLICE_EMPTY;
    /* The text keeps the code that counts, once. */
    bool first = p->lines == 1;
    struct slice rest = status_take(p, *out_text);
    text_add(p, first ? text_trim(*out_text) : rest);
    if (more) {
        return REPLY_LINE;
    }
    if (!p->has_status) {
        p->status[0] = (uint8_t)(code / 100);
        p->status[1] = 0;
        p->status[2] = 0;
    }
    return REPLY_LAST;
}
