#include "core/check.h"
#include "smtp/cli_private.h"

bool cli_sort_out(struct cli *cli, uint32_t *out_rcpt, struct outcome *out)
{
    const struct envelope *env = cli->msg.env;
    if (cli->ext.size_max > 0 && cli->msg.content_bytes > cli->ext.size_max) {
        *out = cli_own_outcome(OUTCOME_PERMANENT, 3, 4,
                               "message is larger than the next hop accepts", "MAIL FROM");
    } else if (env->mail.body == BODY_BINARYMIME && !(cli->ext.binarymime && cli->ext.chunking)) {
        *out = cli_own_outcome(OUTCOME_PERMANENT, 6, 1, "the next hop does not take binary content",
                               "MAIL FROM");
    } else if (!cli->ext.smtputf8) {
        bool sender_utf8 = !cli_is_ascii(env->sender);
        *out = cli_own_outcome(OUTCOME_PERMANENT, 6, 7,
                               "the next hop does not take internationalized addresses", "RCPT TO");
        while (cli->emit_at < cli->msg.rcpt_count && !sender_utf8 &&
               cli_is_ascii(env->rcpts[cli->msg.rcpts[cli->emit_at]].address)) {
            cli->emit_at++;
        }
    } else {
        return false;
    }
    *out_rcpt = cli->emit_at++;
    return *out_rcpt < cli->msg.rcpt_count;
}

uint32_t cli_next_open(const struct cli *cli, uint32_t from)
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

void cli_send_commands(struct cli *cli, struct writer *out)
{
    while (cli->sent < list_end(cli) && writer_room(out) >= COMMAND_ROOM) {
        cli->sent = cli->sent == cli->answered ? step_over(cli, cli->sent) : cli->sent;
        if (cli->sent >= list_end(cli) || (!cli->ext.pipelining && cli->sent > cli->answered)) {
            return;
        }
        bool is_data = cli->sent == cli->msg.rcpt_count + 1;
        if (cli->sent == 0) {
            cli_put_mail(cli, out);
        } else if (is_data) {
            put_text(out, "DATA\r\n");
        } else {
            cli_put_rcpt(cli, out, cli->sent - 1);
        }
        cli->sent++;
        cli->progress++;
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
        cli_enter(cli, CLI_ST_BODY);
    } else {
        cli->needs_rset = !cli->mail_refused;
        cli_enter(cli, cli->needs_rset ? CLI_ST_RSET : CLI_ST_DONE);
    }
}

static enum cli_act on_mail_reply(struct cli *cli)
{
    struct outcome o = cli_outcome_of_reply(cli, "MAIL FROM");
    if (o.kind == OUTCOME_DELIVERED) {
        return CLI_INPUT;
    }
    cli->mail_refused = true;
    cli_keep_outcome(&cli->verdict, cli->verdict_text, &o);
    return CLI_INPUT;
}

static enum cli_act on_rcpt_reply(struct cli *cli, uint32_t i)
{
    struct outcome o = cli_outcome_of_reply(cli, "RCPT TO");
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
    return cli_emit(cli, i, &o);
}

static enum cli_act on_data_reply(struct cli *cli)
{
    if (cli->reply.code == 354) {
        if (cli->accepted == 0) {
            cli_enter(cli, CLI_ST_EMPTY_END); /* RFC 2920 section 3.1 */
        } else {
            envelope_over(cli);
        }
        return CLI_INPUT;
    }
    if (cli->accepted > 0) {
        struct outcome o = cli_outcome_of_reply(cli, "DATA");
        if (o.kind == OUTCOME_DELIVERED) { /* nothing was sent yet */
            o.kind = OUTCOME_TEMPORARY;
            o.status[0] = 4;
        }
        cli->needs_rset = true;
        cli_decide_all(cli, &o);
    }
    return CLI_INPUT;
}

void cli_envelope_check(struct cli *cli)
{
    if (cli->state != CLI_ST_ENVELOPE || cli->answered < cli->sent) {
        return;
    }
    if (cli->mail_refused) {
        struct outcome o = cli->verdict;
        cli_decide_all(cli, &o);
        return;
    }
    bool data_pending = has_data_command(cli) && cli->answered == cli->msg.rcpt_count + 1;
    if (step_over(cli, cli->answered) >= list_end(cli) ||
        (data_pending && cli->accepted == 0 && !cli->ext.pipelining)) {
        envelope_over(cli);
    }
}

enum cli_act cli_on_envelope_reply(struct cli *cli)
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
