#include "bench/sink_engine.h"

#include "core/check.h"
#include "core/text.h"

enum sink_state {
    ST_CONNECT, /* nothing was said */
    ST_BANNER,  /* the banner is due */
    ST_COMMAND, /* a command line is awaited */
    ST_DATA,    /* dotted content */
    ST_CHUNK,   /* content of a BDAT chunk */
    ST_SKIP,    /* a chunk that is thrown away */
    ST_END,     /* results and replies are due */
    ST_MUTE,    /* nothing is ever said again */
    ST_CLOSED,
};

/* Where in a line the decoder of dotted content stands. */
enum line_state {
    LINE_START,
    LINE_INSIDE,
    LINE_CR,     /* behind a CR that was given out */
    LINE_DOT,    /* behind a dot at the start of a line, not given out */
    LINE_DOT_CR, /* and behind the CR after it, not given out */
};

enum { NEXT = -1 }; /* beside enum sink_act: go on */

void sink_engine_init(struct sink_engine *engine, const struct sink_engine_conf *conf)
{
    *engine = (struct sink_engine){.conf = conf, .state = ST_CONNECT};
}

/* --- replies and faults ------------------------------------------------------------------------
 */

static void say(struct sink_engine *e, struct writer *out, uint16_t code, const char *text)
{
    put_decimal(out, code);
    put_char(out, ' ');
    put_text(out, text);
    put_text(out, "\r\n");
    MX_ASSERT(!out->overflow);
    if (code == 421) {
        e->state = ST_CLOSED;
    }
}

static void say_fault(struct sink_engine *e, struct writer *out, uint16_t code)
{
    say(e, out, code, code < 500 ? "4.3.0 Told to refuse for now" : "5.3.0 Told to refuse");
}

/* Draws once for what comes next. True: SINK_DELAY is to be returned first. */
static bool draw(struct sink_engine *e, enum fault_command command, struct slice text)
{
    if (e->drawn) {
        return false;
    }
    e->fault = fault_draw(e->conf->faults, command, text);
    e->drawn = true;
    e->delay_ms = e->fault.delay_ms;
    return e->delay_ms > 0;
}

/* Does what was drawn. True: it took the place of the usual. */
static bool strike(struct sink_engine *e, struct writer *out)
{
    e->drawn = false;
    switch (e->fault.kind) {
    case FAULT_REPLY:
        say_fault(e, out, e->fault.code);
        return true;
    case FAULT_DROP:
        e->state = ST_CLOSED;
        return true;
    case FAULT_MUTE:
        e->state = ST_MUTE;
        return true;
    default:
        return false;
    }
}

static int step_connect(struct sink_engine *e, struct writer *out)
{
    enum fault_command command = e->state == ST_CONNECT ? FAULT_CONNECT : FAULT_BANNER;
    if (draw(e, command, SLICE_EMPTY)) {
        return SINK_DELAY;
    }
    if (strike(e, out)) {
        e->state = e->state == ST_MUTE ? ST_MUTE : ST_CLOSED;
    } else if (e->state == ST_CONNECT) {
        e->state = ST_BANNER;
    } else {
        put_text(out, "220 ");
        put_slice(out, e->conf->hostname);
        put_text(out, e->conf->lmtp ? " LMTP\r\n" : " ESMTP\r\n");
        e->state = ST_COMMAND;
    }
    return NEXT;
}

/* --- commands ----------------------------------------------------------------------------------
 */

static int forget(struct sink_engine *e)
{
    bool had = e->has_sender;
    e->has_sender = false;
    e->chunked = false;
    e->rcpts = 0;
    return had ? SINK_FORGET : NEXT;
}

static int do_hello(struct sink_engine *e, struct slice line, struct writer *out)
{
    const struct sink_engine_conf *conf = e->conf;
    bool lhlo = ascii_lower(line.ptr[0]) == 'l', helo = ascii_lower(line.ptr[0]) == 'h';
    if (strike(e, out)) {
        return NEXT;
    }
    if (lhlo != conf->lmtp) {
        say(e, out, 500, conf->lmtp ? "5.5.1 This is LMTP" : "5.5.1 This is SMTP");
        return NEXT;
    }
    e->greeted = true;
    put_text(out, helo ? "250 " : "250-");
    put_slice(out, conf->hostname);
    if (!helo) {
        put_text(out, conf->offer_pipelining ? "\r\n250-PIPELINING" : "");
        put_text(out, conf->offer_chunking ? "\r\n250-CHUNKING" : "");
        put_text(out, conf->offer_dsn ? "\r\n250-DSN" : "");
        put_text(out, "\r\n250-SIZE ");
        put_decimal(out, conf->size_bytes_max);
        put_text(out, "\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES");
    }
    put_text(out, "\r\n");
    return forget(e);
}

/* The text between the angle brackets. A ">" may be quoted in a local part: the last one before the
 * parameters counts, and parameters have none. */
static struct slice path_of(struct slice line)
{
    size_t begin = slice_find(line, '<');
    size_t end = line.len;
    while (end > begin && line.ptr[end - 1] != '>') {
        end--;
    }
    return end > begin + 1 ? slice_of(line.ptr + begin + 1, end - begin - 2) : SLICE_EMPTY;
}

static int do_mail(struct sink_engine *e, struct slice line, struct writer *out)
{
    if (strike(e, out)) {
        return NEXT;
    }
    if (!e->greeted || e->has_sender) {
        say(e, out, 503, "5.5.1 Not now");
        return NEXT;
    }
    e->has_sender = true;
    e->chunked = false;
    e->rcpts = 0;
    e->bytes = 0;
    e->text = path_of(line);
    say(e, out, 250, "2.1.0 Sender OK");
    return SINK_SENDER;
}

static int do_rcpt(struct sink_engine *e, struct slice line, struct writer *out)
{
    if (strike(e, out)) {
        return NEXT;
    }
    if (!e->has_sender || e->chunked) {
        say(e, out, 503, "5.5.1 Not now");
        return NEXT;
    }
    if (e->rcpts == SINK_RCPTS_MAX) {
        say(e, out, 452, "4.5.3 Too many recipients");
        return NEXT;
    }
    e->rcpts++;
    e->text = path_of(line);
    say(e, out, 250, "2.1.5 Recipient OK");
    return SINK_RECIPIENT;
}

static int do_data(struct sink_engine *e, struct slice line, struct writer *out)
{
    (void)line;
    if (strike(e, out)) {
        return NEXT;
    }
    if (e->rcpts == 0 || e->chunked) {
        say(e, out, e->has_sender ? 554 : 503, "5.5.1 No recipients");
        return NEXT;
    }
    e->state = ST_DATA;
    e->line_state = LINE_START;
    e->skip_code = 0;
    say(e, out, 354, "Go on");
    return NEXT;
}

static bool chunk_parse(struct sink_engine *e, struct slice line)
{
    struct slice rest = slice_from(line, sizeof "BDAT " - 1);
    size_t end = slice_find(rest, ' ');
    struct slice last = text_trim(slice_from(rest, end));
    e->chunk_last = text_equal_nocase(last, SLICE_LITERAL("LAST"));
    return text_to_u64(&e->chunk_left, slice_first(rest, end)) == MX_OK &&
           (e->chunk_last || last.len == 0);
}

static int do_bdat(struct sink_engine *e, struct slice line, struct writer *out)
{
    bool drawn = e->drawn;
    e->drawn = false;
    e->skip_code = 0;
    if (line.len < sizeof "BDAT " || !chunk_parse(e, line)) {
        say(e, out, 501, "5.5.4 No such chunk");
        e->state = ST_CLOSED; /* what follows cannot be understood */
        return NEXT;
    }
    if (drawn && e->fault.kind == FAULT_REPLY) {
        e->skip_code = e->fault.code; /* RFC 3030: the chunk comes in any case */
    } else if (drawn && strike(e, out)) {
        return NEXT;
    } else if (e->rcpts == 0) {
        e->skip_code = 503;
    }
    e->chunked = true;
    e->state = e->skip_code == 0 ? ST_CHUNK : ST_SKIP;
    return NEXT;
}

static int do_rset(struct sink_engine *e, struct slice line, struct writer *out)
{
    (void)line;
    say(e, out, 250, "2.0.0 OK");
    return forget(e);
}

static int do_noop(struct sink_engine *e, struct slice line, struct writer *out)
{
    (void)line;
    say(e, out, 250, "2.0.0 OK");
    return NEXT;
}

static int do_quit(struct sink_engine *e, struct slice line, struct writer *out)
{
    (void)line;
    if (!strike(e, out)) {
        say(e, out, 221, "2.0.0 Bye");
        e->state = ST_CLOSED;
    }
    return NEXT;
}

static const struct verb {
    struct slice word;
    enum fault_command fault; /* FAULT_COMMANDS = none */
    int (*act)(struct sink_engine *e, struct slice line, struct writer *out);
} verbs[] = {
    {SLICE_LITERAL("EHLO"), FAULT_EHLO, do_hello},
    {SLICE_LITERAL("LHLO"), FAULT_EHLO, do_hello},
    {SLICE_LITERAL("HELO"), FAULT_EHLO, do_hello},
    {SLICE_LITERAL("MAIL"), FAULT_MAIL, do_mail},
    {SLICE_LITERAL("RCPT"), FAULT_RCPT, do_rcpt},
    {SLICE_LITERAL("DATA"), FAULT_DATA, do_data},
    {SLICE_LITERAL("BDAT"), FAULT_DATA, do_bdat},
    {SLICE_LITERAL("RSET"), FAULT_COMMANDS, do_rset},
    {SLICE_LITERAL("NOOP"), FAULT_COMMANDS, do_noop},
    {SLICE_LITERAL("QUIT"), FAULT_QUIT, do_quit},
};

static const struct verb *find_verb(struct slice line)
{
    struct slice word = slice_first(line, slice_find(line, ' '));
    for (size_t i = 0; i < mx_countof(verbs); i++) {
        if (text_equal_nocase(word, verbs[i].word)) {
            return &verbs[i];
        }
    }
    return NULL;
}

static int step_command(struct sink_engine *e, struct slice *in, struct writer *out)
{
    size_t lf = slice_find(*in, '\n');
    if (lf == in->len) {
        if (lf < SINK_LINE_MAX) {
            return SINK_INPUT;
        }
        say(e, out, 500, "5.5.2 Line too long");
        e->state = ST_CLOSED;
        return NEXT;
    }
    struct slice line = slice_first(*in, lf > 0 && in->ptr[lf - 1] == '\r' ? lf - 1 : lf);
    const struct verb *verb = find_verb(line);
    bool may_fault =
        verb != NULL && verb->fault != FAULT_COMMANDS && !(verb->act == do_bdat && e->chunked);
    if (may_fault && draw(e, verb->fault, line)) {
        return SINK_DELAY; /* the line stays */
    }
    *in = slice_from(*in, lf + 1);
    if (verb == NULL) {
        say(e, out, 500, "5.5.2 Unknown command");
        return NEXT;
    }
    return verb->act(e, line, out);
}

/* --- content -----------------------------------------------------------------------------------
 */

/* How much from the front is content as it stands, with lines that do not begin with a dot. */
static size_t plain_run(struct sink_engine *e, struct slice in)
{
    size_t at = 0;
    for (;;) {
        at += slice_find(slice_from(in, at), '\r');
        if (at + 1 >= in.len) {
            e->line_state = at < in.len ? LINE_CR : LINE_INSIDE;
            return in.len;
        }
        at++;
        if (in.ptr[at] != '\n') {
            continue;
        }
        at++;
        if (at == in.len || in.ptr[at] == '.') {
            e->line_state = LINE_START;
            return at;
        }
    }
}

/* The next piece of dotted content; empty when *in is used up or *out_done. Only CRLF ends a line.
 */
static struct slice undot(struct sink_engine *e, struct slice *in, bool *out_done)
{
    while (in->len > 0) {
        uint8_t c = in->ptr[0];
        struct slice one = slice_first(*in, 1);
        switch ((enum line_state)e->line_state) {
        case LINE_START:
            if (c == '.') {
                e->line_state = LINE_DOT;
                *in = slice_from(*in, 1);
                break;
            }
            e->line_state = LINE_INSIDE;
            break;
        case LINE_DOT:
            e->line_state = c == '\r' ? LINE_DOT_CR : LINE_INSIDE;
            *in = slice_from(*in, c == '\r' ? 1 : 0);
            break;
        case LINE_DOT_CR:
            if (c == '\n') {
                *in = slice_from(*in, 1);
                *out_done = true;
                return SLICE_EMPTY;
            }
            e->line_state = LINE_CR;
            return SLICE_LITERAL("\r");
        case LINE_CR:
            e->line_state = c == '\n' ? LINE_START : c == '\r' ? LINE_CR : LINE_INSIDE;
            *in = slice_from(*in, 1);
            return one;
        case LINE_INSIDE: {
            struct slice run = slice_first(*in, plain_run(e, *in));
            *in = slice_from(*in, run.len);
            return run;
        }
        }
    }
    return SLICE_EMPTY;
}

static int content(struct sink_engine *e, struct slice piece)
{
    e->bytes += piece.len;
    if (e->bytes > e->conf->size_bytes_max) {
        e->skip_code = 552;
    }
    e->text = piece;
    return e->skip_code == 0 ? SINK_CONTENT : NEXT;
}

static int content_end(struct sink_engine *e, struct writer *out)
{
    if (e->skip_code != 0) {
        say(e, out, e->skip_code, "5.3.4 Too big");
        e->state = ST_COMMAND;
        return forget(e);
    }
    e->state = ST_END;
    e->rcpt_at = 0;
    e->cut = false;
    return SINK_END;
}

static int step_data(struct sink_engine *e, struct slice *in, struct writer *out)
{
    bool done = false;
    struct slice piece = undot(e, in, &done);
    if (piece.len > 0) {
        return content(e, piece);
    }
    return done ? content_end(e, out) : SINK_INPUT;
}

static int step_chunk(struct sink_engine *e, struct slice *in, struct writer *out)
{
    struct slice piece = slice_first(*in, e->chunk_left);
    if (piece.len > 0) {
        *in = slice_from(*in, piece.len);
        e->chunk_left -= piece.len;
        return content(e, piece);
    }
    if (e->chunk_left > 0) {
        return SINK_INPUT;
    }
    if (e->chunk_last) {
        return content_end(e, out);
    }
    e->state = ST_COMMAND;
    say(e, out, 250, "2.0.0 Chunk taken");
    return NEXT;
}

static int step_skip(struct sink_engine *e, struct slice *in, struct writer *out)
{
    size_t len = slice_first(*in, e->chunk_left).len;
    *in = slice_from(*in, len);
    e->chunk_left -= len;
    if (e->chunk_left > 0) {
        return SINK_INPUT;
    }
    e->state = ST_COMMAND;
    if (e->skip_code == 503) {
        say(e, out, 503, "5.5.1 No recipients");
    } else {
        say_fault(e, out, e->skip_code);
    }
    return forget(e);
}

/* --- end of a message --------------------------------------------------------------------------
 */

static void say_taken(struct sink_engine *e, struct writer *out)
{
    if (e->fault.kind == FAULT_NONE) {
        say(e, out, 250, "2.0.0 Taken");
    } else if (e->fault.kind == FAULT_REPLY) {
        say_fault(e, out, e->fault.code);
    }
}

static bool ends_session(const struct fault *fault)
{
    return fault->kind == FAULT_REPLY ? fault->code == 421 : fault->kind != FAULT_NONE;
}

static int end_over(struct sink_engine *e, struct writer *out)
{
    if (!e->conf->lmtp) {
        say_taken(e, out);
    }
    e->state = e->fault.kind == FAULT_MUTE ? ST_MUTE
               : ends_session(&e->fault)   ? ST_CLOSED
                                           : ST_COMMAND;
    e->has_sender = false;
    e->chunked = false;
    e->rcpts = 0;
    return SINK_DONE;
}

/* One fault for the message under SMTP, one for each recipient under LMTP until the replies are cut
 * off; then the others share the last one's fate. */
static int step_end(struct sink_engine *e, struct writer *out, struct slice who)
{
    if (e->rcpt_at == e->rcpts) {
        return end_over(e, out);
    }
    if (!e->cut && draw(e, FAULT_EOD, who)) {
        return SINK_DELAY;
    }
    e->drawn = false;
    e->result = e->rcpt_at++;
    e->taken = e->fault.kind == FAULT_NONE || e->fault.kind == FAULT_LOST;
    e->answered = e->fault.kind == FAULT_NONE;
    if (e->conf->lmtp && !e->cut) {
        say_taken(e, out);
    }
    e->cut = !e->conf->lmtp || ends_session(&e->fault);
    e->state = ST_END;
    return SINK_RESULT;
}

/* --- the machine -------------------------------------------------------------------------------
 */

static int step(struct sink_engine *e, struct slice *in, struct writer *out, struct slice who)
{
    switch ((enum sink_state)e->state) {
    case ST_CONNECT:
    case ST_BANNER:
        return step_connect(e, out);
    case ST_COMMAND:
        return step_command(e, in, out);
    case ST_DATA:
        return step_data(e, in, out);
    case ST_CHUNK:
        return step_chunk(e, in, out);
    case ST_SKIP:
        return step_skip(e, in, out);
    case ST_END:
        return step_end(e, out, who);
    case ST_MUTE:
        *in = slice_from(*in, in->len);
        return SINK_INPUT;
    case ST_CLOSED:
        break;
    }
    return SINK_CLOSE;
}

enum sink_act sink_engine_next(struct sink_engine *engine, struct slice *in, struct writer *out,
                               struct slice who)
{
    int act;
    do {
        if (writer_room(out) < SINK_OUT_MIN) {
            return SINK_FLUSH;
        }
        act = step(engine, in, out, who);
    } while (act == NEXT);
    return (enum sink_act)act;
}
