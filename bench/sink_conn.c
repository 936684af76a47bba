#include "bench/sink_conn.h"

#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum { OUT_BYTES = 8192, PATH_BYTES = 1024 };

/* Text that grows up to a bound. */
struct buffer {
    uint8_t *bytes;
    size_t len, cap;
};

struct session {
    struct stream stream;
    struct sink_engine engine;
    struct sink *sink;
    struct timer delay;
    uint64_t since_us;
    struct buffer sender;  /* "from SENDER" of the message under way; at its end also "to" lines */
    struct buffer rcpts;   /* its recipients, each a line */
    size_t rcpt_at;        /* offset of the recipient whose result comes next */
    struct buffer taken;   /* lines of the recipients that were taken */
    struct buffer content; /* when kept */
    struct mark_reader mark;
};

/* --- the message -------------------------------------------------------------------------------
 */

static bool buffer_add(struct buffer *b, struct slice bytes, size_t max)
{
    if (bytes.len > max - b->len) {
        return false;
    }
    if (b->len + bytes.len > b->cap) {
        size_t cap = mx_min_size(max, (b->len + bytes.len) * 2);
        uint8_t *grown = realloc(b->bytes, cap);
        if (grown == NULL) {
            return false;
        }
        b->bytes = grown;
        b->cap = cap;
    }
    if (bytes.len > 0) {
        memcpy(b->bytes + b->len, bytes.ptr, bytes.len);
        b->len += bytes.len;
    }
    return true;
}

static void store(struct session *s, struct buffer *b, struct slice bytes, size_t max)
{
    if (!buffer_add(b, bytes, max)) {
        s->sink->err = MX_ERR_LIMIT;
    }
}

static void store_line(struct session *s, struct buffer *b, const char *what, struct slice text)
{
    store(s, b, slice_of_text(what), SINK_ENVELOPE_MAX);
    store(s, b, text, SINK_ENVELOPE_MAX);
    store(s, b, SLICE_LITERAL("\n"), SINK_ENVELOPE_MAX);
}

static void forget(struct session *s)
{
    s->sender.len = 0;
    s->rcpts.len = 0;
    s->taken.len = 0;
    s->content.len = 0;
    s->rcpt_at = 0;
}

static void begin(struct session *s, struct slice sender)
{
    forget(s);
    mark_reader_init(&s->mark);
    store_line(s, &s->sender, "from ", sender);
}

/* The recipient whose result comes next, without the line's end. */
static struct slice next_rcpt(const struct session *s)
{
    struct slice rest = slice_from(slice_of(s->rcpts.bytes, s->rcpts.len), s->rcpt_at);
    return slice_first(rest, slice_find(rest, '\n'));
}

static void result(struct session *s)
{
    struct sink *sink = s->sink;
    struct slice rcpt = next_rcpt(s);
    s->rcpt_at = mx_min_size(s->rcpt_at + rcpt.len + 1, s->rcpts.len);
    if (!s->engine.taken) {
        return;
    }
    sink->recipients++;
    store_line(s, &s->taken, "to ", rcpt);
    struct slice id = mark_reader_id(&s->mark);
    struct ledger_entry entry = {.kind = s->engine.answered ? LEDGER_TAKEN : LEDGER_SILENT,
                                 .time_us = sink->shard.now_ns / 1000,
                                 .since_us = s->since_us,
                                 .id = id,
                                 .rcpt = rcpt,
                                 .hash = id.len > 0 ? mark_reader_hash(&s->mark) : 0,
                                 .bytes = s->mark.content};
    ledger_add(&sink->ledger, &entry);
}

/* The envelope first: whoever sees NAME.eml finds NAME.env. This blocks; keeping mail is for tests.
 */
static mx_err keep(const struct session *s)
{
    const struct sink *sink = s->sink;
    unsigned long long number = sink->messages;
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/%08llu.env", sink->dir, number);
    mx_err err = sys_replace_file(path, slice_of(s->sender.bytes, s->sender.len));
    if (!err) {
        (void)snprintf(path, sizeof path, "%s/%08llu.eml", sink->dir, number);
        err = sys_replace_file(path, slice_of(s->content.bytes, s->content.len));
    }
    return err;
}

static void end(struct session *s)
{
    struct sink *sink = s->sink;
    store(s, &s->sender, slice_of(s->taken.bytes, s->taken.len), SINK_ENVELOPE_MAX);
    if (s->taken.len > 0) {
        sink->messages++;
        sink->bytes += s->mark.content;
        sink->unmarked += !s->mark.found;
        sink->altered += s->mark.found && s->mark.given != mark_reader_hash(&s->mark);
        if (sink->dir != NULL && sink->err == MX_OK) {
            sink->err = keep(s);
        }
        if (!sink->quiet) {
            printf("message %llu\n%.*s", (unsigned long long)sink->messages, (int)s->sender.len,
                   (const char *)s->sender.bytes);
            fflush(stdout);
        }
    }
    forget(s);
}

/* --- the pump ----------------------------------------------------------------------------------
 */

static bool flush(struct session *s, struct writer *out)
{
    mx_err err = out->len > 0 ? stream_write(&s->stream, writer_slice(out)) : MX_OK;
    out->len = 0;
    if (err) {
        stream_abort(&s->stream, err);
    }
    return err == MX_OK;
}

static void act_on(struct session *s, enum sink_act act)
{
    struct slice text = s->engine.text;
    switch (act) {
    case SINK_SENDER:
        begin(s, text);
        break;
    case SINK_RECIPIENT:
        store(s, &s->rcpts, text, SINK_ENVELOPE_MAX);
        store(s, &s->rcpts, SLICE_LITERAL("\n"), SINK_ENVELOPE_MAX);
        break;
    case SINK_CONTENT:
        mark_reader_add(&s->mark, text);
        if (s->sink->dir != NULL) {
            store(s, &s->content, text, SINK_CONTENT_MAX);
        }
        break;
    case SINK_RESULT:
        result(s);
        break;
    case SINK_DONE:
        end(s);
        break;
    case SINK_FORGET:
        forget(s);
        break;
    default:
        break;
    }
}

static void pump(struct session *s, struct slice *in)
{
    uint8_t buf[OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    struct sink *sink = s->sink;
    enum sink_act act;
    do {
        struct slice all = slice_of(s->rcpts.bytes, s->rcpts.len);
        act = sink_engine_next(&s->engine, in, &out, sink->conf.lmtp ? next_rcpt(s) : all);
        act_on(s, act);
        if (act == SINK_FLUSH && !flush(s, &out)) {
            in->len = 0;
            return;
        }
    } while (act != SINK_INPUT && act != SINK_DELAY && act != SINK_CLOSE);
    if (!flush(s, &out)) {
        in->len = 0;
    } else if (act == SINK_DELAY) {
        stream_pause(&s->stream);
        shard_after(&sink->shard, &s->delay, s->engine.delay_ms * MX_NS_PER_MS);
    } else if (act == SINK_CLOSE) {
        in->len = 0;
        stream_close(&s->stream);
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct session *s = mx_container_of(stream, struct session, stream);
    size_t len = in.len;
    if (s->sink->stopping) {
        stream_pause(stream);
        return 0;
    }
    pump(s, &in);
    return len - in.len;
}

static void on_delay_over(struct timer *timer, uint64_t now_ns)
{
    struct session *s = mx_container_of(timer, struct session, delay);
    struct slice none = SLICE_EMPTY;
    (void)now_ns;
    if (s->sink->stopping) {
        return;
    }
    stream_resume(&s->stream);
    pump(s, &none);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct session *s = mx_container_of(stream, struct session, stream);
    (void)why;
    wheel_cancel(&s->sink->shard.wheel, &s->delay);
    free(s->sender.bytes);
    free(s->rcpts.bytes);
    free(s->taken.bytes);
    free(s->content.bytes);
    pool_release(&s->sink->sessions, s);
}

static const struct stream_ops callbacks = {.input = on_input, .closed = on_closed};

static void on_accepted(struct listener *listener, int fd)
{
    struct sink *sink = mx_container_of(listener, struct sink, listener);
    struct session *s = pool_acquire_zero(&sink->sessions);
    struct slice none = SLICE_EMPTY;
    if (s == NULL) {
        ring_close_fd(fd);
        return;
    }
    s->sink = sink;
    s->delay.fire = on_delay_over;
    s->since_us = sink->shard.now_ns / 1000;
    sink_engine_init(&s->engine, &sink->conf);
    stream_open(&s->stream, &sink->shard, &callbacks, fd);
    pump(s, &none);
}

/* Once per turn, before any reply of the turn leaves. */
static void on_turn(struct shard_hook *hook)
{
    struct sink *sink = mx_container_of(hook, struct sink, hook);
    ledger_flush(&sink->ledger);
    sink->err = sink->err ? sink->err : sink->ledger.err;
}

size_t sink_session_bytes(void)
{
    return sizeof(struct session);
}

void sink_listen(struct sink *sink, int fd)
{
    sink->hook.turn = on_turn;
    shard_add_hook(&sink->shard, &sink->hook);
    listener_open(&sink->listener, &sink->shard, fd, on_accepted);
}

void sink_stop(struct sink *sink)
{
    uint64_t end_ns = sink->shard.now_ns + SINK_STOP_MS * MX_NS_PER_MS;
    sink->stopping = true;
    listener_pause(&sink->listener);
    while (sink->shard.now_ns < end_ns) {
        shard_turn(&sink->shard, SINK_STOP_MS * MX_NS_PER_MS / 10);
    }
}
