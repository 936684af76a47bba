/* Which variables and constants the language knows, and where. */
#include "route/expr_private.h"

#define IN(context) (1u << (context))
#define SESSION (IN(EXPR_CONN) | IN(EXPR_EHLO) | IN(EXPR_MAIL) | IN(EXPR_RCPT))
#define QUEUE (IN(EXPR_QRCPT) | IN(EXPR_QHOST))

static const struct expr_variable variables[] = {
    [EXPR_VAR_RCPT] = {"rcpt", IN(EXPR_RCPT) | QUEUE | IN(EXPR_ADDR)},
    [EXPR_VAR_RCPT_DOMAIN] = {"rcpt_domain", IN(EXPR_RCPT) | QUEUE | IN(EXPR_RCPTDOM)},
    [EXPR_VAR_SENDER] = {"sender", IN(EXPR_MAIL) | IN(EXPR_RCPT) | QUEUE | IN(EXPR_QSENDER)},
    [EXPR_VAR_SENDER_DOMAIN] = {"sender_domain",
                                IN(EXPR_MAIL) | IN(EXPR_RCPT) | QUEUE | IN(EXPR_QSENDER)},
    [EXPR_VAR_SOURCE] = {"source", QUEUE},
    [EXPR_VAR_SIZE] = {"size", QUEUE},
    [EXPR_VAR_LISTENER] = {"listener", SESSION | IN(EXPR_HTTP)},
    [EXPR_VAR_REMOTE_IP] = {"remote_ip", SESSION | IN(EXPR_QHOST) | IN(EXPR_HTTP)},
    [EXPR_VAR_REMOTE_PORT] = {"remote_port", SESSION | IN(EXPR_HTTP)},
    [EXPR_VAR_LOCAL_IP] = {"local_ip", SESSION | IN(EXPR_QHOST) | IN(EXPR_HTTP)},
    [EXPR_VAR_LOCAL_PORT] = {"local_port", SESSION | IN(EXPR_HTTP)},
    [EXPR_VAR_PROTOCOL] = {"protocol", SESSION | IN(EXPR_HTTP)},
    [EXPR_VAR_IS_TLS] = {"is_tls", SESSION | IN(EXPR_HTTP)},
    [EXPR_VAR_HELO_DOMAIN] = {"helo_domain", IN(EXPR_EHLO) | IN(EXPR_RCPT)},
};

static const char *const constant_names[] = {
    "relaxed",     "strict",    "disable",        "optional",       "require",
    "ipv4_only",   "ipv6_only", "ipv6_then_ipv4", "ipv4_then_ipv6", "hourly",
    "daily",       "weekly",    "login",          "plain",          "xoauth2",
    "oauthbearer", "mixer",     "stanag4406",     "nsep",
};

const struct expr_variable *expr_variable_row(uint16_t index)
{
    return index < mx_countof(variables) ? &variables[index] : NULL;
}

const char *expr_variable_name(uint16_t variable)
{
    return variable < mx_countof(variables) ? variables[variable].name : "";
}

uint16_t expr_variable(struct slice name)
{
    for (uint16_t i = 0; i < mx_countof(variables); i++) {
        if (slice_equal(name, slice_of_text(variables[i].name))) {
            return i;
        }
    }
    return UINT16_MAX;
}

bool expr_is_constant_name(struct slice name)
{
    for (size_t i = 0; i < mx_countof(constant_names); i++) {
        if (slice_equal(name, slice_of_text(constant_names[i]))) {
            return true;
        }
    }
    return false;
}
