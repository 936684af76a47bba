/* The client session against any server: every recipient gets exactly one outcome, and the session
 * ends. */
#include "fuzz.h"
#include "smtp/cli_engine.h"

enum { RCPTS = 3, STEPS_MAX = 100000 };

static const char body[] = "Subject: x\r\n\r\n.dot\r\nend";

struct world {
    struct fuzz_source source;
    struct cli *cli;
    struct cli_message msg;
    uint8_t states[RCPTS];
    unsigned outcomes[RCPTS];
    size_t body_at;
    bool begun, closed;
};

static void act_on(struct world *w, enum cli_act act, struct writer *out)
{
    switch (act) {
    case CLI_READY:
        if (w->begun) {
            cli_quit(w->cli);
        } else {
            w->begun = true;
            cli_begin(w->cli, &w->msg, w->states);
        }
        break;
    case CLI_BODY:
        FUZZ_CHECK(w->body_at < w->msg.content_bytes);
        if (fuzz_byte(&w->source) % 8 == 1) {
            cli_spoke_early(w->cli);
        }
        w->body_at +=
            cli_body(w->cli, slice_of(body + w->body_at, w->msg.content_bytes - w->body_at), out);
        break;
    case CLI_OUTCOME:
        FUZZ_CHECK(cli_outcome(w->cli)->rcpt < RCPTS);
        w->outcomes[cli_outcome(w->cli)->rcpt]++;
        break;
    case CLI_START_TLS:
        if (fuzz_byte(&w->source) % 2 == 0) {
            cli_tls_started(w->cli);
        } else {
            cli_lost(w->cli, MX_ERR_TLS);
        }
        break;
    case CLI_CLOSE:
        w->closed = true;
        break;
    default:
        break;
    }
}

static void feed(struct world *w, struct slice *in)
{
    for (unsigned steps = 0; !w->closed; steps++) {
        uint8_t buf[8192];
        struct writer out = writer_init(buf, sizeof buf);
        size_t before = in->len;
        FUZZ_CHECK(steps < STEPS_MAX);
        enum cli_act act = cli_next(w->cli, in, &out);
        FUZZ_CHECK(in->len <= before && !out.overflow);
        if (act == CLI_INPUT) {
            return;
        }
        act_on(w, act, &out);
    }
}

/* --- the same replies in one piece and byte by byte ---------------------------------------------
 */

struct script {
    struct cli *cli;
    uint8_t states[RCPTS];
    uint16_t codes[RCPTS];
    enum outcome_kind kinds[RCPTS];
    unsigned outcomes[RCPTS], transactions;
    size_t body_at;
    bool over;
    size_t said_len;
    uint8_t said[1 << 16];
};

static void show(struct script *s, const struct cli_message *msg, struct slice *in)
{
    while (!s->over) {
        struct writer out = {.buf = s->said, .len = s->said_len, .cap = sizeof s->said};
        enum cli_act act = cli_next(s->cli, in, &out);
        if (act == CLI_BODY) {
            s->body_at += cli_body(
                s->cli, slice_of(body + s->body_at, msg->content_bytes - s->body_at), &out);
        } else if (act == CLI_READY && s->transactions < 2) {
            s->transactions++;
            s->body_at = 0;
            cli_begin(s->cli, msg, s->states);
        } else if (act == CLI_READY) {
            cli_quit(s->cli);
        } else if (act == CLI_OUTCOME) {
            const struct outcome *o = cli_outcome(s->cli);
            s->outcomes[o->rcpt]++;
            s->codes[o->rcpt] = o->code;
            s->kinds[o->rcpt] = o->kind;
            FUZZ_CHECK(o->kind != OUTCOME_DELIVERED || o->code / 100 == 2);
            FUZZ_CHECK(s->outcomes[o->rcpt] <= s->transactions);
        }
        FUZZ_CHECK(!out.overflow && act != CLI_FLUSH);
        FUZZ_CHECK(cli_phase_timeout_ms(cli_phase(s->cli)) > 0);
        s->said_len = out.len;
        s->over = act == CLI_CLOSE || act == CLI_START_TLS;
        if (act == CLI_INPUT) {
            return;
        }
    }
}

static void play(struct script *s, const struct cli_conf *cli_conf, const struct cli_message *msg,
                 struct slice in, size_t step)
{
    struct cli *cli = s->cli != NULL ? s->cli : calloc(1, cli_bytes());
    FUZZ_CHECK(cli != NULL);
    *s = (struct script){.cli = cli};
    cli_init(cli, cli_conf);
    for (size_t used = 0, shown = 0; !s->over && shown < in.len;) {
        shown = mx_min_size(in.len, shown + step);
        struct slice piece = slice_first(slice_from(in, used), shown - used);
        size_t before = piece.len;
        show(s, msg, &piece);
        used += before - piece.len;
    }
}

static void whole_and_split(const struct cli_conf *cli_conf, const struct cli_message *msg,
                            struct slice in)
{
    static struct script whole, split;
    in = slice_first(in, 4000);
    play(&whole, cli_conf, msg, in, in.len > 0 ? in.len : 1);
    play(&split, cli_conf, msg, in, 1);
    FUZZ_CHECK(whole.over == split.over && whole.said_len == split.said_len &&
               memcmp(whole.said, split.said, whole.said_len) == 0);
    for (unsigned i = 0; i < RCPTS; i++) {
        FUZZ_CHECK(whole.outcomes[i] == split.outcomes[i] && whole.codes[i] == split.codes[i] &&
                   whole.kinds[i] == split.kinds[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t index[RCPTS] = {0, 1, 2};
    static const struct envelope_rcpt rcpts[RCPTS] = {
        {.address = {(const uint8_t *)"a@x.example", 11}},
        {.address = {(const uint8_t *)"b@x.example", 11}},
        {.address = {(const uint8_t *)"c@x.example", 11}}};
    static uint8_t pending[1 << 16];
    struct world w = {.source = {slice_of(data, size)}};
    struct envelope env = {
        .sender = SLICE_LITERAL("s@x.example"), .rcpts = rcpts, .rcpt_count = RCPTS};
    uint8_t flags = fuzz_byte(&w.source);
    struct cli_conf conf = {.ehlo_name = SLICE_LITERAL("me"),
                            .lmtp = flags & 1,
                            .tls = (enum cli_tls_mode)((flags >> 1) % 3)};
    w.msg = (struct cli_message){
        .env = &env, .rcpts = index, .rcpt_count = RCPTS, .content_bytes = sizeof body - 1};
    whole_and_split(&conf, &w.msg, w.source.left);
    w.cli = calloc(1, cli_bytes());
    FUZZ_CHECK(w.cli != NULL);
    cli_init(w.cli, &conf);
    size_t len = 0;
    while (!w.closed && w.source.left.len > 0) {
        struct slice piece = fuzz_piece(&w.source);
        if (piece.len > sizeof pending - len) {
            break;
        }
        memcpy(pending + len, piece.ptr != NULL ? piece.ptr : (const uint8_t *)"", piece.len);
        len += piece.len;
        struct slice in = slice_of(pending, len);
        feed(&w, &in);
        if (in.len > 0) {
            memmove(pending, in.ptr, in.len);
        }
        len = in.len;
    }
    struct slice none = SLICE_EMPTY;
    if (!w.closed) {
        cli_hung_up(w.cli, MX_ERR_RESET, slice_of(pending, len));
        feed(&w, &none);
    }
    FUZZ_CHECK(w.closed);
    for (unsigned i = 0; w.begun && i < RCPTS; i++) {
        FUZZ_CHECK(w.outcomes[i] == 1);
    }
    free(w.cli);
    return 0;
}
