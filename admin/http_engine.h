/* One HTTP/1.1 server connection as a state machine (RFC 9112): bytes at any split in, one request
 * at a time out. The verdict on a sequence of bytes does not depend on how it is cut. No I/O, no
 * allocation: the head is collected in a buffer of the caller, the body is shown in pieces.
 *
 *   idle -> head -> (begin) -> body -> complete -> (end) -> idle
 *
 * Everything may end in refused: the caller answers with e->refusal and closes. The bytes behind a
 * complete request are not touched before http_engine_end: the caller keeps them, which is the
 * back-pressure on pipelining. */
#pragma once

#include "admin/http_body_parse.h"
#include "admin/http_head_parse.h"

enum {
    HTTP_HEAD_MAX = 16 * 1024, /* request line and fields */
};

enum http_act {
    HTTP_ACT_INPUT,    /* all input was used, more is needed */
    HTTP_ACT_HEAD,     /* e->head is complete: call http_engine_body */
    HTTP_ACT_BODY,     /* e->piece is a part of the body, borrowed from the input */
    HTTP_ACT_COMPLETE, /* answer, then call http_engine_end; e->request is what was asked */
    HTTP_ACT_REFUSED,  /* answer with e->refusal and close */
};

struct http_engine {
    uint8_t state;   /* private */
    bool cr;         /* the last byte was CR */
    bool blank;      /* an empty line before the request was skipped */
    uint8_t *bytes;  /* the caller's buffer */
    size_t cap, len; /* ... its size and what is in it */
    size_t line;     /* where the current line begins */
    struct http_head head;
    uint64_t body_max;
    uint64_t body_len; /* bytes of body so far */
    struct http_chunk chunk;
    struct slice piece;
    struct http_refusal refusal;
};

void http_engine_init(struct http_engine *e);
/* No byte of a request has arrived. */
bool http_engine_idle(const struct http_engine *e);
/* Before the first byte of a request is shown: the buffer for its head, borrowed until
 * http_engine_end. cap is at most HTTP_HEAD_MAX in use; a smaller one is a smaller limit. */
void http_engine_begin(struct http_engine *e, uint8_t *buf, size_t cap);
/* One step; *in shrinks by what was used. */
enum http_act http_engine_next(struct http_engine *e, struct slice *in);
/* After HTTP_ACT_HEAD: how many bytes of body are taken, over which is 413. */
void http_engine_body(struct http_engine *e, uint64_t body_max);
/* After HTTP_ACT_COMPLETE: ready for http_engine_begin of the next request. */
void http_engine_end(struct http_engine *e);
