#include "admin/http_engine.h"

#include "core/check.h"

enum http_state {
    HTTP_STATE_IDLE,     /* no byte, no buffer */
    HTTP_STATE_HEAD,     /* collecting lines */
    HTTP_STATE_ASKING,   /* the head is complete, http_engine_body was not called */
    HTTP_STATE_LENGTH,   /* a body of known length */
    HTTP_STATE_CHUNKED,  /* a body in chunks */
    HTTP_STATE_COMPLETE, /* waiting for http_engine_end */
    HTTP_STATE_REFUSED,  /* the end */
};

static enum http_act enter(struct http_engine *e, enum http_state state, enum http_act act)
{
    e->state = (uint8_t)state;
    return act;
}

static enum http_act refuse(struct http_engine *e, unsigned status, const char *detail)
{
    e->refusal = (struct http_refusal){status, detail};
    return enter(e, HTTP_STATE_REFUSED, HTTP_ACT_REFUSED);
}

void http_engine_init(struct http_engine *e)
{
    *e = (struct http_engine){.state = HTTP_STATE_IDLE};
}

bool http_engine_idle(const struct http_engine *e)
{
    return e->state == HTTP_STATE_IDLE;
}

void http_engine_begin(struct http_engine *e, uint8_t *buf, size_t cap)
{
    MX_ASSERT(e->state == HTTP_STATE_IDLE && buf != NULL && cap > 0);
    http_engine_init(e);
    e->bytes = buf;
    e->cap = mx_min_size(cap, HTTP_HEAD_MAX);
    e->state = HTTP_STATE_HEAD;
}

void http_engine_end(struct http_engine *e)
{
    MX_ASSERT(e->state == HTTP_STATE_COMPLETE);
    http_engine_init(e);
}

/* --- head --- */

/* The buffer is full, or the first line is longer than any that is taken. */
static enum http_act too_long(struct http_engine *e)
{
    return e->line == 0 ? refuse(e, 414, "the request line is too long")
                        : refuse(e, 431, "the header fields are too large");
}

/* The empty line: the head is whole. */
static enum http_act end_head(struct http_engine *e)
{
    struct http_refusal refusal = http_head_parse(&e->head, e->bytes, e->len);
    if (refusal.status != 0) {
        return refuse(e, refusal.status, refusal.detail);
    }
    return enter(e, HTTP_STATE_ASKING, HTTP_ACT_HEAD);
}

/* A line with its CRLF is in the buffer. */
static enum http_act end_line(struct http_engine *e)
{
    struct slice line = slice_of(e->bytes + e->line, e->len - e->line - 2);
    bool first = e->line == 0;
    if (line.len == 0 && !first) {
        return end_head(e);
    }
    if (line.len == 0 && !e->blank) {
        e->blank = true; /* RFC 9112 section 2.2: one empty line is forgiven */
        e->len = 0;
        return HTTP_ACT_INPUT;
    }
    struct http_refusal refusal = first ? http_line_check(line) : http_field_check(line);
    if (refusal.status != 0) {
        return refuse(e, refusal.status, refusal.detail);
    }
    e->line = e->len;
    return HTTP_ACT_INPUT;
}

static enum http_act on_head_byte(struct http_engine *e, uint8_t c)
{
    bool cr = e->cr;
    if (cr != (c == '\n')) {
        return refuse(e, 400, "a line does not end in CRLF");
    }
    if (c == 0) {
        return refuse(e, 400, "NUL in the head");
    }
    if (e->len == e->cap) {
        return too_long(e);
    }
    e->bytes[e->len++] = c;
    e->cr = c == '\r';
    return c == '\n' ? end_line(e) : HTTP_ACT_INPUT;
}

static enum http_act on_head(struct http_engine *e, struct slice *in)
{
    while (in->len > 0) {
        uint8_t c = in->ptr[0];
        *in = slice_from(*in, 1);
        enum http_act act = on_head_byte(e, c);
        if (act != HTTP_ACT_INPUT) {
            return act;
        }
    }
    return HTTP_ACT_INPUT;
}

/* --- body --- */

static enum http_act too_large(struct http_engine *e)
{
    return refuse(e, 413, "the body is too large");
}

void http_engine_body(struct http_engine *e, uint64_t body_max)
{
    MX_ASSERT(e->state == HTTP_STATE_ASKING);
    e->body_max = body_max;
    http_chunk_init(&e->chunk);
    e->state = e->head.chunked ? HTTP_STATE_CHUNKED : HTTP_STATE_LENGTH;
}

static enum http_act on_length(struct http_engine *e, struct slice *in)
{
    uint64_t left = e->head.body_len - e->body_len;
    if (e->head.body_len > e->body_max) {
        return too_large(e);
    }
    if (left == 0) {
        return enter(e, HTTP_STATE_COMPLETE, HTTP_ACT_COMPLETE);
    }
    if (in->len == 0) {
        return HTTP_ACT_INPUT;
    }
    e->piece = slice_first(*in, left < in->len ? (size_t)left : in->len);
    *in = slice_from(*in, e->piece.len);
    e->body_len += e->piece.len;
    return HTTP_ACT_BODY;
}

static enum http_act on_chunked(struct http_engine *e, struct slice *in)
{
    e->piece = SLICE_EMPTY;
    switch (http_chunk_next(&e->chunk, &e->piece, in)) {
    case HTTP_CHUNK_DATA:
        e->body_len += e->piece.len;
        return e->body_len + http_chunk_left(&e->chunk) > e->body_max ? too_large(e)
                                                                      : HTTP_ACT_BODY;
    case HTTP_CHUNK_END:
        return enter(e, HTTP_STATE_COMPLETE, HTTP_ACT_COMPLETE);
    case HTTP_CHUNK_MALFORMED:
        return refuse(e, 400, "malformed chunk");
    case HTTP_CHUNK_TRAILERS:
        return refuse(e, 431, "the trailer fields are too large");
    case HTTP_CHUNK_MORE:
    default:
        return HTTP_ACT_INPUT;
    }
}

enum http_act http_engine_next(struct http_engine *e, struct slice *in)
{
    switch (e->state) {
    case HTTP_STATE_HEAD:
        return on_head(e, in);
    case HTTP_STATE_LENGTH:
        return on_length(e, in);
    case HTTP_STATE_CHUNKED:
        return on_chunked(e, in);
    case HTTP_STATE_COMPLETE:
        return HTTP_ACT_COMPLETE;
    case HTTP_STATE_REFUSED:
        return HTTP_ACT_REFUSED;
    default:
        MX_ASSERT(!"a step while idle or asked");
        return HTTP_ACT_REFUSED;
    }
}
