/* Parameters of MAIL, RCPT and BDAT one by one. */
#include "smtp/cmd_parse.h"

#include <criterion/criterion.h>

static const struct cmd_offer all = {.esmtp = true, .binarymime = true, .dsn = true};

struct mail_case {
    const char *argument;
    enum reply reply;
};

Test(cmd_parse, mail)
{
    static const struct mail_case cases[] = {
        {"FROM:<a@b.example>", REPLY_OK},
        {"FROM:<>", REPLY_OK},
        {"from: <a@b.example>", REPLY_OK},
        {"FROM:<a@b.example> SIZE=10 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=x+2By", REPLY_OK},
        {"FROM:<a@b.example> BODY=7bit", REPLY_OK},
        {"FROM:<a@b.example> BODY=BINARYMIME", REPLY_OK},
        {"FROM:<a@b.example> RET=FULL", REPLY_OK},
        {"FROM:<a@b.example> SIZE=99999999999999999999", REPLY_OK}, /* more than any limit */
        {"FROM:<a@b.example> SIZE=999999999999999999999", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> SIZE=", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> SIZE=1x", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> SIZE", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> SIZE=1 SIZE=1", REPLY_UNKNOWN_PARAMETER},
        {"FROM:<a@b.example> SMTPUTF8=1", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> BODY=9BIT", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> RET=SOME", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> ENVID=a+zz", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> NOTIFY=NEVER", REPLY_UNKNOWN_PARAMETER}, /* belongs to RCPT */
        {"FROM:<a@b.example> X-Y=1", REPLY_UNKNOWN_PARAMETER},
        {"FROM:<a@b.example> -X=1", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> X_Y=1", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> =1", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> X=a=b", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example> X=\x01", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a@b.example>SIZE=1", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<a>", REPLY_SENDER_SYNTAX}, /* only RCPT may say <postmaster> */
        {"FROM:<a@b.example", REPLY_SENDER_SYNTAX},
        {"TO:<a@b.example>", REPLY_ARGUMENT_SYNTAX},
        {"FROM:<\xc3\xa4@b.example>", REPLY_NEEDS_SMTPUTF8},
        {"FROM:<\xc3\xa4@b.example> SMTPUTF8", REPLY_OK},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct slice sender;
        struct mail_params mail;
        uint8_t envid[ENVID_MAX];
        enum reply reply =
            cmd_parse_mail(&sender, &mail, envid, slice_of_text(cases[i].argument), &all);
        cr_assert_eq(reply, cases[i].reply, "%s: %u", cases[i].argument, reply);
    }
}

Test(cmd_parse, mail_values)
{
    struct slice sender;
    struct mail_params mail;
    uint8_t envid[ENVID_MAX];
    struct cmd_offer offer = all;
    offer.size_bytes_max = 1000;
    cr_assert_eq(cmd_parse_mail(&sender, &mail, envid,
                                SLICE_LITERAL("FROM:<a@b.example> SIZE=1000 RET=FULL ENVID=a+2Bb "
                                              "BODY=8BITMIME"),
                                &offer),
                 REPLY_OK);
    cr_assert(slice_equal(sender, SLICE_LITERAL("a@b.example")));
    cr_assert(slice_equal(mail.envid, SLICE_LITERAL("a+b")));
    cr_assert(mail.size == 1000 && mail.ret == RET_FULL && mail.body == BODY_8BITMIME);
    cr_assert_eq(cmd_parse_mail(&sender, &mail, envid,
                                SLICE_LITERAL("FROM:<a@b.example> SIZE=1001"), &offer),
                 REPLY_TOO_BIG);
    cr_assert_eq(cmd_parse_mail(&sender, &mail, envid,
                                SLICE_LITERAL("FROM:<a@b.example> SIZE=99999999999999999999"),
                                &offer),
                 REPLY_TOO_BIG);
    offer = (struct cmd_offer){.esmtp = true};
    cr_assert_eq(cmd_parse_mail(&sender, &mail, envid,
                                SLICE_LITERAL("FROM:<a@b.example> BODY=BINARYMIME"), &offer),
                 REPLY_UNKNOWN_PARAMETER);
    cr_assert_eq(
        cmd_parse_mail(&sender, &mail, envid, SLICE_LITERAL("FROM:<a@b.example> RET=FULL"), &offer),
        REPLY_UNKNOWN_PARAMETER);
    offer = (struct cmd_offer){0}; /* after HELO */
    cr_assert_eq(
        cmd_parse_mail(&sender, &mail, envid, SLICE_LITERAL("FROM:<a@b.example> SIZE=1"), &offer),
        REPLY_UNKNOWN_PARAMETER);
}

Test(cmd_parse, rcpt)
{
    static const struct {
        const char *argument;
        enum reply reply;
        bool smtputf8;
    } cases[] = {
        {"TO:<a@b.example>", REPLY_OK},
        {"TO:<postmaster>", REPLY_OK},
        {"TO:<>", REPLY_RCPT_SYNTAX},
        {"TO:<a@b.example", REPLY_RCPT_SYNTAX},
        {"FROM:<a@b.example>", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> NOTIFY=NEVER", REPLY_OK},
        {"TO:<a@b.example> NOTIFY=success,FAILURE,delay", REPLY_OK},
        {"TO:<a@b.example> NOTIFY=NEVER,DELAY", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> NOTIFY=SOMETIMES", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> NOTIFY=DELAY,", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=rfc822;a+40b", REPLY_OK},
        {"TO:<a@b.example> ORCPT=rfc822", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=;x", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=a_b;x", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=rfc822;a+4", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=utf-8;\xc3\xa4", REPLY_ARGUMENT_SYNTAX},
        {"TO:<a@b.example> ORCPT=utf-8;\xc3\xa4", REPLY_OK, true},
        {"TO:<a@b.example> ORCPT=rfc822;\xc3\xa4", REPLY_ARGUMENT_SYNTAX, true},
        {"TO:<a@b.example> SIZE=1", REPLY_UNKNOWN_PARAMETER},
        {"TO:<\xc3\xa4@b.example>", REPLY_NEEDS_SMTPUTF8},
        {"TO:<\xc3\xa4@b.example>", REPLY_OK, true},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct slice rcpt;
        struct rcpt_params params;
        enum reply reply = cmd_parse_rcpt(&rcpt, &params, slice_of_text(cases[i].argument), &all,
                                          cases[i].smtputf8);
        cr_assert_eq(reply, cases[i].reply, "%s: %u", cases[i].argument, reply);
    }
}
