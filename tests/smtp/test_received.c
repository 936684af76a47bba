#include "smtp/received.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static char text[RECEIVED_MAX + 1];

static const char *print(const struct received *r)
{
    struct writer w = writer_init(text, sizeof text - 1);
    received_print(&w, r);
    cr_assert_not(w.overflow);
    text[w.len] = '\0';
    return text;
}

static struct received make(const char *helo)
{
    struct received r = {.helo = slice_of_text(helo),
                         .hostname = SLICE_LITERAL("mx.example.org"),
                         .esmtp = true,
                         .id = {1, 2, 3, 4},
                         .wall_ms = 1790000000000};
    cr_assert_eq(netaddr_parse(&r.client, SLICE_LITERAL("192.0.2.7")), MX_OK);
    return r;
}

/* RFC 5321 section 4.4. */
Test(received, fields)
{
    struct received r = make("client.example.net");
    cr_assert_str_eq(print(&r), "Received: from client.example.net ([192.0.2.7])\r\n"
                                "\tby mx.example.org with ESMTP id 1-2-3-4;\r\n"
                                "\tMon, 21 Sep 2026 14:13:20 +0000\r\n");
    r.only_rcpt = SLICE_LITERAL("alice@example.org");
    r.under_tls = true;
    r.tls_version = SLICE_LITERAL("TLSv1.3");
    r.tls_cipher = SLICE_LITERAL("TLS_AES_128_GCM_SHA256");
    cr_assert_str_eq(print(&r),
                     "Received: from client.example.net ([192.0.2.7])\r\n"
                     "\tby mx.example.org with ESMTPS (TLSv1.3 cipher TLS_AES_128_GCM_SHA256)\r\n"
                     "\tid 1-2-3-4 for <alice@example.org>;\r\n"
                     "\tMon, 21 Sep 2026 14:13:20 +0000\r\n");
}

Test(received, client_address_and_protocol)
{
    struct received r = make("no/domain");
    cr_assert_eq(netaddr_parse(&r.client, SLICE_LITERAL("2001:db8::7")), MX_OK);
    r.smtputf8 = true;
    cr_assert_str_eq(print(&r), "Received: from unknown ([IPv6:2001:db8::7])\r\n"
                                "\tby mx.example.org with UTF8SMTP id 1-2-3-4;\r\n"
                                "\tMon, 21 Sep 2026 14:13:20 +0000\r\n");
    r = make("[192.0.2.7]");
    r.esmtp = false;
    cr_assert_not_null(strstr(print(&r), "from [192.0.2.7] ([192.0.2.7])\r\n\tby mx.example.org "
                                         "with SMTP id"));
}

/* The address that the client came to, when a proxy tells it. */
Test(received, server_address)
{
    struct received r = make("client.example.net");
    cr_assert_eq(netaddr_parse(&r.server, SLICE_LITERAL("198.51.100.1")), MX_OK);
    cr_assert_str_eq(print(&r), "Received: from client.example.net ([192.0.2.7])\r\n"
                                "\tby mx.example.org ([198.51.100.1]) with ESMTP id 1-2-3-4;\r\n"
                                "\tMon, 21 Sep 2026 14:13:20 +0000\r\n");
    cr_assert_eq(netaddr_parse(&r.server, SLICE_LITERAL("2001:db8::25")), MX_OK);
    cr_assert_not_null(strstr(print(&r), "by mx.example.org ([IPv6:2001:db8::25]) with ESMTP"));
}

/* The name is whole, and on the field's own line. */
Test(received, longest_names)
{
    static char name[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."
                         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb."
                         "ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc."
                         "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
    struct received r = make(name);
    r.hostname = r.helo;
    r.only_rcpt = r.helo;
    const char *out = print(&r);
    cr_assert_str_eq(strstr(out, name) - strlen("Received: from "), out);
    cr_assert_eq(strstr(out, "\r\n") - out, (ptrdiff_t)(strlen("Received: from ") + strlen(name)));
}
