/* What clients are told: replies, what they count as, and which of them end the session. */
#include "smtp/srv_verbs.h"

#include "core/check.h"

enum { STOP_ROOM = 128 }; /* the longest 421 */

static enum srv_close_reason reason_of(enum reply reply)
{
    switch (reply) {
    case REPLY_TIMEOUT:
        return SRV_CLOSE_TIMEOUT;
    case REPLY_SHUTDOWN:
        return SRV_CLOSE_SHUTDOWN;
    case REPLY_TOO_MANY_ERRORS:
        return SRV_CLOSE_ERRORS;
    case REPLY_TOO_MANY_COMMANDS:
        return SRV_CLOSE_COMMANDS;
    case REPLY_TOO_SLOW:
        return SRV_CLOSE_SLOW;
    case REPLY_EARLY_TALKER:
    case REPLY_NOT_WAITED:
    case REPLY_SPEAKS_HTTP:
    case REPLY_SPEAKS_TLS:
        return SRV_CLOSE_PROTOCOL;
    default:
        return SRV_CLOSE_REFUSED;
    }
}

_Static_assert(REPLY_COUNT <= UINT8_MAX, "a reply fits");

static void note_refusal(struct srv *srv, enum reply reply)
{
    if (reply_row(reply)->code < 400 || srv->refusals == UINT16_MAX) {
        return;
    }
    if (srv->refusals++ == 0) {
        srv->refused = (uint8_t)reply;
        srv->refused_verb = srv->verb;
    }
}

/* Forgetting EHLO after STARTTLS, or going on when it was refused, is a mistake and no scan; so is
 * an empty line, which some clients send behind the end of their content. */
static bool is_scan(const struct srv *srv, enum reply reply)
{
    return reply == REPLY_UNKNOWN_COMMAND || reason_of(reply) == SRV_CLOSE_PROTOCOL ||
           (reply == REPLY_HELLO_FIRST && !srv->under_tls && !srv->hello_seen);
}

bool srv_refuses_rcpt(enum reply reply)
{
    return reply == REPLY_NO_SUCH_USER || reply == REPLY_RELAY_DENIED;
}

/* True when it was one too many. */
static bool count_error(struct srv *srv, enum reply reply, size_t at)
{
    const struct srv_limits *limits = &srv->conf->limits;
    srv->error = (uint8_t)reply;
    srv->error_at = (uint32_t)at;
    srv->errors++;
    srv->rcpt_errors += srv_refuses_rcpt(reply);
    return (limits->errors_max != 0 && srv->errors >= limits->errors_max) ||
           (limits->rcpt_errors_max != 0 && srv->rcpt_errors >= limits->rcpt_errors_max);
}

void srv_say(struct srv *srv, enum reply reply, struct slice arg, struct writer *out)
{
    const struct reply_row *row = reply_row(reply);
    size_t at = out->len;

    reply_print(out, reply, arg);
    srv_count_reply(srv, reply);
    note_refusal(srv, reply);
    if (row->code >= 500) {
        srv->scans += is_scan(srv, reply);
    }
    if (row->code == 421 || reason_of(reply) == SRV_CLOSE_PROTOCOL) {
        srv_close(srv, reason_of(reply));
    } else if (row->counts_as_error && count_error(srv, reply, at)) {
        srv_say(srv, REPLY_TOO_MANY_ERRORS, SLICE_EMPTY, out);
    }
    MX_ASSERT(!out->overflow);
}

void srv_stop(struct srv *srv, enum srv_close_reason reason, struct writer *out)
{
    static const enum reply replies[] = {
        [SRV_CLOSE_NONE] = REPLY_SHUTDOWN,          [SRV_CLOSE_QUIT] = REPLY_SHUTDOWN,
        [SRV_CLOSE_ERRORS] = REPLY_TOO_MANY_ERRORS, [SRV_CLOSE_COMMANDS] = REPLY_TOO_MANY_COMMANDS,
        [SRV_CLOSE_TIMEOUT] = REPLY_TIMEOUT,        [SRV_CLOSE_SHUTDOWN] = REPLY_SHUTDOWN,
        [SRV_CLOSE_REFUSED] = REPLY_OVERLOAD,       [SRV_CLOSE_SLOW] = REPLY_TOO_SLOW,
        [SRV_CLOSE_PROTOCOL] = REPLY_SHUTDOWN,
    };
    MX_ASSERT((size_t)reason < mx_countof(replies));
    if (srv->state == SRV_STATE_CLOSED) {
        return;
    }
    srv->waiting = false;
    if (reason == SRV_CLOSE_SLOW) {
        note_refusal(srv, replies[reason]);
    }
    if (srv->state != SRV_STATE_TLS && writer_room(out) >= STOP_ROOM) {
        reply_print(out, replies[reason], SLICE_EMPTY);
        srv_count_reply(srv, replies[reason]);
    }
    srv_close(srv, reason);
}
