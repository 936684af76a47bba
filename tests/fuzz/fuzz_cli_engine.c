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
        cli_lost(w.cli, MX_ERR_RESET);
        feed(&w, &none);
    }
    FUZZ_CHECK(w.closed);
    for (unsigned i = 0; w.begun && i < RCPTS; i++) {
        FUZZ_CHECK(w.outcomes[i] == 1);
    }
    free(w.cli);
    return 0;
}
