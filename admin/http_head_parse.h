/* The head of a request (RFC 9112 sections 2 to 6), complete in memory. http-parser splits it into
 * fields and is the second opinion on its grammar; as Debian builds it without its strict checks,
 * all that matters for where a request ends or what it names is checked here. The only file that
 * includes http_parser.h. Pure. */
#pragma once

#include "admin/http_request.h"

enum {
    HTTP_TARGET_MAX = 8000, /* RFC 9112 section 3 */
    HTTP_FIELDS_MAX = 100,
};

/* Why a request is not taken: answered with this status, then the connection is closed. */
struct http_refusal {
    unsigned status;    /* 0 = none */
    const char *detail; /* static text */
};

struct http_head {
    struct http_request request; /* without body, peer and tls */
    bool chunked;
    bool keep_alive;      /* the client allows another request on the connection */
    bool expect_continue; /* it waits for 100 before it sends the body */
    uint64_t body_len;    /* Content-Length, 0 without */
};

/* The request line without CRLF: method, form of the target, version. */
struct http_refusal http_line_check(struct slice line);
/* A field line without CRLF: a token, a colon, no folding, no controls. */
struct http_refusal http_field_check(struct slice line);
/* All of the head with the empty line at its end, whose lines have passed the checks above. The
 * request's slices point into bytes, in which the path is decoded in place. */
struct http_refusal http_head_parse(struct http_head *out_head, uint8_t *bytes, size_t len);

/* "Not Found"; never NULL. */
const char *http_reason(unsigned status);
/* "GET, HEAD, ...", the value of Allow. */
extern const char http_allowed_methods[];
