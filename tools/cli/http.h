/* One request after the other over one connection to the server, in clear or with TLS, blocking
 * with time limits. Redirects are not followed and proxies not used. */
#pragma once

#include "io/tls.h"
#include "tools/cli/http_reply.h"
#include "tools/cli/url.h"

enum {
    HTTP_CONNECT_MS = 15 * 1000,
    HTTP_CALL_MS = 60 * 1000, /* a whole request */
};

struct http {
    struct url url;
    char *authorization; /* value of the field, owned; NULL = none */
    bool insecure;       /* neither certificate nor host name is checked */
    bool debug;          /* a line to standard error for each request and response */
    /* of the connection */
    bool connected;
    int fd;
    struct tls_ctx *tls_ctx;
    struct tls *tls;
    int64_t deadline_ms;
};

void http_close(struct http *http);
void http_free(struct http *http);
/* body is JSON or NULL. The reply is initialized here and freed by the caller, also after a
 * failure. Any status is a success. */
bool http_call(struct http *http, const char *method, const char *path, const struct buf *body,
               struct http_reply *reply);
