/* Delivery status notifications (RFC 3461, 3462/6522, 3464). Pure text builder. */
#pragma once

#include "smtp/cli_engine.h"
#include "smtp/envelope.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };

struct dsn_rcpt {
    const struct envelope_rcpt *rcpt;
    enum dsn_action action;
    uint8_t status[3];
    uint16_t code;            /* 0 = no SMTP reply */
    struct slice text;        /* reply text or reason */
    struct slice remote_host; /* next hop, may be empty */
    bool expired;             /* failed only: given up, the reply is the last one */
    int64_t attempted_ms;     /* when it was tried last; 0: not known */
    int64_t retry_until_ms;   /* delayed only: when we give up; 0: not known */
};

struct dsn {
    struct slice hostname; /* Reporting-MTA and the domain of MAILER-DAEMON and Message-ID */
    struct qid id; /* of the DSN itself: makes the Message-ID and the MIME boundary unique */
    struct qid original_id;
    const struct envelope
        *env; /* of the original message: sender (= recipient of the DSN), envid, ret, arrival */
    struct slice
        original_header; /* header block of the original, possibly cut (text/rfc822-headers) */
    struct slice original_body; /* rest, only when RET=FULL and small enough; else empty */
    int64_t wall_ms;
    struct slice from_name, from_address; /* empty: the defaults; the address has been checked */
    const struct dsn_rcpt *rcpts;
    uint32_t rcpt_count;
};

enum {
    DSN_HEADER_MAX = 16 * 1024, /* bytes of the original's header that are quoted */
    DSN_FULL_MAX = 128 * 1024,  /* originals up to this size are returned whole with RET=FULL */
    DSN_RCPTS_MAX = ENVELOPE_RCPTS_MAX,
    DSN_NAME_MAX = 128, /* bytes of from_name */
};

/* True when the recipient wants a DSN of this kind, given NOTIFY (unset = FAILURE and DELAY). */
bool dsn_wanted(uint8_t notify, enum dsn_action action);
/* The status of an outcome of which only the text is known: the code that it begins with, or that
 * of the action. */
void dsn_status_guess(uint8_t out_status[3], enum dsn_action action, struct slice text);
/* An upper bound for dsn_print's output. */
size_t dsn_bytes_max(const struct dsn *dsn);
/* The whole message with CRLF line ends: headers, multipart/report with three parts. ASCII but
 * for what is quoted, unless the envelope was SMTPUTF8 (message/global-delivery-status, RFC 6533).
 */
void dsn_print(struct writer *w, const struct dsn *dsn);
