#include "admin/http_body_parse.h"

#include "core/text.h"

/* Legal path: (size [extension] size-lf data data-cr data-lf)* size size-lf trailer* end. */
enum chunk_state {
    CHUNK_SIZE,      /* in the digits */
    CHUNK_SPACE,     /* blanks behind them: only an extension may follow */
    CHUNK_EXTENSION, /* behind ';' */
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF,
    CHUNK_DONE,
    CHUNK_BAD,
};

static int hex_digit(uint8_t c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

void http_chunk_init(struct http_chunk *chunk)
{
    *chunk = (struct http_chunk){.state = CHUNK_SIZE};
}

uint64_t http_chunk_left(const struct http_chunk *chunk)
{
    return chunk->state == CHUNK_DATA ? chunk->left : 0;
}

static enum chunk_state on_size(struct http_chunk *chunk, uint8_t c)
{
    int digit = hex_digit(c);
    if (digit >= 0) {
        chunk->left = chunk->left * 16 + (unsigned)digit;
        return ++chunk->count > HTTP_CHUNK_DIGITS_MAX ? CHUNK_BAD : CHUNK_SIZE;
    }
    if (chunk->count == 0) {
        return CHUNK_BAD;
    }
    chunk->count = 0;
    if (c == '\r') {
        return CHUNK_SIZE_LF;
    }
    if (c == ' ' || c == '\t') {
        return CHUNK_SPACE;
    }
    return c == ';' ? CHUNK_EXTENSION : CHUNK_BAD;
}

static enum chunk_state on_extension(struct http_chunk *chunk, uint8_t c)
{
    if (++chunk->count > HTTP_CHUNK_EXTENSION_MAX) {
        return CHUNK_BAD;
    }
    if (chunk->state == CHUNK_SPACE) {
        if (c == ' ' || c == '\t') {
            return CHUNK_SPACE;
        }
        return c == ';' ? CHUNK_EXTENSION : CHUNK_BAD;
    }
    if (c == '\r') {
        return CHUNK_SIZE_LF;
    }
    return is_text(c) ? CHUNK_EXTENSION : CHUNK_BAD;
}

static enum chunk_state on_size_lf(struct http_chunk *chunk, uint8_t c)
{
    chunk->count = 0;
    chunk->line = false;
    if (c != '\n') {
        return CHUNK_BAD;
    }
    return chunk->left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
}

static enum chunk_state on_trailer(struct http_chunk *chunk, uint8_t c)
{
    chunk->count++;
    if (chunk->state == CHUNK_TRAILER_LF) {
        bool line = chunk->line;
        chunk->line = false;
        if (c != '\n') {
            return CHUNK_BAD;
        }
        return line ? CHUNK_TRAILER : CHUNK_DONE;
    }
    if (c == '\r') {
        return CHUNK_TRAILER_LF;
    }
    chunk->line = true;
    return is_text(c) ? CHUNK_TRAILER : CHUNK_BAD;
}

static enum chunk_state on_byte(struct http_chunk *chunk, uint8_t c)
{
    switch (chunk->state) {
    case CHUNK_SIZE:
        return on_size(chunk, c);
    case CHUNK_SPACE:
    case CHUNK_EXTENSION:
        return on_extension(chunk, c);
    case CHUNK_SIZE_LF:
        return on_size_lf(chunk, c);
    case CHUNK_DATA_CR:
        return c == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
    case CHUNK_DATA_LF:
        chunk->left = 0;
        chunk->count = 0;
        return c == '\n' ? CHUNK_SIZE : CHUNK_BAD;
    case CHUNK_TRAILER:
    case CHUNK_TRAILER_LF:
        return on_trailer(chunk, c);
    default:
        return CHUNK_BAD;
    }
}

static void take_data(struct http_chunk *chunk, struct slice *out_data, struct slice *in)
{
    *out_data = slice_first(*in, chunk->left < in->len ? (size_t)chunk->left : in->len);
    *in = slice_from(*in, out_data->len);
    chunk->left -= out_data->len;
    if (chunk->left == 0) {
        chunk->state = CHUNK_DATA_CR;
    }
}

enum http_chunk_act http_chunk_next(struct http_chunk *chunk, struct slice *out_data,
                                    struct slice *in)
{
    while (in->len > 0 && chunk->state < CHUNK_DONE) {
        if (chunk->state == CHUNK_DATA) {
            take_data(chunk, out_data, in);
            return HTTP_CHUNK_DATA;
        }
        uint8_t c = in->ptr[0];
        *in = slice_from(*in, 1);
        chunk->state = (uint8_t)on_byte(chunk, c);
        if (chunk->state == CHUNK_TRAILER && chunk->count > HTTP_TRAILER_MAX) {
            return HTTP_CHUNK_TRAILERS;
        }
        if (chunk->state == CHUNK_DATA) {
            *out_data = SLICE_EMPTY; /* lets the owner look at the size at once */
            return HTTP_CHUNK_DATA;
        }
    }
    if (chunk->state == CHUNK_DONE) {
        return HTTP_CHUNK_END;
    }
    return chunk->state == CHUNK_BAD ? HTTP_CHUNK_MALFORMED : HTTP_CHUNK_MORE;
}
