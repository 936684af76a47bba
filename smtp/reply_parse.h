/* Replies of an SMTP server (RFC 5321 section 4.2), line by line. Pure. Lines end in CRLF; a bare
 * LF is taken as well, as other clients do. */
#pragma once

#include "core/cursor.h"
#include "smtp/cli_engine.h"

enum reply_event {
    REPLY_MORE, /* the line is not complete: *in is unchanged */
    REPLY_LINE, /* a line that is followed by others */
    REPLY_LAST, /* the last line: the reply is complete */
    REPLY_BAD,  /* not SMTP: the session cannot go on */
};

struct reply_parse {
    uint16_t code; /* of the reply under way; 0 before its first line */
    uint16_t lines;
    uint8_t status[3]; /* enhanced code (RFC 2034), made from the code when absent */
    bool has_status;
    uint16_t text_len;
    uint8_t text[CLI_TEXT_MAX]; /* printable text of all lines, joined by spaces, cut at the end */
};

void reply_parse_reset(struct reply_parse *p);
/* Consumes one line from *in; *out_text is its text behind the code, borrowed from the input. After
 * REPLY_LAST the fields of p describe the reply until the next call, which begins a new one. */
enum reply_event reply_parse_next(struct reply_parse *p, struct slice *in, struct slice *out_text);
