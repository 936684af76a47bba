/* PROXY protocol, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt), strict and byte-incremental.
 * Pure.
 *
 * Accepted: v1 TCP4, TCP6, UNKNOWN; v2 PROXY over INET and INET6 streams, PROXY with UNSPEC, LOCAL
 * with anything. Everything else is malformed, as early as it can be told: the connection is to be
 * closed. The TLVs behind addresses must be well formed; a CRC32C among them must be right. What
 * LOCAL and UNSPEC carry is skipped unread, since its layout is not known.
 *
 * The struct is large and needed only until the header is complete. */
#pragma once

#include "core/err.h"
#include "core/netaddr.h"

enum {
    PROXY_V1_MAX = 107,  /* with CRLF */
    PROXY_V2_MAX = 4096, /* whole header; longer ones are refused */
};

enum proxy_status {
    PROXY_MORE,      /* needs more bytes; all of them were consumed */
    PROXY_DONE,      /* the header is complete; what follows it was not consumed */
    PROXY_MALFORMED, /* see proxy_parse_problem */
};

struct proxy_parse {
    uint8_t buf[PROXY_V2_MAX];
    uint32_t len;
    uint32_t need; /* whole length, once known; 0 before */
    enum proxy_status status;
    bool local; /* LOCAL, UNKNOWN or UNSPEC: the addresses are those of the connection itself */
    struct netaddr source, destination;
    const char *problem;
};

void proxy_parse_init(struct proxy_parse *p);
/* Takes bytes from in; *out_used says how many, never more than belong to the header. Once it has
 * said DONE or MALFORMED it says so again and takes nothing. */
enum proxy_status proxy_parse_feed(struct proxy_parse *p, struct slice in, size_t *out_used);
const char *proxy_parse_problem(const struct proxy_parse *p); /* static text */
bool proxy_parse_is_local(const struct proxy_parse *p);
const struct netaddr *proxy_parse_source(const struct proxy_parse *p);
const struct netaddr *proxy_parse_destination(const struct proxy_parse *p);
