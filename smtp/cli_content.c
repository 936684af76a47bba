#include "core/check.h"
#include "smtp/cli_private.h"

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

enum cli_act cli_body_next(struct cli *cli, struct writer *out)
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
    cli_enter(cli, CLI_ST_END);
    return CLI_INPUT;
}

/* --- final replies -----------------------------------------------------------------------------
 */

/* Behind a reply that came too early the session may be out of step: it ends. */
static struct outcome outcome_of_final(struct cli *cli)
{
    const char *command = cli->chunked ? "BDAT" : "DATA";
    cli->closing = cli->closing || cli->early;
    return cli->early && cli->reply.code / 100 == 2
               ? cli_own_outcome(OUTCOME_TEMPORARY, 5, 0,
                                 "the next hop accepted the content before it had all of it",
                                 command)
               : cli_outcome_of_reply(cli, command);
}

static enum cli_act on_final_lmtp(struct cli *cli)
{
    struct outcome o = outcome_of_final(cli);
    while (cli->lmtp_at < cli->msg.rcpt_count && cli->states[cli->lmtp_at] != RCPT_ACCEPTED) {
        cli->lmtp_at++;
    }
    MX_ASSERT(cli->lmtp_at < cli->msg.rcpt_count);
    uint32_t i = cli->lmtp_at++;
    cli->accepted--;
    if (cli->accepted == 0) {
        cli_enter(cli, CLI_ST_DONE);
    }
    return cli_emit(cli, i, &o);
}

enum cli_act cli_on_final(struct cli *cli)
{
    if (cli->conf.lmtp) {
        return on_final_lmtp(cli);
    }
    struct outcome o = outcome_of_final(cli);
    cli_decide_all(cli, &o);
    return CLI_INPUT;
}
