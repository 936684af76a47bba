/* Every reply that the server can send: one row per reply in reply.def with code, enhanced code
 * (RFC 3463), text, and whether it counts as an error of the client. */
#pragma once

#include "core/cursor.h"

enum reply {
    REPLY_OK = 0, /* generic acceptance; the engine chooses the fitting 2xx */
#define REPLY(name, code, enhanced, counts, text) REPLY_##name,
#include "smtp/reply.def"
#undef REPLY
    REPLY_COUNT
};

struct reply_row {
    uint16_t code;
    const char *enhanced; /* "5.1.1", or "" for replies without one */
    bool counts_as_error;
    const char *text; /* may contain one %s */
};

enum { REPLY_ARG_MAX = 256 };

const struct reply_row *reply_row(enum reply reply);
/* "NO_SUCH_USER": its name in reply.def, for statistics. */
const char *reply_name(enum reply reply);
/* Writes the whole line with CRLF; arg replaces %s (its first REPLY_ARG_MAX bytes; bytes outside
 * printable ASCII become '?'). */
void reply_print(struct writer *w, enum reply reply, struct slice arg);
