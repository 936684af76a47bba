#include "route/throttle.h"

#include "core/check.h"

static const struct {
    const char *name;
    enum inbound_stage stage;
} parts_known[INBOUND_PARTS] = {
    {"listener", INBOUND_CONNECT}, {"remoteIp", INBOUND_CONNECT}, {"localIp", INBOUND_CONNECT},
    {"heloDomain", INBOUND_EHLO},  {"sender", INBOUND_MAIL},      {"senderDomain", INBOUND_MAIL},
    {"rcpt", INBOUND_RCPT},        {"rcptDomain", INBOUND_RCPT},
};

static const struct {
    uint16_t variable; /* enum expr_variable_id */
    enum inbound_stage stage;
} variables_known[] = {
    {EXPR_VAR_HELO_DOMAIN, INBOUND_EHLO},   {EXPR_VAR_SENDER, INBOUND_MAIL},
    {EXPR_VAR_SENDER_DOMAIN, INBOUND_MAIL}, {EXPR_VAR_AUTHENTICATED_AS, INBOUND_MAIL},
    {EXPR_VAR_PRIORITY, INBOUND_MAIL},      {EXPR_VAR_RCPT, INBOUND_RCPT},
    {EXPR_VAR_RCPT_DOMAIN, INBOUND_RCPT},   {EXPR_VAR_RECIPIENTS, INBOUND_RCPT},
};

const char *inbound_part_name(unsigned part)
{
    MX_ASSERT(part < INBOUND_PARTS);
    return parts_known[part].name;
}

static enum inbound_stage later_of(enum inbound_stage a, enum inbound_stage b)
{
    return a > b ? a : b;
}

enum inbound_stage inbound_stage_of(uint16_t parts, const struct expr_program *match)
{
    enum inbound_stage stage = INBOUND_CONNECT;
    for (unsigned i = 0; i < INBOUND_PARTS; i++) {
        if ((parts >> i & 1) != 0) {
            stage = later_of(stage, parts_known[i].stage);
        }
    }
    if (match == NULL) {
        return stage;
    }
    for (size_t i = 0; i < mx_countof(variables_known); i++) {
        if (expr_uses(match, variables_known[i].variable)) {
            stage = later_of(stage, variables_known[i].stage);
        }
    }
    return expr_asks(match) ? later_of(stage, INBOUND_MAIL) : stage;
}
