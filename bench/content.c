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
    text->len = text->dotted_len = 0;
    text->line_count = 0;
    memset(text->bodies, 0, sizeof text->bodies);
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
        text->lines[text->line_count] = (uint32_t)text->len;
        text->dotted_lines[text->line_count++] = (uint32_t)text->dotted_len;
        if (line[0] == '.') {
            text->dotted[text->dotted_len++] = '.';
        }
        memcpy(text->dotted + text->dotted_len, line, length + 2);
        text->dotted_len += length + 2;
        text->len += length + 2;
    }
}

void content_head_make(struct content_head *head, struct slice from, int64_t wall_ms)
{
    struct writer w = writer_init(head->bytes, sizeof head->bytes);
    if (head->len > 0 && head->wall_s == wall_ms / 1000) {
        return;
    }
    put_text(&w, "From: <");
    put_slice(&w, from);
    put_text(&w, ">\r\nDate: ");
    put_rfc5322(&w, wall_ms);
    put_text(&w, "\r\nSubject: load\r\n\r\n");
    MX_ASSERT(!w.overflow);
    head->len = w.len;
    head->wall_s = wall_ms / 1000;
    hash_stream_init(&head->hash);
    hash_stream_add(&head->hash, writer_slice(&w));
}

static struct slice tail_of(const struct content_body *body)
{
    return body->cut ? SLICE_LITERAL("x\r\n") : SLICE_LITERAL("\r\n");
}

static uint64_t hash_of(const struct content_text *text, const struct content_body *body,
                        const struct content_head *head)
{
    struct hash_stream hash = head->hash;
    struct content content = {.text = slice_of(text->bytes, text->len),
                              .text_at = body->at,
                              .text_len = body->len,
                              .tail = tail_of(body),
                              .wire = body->len + tail_of(body).len};
    while (content.offset < content.wire) {
        struct slice piece = content_next(&content);
        hash_stream_add(&hash, piece);
        content_advance(&content, piece.len);
    }
    return hash_stream_value(&hash);
}

/* Where a place of the text is in the dotted one. */
static size_t dotted_place(const struct content_text *text, size_t place)
{
    uint32_t low = 0, high = text->line_count; /* lines[low] <= place < lines[high] */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (text->lines[middle] <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    size_t line = text->lines[low];
    bool behind_dot = place > line && text->bytes[line] == '.';
    return text->dotted_lines[low] + (place - line) + behind_dot;
}

static void body_draw(struct content_body *body, const struct content_text *text, struct dice *dice,
                      size_t size)
{
    *body = (struct content_body){.size = size, .wall_s = -1, .len = size - 2};
    body->at = text->lines[dice_below(dice, text->line_count)];
    if (text->bytes[(body->at + body->len - 1) % text->len] == '\r') {
        body->len--;
        body->cut = true;
    }
    size_t end = body->at + body->len;
    body->dotted_at = dotted_place(text, body->at);
    body->dotted_len =
        end / text->len * text->dotted_len + dotted_place(text, end % text->len) - body->dotted_at;
}

static const struct content_body *
body_of(struct content_text *text, const struct content_head *head, struct dice *dice, size_t size)
{
    struct content_body *body = &text->bodies[dice_below(dice, CONTENT_BODIES)];
    if (body->size != size) {
        body_draw(body, text, dice, size);
    }
    if (body->wall_s != head->wall_s) {
        body->wall_s = head->wall_s;
        body->hash = hash_of(text, body, head);
    }
    return body;
}

void content_make(struct content *content, struct content_text *text,
                  const struct content_head *head, struct dice *dice, struct slice id, size_t size,
                  bool dotted)
{
    struct writer w = writer_init(content->header, sizeof content->header);
    MX_ASSERT(size >= CONTENT_SIZE_MIN && id.len <= MARK_ID_MAX && head->len > 0);
    const struct content_body *body = body_of(text, head, dice, size);
    put_mark(&w, id, body->hash);
    put_bytes(&w, head->bytes, head->len);
    MX_ASSERT(!w.overflow);
    content->text =
        dotted ? slice_of(text->dotted, text->dotted_len) : slice_of(text->bytes, text->len);
    content->text_at = dotted ? body->dotted_at : body->at;
    content->text_len = dotted ? body->dotted_len : body->len;
    content->tail = tail_of(body);
    content->has_8bit = false;
    content->hash = body->hash;
    content->offset = 0;
    content->header_len = w.len;
    content->total = w.len + size;
    content->wire = w.len + content->text_len + content->tail.len;
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
    content->total = content->wire = w.len + message.len;
    content->hash = hash;
    content->offset = 0;
}

void content_dot_message(struct content *content, struct slice dotted)
{
    content->wire = content->header_len + dotted.len;
    content->text = dotted;
    content->text_len = dotted.len;
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
    content->offset += len;
    MX_ASSERT(content->header_len == 0 || content->offset <= content->wire);
}
