#include "io/dns_codec.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1

static struct dns_name name_of(const char *text)
{
    struct dns_name name;
    cr_assert_eq(dns_name_parse(&name, slice_of_text(text)), MX_OK, "%s", text);
    return name;
}

static const char *text_of(const struct dns_name *name)
{
    static char text[DNS_NAME_TEXT_MAX + 1];
    struct writer w = writer_init(text, sizeof text - 1);
    if (!put_dns_name(&w, name)) {
        return NULL;
    }
    text[w.len] = 0;
    return text;
}

Test(dns_name, text)
{
    static const struct {
        const char *in, *out; /* NULL: refused */
    } cases[] = {
        {"example.org", "example.org"},
        {"Example.ORG.", "example.org"},
        {"", ""},
        {".", ""},
        {"_25._tcp.mx-1.example", "_25._tcp.mx-1.example"},
        {"a", "a"},
        {"..", NULL},
        {"a..b", NULL},
        {".a", NULL},
        {"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc.x",
         "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabc.x"},
        {"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcd.x", NULL},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct dns_name name;
        mx_err err = dns_name_parse(&name, slice_of_text(cases[i].in));
        cr_assert_eq(err == MX_OK, cases[i].out != NULL, "'%s'", cases[i].in);
        if (!err) {
            cr_assert_str_eq(text_of(&name), cases[i].out);
        }
    }
}

Test(dns_name, longest)
{
    char text[300];
    memset(text, 'a', sizeof text);
    for (size_t i = 49; i < sizeof text; i += 50) {
        text[i] = '.';
    }
    struct dns_name name;
    cr_assert_eq(dns_name_parse(&name, slice_of(text, 253)), MX_OK);
    cr_assert_eq(name.len, 255);
    cr_assert_eq(dns_name_parse(&name, slice_of(text, 254)), MX_ERR_SYNTAX);
}

Test(dns_name, no_text_for_odd_bytes)
{
    struct dns_name name = name_of("a b.example");
    cr_assert_null(text_of(&name));
    uint8_t small[4];
    struct writer w = writer_init(small, sizeof small);
    name = name_of("example");
    cr_assert(!put_dns_name(&w, &name) && w.len == 0);
}

Test(dns_name, equal)
{
    struct dns_name a = name_of("Example.org"), b = name_of("eXAMPLE.ORG"),
                    c = name_of("example.com");
    cr_assert(dns_name_equal(&a, &b) && !dns_name_equal(&a, &c));
}

Test(dns_query, form)
{
    uint8_t buf[DNS_QUERY_BYTES];
    struct writer w = writer_init(buf, sizeof buf);
    struct dns_question question = {
        .id = 0x1234, .edns = true, .name = name_of("a.b"), .type = DNS_MX};
    put_dns_query(&w, &question);
    static const char expected[] = "\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01"
                                   "\x01"
                                   "a\x01"
                                   "b\0\0\x0f\0\x01"
                                   "\0\0\x29\x04\xd0\0\0\0\0\0\0";
    cr_assert_eq(w.len, sizeof expected - 1);
    cr_assert_arr_eq(buf, expected, w.len);
    question.edns = false;
    w = writer_init(buf, sizeof buf);
    put_dns_query(&w, &question);
    cr_assert_eq(w.len, sizeof expected - 1 - 11);
    cr_assert_eq(buf[11], 0);
}

/* --- responses ---------------------------------------------------------------------------------
 */

#define HEAD(flags, answers, authorities) \
    "\x12\x34" flags "\0\x01\0" answers "\0" authorities "\0\0"
#define QUESTION(type) \
    "\x01"             \
    "a\x01"            \
    "b\0\0" type "\0\x01"
#define OK "\x81\x80"
#define OWNER "\xc0\x0c"
#define TTL "\0\0\x01\x2c" /* 300 */
#define A_RECORD OWNER "\0\x01\0\x01" TTL "\0\x04\xc0\x00\x02\x01"
#define SOA_RECORD                                   \
    "\0\0\x06\0\x01\0\0\x02\x58\0\x16\0\0\0\0\0\x01" \
    "\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x3c" /* 600, minimum 60 */

static struct dns_result parse(const uint8_t *bytes, size_t len, enum dns_type type)
{
    static union {
        struct dns_answer answer;
        uint8_t room[sizeof(struct dns_answer) + DNS_ANSWER_BYTES];
    } memory;
    struct dns_question question = {
        .id = 0x1234, .edns = true, .name = name_of("a.b"), .type = type};
    struct dns_result result = {.answer = &memory.answer};
    /* In memory of exactly this size, so that reading past it is found. */
    uint8_t *copy = malloc(len + (len == 0));
    memcpy(copy, bytes, len);
    dns_response_parse(&result, &question, slice_of(copy, len));
    free(copy);
    return result;
}

static void expect_data(const struct dns_answer *answer, unsigned index, const void *data,
                        size_t len, unsigned preference)
{
    struct dns_rdata rdata = {0};
    size_t at = 0;
    for (unsigned i = 0; i <= index; i++) {
        cr_assert(dns_answer_next(answer, &at, &rdata), "record %u", index);
    }
    cr_assert_eq(rdata.data.len, len);
    cr_assert_arr_eq(rdata.data.ptr, data, len);
    cr_assert_eq(rdata.preference, preference);
}

Test(dns_response, addresses)
{
    struct dns_result r = parse(BYTES(HEAD(OK, "\x02", "\0") QUESTION("\x01") A_RECORD OWNER
                                      "\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\x00\x02\x02"),
                                DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    cr_assert(r.answer->status == DNS_FOUND && r.answer->count == 2 && r.answer->ttl_s == 60);
    cr_assert(!r.answer->authentic);
    expect_data(r.answer, 1, "\xc0\0\x02\x02", 4, 0);
    r = parse(BYTES(HEAD("\x81\xa0", "\x01", "\0") QUESTION("\x1c") OWNER
                    "\0\x1c\0\x01" TTL "\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"),
              DNS_AAAA);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->authentic);
    expect_data(r.answer, 0, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01", 16, 0);
}

Test(dns_response, mail_hosts)
{
    struct dns_result r = parse(BYTES(HEAD(OK, "\x02", "\0") QUESTION("\x0f") OWNER
                                      "\0\x0f\0\x01" TTL "\0\x07\0\x0a\x02MX\xc0\x0c" OWNER
                                      "\0\x0f\0\x01" TTL "\0\x03\0\0\0"),
                                DNS_MX);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->count == 2);
    expect_data(r.answer, 0, "mx.a.b", 6, 10);
    expect_data(r.answer, 1, "", 0, 0);
}

Test(dns_response, other_types)
{
    struct dns_result r = parse(BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x10") OWNER
                                      "\0\x10\0\x01" TTL "\0\x06\x02v=\x02x1"),
                                DNS_TXT);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    expect_data(r.answer, 0, "v=x1", 4, 0);
    r = parse(BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x34") OWNER "\0\x34\0\x01" TTL
                                                                  "\0\x05\x03\x01\x01\xab\xcd"),
              DNS_TLSA);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    expect_data(r.answer, 0, "\x03\x01\x01\xab\xcd", 5, 0);
    r = parse(
        BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x0c") OWNER "\0\x0c\0\x01" TTL "\0\x05\x04host\0"),
        DNS_PTR);
    cr_assert_eq(r.response, DNS_RESPONSE_BROKEN); /* the data end before the name does */
    r = parse(
        BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x0c") OWNER "\0\x0c\0\x01" TTL "\0\x06\x04host\0"),
        DNS_PTR);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    expect_data(r.answer, 0, "host", 4, 0);
    r = parse(BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x06") OWNER
                    "\0\x06\0\x01" TTL
                    "\0\x18\x01p\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x3c"),
              DNS_SOA);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    expect_data(r.answer, 0, "p", 1, 0);
    r = parse(BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x05") OWNER "\0\x05\0\x01" TTL "\0\x03\x01"
                                                                  "c\0"),
              DNS_CNAME);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER);
    expect_data(r.answer, 0, "c", 1, 0);
}

Test(dns_response, absence)
{
    struct dns_result r =
        parse(BYTES(HEAD("\x81\x83", "\0", "\x01") QUESTION("\x0f") SOA_RECORD), DNS_MX);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->status == DNS_NO_NAME);
    cr_assert_eq(r.answer->ttl_s, 60);
    r = parse(BYTES(HEAD(OK, "\0", "\x01") QUESTION("\x0f") SOA_RECORD), DNS_MX);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->status == DNS_NODATA);
    /* Without SOA it is believed and not kept. */
    r = parse(BYTES(HEAD(OK, "\0", "\0") QUESTION("\x0f")), DNS_MX);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->ttl_s == 0);
    /* A server without recursion knows nothing about others' names. */
    r = parse(BYTES(HEAD("\x81\0", "\0", "\0") QUESTION("\x0f")), DNS_MX);
    cr_assert_eq(r.response, DNS_RESPONSE_FAILED);
}

Test(dns_response, aliases)
{
    /* The link comes behind what it leads to. */
    struct dns_result r =
        parse(BYTES(HEAD(OK, "\x02", "\0") QUESTION("\x01") "\x01"
                                                            "c\0\0\x01\0\x01" TTL
                                                            "\0\x04\xc0\0\x02\x07" OWNER
                                                            "\0\x05\0\x01\0\0\0\x05\0\x03\x01"
                                                            "C\0"),
              DNS_A);
    cr_assert(r.response == DNS_RESPONSE_ANSWER && r.answer->count == 1 && r.answer->ttl_s == 5);
    expect_data(r.answer, 0, "\xc0\0\x02\x07", 4, 0);
    /* The server did not follow. */
    r = parse(BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") OWNER "\0\x05\0\x01" TTL "\0\x03\x01"
                                                                  "c\0"),
              DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_ALIAS);
    cr_assert_str_eq(text_of(&r.target), "c");
    /* A circle. */
    r = parse(
        BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") OWNER "\0\x05\0\x01" TTL "\0\x02\xc0\x0c"),
        DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_BROKEN);
}

Test(dns_response, failures)
{
    struct dns_result r = parse(BYTES(HEAD("\x81\x82", "\0", "\0") QUESTION("\x01")), DNS_A);
    cr_assert(r.response == DNS_RESPONSE_FAILED && r.rcode == DNS_SERVFAIL && r.problem[0] != 0);
    r = parse(BYTES(HEAD("\x81\x8f", "\0", "\0") QUESTION("\x01")), DNS_A);
    cr_assert(r.response == DNS_RESPONSE_FAILED && r.rcode == 15 && r.problem[0] != 0);
    r = parse(BYTES("\x12\x34\x81\x81\0\0\0\0\0\0\0\0"), DNS_A); /* FORMERR without the question */
    cr_assert(r.response == DNS_RESPONSE_FAILED && r.rcode == DNS_FORMERR);
    r = parse(BYTES(HEAD("\x83\x80", "\0", "\0") QUESTION("\x01")), DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_TRUNCATED);
}

Test(dns_response, not_ours)
{
    static const struct {
        const uint8_t *bytes;
        size_t len;
    } cases[] = {
        {BYTES("")},
        {BYTES("\x12\x34\x81\x80\0\x01\0\0\0\0\0")},
        {BYTES("\x12\x35" OK "\0\x01\0\x01\0\0\0\0" QUESTION("\x01") A_RECORD)}, /* id */
        {BYTES(HEAD("\x01\x80", "\x01", "\0") QUESTION("\x01") A_RECORD)},       /* a query */
        {BYTES(HEAD("\x89\x80", "\x01", "\0") QUESTION("\x01") A_RECORD)},       /* opcode */
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x02") A_RECORD)},               /* type */
        {BYTES(HEAD(OK, "\x01", "\0") "\x01"
                                      "a\x01"
                                      "c\0\0\x01\0\x01" A_RECORD)}, /* name */
        {BYTES(HEAD(OK, "\x01", "\0") "\x01"
                                      "a\x01"
                                      "b\0\0\x01\0\x03" A_RECORD)}, /* class */
        {BYTES("\x12\x34" OK "\0\x02\0\0\0\0\0\0" QUESTION("\x01") QUESTION("\x01"))},
        {BYTES("\x12\x34" OK "\0\0\0\0\0\0\0\0")},
        {BYTES(HEAD(OK, "\0", "\0") "\x01"
                                    "a\xc0\x0c\0\x01\0\x01")}, /* a name into itself */
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct dns_result r = parse(cases[i].bytes, cases[i].len, DNS_A);
        cr_assert_eq(r.response, DNS_RESPONSE_OTHER, "case %zu: %d", i, r.response);
    }
    struct dns_result r = parse(BYTES(HEAD(OK, "\x01", "\0") "\x01"
                                                             "A\x01"
                                                             "b\0\0\x01\0\x01" A_RECORD),
                                DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_CASE);
}

Test(dns_response, malformed)
{
    static const struct {
        const uint8_t *bytes;
        size_t len;
        enum dns_type type;
    } cases[] = {
        {BYTES(HEAD(OK, "\x02", "\0") QUESTION("\x01") A_RECORD), DNS_A}, /* one is missing */
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") "\xc0\x1a\0\x01\0\x01" TTL "\0\x04wxyz"),
         DNS_A},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") "\x80\0\0\x01\0\x01" TTL "\0\x04wxyz"),
         DNS_A},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") OWNER "\0\x01\0\x01" TTL "\0\x03wxy"),
         DNS_A},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x1c") OWNER "\0\x1c\0\x01" TTL "\0\x04wxyz"),
         DNS_AAAA},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x34") OWNER "\0\x34\0\x01" TTL "\0\x03wxy"),
         DNS_TLSA},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x10") OWNER "\0\x10\0\x01" TTL "\0\x02\x02x"),
         DNS_TXT},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x0f") OWNER "\0\x0f\0\x01" TTL "\0\x02\0\x0a"),
         DNS_MX},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x0f") OWNER "\0\x0f\0\x01" TTL "\0\x04\0\x0a\0x"),
         DNS_MX},
        /* Only a host whose name is none. */
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x0f") OWNER "\0\x0f\0\x01" TTL "\0\x06\0\x0a\x02"
                                                             "a \0"),
         DNS_MX},
        {BYTES(HEAD(OK, "\x01", "\0") QUESTION("\x01") OWNER "\0\x05\0\x01" TTL "\0\x01\x05"),
         DNS_A},
    };
    for (size_t i = 0; i < mx_countof(cases); i++) {
        struct dns_result r = parse(cases[i].bytes, cases[i].len, cases[i].type);
        cr_assert_eq(r.response, DNS_RESPONSE_BROKEN, "case %zu: %d", i, r.response);
        cr_assert(r.problem[0] != 0);
    }
}

/* Cut short anywhere, a response is never an answer. */
Test(dns_response, cut)
{
    static const char whole[] =
        HEAD(OK, "\x02", "\x01") QUESTION("\x01") A_RECORD A_RECORD SOA_RECORD;
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        struct dns_result r = parse((const uint8_t *)whole, len, DNS_A);
        cr_assert_neq(r.response, DNS_RESPONSE_ANSWER, "%zu bytes", len);
    }
}

Test(dns_response, too_many_records)
{
    enum { COUNT = 1000 };
    static uint8_t message[32 + COUNT * 16];
    struct writer w = writer_init(message, sizeof message);
    put_bytes(&w, "\x12\x34\x81\x80\0\x01\x03\xe8\0\0\0\0", 12);
    put_bytes(&w, QUESTION("\x01"), sizeof QUESTION("\x01") - 1);
    for (unsigned i = 0; i < COUNT; i++) {
        put_bytes(&w, A_RECORD, 16);
    }
    cr_assert(!w.overflow);
    struct dns_result r = parse(message, w.len, DNS_A);
    cr_assert_eq(r.response, DNS_RESPONSE_ANSWER); /* 8 bytes each */
    put_bytes(&w, A_RECORD, 16);
    r = parse(message, w.len, DNS_A);
    cr_assert_eq(r.answer->count, COUNT);
}

/* A chain of pointers to pointers ends, and reading a response made of them is refused early. */
Test(dns_response, pointers_to_pointers)
{
    enum { POINTERS = 2000, AT = 12 + sizeof QUESTION("\x01") - 1 };
    static uint8_t message[8192];
    for (unsigned pointers = 100; pointers <= POINTERS; pointers += POINTERS - 100) {
        struct writer w = writer_init(message, sizeof message);
        put_bytes(&w, HEAD(OK, "\x02", "\0") QUESTION("\x01"), AT);
        put_bytes(&w, OWNER "\0\x10\0\x01" TTL, 10);
        put_u8(&w, (uint8_t)(2 * pointers >> 8));
        put_u8(&w, (uint8_t)(2 * pointers));
        size_t before = 12;
        for (unsigned i = 0; i < pointers; i++) {
            size_t here = w.len;
            put_u8(&w, (uint8_t)(0xc0 | before >> 8));
            put_u8(&w, (uint8_t)before);
            before = here;
        }
        put_u8(&w, (uint8_t)(0xc0 | before >> 8));
        put_u8(&w, (uint8_t)before);
        put_bytes(&w, "\0\x01\0\x01" TTL "\0\x04wxyz", 14);
        cr_assert(!w.overflow);
        struct dns_result r = parse(message, w.len, DNS_A);
        cr_assert_eq(r.response, pointers == 100 ? DNS_RESPONSE_ANSWER : DNS_RESPONSE_BROKEN);
    }
}
