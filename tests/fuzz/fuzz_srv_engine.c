/* The server session: any bytes in any pieces, any answers. One reply per question that calls for
 * one; the 250 with a queue id only after the end was accepted; the engine never eats more than it
 * is given and always comes to an end. */
#include "fuzz.h"
#include "smtp/srv_engine.h"

enum { STEPS_MAX = 20000 };

static const struct srv_conf conf = {.limits = {.line_bytes_max = 256,
                                                .rcpts_max = 5,
                                                .size_bytes_max = 2000,
                                                .received_max = 3,
                                                .errors_max = 50,
                                                .messages_max = 10,
                                                .commands_max = 200,
                                                .offer_chunking = true,
                                                .offer_binarymime = true,
                                                .offer_pipelining = true,
                                                .offer_dsn = true},
                                     .hostname = {(const uint8_t *)"mx.example.org", 14},
                                     .tls_available = true};

struct world {
    struct fuzz_source source;
    struct srv srv;
    uint64_t body_bytes;
    unsigned accepted, queued;
};

static void count_queued(struct world *w, const struct writer *out)
{
    static const char mark[] = "250 2.0.0 Queued as q\r\n";
    struct slice s = writer_slice(out);
    for (size_t i = 0; i + sizeof mark - 1 <= s.len; i++) {
        w->queued += memcmp(s.ptr + i, mark, sizeof mark - 1) == 0;
    }
    FUZZ_CHECK(s.len == 0 || (s.len >= 2 && memcmp(s.ptr + s.len - 2, "\r\n", 2) == 0));
}

static void answer(struct world *w, struct writer *out)
{
    const struct srv_ask *ask = &w->srv.ask;
    uint8_t choice = fuzz_byte(&w->source);
    enum reply reply = choice < 200 ? REPLY_OK : REPLY_NO_SUCH_USER;
    switch (ask->kind) {
    case SRV_ASK_MAIL:
        w->body_bytes = 0;
        break;
    case SRV_ASK_BODY:
        FUZZ_CHECK(ask->text.len > 0);
        w->body_bytes += ask->text.len;
        reply = choice < 230 ? REPLY_OK : REPLY_IO_ERROR;
        break;
    case SRV_ASK_END:
        FUZZ_CHECK(ask->end.bytes == w->body_bytes && w->srv.rcpts_ok > 0);
        reply = choice < 200 ? REPLY_OK : REPLY_IO_ERROR;
        w->accepted += reply == REPLY_OK;
        break;
    case SRV_ASK_ABORT:
        w->body_bytes = 0;
        reply = REPLY_OK;
        break;
    default:
        break;
    }
    size_t before = out->len;
    bool says_something = ask->kind != SRV_ASK_BODY && ask->kind != SRV_ASK_ABORT;
    bool refused = reply != REPLY_OK;
    srv_answer(&w->srv, reply, SLICE_LITERAL("q"), out);
    FUZZ_CHECK(!says_something || refused || out->len > before || ask->kind == SRV_ASK_DATA);
    FUZZ_CHECK(!out->overflow);
}

/* Shows the engine what it has not used yet; false when the session is over. */
static bool feed(struct world *w, struct slice *in)
{
    for (unsigned steps = 0;; steps++) {
        uint8_t buf[2 * SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        size_t before = in->len;
        FUZZ_CHECK(steps < STEPS_MAX);
        enum srv_act act = srv_next(&w->srv, in, &out);
        FUZZ_CHECK(in->len <= before && !out.overflow);
        if (act == SRV_ASK) {
            if (writer_room(&out) < SRV_REPLY_MAX) {
                count_queued(w, &out);
                out = writer_init(buf, sizeof buf);
            }
            answer(w, &out);
        }
        count_queued(w, &out);
        if (act == SRV_START_TLS) {
            in->len = 0;
            srv_tls_started(&w->srv);
        }
        if (act == SRV_CLOSE || act == SRV_INPUT) {
            return act == SRV_INPUT;
        }
    }
}

/* --- the same session in one piece and byte by byte ---------------------------------------------
 */

/* The answers depend on the questions' order alone. */
struct rule {
    uint8_t refuse_every, end_every;
};

struct script {
    const struct rule *rule;
    struct srv srv;
    uint64_t body_bytes, whole_bytes;
    unsigned asked, ends, go_aheads, replies;
    bool over;
    size_t said_len;
    uint8_t said[1 << 16];
};

static void note(struct script *s, const struct writer *out)
{
    struct slice text = writer_slice(out);
    FUZZ_CHECK(s->said_len + text.len <= sizeof s->said);
    memcpy(s->said + s->said_len, text.ptr, text.len);
    s->said_len += text.len;
    while (text.len > 0) { /* whole lines; the last one of a reply has a space behind its code */
        size_t lf = slice_find(text, '\n');
        FUZZ_CHECK(lf < text.len && lf >= 4);
        s->replies += text.ptr[3] == ' ';
        s->go_aheads += memcmp(text.ptr, "354 ", 4) == 0;
        text = slice_from(text, lf + 1);
    }
}

static enum reply decide(struct script *s)
{
    const struct rule *rule = s->rule;
    switch (s->srv.ask.kind) {
    case SRV_ASK_BODY: /* refused or not by what it is alone: how much is seen at a time varies */
        s->body_bytes += s->srv.ask.text.len;
        return REPLY_OK;
    case SRV_ASK_END:
        FUZZ_CHECK(s->srv.ask.end.bytes == s->body_bytes);
        s->whole_bytes = s->whole_bytes * 31 + s->body_bytes;
        return ++s->ends % (2 + rule->end_every % 8u) == 0 ? REPLY_STORE_FULL : REPLY_OK;
    case SRV_ASK_ABORT:
        return REPLY_OK;
    case SRV_ASK_MAIL:
        s->body_bytes = 0;
        break;
    default:
        break;
    }
    return ++s->asked % (2 + rule->refuse_every % 16u) == 0 ? REPLY_NO_SUCH_USER : REPLY_OK;
}

static void show(struct script *s, struct slice *in)
{
    while (!s->over) {
        uint8_t buf[2 * SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        enum srv_act act = srv_next(&s->srv, in, &out);
        note(s, &out);
        out = writer_init(buf, sizeof buf);
        if (act == SRV_ASK) {
            srv_answer(&s->srv, decide(s), SLICE_LITERAL("q"), &out);
            note(s, &out);
        }
        /* What follows STARTTLS is thrown away with the piece that it came in. */
        s->over = act == SRV_CLOSE || act == SRV_START_TLS;
        if (act == SRV_INPUT) {
            return;
        }
    }
}

static void play(struct script *s, const struct rule *rule, struct slice in, size_t step)
{
    *s = (struct script){.rule = rule};
    srv_init(&s->srv, &conf, false);
    struct slice none = SLICE_EMPTY;
    show(s, &none);
    for (size_t used = 0, shown = 0; !s->over && shown < in.len;) {
        shown = mx_min_size(in.len, shown + step);
        struct slice piece = slice_first(slice_from(in, used), shown - used);
        size_t before = piece.len;
        show(s, &piece);
        used += before - piece.len;
    }
    /* What counts for the limit is never more than that, nor than what was said. */
    FUZZ_CHECK(s->srv.commands_before <= s->srv.commands &&
               s->srv.commands - s->srv.commands_before <= conf.limits.commands_max &&
               s->srv.errors <= conf.limits.errors_max);
    /* One reply per command and one more behind every 354's content, however it was cut. */
    if (!s->over && srv_phase(&s->srv) == SRV_PHASE_COMMAND) {
        FUZZ_CHECK(s->replies == 1 + s->srv.commands + s->go_aheads);
    }
}

static void whole_and_split(struct slice in)
{
    static struct script whole, split;
    struct fuzz_source source = {in};
    struct rule rule;
    rule.refuse_every = fuzz_byte(&source);
    rule.end_every = fuzz_byte(&source);
    in = slice_first(source.left, 4000);
    play(&whole, &rule, in, in.len > 0 ? in.len : 1);
    play(&split, &rule, in, 1);
    FUZZ_CHECK(whole.said_len == split.said_len &&
               memcmp(whole.said, split.said, whole.said_len) == 0);
    FUZZ_CHECK(whole.over == split.over && whole.ends == split.ends &&
               whole.srv.commands == split.srv.commands && whole.whole_bytes == split.whole_bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    whole_and_split(slice_of(data, size));
    struct world w = {.source = {slice_of(data, size)}};
    static uint8_t pending[1 << 16];
    size_t len = 0;
    struct slice none = SLICE_EMPTY;
    srv_init(&w.srv, &conf, fuzz_byte(&w.source) % 4 == 0);
    bool open = feed(&w, &none);
    while (open && w.source.left.len > 0) {
        struct slice piece = fuzz_piece(&w.source);
        FUZZ_CHECK(len + piece.len <= sizeof pending);
        memcpy(pending + len, piece.ptr != NULL ? piece.ptr : (const uint8_t *)"", piece.len);
        len += piece.len;
        struct slice in = slice_of(pending, len);
        open = feed(&w, &in);
        /* What is left is at most a command line that is not complete. */
        FUZZ_CHECK(!open || in.len <= conf.limits.line_bytes_max + 1);
        if (in.len > 0) {
            memmove(pending, in.ptr, in.len);
        }
        len = in.len;
    }
    FUZZ_CHECK(w.queued == w.accepted);
    return 0;
}
