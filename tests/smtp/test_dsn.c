#include "smtp/dsn.h"

#include "core/text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static char text[64 * 1024];

static const char *print(struct dsn *dsn)
{
    struct writer w = writer_init(text, sizeof text - 1);
    dsn_print(&w, dsn);
    cr_assert_not(w.overflow);
    cr_assert_leq(w.len, dsn_bytes_max(dsn));
    text[w.len] = '\0';
    return text;
}

static struct envelope_rcpt rcpts[2] = {
    {.address = {(const uint8_t *)"Bob@example.org", 15},
     .params = {.orcpt = {(const uint8_t *)"rfc822;bob+2Btag@old.example", 28}}},
    {.address = {(const uint8_t *)"eve@example.org", 15}},
};

static struct dsn make(const struct envelope *env, const struct dsn_rcpt *list, uint32_t count)
{
    return (struct dsn){.hostname = SLICE_LITERAL("mx.example.org"),
                        .id = {1, 2, 3, 4},
                        .original_id = {1, 2, 3, 3},
                        .env = env,
                        .original_header = SLICE_LITERAL("Subject: hello\r\nFrom: a@b.example\r\n"),
                        .wall_ms = 1790000000000,
                        .rcpts = list,
                        .rcpt_count = count};
}

/* RFC 3464: fields per message, fields per recipient, in the form that programs read. */
Test(dsn, failure)
{
    struct envelope env = {.sender = SLICE_LITERAL("sender@remote.example"),
                           .arrived_wall_ms = 1789999000000};
    env.mail.envid = SLICE_LITERAL("QQ314159");
    struct dsn_rcpt list[2] = {
        {.rcpt = &rcpts[0],
         .action = DSN_FAILED,
         .status = {5, 1, 1},
         .code = 550,
         .text = SLICE_LITERAL("No such user"),
         .remote_host = SLICE_LITERAL("[192.0.2.1]")},
        {.rcpt = &rcpts[1],
         .action = DSN_DELAYED,
         .status = {4, 4, 1},
         .text = SLICE_LITERAL("connection refused"),
         .retry_until_ms = 1790400000000},
    };
    struct dsn dsn = make(&env, list, 2);
    const char *out = print(&dsn);
    static const char *const wanted[] = {
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.org>\r\n",
        "To: <sender@remote.example>\r\n",
        "Subject: Undelivered Mail Returned to Sender\r\n",
        "Auto-Submitted: auto-replied\r\n",
        "Message-ID: <1-2-3-4.dsn@mx.example.org>\r\n",
        "Content-Type: multipart/report; "
        "report-type=delivery-status;\r\n\tboundary=\"=_ringmx-1-2-3-4\"\r\n",
        "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: "
        "dns;mx.example.org\r\nOriginal-Envelope-Id: QQ314159\r\n",
        "\r\n\r\nOriginal-Recipient: rfc822;bob+tag@old.example\r\nFinal-Recipient: "
        "rfc822;Bob@example.org\r\nAction: failed\r\n"
        "Status: 5.1.1\r\nRemote-MTA: dns;[192.0.2.1]\r\nDiagnostic-Code: smtp;550 No such "
        "user\r\n",
        "\r\n\r\nFinal-Recipient: rfc822;eve@example.org\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
        "Diagnostic-Code: X-Ringmx;connection refused\r\nWill-Retry-Until: Sat, 26 Sep 2026",
        "Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\nFrom: "
        "a@b.example\r\n\r\n--=_ringmx-1-2-3-4--\r\n",
    };
    for (size_t i = 0; i < mx_countof(wanted); i++) {
        cr_assert_not_null(strstr(out, wanted[i]), "missing: %s\nin: %s", wanted[i], out);
    }
    /* Every line ends in CRLF, none is longer than RFC 5322 allows. */
    size_t column = 0;
    for (const char *c = out; *c != '\0'; c++) {
        cr_assert(*c != '\n' || c[-1] == '\r');
        cr_assert(*c != '\r' || c[1] == '\n');
        column = *c == '\n' ? 0 : column + 1;
        cr_assert_leq(column, 999);
    }
}

/* RFC 3464 section 2.2.4: the name that the client gave, if it is one, and its address. */
Test(dsn, received_from)
{
    static const struct {
        const char *helo, *client, *field;
    } rows[] = {{"mail.remote.example", "192.0.2.7", "mail.remote.example ([192.0.2.7])"},
                {"mail.remote.example", "2001:db8::7", "mail.remote.example ([IPv6:2001:db8::7])"},
                {"[192.0.2.9]", "192.0.2.7", "[192.0.2.9] ([192.0.2.7])"},
                {"a)\r\nAction: delivered", "192.0.2.7", "[192.0.2.7]"},
                {"not a name", "2001:db8::7", "[IPv6:2001:db8::7]"},
                {"", "192.0.2.7", "[192.0.2.7]"},
                {"mail.remote.example", NULL, NULL}};
    struct dsn_rcpt one = {.rcpt = &rcpts[1], .action = DSN_FAILED, .status = {5, 1, 1}};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct envelope env = {.sender = SLICE_LITERAL("s@remote.example"),
                               .helo = slice_of_text(rows[i].helo)};
        char line[200];
        if (rows[i].client != NULL) {
            cr_assert_eq(netaddr_parse(&env.client, slice_of_text(rows[i].client)), MX_OK);
            snprintf(line, sizeof line, "\r\nReceived-From-MTA: dns;%s\r\n", rows[i].field);
        }
        struct dsn dsn = make(&env, &one, 1);
        const char *at = strstr(print(&dsn), "Received-From-MTA");
        cr_assert_eq(at != NULL, rows[i].client != NULL);
        cr_assert(at == NULL || strncmp(at - 2, line, strlen(line)) == 0, "%s", at);
    }
}

/* RFC 2045 section 6: 8-bit data that is quoted is declared, at the part and at the message. */
Test(dsn, quoted_8bit)
{
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    struct dsn_rcpt one = {.rcpt = &rcpts[1], .action = DSN_FAILED, .status = {5, 1, 1}};
    struct dsn dsn = make(&env, &one, 1);
    cr_assert_null(strstr(print(&dsn), "Content-Transfer-Encoding"));
    dsn.original_body = SLICE_LITERAL("\r\ngr\xc3\xbc\xc3\x9f"
                                      "e\r\n");
    const char *out = print(&dsn);
    const char *at_top = strstr(out, "Content-Transfer-Encoding: 8bit\r\n\r\nThis is a MIME");
    cr_assert_not_null(at_top, "in: %s", out);
    cr_assert_not_null(strstr(out, "Content-Type: message/rfc822\r\n"
                                   "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: hello"));
    cr_assert_null(strstr(out, "delivery-status\r\nContent-Transfer-Encoding"));
}

/* What came as BINARYMIME, or was cut in the middle of a CRLF, is quoted in lines: no bare CR or LF
 * and no NUL, that a lenient server could take for an end of data. */
Test(dsn, quoted_binary)
{
    static const char *const alphabet = "\r\n.";
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    struct dsn_rcpt one = {.rcpt = &rcpts[1], .action = DSN_FAILED, .status = {5, 6, 1}};
    for (unsigned code = 0; code < 4 * 4 * 4 * 4 * 4; code++) {
        uint8_t bytes[] = "X: 12345y";
        for (unsigned i = 0; i < 5; i++) {
            bytes[3 + i] = (uint8_t)alphabet[code >> (2 * i) & 3]; /* the fourth is the NUL */
        }
        for (unsigned cut = 3; cut < sizeof bytes; cut++) {
            struct dsn dsn = make(&env, &one, 1);
            dsn.original_header = slice_of(bytes, cut);
            dsn.original_body = cut == 8 ? slice_of(bytes, 8) : SLICE_EMPTY;
            struct writer w = writer_init(text, sizeof text);
            dsn_print(&w, &dsn);
            cr_assert_leq(w.len, dsn_bytes_max(&dsn));
            for (size_t i = 0; i < w.len; i++) {
                cr_assert(text[i] != '\0' && (text[i] != '\n' || text[i - 1] == '\r') &&
                              (text[i] != '\r' || text[i + 1] == '\n'),
                          "code %u cut %u", code, cut);
            }
        }
    }
    struct dsn dsn = make(&env, &one, 1);
    dsn.original_header = SLICE_LITERAL("A: b\n.\nC: d\r\n.\r\n");
    cr_assert_not_null(strstr(print(&dsn), "\r\n\r\nA: b?.?C: d\r\n.\r\n\r\n--"));
}

/* RFC 6533 section 3: addresses that are not in ASCII, in a report in UTF-8 and in one in ASCII. */
Test(dsn, utf8_addresses)
{
    static const struct envelope_rcpt rcpt = {.address = SLICE_LITERAL("gr\xc3\xbcn@example.org"),
                                              .params.orcpt =
                                                  SLICE_LITERAL("utf-8;b\xc3\xb8\\x{E9}@x")};
    static const struct {
        bool smtputf8;
        const char *wanted;
    } rows[] = {{true, "Original-Recipient: utf-8;b\xc3\xb8\\x{E9}@x\r\nFinal-Recipient: "
                       "utf-8;gr\xc3\xbcn@example.org\r\n"},
                {false, "Original-Recipient: utf-8;b\\x{F8}\\x{E9}@x\r\nFinal-Recipient: "
                        "utf-8;gr\\x{FC}n@example.org\r\n"}};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
        struct dsn_rcpt one = {.rcpt = &rcpt, .action = DSN_FAILED, .status = {5, 1, 1}};
        struct dsn dsn = make(&env, &one, 1);
        env.mail.smtputf8 = rows[i].smtputf8;
        cr_assert_not_null(strstr(print(&dsn), rows[i].wanted), "row %zu in: %s", i, text);
        cr_assert_not_null(strstr(text, rows[i].smtputf8 ? "  <gr\xc3\xbcn@example.org>\r\n"
                                                         : "  <gr\\x{FC}n@example.org>\r\n"));
        cr_assert(rows[i].smtputf8 || text_is_ascii(slice_of_text(text)));
    }
}

/* RFC 3464 section 2.3.8: our queue id where the message went no further; else the other's is in
 * its reply. */
Test(dsn, final_log_id)
{
    static const struct {
        enum dsn_action action;
        const char *remote;
        bool wanted;
    } rows[] = {{DSN_DELIVERED, "", true},
                {DSN_FAILED, "", true},
                {DSN_FAILED, "mx.remote.example", false},
                {DSN_RELAYED, "mx.remote.example", false},
                {DSN_DELAYED, "", false}};
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct dsn_rcpt one = {.rcpt = &rcpts[1],
                               .action = rows[i].action,
                               .remote_host = slice_of_text(rows[i].remote)};
        struct dsn dsn = make(&env, &one, 1);
        bool found = strstr(print(&dsn), "\r\nFinal-Log-ID: 1-2-3-3\r\n") != NULL;
        cr_assert_eq(found, rows[i].wanted, "row %zu", i);
    }
}

/* The longest of everything has room. */
Test(dsn, longest)
{
    static uint8_t address[ADDRESS_MAX], orcpt[ORCPT_MAX], said[2000];
    for (size_t i = 0; i + 1 < sizeof address; i += 2) {
        memcpy(address + i, "\xc3\xbc", 2);
    }
    memset(orcpt, 'o', sizeof orcpt);
    memcpy(orcpt, "x;", 2);
    memset(said, 's', sizeof said);
    struct envelope_rcpt rcpt = {.address = slice_of(address, sizeof address),
                                 .params.orcpt = slice_of(orcpt, sizeof orcpt)};
    struct dsn_rcpt list[10];
    struct envelope env = {.sender = slice_of(said, 2 * 160)};
    for (unsigned i = 0; i < mx_countof(list); i++) {
        list[i] = (struct dsn_rcpt){.rcpt = &rcpt,
                                    .action = DSN_DELAYED,
                                    .status = {4, 255, 255},
                                    .code = 450,
                                    .text = slice_of(said, sizeof said),
                                    .remote_host = slice_of(said, 255),
                                    .attempted_ms = 1789999999000,
                                    .retry_until_ms = 1789999999000};
    }
    for (uint32_t count = 1; count <= mx_countof(list); count++) {
        struct dsn dsn = make(&env, list, count);
        print(&dsn); /* within dsn_bytes_max */
    }
}

/* Nothing from outside can begin a new header or part. */
Test(dsn, hostile_texts)
{
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    static uint8_t large[5000];
    memset(large, 'x', sizeof large);
    struct dsn_rcpt list[2] = {
        {.rcpt = &rcpts[0],
         .action = DSN_FAILED,
         .status = {5, 0, 0},
         .code = 550,
         .text = SLICE_LITERAL("a\r\nBcc: victim@example.org\r\n\r\n--=_ringmx-1-2-3-4--")},
        {.rcpt = &rcpts[1],
         .action = DSN_FAILED,
         .status = {5, 0, 0},
         .code = 550,
         .text = slice_of(large, sizeof large)},
    };
    struct dsn dsn = make(&env, list, 2);
    const char *out = print(&dsn);
    cr_assert_null(strstr(out, "\nBcc:"));
    cr_assert_not_null(strstr(out, "a??Bcc: victim"));
}

Test(dsn, wanted_by_notify)
{
    cr_assert(dsn_wanted(NOTIFY_UNSET, DSN_FAILED));
    cr_assert(dsn_wanted(NOTIFY_UNSET, DSN_DELAYED));
    cr_assert_not(dsn_wanted(NOTIFY_UNSET, DSN_DELIVERED));
    cr_assert_not(dsn_wanted(NOTIFY_NEVER, DSN_FAILED));
    cr_assert_not(dsn_wanted(NOTIFY_FAILURE, DSN_DELAYED));
    cr_assert(dsn_wanted(NOTIFY_SUCCESS | NOTIFY_DELAY, DSN_RELAYED));
    cr_assert_not(dsn_wanted(NOTIFY_SUCCESS, DSN_FAILED));
}

/* From whom: words of a phrase, and encoded words that never cut a character (RFC 2047). */
Test(dsn, from)
{
    static const struct {
        const char *name, *address, *wanted;
    } rows[] = {
        {"", "", "From: Mail Delivery System <MAILER-DAEMON@mx.example.org>\r\n"},
        {"Mail Delivery Subsystem", "bounces@example.org",
         "From: Mail Delivery Subsystem <bounces@example.org>\r\n"},
        {"a \"b\" <c@d>", "", "From: =?utf-8?Q?a=20=22b=22=20=3Cc=40d=3E?= <MAILER"},
        {"evil\r\nBcc: x", "", "From: =?utf-8?Q?evil=0D=0ABcc=3A=20x?= <MAILER"},
        {"gr\xc3\xbc\xc3\x9f"
         "e",
         "", "From: =?utf-8?Q?gr=C3=BC=C3=9Fe?= <MAILER"},
        {"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", "",
         "From: =?utf-8?Q?=E2=82=AC=E2=82=AC=E2=82=AC=E2=82=AC=E2=82=AC=E2=82=AC?=\r\n "
         "=?utf-8?Q?=E2=82=AC?= <MAILER"},
    };
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    struct dsn_rcpt one = {.rcpt = &rcpts[1], .action = DSN_FAILED, .status = {5, 1, 1}};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct dsn dsn = make(&env, &one, 1);
        dsn.from_name = slice_of_text(rows[i].name);
        dsn.from_address = slice_of_text(rows[i].address);
        const char *out = print(&dsn);
        cr_assert_not_null(strstr(out, rows[i].wanted), "row %zu in: %.300s", i, out);
    }
}

/* RFC 3834 section 3.1.5: the answer names what it answers, when that is a message id. */
Test(dsn, references)
{
    static const struct {
        const char *header, *wanted;
    } rows[] = {
        {"Subject: x\r\nmessage-id:  <a.b@c>\r\n",
         "\r\nIn-Reply-To: <a.b@c>\r\nReferences: <a.b@c>\r\n"},
        {"Message-ID: <a b@c>\r\n", NULL},
        {"Message-ID: <a>b@c>\r\n", NULL},
        {"Message-ID: a@c\r\n", NULL},
        {"Message-ID:\r\n", NULL},
        {"Subject: none\r\n", NULL},
    };
    struct envelope env = {.sender = SLICE_LITERAL("s@remote.example")};
    struct dsn_rcpt one = {.rcpt = &rcpts[1], .action = DSN_FAILED, .status = {5, 1, 1}};
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct dsn dsn = make(&env, &one, 1);
        dsn.original_header = slice_of_text(rows[i].header);
        const char *found = strstr(print(&dsn), "In-Reply-To");
        cr_assert_eq(found != NULL, rows[i].wanted != NULL, "row %zu", i);
        cr_assert(found == NULL || strstr(text, rows[i].wanted) != NULL, "row %zu in: %s", i, text);
    }
}

/* A report that is made up after a start has only the text of a reply. */
Test(dsn, status_of_a_text)
{
    static const struct {
        const char *text;
        enum dsn_action action;
        uint8_t status[3];
    } rows[] = {
        {"5.1.1 No such user", DSN_FAILED, {5, 1, 1}}, {"No such user", DSN_FAILED, {5, 0, 0}},
        {"4.3.2 busy", DSN_FAILED, {5, 0, 0}},         {"4.3.2 busy", DSN_DELAYED, {4, 3, 2}},
        {"2.1.5 fine", DSN_RELAYED, {2, 1, 5}},        {"", DSN_DELIVERED, {2, 0, 0}},
        {"5.300.1 x", DSN_FAILED, {5, 0, 0}},          {"5.1.1", DSN_FAILED, {5, 0, 0}},
        {"5.1.1.2 x", DSN_FAILED, {5, 0, 0}},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        uint8_t status[3];
        dsn_status_guess(status, rows[i].action, slice_of_text(rows[i].text));
        cr_assert_arr_eq(status, rows[i].status, 3, "row %zu", i);
    }
}

/* The whole of a report, as it goes out. */
Test(dsn, golden)
{
    static const char wanted[] =
        "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
        "From: Postmaster <bounces@example.org>\r\n"
        "To: <sender@remote.example>\r\n"
        "Subject: Undelivered Mail Returned to Sender\r\n"
        "Message-ID: <1-2-3-4.dsn@mx.example.org>\r\n"
        "In-Reply-To: <m1@b.example>\r\n"
        "References: <m1@b.example>\r\n"
        "Auto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/report; report-type=delivery-status;\r\n"
        "\tboundary=\"=_ringmx-1-2-3-4\"\r\n"
        "\r\n"
        "This is a MIME-encapsulated delivery status notification.\r\n"
        "\r\n"
        "--=_ringmx-1-2-3-4\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
        "This is the mail system at mx.example.org.\r\n"
        "\r\n"
        "Your message could not be delivered to the following recipients:\r\n"
        "\r\n"
        "  <Bob@example.org>\r\n"
        "      mx.remote.example said: 550 5.1.1 No such user\r\n"
        "\r\n"
        "Your message could not be delivered yet to the following recipients. It is still\r\n"
        "queued and will be tried again; you need not send it again:\r\n"
        "\r\n"
        "  <eve@example.org>\r\n"
        "      connection refused\r\n"
        "\r\n"
        "Queue id: 1-2-3-3\r\n"
        "\r\n"
        "--=_ringmx-1-2-3-4\r\n"
        "Content-Type: message/delivery-status\r\n"
        "\r\n"
        "Reporting-MTA: dns;mx.example.org\r\n"
        "Original-Envelope-Id: QQ314159\r\n"
        "X-Ringmx-Queue-ID: 1-2-3-3\r\n"
        "Arrival-Date: Mon, 21 Sep 2026 13:56:40 +0000\r\n"
        "\r\n"
        "Original-Recipient: rfc822;bob+tag@old.example\r\n"
        "Final-Recipient: rfc822;Bob@example.org\r\n"
        "Action: failed\r\n"
        "Status: 5.1.1\r\n"
        "Remote-MTA: dns;mx.remote.example\r\n"
        "Diagnostic-Code: smtp;550 5.1.1 No such user\r\n"
        "Last-Attempt-Date: Mon, 21 Sep 2026 14:13:19 +0000\r\n"
        "\r\n"
        "Final-Recipient: rfc822;eve@example.org\r\n"
        "Action: delayed\r\n"
        "Status: 4.4.1\r\n"
        "Diagnostic-Code: X-Ringmx;connection refused\r\n"
        "Last-Attempt-Date: Mon, 21 Sep 2026 14:13:19 +0000\r\n"
        "Will-Retry-Until: Sat, 26 Sep 2026 05:20:00 +0000\r\n"
        "\r\n"
        "--=_ringmx-1-2-3-4\r\n"
        "Content-Type: message/rfc822\r\n"
        "\r\n"
        "Subject: hello\r\n"
        "Message-ID: <m1@b.example>\r\n"
        "\r\n"
        "the body\r\n"
        "\r\n"
        "--=_ringmx-1-2-3-4--\r\n";
    struct envelope env = {.sender = SLICE_LITERAL("sender@remote.example"),
                           .arrived_wall_ms = 1789999000000};
    env.mail.envid = SLICE_LITERAL("QQ314159");
    struct dsn_rcpt list[2] = {
        {.rcpt = &rcpts[0],
         .action = DSN_FAILED,
         .status = {5, 1, 1},
         .code = 550,
         .text = SLICE_LITERAL("5.1.1 No such user"),
         .attempted_ms = 1789999999000,
         .remote_host = SLICE_LITERAL("mx.remote.example")},
        {.rcpt = &rcpts[1],
         .action = DSN_DELAYED,
         .status = {4, 4, 1},
         .text = SLICE_LITERAL("connection refused"),
         .attempted_ms = 1789999999000,
         .retry_until_ms = 1790400000000},
    };
    struct dsn dsn = make(&env, list, 2);
    dsn.from_name = SLICE_LITERAL("Postmaster");
    dsn.from_address = SLICE_LITERAL("bounces@example.org");
    dsn.original_header = SLICE_LITERAL("Subject: hello\r\nMessage-ID: <m1@b.example>\r\n");
    dsn.original_body = SLICE_LITERAL("\r\nthe body\r\n");
    const char *out = print(&dsn);
    size_t at = 0;
    while (out[at] != '\0' && out[at] == wanted[at]) {
        at++;
    }
    cr_assert_eq(out[at], wanted[at], "differs at \"%.60s\", wanted \"%.60s\"", out + at,
                 wanted + at);
}
