/* An HTTP server on a core of its own and clients of it over loopback. */
#pragma once

#include "admin/http_conn.h"
#include "io/clock.h"
#include "tests/io/support.h"

enum { BIG = 9 * 1000 * 1000, HELD_MAX = 8, HEAD_TEXT_MAX = 4096 };

static struct shard shard;
static struct http_server server;
static struct http_listener listener;
static struct ring_addr addr;
static struct tls_ctx *server_ctx, *client_ctx;
static uint8_t *big;

static struct http_exchange *held[HELD_MAX];
static unsigned held_count, calls, stops, listener_ends;
static bool hold_all, last_tls;
static size_t last_body_len;
static bool last_body_good;

/* --- the server's side --- */

static inline uint8_t *copy_of(struct slice bytes)
{
    uint8_t *copy = malloc(bytes.len + 1);
    CHECK(copy != NULL);
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    return copy;
}

static inline void answer_text(struct http_exchange *exchange, struct slice text)
{
    struct http_answer answer = {
        .status = 200, .content_type = "text/plain", .body = copy_of(text), .len = text.len};
    http_answer(exchange, &answer);
}

static inline bool path_is(const struct http_exchange *exchange, const char *path)
{
    return slice_equal(exchange->request.path, slice_of_text(path));
}

static inline void on_request(void *arg, struct http_exchange *exchange)
{
    static uint8_t long_value[HTTP_ANSWER_HEAD_MAX];
    const struct http_request *request = &exchange->request;
    struct http_answer answer = {.status = 200};
    CHECK(arg == &server && request->peer.family == 4);
    calls++;
    last_tls = request->tls;
    last_body_len = request->body.len;
    last_body_good =
        request->body.len <= BIG && slice_equal(request->body, slice_of(big, request->body.len));
    if (hold_all || path_is(exchange, "/hold")) {
        CHECK(held_count < HELD_MAX);
        held[held_count++] = exchange;
        return;
    }
    if (path_is(exchange, "/echo")) {
        answer_text(exchange, request->body);
        return;
    }
    if (path_is(exchange, "/big")) {
        answer.body_static = slice_of(big, BIG);
    } else if (path_is(exchange, "/copy")) {
        answer.body = copy_of(slice_of(big, BIG));
        answer.len = BIG;
    } else if (path_is(exchange, "/none")) {
        answer.status = 204;
    } else if (path_is(exchange, "/split")) {
        answer.location = SLICE_LITERAL("/\r\nX: y");
        answer.body = copy_of(SLICE_LITERAL("lost"));
    } else if (path_is(exchange, "/long")) {
        memset(long_value, 'x', sizeof long_value);
        answer.etag = slice_of(long_value, sizeof long_value);
    } else if (path_is(exchange, "/close")) {
        answer.close = true;
    } else {
        answer_text(exchange, request->path);
        return;
    }
    http_answer(exchange, &answer);
}

static inline uint64_t on_body_max(void *arg, const struct http_request *request)
{
    CHECK(arg == &server && request->body.len == 0);
    return slice_equal(request->path, SLICE_LITERAL("/small")) ? 10 : UINT64_MAX;
}

static inline void on_stopped(void *arg)
{
    CHECK(arg == &server);
    stops++;
}

static inline void on_listener_closed(struct http_listener *l)
{
    CHECK(l == &listener);
    listener_ends++;
}

static inline void open_server(const struct http_limits *limits, bool tls)
{
    struct http_server_conf conf = {.shard = &shard,
                                    .limits = *limits,
                                    .arg = &server,
                                    .request = on_request,
                                    .body_max = on_body_max,
                                    .stopped = on_stopped};
    held_count = calls = stops = listener_ends = 0;
    hold_all = false;
    core_open(&shard, 0);
    CHECK(http_server_init(&server, &conf) == MX_OK);
    listener = (struct http_listener){.closed = on_listener_closed};
    http_listen(&listener, &server, listen_any(&addr), tls ? server_ctx : NULL);
}

static inline void open_default(void)
{
    struct http_limits limits = http_limits_default();
    open_server(&limits, false);
}

static inline void close_server(void)
{
    if (!server.stopping) {
        http_server_stop(&server, true);
    }
    TURN_UNTIL(&shard, stops == 1);
    CHECK(listener_ends == 1);
    http_server_fini(&server);
    core_close(&shard);
}

/* --- the client's side --- */

struct got {
    unsigned status;
    char head[HEAD_TEXT_MAX];
    size_t len; /* Content-Length, SIZE_MAX: none */
};

static inline void say_text(int fd, const char *text)
{
    say(&shard, fd, text, strlen(text));
}

/* Reads a head; the body is the caller's. */
static inline void hear_head(struct got *got, int fd)
{
    size_t len = 0;
    *got = (struct got){.len = SIZE_MAX};
    while (len < 4 || memcmp(got->head + len - 4, "\r\n\r\n", 4) != 0) {
        CHECK(len + 1 < sizeof got->head);
        hear(&shard, fd, got->head + len++, 1);
    }
    CHECK(sscanf(got->head, "HTTP/1.1 %u ", &got->status) == 1);
    const char *length = strstr(got->head, "\r\nContent-Length: ");
    CHECK(length == NULL || sscanf(length, "\r\nContent-Length: %zu\r\n", &got->len) == 1);
}

/* An answer with this status and body (NULL: any). */
static inline struct got expect(int fd, unsigned status, const char *body)
{
    struct got got;
    static char text[4096];
    hear_head(&got, fd);
    if (got.status != status) {
        printf("expected %u, got:\n%s\n", status, got.head);
        exit(1);
    }
    if (got.len != SIZE_MAX) {
        CHECK(got.len < sizeof text);
        hear(&shard, fd, text, got.len);
        text[got.len] = 0;
        if (body != NULL && strcmp(text, body) != 0) {
            printf("expected: %s\nbut got: %s\n", body, text);
            exit(1);
        }
    }
    if (status >= 400) {
        CHECK(strstr(got.head, "\r\nContent-Type: application/problem+json\r\n") != NULL);
    }
    return got;
}

static inline void expect_end(int fd)
{
    CHECK(hear_end(&shard, fd) == 0);
    (void)close(fd);
}

/* The last answer on a connection. */
static inline void expect_last(int fd, unsigned status, const char *body)
{
    struct got got = expect(fd, status, body);
    CHECK(strstr(got.head, "\r\nConnection: close\r\n") != NULL);
    expect_end(fd);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, fields) "POST " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

static inline void hear_big(int fd)
{
    struct got got;
    uint8_t *copy = malloc(BIG);
    CHECK(copy != NULL);
    hear_head(&got, fd);
    CHECK(got.status == 200 && got.len == BIG);
    hear(&shard, fd, copy, BIG);
    CHECK(memcmp(copy, big, BIG) == 0);
    free(copy);
}

static inline void make_contexts(void)
{
    static uint8_t cert[4096];
    static uint8_t key[4096];
    struct writer cert_pem = writer_init(cert, sizeof cert);
    struct writer key_pem = writer_init(key, sizeof key);
    CHECK(tls_self_signed(&cert_pem, &key_pem, SLICE_LITERAL("mx.example.org"), clock_wall_ms()) ==
          MX_OK);
    struct tls_server_conf server_conf = {.cert_pem = writer_slice(&cert_pem),
                                          .key_pem = writer_slice(&key_pem)};
    struct tls_client_conf client_conf = {.verify = false};
    CHECK(tls_server_ctx_new(&server_ctx, &server_conf) == MX_OK);
    CHECK(tls_client_ctx_new(&client_ctx, &client_conf) == MX_OK);
}

/* Everything that the tests of one program share. */
static inline void bed_open(void)
{
    make_contexts();
    big = malloc(BIG);
    CHECK(big != NULL);
    fill_pattern(big, BIG, 7);
}

static inline void bed_close(void)
{
    tls_ctx_free(server_ctx);
    tls_ctx_free(client_ctx);
    free(big);
}

#define RUN(name) (printf("%s\n", #name), fflush(stdout), check_##name())
