#include "core/check.h"
#include "core/text.h"
#include "smtp/cli_private.h"
#include "smtp/xtext.h"

static void put_ehlo(struct cli *cli, struct writer *out)
{
    put_text(out, cli->state == CLI_ST_HELO ? "HELO " : cli->conf.lmtp ? "LHLO " : "EHLO ");
    put_slice(out, cli->conf.ehlo_name);
    put_text(out, "\r\n");
}

bool cli_is_ascii(struct slice text)
{
    return text.len == 0 || text_is_ascii(text);
}

static bool wants_smtputf8(const struct cli *cli)
{
    const struct envelope *env = cli->msg.env;
    return cli->ext.smtputf8 && (env->mail.smtputf8 || !cli_is_ascii(env->sender));
}

void cli_put_mail(struct cli *cli, struct writer *out)
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

/* As UTF-8 it is for servers with SMTPUTF8 only; others get it in ASCII (RFC 6533 section 3), where
 * there is room for it. */
static void put_orcpt(const struct cli *cli, struct writer *out, struct slice orcpt)
{
    uint8_t coded[3 * ORCPT_MAX];
    if (!cli->ext.smtputf8 && !cli_is_ascii(orcpt)) {
        struct writer w = writer_init(coded, sizeof coded);
        put_utf8_xtext(&w, orcpt, true);
        orcpt = w.len <= ORCPT_MAX ? writer_slice(&w) : SLICE_EMPTY;
    }
    if (orcpt.len > 0) {
        put_text(out, " ORCPT=");
        put_slice(out, orcpt);
    }
}

void cli_put_rcpt(struct cli *cli, struct writer *out, uint32_t i)
{
    const struct envelope_rcpt *rcpt = &cli->msg.env->rcpts[cli->msg.rcpts[i]];
    put_text(out, "RCPT TO:<");
    put_slice(out, rcpt->address);
    put_char(out, '>');
    if (cli->ext.dsn) {
        put_notify(out, rcpt->params.notify);
        put_orcpt(cli, out, rcpt->params.orcpt);
    }
    put_text(out, "\r\n");
}

void cli_put_state_command(struct cli *cli, struct writer *out)
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
    cli->progress++;
}
