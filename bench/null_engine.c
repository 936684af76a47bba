#include "bench/null_engine.h"

#include "core/check.h"
#include "core/text.h"

enum { STATE_LINE, STATE_CONTENT, STATE_CHUNK };

enum { SCAN_BYTES = 64, END_BYTES = 5 };

static const uint8_t content_end[END_BYTES] = "\r\n.\r\n";

void null_begin(struct null_session *session, struct writer *out)
{
    *session = (struct null_session){.state = STATE_LINE};
    put_slice(out, SLICE_LITERAL("220 null.invalid ESMTP\r\n"));
}

void null_tls_started(struct null_session *session)
{
    session->under_tls = true;
    session->state = STATE_LINE;
    session->head_len = 0;
}

/* --- content -----------------------------------------------------------------------------------
 */

/* Index of the first LF that a dot follows, or len - 1. The blocks are compared without branches,
 * which compilers turn into vector instructions. */
static size_t find_dotted_line(const uint8_t *p, size_t len)
{
    size_t at = 0;
    for (; at + SCAN_BYTES < len; at += SCAN_BYTES) {
        uint8_t hit = 0;
        for (unsigned i = 0; i < SCAN_BYTES; i++) {
            hit |= (uint8_t)((p[at + i] == '\n') & (p[at + i + 1] == '.'));
        }
        if (hit) {
            break;
        }
    }
    while (at + 1 < len && (p[at] != '\n' || p[at + 1] != '.')) {
        at++;
    }
    return at;
}

/* One byte of content; true when it completes the end. */
static bool match(struct null_session *session, uint8_t byte)
{
    if (byte == content_end[session->matched]) {
        session->matched++;
    } else {
        session->matched = byte == '\r';
    }
    return session->matched == END_BYTES;
}

/* True when the content has ended. */
static bool skip_content(struct null_session *session, struct slice *in)
{
    size_t at = 0;
    while (at < in->len) {
        if (session->matched == 0) {
            size_t left = in->len - at;
            size_t found = find_dotted_line(in->ptr + at, left);
            size_t back = found == 0 ? 0 : 1; /* the CR before it */
            at += found - back;
        }
        if (match(session, in->ptr[at++])) {
            *in = slice_from(*in, at);
            return true;
        }
    }
    *in = SLICE_EMPTY;
    return false;
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void say(struct writer *out, struct slice text)
{
    put_slice(out, text);
    MX_ASSERT(!out->overflow);
}

static void say_hello(const struct null_session *session, const struct null_conf *conf,
                      struct writer *out)
{
    say(out, SLICE_LITERAL("250-null.invalid\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n"
                           "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"));
    if (conf->offer_starttls && !session->under_tls) {
        say(out, SLICE_LITERAL("250-STARTTLS\r\n"));
    }
    say(out, SLICE_LITERAL("250 ENHANCEDSTATUSCODES\r\n"));
}

static void message_taken(struct null_session *session, struct writer *out)
{
    session->state = STATE_LINE;
    session->messages++;
    say(out, SLICE_LITERAL("250 2.0.0 Queued as 0000000000000000\r\n"));
}

/* "BDAT SIZE [LAST]" */
static void begin_chunk(struct null_session *session, struct slice line)
{
    uint64_t size = 0;
    size_t at = 5;
    for (; at < line.len && ascii_is_digit(line.ptr[at]); at++) {
        size = size * 10 + line.ptr[at] - '0';
    }
    session->chunk_left = size;
    session->chunk_last = at + 1 < line.len && ascii_lower(line.ptr[at + 1]) == 'l';
    session->state = STATE_CHUNK;
}

static enum null_act command(struct null_session *session, const struct null_conf *conf,
                             struct slice line, struct writer *out)
{
    switch (line.len < 4 ? 0 : ascii_lower(line.ptr[0])) {
    case 'e':
    case 'h':
        say_hello(session, conf, out);
        break;
    case 'm':
        say(out, SLICE_LITERAL("250 2.1.0 Sender OK\r\n"));
        break;
    case 'r':
        if (ascii_lower(line.ptr[1]) == 's') {
            say(out, SLICE_LITERAL("250 2.0.0 OK\r\n"));
        } else if (conf->refuse_rcpts) {
            say(out, SLICE_LITERAL("550 5.1.1 No such user here\r\n"));
        } else {
            say(out, SLICE_LITERAL("250 2.1.5 Recipient OK\r\n"));
        }
        break;
    case 'd':
        if (conf->refuse_rcpts) {
            say(out, SLICE_LITERAL("554 5.5.1 No valid recipients\r\n"));
            break;
        }
        say(out, SLICE_LITERAL("354 Send the message, end with <CRLF>.<CRLF>\r\n"));
        session->state = STATE_CONTENT;
        session->matched = 2; /* the line end of the command */
        break;
    case 'b':
        begin_chunk(session, line);
        break;
    case 's':
        say(out, SLICE_LITERAL("220 2.0.0 Ready to start TLS\r\n"));
        return NULL_START_TLS;
    case 'q':
        say(out, SLICE_LITERAL("221 2.0.0 Bye\r\n"));
        return NULL_QUIT;
    case 'n':
        say(out, SLICE_LITERAL("250 2.0.0 OK\r\n"));
        break;
    default:
        say(out, SLICE_LITERAL("500 5.5.2 Unknown command\r\n"));
    }
    return NULL_MORE;
}

static void keep_head(struct null_session *session, struct slice part)
{
    size_t len = slice_first(part, NULL_HEAD_BYTES - session->head_len).len;
    memcpy(session->head + session->head_len, part.ptr, len);
    session->head_len += (uint8_t)len;
}

static enum null_act take_line(struct null_session *session, const struct null_conf *conf,
                               struct slice *in, struct writer *out)
{
    size_t end = slice_find(*in, '\n');
    struct slice line = slice_first(*in, end);
    bool ended = end < in->len;
    *in = slice_from(*in, ended ? end + 1 : end);
    if (session->head_len > 0 || !ended) {
        keep_head(session, line);
        line = slice_of(session->head, session->head_len);
    }
    if (!ended) {
        return NULL_MORE;
    }
    session->head_len = 0;
    return command(session, conf, line, out);
}

static void take_chunk(struct null_session *session, const struct null_conf *conf, struct slice *in,
                       struct writer *out)
{
    size_t len = slice_first(*in, session->chunk_left).len;
    *in = slice_from(*in, len);
    session->chunk_left -= len;
    if (session->chunk_left > 0) {
        return;
    }
    session->state = STATE_LINE;
    if (conf->refuse_rcpts) {
        say(out, SLICE_LITERAL("554 5.5.1 No valid recipients\r\n"));
    } else if (session->chunk_last) {
        message_taken(session, out);
    } else {
        say(out, SLICE_LITERAL("250 2.0.0 Chunk taken\r\n"));
    }
}

enum null_act null_feed(struct null_session *session, const struct null_conf *conf,
                        struct slice *in, struct writer *out)
{
    enum null_act act = NULL_MORE;
    while (act == NULL_MORE &&
           (in->len > 0 || (session->state == STATE_CHUNK && session->chunk_left == 0))) {
        if (writer_room(out) < NULL_REPLY_MAX) {
            return NULL_FULL;
        }
        if (session->state == STATE_LINE) {
            act = take_line(session, conf, in, out);
        } else if (session->state == STATE_CHUNK) {
            take_chunk(session, conf, in, out);
        } else if (skip_content(session, in)) {
            message_taken(session, out);
        }
    }
    return act;
}
