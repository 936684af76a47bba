/* The least an SMTP server can do: it answers every command with a constant, finds the end of the
 * content, and keeps nothing. What it costs is what the kernel, the protocol and the client cost;
 * `ringmx-bench null` measures other servers against it. Not a server to be reachable by anyone
 * else. Pure: no I/O. */
#pragma once

#include "core/cursor.h"

enum {
    NULL_HEAD_BYTES = 24, /* of a command line that are looked at */
    NULL_REPLY_MAX = 256, /* bytes of the longest reply */
};

struct null_conf {
    bool refuse_rcpts; /* RCPT is answered 550 */
    bool offer_starttls;
};

struct null_session {
    uint8_t state;   /* private */
    uint8_t matched; /* bytes of CRLF "." CRLF that the content ends with so far */
    bool under_tls;
    bool chunk_last;
    uint8_t head_len;
    uint8_t head[NULL_HEAD_BYTES]; /* of a line whose end has not arrived */
    uint64_t chunk_left;
    uint64_t messages;
};

enum null_act {
    NULL_MORE,      /* all input is used up */
    NULL_FULL,      /* out has no room for another reply */
    NULL_START_TLS, /* the rest of the input is to be thrown away */
    NULL_QUIT,
};

/* Puts the banner out. */
void null_begin(struct null_session *session, struct writer *out);
/* Takes input and answers it. */
enum null_act null_feed(struct null_session *session, const struct null_conf *conf,
                        struct slice *in, struct writer *out);
/* After NULL_START_TLS and the handshake. */
void null_tls_started(struct null_session *session);
