#include "smtp/session_settings.h"

#include "core/text.h"
#include "io/digest.h"

struct srv_limits session_engine_limits(const struct session_limits *limits)
{
    return (struct srv_limits){.line_bytes_max = limits->line_bytes_max,
                               .rcpts_max = limits->rcpts_max,
                               .size_bytes_max = limits->size_bytes_max,
                               .received_max = limits->received_max,
                               .errors_max = limits->errors_max,
                               .rcpt_errors_max = limits->rcpt_errors_max,
                               .messages_max = limits->messages_max,
                               .commands_max = limits->commands_max,
                               .refuse_pipelining = limits->refuse_pipelining,
                               .normalize_newlines = limits->normalize_newlines,
                               .offer_chunking = !limits->no_chunking,
                               .offer_binarymime = limits->binarymime && !limits->no_chunking,
                               .offer_pipelining = !limits->no_pipelining,
                               .offer_dsn = !limits->no_dsn,
                               .helo_optional = limits->helo_optional};
}

/* --- the expressions' view ---------------------------------------------------------------------
 */

static struct expr_value text(struct slice s)
{
    return (struct expr_value){.type = EXPR_STRING, .string = s};
}

static struct expr_value address(char *buf, const struct netaddr *addr)
{
    struct writer w = writer_init(buf, NETADDR_TEXT_MAX);
    put_netaddr(&w, addr);
    return text(writer_slice(&w));
}

static struct expr_value number(int64_t value)
{
    return (struct expr_value){.type = EXPR_INTEGER, .integer = value};
}

void session_variable(void *arg, uint16_t index, struct expr_value *out)
{
    struct session_view *view = arg;
    const struct session_facts *facts = view->facts;
    switch (index) {
    case EXPR_VAR_LISTENER:
        *out = text(facts->listener != NULL ? facts->listener->name : SLICE_EMPTY);
        break;
    case EXPR_VAR_REMOTE_IP:
        *out = address(view->client, &facts->client);
        break;
    case EXPR_VAR_REMOTE_PORT:
        *out = number(facts->client.port);
        break;
    case EXPR_VAR_LOCAL_IP:
        *out = address(view->local, &facts->local);
        break;
    case EXPR_VAR_LOCAL_PORT:
        *out = number(facts->local.port);
        break;
    case EXPR_VAR_IS_TLS:
        *out = number(facts->tls);
        break;
    case EXPR_VAR_PROTOCOL:
        *out = text(facts->listener != NULL && facts->listener->lmtp ? SLICE_LITERAL("lmtp")
                                                                     : SLICE_LITERAL("smtp"));
        break;
    case EXPR_VAR_HELO_DOMAIN:
        *out = text(view->helo);
        break;
    default:
        *out = text(SLICE_EMPTY);
    }
}

static bool local_domain(void *arg, struct slice domain)
{
    return directory_is_local_domain(((const struct session_view *)arg)->facts->directory, domain);
}

static bool local_address(void *arg, struct slice name)
{
    return directory_is_local_address(((const struct session_view *)arg)->facts->directory, name);
}

static struct slice system_value(void *arg, struct slice name)
{
    return image_system(((const struct session_view *)arg)->image, name);
}

static size_t digest(void *arg, struct slice algorithm, struct slice bytes,
                     uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    return digest_named(out, algorithm, bytes);
}

static enum expr_answer ask(void *arg, const struct expr_question *question, struct expr_value *out,
                            const char **reason)
{
    const struct session_view *view = arg;
    return dns_answers_ask(view->asker, view->vm, question, out, reason);
}

struct expr_host session_host(struct session_view *view)
{
    return (struct expr_host){.arg = view,
                              .variable = session_variable,
                              .is_local_domain = local_domain,
                              .is_local_address = local_address,
                              .system = system_value,
                              .digest = digest,
                              .ask = ask};
}

/* --- results -----------------------------------------------------------------------------------
 */

#define ROW(member)                                        \
    .width = sizeof(((struct session_limits *)0)->member), \
    .offset = offsetof(struct session_limits, member)

static const struct session_setting_row rows[SESSION_SETTINGS] = {
    [SETTING_HOSTNAME] = {"MtaStageConnect", "hostname", EXPR_CONN},
    [SETTING_HELO_OPTIONAL] = {"MtaStageEhlo", "require", EXPR_CONN, .negated = true,
                               ROW(helo_optional)},
    [SETTING_IDLE_MS] = {"MtaInboundSession", "timeout", EXPR_CONN, ROW(idle_ms)},
    [SETTING_SESSION_MS] = {"MtaInboundSession", "maxDuration", EXPR_CONN, ROW(session_ms)},
    [SETTING_DATA_BLOCK_MS] = {"MtaInboundSession", "dataTimeout", EXPR_CONN, ROW(data_block_ms)},
    [SETTING_DATA_RATE] = {"MtaInboundSession", "minDataRate", EXPR_CONN, .zero = true,
                           ROW(data_rate)},
    [SETTING_DATA_GRACE_MS] = {"MtaInboundSession", "minDataRateGrace", EXPR_CONN,
                               ROW(data_grace_ms)},
    [SETTING_ERRORS] = {"MtaInboundSession", "maxErrors", EXPR_CONN, ROW(errors_max)},
    [SETTING_COMMANDS] = {"MtaInboundSession", "maxCommands", EXPR_CONN, ROW(commands_max)},
    [SETTING_LINE_BYTES] = {"MtaInboundSession", "maxLineLength", EXPR_CONN, ROW(line_bytes_max)},
    [SETTING_RCPTS] = {"MtaStageRcpt", "maxRecipients", EXPR_CONN, ROW(rcpts_max)},
    [SETTING_RCPT_ERRORS] = {"MtaStageRcpt", "maxFailures", EXPR_CONN, .zero = true,
                             ROW(rcpt_errors_max)},
    [SETTING_RCPT_DELAY_MS] = {"MtaStageRcpt", "waitOnFail", EXPR_CONN, .zero = true,
                               ROW(rcpt_delay_ms)},
    [SETTING_SIZE_BYTES] = {"MtaStageData", "maxMessageSize", EXPR_CONN, ROW(size_bytes_max)},
    [SETTING_MESSAGES] = {"MtaStageData", "maxMessages", EXPR_CONN, ROW(messages_max)},
    [SETTING_RECEIVED] = {"MtaStageData", "maxReceivedHeaders", EXPR_CONN, ROW(received_max)},
    [SETTING_NO_PIPELINING] = {"MtaExtensions", "pipelining", EXPR_EHLO, .negated = true,
                               ROW(no_pipelining)},
    [SETTING_NO_CHUNKING] = {"MtaExtensions", "chunking", EXPR_EHLO, .negated = true,
                             ROW(no_chunking)},
    [SETTING_NO_DSN] = {"MtaExtensions", "dsn", EXPR_EHLO, .negated = true, ROW(no_dsn)}};

const struct session_setting_row *session_setting_row(enum session_setting which)
{
    return &rows[which];
}

/* A name that can stand in a banner (RFC 5321 section 4.1.2). */
static bool is_host_name(const struct expr_value *value)
{
    bool good =
        value->type == EXPR_STRING && value->string.len > 0 && value->string.len <= DOMAIN_MAX;
    for (size_t i = 0; good && i < value->string.len; i++) {
        uint8_t c = value->string.ptr[i];
        good = ascii_is_alnum(c) || c == '-' || c == '.';
    }
    return good;
}

/* Numbers are in their range: that was checked when the configuration was loaded. */
static bool apply(struct session_settings *out, const struct session_setting_row *row,
                  const struct expr_value *value)
{
    uint8_t *at = (uint8_t *)&out->limits + row->offset;
    uint32_t narrow = (uint32_t)value->integer;
    bool truth = expr_truthy(value) != row->negated;
    if (row->width == 0) {
        if (!is_host_name(value)) {
            return false;
        }
        memcpy(out->hostname, value->string.ptr, value->string.len);
        out->conf.hostname = slice_of(out->hostname, value->string.len);
    } else if (row->width == sizeof truth) {
        memcpy(at, &truth, sizeof truth);
    } else if (row->width == sizeof narrow) {
        memcpy(at, &narrow, sizeof narrow);
    } else {
        memcpy(at, &value->integer, sizeof value->integer);
    }
    return true;
}

void session_settings_init(struct session_settings *out, const struct image *image,
                           const struct srv_conf *conf)
{
    out->limits = image->limits;
    out->conf = *conf;
    out->conf.limits = session_engine_limits(&out->limits);
}

enum expr_status session_settings_take(struct session_settings *out, enum expr_context context,
                                       struct session_run *run)
{
    struct session_view view = {.facts = run->facts,
                                .image = run->image,
                                .helo = run->helo,
                                .vm = run->vm,
                                .asker = run->asker};
    struct expr_host host = session_host(&view);
    for (unsigned i = 0; i < SESSION_SETTINGS; i++) {
        const struct expr_program *program = run->image->session_programs[i];
        struct expr_value value;
        if (program == NULL || rows[i].context != context) {
            continue;
        }
        enum expr_status status = expr_run(run->vm, program, &host, run->trace, &value);
        if (status == EXPR_DONE && !apply(out, &rows[i], &value)) {
            run->vm->failure = "the result is not the name of a host";
            status = EXPR_FAILED;
        }
        if (status != EXPR_DONE) {
            run->failed = (enum session_setting)i;
            run->problem = run->vm->failure;
            return status;
        }
    }
    out->conf.limits = session_engine_limits(&out->limits);
    return EXPR_DONE;
}
