#include "core/cursor.h"
#include "core/err.h"
#include "core/log.h"
#include "core/netaddr.h"
#include "core/qid.h"
#include "core/text.h"
#include "core/timefmt.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <time.h>

Test(text, numbers)
{
    static const struct {
        const char *text;
        mx_err err;
        uint64_t value;
    } cases[] = {
        {"0", MX_OK, 0},
        {"007", MX_OK, 7},
        {"18446744073709551615", MX_OK, UINT64_MAX},
        {"18446744073709551616", MX_ERR_RANGE, 0},
        {"99999999999999999999", MX_ERR_RANGE, 0},
        {"", MX_ERR_SYNTAX, 0},
        {"-1", MX_ERR_SYNTAX, 0},
        {" 1", MX_ERR_SYNTAX, 0},
        {"1x", MX_ERR_SYNTAX, 0},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        uint64_t value = 42;
        cr_assert_eq(text_to_u64(&value, slice_of_text(cases[i].text)), cases[i].err, "%s",
                     cases[i].text);
        cr_assert_eq(value, cases[i].err ? 42 : cases[i].value, "%s", cases[i].text);
    }
}

Test(text, utf8)
{
    static const struct {
        const char *bytes;
        bool good;
    } cases[] = {
        {"plain", true}, {"\xc3\xa4", true},  {"\xe2\x82\xac", true},  {"\xf0\x9f\x98\x80", true},
        {"\xc3", false}, {"\xc0\xaf", false}, {"\xed\xa0\x80", false}, {"\xf4\x90\x80\x80", false},
        {"\x80", false}, {"\xe2\x82", false}, {"\xc3\x28", false},     {"\xff", false},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        cr_assert_eq(text_is_utf8(slice_of_text(cases[i].bytes)), cases[i].good, "case %zu", i);
    }
    cr_assert_not(text_is_utf8(slice_of("a\0b", 3)));
    cr_assert_not(text_is_ascii(slice_of("a\0b", 3)));
}

/* Cut between characters, never within. */
Test(text, first)
{
    static const struct {
        const char *text;
        size_t max, len;
    } cases[] = {{"", 3, 0},          {"abc", 3, 3},       {"abc", 2, 2},
                 {"a\xc3\xa9", 2, 1}, {"a\xc3\xa9", 3, 3}, {"\xe2\x82\xac", 2, 0},
                 {"\x80\x80", 1, 0},  {"abc", 0, 0}};
    for (size_t i = 0; i < mx_countof(cases); i++) {
        cr_assert_eq(text_first(slice_of_text(cases[i].text), cases[i].max).len, cases[i].len,
                     "case %zu", i);
    }
}

/* What is done eight bytes at a time, against the same byte by byte: every length up to three
 * eights, every byte at every place, at every alignment of the beginning. */
Test(text, as_byte_by_byte)
{
    enum { LEN_MAX = 25 };
    uint8_t memory[8 + LEN_MAX], other[LEN_MAX], lower[LEN_MAX], buf[LEN_MAX];
    for (size_t len = 1; len <= LEN_MAX; len++) {
        for (size_t place = 0; place < len * 256; place++) {
            uint8_t *bytes = memory + place % 8, byte = (uint8_t)(place % 256);
            memset(bytes, 'm', len);
            memset(other, 'M', len);
            memset(lower, 'm', len);
            bytes[place / 256] = byte;
            other[place / 256] = (uint8_t)(byte ^ (ascii_is_alpha(byte) ? 0x20 : 0));
            lower[place / 256] = ascii_lower(byte);
            struct slice text = slice_of(bytes, len);
            cr_assert_eq(text_is_ascii(text), byte != 0 && byte < 0x80, "%zu %zu", len, place);
            cr_assert_eq(text_is_utf8(text), byte != 0 && byte < 0x80, "%zu %zu", len, place);
            cr_assert(text_equal_nocase(text, slice_of(other, len)), "%zu %zu", len, place);
            other[place / 256] ^= 1;
            cr_assert_not(text_equal_nocase(text, slice_of(other, len)), "%zu %zu", len, place);
            struct slice lowered = text_lowered(buf, text);
            cr_assert(slice_equal(lowered, slice_of(lower, len)), "%zu %zu", len, place);
            cr_assert_eq(lowered.ptr == bytes, memcmp(bytes, lower, len) == 0);
            text_lower(bytes, text);
            cr_assert(slice_equal(text, slice_of(lower, len)), "%zu %zu", len, place);
        }
    }
    cr_assert(text_is_ascii(SLICE_EMPTY) && text_equal_nocase(SLICE_EMPTY, SLICE_EMPTY));
}

Test(text, case_and_trim)
{
    cr_assert(text_equal_nocase(SLICE_LITERAL("Mail FROM"), SLICE_LITERAL("mAIL from")));
    cr_assert_not(text_equal_nocase(SLICE_LITERAL("a"), SLICE_LITERAL("ab")));
    cr_assert_not(text_equal_nocase(SLICE_LITERAL("["), SLICE_LITERAL("{"))); /* 0x5b and 0x7b */
    cr_assert(text_starts_nocase(SLICE_LITERAL("SIZE=1"), SLICE_LITERAL("size=")));
    cr_assert(slice_equal(text_trim(SLICE_LITERAL(" \t a b\t ")), SLICE_LITERAL("a b")));
    cr_assert_eq(text_trim(SLICE_LITERAL(" \t")).len, 0);
}

Test(cursor, overflow_is_remembered_and_drops_the_item)
{
    uint8_t buf[8];
    struct writer w = writer_init(buf, sizeof buf);
    put_u32(&w, 0x01020304);
    put_text(&w, "12345"); /* one too many */
    cr_assert(w.overflow);
    cr_assert_eq(w.len, 4);
    put_u8(&w, 1);
    cr_assert_eq(w.len, 4);
    struct reader r = reader_init(writer_slice(&w));
    cr_assert_eq(get_u32(&r), 0x01020304);
    cr_assert_eq(get_u8(&r), 0);
    cr_assert(r.overrun);
    cr_assert_eq(get_u64(&r), 0);
}

Test(cursor, numbers_as_text)
{
    char buf[64];
    struct writer w = writer_init(buf, sizeof buf);
    put_decimal(&w, 0);
    put_char(&w, ' ');
    put_decimal(&w, UINT64_MAX);
    put_char(&w, ' ');
    put_decimal_padded(&w, 7, 3);
    put_char(&w, ' ');
    put_hex(&w, 0xdeadbeef);
    cr_assert(slice_equal(writer_slice(&w), SLICE_LITERAL("0 18446744073709551615 007 deadbeef")));
}

Test(qid, round_trip_and_garbage)
{
    static const char *const bad[] = {"",        "1",           "1-2-3",   "1-2-3-",  "1-2-3-4-5",
                                      "g-1-1-1", "10000-1-1-1", "1-1-1-A", "-1-1-1-1"};
    struct qid id = {.node = 1, .set = 3, .epoch = 0x2a, .sequence = 0x1f0c}, back = {0};
    char text[QID_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    qid_print(&w, id);
    cr_assert(slice_equal(writer_slice(&w), SLICE_LITERAL("1-3-2a-1f0c")));
    cr_assert_eq(qid_parse(&back, writer_slice(&w)), MX_OK);
    cr_assert(qid_equal(id, back));
    struct qid largest = {UINT16_MAX, UINT16_MAX, UINT32_MAX, UINT64_MAX};
    w = writer_init(text, sizeof text);
    qid_print(&w, largest);
    cr_assert_not(w.overflow);
    for (size_t i = 0; i < mx_countof(bad); i++) {
        cr_assert_eq(qid_parse(&back, slice_of_text(bad[i])), MX_ERR_SYNTAX, "%s", bad[i]);
    }
}

/* Compared with the C library over two centuries. */
Test(timefmt, same_as_strftime)
{
    for (int64_t s = 0; s < INT64_C(6311433600); s += 86399 * 3 + 12345) {
        char mine[64], theirs[64];
        time_t t = (time_t)s;
        struct tm tm;
        struct writer w = writer_init(mine, sizeof mine - 1);
        put_rfc5322(&w, s * 1000);
        mine[w.len] = '\0';
        gmtime_r(&t, &tm);
        strftime(theirs, sizeof theirs, "%a, %e %b %Y %H:%M:%S +0000", &tm);
        if (theirs[5] == ' ') { /* %e pads with a space */
            memmove(theirs + 5, theirs + 6, strlen(theirs + 5));
        }
        cr_assert_str_eq(mine, theirs);
    }
}

Test(err, every_value_has_a_text_and_errno_is_translated)
{
    for (int i = 0; i <= MX_ERR_COUNT; i++) {
        cr_assert_not_null(err_text((mx_err)i));
        cr_assert_not_null(err_name((mx_err)i));
    }
    cr_assert_eq(err_from_errno(0), MX_OK);
    cr_assert_eq(err_from_errno(ENOSPC), MX_ERR_NOSPACE);
    cr_assert_eq(err_from_errno(EADDRINUSE), MX_ERR_INUSE);
    cr_assert_eq(err_from_errno(EIO), MX_ERR_IO);
    cr_assert_eq(err_from_errno(12345), MX_ERR_IO);
}

static void expect_addr(const char *text, const char *printed)
{
    struct netaddr addr;
    char out[NETADDR_TEXT_MAX];
    struct writer w = writer_init(out, sizeof out - 1);
    mx_err err = netaddr_parse(&addr, slice_of_text(text));
    if (printed == NULL) {
        cr_assert_eq(err, MX_ERR_SYNTAX, "%s was accepted", text);
        return;
    }
    cr_assert_eq(err, MX_OK, "%s", text);
    put_netaddr(&w, &addr);
    out[w.len] = '\0';
    cr_assert_str_eq(out, printed);
}

Test(netaddr, parse_and_print)
{
    static const char *const cases[][2] = {
        {"192.0.2.1", "192.0.2.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:db8::1", "2001:db8::1"},
        {"2001:0DB8:0:0:0:0:0:1", "2001:db8::1"},
        {"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
        {"1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7"}, /* one zero group stays */
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
        {"", NULL},
        {"1.2.3", NULL},
        {"1.2.3.4.5", NULL},
        {"1.2.3.256", NULL},
        {"01.2.3.4", NULL},
        {"1.2.3.4 ", NULL},
        {"1:2:3:4:5:6:7", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"1::2::3", NULL},
        {":1", NULL},
        {"1:", NULL},
        {":::", NULL},
        {"12345::", NULL},
        {"g::", NULL},
        {"1:2:3:4:5:6:7::8", NULL},
        {"::1.2.3", NULL},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        expect_addr(cases[i][0], cases[i][1]);
    }
}

Test(netaddr, ports_and_networks)
{
    struct netaddr a, b;
    struct netmask mask;
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("[2001:db8::1]:25")), MX_OK);
    cr_assert_eq(a.port, 25);
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("192.0.2.1:65535")), MX_OK);
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("192.0.2.1:65536")), MX_ERR_SYNTAX);
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("192.0.2.1")), MX_ERR_SYNTAX);
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("2001:db8::1:25")), MX_ERR_SYNTAX);
    cr_assert_eq(netaddr_parse_port(&a, SLICE_LITERAL("[192.0.2.1]:25")), MX_ERR_SYNTAX);
    cr_assert_eq(netmask_parse(&mask, SLICE_LITERAL("192.0.2.77/26")), MX_OK);
    cr_assert_eq(netaddr_parse(&a, SLICE_LITERAL("192.0.2.127")), MX_OK);
    cr_assert_eq(netaddr_parse(&b, SLICE_LITERAL("192.0.2.128")), MX_OK);
    cr_assert(netmask_contains(&mask, &a));
    cr_assert_not(netmask_contains(&mask, &b));
    cr_assert_eq(netmask_parse(&mask, SLICE_LITERAL("0.0.0.0/0")), MX_OK);
    cr_assert(netmask_contains(&mask, &b));
    cr_assert_eq(netaddr_parse(&b, SLICE_LITERAL("::1")), MX_OK);
    cr_assert_not(netmask_contains(&mask, &b)); /* only IPv4 */
    cr_assert_eq(netmask_parse(&mask, SLICE_LITERAL("::1")), MX_OK);
    cr_assert(netmask_contains(&mask, &b));
    cr_assert_eq(netmask_parse(&mask, SLICE_LITERAL("192.0.2.1/33")), MX_ERR_SYNTAX);
    cr_assert_eq(netmask_parse(&mask, SLICE_LITERAL("192.0.2.1/")), MX_ERR_SYNTAX);
}

static struct slice take(struct log *log, char *buf, size_t cap)
{
    struct writer w = writer_init(buf, cap);
    return log_take(log, &w) ? writer_slice(&w) : SLICE_EMPTY;
}

Test(log, a_peer_cannot_forge_lines)
{
    struct log log;
    char buf[LOG_TEXT_BYTES];
    cr_assert_eq(log_init(&log, 3, LOG_INFO), MX_OK);
    struct log_line *line = log_begin(&log, LOG_INFO, "event");
    log_slice(line, "from", SLICE_LITERAL("a\"b\r\nfake line\x01\\"));
    log_text(line, "plain", "word");
    log_end(&log, line);
    struct slice s = take(&log, buf, sizeof buf);
    struct slice expected =
        SLICE_LITERAL("1970-01-01T00:00:00.000Z info core=3 event "
                      "from=\"a\\x22b\\x0d\\x0afake line\\x01\\x5c\" plain=word\n");
    cr_assert(slice_equal(s, expected), "%.*s", SLICE_ARGS(s));
    cr_assert_null(log_begin(&log, LOG_DEBUG, "not at this level"));
    log_fini(&log);
}

Test(log, a_full_ring_drops_and_says_so)
{
    struct log log;
    char buf[LOG_TEXT_BYTES];
    cr_assert_eq(log_init(&log, -1, LOG_INFO), MX_OK);
    for (unsigned i = 0; i < LOG_LINES + 5; i++) {
        log_end(&log, log_begin(&log, LOG_INFO, "x"));
    }
    for (unsigned i = 0; i < LOG_LINES; i++) {
        cr_assert_gt(take(&log, buf, sizeof buf).len, 0);
    }
    cr_assert_eq(take(&log, buf, sizeof buf).len, 0);
    log_end(&log, log_begin(&log, LOG_INFO, "after"));
    struct slice s = take(&log, buf, sizeof buf);
    cr_assert(slice_equal(
                  s, SLICE_LITERAL("1970-01-01T00:00:00.000Z info after lines-dropped-before=5\n")),
              "%.*s", SLICE_ARGS(s));
    log_fini(&log);
}

Test(log, long_values_are_cut_not_overrun)
{
    struct log log;
    char buf[LOG_TEXT_BYTES];
    static uint8_t large[5000];
    cr_assert_eq(log_init(&log, 0, LOG_INFO), MX_OK);
    memset(large, 'x', sizeof large);
    struct log_line *line = log_begin(&log, LOG_INFO, "e");
    log_slice(line, "k", slice_of(large, sizeof large));
    log_u64(line, "n", 5);
    log_end(&log, line);
    struct slice s = take(&log, buf, sizeof buf);
    cr_assert_gt(s.len, 10);
    cr_assert_leq(s.len, sizeof buf);
    log_fini(&log);
}

Test(timefmt, rfc3339_read)
{
    static const struct {
        const char *text;
        int64_t ms;
        mx_err err;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0, MX_OK},
        {"2026-11-24T09:44:59.123Z", 1795513499123, MX_OK},
        {"2026-11-24t09:44:59.123456z", 1795513499123, MX_OK},
        {"2026-11-24T10:44:59+01:00", 1795513499000, MX_OK},
        {"2026-11-24T04:14:59-05:30", 1795513499000, MX_OK},
        {"2024-02-29T00:00:00Z", 1709164800000, MX_OK},
        {"3000-12-31T23:59:59Z", 32535215999000, MX_OK},
        {"2023-02-29T00:00:00Z", 0, MX_ERR_RANGE},
        {"2026-13-01T00:00:00Z", 0, MX_ERR_RANGE},
        {"2026-00-01T00:00:00Z", 0, MX_ERR_RANGE},
        {"2026-11-31T00:00:00Z", 0, MX_ERR_RANGE},
        {"2026-11-24T24:00:00Z", 0, MX_ERR_RANGE},
        {"1969-12-31T23:59:59Z", 0, MX_ERR_RANGE},
        {"1970-01-01T00:00:00+00:01", 0, MX_ERR_RANGE},
        {"3001-01-01T00:00:00Z", 0, MX_ERR_RANGE},
        {"2026-11-24", 0, MX_ERR_SYNTAX},
        {"2026-11-24T09:44:59", 0, MX_ERR_SYNTAX},
        {"2026-11-24T09:44:59.Z", 0, MX_ERR_SYNTAX},
        {"2026-11-24T09:44:59Zx", 0, MX_ERR_SYNTAX},
        {"2026-11-24 09:44:59Z", 0, MX_ERR_SYNTAX},
        {"2026-11-24T09:44:59+1:00", 0, MX_ERR_SYNTAX},
        {"", 0, MX_ERR_SYNTAX},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        int64_t ms = -1;
        mx_err err = rfc3339_parse(&ms, slice_of_text(cases[i].text));
        cr_assert_eq(err, cases[i].err, "%s", cases[i].text);
        if (!err) {
            cr_assert_eq(ms, cases[i].ms, "%s: %lld", cases[i].text, (long long)ms);
        }
    }
    for (int64_t at = 0; at < 4102444800000; at += 86399999) {
        char text[64];
        struct writer w = writer_init(text, sizeof text);
        int64_t back = -1;
        put_rfc3339_ms(&w, at);
        cr_assert_eq(rfc3339_parse(&back, writer_slice(&w)), MX_OK);
        cr_assert_eq(back, at);
    }
}

/* Every byte at every place, in one step of eight and behind it: as a loop over the bytes has it.
 */
Test(text, lower_is_the_same_for_every_byte_and_length)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t len = 1; len <= 19; len++) {
            uint8_t in[19], out[19], expected[19];
            for (size_t i = 0; i < len; i++) {
                in[i] = (uint8_t)(byte + 31 * i);
                expected[i] = ascii_lower(in[i]);
            }
            text_lower(out, slice_of(in, len));
            cr_assert(memcmp(out, expected, len) == 0, "byte %u, length %zu", byte, len);
            struct slice lowered = text_lowered(out, slice_of(in, len));
            cr_assert(slice_equal(lowered, slice_of(expected, len)));
            cr_assert_eq(lowered.ptr == in, memcmp(in, expected, len) == 0, "copied for nothing");
        }
    }
}
