/* What the host's answers lead to. */
#include "smtp/srv_verbs.h"

#include "core/check.h"

static void put_limit(struct writer *out, const char *name, uint32_t value)
{
    /* RFC 9422: one to six digits, not zero. */
    if (value >= 1 && value <= 999999) {
        put_text(out, name);
        put_decimal(out, value);
    }
}

/* Every line but the last has "250-"; ENHANCEDSTATUSCODES is always there and thus the last. */
static void print_ehlo(const struct srv *srv, struct writer *out)
{
    const struct srv_limits *limits = &srv->conf->limits;
    put_text(out, "250-");
    put_slice(out, srv->conf->hostname);
    put_text(out, limits->offer_pipelining ? "\r\n250-PIPELINING" : "");
    put_text(out, "\r\n250-SIZE ");
    put_decimal(out, limits->size_bytes_max);
    put_text(out, "\r\n250-8BITMIME\r\n250-SMTPUTF8");
    put_text(out, limits->offer_chunking ? "\r\n250-CHUNKING" : "");
    put_text(out, limits->offer_chunking && limits->offer_binarymime ? "\r\n250-BINARYMIME" : "");
    put_text(out, limits->offer_dsn ? "\r\n250-DSN" : "");
    put_text(out, "\r\n250-LIMITS");
    put_limit(out, " RCPTMAX=", srv_rcpts_max(srv));
    put_limit(out, " MAILMAX=", limits->messages_max);
    put_text(out, srv->conf->tls_available && !srv->under_tls ? "\r\n250-STARTTLS" : "");
    put_text(out, "\r\n250 ENHANCEDSTATUSCODES\r\n");
    MX_ASSERT(!out->overflow);
}

static void accept_helo(struct srv *srv, struct writer *out)
{
    srv->esmtp = srv->ask.esmtp;
    srv_enter(srv, SRV_STATE_GREETED);
    if (srv->esmtp) {
        print_ehlo(srv, out);
        srv_count_reply(srv, REPLY_HELO_OK);
    } else {
        srv_say(srv, REPLY_HELO_OK, srv->conf->hostname, out);
    }
}

static void accept_mail(struct srv *srv, struct writer *out)
{
    srv->open = true;
    srv->messages++;
    srv->smtputf8 = srv->ask.mail.smtputf8;
    srv->body = (uint8_t)srv->ask.mail.body;
    srv->rcpts_ok = 0;
    srv->failed = REPLY_OK;
    srv_enter(srv, SRV_STATE_MAIL);
    srv_say(srv, REPLY_SENDER_OK, SLICE_EMPTY, out);
}

static void accept_data(struct srv *srv, struct writer *out)
{
    srv_enter(srv, srv->data.dotted ? SRV_STATE_DATA : SRV_STATE_CHUNK);
    if (srv->data.dotted) {
        srv_say(srv, REPLY_DATA_GO, SLICE_EMPTY, out);
    }
}

/* The host has let go of the transaction. */
static void aborted(struct srv *srv, struct writer *out)
{
    enum reply refusal = (enum reply)srv->failed;
    srv->failed = REPLY_OK;
    srv_enter(srv, (enum srv_state)srv->next_state);
    if (refusal != REPLY_OK) {
        srv_say(srv, refusal, SLICE_EMPTY, out);
    }
}

/* Whoever brings mail may go on: commands and errors are counted anew, so that a kept connection
 * ends by its number of messages and not by that of their recipients, of whom some are always gone.
 */
static void brought_mail(struct srv *srv)
{
    srv->brought_mail = true;
    srv->commands_before = srv->commands;
    srv->errors = 0;
}

/* Before EHLO or HELO, where that is asked for. */
static void begin(struct srv *srv)
{
    srv_enter(srv, srv->conf->limits.helo_optional ? SRV_STATE_GREETED : SRV_STATE_BANNERED);
}

static void accepted(struct srv *srv, struct slice text, struct writer *out)
{
    switch (srv->ask.kind) {
    case SRV_ASK_CONNECT:
        begin(srv);
        if (text.len > 0) {
            srv_say(srv, REPLY_GREETING, text, out);
        } else {
            srv_say(srv, REPLY_BANNER, srv->conf->hostname, out);
        }
        return;
    case SRV_ASK_HELO:
        accept_helo(srv, out);
        return;
    case SRV_ASK_MAIL:
        accept_mail(srv, out);
        return;
    case SRV_ASK_RCPT:
        srv->rcpts_ok++;
        srv_enter(srv, SRV_STATE_RCPT);
        srv_say(srv, REPLY_RCPT_OK, SLICE_EMPTY, out);
        return;
    case SRV_ASK_DATA:
        accept_data(srv, out);
        return;
    case SRV_ASK_BODY:
        return;
    case SRV_ASK_END:
        brought_mail(srv);
        srv_enter(srv, SRV_STATE_GREETED);
        srv_say(srv, REPLY_QUEUED, text, out);
        return;
    case SRV_ASK_ABORT:
        aborted(srv, out);
        return;
    }
}

static void refused(struct srv *srv, enum reply reply, struct slice text, struct writer *out)
{
    switch (srv->ask.kind) {
    case SRV_ASK_CONNECT:
        srv_say(srv, reply, text, out);
        srv_close(srv, SRV_CLOSE_REFUSED);
        return;
    case SRV_ASK_DATA:
        if (!srv->data.dotted) {
            srv_skip_chunk(srv, reply, srv_after_failed_chunk(srv));
            return;
        }
        break;
    case SRV_ASK_BODY:
        srv->failed = (uint8_t)reply;
        return;
    case SRV_ASK_END:
        srv_enter(srv, SRV_STATE_GREETED);
        break;
    case SRV_ASK_ABORT:
        aborted(srv, out);
        return;
    default:
        break;
    }
    srv_say(srv, reply, text, out);
}

void srv_answer(struct srv *srv, enum reply reply, struct slice text, struct writer *out)
{
    MX_ASSERT(srv->waiting && writer_room(out) >= SRV_REPLY_MAX);
    srv->waiting = false;
    if (reply == REPLY_OK) {
        accepted(srv, text, out);
    } else {
        refused(srv, reply, text, out);
    }
}

void srv_tls_started(struct srv *srv)
{
    MX_ASSERT(srv->state == SRV_STATE_TLS);
    srv->under_tls = true;
    srv->esmtp = false;
    srv->ask = (struct srv_ask){.kind = SRV_ASK_CONNECT};
    begin(srv);
}
