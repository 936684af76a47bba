#include "smtp/cli_engine.h"

#include "core/check.h"
#include "core/text.h"
#include "smtp/reply_parse.h"
#include "smtp/xtext.h"

/* Legal paths: greeting -> ehlo (-> helo) (-> starttls -> tls -> ehlo) -> ready; then per
 * transaction: begin -> envelope -> (body -> end | rset) -> emit -> done -> ready; finally quit ->
 * closed. From anywhere a lost connection, a 421 or nonsense leads through emit (if a transaction
 * is open) to closed.
 *
 * In the envelope two cursors run over one list of commands: 0 = MAIL, 1..n = RCPT, n+1 = DATA.
 * `sent` runs ahead of `answered` by all that PIPELINING allows. With CHUNKING there is no DATA in
 * the list: the content of a message whose recipients are all refused would be sent for nothing. */
enum cli_state {
    CLI_ST_GREETING,  /* connected; the banner is awaited */
    CLI_ST_EHLO,      /* EHLO or LHLO is out */
    CLI_ST_HELO,      /* EHLO was refused; HELO is out */
    CLI_ST_STARTTLS,  /* STARTTLS is out */
    CLI_ST_TLS,       /* the pump does the handshake */
    CLI_ST_READY,     /* between transactions */
    CLI_ST_BEGIN,     /* a transaction was begun; recipients that cannot go are sorted out */
    CLI_ST_ENVELOPE,  /* commands leave, replies come */
    CLI_ST_BODY,      /* content leaves */
    CLI_ST_END,       /* the content is out; final replies are awaited */
    CLI_ST_EMPTY_END, /* 354 although no recipient was taken: "." is out */
    CLI_ST_RSET,      /* RSET is out */
    CLI_ST_EMIT,      /* the same outcome for all undecided recipients */
    CLI_ST_DONE,      /* CLI_DONE is to be told */
    CLI_ST_QUIT,      /* QUIT is out */
    CLI_ST_CLOSED,
};

enum rcpt_progress { RCPT_OPEN = 0, RCPT_ACCEPTED = 1, RCPT_DECIDED = 2 };

enum {
    COMMAND_ROOM = 2 * (ADDRESS_MAX + 3 * ORCPT_MAX), /* the longest command that we write */
    DIGITS_MAX = 20,
};

struct cli {
    struct cli_conf conf;
    enum cli_state state;
    bool command_due; /* the state's command is not written yet */
    bool was_ready;
    bool helo_only;
    bool tls_tried;
    bool closing; /* the session ends after the transaction */
    struct cli_extensions ext;
    struct reply_parse reply;
    bool reply_complete; /* the next reply_parse_next begins a new reply */
    struct outcome outcome, problem;
    bool has_problem;
    uint8_t problem_text[CLI_TEXT_MAX];
    /* the transaction */
    struct cli_message msg;
    uint8_t *states;
    uint32_t sent, answered; /* cursors */
    uint32_t accepted;
    uint32_t emit_at;
    uint32_t lmtp_at; /* next accepted recipient that waits for its final reply */
    bool mail_refused;
    bool chunked;
    bool body_begun;
    bool needs_rset;
    uint64_t body_left;
    bool line_start, after_cr;
    struct outcome verdict; /* for CLI_ST_EMIT; text in verdict_text */
    uint8_t verdict_text[CLI_TEXT_MAX];
};

size_t cli_bytes(void)
{
    return sizeof(struct cli);
}

static void enter(struct cli *cli, enum cli_state state)
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
    enter(cli, CLI_ST_GREETING);
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

static struct outcome outcome_of_reply(const struct cli *cli, const char *command)
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

static struct outcome own_outcome(enum outcome_kind kind, uint8_t subject, uint8_t detail,
                                  const char *text, const char *command)
{
    struct outcome o = {
        .kind = kind, .text = slice_of_text(text), .command = slice_of_text(command)};
    o.status[0] = kind == OUTCOME_PERMANENT ? 5 : 4;
    o.status[1] = subject;
    o.status[2] = detail;
    return o;
}

/* Keeps an outcome whose text is about to be overwritten. */
static void keep(struct outcome *to, uint8_t *text, const struct outcome *from)
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

/* All undecided recipients get this; then the transaction is over. */
static void decide_all(struct cli *cli, const struct outcome *o)
{
    keep(&cli->verdict, cli->verdict_text, o);
    cli->emit_at = 0;
    enter(cli, CLI_ST_EMIT);
}

/* The session cannot go on. */
static void fail_session(struct cli *cli, const struct outcome *o)
{
    cli->closing = true;
    if (!cli->has_problem && !cli->was_ready) {
        keep(&cli->problem, cli->problem_text, o);
        cli->problem.kind =
            OUTCOME_TEMPORARY; /* a host is never refused for good by its greeting */
        cli->problem.status[0] = 4;
        cli->problem.host_fault = true;
        cli->has_problem = true;
    }
    if (in_transaction(cli)) {
        decide_all(cli, o);
    } else if (cli->state != CLI_ST_DONE) {
        enter(cli, CLI_ST_CLOSED);
    }
}

void cli_lost(struct cli *cli, mx_err err)
{
    struct outcome o = own_outcome(OUTCOME_TEMPORARY, 4, 2, err_text(err), "connection");
    o.host_fault = true;
    if (cli->state == CLI_ST_EMIT || cli->state == CLI_ST_DONE) {
        cli->closing = true; /* the outcome is known already */
        return;
    }
    fail_session(cli, &o);
}

void cli_hung_up(struct cli *cli, mx_err err, struct slice rest)
{
    struct slice text;
    enum reply_event event = cli->state == CLI_ST_BODY ? REPLY_LINE : REPLY_MORE;
    if (event == REPLY_LINE) {
        reply_parse_reset(&cli->reply);
    }
    while (event == REPLY_LINE) {
        event = reply_parse_next(&cli->reply, &rest, &text);
    }
    if (event == REPLY_LAST && (cli->reply.code / 100 == 4 || cli->reply.code / 100 == 5)) {
        struct outcome o = outcome_of_reply(cli, cli->chunked ? "BDAT" : "DATA");
        fail_session(cli, &o);
    } else {
        cli_lost(cli, err);
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void put_ehlo(struct cli *cli, struct writer *out)
{
    put_text(out, cli->state == CLI_ST_HELO ? "HELO " : cli->conf.lmtp ? "LHLO " : "EHLO ");
    put_slice(out, cli->conf.ehlo_name);
    put_text(out, "\r\n");
}

static bool is_ascii(struct slice text)
{
    return text.len == 0 || text_is_ascii(text);
}

static bool wants_smtputf8(const struct cli *cli)
{
    const struct envelope *env = cli->msg.env;
    return cli->ext.smtputf8 && (env->mail.smtputf8 || !is_ascii(env->sender));
}

static void put_mail(struct cli *cli, struct writer *out)
{
    const struct envelope *env = cli->msg.env;
    put_text(out, "MAIL FROM:<");
    put_slice(out, env->sender);
    put_char(out, '>');
    if (cli->ext.size && !cli->msg.only_asks) {
        put_text(out, " SIZE=");
        put_decimal(out, cli->msg.content_bytes);
    }
    if (env->mail.body == BODY_BINARYMIME) {
        put_text(out, " BODY=BINARYMIME");
    } else if (cli->ext.mime8bit && (cli->msg.has_8bit || env->mail.body == BODY_8BITMIME)) {
        put_text(out, " BODY=8BITMIME");
    }
    if (wants_smtputf8(cli)) {
        put_text(out, " SMTPUTF8");
    }
    if (cli->ext.dsn && env->mail.ret != RET_UNSET) {
        put_text(out, env->mail.ret == RET_FULL ? " RET=FULL" : " RET=HDRS");
    }
    if (cli->ext.dsn && env->mail.envid.len > 0) {
        put_text(out, " ENVID=");
        put_xtext(out, env->mail.envid);
    }
    put_text(out, "\r\n");
}

static void put_notify(struct writer *out, uint8_t notify)
{
    static const struct {
        uint8_t bit;
        const char *name;
    } names[] = {{NOTIFY_NEVER, "NEVER"},
                 {NOTIFY_SUCCESS, "SUCCESS"},
                 {NOTIFY_FAILURE, "FAILURE"},
                 {NOTIFY_DELAY, "DELAY"}};
    const char *separator = " NOTIFY=";
    for (size_t i = 0; i < mx_countof(names); i++) {
        if ((notify & names[i].bit) != 0) {
            put_text(out, separator);
            put_text(out, names[i].name);
            separator = ",";
        }
    }
}

static void put_rcpt(struct cli *cli, struct writer *out, uint32_t i)
{
    const struct envelope_rcpt *rcpt = &cli->msg.env->rcpts[cli->msg.rcpts[i]];
    put_text(out, "RCPT TO:<");
    put_slice(out, rcpt->address);
    put_char(out, '>');
    if (cli->ext.dsn) {
        put_notify(out, rcpt->params.notify);
        /* As UTF-8 it is for servers with SMTPUTF8 only (RFC 6533 section 3). */
        if (rcpt->params.orcpt.len > 0 && (cli->ext.smtputf8 || is_ascii(rcpt->params.orcpt))) {
            put_text(out, " ORCPT=");
            put_slice(out, rcpt->params.orcpt);
        }
    }
    put_text(out, "\r\n");
}

static void put_state_command(struct cli *cli, struct writer *out)
{
    switch (cli->state) {
    case CLI_ST_EHLO:
    case CLI_ST_HELO:
        put_ehlo(cli, out);
        break;
    case CLI_ST_STARTTLS:
        put_text(out, "STARTTLS\r\n");
        break;
    case CLI_ST_RSET:
        put_text(out, "RSET\r\n");
        break;
    case CLI_ST_QUIT:
        put_text(out, "QUIT\r\n");
        break;
    case CLI_ST_EMPTY_END:
        put_text(out, ".\r\n");
        break;
    default:
        MX_ASSERT(false);
    }
    cli->command_due = false;
}

/* --- the session -------------------------------------------------------------------------------
 */

static void extension_add(struct cli *cli, struct slice line)
{
    struct {
        const char *name;
        bool *flag;
    } known[] = {{"PIPELINING", &cli->ext.pipelining},
                 {"CHUNKING", &cli->ext.chunking},
                 {"8BITMIME", &cli->ext.mime8bit},
                 {"BINARYMIME", &cli->ext.binarymime},
                 {"SMTPUTF8", &cli->ext.smtputf8},
                 {"DSN", &cli->ext.dsn},
                 {"STARTTLS", &cli->ext.starttls},
                 {"ENHANCEDSTATUSCODES", &cli->ext.enhanced},
                 {"SIZE", &cli->ext.size}};
    size_t end = slice_find(line, ' ');
    struct slice word = slice_first(line, end);
    for (size_t i = 0; i < mx_countof(known); i++) {
        if (text_equal_nocase(word, slice_of_text(known[i].name))) {
            *known[i].flag = true;
        }
    }
    uint64_t max;
    if (text_equal_nocase(word, SLICE_LITERAL("SIZE")) && end < line.len &&
        text_to_u64(&max, text_trim(slice_from(line, end + 1))) == MX_OK) {
        cli->ext.size_max = max;
    }
}

static void session_ready(struct cli *cli)
{
    if (cli->ext.starttls && !cli->conf.under_tls && !cli->tls_tried &&
        cli->conf.tls != CLI_TLS_NEVER) {
        cli->tls_tried = true;
        enter(cli, CLI_ST_STARTTLS);
        return;
    }
    if (cli->conf.tls == CLI_TLS_REQUIRED && !cli->conf.under_tls) {
        struct outcome o = own_outcome(OUTCOME_TEMPORARY, 7, 10,
                                       "TLS is required and was not offered", "STARTTLS");
        o.tls_fault = true;
        fail_session(cli, &o);
        return;
    }
    cli->ext.pipelining = cli->ext.pipelining && !cli->conf.no_pipelining;
    cli->ext.chunking = cli->ext.chunking && !cli->conf.no_chunking;
    cli->was_ready = true;
    enter(cli, CLI_ST_READY);
}

void cli_tls_started(struct cli *cli)
{
    MX_ASSERT(cli->state == CLI_ST_TLS);
    cli->conf.under_tls = true;
    cli->ext = (struct cli_extensions){0}; /* RFC 3207 section 4.2 */
    reply_parse_reset(&cli->reply);
    enter(cli, CLI_ST_EHLO);
}

static void on_greeting(struct cli *cli)
{
    if (cli->reply.code == 220) {
        enter(cli, CLI_ST_EHLO);
        return;
    }
    struct outcome o = outcome_of_reply(cli, "greeting");
    fail_session(cli, &o);
}

static void on_ehlo(struct cli *cli)
{
    uint16_t code = cli->reply.code;
    if (code / 100 == 2) {
        session_ready(cli);
    } else if (code / 100 == 5 && cli->state == CLI_ST_EHLO && !cli->conf.lmtp) {
        enter(cli, CLI_ST_HELO);
    } else {
        struct outcome o = outcome_of_reply(cli, cli->conf.lmtp ? "LHLO" : "EHLO");
        fail_session(cli, &o);
    }
}

static void on_starttls(struct cli *cli)
{
    if (cli->reply.code == 220) {
        enter(cli, CLI_ST_TLS);
        return;
    }
    session_ready(cli); /* goes on in clear, or fails when TLS is required */
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
    cli->body_left = msg->content_bytes;
    cli->line_start = true;
    cli->after_cr = false;
    cli->chunked = cli->ext.chunking;
    enter(cli, CLI_ST_BEGIN);
}

void cli_quit(struct cli *cli)
{
    MX_ASSERT(cli->state == CLI_ST_READY);
    enter(cli, CLI_ST_QUIT);
}

static enum cli_act emit(struct cli *cli, uint32_t i, const struct outcome *o)
{
    cli->outcome = *o;
    cli->outcome.rcpt = cli->msg.rcpts[i];
    cli->states[i] = RCPT_DECIDED;
    return CLI_OUTCOME;
}

/* Finds out what cannot be sent to this server at all. Returns true with an outcome to emit. */
static bool sort_out(struct cli *cli, uint32_t *out_rcpt, struct outcome *out)
{
    const struct envelope *env = cli->msg.env;
    if (cli->ext.size_max > 0 && cli->msg.content_bytes > cli->ext.size_max) {
        *out = own_outcome(OUTCOME_PERMANENT, 3, 4, "message is larger than the next hop accepts",
                           "MAIL FROM");
    } else if (env->mail.body == BODY_BINARYMIME && !(cli->ext.binarymime && cli->ext.chunking)) {
        *out = own_outcome(OUTCOME_PERMANENT, 6, 1, "the next hop does not take binary content",
                           "MAIL FROM");
    } else if (!cli->ext.smtputf8) {
        bool sender_utf8 = !is_ascii(env->sender);
        *out = own_outcome(OUTCOME_PERMANENT, 6, 7,
                           "the next hop does not take internationalized addresses", "RCPT TO");
        while (cli->emit_at < cli->msg.rcpt_count && !sender_utf8 &&
               is_ascii(env->rcpts[cli->msg.rcpts[cli->emit_at]].address)) {
            cli->emit_at++;
        }
    } else {
        return false;
    }
    *out_rcpt = cli->emit_at++;
    return *out_rcpt < cli->msg.rcpt_count;
}

static uint32_t next_open(const struct cli *cli, uint32_t from)
{
    while (from < cli->msg.rcpt_count && cli->states[from] != RCPT_OPEN) {
        from++;
    }
    return from;
}

static bool has_data_command(const struct cli *cli)
{
    return !cli->chunked && !cli->msg.only_asks;
}

/* Positions in the command list: recipients that were sorted out are stepped over. */
static uint32_t list_end(const struct cli *cli)
{
    return cli->msg.rcpt_count + (has_data_command(cli) ? 2 : 1);
}

static uint32_t step_over(const struct cli *cli, uint32_t at)
{
    while (at >= 1 && at <= cli->msg.rcpt_count && cli->states[at - 1] == RCPT_DECIDED) {
        at++;
    }
    return at;
}

static void send_commands(struct cli *cli, struct writer *out)
{
    while (cli->sent < list_end(cli) && writer_room(out) >= COMMAND_ROOM) {
        cli->sent = cli->sent == cli->answered ? step_over(cli, cli->sent) : cli->sent;
        if (cli->sent >= list_end(cli) || (!cli->ext.pipelining && cli->sent > cli->answered)) {
            return;
        }
        bool is_data = cli->sent == cli->msg.rcpt_count + 1;
        if (cli->sent == 0) {
            put_mail(cli, out);
        } else if (is_data) {
            put_text(out, "DATA\r\n");
        } else {
            put_rcpt(cli, out, cli->sent - 1);
        }
        cli->sent++;
        if (cli->sent <= cli->msg.rcpt_count) {
            cli->sent = step_over(cli, cli->sent);
        }
    }
}

/* After the last reply of the envelope. */
static void envelope_over(struct cli *cli)
{
    if (cli->accepted > 0) {
        cli->body_begun = true;
        enter(cli, CLI_ST_BODY);
    } else {
        cli->needs_rset = !cli->mail_refused;
        enter(cli, cli->needs_rset ? CLI_ST_RSET : CLI_ST_DONE);
    }
}

static enum cli_act on_mail_reply(struct cli *cli)
{
    struct outcome o = outcome_of_reply(cli, "MAIL FROM");
    if (o.kind == OUTCOME_DELIVERED) {
        return CLI_INPUT;
    }
    cli->mail_refused = true;
    keep(&cli->verdict, cli->verdict_text, &o);
    return CLI_INPUT;
}

static enum cli_act on_rcpt_reply(struct cli *cli, uint32_t i)
{
    struct outcome o = outcome_of_reply(cli, "RCPT TO");
    if (cli->mail_refused) {
        return CLI_INPUT; /* decided with MAIL */
    }
    if (o.kind == OUTCOME_DELIVERED && !cli->msg.only_asks) {
        cli->states[i] = RCPT_ACCEPTED;
        cli->accepted++;
        return CLI_INPUT;
    }
    if (o.code == 552) { /* RFC 5321 section 4.5.3.1.10: old servers mean 452 */
        o.kind = OUTCOME_TEMPORARY;
        o.status[0] = 4;
    }
    return emit(cli, i, &o);
}

static enum cli_act on_data_reply(struct cli *cli)
{
    if (cli->reply.code == 354) {
        if (cli->accepted == 0) {
            enter(cli, CLI_ST_EMPTY_END); /* RFC 2920 section 3.1 */
        } else {
            envelope_over(cli);
        }
        return CLI_INPUT;
    }
    if (cli->accepted > 0) {
        struct outcome o = outcome_of_reply(cli, "DATA");
        if (o.kind == OUTCOME_DELIVERED) { /* nothing was sent yet */
            o.kind = OUTCOME_TEMPORARY;
            o.status[0] = 4;
        }
        cli->needs_rset = true;
        decide_all(cli, &o);
    }
    return CLI_INPUT;
}

/* Has the last reply of the list been seen? */
static void envelope_check(struct cli *cli)
{
    if (cli->state != CLI_ST_ENVELOPE || cli->answered < cli->sent) {
        return;
    }
    if (cli->mail_refused) {
        struct outcome o = cli->verdict;
        decide_all(cli, &o);
        return;
    }
    bool data_pending = has_data_command(cli) && cli->answered == cli->msg.rcpt_count + 1;
    if (step_over(cli, cli->answered) >= list_end(cli) ||
        (data_pending && cli->accepted == 0 && !cli->ext.pipelining)) {
        envelope_over(cli);
    }
}

static enum cli_act on_envelope_reply(struct cli *cli)
{
    uint32_t at = cli->answered;
    enum cli_act act;
    MX_ASSERT(at < cli->sent); /* send_commands ran before; without a command the state had ended */
    cli->answered++;
    if (at == 0) {
        act = on_mail_reply(cli);
        cli->answered = step_over(cli, cli->answered);
    } else if (at <= cli->msg.rcpt_count) {
        act = on_rcpt_reply(cli, at - 1);
        cli->answered = step_over(cli, cli->answered);
    } else {
        act = on_data_reply(cli);
    }
    return act;
}

/* --- content -----------------------------------------------------------------------------------
 */

/* Under DATA: a dot at the start of a line is doubled. Content never has a bare CR or LF here
 * unless it came through BINARYMIME, which is not sent by DATA, or was accepted as it is on
 * purpose; only CRLF starts a line. */
static size_t stuff(struct cli *cli, struct slice content, struct writer *out)
{
    size_t used = 0;
    while (used < content.len && writer_room(out) >= 2) {
        uint8_t c = content.ptr[used];
        if (cli->line_start && c == '.') {
            put_char(out, '.');
        }
        /* Up to the end of the line, or what fits. */
        struct slice rest = slice_first(slice_from(content, used), writer_room(out));
        size_t lf = slice_find(rest, '\n');
        size_t n = lf < rest.len ? lf + 1 : rest.len;
        put_bytes(out, rest.ptr, n);
        bool crlf = lf < rest.len && (lf > 0 ? rest.ptr[lf - 1] == '\r' : cli->after_cr);
        cli->line_start = crlf;
        cli->after_cr = rest.ptr[n - 1] == '\r';
        used += n;
    }
    return used;
}

size_t cli_body(struct cli *cli, struct slice content, struct writer *out)
{
    MX_ASSERT(cli->state == CLI_ST_BODY && content.len <= cli->body_left);
    size_t used;
    if (cli->chunked) {
        used = mx_min_size(content.len, writer_room(out));
        put_bytes(out, content.ptr, used);
    } else {
        used = stuff(cli, content, out);
    }
    cli->body_left -= used;
    return used;
}

static enum cli_act body_next(struct cli *cli, struct writer *out)
{
    if (cli->body_begun && cli->chunked) {
        put_text(out, "BDAT ");
        put_decimal(out, cli->msg.content_bytes);
        put_text(out, " LAST\r\n");
    }
    cli->body_begun = false;
    if (cli->body_left > 0) {
        return CLI_BODY;
    }
    if (!cli->chunked) {
        put_text(out, cli->line_start ? ".\r\n" : "\r\n.\r\n");
    }
    enter(cli, CLI_ST_END);
    return CLI_INPUT;
}

/* --- final replies -----------------------------------------------------------------------------
 */

static enum cli_act on_final_lmtp(struct cli *cli)
{
    struct outcome o = outcome_of_reply(cli, "DATA");
    while (cli->lmtp_at < cli->msg.rcpt_count && cli->states[cli->lmtp_at] != RCPT_ACCEPTED) {
        cli->lmtp_at++;
    }
    MX_ASSERT(cli->lmtp_at < cli->msg.rcpt_count);
    uint32_t i = cli->lmtp_at++;
    cli->accepted--;
    if (cli->accepted == 0) {
        enter(cli, CLI_ST_DONE);
    }
    return emit(cli, i, &o);
}

static enum cli_act on_final(struct cli *cli)
{
    if (cli->conf.lmtp) {
        return on_final_lmtp(cli);
    }
    struct outcome o = outcome_of_reply(cli, cli->chunked ? "BDAT" : "DATA");
    decide_all(cli, &o);
    return CLI_INPUT;
}

/* --- the machine -------------------------------------------------------------------------------
 */

static enum cli_act on_reply(struct cli *cli)
{
    if (cli->reply.code == 421 && cli->state != CLI_ST_QUIT && cli->state != CLI_ST_GREETING) {
        bool to_mail = cli->state == CLI_ST_ENVELOPE && cli->answered == 0;
        struct outcome o = outcome_of_reply(cli, to_mail ? "MAIL FROM" : "session");
        fail_session(cli, &o);
        return CLI_INPUT;
    }
    switch (cli->state) {
    case CLI_ST_GREETING:
        on_greeting(cli);
        return CLI_INPUT;
    case CLI_ST_EHLO:
    case CLI_ST_HELO:
        on_ehlo(cli);
        return CLI_INPUT;
    case CLI_ST_STARTTLS:
        on_starttls(cli);
        return CLI_INPUT;
    case CLI_ST_ENVELOPE: {
        enum cli_act act = on_envelope_reply(cli);
        envelope_check(cli);
        return act;
    }
    case CLI_ST_END:
        return on_final(cli);
    case CLI_ST_EMPTY_END:
        if (cli->mail_refused) {
            struct outcome o = cli->verdict;
            decide_all(cli, &o);
            return CLI_INPUT;
        }
        enter(cli, CLI_ST_DONE);
        return CLI_INPUT;
    case CLI_ST_RSET:
        enter(cli, CLI_ST_DONE);
        return CLI_INPUT;
    case CLI_ST_QUIT:
    default:
        enter(cli, CLI_ST_CLOSED);
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
        struct outcome o =
            own_outcome(OUTCOME_TEMPORARY, 5, 0, "the next hop does not speak SMTP", "protocol");
        o.host_fault = true;
        in->len = 0;
        fail_session(cli, &o);
        return false;
    }
    if (cli->state == CLI_ST_EHLO && cli->reply.code / 100 == 2 && !first) {
        extension_add(cli, text);
    }
    if (event == REPLY_LINE) {
        return false;
    }
    cli->reply_complete = true;
    *out_act = on_reply(cli);
    return *out_act == CLI_OUTCOME;
}

static bool emit_next(struct cli *cli, enum cli_act *out_act)
{
    while (cli->emit_at < cli->msg.rcpt_count) {
        uint32_t i = cli->emit_at++;
        if (cli->states[i] != RCPT_DECIDED) {
            *out_act = emit(cli, i, &cli->verdict);
            return true;
        }
    }
    enter(cli, cli->needs_rset && !cli->closing ? CLI_ST_RSET : CLI_ST_DONE);
    return false;
}

static bool begin_next(struct cli *cli, enum cli_act *out_act)
{
    uint32_t i;
    struct outcome o;
    if (sort_out(cli, &i, &o)) {
        *out_act = emit(cli, i, &o);
        return true;
    }
    enter(cli, next_open(cli, 0) < cli->msg.rcpt_count ? CLI_ST_ENVELOPE : CLI_ST_DONE);
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
        put_state_command(cli, out);
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
        send_commands(cli, out);
        return read_reply(cli, in, out_act);
    case CLI_ST_BODY:
        *out_act = body_next(cli, out);
        return *out_act == CLI_BODY;
    case CLI_ST_EMIT:
        return emit_next(cli, out_act);
    case CLI_ST_DONE:
        enter(cli, cli->closing ? CLI_ST_CLOSED : CLI_ST_READY);
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
    case CLI_ST_RSET:
        return CLI_PHASE_END;
    case CLI_ST_QUIT:
    case CLI_ST_CLOSED:
        return CLI_PHASE_QUIT;
    default:
        return CLI_PHASE_IDLE;
    }
}

uint64_t cli_phase_timeout_ms(enum cli_phase phase)
{
    /* RFC 5321 section 4.5.3.2, but no less than a dead host deserves. */
    static const uint64_t timeouts_ms[] = {
        [CLI_PHASE_GREETING] = 300000, [CLI_PHASE_EHLO] = 300000, [CLI_PHASE_MAIL] = 300000,
        [CLI_PHASE_RCPT] = 300000,     [CLI_PHASE_DATA] = 120000, [CLI_PHASE_BODY] = 180000,
        [CLI_PHASE_END] = 600000,      [CLI_PHASE_IDLE] = 30000,  [CLI_PHASE_QUIT] = 10000,
    };
    return timeouts_ms[phase];
}
