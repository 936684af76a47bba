/* Command lines of SMTP: from bytes to a verb's text and its checked arguments. Pure; everything
 * borrows from the line. The functions return REPLY_OK or the refusal that fits. */
#pragma once

#include "core/cursor.h"
#include "smtp/addr_parse.h"
#include "smtp/envelope.h"
#include "smtp/reply.h"

/* What may be used in MAIL and RCPT of this session. */
struct cmd_offer {
    bool esmtp; /* parameters at all */
    bool binarymime;
    bool dsn;
    uint64_t size_bytes_max; /* 0 = no limit */
};

enum cmd_found {
    CMD_LINE,     /* a whole line */
    CMD_PARTIAL,  /* no CRLF yet, and the line may still be short enough */
    CMD_TOO_LONG, /* over the limit, with or without its CRLF in sight */
};

/* Finds the line at the start of in. *out_line excludes the CRLF. Only CRLF ends a line. */
enum cmd_found cmd_find_line(struct slice *out_line, struct slice in, uint32_t line_bytes_max);
/* Inside an over-long line: how much of in can be thrown away; *out_ended = its CRLF was found (and
 * is included). A CR at the very end stays, since its LF may follow. */
size_t cmd_skip_line(bool *out_ended, struct slice in);

/* What in begins with is no SMTP: REPLY_SPEAKS_TLS for a TLS handshake record, REPLY_SPEAKS_HTTP
 * for the method of a request; else, or as long as it cannot be told, REPLY_OK. */
enum reply cmd_foreign(struct slice in);
/* Splits at the first space or tab; *out_argument is trimmed. */
void cmd_split(struct slice *out_verb, struct slice *out_argument, struct slice line);

/* EHLO/HELO: one word of printable ASCII, not longer than HELO_NAME_MAX. Deliberately more than
 * Domain and address literal, because real clients send underscores and worse. */
enum reply cmd_check_helo(struct slice argument);
/* Free text of NOOP, HELP, VRFY: no control bytes; 8-bit only as UTF-8. */
enum reply cmd_check_text(struct slice argument);
/* "FROM:<path> parameters". *out_sender is empty for the null path. envid_room receives the decoded
 * ENVID that out_mail->envid borrows (ENVID_MAX bytes). */
enum reply cmd_parse_mail(struct slice *out_sender, struct mail_params *out_mail,
                          uint8_t *envid_room, struct slice argument,
                          const struct cmd_offer *offer);
/* "TO:<path> parameters". smtputf8: MAIL had that parameter. */
enum reply cmd_parse_rcpt(struct slice *out_rcpt, struct rcpt_params *out_params,
                          struct slice argument, const struct cmd_offer *offer, bool smtputf8);
/* "size [LAST]" */
enum reply cmd_parse_bdat(uint64_t *out_bytes, bool *out_last, struct slice argument);
