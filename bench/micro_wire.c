/* What is read from the wire beside mail: DNS, HTTP, JSON, PROXY headers. */
#include "admin/http_engine.h"
#include "admin/json_memory.h"
#include "bench/micro.h"
#include "core/check.h"
#include "io/dns_codec.h"
#include "io/proxy_parse.h"

#include <jansson.h>
#include <stdlib.h>

enum { TIMES = 500, MESSAGE_BYTES = 512 };

struct wire {
    struct dns_question question;
    uint8_t query[DNS_QUERY_BYTES], response[MESSAGE_BYTES];
    size_t query_len, response_len;
    union {
        struct dns_answer answer;
        uint8_t room[sizeof(struct dns_answer) + DNS_ANSWER_BYTES];
    } memory;
    uint8_t head[HTTP_HEAD_MAX];
};

#define BODY                                                                              \
    "{\"using\":[\"urn:ietf:params:jmap:core\",\"urn:stalwart:jmap\"],\"methodCalls\":"   \
    "[[\"x:Account/set\",{\"update\":{\"b123\":{\"name\":\"alice\",\"quota\":1073741824," \
    "\"aliases\":{\"0\":{\"name\":\"alice.walker\",\"enabled\":true}}}}},\"0\"]]}"

static const char request[] = "POST /jmap HTTP/1.1\r\nHost: mx.example.org:8080\r\n"
                              "Authorization: Bearer 0123456789abcdef\r\n"
                              "Content-Type: application/json\r\nAccept: application/json\r\n"
                              "Content-Length: 208\r\n\r\n" BODY;

/* The answer to our own question: three hosts, names compressed. */
static void write_response(struct wire *w)
{
    static const char *const hosts[] = {"mx1", "mx2", "backup"};
    struct writer out = writer_init(w->response, sizeof w->response);
    put_bytes(&out, w->query, 2);
    put_bytes(&out, "\x81\x80\0\x01\0\x03\0\0\0\0", 10);
    put_bytes(&out, w->question.name.wire, w->question.name.len);
    put_bytes(&out, "\0\x0f\0\x01", 4);
    for (unsigned i = 0; i < mx_countof(hosts); i++) {
        size_t len = strlen(hosts[i]);
        put_bytes(&out, "\xc0\x0c\0\x0f\0\x01\0\0\x0e\x10\0", 11);
        put_u8(&out, (uint8_t)(len + 5));
        put_u8(&out, 0);
        put_u8(&out, (uint8_t)(10 * i));
        put_u8(&out, (uint8_t)len);
        put_text(&out, hosts[i]);
        put_bytes(&out, "\xc0\x0c", 2);
    }
    MX_ASSERT(!out.overflow);
    w->response_len = out.len;
}

static void *make(uint64_t size)
{
    struct wire *w = micro_take(sizeof *w);
    (void)size;
    json_memory_install();
    w->question = (struct dns_question){.id = 0x1234, .type = DNS_MX};
    MX_ASSERT(dns_name_parse(&w->question.name, SLICE_LITERAL("mail.example.org")) == MX_OK);
    struct writer out = writer_init(w->query, sizeof w->query);
    put_dns_query(&out, &w->question);
    MX_ASSERT(!out.overflow);
    w->query_len = out.len;
    write_response(w);
    return w;
}

static void run_query(void *state)
{
    struct wire *w = state;
    for (unsigned i = 0; i < TIMES; i++) {
        struct writer out = writer_init(w->query, sizeof w->query);
        put_dns_query(&out, &w->question);
        MX_ASSERT(out.len == w->query_len);
    }
}

static void run_response(void *state)
{
    struct wire *w = state;
    for (unsigned i = 0; i < TIMES; i++) {
        struct dns_result result = {.answer = &w->memory.answer};
        dns_response_parse(&result, &w->question, slice_of(w->response, w->response_len));
        MX_ASSERT(result.response == DNS_RESPONSE_ANSWER && result.answer->count == 3);
    }
}

static void run_http(void *state)
{
    struct wire *w = state;
    for (unsigned i = 0; i < TIMES; i++) {
        struct http_engine e;
        struct slice in = slice_of(request, sizeof request - 1);
        size_t body = 0;
        enum http_act act;
        http_engine_init(&e);
        http_engine_begin(&e, w->head, sizeof w->head);
        while ((act = http_engine_next(&e, &in)) != HTTP_ACT_COMPLETE) {
            MX_ASSERT(act == HTTP_ACT_HEAD || act == HTTP_ACT_BODY);
            if (act == HTTP_ACT_HEAD) {
                http_engine_body(&e, sizeof BODY);
            } else {
                body += e.piece.len;
            }
        }
        MX_ASSERT(body == sizeof BODY - 1 && e.head.request.verb == HTTP_VERB_POST);
    }
}

static void run_json(void *state)
{
    (void)state;
    for (unsigned i = 0; i < TIMES; i++) {
        json_error_t error;
        json_t *value = json_loadb(BODY, sizeof BODY - 1, JSON_REJECT_DUPLICATES, &error);
        MX_ASSERT(json_array_size(json_object_get(value, "methodCalls")) == 1);
        json_decref(value);
    }
}

static void run_proxy(void *state)
{
    (void)state;
    for (unsigned i = 0; i < TIMES; i++) {
        struct proxy_parse p;
        size_t used = 0;
        struct slice in =
            SLICE_LITERAL("PROXY TCP4 203.0.113.7 198.51.100.2 49152 25\r\nEHLO a\r\n");
        proxy_parse_init(&p);
        MX_ASSERT(proxy_parse_feed(&p, in, &used) == PROXY_DONE && used == in.len - 8);
    }
}

static const struct micro items[] = {
    {"dns-query", "a question written", TIMES, 0, false, make, NULL, run_query, free},
    {"dns-response", "an answer with three MX records read", TIMES, 0, false, make, NULL,
     run_response, free},
    {"proxy-header", "a PROXY header, version 1", TIMES, 0, false, make, NULL, run_proxy, free},
    {"http-request", "head and body of a management call", TIMES, 0, false, make, NULL, run_http,
     free},
    {"json-request", "its body as JSON, read, freed and wiped", TIMES, 0, false, make, NULL,
     run_json, free},
};
const struct micro_group micro_wire = {items, mx_countof(items)};
