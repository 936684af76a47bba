#include "smtp/session_settings.h"

#include "io/digest.h"

struct srv_limits session_engine_limits(const struct session_limits *limits)
{
    return (struct srv_limits){.line_bytes_max = limits->line_bytes_max,
                               .rcpts_max = limits->rcpts_max,
                               .size_bytes_max = limits->size_bytes_max,
                               .received_max = limits->received_max,
                               .errors_max = limits->errors_max,
                               .messages_max = limits->messages_max,
                               .commands_max = limits->commands_max,
                               .refuse_pipelining = limits->refuse_pipelining,
                               .normalize_newlines = limits->normalize_newlines,
                               .offer_chunking = true,
                               .offer_binarymime = limits->binarymime,
                               .offer_pipelining = true,
                               .offer_dsn = true};
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
    const struct image *image = ((const struct session_view *)arg)->image;
    return slice_equal(name, SLICE_LITERAL("domain")) ? image->domain : image->hostname;
}

static size_t digest(void *arg, struct slice algorithm, struct slice bytes,
                     uint8_t out[EXPR_DIGEST_MAX])
{
    (void)arg;
    return digest_named(out, algorithm, bytes);
}

struct expr_host session_host(struct session_view *view)
{
    return (struct expr_host){.arg = view,
                              .variable = session_variable,
                              .is_local_domain = local_domain,
                              .is_local_address = local_address,
                              .system = system_value,
                              .digest = digest};
}

/* --- results -----------------------------------------------------------------------------------
 */

/* In its range: that was checked when the configuration was loaded. */
static void apply(struct session_limits *limits, enum session_setting which, uint64_t value)
{
    uint64_t *const wide[SESSION_SETTINGS] = {[SETTING_IDLE_MS] = &limits->idle_ms,
                                              [SETTING_SESSION_MS] = &limits->session_ms,
                                              [SETTING_DATA_BLOCK_MS] = &limits->data_block_ms,
                                              [SETTING_DATA_RATE] = &limits->data_rate,
                                              [SETTING_DATA_GRACE_MS] = &limits->data_grace_ms,
                                              [SETTING_SIZE_BYTES] = &limits->size_bytes_max};
    uint32_t *const narrow[SESSION_SETTINGS] = {
        [SETTING_ERRORS] = &limits->errors_max,         [SETTING_COMMANDS] = &limits->commands_max,
        [SETTING_LINE_BYTES] = &limits->line_bytes_max, [SETTING_RCPTS] = &limits->rcpts_max,
        [SETTING_MESSAGES] = &limits->messages_max,     [SETTING_RECEIVED] = &limits->received_max};
    if (wide[which] != NULL) {
        *wide[which] = value;
    } else {
        *narrow[which] = (uint32_t)value;
    }
}

bool session_settings_take(struct session_settings *out, const struct image *image,
                           const struct srv_conf *conf, const struct session_facts *facts,
                           struct expr_vm *vm, const char **out_problem)
{
    struct session_view view = {.facts = facts, .image = image};
    struct expr_host host = session_host(&view);
    out->limits = image->limits;
    for (size_t i = 0; i < SESSION_SETTINGS; i++) {
        struct expr_value value;
        if (image->session_programs[i] == NULL) {
            continue;
        }
        if (expr_run(vm, image->session_programs[i], &host, NULL, &value) != EXPR_DONE) {
            *out_problem = vm->failure;
            return false;
        }
        apply(&out->limits, (enum session_setting)i, (uint64_t)value.integer);
    }
    out->conf = *conf;
    out->conf.limits = session_engine_limits(&out->limits);
    return true;
}
