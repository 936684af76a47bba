/* The server session with a client that keeps to no turn: the input decides what arrives before and
 * after each reply, in which pieces, before the banner, while an answer is awaited, behind
 * STARTTLS, and when the host stops the session. As in smtp/srv_conn, what arrives during a
 * question waits, and what was not shown before a handshake is lost.
 *
 * Who gets a reply in order and what is carried out does not depend on the timing, except that who
 * pipelines where that is not allowed may be found out: then with one 554, and the end. Told apart
 * by running the same bytes with that tolerated: up to the 554, all replies are the same. */
#include "fuzz.h"
#include "smtp/srv_engine.h"

enum { EVENTS_MAX = 600, SAID_MAX = 1 << 17, PENDING_MAX = 1 << 16 };

static const char not_waited[] = "554 5.5.1 You did not wait";

static struct srv_conf conf_of(bool refuse)
{
    return (struct srv_conf){.limits = {.line_bytes_max = 200,
                                        .rcpts_max = 5,
                                        .size_bytes_max = 2000,
                                        .received_max = 3,
                                        .errors_max = 50,
                                        .messages_max = 10,
                                        .commands_max = 200,
                                        .refuse_pipelining = refuse,
                                        .offer_chunking = true,
                                        .offer_pipelining = true,
                                        .offer_dsn = true},
                             .hostname = {(const uint8_t *)"mx.example.org", 14},
                             .tls_available = true};
}

struct session {
    struct srv_conf conf;
    struct srv srv;
    bool waiting; /* for an answer of the host */
    bool over;
    uint8_t pending[PENDING_MAX]; /* arrived, and not used yet */
    size_t pending_len;
    uint64_t body_bytes;
    unsigned asked, scans;
    size_t said_len;
    uint8_t said[SAID_MAX];
};

static void say(struct session *s, const struct writer *out)
{
    FUZZ_CHECK(!out->overflow && s->said_len + out->len <= sizeof s->said);
    memcpy(s->said + s->said_len, out->buf, out->len);
    s->said_len += out->len;
}

/* Depends on the order of questions alone. */
static void answer(struct session *s, uint8_t rule)
{
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    enum srv_question kind = s->srv.ask.kind;
    bool free_to_refuse =
        kind == SRV_ASK_HELO || kind == SRV_ASK_MAIL || kind == SRV_ASK_RCPT || kind == SRV_ASK_END;
    s->body_bytes = kind == SRV_ASK_MAIL ? 0 : s->body_bytes;
    if (kind == SRV_ASK_END) {
        FUZZ_CHECK(s->srv.ask.end.bytes == s->body_bytes);
    }
    bool refuse = free_to_refuse && ++s->asked % (2 + rule % 8u) == 0;
    s->waiting = false;
    srv_answer(&s->srv, refuse ? REPLY_BUSY : REPLY_OK, SLICE_LITERAL("q"), &out);
    say(s, &out);
}

/* Goes on with what has arrived, until input or an answer is missing. */
static void run(struct session *s, bool late, uint8_t rule)
{
    struct slice in = slice_of(s->pending, s->pending_len);
    while (!s->over && !s->waiting) {
        uint8_t buf[2 * SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        enum srv_act act = srv_next(&s->srv, &in, &out);
        say(s, &out);
        s->scans += s->srv.scans;
        s->srv.scans = 0;
        if (act == SRV_ASK) {
            s->body_bytes += s->srv.ask.kind == SRV_ASK_BODY ? s->srv.ask.text.len : 0;
            s->waiting = true;
            if (!late || s->srv.ask.kind == SRV_ASK_BODY) {
                answer(s, rule); /* what is asked about content borrows from the input */
            }
        } else if (act == SRV_START_TLS) {
            in.len = 0;
            srv_tls_started(&s->srv);
        }
        s->over = act == SRV_CLOSE;
        if (act == SRV_INPUT) {
            break;
        }
    }
    if (in.len > 0) {
        memmove(s->pending, in.ptr, in.len);
    }
    s->pending_len = in.len;
}

static void begin(struct session *s, bool refuse, bool early, uint8_t rule)
{
    *s = (struct session){.conf = conf_of(refuse)};
    srv_init(&s->srv, &s->conf, false);
    if (!early) {
        run(s, false, rule);
    } /* else what arrives before the banner waits */
}

static void arrive(struct session *s, struct slice bytes)
{
    size_t len = mx_min_size(bytes.len, sizeof s->pending - s->pending_len);
    memcpy(s->pending + s->pending_len, bytes.ptr != NULL ? bytes.ptr : (const uint8_t *)"", len);
    s->pending_len += len;
}

/* The timing: pieces, their order against answers, a stop. False: nothing is left. */
static bool event(struct session *s, struct fuzz_source *source, uint8_t rule)
{
    uint8_t what = fuzz_byte(source);
    if (source->left.len == 0) {
        return false;
    }
    if (what >= 250) {
        uint8_t buf[SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        srv_stop(&s->srv, what == 250 ? SRV_CLOSE_SLOW : SRV_CLOSE_TIMEOUT, &out);
        say(s, &out);
        s->over = true;
        s->waiting = false;
    } else if (s->waiting && what % 4 != 0) {
        answer(s, rule);
        run(s, what % 4 == 1, rule);
    } else {
        arrive(s, fuzz_piece(source));
        if (!s->waiting && what % 4 != 3) { /* else more arrives before it is looked at */
            run(s, what % 4 == 1, rule);
        }
    }
    return !s->over;
}

static void play(struct session *s, bool refuse, struct slice input)
{
    struct fuzz_source source = {input};
    uint8_t rule = fuzz_byte(&source);
    begin(s, refuse, rule >= 128, rule);
    for (unsigned i = 0; i < EVENTS_MAX && event(s, &source, rule); i++) {
    }
    if (s->waiting && !s->over) {
        answer(s, rule);
    }
    run(s, false, rule);
}

static size_t find(const struct session *s, const char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at + len <= s->said_len; at++) {
        if (memcmp(s->said + at, text, len) == 0) {
            return at;
        }
    }
    return s->said_len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session strict, tolerant;
    struct slice input = slice_of(data, mx_min_size(size, 4000));
    play(&strict, true, input);
    play(&tolerant, false, input);
    FUZZ_CHECK(find(&tolerant, not_waited) == tolerant.said_len);
    size_t told = find(&strict, not_waited);
    if (told == strict.said_len) { /* nobody was found out */
        FUZZ_CHECK(strict.said_len == tolerant.said_len && strict.scans == tolerant.scans);
        FUZZ_CHECK(strict.over == tolerant.over);
    } else {
        FUZZ_CHECK(strict.over && strict.srv.close_reason == SRV_CLOSE_PROTOCOL);
        FUZZ_CHECK(strict.scans > 0);
    }
    FUZZ_CHECK(told <= tolerant.said_len && memcmp(strict.said, tolerant.said, told) == 0);
    return 0;
}
