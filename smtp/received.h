/* The trace header that we add (RFC 5321 section 4.4, RFC 3848 "with" values, RFC 8314 tls clause).
 * Pure. */
#pragma once

#include "core/netaddr.h"
#include "core/qid.h"

struct received {
    struct slice helo; /* as given by the client; printed only if it is a valid Domain or literal */
    struct netaddr client;
    struct slice hostname; /* ours */
    struct netaddr server; /* what the client connected to; family 0: not printed */
    bool esmtp, under_tls, smtputf8, lmtp;
    struct slice tls_version, tls_cipher; /* empty without TLS */
    struct qid id;
    struct slice only_rcpt; /* the recipient when there is exactly one, else empty */
    int64_t wall_ms;
};

enum { RECEIVED_MAX = 1536 };

/* Writes "Received: ..." with folded lines (each <= 78 where possible) and a final CRLF. */
void received_print(struct writer *w, const struct received *r);
