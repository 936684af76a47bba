/* What a request says, as the engine hands it to the handler. Plain data. */
#pragma once

#include "core/netaddr.h"
#include "core/slice.h"

enum http_verb {
    HTTP_VERB_GET,
    HTTP_VERB_HEAD,
    HTTP_VERB_POST,
    HTTP_VERB_PUT,
    HTTP_VERB_PATCH,
    HTTP_VERB_DELETE,
    HTTP_VERB_OPTIONS,
    HTTP_VERB_COUNT,
};

/* All slices borrow the request's own buffers and live until it is answered. A field that is absent
 * is empty. */
struct http_request {
    enum http_verb verb;
    struct slice method; /* "GET" */
    struct slice path;   /* begins with '/', percent-decoded, UTF-8, no dot segments, no controls;
                          * "*" for OPTIONS only */
    struct slice query;  /* after '?', as sent; its escapes are well-formed */
    struct slice host;   /* name or address with optional port, only characters of these */
    struct slice authorization;
    struct slice content_type;
    struct slice accept_encoding;
    struct slice if_none_match;
    struct slice body;
    struct netaddr peer;
    bool tls;
};

/* The answer may be coded with gzip (RFC 9110 section 12.5.3). */
bool http_accepts_gzip(struct slice accept_encoding);
