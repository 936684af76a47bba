/* What the client says, parameter by parameter, and the ends of a session that the dialogues do not
 * reach. */
#include "smtp/cli_engine.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define EHLO_ALL                                                              \
    "250-hi\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n" \
    "250-BINARYMIME\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250 SIZE 5000\r\n"

static const uint32_t both[2] = {0, 1};

struct session {
    struct cli *cli;
    uint8_t said[16384];
    struct writer out;
    uint8_t states[2];
    struct outcome outcomes[2];
    unsigned count[2];
    enum cli_act act;
};

static struct session *session_new(struct cli_conf conf)
{
    struct session *s = calloc(1, sizeof *s);
    s->cli = calloc(1, cli_bytes());
    s->out = writer_init(s->said, sizeof s->said);
    conf.ehlo_name = SLICE_LITERAL("me");
    cli_init(s->cli, &conf);
    return s;
}

static void session_free(struct session *s)
{
    free(s->cli);
    free(s);
}

/* Until the engine wants something that is not an outcome to note. */
static enum cli_act hear(struct session *s, const char *text)
{
    struct slice in = slice_of_text(text);
    s->out = writer_init(s->said, sizeof s->said);
    while ((s->act = cli_next(s->cli, &in, &s->out)) == CLI_OUTCOME) {
        const struct outcome *o = cli_outcome(s->cli);
        s->outcomes[o->rcpt] = *o;
        s->count[o->rcpt]++;
    }
    return s->act;
}

static enum cli_act begin(struct session *s, const struct cli_message *msg)
{
    cr_assert_eq(s->act, CLI_READY);
    cli_begin(s->cli, msg, s->states);
    return hear(s, "");
}

static void expect_said(const struct session *s, const char *text)
{
    cr_assert(slice_equal(writer_slice(&s->out), slice_of_text(text)), "%.*s", (int)s->out.len,
              s->said);
}

static void expect_outcomes(const struct session *s, enum outcome_kind kind, uint8_t subject,
                            uint8_t detail)
{
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(s->count[i] == 1 && s->outcomes[i].kind == kind, "%u: %u times", i, s->count[i]);
        cr_assert(s->outcomes[i].status[1] == subject && s->outcomes[i].status[2] == detail);
    }
}

Test(cli_commands, every_parameter)
{
    struct envelope_rcpt rcpts[] = {
        {.address = SLICE_LITERAL("\xc3\xa4@x.example"),
         .params = {.notify = NOTIFY_NEVER, .orcpt = SLICE_LITERAL("rfc822;a+40b")}},
        {.address = SLICE_LITERAL("b@x.example"),
         .params = {.notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY}}};
    struct envelope env = {.sender = SLICE_LITERAL("s@x.example"), .rcpts = rcpts, .rcpt_count = 2};
    env.mail = (struct mail_params){
        .body = BODY_BINARYMIME, .ret = RET_FULL, .smtputf8 = true, .envid = SLICE_LITERAL("a=b")};
    struct cli_message msg = {.env = &env, .rcpts = both, .rcpt_count = 2, .content_bytes = 10};
    struct session *s = session_new((struct cli_conf){0});
    cr_assert_eq(hear(s, "220 hi\r\n"), CLI_INPUT);
    cr_assert_eq(hear(s, EHLO_ALL), CLI_READY);
    const struct cli_extensions *ext = cli_extensions(s->cli);
    cr_assert(ext->dsn && ext->binarymime && ext->chunking && ext->size_max == 5000);
    cr_assert_eq(cli_phase(s->cli), CLI_PHASE_IDLE);
    cr_assert_eq(begin(s, &msg), CLI_INPUT);
    expect_said(s, "MAIL FROM:<s@x.example> SIZE=10 BODY=BINARYMIME SMTPUTF8 RET=FULL "
                   "ENVID=a+3Db\r\n"
                   "RCPT TO:<\xc3\xa4@x.example> NOTIFY=NEVER ORCPT=rfc822;a+40b\r\n"
                   "RCPT TO:<b@x.example> NOTIFY=SUCCESS,FAILURE,DELAY\r\n");
    session_free(s);
    /* The same as far as a server knows it. */
    env.mail = (struct mail_params){.body = BODY_8BITMIME, .ret = RET_HDRS};
    rcpts[0].address = SLICE_LITERAL("a@x.example");
    s = session_new((struct cli_conf){0});
    hear(s, "220 hi\r\n");
    hear(s, "250-hi\r\n250-8BITMIME\r\n250 DSN\r\n");
    begin(s, &msg);
    expect_said(s, "MAIL FROM:<s@x.example> BODY=8BITMIME RET=HDRS\r\n");
    session_free(s);
    s = session_new((struct cli_conf){0});
    hear(s, "220 hi\r\n");
    hear(s, "250 hi\r\n");
    begin(s, &msg);
    expect_said(s, "MAIL FROM:<s@x.example>\r\n");
    session_free(s);
}

/* RFC 6533 section 3: who does not know SMTPUTF8 gets the original recipient in ASCII. */
Test(cli_commands, original_recipient_in_ascii)
{
    struct envelope_rcpt rcpts[] = {
        {.address = SLICE_LITERAL("a@x.example"),
         .params = {.orcpt = SLICE_LITERAL("utf-8;\xc3\xa4+40x.example")}},
        {.address = SLICE_LITERAL("b@x.example")}};
    struct envelope env = {.sender = SLICE_LITERAL("s@x.example"), .rcpts = rcpts, .rcpt_count = 2};
    struct cli_message msg = {.env = &env, .rcpts = both, .rcpt_count = 2, .content_bytes = 10};
    struct session *s = session_new((struct cli_conf){0});
    hear(s, "220 hi\r\n");
    hear(s, "250-hi\r\n250-PIPELINING\r\n250 DSN\r\n");
    begin(s, &msg);
    expect_said(s, "MAIL FROM:<s@x.example>\r\n"
                   "RCPT TO:<a@x.example> ORCPT=utf-8;\\x{E4}+40x.example\r\n"
                   "RCPT TO:<b@x.example>\r\nDATA\r\n");
    session_free(s);
}

Test(cli_commands, binary_content_and_a_server_without_it)
{
    struct envelope_rcpt rcpts[] = {{.address = SLICE_LITERAL("a@x")},
                                    {.address = SLICE_LITERAL("b@x")}};
    struct envelope env = {.mail = {.body = BODY_BINARYMIME}, .rcpts = rcpts, .rcpt_count = 2};
    struct cli_message msg = {.env = &env, .rcpts = both, .rcpt_count = 2, .content_bytes = 10};
    struct session *s = session_new((struct cli_conf){0});
    hear(s, "220 hi\r\n");
    hear(s, "250-hi\r\n250 BINARYMIME\r\n"); /* without CHUNKING it cannot be sent */
    cr_assert_eq(begin(s, &msg), CLI_DONE);
    expect_said(s, "");
    expect_outcomes(s, OUTCOME_PERMANENT, 6, 1);
    cr_assert_eq(hear(s, ""), CLI_READY);
    session_free(s);
}

Test(cli_commands, required_tls_that_is_not_offered)
{
    struct session *s = session_new((struct cli_conf){.tls = CLI_TLS_REQUIRED});
    hear(s, "220 hi\r\n");
    cr_assert_eq(hear(s, "250 hi\r\n"), CLI_CLOSE);
    cr_assert(cli_problem(s->cli)->status[1] == 7 && cli_problem(s->cli)->host_fault);
    session_free(s);
    /* Offered, but refused when it is asked for. */
    s = session_new((struct cli_conf){.tls = CLI_TLS_REQUIRED});
    hear(s, "220 hi\r\n");
    hear(s, "250-hi\r\n250 STARTTLS\r\n");
    expect_said(s, "STARTTLS\r\n");
    cr_assert_eq(hear(s, "454 4.7.0 not now\r\n"), CLI_CLOSE);
    session_free(s);
    /* Opportunistic: goes on in clear. */
    s = session_new((struct cli_conf){.tls = CLI_TLS_OPPORTUNISTIC});
    hear(s, "220 hi\r\n");
    hear(s, "250-hi\r\n250 STARTTLS\r\n");
    cr_assert_eq(hear(s, "454 4.7.0 not now\r\n"), CLI_READY);
    session_free(s);
}

static struct session *until_envelope(struct envelope *env, struct cli_message *msg,
                                      const char *ehlo)
{
    static const struct envelope_rcpt rcpts[] = {{.address = SLICE_LITERAL("a@x")},
                                                 {.address = SLICE_LITERAL("b@x")}};
    *env = (struct envelope){.rcpts = rcpts, .rcpt_count = 2};
    *msg = (struct cli_message){.env = env, .rcpts = both, .rcpt_count = 2, .content_bytes = 10};
    struct session *s = session_new((struct cli_conf){0});
    hear(s, "220 hi\r\n");
    hear(s, ehlo);
    begin(s, msg);
    return s;
}

Test(cli_commands, lock_step_without_a_recipient_sends_no_data)
{
    struct envelope env;
    struct cli_message msg;
    struct session *s = until_envelope(&env, &msg, "250 hi\r\n");
    hear(s, "250 ok\r\n");
    hear(s, "550 5.1.1 no\r\n");
    cr_assert_eq(hear(s, "550 5.1.1 no\r\n"), CLI_INPUT);
    expect_said(s, "RSET\r\n");
    expect_outcomes(s, OUTCOME_PERMANENT, 1, 1);
    cr_assert_eq(cli_phase(s->cli), CLI_PHASE_RSET);
    cr_assert_eq(hear(s, "250 ok\r\n"), CLI_DONE);
    session_free(s);
}

/* Whoever reads it has to know what was waited for. */
Test(cli_commands, a_lost_connection_says_where)
{
    static const struct {
        const char *heard[4];
        const char *text;
    } rows[] = {
        {{NULL}, "timed out while waiting for the reply to MAIL"},
        {{"250 ok\r\n"}, "timed out while waiting for the reply to RCPT"},
        {{"250 ok\r\n", "250 ok\r\n", "250 ok\r\n"},
         "timed out while waiting for the reply to DATA"},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct envelope env;
        struct cli_message msg;
        struct session *s = until_envelope(&env, &msg, "250 hi\r\n");
        for (unsigned k = 0; k < 4 && rows[i].heard[k] != NULL; k++) {
            hear(s, rows[i].heard[k]);
        }
        cli_lost(s->cli, MX_ERR_TIMEOUT);
        struct slice in = SLICE_EMPTY;
        cr_assert_eq(cli_next(s->cli, &in, &s->out), CLI_OUTCOME);
        struct slice text = cli_outcome(s->cli)->text;
        cr_expect(slice_equal(text, slice_of_text(rows[i].text)), "%.*s", SLICE_ARGS(text));
        session_free(s);
    }
}

/* Everything is decided: it had the ten minutes of the end of data. */
Test(cli_commands, reset_has_little_time)
{
    cr_assert_leq(cli_phase_timeout_ms(CLI_PHASE_RSET), 30000);
    cr_assert_leq(cli_phase_timeout_ms(CLI_PHASE_QUIT), 30000);
    cr_assert_geq(cli_phase_timeout_ms(CLI_PHASE_END), 600000);
}

/* It replies before it has all, and stays: what it says then is read when all is out. */
Test(cli_commands, reply_before_the_end_of_the_content)
{
    static const struct {
        const char *said;
        uint16_t code;
        enum outcome_kind kind;
    } rows[] = {{"552 5.3.4 too big\r\n", 552, OUTCOME_PERMANENT},
                {"451 4.3.0 later\r\n", 451, OUTCOME_TEMPORARY},
                {"250 2.0.0 taken\r\n", 0, OUTCOME_TEMPORARY}}; /* it cannot have it */
    uint8_t content[10] = {'x'};
    for (size_t i = 0; i < mx_countof(rows) * 2; i++) {
        struct envelope env;
        struct cli_message msg;
        struct session *s = until_envelope(&env, &msg, "250-hi\r\n250 PIPELINING\r\n");
        cr_assert_eq(hear(s, "250 a\r\n250 b\r\n250 c\r\n354 go\r\n"), CLI_BODY);
        cli_spoke_early(s->cli);
        cr_assert_eq(cli_body(s->cli, slice_of(content, sizeof content), &s->out), 10);
        cr_assert_eq(hear(s, ""), CLI_INPUT);
        cr_assert_eq(cli_phase(s->cli), CLI_PHASE_END);
        if (i < mx_countof(rows)) {
            cr_assert_eq(hear(s, rows[i].said), CLI_DONE);
        } else { /* the connection ends before that */
            cli_hung_up(s->cli, MX_ERR_RESET, slice_of_text(rows[i - mx_countof(rows)].said));
            cr_assert_eq(hear(s, ""), CLI_DONE);
        }
        for (unsigned k = 0; k < 2; k++) {
            const struct outcome *o = &s->outcomes[k];
            cr_assert(s->count[k] == 1 && o->kind == rows[i % mx_countof(rows)].kind);
            cr_assert_eq(o->code, rows[i % mx_countof(rows)].code);
        }
        cr_assert_eq(hear(s, ""), CLI_CLOSE);
        session_free(s);
    }
}

/* One reply too many would be taken for that to the next MAIL, and so on. */
Test(cli_commands, unasked_reply_ends_the_session)
{
    uint8_t content[10] = {'x'};
    struct envelope env;
    struct cli_message msg;
    struct session *s = until_envelope(&env, &msg, "250-hi\r\n250 PIPELINING\r\n");
    cr_assert_eq(hear(s, "250 a\r\n250 b\r\n250 c\r\n354 go\r\n"), CLI_BODY);
    cr_assert_eq(cli_body(s->cli, slice_of(content, sizeof content), &s->out), 10);
    cr_assert_eq(hear(s, "250 taken\r\n250 taken\r\n"), CLI_DONE);
    cli_spoke_unasked(s->cli);
    cr_assert(s->count[0] == 1 && s->outcomes[0].kind == OUTCOME_DELIVERED);
    cr_assert_eq(hear(s, "250 taken\r\n"), CLI_CLOSE);
    session_free(s);
}

/* A server that does not forget the transaction refuses the next one. */
Test(cli_commands, refused_reset_ends_the_session)
{
    struct envelope env;
    struct cli_message msg;
    static const char *const replies[] = {"500 5.5.2 what?\r\n", "450 4.3.0 not now\r\n"};
    for (size_t i = 0; i < mx_countof(replies); i++) {
        struct session *s = until_envelope(&env, &msg, "250 hi\r\n");
        hear(s, "250 ok\r\n");
        hear(s, "450 4.2.1 no\r\n");
        cr_assert_eq(hear(s, "450 4.2.1 no\r\n"), CLI_INPUT);
        expect_said(s, "RSET\r\n");
        cr_assert_eq(hear(s, replies[i]), CLI_DONE);
        expect_outcomes(s, OUTCOME_TEMPORARY, 2, 1);
        cr_assert_eq(hear(s, ""), CLI_CLOSE);
        session_free(s);
    }
}

/* The connection goes while the outcomes are being told: they stay as they are. */
Test(cli_commands, lost_behind_the_final_reply)
{
    struct envelope env;
    struct cli_message msg;
    struct session *s = until_envelope(&env, &msg, "250-hi\r\n250 PIPELINING\r\n");
    uint8_t content[10] = {'x'};
    cr_assert_eq(hear(s, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"), CLI_BODY);
    cr_assert_eq(cli_phase(s->cli), CLI_PHASE_BODY);
    cr_assert_eq(cli_body(s->cli, slice_of(content, sizeof content), &s->out), 10);
    hear(s, "");
    struct slice in = SLICE_LITERAL("250 2.0.0 taken\r\n");
    cr_assert_eq(cli_next(s->cli, &in, &s->out), CLI_OUTCOME);
    s->outcomes[0] = *cli_outcome(s->cli);
    s->count[0]++;
    cli_lost(s->cli, MX_ERR_RESET);
    cr_assert_eq(hear(s, ""), CLI_DONE);
    expect_outcomes(s, OUTCOME_DELIVERED, 0, 0);
    cr_assert_eq(hear(s, ""), CLI_CLOSE);
    cr_assert_eq(cli_phase(s->cli), CLI_PHASE_QUIT);
    session_free(s);
}

Test(cli_commands, a_full_writer_is_flushed_first)
{
    struct session *s = session_new((struct cli_conf){0});
    struct slice in = SLICE_LITERAL("220 hi\r\n");
    uint8_t small[64];
    struct writer out = writer_init(small, sizeof small);
    cr_assert_eq(cli_next(s->cli, &in, &out), CLI_FLUSH);
    cr_assert(in.len == 8 && out.len == 0);
    session_free(s);
}

/* Says why before it has all, and hangs up. */
Test(cli_commands, hung_up_with_a_reason)
{
    static const struct {
        const char *said;
        uint16_t code;
        enum outcome_kind kind;
    } rows[] = {{"552-5.3.4 too\r\n552 5.3.4 big\r\n", 552, OUTCOME_PERMANENT},
                {"451 4.3.0 later\r\n", 451, OUTCOME_TEMPORARY},
                {"250 2.0.0 taken\r\n", 0, OUTCOME_TEMPORARY}, /* it cannot have it */
                {"552-5.3.4 too\r\n", 0, OUTCOME_TEMPORARY},
                {"552 5.3.4 too big", 0, OUTCOME_TEMPORARY},
                {"what?\r\n", 0, OUTCOME_TEMPORARY},
                {"", 0, OUTCOME_TEMPORARY}};
    struct envelope_rcpt rcpts[] = {{.address = SLICE_LITERAL("a@x.example")},
                                    {.address = SLICE_LITERAL("b@x.example")}};
    struct envelope env = {.sender = SLICE_LITERAL("s@x.example"), .rcpts = rcpts, .rcpt_count = 2};
    struct cli_message msg = {.env = &env, .rcpts = both, .rcpt_count = 2, .content_bytes = 100};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct session *s = session_new((struct cli_conf){0});
        hear(s, "220 hi\r\n");
        hear(s, "250-hi\r\n250 PIPELINING\r\n");
        begin(s, &msg);
        cr_assert_eq(hear(s, "250 a\r\n250 b\r\n250 c\r\n354 go\r\n"), CLI_BODY);
        cli_hung_up(s->cli, MX_ERR_RESET, slice_of_text(rows[i].said));
        cr_assert_eq(hear(s, ""), CLI_DONE);
        for (unsigned k = 0; k < 2; k++) {
            cr_assert_eq(s->count[k], 1, "row %zu", i);
            cr_assert_eq(s->outcomes[k].code, rows[i].code, "row %zu", i);
            cr_assert_eq(s->outcomes[k].kind, rows[i].kind, "row %zu", i);
        }
        cr_assert_eq(hear(s, ""), CLI_CLOSE);
        session_free(s);
    }
    struct session *s = session_new((struct cli_conf){0}); /* nothing is under way */
    hear(s, "220 hi\r\n");
    cli_hung_up(s->cli, MX_ERR_RESET, SLICE_LITERAL("552 no\r\n"));
    cr_assert_eq(hear(s, ""), CLI_CLOSE);
    cr_assert(slice_equal(
        cli_problem(s->cli)->text,
        SLICE_LITERAL("connection reset by the peer while waiting for the reply to EHLO")));
    session_free(s);
}
