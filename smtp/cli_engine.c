#include "smtp/cli_engine.h"

#include "core/check.h"
#include "smtp/cli_private.h"

size_t cli_bytes(void)
{
    return sizeof(struct cli);
}

void cli_enter(struct cli *cli, enum cli_state state)
{
    cli->state = state;
    cli->command_due = state == CLI_ST_EHLO || state == CLI_ST_HELO || state == CLI_ST_STARTTLS ||
                       state == CLI_ST_RSET || state == CLI_ST_QUIT || state == CLI_ST_EMPTY_END;
}

void cli_init(struct cli *cli, const struct cli_conf *conf)
{
    memset(cli, 0, sizeof *cli);
    cli->conf = *conf;
    reply_parse_reset(&cli->reply);
    cli_enter(cli, CLI_ST_GREETING);
}

const struct outcome *cli_outcome(const struct cli *cli)
{
    return &cli->outcome;
}

const struct outcome *cli_problem(const struct cli *cli)
{
    return cli->has_problem ? &cli->problem : NULL;
}

const struct cli_extensions *cli_extensions(const struct cli *cli)
{
    return &cli->ext;
}

bool cli_tried_tls(const struct cli *cli)
{
    return cli->tls_tried;
}

/* --- outcomes ----------------------------------------------------------------------------------
 */

static enum outcome_kind kind_of(uint16_t code)
{
    return code / 100 == 2   ? OUTCOME_DELIVERED
           : code / 100 == 5 ? OUTCOME_PERMANENT
                             : OUTCOME_TEMPORARY;
}

struct outcome cli_outcome_of_reply(const struct cli *cli, const char *command)
{
    const struct reply_parse *r = &cli->reply;
    struct outcome o = {.kind = kind_of(r->code),
                        .code = r->code,
                        .text = slice_of(r->text, r->text_len),
                        .command = slice_of_text(command)};
    o.status[0] = r->status[0];
    o.status[1] = r->status[1];
    o.status[2] = r->status[2];
    if (r->code / 100 == 3) { /* a go-ahead that was not asked for */
        o.status[0] = 4;
    }
    o.host_fault = r->code == 421;
    return o;
}

struct outcome cli_own_outcome(enum outcome_kind kind, uint8_t subject, uint8_t detail,
                               const char *text, const char *command)
{
    struct outcome o = {
        .kind = kind, .text = slice_of_text(text), .command = slice_of_text(command)};
    o.status[0] = kind == OUTCOME_PERMANENT ? 5 : 4;
    o.status[1] = subject;
    o.status[2] = detail;
    return o;
}

void cli_keep_outcome(struct outcome *to, uint8_t *text, const struct outcome *from)
{
    struct slice cut = slice_first(from->text, CLI_TEXT_MAX);
    if (cut.len > 0) {
        memmove(text, cut.ptr, cut.len);
    }
    *to = *from;
    to->text = slice_of(text, cut.len);
}

static bool in_transaction(const struct cli *cli)
{
    return cli->state >= CLI_ST_BEGIN && cli->state <= CLI_ST_EMIT;
}

void cli_decide_all(struct cli *cli, const struct outcome *o)
{
    cli_keep_outcome(&cli->verdict, cli->verdict_text, o);
    cli->emit_at = 0;
    cli_enter(cli, CLI_ST_EMIT);
}

void cli_fail_session(struct cli *cli, const struct outcome *o)
{
    cli->closing = true;
    if (!cli->has_problem && !cli->was_ready) {
        cli_keep_outcome(&cli->problem, cli->problem_text, o);
        cli->problem.kind =
            OUTCOME_TEMPORARY; /* a host is never refused for good by its greeting */
        cli->problem.status[0] = 4;
        cli->problem.host_fault = true;
        cli->has_problem = true;
    }
    if (in_transaction(cli)) {
        cli_decide_all(cli, o);
    } else if (cli->state != CLI_ST_DONE) {
        cli_enter(cli, CLI_ST_CLOSED);
    }
}

void cli_lost(struct cli *cli, mx_err err)
{
    char text[CLI_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    struct outcome o = cli_own_outcome(OUTCOME_TEMPORARY, 4, 2, "", "connection");
    put_text(&w, err_text(err));
    put_char(&w, ' ');
    put_text(&w, cli_phase_text(cli));
    o.text = writer_slice(&w);
    o.host_fault = true;
    if (cli->state == CLI_ST_EMIT || cli->state == CLI_ST_DONE) {
        cli->closing = true; /* the outcome is known already */
        return;
    }
    cli_fail_session(cli, &o);
}

void cli_spoke_early(struct cli *cli)
{
    cli->early = true;
}

void cli_spoke_unasked(struct cli *cli)
{
    MX_ASSERT(cli->state == CLI_ST_READY || cli->state == CLI_ST_CLOSED);
    cli_enter(cli, CLI_ST_CLOSED);
}

void cli_hung_up(struct cli *cli, mx_err err, struct slice rest)
{
    struct slice text;
    bool counts = cli->state == CLI_ST_BODY || (cli->state == CLI_ST_END && cli->early);
    enum reply_event event = counts ? REPLY_LINE : REPLY_MORE;
    if (event == REPLY_LINE) {
        reply_parse_reset(&cli->reply);
    }
    while (event == REPLY_LINE) {
        event = reply_parse_next(&cli->reply, &rest, &text);
    }
    if (event == REPLY_LAST && (cli->reply.code / 100 == 4 || cli->reply.code / 100 == 5)) {
        struct outcome o = cli_outcome_of_reply(cli, cli->chunked ? "BDAT" : "DATA");
        cli_fail_session(cli, &o);
    } else {
        cli_lost(cli, err);
    }
}

/* --- the transaction ---------------------------------------------------------------------------
 */

void cli_begin(struct cli *cli, const struct cli_message *msg, uint8_t *rcpt_states)
{
    MX_ASSERT(cli->state == CLI_ST_READY && msg->rcpt_count > 0);
    cli->msg = *msg;
    cli->states = rcpt_states;
    memset(rcpt_states, RCPT_OPEN, msg->rcpt_count);
    cli->sent = 0;
    cli->answered = 0;
    cli->accepted = 0;
    cli->emit_at = 0;
    cli->lmtp_at = 0;
    cli->mail_refused = false;
    cli->body_begun = false;
    cli->needs_rset = false;
    cli->early = false;
    cli->body_left = msg->content_bytes;
    cli->line_start = true;
    cli->after_cr = false;
    cli->chunked = cli->ext.chunking;
    cli_enter(cli, CLI_ST_BEGIN);
}

void cli_quit(struct cli *cli)
{
    MX_ASSERT(cli->state == CLI_ST_READY);
    cli_enter(cli, CLI_ST_QUIT);
}

enum cli_act cli_emit(struct cli *cli, uint32_t i, const struct outcome *o)
{
    cli->outcome = *o;
    cli->outcome.rcpt = cli->msg.rcpts[i];
    cli->states[i] = RCPT_DECIDED;
    return CLI_OUTCOME;
}

/* --- the machine -------------------------------------------------------------------------------
 */

static enum cli_act on_reply(struct cli *cli)
{
    if (cli->reply.code == 421 && cli->state != CLI_ST_QUIT && cli->state != CLI_ST_GREETING) {
        bool to_mail = cli->state == CLI_ST_ENVELOPE && cli->answered == 0;
        struct outcome o = cli_outcome_of_reply(cli, to_mail ? "MAIL FROM" : "session");
        cli_fail_session(cli, &o);
        return CLI_INPUT;
    }
    switch (cli->state) {
    case CLI_ST_GREETING:
        cli_on_greeting(cli);
        return CLI_INPUT;
    case CLI_ST_EHLO:
    case CLI_ST_HELO:
        cli_on_ehlo(cli);
        return CLI_INPUT;
    case CLI_ST_STARTTLS:
        cli_on_starttls(cli);
        return CLI_INPUT;
    case CLI_ST_ENVELOPE: {
        enum cli_act act = cli_on_envelope_reply(cli);
        cli_envelope_check(cli);
        return act;
    }
    case CLI_ST_END:
        return cli_on_final(cli);
    case CLI_ST_EMPTY_END:
        if (cli->mail_refused) {
            struct outcome o = cli->verdict;
            cli_decide_all(cli, &o);
            return CLI_INPUT;
        }
        cli_enter(cli, CLI_ST_DONE);
        return CLI_INPUT;
    case CLI_ST_RSET:
        /* RFC 5321 section 4.1.1.5 knows 250 alone: behind anything else the next MAIL may be
         * refused as nested, for good. */
        cli->closing = cli->closing || cli->reply.code / 100 != 2;
        cli_enter(cli, CLI_ST_DONE);
        return CLI_INPUT;
    case CLI_ST_QUIT:
    default:
        cli_enter(cli, CLI_ST_CLOSED);
        return CLI_INPUT;
    }
}

/* Reads replies while the state waits for some. True: *out_act is to be returned. */
static bool read_reply(struct cli *cli, struct slice *in, enum cli_act *out_act)
{
    struct slice text;
    if (cli->reply_complete) {
        reply_parse_reset(&cli->reply);
        cli->reply_complete = false;
    }
    bool first = cli->reply.lines == 0;
    enum reply_event event = reply_parse_next(&cli->reply, in, &text);
    if (event == REPLY_MORE) {
        *out_act = CLI_INPUT;
        return true;
    }
    if (event == REPLY_BAD) {
        struct outcome o = cli_own_outcome(OUTCOME_TEMPORARY, 5, 0,
                                           "the next hop does not speak SMTP", "protocol");
        o.host_fault = true;
        in->len = 0;
        cli_fail_session(cli, &o);
        return false;
    }
    if (cli->state == CLI_ST_EHLO && cli->reply.code / 100 == 2 && !first) {
        cli_extension_add(cli, text);
    }
    if (event == REPLY_LINE) {
        return false;
    }
    cli->reply_complete = true;
    cli->progress++;
    *out_act = on_reply(cli);
    return *out_act == CLI_OUTCOME;
}

static bool emit_next(struct cli *cli, enum cli_act *out_act)
{
    while (cli->emit_at < cli->msg.rcpt_count) {
        uint32_t i = cli->emit_at++;
        if (cli->states[i] != RCPT_DECIDED) {
            *out_act = cli_emit(cli, i, &cli->verdict);
            return true;
        }
    }
    cli_enter(cli, cli->needs_rset && !cli->closing ? CLI_ST_RSET : CLI_ST_DONE);
    return false;
}

static bool begin_next(struct cli *cli, enum cli_act *out_act)
{
    uint32_t i;
    struct outcome o;
    if (cli_sort_out(cli, &i, &o)) {
        *out_act = cli_emit(cli, i, &o);
        return true;
    }
    cli_enter(cli, cli_next_open(cli, 0) < cli->msg.rcpt_count ? CLI_ST_ENVELOPE : CLI_ST_DONE);
    return false;
}

/* One step; true: *out_act is to be returned. */
static bool step(struct cli *cli, struct slice *in, struct writer *out, enum cli_act *out_act)
{
    if (writer_room(out) < COMMAND_ROOM && cli->state != CLI_ST_EMIT && cli->state != CLI_ST_DONE) {
        *out_act = CLI_FLUSH;
        return true;
    }
    if (cli->command_due) {
        cli_put_state_command(cli, out);
    }
    switch (cli->state) {
    case CLI_ST_TLS:
        in->len = 0; /* nothing sent in clear behind the 220 counts */
        *out_act = CLI_START_TLS;
        return true;
    case CLI_ST_READY:
        *out_act = cli->closing ? CLI_CLOSE : CLI_READY;
        return true;
    case CLI_ST_BEGIN:
        return begin_next(cli, out_act);
    case CLI_ST_ENVELOPE:
        cli_send_commands(cli, out);
        return read_reply(cli, in, out_act);
    case CLI_ST_BODY:
        *out_act = cli_body_next(cli, out);
        return *out_act == CLI_BODY;
    case CLI_ST_EMIT:
        return emit_next(cli, out_act);
    case CLI_ST_DONE:
        cli_enter(cli, cli->closing ? CLI_ST_CLOSED : CLI_ST_READY);
        *out_act = CLI_DONE;
        return true;
    case CLI_ST_CLOSED:
        *out_act = CLI_CLOSE;
        return true;
    default:
        return read_reply(cli, in, out_act);
    }
}

enum cli_act cli_next(struct cli *cli, struct slice *in, struct writer *out)
{
    enum cli_act act = CLI_INPUT;
    while (!step(cli, in, out, &act)) {
    }
    return act;
}

uint64_t cli_progress(const struct cli *cli)
{
    return cli->progress;
}

enum cli_phase cli_phase(const struct cli *cli)
{
    switch (cli->state) {
    case CLI_ST_GREETING:
        return CLI_PHASE_GREETING;
    case CLI_ST_EHLO:
    case CLI_ST_HELO:
    case CLI_ST_STARTTLS:
    case CLI_ST_TLS:
        return CLI_PHASE_EHLO;
    case CLI_ST_BEGIN:
    case CLI_ST_ENVELOPE:
        return cli->answered == 0                     ? CLI_PHASE_MAIL
               : cli->answered <= cli->msg.rcpt_count ? CLI_PHASE_RCPT
                                                      : CLI_PHASE_DATA;
    case CLI_ST_BODY:
        return CLI_PHASE_BODY;
    case CLI_ST_END:
    case CLI_ST_EMPTY_END:
        return CLI_PHASE_END;
    case CLI_ST_RSET:
        return CLI_PHASE_RSET;
    case CLI_ST_QUIT:
    case CLI_ST_CLOSED:
        return CLI_PHASE_QUIT;
    default:
        return CLI_PHASE_IDLE;
    }
}

const char *cli_phase_text(const struct cli *cli)
{
    static const char *const texts[] = {
        [CLI_PHASE_GREETING] = "while waiting for the greeting",
        [CLI_PHASE_EHLO] = "while waiting for the reply to EHLO",
        [CLI_PHASE_MAIL] = "while waiting for the reply to MAIL",
        [CLI_PHASE_RCPT] = "while waiting for the reply to RCPT",
        [CLI_PHASE_DATA] = "while waiting for the reply to DATA",
        [CLI_PHASE_BODY] = "while the message was being sent",
        [CLI_PHASE_END] = "while waiting for the reply after the message",
        [CLI_PHASE_RSET] = "while waiting for the reply to RSET",
        [CLI_PHASE_IDLE] = "between messages",
        [CLI_PHASE_QUIT] = "at the end of the session",
    };
    return cli->state == CLI_ST_STARTTLS ? "while waiting for the reply to STARTTLS"
           : cli->state == CLI_ST_TLS    ? "in the TLS handshake"
                                         : texts[cli_phase(cli)];
}

uint64_t cli_phase_timeout_ms(enum cli_phase phase)
{
    /* RFC 5321 section 4.5.3.2, but no less than a dead host deserves. It knows none for RSET and
     * QUIT, which cost a server nothing, and behind which everything is decided: a dead connection
     * is to delay nobody. */
    static const uint64_t timeouts_ms[] = {
        [CLI_PHASE_GREETING] = 300000, [CLI_PHASE_EHLO] = 300000, [CLI_PHASE_MAIL] = 300000,
        [CLI_PHASE_RCPT] = 300000,     [CLI_PHASE_DATA] = 120000, [CLI_PHASE_BODY] = 180000,
        [CLI_PHASE_END] = 600000,      [CLI_PHASE_RSET] = 20000,  [CLI_PHASE_IDLE] = 30000,
        [CLI_PHASE_QUIT] = 10000,
    };
    return timeouts_ms[phase];
}
