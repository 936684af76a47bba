#include "smtp/srv_engine.h"

#include "core/check.h"
#include "smtp/cmd_parse.h"
#include "smtp/srv_verbs.h"

_Static_assert(sizeof(struct srv) <= 512, "an idle session must stay small");

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

void srv_skip_chunk(struct srv *srv, enum reply refusal, enum srv_state next_state)
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
    srv_skip_chunk(srv, refusal, fails ? srv_after_failed_chunk(srv) : (enum srv_state)srv->state);
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
        finish_refused(srv, refusal, srv_after_failed_chunk(srv), out);
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
