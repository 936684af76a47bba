/* Answers: what a handler says, and its head on the wire. Pure but for http_problem, which
 * allocates the body. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

enum {
    HTTP_ANSWER_HEAD_MAX = 4096, /* over it the answer becomes a 500 */
    HTTP_CHALLENGES_MAX = 2,
    HTTP_PROBLEM_MAX = 2048,
};

struct http_field {
    const char *name;
    struct slice value;
};

/* Slices need to live until http_answer returns, body_static until the answer is sent, which only
 * the program's own constants do. */
struct http_answer {
    unsigned status;
    const char *content_type; /* NULL: none */
    struct slice location;
    struct slice cache_control; /* empty: no-store */
    struct slice etag;          /* with its quotes */
    const char *www_authenticate[HTTP_CHALLENGES_MAX];
    const char *allow;               /* with 405; NULL: every method that the server knows */
    const struct http_field *fields; /* any others */
    size_t field_count;
    bool gzip;     /* the body is coded with gzip already */
    bool close;    /* the connection ends with this answer */
    uint8_t *body; /* malloc'd, taken by http_answer; or NULL and */
    struct slice body_static;
    size_t len; /* of body */
};

/* The body, wherever it is. */
struct slice http_answer_body(const struct http_answer *answer);
/* Frees a malloc'd body, wiped: it may have shown a secret. NULL is fine. */
void http_answer_drop(uint8_t *body, size_t len);
/* False for 204 and 304, which have neither body nor length. */
bool http_status_has_body(unsigned status);
/* Status line, fields and the empty line. MX_ERR_LIMIT: no room; MX_ERR_INVALID: a value has
 * control characters; what was written is then of no use. */
MX_MUST_CHECK mx_err http_answer_head(struct writer *out, const struct http_answer *answer,
                                      bool keep_alive, int64_t wall_ms);
/* A problem document (RFC 9457) with the status' reason as title; detail may be NULL. What does not
 * fit into HTTP_PROBLEM_MAX bytes loses its detail. */
void http_problem_put(struct writer *out, unsigned status, const char *detail);
/* The same as an answer. Without memory the body is empty. */
struct http_answer http_problem(unsigned status, const char *detail);
