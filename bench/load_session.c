#include "bench/load_session.h"

#include "core/check.h"
#include "io/clock.h"

enum {
    OUT_BYTES = 16 * 1024,
    SMALL_BYTES = 512, /* content that is copied once more rather than sent as a part of its own */
};

/* --- the clock of the phases -------------------------------------------------------------------
 */

/* What was written in this drive leaves now. */
static void note_written(struct load_session *s, uint64_t now_ns)
{
    uint32_t written = s->engine.written;
    s->engine.written = 0;
    while (written != 0) {
        unsigned verb = (unsigned)__builtin_ctz(written);
        written &= written - 1;
        if (verb != LOAD_VERB_DATA || s->transfer->content.offset == 0) {
            s->sent_ns[verb] = now_ns;
        }
    }
}

static void took(struct load_session *s, enum load_phase phase, uint64_t from_ns, uint64_t now_ns)
{
    if (s->transfer != NULL) {
        load_stats_time(&s->load->stats, phase, now_ns - mx_min_size(now_ns, from_ns));
    }
}

static void note_reply(struct load_session *s, uint64_t now_ns)
{
    static const struct {
        bool timed;
        enum load_phase phase;
    } phases[] = {
        [LOAD_VERB_BANNER] = {true, PHASE_BANNER},
        [LOAD_VERB_EHLO] = {true, PHASE_EHLO},
        [LOAD_VERB_STARTTLS] = {false},
        [LOAD_VERB_MAIL] = {true, PHASE_MAIL},
        [LOAD_VERB_RCPT] = {true, PHASE_RCPT},
        [LOAD_VERB_DATA] = {false},
        [LOAD_VERB_END] = {true, PHASE_END},
        [LOAD_VERB_RSET] = {false},
        [LOAD_VERB_QUIT] = {true, PHASE_QUIT},
    };
    enum load_verb verb = s->engine.verb;
    load_stats_reply(&s->load->stats, verb, s->engine.code);
    if (phases[verb].timed) {
        took(s, phases[verb].phase, s->sent_ns[verb], now_ns);
    }
    if (verb == LOAD_VERB_END) {
        took(s, PHASE_DATA, s->sent_ns[LOAD_VERB_DATA], now_ns);
    }
}

/* --- the pump ----------------------------------------------------------------------------------
 */

static bool flush(struct load_session *s, struct writer *out, uint64_t now_ns)
{
    if (s->engine.written != 0) {
        note_written(s, now_ns);
    }
    if (out->len > 0 && stream_write(&s->stream, writer_slice(out)) != MX_OK) {
        stream_abort(&s->stream, MX_ERR_IO);
        return false;
    }
    out->len = 0;
    return true;
}

/* Content goes from where it lies into the stream's output, small pieces with what is before. */
static bool body(struct load_session *s, struct writer *out, uint64_t now_ns)
{
    struct content *content = &s->transfer->content;
    struct slice piece = slice_first(content_next(content), OUT_BYTES);
    if (content->offset == 0 && load_engine_chunked(&s->engine)) {
        s->sent_ns[LOAD_VERB_DATA] = now_ns;
    }
    piece.len = load_engine_body(&s->engine, piece.len);
    content_advance(content, piece.len);
    if (piece.len <= SMALL_BYTES && piece.len <= writer_room(out)) {
        put_slice(out, piece);
        return true;
    }
    if (!flush(s, out, now_ns)) {
        return false;
    }
    if (stream_write(&s->stream, piece) != MX_OK) {
        stream_abort(&s->stream, MX_ERR_IO);
        return false;
    }
    return true;
}

static void start_tls(struct load_session *s)
{
    stream_start_tls(&s->stream, s->load->tls_ctx, SLICE_LITERAL("mx.bench.invalid"));
}

/* One act; false: wait for input, or the stream has something else to do. */
static bool step(struct load_session *s, struct slice *in, struct writer *out, uint64_t now_ns,
                 enum load_act *act)
{
    *act = load_engine_next(&s->engine, in, out);
    switch (*act) {
    case LOAD_REPLY:
        note_reply(s, now_ns);
        return true;
    case LOAD_BODY:
        return body(s, out, now_ns);
    case LOAD_READY:
        s->was_ready = true;
        return load_next(s);
    case LOAD_DONE:
        message_end(s, now_ns);
        return true;
    case LOAD_FLUSH:
        return true;
    default:
        return false;
    }
}

static void drive(struct load_session *s, struct slice *in)
{
    uint8_t buf[OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    uint64_t now_ns = clock_monotonic_ns();
    enum load_act act = LOAD_FLUSH;
    bool more = s->up;
    while (more) {
        if (stream_room(&s->stream) < 2 * sizeof buf) {
            s->stream.want_drained = true;
            return;
        }
        more = step(s, in, &out, now_ns, &act);
        if ((writer_room(&out) < sizeof buf / 2 || !more) && !flush(s, &out, now_ns)) {
            return;
        }
    }
    if (act == LOAD_START_TLS) {
        in->len = 0;
        start_tls(s);
    } else if (act == LOAD_CLOSE) {
        in->len = 0;
        stream_close(&s->stream);
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    size_t len = in.len;
    if (s->waiting) {
        return len; /* a server that says good-bye */
    }
    drive(s, &in);
    return len - in.len;
}

static void on_drained(struct stream *stream)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    struct slice none = SLICE_EMPTY;
    drive(s, &none);
}

/* Connected, or the handshake is complete. */
static void on_ready(struct stream *stream)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    struct load *load = s->load;
    struct slice none = SLICE_EMPTY;
    uint64_t now_ns = clock_monotonic_ns();
    if (!s->up) {
        s->up = true;
        s->up_ns = now_ns;
        s->sent_ns[LOAD_VERB_BANNER] = now_ns;
        s->sent_ns[LOAD_VERB_STARTTLS] = now_ns; /* implicit TLS */
        took(s, PHASE_CONNECT, s->began_ns, now_ns);
        dial_header(&load->conf.dial, stream);
        if (load->conf.tls == LOAD_TLS_IMPLICIT) {
            start_tls(s);
            return;
        }
    } else {
        bool resumed = tls_resumed(stream->tls);
        took(s, PHASE_STARTTLS, s->sent_ns[LOAD_VERB_STARTTLS], now_ns);
        load->stats.counts.tls_resumed += resumed;
        load->stats.counts.tls_full += !resumed;
        if (load->conf.tls == LOAD_TLS_IMPLICIT) {
            s->sent_ns[LOAD_VERB_BANNER] = now_ns;
        } else {
            load_engine_tls_started(&s->engine);
        }
    }
    drive(s, &none);
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct load_session *s = mx_container_of(stream, struct load_session, stream);
    struct load_stats *stats = &s->load->stats;
    if (s->transfer != NULL && !s->was_ready && stats->connection_err == MX_OK) {
        stats->connection_err = why != MX_OK ? why : MX_ERR_CLOSED;
    }
    s->connected = false;
    s->waiting = false;
    if (s->transfer != NULL && s->transfer->open) {
        message_end(s, clock_monotonic_ns());
    }
    load_closed(s);
}

static const struct stream_ops callbacks = {
    .input = on_input, .drained = on_drained, .ready = on_ready, .closed = on_closed};

void session_connect(struct load_session *s)
{
    struct load *load = s->load;
    bool bdat = dice_below(&load->dice, 100) < load->conf.bdat_percent;
    load_engine_init(&s->engine, &load->engine_confs[bdat], load->conf.tls == LOAD_TLS_IMPLICIT);
    s->connected = true;
    s->up = false;
    s->was_ready = false;
    s->waiting = false;
    s->sent = 0;
    s->quota = distribution_draw(&load->conf.per_connection, &load->dice);
    if (s->transfer != NULL) {
        s->number = ++load->stats.counts.connections;
    }
    s->began_ns = clock_monotonic_ns();
    s->since_us = s->began_ns / 1000;
    dial_connect(&load->conf.dial, &s->stream, &load->shard, &callbacks, 0);
    s->stream.multishot = true; /* a server's replies, which are never paused */
}

void session_wake(struct load_session *s)
{
    struct slice none = SLICE_EMPTY;
    s->waiting = false;
    if (s->connected) {
        drive(s, &none);
    } else {
        session_connect(s);
    }
}
