/* Pipelining that is not allowed: what counts is what was sent before the reply could be read, so
 * these sessions say how their bytes arrive. */
#include "smtp/srv_engine.h"

#include <criterion/criterion.h>
#include <stdio.h>

enum { PIECES_MAX = 8 };

static const struct srv_conf conf = {.limits = {.line_bytes_max = 4096,
                                                .rcpts_max = 10,
                                                .size_bytes_max = 1000000,
                                                .received_max = 10,
                                                .errors_max = 10,
                                                .messages_max = 10,
                                                .commands_max = 100,
                                                .refuse_pipelining = true,
                                                .offer_chunking = true,
                                                .offer_pipelining = true},
                                     .hostname = {(const uint8_t *)"mx.example.org", 14},
                                     .tls_available = true};

static const struct slice refused_name = SLICE_LITERAL("localhost");

/* What arrives at once is one piece; between pieces every reply has been read. */
struct session {
    const char *pieces[PIECES_MAX];
    const char *codes; /* of the replies, in order */
    unsigned scans;
};

static void note(char *codes, const struct writer *out)
{
    struct slice text = writer_slice(out);
    while (text.len > 0) {
        size_t lf = slice_find(text, '\n');
        if (text.ptr[3] == ' ') {
            (void)snprintf(codes + strlen(codes), 8, " %.3s", text.ptr);
        }
        text = slice_from(text, lf + 1);
    }
}

/* False: the session is over. */
static bool show(struct srv *srv, struct slice in, char *codes)
{
    for (;;) {
        uint8_t buf[2 * SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        enum srv_act act = srv_next(srv, &in, &out);
        if (act == SRV_ASK) {
            bool refuse = srv->ask.kind == SRV_ASK_HELO && slice_equal(srv->ask.text, refused_name);
            srv_answer(srv, refuse ? REPLY_HELO_NOT_FQDN : REPLY_OK, SLICE_EMPTY, &out);
        } else if (act == SRV_START_TLS) {
            srv_tls_started(srv);
            in.len = 0;
        }
        note(codes, &out);
        if (act == SRV_CLOSE || act == SRV_INPUT) {
            return act == SRV_INPUT;
        }
    }
}

static void play(const struct session *s, const struct srv_conf *with, const char *want)
{
    char codes[256] = "";
    struct srv srv;
    srv_init(&srv, with, false);
    bool open = show(&srv, SLICE_EMPTY, codes);
    for (unsigned i = 0; open && i < PIECES_MAX && s->pieces[i] != NULL; i++) {
        open = show(&srv, slice_of_text(s->pieces[i]), codes);
    }
    cr_assert_str_eq(codes, want, "%s: got%s", s->pieces[0], codes);
    cr_assert_eq(srv.close_reason == SRV_CLOSE_PROTOCOL, strstr(want, "554") != NULL);
    if (with == &conf) {
        cr_assert_eq(srv.scans, s->scans, "%s: %u scans", s->pieces[0], srv.scans);
    }
}

#define BEGIN "EHLO x\r\n", "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"

static const struct session refused[] = {
    {{"EHLO x\r\nMAIL FROM:<>\r\n"}, " 220 554", 1},
    {{"HELO x\r\nM"}, " 220 554", 1},
    {{"EHLO x\r\n\r\n"}, " 220 554", 1},
    {{"EHLO x\r\n", "EHLO y\r\nNOOP\r\n"}, " 220 250 554", 1},
    {{"HELO x\r\n", "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"}, " 220 250 554", 1},
    {{"EHLO x\r\n", "STARTTLS\r\nMAIL FROM:<injected@example.net>\r\n"}, " 220 250 554", 1},
    {{"EHLO x\r\n", "STARTTLS\r\n", "EHLO y\r\nMAIL FROM:<>\r\n"}, " 220 250 220 554", 1},
    {{"EHLO x\r\n", "STARTTLS\r\n", "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"},
     " 220 250 220 554",
     1},
    {{BEGIN, "DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n"}, " 220 250 250 250 554", 1},
    {{"EHLO x\r\n", "MAIL FROM:<>\r\nDATA\r\nRSET\r\n"}, " 220 250 250 554", 1},
    {{"MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"}, " 220 554", 1},
    {{"NOOP\r\nEHLO x\r\n"}, " 220 554", 1},
    {{"XYZZY\r\nEHLO x\r\n"}, " 220 554", 1},
    {{"RSET\r\nQUIT\r\n"}, " 220 554", 1},
    {{"HELO x\r\n", "MAIL FROM:<>\r\nQUIT\r\n"}, " 220 250 554", 1},
    {{"HELO x\r\n", "RSET\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n"}, " 220 250 250 554", 1},
    {{"HELO x\r\n", "VRFY a\r\nQUIT\r\n"}, " 220 250 554", 1},
    {{"HELO x\r\n", "\r\nQUIT\r\n"}, " 220 250 554", 1},
};

Test(srv_pipelining, refused)
{
    for (size_t i = 0; i < mx_countof(refused); i++) {
        play(&refused[i], &conf, refused[i].codes);
    }
}

/* As clients do that keep to the rules, and where nothing can go wrong. */
static const struct session allowed[] = {
    {{BEGIN, "DATA\r\n", "x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n",
      "y\r\n.\r\nQUIT\r\n"},
     " 220 250 250 250 354 250 250 250 354 250 221",
     0},
    {{"EHLO x\r\n",
      "MAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nBDAT 3 LAST\r\nabcRSET\r\nMAIL FROM:<>\r\n"},
     " 220 250 250 250 250 250 250",
     0},
    {{"EHLO x\r\n", "RSET\r\nNOOP\r\nVRFY a\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\nNOOP\r\n"},
     " 220 250 250 250 252 250 250 221",
     0},
    {{"EHLO x\r\n", "STARTTLS\r\n", "EHLO y\r\n", "MAIL FROM:<>\r\nRSET\r\n"},
     " 220 250 220 250 250 250",
     0},
    {{"HELO x\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<a@example.org>\r\n", "DATA\r\n",
      "x\r\n.\r\nQUIT\r\n"},
     " 220 250 250 250 354 250 221",
     0},
    {{"HELO x\r\n", "BDAT 3\r\nabc", "QUIT\r\n"}, " 220 250 503 221", 0},
    {{"HELO x\r\n", "MAIL FROM:<>\r\n", "RSET\r\nNOOP a\r\nQUIT\r\n"},
     " 220 250 250 250 250 221",
     0},
    {{"HELO x\r\n", "RSET\r\nMAIL FROM:<>\r\n", "QUIT\r\nNOOP\r\n"}, " 220 250 250 250 221", 0},
    {{"EHLO x\r\n", "STARTTLS\r\n", "HELO y\r\n", "RSET\r\nQUIT\r\n"},
     " 220 250 220 250 250 221",
     0},
    {{"EHLO x\r\n", "\r\n", " \t\r\nNOOP\r\n"}, " 220 250 500 500 250", 0},
    {{"MAIL FROM:<>\r\n", "EHLO x\r\n"}, " 220 503 250", 1},
    {{"EHLO localhost\r\n", "MAIL FROM:<>\r\n"}, " 220 550 503", 0},
    {{"EHLO x\r\n", "STARTTLS\r\n", "MAIL FROM:<>\r\n"}, " 220 250 220 503", 0},
};

Test(srv_pipelining, allowed)
{
    for (size_t i = 0; i < mx_countof(allowed); i++) {
        play(&allowed[i], &conf, allowed[i].codes);
    }
}

/* Behind an error nothing is looked at until the host asks for it, and the host knows its reply. */
Test(srv_pipelining, an_error_is_a_stop)
{
    struct slice in = SLICE_LITERAL("NOOP\r\nFOO\r\nNOOP\r\nHELP\r\nRSET a\r\n");
    static const struct {
        enum reply error;
        const char *said, *before; /* `before` is what was said ahead of the error */
    } steps[] = {
        {REPLY_UNKNOWN_COMMAND, " 250 500", " 250"},
        {REPLY_ARGUMENT_SYNTAX, " 250 214 501", " 250 214"},
    };
    char codes[64] = "";
    struct srv srv;
    srv_init(&srv, &conf, false);
    cr_assert(show(&srv, SLICE_EMPTY, codes) && show(&srv, SLICE_LITERAL("EHLO x\r\n"), codes));
    for (size_t i = 0; i < mx_countof(steps); i++) {
        uint8_t buf[2 * SRV_REPLY_MAX];
        struct writer out = writer_init(buf, sizeof buf);
        cr_assert_eq(srv_next(&srv, &in, &out), SRV_FLUSH);
        cr_assert_eq(srv.error, steps[i].error);
        codes[0] = 0;
        note(codes, &out);
        cr_assert_str_eq(codes, steps[i].said);
        out.len = srv.error_at;
        codes[0] = 0;
        note(codes, &out);
        cr_assert_str_eq(codes, steps[i].before);
    }
    uint8_t buf[SRV_REPLY_MAX];
    struct writer out = writer_init(buf, sizeof buf);
    cr_assert_eq(srv_next(&srv, &in, &out), SRV_INPUT);
    cr_assert(srv.error == REPLY_OK && out.len == 0 && srv.errors == 2);
}

/* Tolerated: every command has its reply, and what is behind STARTTLS is thrown away. */
Test(srv_pipelining, tolerated)
{
    static const char *const codes[] = {
        " 220 250 250",
        " 220 250",
        " 220 250 500",
        " 220 250 250 250",
        " 220 250 250 250",
        " 220 250 220",
        " 220 250 220 250 250",
        " 220 250 220 503 503",
        NULL,
        NULL,
        " 220 503 503",
        " 220 250 250",
        " 220 500 250",
        " 220 250 221",
        " 220 250 250 221",
        " 220 250 250 250 250",
        " 220 250 252 221",
        " 220 250 500 221",
    };
    struct srv_conf tolerant = conf;
    tolerant.limits.refuse_pipelining = false;
    _Static_assert(mx_countof(codes) == mx_countof(refused), "one for each");
    for (size_t i = 0; i < mx_countof(refused); i++) {
        if (codes[i] != NULL) {
            play(&refused[i], &tolerant, codes[i]);
        }
    }
}
