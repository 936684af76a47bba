#include "smtp/cli_engine.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

/* A scripted server: when the client's output so far ends with `want`, `say` is sent. The content
 * is "Subject: x\r\n\r\n.dot\r\nend" plus `tail`. */
struct turn {
    const char *want, *say;
};

enum { TURNS_MAX = 16, RCPTS = 3, RESULT_BYTES = 4096 };

struct dialogue {
    const char *name;
    struct turn turns[TURNS_MAX];
    const char
        *outcomes;    /* "250 550:5.1.1 451" per recipient in order; "P:text" = session problem */
    const char *sent; /* must occur in what the client sent */
    bool lmtp;
    bool no_final_crlf;
    const char *address1; /* instead of one@x.example */
    bool only_asks;
};

#define GREET "220 hi\r\n"
#define EHLO_PIPE "250-hi\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000\r\n"
#define EHLO_PLAIN "250 hi\r\n"

static const struct dialogue dialogues[] = {
    {"lock-step",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PLAIN},
      {"MAIL FROM:<s@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<one@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<two@x.example>\r\n", "550 5.1.1 no\r\n"},
      {"RCPT TO:<three@x.example>\r\n", "250 ok\r\n"},
      {"DATA\r\n", "354 go\r\n"},
      {"\r\n.\r\n", "250 2.0.0 queued\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 550:5.1.1 250:2.0.0",
     "\r\n..dot\r\nend\r\n.\r\n"},
    {"pipelined",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"MAIL FROM:<s@x.example> SIZE=25\r\nRCPT TO:<one@x.example>\r\nRCPT TO:<two@x.example>\r\n"
       "RCPT TO:<three@x.example>\r\nDATA\r\n",
       "250 ok\r\n250 ok\r\n450 4.2.1 later\r\n250-ok\r\n250 ok\r\n354 go\r\n"},
      {"end\r\n.\r\n", "250 queued\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 450:4.2.1 250:2.0.0",
     "DATA\r\nSubject"},
    {"only asking, pipelined",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"MAIL FROM:<s@x.example>\r\nRCPT TO:<one@x.example>\r\nRCPT TO:<two@x.example>\r\n"
       "RCPT TO:<three@x.example>\r\n",
       "250 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no\r\n450-4.2.1 not\r\n450 4.2.1 now\r\n"},
      {"RSET\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.1.5 550:5.1.1 450:4.2.1",
     "three@x.example>\r\nRSET\r\nQUIT",
     .only_asks = true},
    {"only asking, in lock-step, with CHUNKING",
     {{"", GREET},
      {"EHLO me\r\n", "250-hi\r\n250 CHUNKING\r\n"},
      {"MAIL FROM:<s@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<one@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<two@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<three@x.example>\r\n", "551 5.1.6 moved\r\n"},
      {"RSET\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 250:2.0.0 551:5.1.6",
     "three@x.example>\r\nRSET\r\nQUIT",
     .only_asks = true},
    {"only asking, MAIL refused",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"RCPT TO:<three@x.example>\r\n",
       "550 5.7.1 no null sender\r\n503 no\r\n503 no\r\n503 no\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "550:5.7.1 550:5.7.1 550:5.7.1",
     "three@x.example>\r\nQUIT",
     .only_asks = true},
    {"all refused while pipelined, yet 354",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n550 no\r\n550 no\r\n550 no\r\n354 go\r\n"},
      {"DATA\r\n.\r\n", "554 no valid recipients\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "550:5.0.0 550:5.0.0 550:5.0.0",
     "DATA\r\n.\r\nQUIT"},
    {"all refused while pipelined, DATA refused",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n550 no\r\n550 no\r\n450 no\r\n503 no\r\n"},
      {"RSET\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "550:5.0.0 550:5.0.0 450:4.0.0",
     "RSET\r\nQUIT"},
    {"MAIL refused while pipelined",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "451 4.3.0 busy\r\n503 no\r\n503 no\r\n503 no\r\n503 no\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "451:4.3.0 451:4.3.0 451:4.3.0",
     "QUIT"},
    {"DATA fails after a recipient failed",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n452 4.3.1 full\r\n"},
      {"RSET\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "452:4.3.1 550:5.1.1 452:4.3.1",
     "RSET"},
    {"final reply refuses",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n"},
      {"\r\n.\r\n", "554 5.7.1 spam\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "554:5.7.1 550:5.1.1 554:5.7.1",
     NULL},
    {"chunking",
     {{"", GREET},
      {"EHLO me\r\n", "250-hi\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n"},
      {"RCPT TO:<three@x.example>\r\n", "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"},
      {"end\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 250:2.0.0 250:2.0.0",
     "BDAT 25 LAST\r\nSubject: x\r\n\r\n.dot\r\nend\r\n"},
    {"no final CRLF under DATA gets one",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PLAIN},
      {"MAIL FROM:<s@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<one@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<two@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<three@x.example>\r\n", "250 ok\r\n"},
      {"DATA\r\n", "354 go\r\n"},
      {"\r\n.\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 250:2.0.0 250:2.0.0",
     "\r\nend\r\n.\r\nQUIT",
     .no_final_crlf = true},
    {"HELO when EHLO is unknown",
     {{"", GREET},
      {"EHLO me\r\n", "500 what\r\n"},
      {"HELO me\r\n", "250 hi\r\n"},
      {"MAIL FROM:<s@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<one@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<two@x.example>\r\n", "250 ok\r\n"},
      {"RCPT TO:<three@x.example>\r\n", "250 ok\r\n"},
      {"DATA\r\n", "354 go\r\n"},
      {"\r\n.\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 250:2.0.0 250:2.0.0",
     NULL},
    {"LMTP gives every recipient its own reply",
     {{"", GREET},
      {"LHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n"},
      {"\r\n.\r\n", "250 2.1.5 ok\r\n452 4.2.2 over quota\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.1.5 550:5.1.1 452:4.2.2",
     NULL,
     .lmtp = true},
    {"greeting refuses", {{"", "554 5.3.2 no service\r\n"}}, "P:5", NULL},
    {"greeting is not SMTP", {{"", "SSH-2.0-OpenSSH\r\n"}}, "P:t", NULL},
    {"421 in the middle",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n250 ok\r\n421 4.3.2 shutting down\r\n"}},
     "421:4.3.2 421:4.3.2 421:4.3.2",
     NULL},
    {"552 to RCPT is temporary",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"DATA\r\n", "250 ok\r\n250 ok\r\n552 too many\r\n250 ok\r\n354 go\r\n"},
      {"\r\n.\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "250:2.0.0 552:4.0.0 250:2.0.0",
     NULL},
    {"too large for the next hop",
     {{"", GREET}, {"EHLO me\r\n", "250-hi\r\n250 SIZE 10\r\n"}, {"QUIT\r\n", "221 bye\r\n"}},
     "0:5.3.4 0:5.3.4 0:5.3.4",
     "EHLO me\r\nQUIT"},
    {"one address needs SMTPUTF8",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PIPE},
      {"RCPT TO:<two@x.example>\r\nRCPT TO:<three@x.example>\r\nDATA\r\n",
       "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"},
      {"\r\n.\r\n", "250 ok\r\n"},
      {"QUIT\r\n", "221 bye\r\n"}},
     "0:5.6.7 250:2.0.0 250:2.0.0",
     NULL,
     .address1 = "\xc3\xa4@x.example"},
    {"reply to nothing",
     {{"", GREET},
      {"EHLO me\r\n", EHLO_PLAIN},
      {"MAIL FROM:<s@x.example>\r\n",
       "250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"}},
     NULL,
     NULL},
};

struct run {
    struct cli *cli;
    char sent[65536];
    size_t sent_len;
    char input[8192];
    size_t input_len, input_shown, input_used;
    unsigned turn;
    struct outcome outcomes[RCPTS];
    unsigned count[RCPTS];
    bool begun, closed, done, problem;
    struct envelope env;
    struct envelope_rcpt rcpts[RCPTS];
    struct cli_message msg;
    uint8_t states[RCPTS];
    size_t body_at;
};

static const char body[] = "Subject: x\r\n\r\n.dot\r\nend\r\n";

static struct run *run_new(const struct dialogue *d)
{
    static const uint32_t index[RCPTS] = {0, 1, 2};
    static struct run run;
    static struct cli_conf conf;
    void *cli = run.cli != NULL ? run.cli : calloc(1, cli_bytes());
    memset(&run, 0, sizeof run);
    run.cli = cli;
    conf = (struct cli_conf){
        .ehlo_name = SLICE_LITERAL("me"), .lmtp = d->lmtp, .tls = CLI_TLS_OPPORTUNISTIC};
    cli_init(run.cli, &conf);
    run.env.sender = SLICE_LITERAL("s@x.example");
    run.rcpts[0].address = slice_of_text(d->address1 != NULL ? d->address1 : "one@x.example");
    run.rcpts[1].address = SLICE_LITERAL("two@x.example");
    run.rcpts[2].address = SLICE_LITERAL("three@x.example");
    run.env.rcpts = run.rcpts;
    run.env.rcpt_count = RCPTS;
    run.msg = (struct cli_message){.env = &run.env, .rcpts = index, .rcpt_count = RCPTS};
    run.msg.content_bytes = d->only_asks ? 0 : sizeof body - 1 - (d->no_final_crlf ? 2 : 0);
    run.msg.only_asks = d->only_asks;
    return &run;
}

static void serve(struct run *run, const struct dialogue *d)
{
    const struct turn *turn = &d->turns[run->turn];
    if (run->turn == TURNS_MAX || turn->say == NULL) {
        return;
    }
    size_t len = strlen(turn->want);
    if (run->sent_len >= len && memcmp(run->sent + run->sent_len - len, turn->want, len) == 0) {
        cr_assert_lt(run->input_len + strlen(turn->say), sizeof run->input);
        memcpy(run->input + run->input_len, turn->say, strlen(turn->say));
        run->input_len += strlen(turn->say);
        run->turn++;
    }
}

static void take_outcome(struct run *run)
{
    const struct outcome *o = cli_outcome(run->cli);
    cr_assert_lt(o->rcpt, RCPTS);
    run->outcomes[o->rcpt] = *o;
    run->count[o->rcpt]++;
}

/* One call of the engine with the input shown so far; false when it waits. */
static bool step(struct run *run, size_t room)
{
    uint8_t buf[16384];
    struct writer out = writer_init(buf, room);
    struct slice in = slice_of(run->input + run->input_used, run->input_shown - run->input_used);
    size_t before = in.len;
    enum cli_act act = cli_next(run->cli, &in, &out);
    bool more = true;
    run->input_used += before - in.len;
    if (act == CLI_READY) {
        if (run->begun) {
            cli_quit(run->cli);
        } else {
            run->begun = true;
            cli_begin(run->cli, &run->msg, run->states);
        }
    } else if (act == CLI_BODY) {
        size_t piece = 1 + (size_t)rand() % 9;
        size_t left = run->msg.content_bytes - run->body_at;
        run->body_at +=
            cli_body(run->cli, slice_of(body + run->body_at, piece < left ? piece : left), &out);
    } else if (act == CLI_OUTCOME) {
        take_outcome(run);
    } else if (act == CLI_DONE) {
        run->done = true;
    } else if (act == CLI_CLOSE) {
        run->closed = true;
        run->problem = cli_problem(run->cli) != NULL;
        more = false;
    } else {
        more = act == CLI_FLUSH;
    }
    cr_assert_lt(run->sent_len + out.len, sizeof run->sent);
    memcpy(run->sent + run->sent_len, buf, out.len);
    run->sent_len += out.len;
    return more;
}

/* chunk: how many bytes of input become visible at a time. */
static void play(struct run *run, const struct dialogue *d, size_t chunk, size_t cut_at)
{
    for (unsigned guard = 0; !run->closed && guard < 100000; guard++) {
        while (!run->closed && step(run, 8192)) {
        }
        serve(run, d);
        if (run->input_shown == run->input_len || (cut_at > 0 && run->input_shown >= cut_at)) {
            if (run->turn < TURNS_MAX && d->turns[run->turn].say != NULL &&
                run->input_shown < cut_at) {
                continue;
            }
            if (cut_at > 0 || d->turns[run->turn].say == NULL) {
                cli_lost(run->cli, MX_ERR_RESET);
                while (!run->closed && step(run, 8192)) {
                }
                return;
            }
            cr_assert_fail("%s: stuck in turn %u after: %.200s", d->name, run->turn,
                           run->sent + (run->sent_len > 200 ? run->sent_len - 200 : 0));
        }
        size_t left = run->input_len - run->input_shown;
        run->input_shown += chunk < left ? chunk : left;
    }
}

static void expect_outcomes(const struct run *run, const struct dialogue *d)
{
    char text[RESULT_BYTES] = "";
    size_t len = 0;
    if (d->outcomes == NULL) {
        return;
    }
    if (d->outcomes[0] == 'P') {
        cr_assert(run->problem, "%s", d->name);
        return;
    }
    for (unsigned i = 0; i < RCPTS; i++) {
        const struct outcome *o = &run->outcomes[i];
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u:%u.%u.%u", i ? " " : "",
                                o->code, o->status[0], o->status[1], o->status[2]);
    }
    cr_assert_str_eq(text, d->outcomes, "%s: %s", d->name, text);
    cr_assert(run->done, "%s", d->name);
    if (d->sent != NULL) {
        char sent[sizeof run->sent];
        memcpy(sent, run->sent, run->sent_len);
        sent[run->sent_len] = '\0';
        cr_assert_not_null(strstr(sent, d->sent), "%s: %s", d->name, sent);
    }
}

static void one_outcome_each(const struct run *run, const struct dialogue *d)
{
    for (unsigned i = 0; run->begun && i < RCPTS; i++) {
        cr_assert_eq(run->count[i], 1, "%s: recipient %u has %u outcomes", d->name, i,
                     run->count[i]);
    }
}

Test(cli_engine, dialogues_in_pieces_of_every_size)
{
    srand(5);
    for (size_t i = 0; i < mx_countof(dialogues); i++) {
        const struct dialogue *d = &dialogues[i];
        for (size_t chunk = 1; chunk < 200; chunk += chunk < 40 ? 1 : 37) {
            struct run *run = run_new(d);
            play(run, d, chunk, 0);
            cr_assert(run->closed, "%s", d->name);
            expect_outcomes(run, d);
            one_outcome_each(run, d);
        }
    }
}

/* The connection is lost at every byte of the server's output. */
Test(cli_engine, connection_lost_at_every_byte)
{
    srand(6);
    for (size_t i = 0; i < mx_countof(dialogues); i++) {
        const struct dialogue *d = &dialogues[i];
        size_t total = 0;
        for (unsigned t = 0; t < TURNS_MAX && d->turns[t].say != NULL; t++) {
            total += strlen(d->turns[t].say);
        }
        for (size_t cut = 1; cut < total; cut++) {
            struct run *run = run_new(d);
            play(run, d, 1, cut);
            cr_assert(run->closed, "%s cut at %zu", d->name, cut);
            one_outcome_each(run, d);
        }
    }
}

/* Garbage from the server at any point: every recipient still gets exactly one outcome. */
Test(cli_engine, garbage)
{
    srand(8);
    for (unsigned round = 0; round < 3000; round++) {
        const struct dialogue *d = &dialogues[(size_t)rand() % mx_countof(dialogues)];
        struct run *run = run_new(d);
        for (unsigned guard = 0; !run->closed && guard < 3000; guard++) {
            while (!run->closed && step(run, 8192)) {
            }
            serve(run, d);
            if (run->input_shown < run->input_len) {
                size_t n = 1 + (size_t)rand() % 5, left = run->input_len - run->input_shown;
                for (size_t k = 0; k < (n < left ? n : left); k++) {
                    if (rand() % 60 == 0) {
                        run->input[run->input_shown + k] = (char)rand();
                    }
                }
                run->input_shown += n < left ? n : left;
            } else {
                cli_lost(run->cli, MX_ERR_TIMEOUT);
            }
        }
        cr_assert(run->closed);
        one_outcome_each(run, d);
    }
}

Test(cli_engine, a_reply_without_end_is_refused)
{
    const struct dialogue *d = &dialogues[0];
    struct run *run = run_new(d);
    memset(run->input, 'x', 5000);
    run->input_len = run->input_shown = 5000;
    while (!run->closed && step(run, 8192)) {
    }
    cr_assert(run->closed);
    cr_assert(run->problem);
}

Test(cli_engine, dot_stuffing_at_every_split)
{
    static const char content[] = ".\r\n..\r\na.\r\n.\r.\n\r\n.";
    static const char wanted[] = "..\r\n...\r\na.\r\n..\r.\n\r\n..\r\n.\r\n";
    for (size_t split = 0; split < sizeof content; split++) {
        struct run *run = run_new(&dialogues[0]);
        const char *before[] = {GREET,        EHLO_PLAIN,   "250 ok\r\n", "250 ok\r\n",
                                "250 ok\r\n", "250 ok\r\n", "354 go\r\n"};
        run->msg.content_bytes = sizeof content - 1;
        uint8_t buf[16384];
        struct writer out = writer_init(buf, sizeof buf);
        size_t at = 0, start = 0;
        for (size_t i = 0; i < mx_countof(before); i++) {
            struct slice in = slice_of_text(before[i]);
            enum cli_act act;
            while ((act = cli_next(run->cli, &in, &out)) == CLI_READY) {
                cli_begin(run->cli, &run->msg, run->states);
            }
            start = out.len;
        }
        struct slice none = SLICE_EMPTY;
        while (cli_next(run->cli, &none, &out) == CLI_BODY) {
            size_t end = at < split ? split : sizeof content - 1;
            at += cli_body(run->cli, slice_of(content + at, end - at), &out);
        }
        cr_assert(slice_equal(slice_from(writer_slice(&out), start), SLICE_LITERAL(wanted)),
                  "split %zu: %.*s", split, (int)(out.len - start), buf + start);
    }
}
