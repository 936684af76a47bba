/* The HTTP engine: what it makes of good and of malformed requests, whole, cut at every byte and
 * byte by byte. */
#include "admin/http_answer.h"
#include "tests/admin/http_lines.h"

static int failures;

#define FAIL(...) (failures++, fprintf(stderr, __VA_ARGS__))

#define H "Host: a\r\n"
#define GET_A "GET /a HTTP/1.1\r\n" H
#define POST_A "POST /a HTTP/1.1\r\n" H
#define CHUNKED POST_A "Transfer-Encoding: chunked\r\n\r\n"

struct example {
    const char *in, *out;
    size_t len; /* 0: up to NUL */
};

static const struct example good[] = {
    {"GET / HTTP/1.1\r\nHost: mx.example.org:8080\r\n\r\n", "GET / @mx.example.org:8080 keep\n"},
    {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET / @[::1]:8080 keep\n"},
    {"GET / HTTP/1.1\r\nhOST:a\r\n\r\n", "GET / @a keep\n"},
    {"GET / HTTP/1.1\r\nHost:  \t a \t\r\n\r\n", "GET / @a keep\n"},
    {"\r\nGET / HTTP/1.1\r\n" H "\r\n", "GET / @a keep\n"},
    {"GET / HTTP/1.0\r\n\r\n", "GET / @ close\n"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "GET / @ keep\n"},
    {"GET / HTTP/1.1\r\n" H "Connection: foo, close\r\n\r\n", "GET / @a close\n"},
    {"GET / HTTP/1.1\r\n" H "Connection: keep-alive\r\nConnection: close\r\n\r\n",
     "GET / @a close\n"},
    {"GET / HTTP/1.9\r\n" H "\r\n", "GET / @a keep\n"},
    {"HEAD / HTTP/1.1\r\n" H "\r\n", "HEAD / @a keep\n"},
    {"DELETE /x HTTP/1.1\r\n" H "\r\n", "DELETE /x @a keep\n"},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", "OPTIONS * @a keep\n"},
    {"GET /%61%c3%A4/b%20c?x=%20&y=a/b?c[] HTTP/1.1\r\n" H "\r\n",
     "GET /a\\c3\\a4/b c ?x=%20&y=a/b?c[] @a keep\n"},
    {"GET /.well-known/jmap HTTP/1.1\r\n" H "\r\n", "GET /.well-known/jmap @a keep\n"},
    {"GET /a.../..b HTTP/1.1\r\n" H "\r\n", "GET /a.../..b @a keep\n"},
    {"GET /%25 HTTP/1.1\r\n" H "\r\n", "GET /% @a keep\n"},
    {GET_A "Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "GET /a @a keep\n"},
    {GET_A "Authorization: Basic YTpi\r\nAccept-Encoding: gzip\r\nIf-None-Match: \"x\"\r\n\r\n",
     "GET /a @a auth=Basic YTpi accept=gzip match=\"x\" keep\n"},
    {GET_A "X:\r\nY: \xe4\r\n\r\n", "GET /a @a keep\n"},
    {POST_A "Content-Length: 5\r\nContent-Type: application/json\r\n\r\nhello",
     "POST /a @a type=application/json keep body=hello\n"},
    {POST_A "Content-Length: 0\r\n\r\n", "POST /a @a keep\n"},
    {POST_A "Content-Length: 00005\r\n\r\nhello", "POST /a @a keep body=hello\n"},
    {POST_A "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", "POST /a @a keep body=x\n"},
    {POST_A "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     "POST /a @a keep body=hello\n"},
    {CHUNKED "0\r\n\r\n", "POST /a @a keep\n"},
    {CHUNKED "0005;a=b;c\r\nhello\r\nA \t; x=\"y\"\r\n0123456789\r\n000\r\nT: 1\r\nU: 2\r\n\r\n",
     "POST /a @a keep body=hello0123456789\n"},
    {CHUNKED "2\r\n\r\n\r\n0\r\n\r\n", "POST /a @a keep body=\\0d\\0a\n"},
    {GET_A "\r\n" POST_A "Content-Length: 2\r\n\r\nhi" CHUNKED "1\r\nx\r\n0\r\n\r\n"
           "GET /b HTTP/1.1\r\nHost: b\r\n\r\n",
     "GET /a @a keep\nPOST /a @a keep body=hi\nPOST /a @a keep body=x\nGET /b @b keep\n"},
    {GET_A, ""}, /* not complete */
    {POST_A "Content-Length: 5\r\n\r\nhell", ""},
    {CHUNKED "5\r\nhello\r\n0\r\n", ""},
    {"PUT / HTTP/1.1\r\n" H "Content-Length: 64\r\n\r\n"
     "0123456789012345678901234567890123456789012345678901234567890123",
     "PUT / @a keep body=0123456789012345678901234567890123456789012345678901234567890123\n"},
};

/* Only the status is told. */
static const struct example bad[] = {
    /* lines */
    {"GET /a HTTP/1.1\nHost: a\n\n", "400"},
    {"GET /a HTTP/1.1\r\nHost: a\n\r\n", "400"},
    {"GET /a HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "400"},
    {"GET /a HTTP/1.1\r\r\nHost: a\r\n\r\n", "400"},
    {GET_A "\rX", "400"},
    {GET_A "\n", "400"},
    {"\r\n\r\nGET /a HTTP/1.1\r\n" H "\r\n", "400"},
    {"\nGET /a HTTP/1.1\r\n" H "\r\n", "400"},
    {GET_A "X: a\0b\r\n\r\n", "400", sizeof(GET_A "X: a\0b\r\n\r\n") - 1},
    {"\x16\x03\x01\x02\0\x01", "400", 6}, /* TLS: told at once */
    {GET_A "X: a\x01"
           "b\r\n\r\n",
     "400"},
    {GET_A "X: a\x7f\r\n\r\n", "400"},
    {GET_A "X: a\r\n b\r\n\r\n", "400"},
    {GET_A "X: a\r\n\tb\r\n\r\n", "400"},
    {"GET /a HTTP/1.1\r\n Host: a\r\n\r\n", "400"},
    {GET_A "X : a\r\n\r\n", "400"},
    {GET_A "X\t: a\r\n\r\n", "400"},
    {GET_A "X Y: a\r\n\r\n", "400"},
    {GET_A ": a\r\n\r\n", "400"},
    {GET_A "X\r\n\r\n", "400"},
    {GET_A "X(: a\r\n\r\n", "400"},
    {GET_A "X\xe4: a\r\n\r\n", "400"},
    /* request line */
    {"GET /a\r\n\r\n", "400"},
    {"GET\r\n", "400"},
    {"GET  /a HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a  HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a HTTP/1.1 \r\n" H "\r\n", "400"},
    {"GET /a b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET\t/a\tHTTP/1.1\r\n" H "\r\n", "400"},
    {" GET /a HTTP/1.1\r\n" H "\r\n", "400"},
    {"G(T /a HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a http/1.1\r\n" H "\r\n", "400"},
    {"GET /a HTTP/11\r\n" H "\r\n", "400"},
    {"GET /a HTTP/1.10\r\n" H "\r\n", "400"},
    {"GET /a HTTP/1,1\r\n" H "\r\n", "400"},
    {"GET /a HTTP/2.0\r\n" H "\r\n", "505"},
    {"GET /a HTTP/0.9\r\n" H "\r\n", "505"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505"},
    {"get /a HTTP/1.1\r\n" H "\r\n", "501"},
    {"GETS /a HTTP/1.1\r\n" H "\r\n", "501"},
    {"BREW /a HTTP/1.1\r\n" H "\r\n", "501"},
    {"PROPFIND /a HTTP/1.1\r\n" H "\r\n", "501"},
    {"TRACE /a HTTP/1.1\r\n" H "\r\n", "405"},
    {"CONNECT a:443 HTTP/1.1\r\n" H "\r\n", "405"},
    /* targets */
    {"GET http://a/ HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET a:80 HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET a HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET * HTTP/1.1\r\n" H "\r\n", "400"},
    {"OPTIONS *x HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET ?a HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a#b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a?x#b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%4 HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /% HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%zz HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a?%4g HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%00 HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%0a HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%7F HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a%2fb HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a%5Cb HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a\\b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /<a> HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%ff HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%c3 HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a/../b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /.. HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /./b HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /a/%2e%2E HTTP/1.1\r\n" H "\r\n", "400"},
    {"GET /%2e?x HTTP/1.1\r\n" H "\r\n", "400"},
    /* Host and what may not be repeated */
    {"GET / HTTP/1.1\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400"},
    {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
    {"GET / HTTP/1.0\r\nHost:\r\nHost: b\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: []\r\n\r\n", "400"},
    {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", "400"},
    {GET_A "Authorization: Basic a\r\nAuthorization: Basic b\r\n\r\n", "400"},
    {POST_A "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n", "400"},
    /* where the body ends */
    {POST_A "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "400"},
    {POST_A "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "400"},
    {POST_A "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"},
    {POST_A "Content-Length: 5, 5\r\n\r\nhello", "400"},
    {POST_A "Content-Length:\r\n\r\n", "400"},
    {POST_A "Content-Length: -1\r\n\r\n", "400"},
    {POST_A "Content-Length: +5\r\n\r\nhello", "400"},
    {POST_A "Content-Length: 0x5\r\n\r\nhello", "400"},
    {POST_A "Content-Length: 5 5\r\n\r\nhello", "400"},
    {POST_A "Content-Length: 65\r\n\r\n", "413"},
    {POST_A "Content-Length: 18446744073709551616\r\n\r\n", "400"},
    {POST_A "Content-Length: 1000000000000000000\r\n\r\n", "413"},
    {POST_A "Content-Length: 1\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding:\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: gzip\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: identity\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: gzip, chunked\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: chunked, gzip\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: chunked, chunked\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: xchunked\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: chunked;q=1\r\n\r\n", "400"},
    {POST_A "Transfer-Encoding: \x0b"
            "chunked\r\n\r\n",
     "400"},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
    {POST_A "Expect: 200-ok\r\n\r\n", "417"},
    {CHUNKED "\r\n", "400"},
    {CHUNKED "5\nhello\r\n", "400"},
    {CHUNKED "5\rXhello\r\n", "400"},
    {CHUNKED "5\r\nhelloXX", "400"},
    {CHUNKED "5\r\nhelloX\n0\r\n\r\n", "400"},
    {CHUNKED "5\r\nhello\rX0\r\n\r\n", "400"},
    {CHUNKED "5\r\nhello\n0\r\n\r\n", "400"},
    {CHUNKED "5 \r\nhello\r\n", "400"},
    {CHUNKED "5;a\nhello\r\n", "400"},
    {CHUNKED "5;a\rbc\r\nhello\r\n", "400"},
    {CHUNKED "0x5\r\nhello\r\n", "400"},
    {CHUNKED "-5\r\nhello\r\n", "400"},
    {CHUNKED "g\r\n", "400"},
    {CHUNKED "0000000000000005\r\nhello\r\n", "400"},
    {CHUNKED "fffffffffffffff\r\n", "413"},
    {CHUNKED "41\r\n", "413"},
    {CHUNKED "3f\r\n012345678901234567890123456789012345678901234567890123456789012\r\n2\r\n",
     "413"},
    {CHUNKED "0\r\nA\nB\r\n\r\n", "400"},
    {CHUNKED "0\r\nA: b\r\n\rX", "400"},
    {CHUNKED "0\r\n\n", "400"},
};

static struct slice input_of(const struct example *e)
{
    return slice_of(e->in, e->len > 0 ? e->len : strlen(e->in));
}

static bool matches(const struct http_lines *l, const struct example *e, bool whole)
{
    return whole ? strcmp(l->text, e->out) == 0
                 : strlen(l->text) > 4 && strncmp(l->text, e->out, 3) == 0 && l->text[3] == ' ' &&
                       strchr(l->text, '\n') == l->text + l->len - 1;
}

/* Exact copies on the heap, so that a sanitizer sees every byte too far. */
static void feed_copy(struct http_lines *l, struct slice in)
{
    uint8_t *copy = malloc(in.len > 0 ? in.len : 1);
    if (in.len > 0) {
        memcpy(copy, in.ptr, in.len);
    }
    http_lines_feed(l, slice_of(copy, in.len));
    free(copy);
}

static void check_split(const struct example *e, const char *expected, size_t at)
{
    static struct http_lines l;
    struct slice in = input_of(e);
    http_lines_init(&l);
    feed_copy(&l, slice_first(in, at));
    feed_copy(&l, slice_from(in, at));
    if (strcmp(l.text, expected) != 0) {
        FAIL("%s\ncut at %zu: %s\nwhole: %s\n", e->in, at, l.text, expected);
    }
}

static void check_bytewise(const struct example *e, const char *expected)
{
    static struct http_lines l;
    struct slice in = input_of(e);
    http_lines_init(&l);
    for (size_t i = 0; i < in.len; i++) {
        feed_copy(&l, slice_first(slice_from(in, i), 1));
    }
    if (strcmp(l.text, expected) != 0) {
        FAIL("%s\nbyte by byte: %s\nwhole: %s\n", e->in, l.text, expected);
    }
}

static void check_examples(const struct example *examples, size_t count, bool whole)
{
    static struct http_lines l;
    for (size_t i = 0; i < count; i++) {
        const struct example *e = &examples[i];
        http_lines_init(&l);
        feed_copy(&l, input_of(e));
        if (!matches(&l, e, whole)) {
            FAIL("%s\nexpected: %s\nbut was:  %s\n", e->in, e->out, l.text);
            continue;
        }
        for (size_t at = 0; at <= input_of(e).len; at++) {
            check_split(e, l.text, at);
        }
        check_bytewise(e, l.text);
    }
}

/* --- lengths --- */

/* before, n times c, after: must give status, or a request when status is 0. */
static void check_length(const char *before, char c, size_t n, const char *after, unsigned status)
{
    static struct http_lines l;
    size_t len = strlen(before) + n + strlen(after);
    char *text = malloc(len + 1);
    memcpy(text, before, strlen(before));
    memset(text + strlen(before), c, n);
    memcpy(text + strlen(before) + n, after, strlen(after) + 1);
    http_lines_init(&l);
    http_lines_feed(&l, slice_of(text, len));
    if (l.engine.refusal.status != status || (status == 0 && l.len == 0)) {
        FAIL("%s %zu x '%c' ...: %s\n", before, n, c, l.text);
    }
    free(text);
}

static void check_lengths(void)
{
    const char *rest = " HTTP/1.1\r\n" H "\r\n";
    check_length("GET /", 'a', HTTP_TARGET_MAX - 1, rest, 0);
    check_length("GET /", 'a', HTTP_TARGET_MAX, rest, 414);
    check_length("GET /", 'a', 1 << 20, "", 414);
    check_length("", 'a', 1 << 20, "", 414);
    size_t used = strlen(GET_A "X: \r\n\r\n");
    check_length(GET_A "X: ", 'a', HTTP_HEAD_MAX - used, "\r\n\r\n", 0);
    check_length(GET_A "X: ", 'a', HTTP_HEAD_MAX - used + 1, "\r\n\r\n", 431);
    check_length(GET_A "X: ", 'a', 1 << 20, "", 431);
    check_length(CHUNKED "1;", 'a', HTTP_CHUNK_EXTENSION_MAX - 1, "\r\nx\r\n0\r\n\r\n", 0);
    check_length(CHUNKED "1;", 'a', HTTP_CHUNK_EXTENSION_MAX, "\r\nx\r\n0\r\n\r\n", 400);
    check_length(CHUNKED "0\r\nT: ", 'a', HTTP_TRAILER_MAX - 9, "\r\n\r\n", 0);
    check_length(CHUNKED "0\r\nT: ", 'a', HTTP_TRAILER_MAX, "\r\n\r\n", 431);
}

static void check_field_count(void)
{
    static struct http_lines l;
    for (unsigned extra = 0; extra < 2; extra++) {
        http_lines_init(&l);
        http_lines_feed(&l, SLICE_LITERAL("GET / HTTP/1.1\r\n" H));
        for (unsigned i = 0; i < HTTP_FIELDS_MAX - 1 + extra; i++) {
            http_lines_feed(&l, SLICE_LITERAL("X: y\r\n"));
        }
        http_lines_feed(&l, SLICE_LITERAL("\r\n"));
        if (l.engine.refusal.status != (extra ? 431 : 0) || l.len == 0) {
            FAIL("%u fields more: %s\n", extra, l.text);
        }
    }
}

/* --- answers --- */

static void check_text(struct slice actual, const char *expected)
{
    if (!slice_equal(actual, slice_of_text(expected))) {
        FAIL("expected:\n%s\nbut was:\n%.*s\n", expected, SLICE_ARGS(actual));
    }
}

static void check_answers(void)
{
    char buf[HTTP_ANSWER_HEAD_MAX];
    const int64_t when = INT64_C(784111777) * 1000;
    struct writer w = writer_init(buf, sizeof buf);
    struct http_answer a = {.status = 200,
                            .content_type = "application/json; charset=utf-8",
                            .body_static = SLICE_LITERAL("{}")};
    bool ok = http_answer_head(&w, &a, true, when) == MX_OK;
    check_text(writer_slice(&w),
               "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
               "Connection: keep-alive\r\nContent-Length: 2\r\n"
               "Content-Type: application/json; charset=utf-8\r\n"
               "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n");
    w = writer_init(buf, sizeof buf);
    struct http_field more = {"Retry-After", SLICE_LITERAL("3")};
    a = (struct http_answer){.status = 304,
                             .etag = SLICE_LITERAL("\"x\""),
                             .cache_control = SLICE_LITERAL("public"),
                             .www_authenticate = {"Bearer", "Basic"},
                             .gzip = true,
                             .fields = &more,
                             .field_count = 1};
    ok = ok && http_answer_head(&w, &a, false, when) == MX_OK;
    check_text(writer_slice(&w), "HTTP/1.1 304 Not Modified\r\n"
                                 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n"
                                 "Cache-Control: public\r\nX-Content-Type-Options: nosniff\r\n"
                                 "ETag: \"x\"\r\nWWW-Authenticate: Bearer\r\n"
                                 "WWW-Authenticate: Basic\r\nRetry-After: 3\r\n\r\n");
    a = (struct http_answer){.status = 405, .allow = "GET"};
    w = writer_init(buf, sizeof buf);
    ok = ok && http_answer_head(&w, &a, false, when) == MX_OK;
    put_char(&w, '\0');
    ok = ok && strstr(buf, "\r\nContent-Length: 0\r\n") && strstr(buf, "\r\nAllow: GET\r\n");
    a.location = SLICE_LITERAL("/x\r\nSet-Cookie: y");
    w = writer_init(buf, sizeof buf);
    ok = ok && http_answer_head(&w, &a, false, when) == MX_ERR_INVALID;
    w = writer_init(buf, 100);
    ok = ok && http_answer_head(&w, &a, false, when) == MX_ERR_LIMIT;
    w = writer_init(buf, sizeof buf);
    http_problem_put(&w, 404, "no \"x\" \\ \n here");
    check_text(writer_slice(&w), "{\"type\":\"about:blank\",\"status\":404,\"title\":\"Not Found\","
                                 "\"detail\":\"no \\\"x\\\" \\\\   here\"}");
    if (!ok) {
        FAIL("an answer's head\n");
    }
}

static void check_accepts(void)
{
    static const struct {
        const char *value;
        bool yes;
    } cases[] = {{"", false},          {"gzip", true},
                 {"GZip", true},       {"deflate, gzip;q=0.5", true},
                 {"gzip;q=0", false},  {"gzip ; q=0.00, *", false},
                 {"*", true},          {"*;q=0", false},
                 {"identity", false},  {"gzipx", false},
                 {"br, x-gzip", true}, {",,gzip;q=0.001,", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (http_accepts_gzip(slice_of_text(cases[i].value)) != cases[i].yes) {
            FAIL("Accept-Encoding: %s\n", cases[i].value);
        }
    }
}

int main(void)
{
    check_examples(good, sizeof good / sizeof good[0], true);
    check_examples(bad, sizeof bad / sizeof bad[0], false);
    check_lengths();
    check_field_count();
    check_answers();
    check_accepts();
    printf("http engine: %s\n", failures ? "FAILED" : "all good");
    return failures ? 1 : 0;
}
