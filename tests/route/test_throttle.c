#include "route/throttle.h"

#include <criterion/criterion.h>

static enum inbound_stage stage(uint16_t parts, const char *match, enum expr_context context)
{
    struct expr_program *program = NULL;
    struct expr_problem problem;
    struct expr_source source = {.otherwise = slice_of_text(match)};
    cr_assert(expr_compile(&program, &source, context, &problem) == MX_OK, "%s", problem.message);
    enum inbound_stage found = inbound_stage_of(parts, program);
    expr_free(program);
    return found;
}

Test(throttle, names_of_the_parts)
{
    static const char *const names[INBOUND_PARTS] = {"listener",   "remoteIp",  "localIp",
                                                     "heloDomain", "sender",    "senderDomain",
                                                     "rcpt",       "rcptDomain"};
    for (unsigned i = 0; i < INBOUND_PARTS; i++) {
        cr_assert_str_eq(inbound_part_name(i), names[i]);
    }
}

Test(throttle, the_latest_part_decides)
{
    cr_assert_eq(inbound_stage_of(0, NULL), INBOUND_CONNECT);
    cr_assert_eq(inbound_stage_of(INBOUND_LISTENER | INBOUND_REMOTE_IP | INBOUND_LOCAL_IP, NULL),
                 INBOUND_CONNECT);
    cr_assert_eq(inbound_stage_of(INBOUND_HELO_DOMAIN | INBOUND_REMOTE_IP, NULL), INBOUND_EHLO);
    cr_assert_eq(inbound_stage_of(INBOUND_SENDER | INBOUND_HELO_DOMAIN, NULL), INBOUND_MAIL);
    cr_assert_eq(inbound_stage_of(INBOUND_SENDER_DOMAIN, NULL), INBOUND_MAIL);
    cr_assert_eq(inbound_stage_of(INBOUND_PART_RCPT | INBOUND_SENDER, NULL), INBOUND_RCPT);
    cr_assert_eq(inbound_stage_of(INBOUND_RCPT_DOMAIN, NULL), INBOUND_RCPT);
}

Test(throttle, or_what_the_condition_looks_at)
{
    static const struct {
        const char *match;
        enum inbound_stage stage;
    } rows[] = {
        {"local_port == 25 && is_tls", INBOUND_CONNECT},
        {"helo_domain == 'a' || remote_ip == '192.0.2.1'", INBOUND_EHLO},
        {"sender == ''", INBOUND_MAIL},
        {"sender_domain == 'a'", INBOUND_MAIL},
        {"rcpt == 'a'", INBOUND_RCPT},
        {"rcpt_domain == 'a' && sender == ''", INBOUND_RCPT},
        {"count(recipients) > 5", INBOUND_RCPT},
        {"is_empty(dns_query(remote_ip, 'ptr'))", INBOUND_MAIL},
        {"is_empty(dns_query(rcpt_domain, 'mx'))", INBOUND_RCPT},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        cr_assert_eq(stage(INBOUND_REMOTE_IP, rows[i].match, EXPR_RCPT), rows[i].stage, "%s",
                     rows[i].match);
    }
    cr_assert_eq(stage(INBOUND_PART_RCPT, "sender == ''", EXPR_RCPT), INBOUND_RCPT);
}
