#include "smtp/srv_engine.h"

#include "core/check.h"
#include "smtp/cmd_parse.h"
#include "smtp/srv_verbs.h"

_Static_assert(sizeof(struct srv) <= 512, "an idle session must stay small");

enum { STOP_ROOM = 128 }; /* the longest 421 */

void srv_init(struct srv *srv, const struct srv_conf *conf, bool under_tls)
{
    MX_ASSERT(conf->hostname.len > 0 && conf->hostname.len <= DOMAIN_MAX);
    *srv = (struct srv){.conf = conf, .under_tls = under_tls, .state = SRV_STATE_START};
    if (conf->counts != NULL) {
        count_one(&conf->counts->states[SRV_STATE_START]);
    }
}

void srv_leave(struct srv *srv)
{
    if (srv->conf != NULL && srv->conf->counts != NULL) {
        count_add(&srv->conf->counts->states[srv->state], UINT64_MAX);
    }
}

static void count_reply(const struct srv *srv, enum reply reply)
{
    if (srv->conf->counts != NULL) {
        count_one(&srv->conf->counts->replies[srv->verb][reply]);
    }
}

void srv_enter(struct srv *srv, enum srv_state state)
{
    /* A transaction that the host knows of ends by END or ABORT, never just so. */
    MX_ASSERT(!srv->open || (state != SRV_STATE_GREETED && state != SRV_STATE_BANNERED &&
                             state != SRV_STATE_CHUNK_FAILED));
    MX_ASSERT(srv->state != SRV_STATE_CLOSED);
    if (srv->conf->counts != NULL) {
        count_add(&srv->conf->counts->states[srv->state], UINT64_MAX); /* minus one */
        count_one(&srv->conf->counts->states[state]);
    }
    srv->state = (uint8_t)state;
}

void srv_close(struct srv *srv, enum srv_close_reason reason)
{
    if (srv->state != SRV_STATE_CLOSED) {
        srv->close_reason = (uint8_t)reason;
        srv_enter(srv, SRV_STATE_CLOSED);
    }
}

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
    count_reply(srv, reply);
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

void srv_question(struct srv *srv, enum srv_question kind)
{
    MX_ASSERT(!srv->waiting);
    srv->ask.kind = kind;
    srv->waiting = true;
}

uint32_t srv_rcpts_max(const struct srv *srv)
{
    uint32_t max = srv->conf->limits.rcpts_max;
    return max == 0 || max > ENVELOPE_RCPTS_MAX ? ENVELOPE_RCPTS_MAX : max;
}

/* Tells the host that the transaction is dropped; next_state is entered with its answer, after the
 * refusal in srv->failed if there is one. */
static void ask_abort(struct srv *srv, enum srv_state next_state)
{
    MX_ASSERT(srv->open);
    srv->open = false;
    srv->next_state = (uint8_t)next_state;
    srv_question(srv, SRV_ASK_ABORT);
}

/* The content or chunk that gets this refusal has been read to its end. */
static void finish_refused(struct srv *srv, enum reply refusal, enum srv_state next_state,
                           struct writer *out)
{
    bool drops = next_state == SRV_STATE_GREETED || next_state == SRV_STATE_CHUNK_FAILED;
    if (srv->open && drops) {
        srv->failed = (uint8_t)refusal;
        ask_abort(srv, next_state);
        return;
    }
    srv->failed = REPLY_OK;
    srv_enter(srv, next_state);
    srv_say(srv, refusal, SLICE_EMPTY, out);
}

/* Where a refused chunk leads. */
static enum srv_state after_failed_chunk(const struct srv *srv)
{
    return srv->chunk_last ? SRV_STATE_GREETED : SRV_STATE_CHUNK_FAILED;
}

/* RFC 3030 section 2: the bytes of a refused chunk are read before the reply. */
static void skip_chunk(struct srv *srv, enum reply refusal, enum srv_state next_state)
{
    srv->failed = (uint8_t)refusal;
    srv->next_state = (uint8_t)next_state;
    srv_enter(srv, SRV_STATE_SKIP);
}

static void refuse_command(struct srv *srv, const struct verb *verb, enum reply refusal,
                           struct writer *out)
{
    bool has_chunk = verb != NULL && verb->argument == ARGUMENT_CHUNK;
    if (!has_chunk || refusal == REPLY_ARGUMENT_SYNTAX) {
        srv_say(srv, refusal, SLICE_EMPTY, out);
        return;
    }
    bool fails = refusal == REPLY_TOO_BIG || srv->state == SRV_STATE_CHUNK_FAILED;
    skip_chunk(srv, refusal, fails ? after_failed_chunk(srv) : (enum srv_state)srv->state);
}

/* True when the session may go on after one more command. */
static bool count_command(struct srv *srv, struct writer *out)
{
    uint32_t max = srv->conf->limits.commands_max;
    if (max != 0 && srv->commands - srv->commands_before >= max) {
        srv_say(srv, REPLY_TOO_MANY_COMMANDS, SLICE_EMPTY, out);
        return false;
    }
    srv->commands++;
    return true;
}

/* Something is behind this command that may not be there. */
static bool not_waited(const struct srv *srv, const struct verb *verb, struct slice behind)
{
    bool offered = srv->esmtp && srv->conf->limits.offer_pipelining;
    if (!srv->conf->limits.refuse_pipelining || behind.len == 0) {
        return false;
    }
    if (verb == NULL) {
        return !offered;
    }
    if (verb->argument == ARGUMENT_CHUNK) {
        return false; /* the chunk is behind it */
    }
    bool harmless = verb->waits == WAIT_NEVER && srv->state != SRV_STATE_BANNERED;
    return verb->waits == WAIT_ALWAYS || (!offered && !harmless);
}

static void step_line(struct srv *srv, struct slice *in, struct slice line, struct writer *out)
{
    const struct verb *verb = NULL;
    bool bare = slice_find(line, '\r') < line.len || slice_find(line, '\n') < line.len;
    enum reply refusal = bare ? REPLY_BARE_NEWLINE_IN_COMMAND : srv_verb_check(srv, &verb, line);

    if (refusal == REPLY_OK && verb->drops && srv->open) {
        /* The line stays in the input and is met again without a transaction. */
        ask_abort(srv, SRV_STATE_GREETED);
        return;
    }
    *in = slice_from(*in, line.len + 2);
    srv->verb = srv_verb_number(verb);
    if (!count_command(srv, out)) {
        return;
    }
    if (refusal == REPLY_OK && verb->argument == ARGUMENT_CHUNK &&
        srv->chunk_left >= SRV_CHUNK_FREE_BYTES) {
        srv->commands_before++;
    }
    if (not_waited(srv, verb, *in)) {
        srv_say(srv, REPLY_NOT_WAITED, SLICE_EMPTY, out);
    } else if (refusal != REPLY_OK) {
        refuse_command(srv, verb, refusal, out);
    } else {
        verb->act(srv, out);
    }
}

/* One command line, or a part of an over-long one. False when more input is needed. */
static bool step_command(struct srv *srv, struct slice *in, struct writer *out)
{
    struct slice line;
    enum reply foreign =
        srv->state == SRV_STATE_BANNERED && !srv->discarding_line ? cmd_foreign(*in) : REPLY_OK;
    if (foreign != REPLY_OK) {
        srv->verb = SRV_VERB_UNKNOWN;
        srv_say(srv, foreign, SLICE_EMPTY, out);
        return true;
    }
    if (!srv->discarding_line) {
        switch (cmd_find_line(&line, *in, srv->conf->limits.line_bytes_max)) {
        case CMD_LINE:
            step_line(srv, in, line, out);
            return true;
        case CMD_PARTIAL:
            return false;
        default:
            srv->discarding_line = true;
        }
    }
    bool ended = false;
    *in = slice_from(*in, cmd_skip_line(&ended, *in));
    if (!ended) {
        return false;
    }
    srv->discarding_line = false;
    srv->verb = SRV_VERB_UNKNOWN;
    if (count_command(srv, out)) {
        srv_say(srv, REPLY_LINE_TOO_LONG, SLICE_EMPTY, out);
    }
    return true;
}

/* What the content would be refused with as far as it has been read; REPLY_OK = nothing. */
static enum reply content_refusal(const struct srv *srv)
{
    const struct data_stream *data = &srv->data;
    uint32_t received_max = srv->conf->limits.received_max;
    if (srv->failed != REPLY_OK) {
        return srv->failed;
    }
    if (data->over_size) {
        return REPLY_TOO_BIG;
    }
    if (received_max != 0 && data->received > received_max) {
        return REPLY_LOOP;
    }
    if (data->nul) {
        return REPLY_NUL_BYTE;
    }
    return data->bare_newline ? REPLY_BARE_NEWLINE : REPLY_OK;
}

static void ask_end(struct srv *srv)
{
    srv->ask.text = SLICE_EMPTY;
    srv->ask.end = (struct srv_end){
        .bytes = srv->data.bytes,
        .has_8bit = srv->data.has_8bit,
        .ends_in_crlf = srv->data.ends_in_crlf,
        .chunked = !srv->data.dotted,
    };
    srv->open = false;
    srv_question(srv, SRV_ASK_END);
}

/* Asks about a piece of content unless it is refused anyway. */
static void ask_body(struct srv *srv, struct slice piece)
{
    if (piece.len > 0 && content_refusal(srv) == REPLY_OK) {
        srv->ask.text = piece;
        srv_question(srv, SRV_ASK_BODY);
    }
}

static void step_data(struct srv *srv, struct slice *in, struct writer *out)
{
    struct slice piece = data_stream_next(&srv->data, in);
    ask_body(srv, piece);
    if (piece.len > 0 || !srv->data.done) {
        return;
    }
    enum reply refusal = content_refusal(srv);
    if (refusal != REPLY_OK) {
        finish_refused(srv, refusal, SRV_STATE_GREETED, out);
    } else {
        ask_end(srv);
    }
}

static void end_chunk(struct srv *srv, struct writer *out)
{
    if (srv->chunk_last) {
        data_stream_finish(&srv->data);
    }
    enum reply refusal = content_refusal(srv);
    if (refusal != REPLY_OK) {
        finish_refused(srv, refusal, after_failed_chunk(srv), out);
    } else if (srv->chunk_last) {
        ask_end(srv);
    } else {
        srv_enter(srv, SRV_STATE_CHUNKED);
        srv_say(srv, REPLY_CHUNK_OK, SLICE_EMPTY, out);
    }
}

static void step_chunk(struct srv *srv, struct slice *in, struct writer *out)
{
    struct slice part = slice_first(*in, srv->chunk_left);
    size_t before = part.len;
    struct slice piece = data_stream_next(&srv->data, &part);
    size_t used = before - part.len;

    *in = slice_from(*in, used);
    srv->chunk_left -= used;
    ask_body(srv, piece);
    if (piece.len == 0 && srv->chunk_left == 0) {
        end_chunk(srv, out);
    }
}

static void step_skip(struct srv *srv, struct slice *in, struct writer *out)
{
    size_t len = slice_first(*in, srv->chunk_left).len;
    *in = slice_from(*in, len);
    srv->chunk_left -= len;
    if (srv->chunk_left == 0) {
        finish_refused(srv, (enum reply)srv->failed, (enum srv_state)srv->next_state, out);
    }
}

static bool in_chunk(const struct srv *srv)
{
    return srv->state == SRV_STATE_CHUNK || srv->state == SRV_STATE_SKIP;
}

/* One step with input or at the end of a chunk. False when more input is needed. */
static bool step(struct srv *srv, struct slice *in, struct writer *out)
{
    switch ((enum srv_state)srv->state) {
    case SRV_STATE_DATA:
        step_data(srv, in, out);
        return true;
    case SRV_STATE_CHUNK:
        step_chunk(srv, in, out);
        return true;
    case SRV_STATE_SKIP:
        step_skip(srv, in, out);
        return true;
    default:
        return step_command(srv, in, out);
    }
}

enum srv_act srv_next(struct srv *srv, struct slice *in, struct writer *out)
{
    MX_ASSERT(!srv->waiting && out->cap >= SRV_REPLY_MAX && !out->overflow);
    srv->error = REPLY_OK;
    for (;;) { /* every turn uses up input, changes the state, or returns */
        if (srv->waiting) {
            return SRV_ASK;
        }
        if (srv->error != REPLY_OK) {
            return SRV_FLUSH;
        }
        if (srv->state == SRV_STATE_CLOSED) {
            return SRV_CLOSE;
        }
        if (srv->state == SRV_STATE_TLS) {
            *in = SLICE_EMPTY;
            return SRV_START_TLS;
        }
        if (in->len == 0 && srv->state != SRV_STATE_START &&
            !(in_chunk(srv) && srv->chunk_left == 0)) {
            return SRV_INPUT;
        }
        if (writer_room(out) < SRV_REPLY_MAX) {
            return SRV_FLUSH;
        }
        if (srv->state == SRV_STATE_START) {
            srv_question(srv, SRV_ASK_CONNECT);
        } else if (!step(srv, in, out)) {
            return SRV_INPUT;
        }
    }
}

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
        count_reply(srv, REPLY_HELO_OK);
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
            skip_chunk(srv, reply, after_failed_chunk(srv));
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
        count_reply(srv, replies[reason]);
    }
    srv_close(srv, reason);
}

enum srv_phase srv_phase(const struct srv *srv)
{
    if (srv->state == SRV_STATE_CLOSED) {
        return SRV_PHASE_CLOSED;
    }
    if (srv->waiting) {
        return SRV_PHASE_ANSWER;
    }
    return srv->state == SRV_STATE_DATA || in_chunk(srv) ? SRV_PHASE_DATA : SRV_PHASE_COMMAND;
}
