#include "bench/content.h"

#include "bench/mark.h"
#include "core/check.h"
#include "core/timefmt.h"

enum { LINE_TYPICAL_MIN = 70, LINE_TYPICAL_MAX = 78, LINE_SHORT_MAX = 20 };

static size_t line_length(struct dice *dice)
{
    return dice_below(dice, 10) > 0 ? dice_between(dice, LINE_TYPICAL_MIN, LINE_TYPICAL_MAX)
                                    : dice_below(dice, LINE_SHORT_MAX);
}

void content_text_make(struct content_text *text, struct dice *dice)
{
    text->len = 0;
    text->line_count = 0;
    while (text->len + LINE_TYPICAL_MAX + 2 <= CONTENT_TEXT_BYTES) {
        size_t length = line_length(dice);
        uint8_t *line = text->bytes + text->len;
        for (size_t i = 0; i < length; i++) {
            line[i] = (uint8_t)dice_between(dice, ' ', '~');
        }
        if (length > 0 && dice_below(dice, 10) == 0) {
            line[0] = '.';
        }
        line[length] = '\r';
        line[length + 1] = '\n';
        text->lines[text->line_count++] = (uint32_t)text->len;
        text->len += length + 2;
    }
}

static void put_headers(struct writer *w, struct slice from, int64_t wall_ms)
{
    put_text(w, "From: <");
    put_slice(w, from);
    put_text(w, ">\r\nDate: ");
    put_rfc5322(w, wall_ms);
    put_text(w, "\r\nSubject: load\r\n\r\n");
}

static uint64_t hash_of(const struct content *content, struct slice headers)
{
    struct hash_stream hash;
    hash_stream_init(&hash);
    hash_stream_add(&hash, headers);
    struct content body = *content;
    body.header_len = 0;
    body.total -= content->header_len;
    for (body.offset = 0; body.offset < body.total;) {
        struct slice piece = content_next(&body);
        hash_stream_add(&hash, piece);
        content_advance(&body, piece.len);
    }
    return hash_stream_value(&hash);
}

void content_make(struct content *content, const struct content_text *text, struct dice *dice,
                  struct slice id, struct slice from, int64_t wall_ms, size_t size)
{
    uint8_t buf[CONTENT_HEADER_MAX];
    struct writer headers = writer_init(buf, sizeof buf);
    struct writer w = writer_init(content->header, sizeof content->header);
    MX_ASSERT(size >= CONTENT_SIZE_MIN && id.len <= MARK_ID_MAX);
    content->text = slice_of(text->bytes, text->len);
    content->has_8bit = false;
    content->header_len = 0;
    content->offset = 0;
    content->text_at = text->lines[dice_below(dice, text->line_count)];
    content->text_len = size - 2;
    content->tail = SLICE_LITERAL("\r\n");
    if (text->bytes[(content->text_at + content->text_len - 1) % text->len] == '\r') {
        content->text_len--; /* no CR without its LF */
        content->tail = SLICE_LITERAL("x\r\n");
    }
    content->total = size;
    put_headers(&headers, from, wall_ms);
    content->hash = hash_of(content, writer_slice(&headers));
    put_mark(&w, id, content->hash);
    put_slice(&w, writer_slice(&headers));
    MX_ASSERT(!w.overflow && !headers.overflow);
    content->header_len = w.len;
    content->total += w.len;
}

void content_of_message(struct content *content, struct slice message, uint64_t hash, bool has_8bit,
                        struct slice id)
{
    struct writer w = writer_init(content->header, sizeof content->header);
    MX_ASSERT(id.len <= MARK_ID_MAX);
    put_mark(&w, id, hash);
    content->text = message;
    content->header_len = w.len;
    content->text_at = 0;
    content->text_len = message.len;
    content->has_8bit = has_8bit;
    content->tail = SLICE_EMPTY;
    content->total = w.len + message.len;
    content->hash = hash;
    content->offset = 0;
}

struct slice content_next(const struct content *content)
{
    size_t at = content->offset;
    if (at < content->header_len) {
        return slice_from(slice_of(content->header, content->header_len), at);
    }
    at -= content->header_len;
    if (at >= content->text_len) {
        return slice_from(content->tail, at - content->text_len);
    }
    struct slice text = content->text;
    size_t place = (content->text_at + at) % text.len;
    return slice_of(text.ptr + place, mx_min_size(content->text_len - at, text.len - place));
}

void content_advance(struct content *content, size_t len)
{
    MX_ASSERT(len <= content->total - content->offset);
    content->offset += len;
}
