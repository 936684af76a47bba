#include "core/netaddr.h"

#include <criterion/criterion.h>

static void check_text(const char *in, const char *expected)
{
    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, slice_of_text(in)), MX_OK, "%s", in);
    char text[NETADDR_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &addr);
    cr_assert(!w.overflow);
    cr_assert(slice_equal(writer_slice(&w), slice_of_text(expected)), "%s -> %.*s, not %s", in,
              SLICE_ARGS(writer_slice(&w)), expected);
    struct netaddr again;
    cr_assert_eq(netaddr_parse(&again, writer_slice(&w)), MX_OK);
    cr_assert(netaddr_equal(&addr, &again), "%s", in);
}

Test(netaddr, text_in_and_out)
{
    check_text("192.0.2.1", "192.0.2.1");
    check_text("0.0.0.0", "0.0.0.0");
    check_text("255.255.255.255", "255.255.255.255");
    check_text("2001:db8::1", "2001:db8::1");
    check_text("2001:0DB8:0000:0000:0000:0000:0000:0001", "2001:db8::1");
    check_text("::", "::");
    check_text("::1", "::1");
    check_text("1::", "1::");
    check_text("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8");
    /* RFC 5952 4.2.2: one zero group is not shortened; 4.2.3: the first of equal runs is */
    check_text("2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1");
    check_text("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1");
    check_text("2001:0:0:1:0:0:0:1", "2001:0:0:1::1");
    check_text("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::");
    check_text("0:0:3:4:5:6:7:8", "::3:4:5:6:7:8");
    check_text("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0");
    check_text("64:ff9b::192.0.2.33", "64:ff9b::c000:221");
    check_text("1:2:3:4:5:6:192.0.2.33", "1:2:3:4:5:6:c000:221");
    /* v4-mapped is IPv4 */
    check_text("::ffff:192.0.2.1", "192.0.2.1");
    check_text("::ffff:c000:201", "192.0.2.1");
}

Test(netaddr, refuses_what_is_no_address)
{
    static const char *const bad[] = {
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "01.2.3.4",
        "1.2.3.",
        ".1.2.3",
        "1.2.3.4 ",
        " 1.2.3.4",
        "1.2.3.-4",
        "1.2.3.+4",
        "1.2.3.0x4",
        ":",
        ":::",
        "1:::2",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        ":1:2",
        "1:2:",
        "12345::",
        "g::",
        "fe80::1%eth0",
        "[::1]",
        "1.2.3.4::",
        "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3",
        "1.2.3.99999",
        "1..2.3",
    };
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct netaddr addr = {.family = 77};
        cr_assert_eq(netaddr_parse(&addr, slice_of_text(bad[i])), MX_ERR_SYNTAX, "%s", bad[i]);
        cr_assert_eq(addr.family, 77, "output touched by %s", bad[i]);
    }
}

Test(netaddr, with_port)
{
    static const char *const good[] = {"192.0.2.1:25", "[2001:db8::1]:65535", "0.0.0.0:0"};
    for (size_t i = 0; i < mx_countof(good); i++) {
        struct netaddr addr;
        cr_assert_eq(netaddr_parse_port(&addr, slice_of_text(good[i])), MX_OK, "%s", good[i]);
        char text[NETADDR_TEXT_MAX + 8];
        struct writer w = writer_init(text, sizeof text);
        put_netaddr_port(&w, &addr);
        cr_assert(slice_equal(writer_slice(&w), slice_of_text(good[i])), "%s", good[i]);
    }
    static const char *const bad[] = {
        "192.0.2.1", "192.0.2.1:",     "192.0.2.1:x", "::1:25", "[::1]", "[::1]25",    "[::1",
        "[",         "[192.0.2.1]:25", ":25",         "[]:25",  "",      "1.2.3.4:-1", "[::1]:"};
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct netaddr addr;
        cr_assert_neq(netaddr_parse_port(&addr, slice_of_text(bad[i])), MX_OK, "%s", bad[i]);
    }
    struct netaddr addr;
    cr_assert_neq(netaddr_parse_port(&addr, SLICE_LITERAL("1.2.3.4:65536")), MX_OK);
}

Test(netaddr, unknown_and_small_writer)
{
    struct netaddr none = {0};
    char text[8];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr(&w, &none);
    cr_assert(slice_equal(writer_slice(&w), SLICE_LITERAL("unknown")));

    struct netaddr addr;
    cr_assert_eq(netaddr_parse(&addr, SLICE_LITERAL("192.0.2.1")), MX_OK);
    w = writer_init(text, sizeof text);
    put_netaddr(&w, &addr);
    cr_assert(w.overflow);
}

static bool in_network(const char *network, const char *address)
{
    struct netmask mask;
    struct netaddr addr;
    cr_assert_eq(netmask_parse(&mask, slice_of_text(network)), MX_OK, "%s", network);
    cr_assert_eq(netaddr_parse(&addr, slice_of_text(address)), MX_OK, "%s", address);
    return netmask_contains(&mask, &addr);
}

Test(netmask, contains)
{
    cr_assert(in_network("192.0.2.0/24", "192.0.2.255"));
    cr_assert(!in_network("192.0.2.0/24", "192.0.3.0"));
    cr_assert(in_network("192.0.2.77/24", "192.0.2.1")); /* host bits are cleared */
    cr_assert(in_network("192.0.2.128/25", "192.0.2.200"));
    cr_assert(!in_network("192.0.2.128/25", "192.0.2.127"));
    cr_assert(in_network("0.0.0.0/0", "203.0.113.9"));
    cr_assert(!in_network("0.0.0.0/0", "::1"));
    cr_assert(in_network("192.0.2.1", "192.0.2.1"));
    cr_assert(!in_network("192.0.2.1", "192.0.2.2"));
    cr_assert(in_network("2001:db8::/32", "2001:db8:ffff::1"));
    cr_assert(!in_network("2001:db8::/33", "2001:db8:ffff::1"));
    cr_assert(in_network("::/0", "2001:db8::1"));
    cr_assert(!in_network("::/0", "192.0.2.1"));
    cr_assert(in_network("::ffff:192.0.2.0/120", "192.0.2.9"));
    cr_assert(in_network("192.0.2.0/24", "::ffff:192.0.2.9"));
    cr_assert(in_network("::ffff:0:0/96", "192.0.2.9"));

    struct netmask none = {0};
    struct netaddr unknown = {0};
    cr_assert(!netmask_contains(&none, &unknown));
}

Test(netmask, every_prefix_length)
{
    for (unsigned bits = 0; bits <= 128; bits++) {
        char text[64];
        struct writer w = writer_init(text, sizeof text);
        put_text(&w, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/");
        put_decimal(&w, bits);
        struct netmask mask;
        cr_assert_eq(netmask_parse(&mask, writer_slice(&w)), MX_OK);
        cr_assert_eq(mask.bits, bits);
        struct netaddr addr;
        cr_assert_eq(netaddr_parse(&addr, SLICE_LITERAL("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
                     MX_OK);
        cr_assert(netmask_contains(&mask, &addr));
        for (unsigned bit = 0; bit < 128; bit++) {
            struct netaddr flipped = addr;
            flipped.bytes[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
            cr_assert_eq(netmask_contains(&mask, &flipped), bit >= bits);
        }
    }
}

Test(netmask, refuses)
{
    static const char *const bad[] = {"",
                                      "/8",
                                      "192.0.2.0/",
                                      "192.0.2.0/33",
                                      "::/129",
                                      "192.0.2/24",
                                      "192.0.2.0/8/8",
                                      "::/-1",
                                      "::ffff:192.0.2.0/95",
                                      "::ffff:192.0.2.0/24",
                                      "192.0.2.0/ 8"};
    for (size_t i = 0; i < mx_countof(bad); i++) {
        struct netmask mask;
        cr_assert_neq(netmask_parse(&mask, slice_of_text(bad[i])), MX_OK, "%s", bad[i]);
    }
}

Test(netaddr, equal_ignores_the_port)
{
    struct netaddr a;
    struct netaddr b;
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("192.0.2.1:25")), MX_OK);
    cr_assert_eq(netaddr_parse_port(&b, SLICE_LITERAL("192.0.2.1:26")), MX_OK);
    cr_assert(netaddr_equal(&a, &b));
    cr_assert_eq(netaddr_parse(&b, SLICE_LITERAL("192.0.2.2")), MX_OK);
    cr_assert(!netaddr_equal(&a, &b));
    cr_assert_eq(netaddr_parse(&b, SLICE_LITERAL("c000:201::")), MX_OK);
    cr_assert(!netaddr_equal(&a, &b));
}

Test(netaddr, the_network_of_an_address)
{
    static const struct {
        const char *addr;
        uint8_t bits;
        const char *network;
        uint8_t expected_bits;
    } rows[] = {
        {"192.0.2.77", 24, "192.0.2.0", 24},
        {"192.0.2.77", 9, "192.0.0.0", 9},
        {"192.0.2.77", 64, "192.0.2.77", 32},
        {"192.0.2.77", 0, "0.0.0.0", 0},
        {"2001:db8:1:2::1", 48, "2001:db8:1::", 48},
        {"2001:db8:1:2::1", 128, "2001:db8:1:2::1", 128},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct netaddr addr, network;
        cr_assert(netaddr_parse(&addr, slice_of_text(rows[i].addr)) == MX_OK);
        cr_assert(netaddr_parse(&network, slice_of_text(rows[i].network)) == MX_OK);
        struct netmask mask = netmask_of(&addr, rows[i].bits);
        cr_assert(netaddr_equal(&mask.addr, &network), "%s/%u", rows[i].addr, rows[i].bits);
        cr_assert_eq(mask.bits, rows[i].expected_bits);
        cr_assert(netmask_contains(&mask, &addr));
    }
}

Test(netaddr, addresses_that_no_host_has)
{
    static const struct {
        const char *text;
        bool none;
    } rows[] = {
        {"0.0.0.0", true},    {"0.255.255.255", true},    {"1.0.0.0", false},
        {"127.0.0.1", false}, {"223.255.255.255", false}, {"224.0.0.0", true},
        {"239.1.2.3", true},  {"240.0.0.1", false},       {"255.255.255.254", false},
        {"::", true},         {"255.255.255.255", true},  {"::1", false},
        {"ff00::", true},     {"ff0e::1:2", true},        {"fe80::1", false},
        {"::2", false},       {"2001:db8::", false},      {"::ffff:224.0.0.1", true},
    };
    for (size_t i = 0; i < mx_countof(rows); i++) {
        struct netaddr addr;
        cr_assert_eq(netaddr_parse(&addr, slice_of_text(rows[i].text)), MX_OK);
        cr_expect_eq(netaddr_is_no_host(&addr), rows[i].none, "%s", rows[i].text);
    }
}
