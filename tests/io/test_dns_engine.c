#include "io/dns_engine.h"

#include "io/dns_cache.h"

#include <criterion/criterion.h>

static struct {
    struct resolv_conf conf;
    struct dns_engine engine;
    union {
        struct dns_answer answer;
        uint8_t room[sizeof(struct dns_answer) + DNS_ANSWER_BYTES];
    } memory;
    uint64_t entropy[5];
} t;

static void setup(void)
{
    struct dns_name name;
    t.conf = (struct resolv_conf){
        .server_count = 2, .timeout_ms = 1000, .attempts = 2, .trust_ad = true};
    cr_assert_eq(dns_name_parse(&name, SLICE_LITERAL("example.org")), MX_OK);
    for (unsigned i = 0; i < 5; i++) {
        t.entropy[i] = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
    }
    dns_engine_init(&t.engine, &t.conf, &name, DNS_A, 0);
    cr_assert_eq(dns_engine_begin(&t.engine, t.entropy), DNS_STEP_ASK);
}

/* A response to the query that is out; flags: those of the header; an address if answers is 1. */
static enum dns_step respond(unsigned flags, bool address, int change)
{
    uint8_t buf[512];
    struct writer w = writer_init(buf, sizeof buf);
    size_t question = t.engine.query_len - 12 - (t.engine.question.edns ? 11 : 0);
    put_bytes(&w, t.engine.query, 2);
    put_u8(&w, (uint8_t)(flags >> 8));
    put_u8(&w, (uint8_t)flags);
    put_bytes(&w, "\0\x01\0", 3);
    put_u8(&w, address);
    put_bytes(&w, "\0\0\0\0", 4);
    put_bytes(&w, t.engine.query + 12, question);
    if (address) {
        put_bytes(&w, "\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01", 16);
    }
    if (change == 'i') {
        buf[0] ^= 1;
    } else if (change == 'c') {
        buf[13] ^= 0x20;
    }
    return dns_engine_response(&t.engine, writer_slice(&w), &t.memory.answer, t.entropy);
}

Test(dns_engine, answer, .init = setup)
{
    cr_assert_eq(respond(0x81a0, true, 0), DNS_STEP_DONE);
    cr_assert(t.memory.answer.authentic && t.memory.answer.ttl_s == 60);
}

Test(dns_engine, authenticity_is_a_matter_of_trust, .init = setup)
{
    t.conf.trust_ad = false;
    cr_assert_eq(respond(0x81a0, true, 0), DNS_STEP_DONE);
    cr_assert(!t.memory.answer.authentic);
}

Test(dns_engine, forged_answers_change_nothing, .init = setup)
{
    cr_assert_eq(respond(0x8180, true, 'i'), DNS_STEP_WAIT);
    cr_assert_eq(
        dns_engine_response(&t.engine, SLICE_LITERAL("rubbish"), &t.memory.answer, t.entropy),
        DNS_STEP_WAIT);
    cr_assert_eq(respond(0x8180, true, 0), DNS_STEP_DONE);
}

Test(dns_engine, another_case_is_asked_by_tcp, .init = setup)
{
    cr_assert_eq(respond(0x8180, true, 'c'), DNS_STEP_ASK);
    cr_assert(t.engine.tcp && dns_engine_server(&t.engine) == 0);
    cr_assert_eq(respond(0x8180, true, 'c'), DNS_STEP_DONE); /* nobody else could answer there */
}

Test(dns_engine, truncated_is_asked_by_tcp, .init = setup)
{
    cr_assert_eq(respond(0x8380, false, 0), DNS_STEP_ASK);
    cr_assert(t.engine.tcp);
    cr_assert_eq(respond(0x8380, false, 0), DNS_STEP_ASK); /* even there: the next server */
    cr_assert(!t.engine.tcp && dns_engine_server(&t.engine) == 1);
}

Test(dns_engine, another_question_by_tcp_is_a_failure, .init = setup)
{
    cr_assert_eq(respond(0x8380, false, 0), DNS_STEP_ASK);
    cr_assert_eq(respond(0x8180, true, 'i'), DNS_STEP_ASK);
    cr_assert(!t.engine.tcp && dns_engine_server(&t.engine) == 1);
}

Test(dns_engine, without_edns_when_it_is_not_understood, .init = setup)
{
    cr_assert(t.engine.question.edns);
    cr_assert_eq(respond(0x8181, false, 0), DNS_STEP_ASK); /* FORMERR */
    cr_assert(!t.engine.question.edns && dns_engine_server(&t.engine) == 0);
    cr_assert_eq(respond(0x8181, false, 0), DNS_STEP_ASK);
    cr_assert(t.engine.question.edns && dns_engine_server(&t.engine) == 1);
}

Test(dns_engine, every_server_is_asked_as_often_as_configured, .init = setup)
{
    static const unsigned servers[] = {1, 0, 1};
    for (unsigned i = 0; i < mx_countof(servers); i++) {
        enum dns_step step =
            i == 1 ? dns_engine_silent(&t.engine, "silent", t.entropy) : respond(0x8182, false, 0);
        cr_assert_eq(step, DNS_STEP_ASK);
        cr_assert_eq(dns_engine_server(&t.engine), servers[i]);
    }
    cr_assert_eq(dns_engine_silent(&t.engine, "silent at last", t.entropy), DNS_STEP_FAILED);
    cr_assert_str_eq(t.engine.problem, "silent at last");
}

Test(dns_engine, no_servers)
{
    struct resolv_conf none = {.attempts = 2};
    struct dns_name name;
    cr_assert_eq(dns_name_parse(&name, SLICE_LITERAL("example.org")), MX_OK);
    dns_engine_init(&t.engine, &none, &name, DNS_A, 5);
    cr_assert_eq(dns_engine_begin(&t.engine, t.entropy), DNS_STEP_FAILED);
    cr_assert(t.engine.problem[0] != 0);
}

/* The server gives one link at a time: each is asked for, and what is at the end is not kept. */
Test(dns_engine, aliases_one_by_one, .init = setup)
{
    enum dns_step step = DNS_STEP_ASK;
    unsigned asked = 0;
    while (step == DNS_STEP_ASK && asked < 100) {
        uint8_t buf[512];
        struct writer w = writer_init(buf, sizeof buf);
        put_bytes(&w, t.engine.query, 2);
        put_bytes(&w, "\x81\x80\0\x01\0\x01\0\0\0\0", 10);
        put_bytes(&w, t.engine.query + 12, t.engine.query_len - 12 - 11);
        put_bytes(&w, "\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x03\x01", 13);
        put_u8(&w, (uint8_t)('a' + asked));
        put_u8(&w, 0);
        step = dns_engine_response(&t.engine, writer_slice(&w), &t.memory.answer, t.entropy);
        asked++;
        if (asked == 3) {
            cr_assert_eq(t.engine.question.name.len, 3);
        }
    }
    cr_assert_eq(step, DNS_STEP_FAILED);
    cr_assert_eq(asked, DNS_ALIASES_MAX + 1);
}

/* --- the cache ---------------------------------------------------------------------------------
 */

static struct dns_answer *answer_of(unsigned type, uint32_t ttl_s, size_t len)
{
    t.memory.answer = (struct dns_answer){
        .type = (uint16_t)type, .ttl_s = ttl_s, .len = (uint16_t)len, .status = DNS_FOUND};
    memset(t.memory.answer.bytes, 'x', len);
    return &t.memory.answer;
}

static struct dns_name numbered(unsigned number)
{
    char text[32];
    struct writer w = writer_init(text, sizeof text);
    struct dns_name name;
    put_text(&w, "n");
    put_decimal(&w, number);
    put_text(&w, ".example");
    cr_assert_eq(dns_name_parse(&name, writer_slice(&w)), MX_OK);
    return name;
}

Test(dns_cache, keeps_for_as_long_as_it_says)
{
    struct dns_cache cache;
    struct dns_name name = numbered(1);
    cr_assert_eq(dns_cache_init(&cache, 100000, 1), MX_OK);
    cr_assert_null(dns_cache_find(&cache, &name, DNS_A, 0));
    dns_cache_keep(&cache, &name, answer_of(DNS_A, 10, 20), 5 * MX_NS_PER_S);
    const struct dns_answer *found = dns_cache_find(&cache, &name, DNS_A, 14 * MX_NS_PER_S);
    cr_assert(found != NULL && found->len == 20 && found->bytes[19] == 'x');
    cr_assert_null(dns_cache_find(&cache, &name, DNS_AAAA, 14 * MX_NS_PER_S));
    cr_assert_null(dns_cache_find(&cache, &name, DNS_A, 15 * MX_NS_PER_S));
    cr_assert_eq(cache.entries, 0);
    dns_cache_keep(&cache, &name, answer_of(DNS_A, 0, 20), 0);
    cr_assert_eq(cache.entries, 0);
    dns_cache_keep(&cache, &name, answer_of(DNS_A, UINT32_MAX, 20), 0);
    cr_assert_not_null(dns_cache_find(&cache, &name, DNS_A, (DNS_KEEP_MAX_S - 1) * MX_NS_PER_S));
    cr_assert_null(dns_cache_find(&cache, &name, DNS_A, DNS_KEEP_MAX_S * MX_NS_PER_S));
    dns_cache_fini(&cache);
}

Test(dns_cache, newer_replaces_older)
{
    struct dns_cache cache;
    struct dns_name name = numbered(1);
    cr_assert_eq(dns_cache_init(&cache, 100000, 1), MX_OK);
    dns_cache_keep(&cache, &name, answer_of(DNS_A, 10, 20), 0);
    dns_cache_keep(&cache, &name, answer_of(DNS_A, 10, 30), 0);
    cr_assert_eq(cache.entries, 1);
    cr_assert_eq(dns_cache_find(&cache, &name, DNS_A, 0)->len, 30);
    dns_cache_fini(&cache);
    cr_assert_eq(cache.bytes, 0);
}

Test(dns_cache, the_bound_holds_and_what_is_used_stays)
{
    struct dns_cache cache;
    struct dns_name first = numbered(0);
    cr_assert_eq(dns_cache_init(&cache, 20000, 1), MX_OK);
    for (unsigned i = 0; i < 1000; i++) {
        struct dns_name name = numbered(i);
        dns_cache_keep(&cache, &name, answer_of(DNS_A, 10, 200), 0);
        cr_assert_leq(cache.bytes, 20000);
        cr_assert_not_null(dns_cache_find(&cache, &first, DNS_A, 0), "%u", i);
        cr_assert_not_null(dns_cache_find(&cache, &name, DNS_A, 0), "%u", i);
    }
    cr_assert_gt(cache.entries, 20);
    dns_cache_fini(&cache);
}

Test(dns_cache, forgets_what_was_absent)
{
    struct dns_cache cache;
    struct dns_name found = numbered(1), absent = numbered(2);
    cr_assert_eq(dns_cache_init(&cache, 100000, 1), MX_OK);
    dns_cache_keep(&cache, &found, answer_of(DNS_A, 10, 20), 0);
    struct dns_answer *none = answer_of(DNS_A, 10, 0);
    none->status = DNS_NO_NAME;
    dns_cache_keep(&cache, &absent, none, 0);
    none = answer_of(DNS_MX, 10, 0);
    none->status = DNS_UNKNOWN;
    dns_cache_keep(&cache, &found, none, 0);
    cr_assert_eq(cache.entries, 3);
    dns_cache_clear_absent(&cache);
    cr_assert_eq(cache.entries, 1);
    cr_assert_not_null(dns_cache_find(&cache, &found, DNS_A, 0));
    cr_assert_null(dns_cache_find(&cache, &found, DNS_MX, 0));
    cr_assert_null(dns_cache_find(&cache, &absent, DNS_A, 0));
    dns_cache_fini(&cache);
}
