/* Rates of what comes in (MtaInboundThrottle): tested at four places of a session, each at once and
 * for all cores together (core/rate_table). Without throttles of a stage nothing is done there.
 *
 * First every condition is evaluated, which may have to wait for the DNS, and only then something
 * is counted: a question that is answered from its beginning again counts once. Of several
 * throttles that match, either each has one to give or none is taken from. */
#pragma once

#include "core/rate_table.h"
#include "route/throttle.h"

struct srv_conn;

enum { THROTTLE_TEXT_MAX = 192, THROTTLE_NAME_MAX = 100 };

enum throttle_verdict {
    THROTTLE_PASSED,
    THROTTLE_OVER,   /* *out_text says what and how long */
    THROTTLE_LATER,  /* the DNS is asked; again is called, at MAIL and RCPT only */
    THROTTLE_FAILED, /* a condition could not be evaluated; that is in the log */
};

/* Of one core. */
struct throttling {
    char text[THROTTLE_TEXT_MAX];
};

/* Of one session: what its EHLO has been counted for, so that saying it again, as every client does
 * behind STARTTLS, counts no second time. Another name, and another configuration, begin anew. */
struct throttle_hello {
    uint64_t set;        /* bits of the image's throttles */
    uint32_t name;       /* its hash */
    uint32_t generation; /* lower half */
};

/* What the session's open question wants to do now; *out_text is valid until the next test. */
enum throttle_verdict throttle_test(struct srv_conn *conn, enum inbound_stage stage,
                                    struct slice *out_text, void (*again)(void *conn));
