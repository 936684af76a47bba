#include "core/check.h"
#include "core/text.h"
#include "smtp/cli_private.h"

void cli_extension_add(struct cli *cli, struct slice line)
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
        cli_enter(cli, CLI_ST_STARTTLS);
        return;
    }
    if (cli->conf.tls == CLI_TLS_REQUIRED && !cli->conf.under_tls) {
        struct outcome o = cli_own_outcome(OUTCOME_TEMPORARY, 7, 10,
                                           "TLS is required and was not offered", "STARTTLS");
        o.tls_fault = true;
        cli_fail_session(cli, &o);
        return;
    }
    cli->ext.pipelining = cli->ext.pipelining && !cli->conf.no_pipelining;
    cli->ext.chunking = cli->ext.chunking && !cli->conf.no_chunking;
    cli->was_ready = true;
    cli_enter(cli, CLI_ST_READY);
}

void cli_tls_started(struct cli *cli)
{
    MX_ASSERT(cli->state == CLI_ST_TLS);
    cli->conf.under_tls = true;
    cli->ext = (struct cli_extensions){0}; /* RFC 3207 section 4.2 */
    reply_parse_reset(&cli->reply);
    cli_enter(cli, CLI_ST_EHLO);
}

void cli_on_greeting(struct cli *cli)
{
    if (cli->reply.code == 220) {
        cli_enter(cli, CLI_ST_EHLO);
        return;
    }
    struct outcome o = cli_outcome_of_reply(cli, "greeting");
    cli_fail_session(cli, &o);
}

void cli_on_ehlo(struct cli *cli)
{
    uint16_t code = cli->reply.code;
    if (code / 100 == 2) {
        session_ready(cli);
    } else if (code / 100 == 5 && cli->state == CLI_ST_EHLO && !cli->conf.lmtp) {
        cli_enter(cli, CLI_ST_HELO);
    } else {
        struct outcome o = cli_outcome_of_reply(cli, cli->conf.lmtp ? "LHLO" : "EHLO");
        cli_fail_session(cli, &o);
    }
}

void cli_on_starttls(struct cli *cli)
{
    if (cli->reply.code == 220) {
        cli_enter(cli, CLI_ST_TLS);
        return;
    }
    session_ready(cli); /* goes on in clear, or fails when TLS is required */
}
