/* A response of an HTTP/1.1 server, bit by bit. http-parser knows its grammar; the only file of
 * tools that includes it is http_reply.c. */
#pragma once

#include "tools/cli/buf.h"

enum {
    HTTP_REPLY_HEAD_MAX = 64 * 1024,
    HTTP_REPLY_BODY_MAX = 256 * 1024 * 1024,
};

struct http_reply {
    unsigned status;
    struct buf location, encoding, content_type; /* values of fields, empty if absent */
    struct buf body;
    bool complete;
    bool keep_alive; /* the connection may be used again; valid when complete */
    void *parser;    /* http-parser's state; owned */
    struct buf name, value;
    bool in_value;
    size_t head_len;
};

void http_reply_init(struct http_reply *reply);
void http_reply_free(struct http_reply *reply);
/* NULL, or what is wrong. len 0: the server has closed the connection. */
const char *http_reply_feed(struct http_reply *reply, const void *bytes, size_t len);
