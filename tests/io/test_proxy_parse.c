#include "io/proxy_parse.h"

#include <criterion/criterion.h>

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(s) s, sizeof(s) - 1

struct header {
    const char *bytes;
    size_t len;
    const char *client; /* NULL: malformed; "": local */
    uint16_t port;
};

#define V4 "\xc0\x00\x02\x01\xc6\x33\x64\x01\x30\x39\x00\x19"
#define V6                                                                                         \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\x30\x39" \
    "\x00\x19"
#define MAPPED                                                                                     \
    "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x02\x30" \
    "\x39\x00\x19"

static const struct header headers[] = {
    /* version 1, good */
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), "192.0.2.1", 12345},
    {BYTES("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"), "0.0.0.0", 0},
    {BYTES("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255", 65535},
    {BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 12345 25\r\n"), "2001:db8::1", 12345},
    {BYTES("PROXY TCP6 ::1 ::1 1 1\r\n"), "::1", 1},
    {BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535},
    {BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 5 25\r\n"), "192.0.2.1", 5},
    {BYTES("PROXY UNKNOWN\r\n"), "", 0},
    {BYTES("PROXY UNKNOWN anything at all, to be ignored\r\n"), "", 0},
    {BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
           "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
     "", 0},
    /* version 1, bad: words and spaces */
    {BYTES("PROXY \r\n"), NULL, 0},
    {BYTES("PROXY TCP4\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 \r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25 \r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25 26\r\n"), NULL, 0},
    {BYTES("PROXY  TCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4  192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1  198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1  12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345  25\r\n"), NULL, 0},
    {BYTES("PROXY\tTCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4\t192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("proxy TCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY tcp4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP5 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY UDP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY unknown\r\n"), NULL, 0},
    {BYTES("PROXYTCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PRAXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    /* version 1, bad: addresses */
    {BYTES("PROXY TCP4 192.0.2 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.256 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.01 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1. 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 -192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 0xc0.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 2001:db8::1 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 mx.example.org 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 192.0.2.1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8::1 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8:::1 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8::1::2 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 [2001:db8::1] 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8::1%eth0 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8::12345 2001:db8::2 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP6 2001:db8::g 2001:db8::2 12345 25\r\n"), NULL, 0},
    /* version 1, bad: ports */
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 65536\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 99999999999 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 -1 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 012345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 01 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 025\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 0x19 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 smtp 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25x\r\n"), NULL, 0},
    /* version 1, bad: ends and lengths */
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r "), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\rX\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\0\r\n"), NULL, 0},
    {BYTES("PROXY\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1  25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1,198.51.100.1,12345,25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1/32 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 3221225985 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY UNKNOWNX\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\r\n"), NULL, 0},
    {BYTES("PROXY TCP4 192.0.2.1\0 198.51.100.1 12345 25\r\n"), NULL, 0},
    {BYTES("PROXY UNKNOWN \xff\r\n"), NULL, 0},
    {BYTES("PROXY UNKNOWN a\tb\r\n"), NULL, 0},
    {BYTES("PROXY UNKNOWN "
           "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
           "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"),
     NULL, 0},
    /* neither */
    {BYTES("EHLO client.example\r\n"), NULL, 0},
    {BYTES("\x16\x03\x01\x02\x00\x01"), NULL, 0},
    {BYTES("GET / HTTP/1.1\r\n"), NULL, 0},
    {BYTES("\r\n"), NULL, 0},
    {BYTES("\r\n\r\n\0\r\nQUIx\n"), NULL, 0},
    {BYTES("\0"), NULL, 0},
    {BYTES("P "), NULL, 0},
    /* version 2, good */
    {BYTES(SIG "\x21\x11\x00\x0c" V4), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x21\x00\x24" V6), "2001:db8::1", 12345},
    {BYTES(SIG "\x21\x21\x00\x24" MAPPED), "192.0.2.1", 12345},
    {BYTES(SIG "\x20\x00\x00\x00"), "", 0},
    {BYTES(SIG "\x20\x11\x00\x0c" V4), "", 0},
    {BYTES(SIG "\x20\x00\x00\x05"
               "abcde"),
     "", 0},
    {BYTES(SIG "\x20\x31\x00\x00"), "", 0},
    {BYTES(SIG "\x20\xff\x00\x02zz"), "", 0}, /* LOCAL: the family is to be ignored */
    {BYTES(SIG "\x20\x32\x00\x00"), "", 0},
    {BYTES(SIG "\x20\x11\x00\x13" V4 "\x03\x00\x04\x01\x02\x03\x04"), "", 0},
    {BYTES(SIG "\x21\x00\x00\x00"), "", 0},
    {BYTES(SIG "\x21\x30\x00\x00"), "", 0},
    {BYTES(SIG "\x21\x02\x00\x01z"), "", 0},
    {BYTES(SIG "\x21\x00\x00\x03"
               "xyz"),
     "", 0},
    {BYTES(SIG "\x21\x01\x00\x00"), "", 0},
    {BYTES(SIG "\x21\x10\x00\x0c" V4), "", 0},
    {BYTES(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x00"), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x11\x00\x14" V4 "\x01\x00\x02h2\x04\x00\x00"), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x11\x00\x14" V4 "\x20\x00\x05\x01\0\0\0\0"), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x11\x00\x1e" V4 "\x20\x00\x0f\x01\0\0\0\0\x21\x00\x07TLSv1.3"), "192.0.2.1",
     12345},
    {BYTES(SIG "\x21\x11\x00\x12" V4 "\xea\x00\x03vpc"), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x11\x00\x15" V4 "\x05\x00\x06unique"), "192.0.2.1", 12345},
    {BYTES(SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\x80\x57\xe3\x33"), NULL, 0}, /* a wrong CRC32C */
    /* version 2, bad */
    {BYTES(SIG "\x11\x11\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x31\x11\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x01\x11\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x22\x11\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x2f\x11\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x21\x12\x00\x0c" V4), NULL, 0}, /* datagrams */
    {BYTES(SIG "\x21\x22\x00\x24" V6), NULL, 0},
    {BYTES(SIG "\x21\x13\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x21\x31\x00\x0c" V4), NULL, 0}, /* AF_UNIX */
    {BYTES(SIG "\x21\x41\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x21\xf1\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x00"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x0b"
               "\xc0\x00\x02\x01\xc6\x33\x64\x01\x30\x39\x00"),
     NULL, 0},
    {BYTES(SIG "\x21\x21\x00\x0c" V4), NULL, 0},
    {BYTES(SIG "\x21\x21\x00\x23"
               "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0"
               "\x02\x30\x39\x00"),
     NULL, 0},
    {BYTES(SIG "\x21\x11\x0f\xf1"), NULL, 0}, /* longer than we take */
    {BYTES(SIG "\x20\x11\x0f\xf1"), NULL, 0},
    {BYTES(SIG "\x21\x11\x10\x00"), NULL, 0},
    {BYTES(SIG "\x21\x11\xff\xff"), NULL, 0},
    {BYTES(SIG "\x20\x00\xff\xff"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x0d" V4 "\x04"), NULL, 0}, /* truncated TLVs */
    {BYTES(SIG "\x21\x11\x00\x0e" V4 "\x04\x00"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x01"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x10" V4 "\x04\x00\x02x"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x10" V4 "\x04\xff\xffx"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x11" V4 "\x03\x00\x02xy"), NULL, 0},         /* CRC32C of two bytes */
    {BYTES(SIG "\x21\x11\x00\x13" V4 "\x20\x00\x04\x01\0\0\0"), NULL, 0}, /* short SSL TLV */
    {BYTES(SIG "\x21\x11\x00\x1e" V4 "\x20\x00\x0f\x01\0\0\0\0\x21\x00\x08TLSv1.3"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x16" V4 "\x20\x00\x07\x01\0\0\0\0\x21\x00"), NULL, 0},
    {BYTES(SIG "\x21\x11\x00\x12" V4 "\x04\x00\x00\x04\x00\x01"), NULL, 0}, /* second TLV */
};

static const char follow[] = "EHLO client.example\r\n";

/* Feeds header and SMTP in pieces that end at a, b and then one by one if `trickle`. */
static void feed(const struct header *h, size_t split, bool trickle)
{
    static struct proxy_parse p;
    uint8_t bytes[512];
    size_t total = h->len + sizeof follow - 1, at = 0;
    enum proxy_status status = PROXY_MORE;
    memcpy(bytes, h->bytes, h->len);
    memcpy(bytes + h->len, follow, sizeof follow - 1);
    proxy_parse_init(&p);
    while (status == PROXY_MORE && at < total) {
        size_t end = trickle ? at + 1 : at < split ? split : total;
        size_t used = 0;
        status = proxy_parse_feed(&p, slice_of(bytes + at, end - at), &used);
        cr_assert_leq(used, end - at);
        cr_assert(status != PROXY_MORE || used == end - at);
        at += used;
    }
    size_t index = (size_t)(h - headers);
    if (h->client == NULL) {
        cr_assert_eq(status, PROXY_MALFORMED, "header %zu", index);
        cr_assert_gt(strlen(proxy_parse_problem(&p)), 5);
        return;
    }
    cr_assert_eq(status, PROXY_DONE, "header %zu: %s", index, proxy_parse_problem(&p));
    cr_assert_eq(at, h->len, "header %zu: consumed %zu of %zu", index, at, h->len);
    cr_assert_eq(proxy_parse_is_local(&p), h->client[0] == '\0', "header %zu", index);
    if (h->client[0] != '\0') {
        char text[NETADDR_TEXT_MAX];
        struct writer w = writer_init(text, sizeof text - 1);
        put_netaddr(&w, proxy_parse_source(&p));
        text[w.len] = '\0';
        cr_assert_str_eq(text, h->client);
        cr_assert_eq(proxy_parse_source(&p)->port, h->port);
    }
}

Test(proxy_parse, table_whole_split_and_trickled)
{
    cr_assert_geq(mx_countof(headers), 100);
    for (size_t i = 0; i < mx_countof(headers); i++) {
        for (size_t split = 0; split <= headers[i].len; split++) {
            feed(&headers[i], split, false);
        }
        feed(&headers[i], 0, true);
    }
}

/* Cut off anywhere, a good header is incomplete: never done, never refused before the rest. */
Test(proxy_parse, good_headers_truncated_at_every_byte)
{
    static struct proxy_parse p;
    size_t good = 0;
    for (size_t i = 0; i < mx_countof(headers); i++) {
        const struct header *h = &headers[i];
        good += h->client != NULL;
        for (size_t cut = 0; h->client != NULL && cut < h->len; cut++) {
            size_t used = cut + 1;
            proxy_parse_init(&p);
            cr_assert_eq(proxy_parse_feed(&p, slice_of(h->bytes, cut), &used), PROXY_MORE,
                         "header %zu, %zu bytes: %s", i, cut, proxy_parse_problem(&p));
            cr_assert_eq(used, cut);
        }
    }
    cr_assert_geq(good, 30);
}

/* What the header says of the address that the client came to. */
Test(proxy_parse, destinations)
{
    static const struct header told[] = {
        {BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 12345 25\r\n"), "198.51.100.1", 25},
        {BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 12345 465\r\n"), "2001:db8::2", 465},
        {BYTES("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 5 0\r\n"), "192.0.2.2", 0},
        {BYTES(SIG "\x21\x11\x00\x0c" V4), "198.51.100.1", 25},
        {BYTES(SIG "\x21\x21\x00\x24" V6), "2001:db8::2", 25},
        {BYTES(SIG "\x21\x21\x00\x24" MAPPED), "192.0.2.2", 25},
    };
    static struct proxy_parse p;
    for (size_t i = 0; i < mx_countof(told); i++) {
        struct netaddr wanted;
        size_t used;
        proxy_parse_init(&p);
        cr_assert_eq(proxy_parse_feed(&p, slice_of(told[i].bytes, told[i].len), &used), PROXY_DONE);
        cr_assert_eq(netaddr_parse(&wanted, slice_of_text(told[i].client)), MX_OK);
        cr_assert(netaddr_equal(proxy_parse_destination(&p), &wanted), "header %zu", i);
        cr_assert_eq(proxy_parse_destination(&p)->port, told[i].port, "header %zu", i);
    }
}

/* CRC32C computed by the straightforward definition, independent of the parser. */
static uint32_t crc32c_slow(const uint8_t *bytes, size_t len)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            uint32_t mix = (crc ^ (uint32_t)(bytes[i] >> bit)) & 1;
            crc >>= 1;
            if (mix) {
                crc ^= 0x82f63b78;
            }
        }
    }
    return ~crc;
}

Test(proxy_parse, crc32c_is_verified)
{
    uint8_t bytes[] = SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\0\0\0\0";
    size_t len = sizeof bytes - 1;
    cr_assert_eq(crc32c_slow((const uint8_t *)"123456789", 9),
                 0xe3069283); /* the standard check value */
    uint32_t crc = crc32c_slow(bytes, len);
    for (unsigned i = 0; i < 4; i++) {
        bytes[len - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    struct header good = {(const char *)bytes, len, "192.0.2.1", 12345};
    static struct proxy_parse p;
    size_t used;
    proxy_parse_init(&p);
    cr_assert_eq(proxy_parse_feed(&p, slice_of(bytes, len), &used), PROXY_DONE, "%s", good.client);
    for (size_t i = 16; i < len;
         i++) { /* any changed byte behind the fixed part is found, or breaks a length */
        if (i == len - 7) {
            continue; /* the type: then it is no CRC32C any more */
        }
        bytes[i] ^= 0x10;
        proxy_parse_init(&p);
        cr_assert_eq(proxy_parse_feed(&p, slice_of(bytes, len), &used), PROXY_MALFORMED, "byte %zu",
                     i);
        bytes[i] ^= 0x10;
    }
}

/* Feeds one byte at a time; returns how many it took to refuse the header. */
static size_t refused_after(const char *bytes, size_t len)
{
    static struct proxy_parse p;
    proxy_parse_init(&p);
    for (size_t i = 0; i < len; i++) {
        size_t used = 9;
        enum proxy_status status = proxy_parse_feed(&p, slice_of(bytes + i, 1), &used);
        cr_assert_eq(used, 1);
        if (status != PROXY_MORE) {
            cr_assert_eq(status, PROXY_MALFORMED);
            cr_assert_eq(proxy_parse_feed(&p, slice_of(bytes, len), &used), PROXY_MALFORMED);
            cr_assert_eq(used, 0);
            return i + 1;
        }
    }
    return 0;
}

Test(proxy_parse, refused_as_early_as_it_can_be_told)
{
    static char endless[2 * PROXY_V1_MAX];
    memset(endless, 'x', sizeof endless);
    memcpy(endless, "PROXY UNKNOWN ", 14);
    cr_assert_eq(refused_after(BYTES("EHLO client.example\r\n")), 1);
    cr_assert_eq(refused_after(BYTES("PROXX TCP4 1.1.1.1")), 5);
    cr_assert_eq(refused_after(endless, sizeof endless), PROXY_V1_MAX);
    cr_assert_eq(refused_after(BYTES(SIG "\x11\x11\xff\xff")), 13);
    cr_assert_eq(refused_after(BYTES(SIG "\x23\x11\xff\xff")), 13);
    cr_assert_eq(refused_after(BYTES(SIG "\x21\x31\xff\xff")), 14);
    cr_assert_eq(refused_after(BYTES(SIG "\x21\x12\xff\xff")), 14);
    cr_assert_eq(refused_after(BYTES(SIG "\x21\x11\x00\x0b")), 16);
    cr_assert_eq(refused_after(BYTES(SIG "\x21\x11\xff\xff")), 16);
    cr_assert_eq(refused_after(BYTES(SIG "\x20\x00\xff\xff")), 16);
}

/* A header of exactly the greatest length, filled by one TLV of the given type. */
static enum proxy_status longest(uint8_t type, size_t value_len)
{
    static struct proxy_parse p;
    static uint8_t bytes[PROXY_V2_MAX + 1];
    struct writer w = writer_init(bytes, sizeof bytes);
    size_t used = 0, len = 16 + 12 + 3 + value_len;
    put_bytes(&w, BYTES(SIG "\x21\x11"));
    put_u8(&w, (uint8_t)((len - 16) >> 8));
    put_u8(&w, (uint8_t)(len - 16));
    put_bytes(&w, BYTES(V4));
    put_u8(&w, type);
    put_u8(&w, (uint8_t)(value_len >> 8));
    put_u8(&w, (uint8_t)value_len);
    memset(bytes + w.len, 'v', value_len);
    proxy_parse_init(&p);
    enum proxy_status status = proxy_parse_feed(&p, slice_of(bytes, len + 1), &used);
    if (status == PROXY_DONE) {
        cr_assert_eq(used, len);
        cr_assert_eq(proxy_parse_destination(&p)->port, 25);
        cr_assert_eq(proxy_parse_feed(&p, SLICE_LITERAL("EHLO"), &used), PROXY_DONE);
        cr_assert_eq(used, 0);
    }
    return status;
}

Test(proxy_parse, bounds)
{
    cr_assert_eq(longest(0x04, PROXY_V2_MAX - 31), PROXY_DONE);
    cr_assert_eq(longest(0x04, PROXY_V2_MAX - 30), PROXY_MALFORMED);
    cr_assert_eq(longest(0x05, 128), PROXY_DONE);
    cr_assert_eq(longest(0x05, 129), PROXY_MALFORMED);
}

Test(proxy_parse, one_crc32c_only)
{
    static struct proxy_parse p;
    uint8_t bytes[] = SIG "\x21\x11\x00\x1a" V4 "\x03\x00\x04\0\0\0\0\x03\x00\x04\0\0\0\0";
    size_t len = sizeof bytes - 1, used;
    uint32_t crc = crc32c_slow(bytes, len); /* right for the first with the second all zero */
    for (unsigned i = 0; i < 4; i++) {
        bytes[len - 11 + i] = (uint8_t)(crc >> (24 - 8 * i));
    }
    proxy_parse_init(&p);
    cr_assert_eq(proxy_parse_feed(&p, slice_of(bytes, len), &used), PROXY_MALFORMED);
    cr_assert(strstr(proxy_parse_problem(&p), "repeated") != NULL);
}
