/* The HTTP server over loopback on a core of its own: what clients send and get, byte for byte, and
 * every bound. Times are made short by the limits; nothing sleeps. */
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

static uint8_t *copy_of(struct slice bytes)
{
    uint8_t *copy = malloc(bytes.len + 1);
    CHECK(copy != NULL);
    if (bytes.len > 0) {
        memcpy(copy, bytes.ptr, bytes.len);
    }
    return copy;
}

static void answer_text(struct http_exchange *exchange, struct slice text)
{
    struct http_answer answer = {
        .status = 200, .content_type = "text/plain", .body = copy_of(text), .len = text.len};
    http_answer(exchange, &answer);
}

static bool path_is(const struct http_exchange *exchange, const char *path)
{
    return slice_equal(exchange->request.path, slice_of_text(path));
}

static void on_request(void *arg, struct http_exchange *exchange)
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

static uint64_t on_body_max(void *arg, const struct http_request *request)
{
    CHECK(arg == &server && request->body.len == 0);
    return slice_equal(request->path, SLICE_LITERAL("/small")) ? 10 : UINT64_MAX;
}

static void on_stopped(void *arg)
{
    CHECK(arg == &server);
    stops++;
}

static void on_listener_closed(struct http_listener *l)
{
    CHECK(l == &listener);
    listener_ends++;
}

static void open_server(const struct http_limits *limits, bool tls)
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

static void open_default(void)
{
    struct http_limits limits = http_limits_default();
    open_server(&limits, false);
}

static void close_server(void)
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

static void say_text(int fd, const char *text)
{
    say(&shard, fd, text, strlen(text));
}

/* Reads a head; the body is the caller's. */
static void hear_head(struct got *got, int fd)
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
static struct got expect(int fd, unsigned status, const char *body)
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

static void expect_end(int fd)
{
    CHECK(hear_end(&shard, fd) == 0);
    (void)close(fd);
}

/* The last answer on a connection. */
static void expect_last(int fd, unsigned status, const char *body)
{
    struct got got = expect(fd, status, body);
    CHECK(strstr(got.head, "\r\nConnection: close\r\n") != NULL);
    expect_end(fd);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(path, fields) "POST " path " HTTP/1.1\r\nHost: a\r\n" fields "\r\n"

/* --- requests and answers --- */

static void check_keep_alive(void)
{
    open_default();
    int fd = dial(&addr);
    for (unsigned i = 0; i < 3; i++) {
        say_text(fd, GET("/hello"));
        struct got got = expect(fd, 200, "/hello");
        CHECK(strstr(got.head, "\r\nConnection: keep-alive\r\n") != NULL);
        CHECK(strstr(got.head, "\r\nDate: ") != NULL);
        CHECK(strstr(got.head, " GMT\r\n") != NULL);
        CHECK(strstr(got.head, "\r\nCache-Control: no-store\r\n") != NULL);
        CHECK(strstr(got.head, "\r\nX-Content-Type-Options: nosniff\r\n") != NULL);
    }
    CHECK(server.conns_count == 1 && server.stats.connections == 1 && server.stats.requests == 3);
    say_text(fd, POST("/echo", "Content-Length: 5\r\n") "hello");
    (void)expect(fd, 200, "hello");
    say_text(fd,
             POST("/echo", "Transfer-Encoding: chunked\r\n") "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    (void)expect(fd, 200, "hello");
    (void)close(fd);
    TURN_UNTIL(&shard, server.conns_count == 0);
    close_server();
}

/* Answers have no body where HTTP says so, and the next answer is where it belongs. */
static void check_bodiless(void)
{
    struct got got;
    open_default();
    int fd = dial(&addr);
    say_text(fd, "HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n" GET(
                     "/none") "HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n"
                              "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    hear_head(&got, fd);
    CHECK(got.status == 200 && got.len == strlen("/hello"));
    hear_head(&got, fd);
    CHECK(got.status == 204 && got.len == SIZE_MAX);
    hear_head(&got, fd);
    CHECK(got.status == 200 && got.len == BIG);
    (void)expect(fd, 200, "*");
    (void)close(fd);
    close_server();
}

static void check_closing(void)
{
    open_default();
    int fd = dial(&addr);
    say_text(fd, "GET /x HTTP/1.0\r\n\r\n");
    expect_last(fd, 200, "/x");
    fd = dial(&addr);
    say_text(fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    struct got got = expect(fd, 200, "/x");
    CHECK(strstr(got.head, "\r\nConnection: keep-alive\r\n") != NULL);
    say_text(fd, "GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/z"));
    expect_last(fd, 200, "/y");
    fd = dial(&addr);
    say_text(fd, GET("/close"));
    expect_last(fd, 200, "");
    /* The client has said its last word; the answer still reaches it. */
    fd = dial(&addr);
    say_text(fd, GET("/hold"));
    CHECK(shutdown(fd, SHUT_WR) == 0);
    TURN_UNTIL(&shard, held_count == 1);
    turn_some(&shard, 3);
    answer_text(held[0], SLICE_LITERAL("late"));
    (void)expect(fd, 200, "late");
    expect_end(fd);
    CHECK(calls == 5);
    close_server();
}

/* More of them than are served in a turn, in one packet; answered in order. */
static void check_pipelining(void)
{
    enum { REQUESTS = 5 * HTTP_REQUESTS_PER_TURN };
    static char text[REQUESTS * 64];
    size_t len = 0;
    char path[16];
    open_default();
    int fd = dial(&addr);
    for (unsigned i = 0; i < REQUESTS; i++) {
        len += (size_t)sprintf(text + len, GET("/%u"), i);
    }
    say(&shard, fd, text, len);
    for (unsigned turns = 0; calls < REQUESTS; turns++) {
        unsigned before = calls;
        CHECK(turns < TURNS_MAX);
        shard_turn(&shard, TURN_WAIT_NS);
        CHECK(calls - before <= 2 * HTTP_REQUESTS_PER_TURN); /* what came, and what was parked */
    }
    for (unsigned i = 0; i < REQUESTS; i++) {
        sprintf(path, "/%u", i);
        (void)expect(fd, 200, path);
    }
    (void)close(fd);
    close_server();
}

/* One at a time: what follows waits, first in the park, then in the kernel. */
static void check_back_pressure(void)
{
    static char rest[4000000];
    open_default();
    int fd = dial(&addr);
    say_text(fd, GET("/hold") GET("/second"));
    TURN_UNTIL(&shard, held_count == 1);
    memset(rest, 'x', sizeof rest);
    ssize_t taken = 0;
    for (unsigned i = 0; i < 50; i++) {
        ssize_t n = send(fd, rest, sizeof rest, MSG_NOSIGNAL);
        taken += n > 0 ? n : 0;
        shard_turn(&shard, 0);
    }
    CHECK(taken > 0 && (size_t)taken < 50 * sizeof rest);
    struct http_conn *conn = mx_container_of(list_first(&server.conns), struct http_conn, node);
    CHECK(calls == 1 && conn->stream.bytes_in <= 2 * RING_RECV_BYTES);
    answer_text(held[0], SLICE_LITERAL("first"));
    (void)expect(fd, 200, "first");
    (void)expect(fd, 200, "/second");
    expect_last(fd, 414, NULL); /* a request line of x */
    CHECK(calls == 2);
    close_server();
}

/* Exchanges outlive their connections and count as requests in progress. */
static void check_client_gone(void)
{
    struct http_limits limits = http_limits_default();
    limits.connections_max = 2;
    open_server(&limits, false);
    for (unsigned i = 0; i < 2; i++) {
        int fd = dial(&addr);
        say_text(fd, POST("/hold", "Content-Length: 5\r\n") "hello");
        TURN_UNTIL(&shard, held_count == i + 1);
        struct http_conn *conn = mx_container_of(list_first(&server.conns), struct http_conn, node);
        http_conn_stop(conn, true);
        (void)close(fd);
        TURN_UNTIL(&shard, server.conns_count == 0);
    }
    CHECK(slice_equal(held[1]->request.body, SLICE_LITERAL("hello")));
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    expect_last(fd, 503, NULL);
    answer_text(held[0], SLICE_LITERAL("nobody hears"));
    fd = dial(&addr);
    say_text(fd, GET("/x"));
    (void)expect(fd, 200, "/x");
    (void)close(fd);
    http_server_stop(&server, true);
    turn_some(&shard, 10);
    CHECK(stops == 0 && server.exchanges_count == 1);
    answer_text(held[1], SLICE_LITERAL("nobody hears"));
    CHECK(stops == 1);
    close_server();
}

/* --- sizes --- */

static void send_chunks(int fd, size_t len)
{
    char line[32];
    for (size_t done = 0; done < len;) {
        size_t n = mx_min_size(len - done, 777777);
        int digits = sprintf(line, "%zx\r\n", n);
        say(&shard, fd, line, (size_t)digits);
        say(&shard, fd, big + done, n);
        say_text(fd, "\r\n");
        done += n;
    }
    say_text(fd, "0\r\n\r\n");
}

static void check_large_bodies(void)
{
    char head[200];
    open_default();
    int fd = dial(&addr);
    sprintf(head, POST("/x", "Content-Length: %d\r\n"), BIG);
    say_text(fd, head);
    say(&shard, fd, big, BIG);
    (void)expect(fd, 200, "/x");
    CHECK(last_body_len == BIG && last_body_good);
    say_text(fd, POST("/x", "Transfer-Encoding: chunked\r\n"));
    send_chunks(fd, BIG);
    (void)expect(fd, 200, "/x");
    CHECK(last_body_len == BIG && last_body_good && server.bodies_bytes == 0);
    say_text(fd, POST("/x", "Content-Length: 10000001\r\n"));
    expect_last(fd, 413, NULL);
    /* The path's own limit. */
    fd = dial(&addr);
    say_text(fd, POST("/small", "Content-Length: 10\r\n") "0123456789");
    (void)expect(fd, 200, "/small");
    say_text(fd, POST("/small", "Transfer-Encoding: chunked\r\n") "a\r\n0123456789\r\n1\r\n");
    expect_last(fd, 413, NULL);
    CHECK(calls == 3);
    close_server();
}

static void check_body_budget(void)
{
    struct http_limits limits = http_limits_default();
    limits.bodies_bytes_max = 100000;
    open_server(&limits, false);
    int first = dial(&addr);
    say_text(first, POST("/x", "Content-Length: 65536\r\n"));
    say(&shard, first, big, 60000);
    TURN_UNTIL(&shard, server.bodies_bytes == 65536);
    int second = dial(&addr);
    say_text(second, POST("/x", "Content-Length: 65536\r\n"));
    say(&shard, second, big, 60000);
    expect_last(second, 503, NULL);
    say(&shard, first, big + 60000, 5536);
    (void)expect(first, 200, "/x");
    CHECK(last_body_good && last_body_len == 65536);
    (void)close(first);
    close_server();
}

static void hear_big(int fd)
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

/* A client that does not read holds a bounded number of bytes. */
static void check_large_answers(void)
{
    open_default();
    int fd = dial(&addr);
    say_text(fd, GET("/big") GET("/copy") GET("/x"));
    turn_some(&shard, 50);
    CHECK(shard.blocks.used_peak * BLOCK_DATA <=
          STREAM_OUT_LOW + HTTP_OUT_PIECE + HTTP_ANSWER_HEAD_MAX + 2 * BLOCK_DATA);
    CHECK(calls == 1);
    hear_big(fd);
    hear_big(fd);
    (void)expect(fd, 200, "/x");
    CHECK(server.answers_bytes == 0);
    (void)close(fd);
    /* Gone in the middle. */
    fd = dial(&addr);
    say_text(fd, GET("/copy"));
    TURN_UNTIL(&shard, server.answers_bytes == BIG);
    turn_some(&shard, 5);
    (void)close(fd);
    TURN_UNTIL(&shard, server.conns_count == 0);
    CHECK(server.answers_bytes == 0);
    close_server();
}

/* A client that pipelines and does not read. */
static void check_unread_answers(void)
{
    enum { REQUESTS = 400 };
    static char text[REQUESTS * 40];
    size_t len = 0;
    open_default();
    int buf = 4096;
    int fd = dial(&addr);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buf, sizeof buf) == 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        len += (size_t)sprintf(text + len, GET("/big"));
    }
    say(&shard, fd, text, len);
    turn_some(&shard, 100);
    CHECK(calls == 1);
    CHECK(shard.blocks.used * BLOCK_DATA <= STREAM_OUT_LOW + HTTP_OUT_PIECE + HTTP_ANSWER_HEAD_MAX);
    (void)close(fd);
    close_server();
}

static void check_bad_answers(void)
{
    struct http_limits limits = http_limits_default();
    limits.answers_bytes_max = BIG - 1;
    open_server(&limits, false);
    int fd = dial(&addr);
    say_text(fd, GET("/split") GET("/long") GET("/copy") GET("/x"));
    struct got got = expect(fd, 500, NULL);
    CHECK(strstr(got.head, "X: y") == NULL);
    (void)expect(fd, 500, NULL);
    (void)expect(fd, 503, NULL);
    (void)expect(fd, 200, "/x");
    (void)close(fd);
    close_server();
}

/* --- refusals --- */

static void check_refusals(void)
{
    static const struct {
        const char *text;
        unsigned status;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n" GET("/smuggled"), 400},
        {POST("/x", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") GET("/smuggled"), 400},
        {POST("/x", "Transfer-Encoding: chunked\r\n") "5\rXhello\r\n" GET("/smuggled"), 400},
        {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
        {"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {POST("/x", "Expect: something\r\n"), 417},
        {"\x16\x03\x01\x02\x01\xfc\x03\x03 TLS to a clear port\r\n\r\n", 400},
    };
    open_default();
    for (size_t i = 0; i < mx_countof(cases); i++) {
        int fd = dial(&addr);
        say_text(fd, cases[i].text);
        struct got got = expect(fd, cases[i].status, NULL);
        CHECK((strstr(got.head, "\r\nAllow: GET,") != NULL) == (cases[i].status == 405));
        CHECK(strstr(got.head, "\r\nConnection: close\r\n") != NULL);
        expect_end(fd);
    }
    CHECK(calls == 0 && server.stats.refused == mx_countof(cases));
    /* A refused HEAD has no body. */
    int fd = dial(&addr);
    struct got got;
    say_text(fd, "HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n");
    hear_head(&got, fd);
    CHECK(got.status == 413);
    expect_end(fd);
    close_server();
}

static void check_continue(void)
{
    open_default();
    int fd = dial(&addr);
    say_text(fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    hear_text(&shard, fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say_text(fd, "hello");
    (void)expect(fd, 200, "hello");
    say_text(fd, POST("/echo", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"));
    hear_text(&shard, fd, "HTTP/1.1 100 Continue\r\n\r\n");
    say_text(fd, "1\r\nx\r\n0\r\n\r\n");
    (void)expect(fd, 200, "x");
    say_text(fd, POST("/echo", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
    (void)expect(fd, 200, "");
    say_text(fd, POST("/small", "Expect: 100-continue\r\nContent-Length: 11\r\n"));
    expect_last(fd, 413, NULL);
    close_server();
}

static void check_connection_limit(void)
{
    struct http_limits limits = http_limits_default();
    int fds[3];
    limits.connections_max = 2;
    open_server(&limits, false);
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = dial(&addr);
        say_text(fds[i], GET("/x"));
        (void)expect(fds[i], 200, "/x");
    }
    fds[2] = dial(&addr);
    say_text(fds[2], GET("/x"));
    expect_last(fds[2], 503, NULL);
    CHECK(server.stats.over_limit == 1 && calls == 2);
    (void)close(fds[0]);
    TURN_UNTIL(&shard, server.conns_count == 1);
    fds[0] = dial(&addr);
    say_text(fds[0], GET("/y"));
    (void)expect(fds[0], 200, "/y");
    (void)close(fds[0]);
    (void)close(fds[1]);
    close_server();
}

/* Far over the limit: no memory for those either. */
static void check_flood(void)
{
    enum { CLIENTS = 1 + HTTP_REFUSING_MAX + 20 };
    struct http_limits limits = http_limits_default();
    int fds[CLIENTS];
    limits.connections_max = 1;
    open_server(&limits, false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        fds[i] = dial(&addr);
    }
    TURN_UNTIL(&shard, server.stats.connections == CLIENTS);
    CHECK(server.conns_count <= 1 + HTTP_REFUSING_MAX);
    CHECK(server.stats.over_limit == CLIENTS - 1);
    say_text(fds[0], GET("/x"));
    (void)expect(fds[0], 200, "/x");
    for (unsigned i = 0; i < CLIENTS; i++) {
        (void)close(fds[i]);
    }
    close_server();
}

static void let_pass(uint64_t ms)
{
    uint64_t until_ns = shard.now_ns + ms * MX_NS_PER_MS;
    TURN_UNTIL(&shard, shard.now_ns > until_ns);
}

/* Is served, in the place of `gone`. */
static void expect_place_of(int gone)
{
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    (void)expect(fd, 200, "/x");
    expect_end(gone);
    (void)close(fd);
}

/* Slow clients keep nobody out: who has waited for longest goes, and who has asked for something
 * last of all. */
static void check_slow_give_way(void)
{
    struct http_limits limits = http_limits_default();
    limits.connections_max = 3;
    limits.yield_ms = 1;
    open_server(&limits, false);
    int body = dial(&addr);
    say_text(body, POST("/echo", "Content-Length: 4\r\n") "ab");
    TURN_UNTIL(&shard, server.bodies_bytes > 0);
    int silent = dial(&addr);
    TURN_UNTIL(&shard, server.conns_count == 2);
    let_pass(1);
    int slow = dial(&addr);
    say_text(slow, "GET /x HTT");
    TURN_UNTIL(&shard, server.exchanges_count == 2);
    let_pass(2);
    expect_place_of(silent);
    TURN_UNTIL(&shard, server.conns_count == 2);
    silent = dial(&addr);
    TURN_UNTIL(&shard, server.conns_count == 3);
    expect_place_of(slow);
    CHECK(server.stats.yielded == 2 && server.stats.over_limit == 0);
    say_text(body, "cd");
    (void)expect(body, 200, "abcd");
    (void)close(body);
    (void)close(silent);
    close_server();
}

/* Bodies that do not go on give way to one that does. */
static void check_slow_bodies_give_way(void)
{
    struct http_limits limits = http_limits_default();
    limits.bodies_bytes_max = 100000;
    limits.yield_ms = 1;
    open_server(&limits, false);
    int slow = dial(&addr);
    say_text(slow, POST("/x", "Content-Length: 65536\r\n"));
    say(&shard, slow, big, 60000);
    TURN_UNTIL(&shard, server.bodies_bytes == 65536);
    let_pass(2);
    int fd = dial(&addr);
    say_text(fd, POST("/x", "Content-Length: 65536\r\n"));
    say(&shard, fd, big, 65536);
    (void)expect(fd, 200, "/x");
    CHECK(server.stats.yielded == 1 && server.stats.refused == 0);
    expect_end(slow);
    (void)close(fd);
    close_server();
}

/* --- time --- */

static void check_head_timeout(void)
{
    struct http_limits limits = http_limits_default();
    limits.head_ms = 1;
    open_server(&limits, false);
    int silent = dial(&addr);
    int slow = dial(&addr);
    TURN_UNTIL(&shard, server.conns_count == 2);
    say_text(slow, "GET /x HTT");
    expect_last(slow, 408, NULL);
    expect_end(silent); /* asked nothing, is told nothing */
    CHECK(server.stats.timeouts == 1 && calls == 0);
    close_server();
}

static void check_idle_timeout(void)
{
    struct http_limits limits = http_limits_default();
    limits.idle_ms = 1;
    open_server(&limits, false);
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    (void)expect(fd, 200, "/x");
    expect_end(fd);
    CHECK(server.stats.timeouts == 0);
    close_server();
}

static void check_body_timeout(void)
{
    struct http_limits limits = http_limits_default();
    limits.transfer_ms = 1;
    limits.rate_bytes_s = 1000000;
    open_server(&limits, false);
    int fd = dial(&addr);
    say_text(fd, POST("/x", "Content-Length: 2000\r\n"));
    say(&shard, fd, big, 1000);
    expect_last(fd, 408, NULL);
    CHECK(server.stats.timeouts == 1 && calls == 0);
    close_server();
}

/* Who sends fast enough has time: a second for every byte. */
static void check_body_rate(void)
{
    struct http_limits limits = http_limits_default();
    limits.transfer_ms = 1;
    limits.rate_bytes_s = 1;
    open_server(&limits, false);
    int fd = dial(&addr);
    say_text(fd, POST("/x", "Content-Length: 2000\r\n"));
    say(&shard, fd, big, 1000);
    struct http_conn *conn;
    TURN_UNTIL(&shard, server.bodies_bytes > 0);
    conn = mx_container_of(list_first(&server.conns), struct http_conn, node);
    uint64_t first_ns = conn->timer.deadline_ns;
    /* The timer that was armed for the base time alone fires and finds that there is more. */
    TURN_UNTIL(&shard, conn->timer.deadline_ns > first_ns);
    CHECK(conn->timer.deadline_ns >= conn->phase_ns + 1000 * MX_NS_PER_S);
    say(&shard, fd, big + 1000, 1000);
    (void)expect(fd, 200, "/x");
    (void)close(fd);
    close_server();
}

static void check_answer_timeout(void)
{
    struct http_limits limits = http_limits_default();
    limits.transfer_ms = 1;
    limits.rate_bytes_s = UINT64_MAX / 2;
    open_server(&limits, false);
    int fd = dial(&addr);
    say_text(fd, GET("/copy"));
    TURN_UNTIL(&shard, calls == 1);
    TURN_UNTIL(&shard, server.conns_count == 0);
    CHECK(server.stats.timeouts == 1 && server.answers_bytes == 0);
    (void)close(fd);
    close_server();
}

/* The handler may take its time. */
static void check_handler_has_time(void)
{
    struct http_limits limits = http_limits_default();
    limits.head_ms = limits.idle_ms = limits.transfer_ms = 1;
    open_server(&limits, false);
    hold_all = true;
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    TURN_UNTIL(&shard, held_count == 1);
    CHECK(shard.wheel.armed == 0); /* nothing can cut it off */
    answer_text(held[0], SLICE_LITERAL("x"));
    (void)expect(fd, 200, "x");
    expect_end(fd);
    close_server();
}

/* --- the end --- */

static void check_stop(void)
{
    open_default();
    int idle = dial(&addr);
    int busy = dial(&addr);
    int half = dial(&addr);
    say_text(busy, GET("/hold"));
    say_text(half, POST("/echo", "Content-Length: 2\r\n") "h");
    TURN_UNTIL(&shard, held_count == 1 && server.bodies_bytes > 0 && server.conns_count == 3);
    http_server_stop(&server, false);
    expect_end(idle);
    CHECK(stops == 0);
    say_text(half, "i");
    expect_last(half, 200, "hi");
    answer_text(held[0], SLICE_LITERAL("done"));
    expect_last(busy, 200, "done");
    TURN_UNTIL(&shard, stops == 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (const void *)addr.bytes, addr.len) != 0 && errno == ECONNREFUSED);
    (void)close(fd);
    close_server();
}

/* An answer on its way arrives whole, also when it had promised more. */
static void check_stop_while_sending(void)
{
    open_default();
    int fd = dial(&addr);
    say_text(fd, GET("/big"));
    TURN_UNTIL(&shard, calls == 1);
    http_server_stop(&server, false);
    hear_big(fd);
    expect_end(fd);
    close_server();
}

/* The second call does not wait for clients. */
static void check_stop_forced(void)
{
    open_default();
    int half = dial(&addr);
    say_text(half, POST("/echo", "Content-Length: 2\r\n") "h");
    TURN_UNTIL(&shard, server.bodies_bytes > 0);
    http_server_stop(&server, false);
    turn_some(&shard, 5);
    CHECK(stops == 0 && server.conns_count == 1);
    http_server_stop(&server, true);
    TURN_UNTIL(&shard, stops == 1);
    http_server_stop(&server, true);
    CHECK(stops == 1); /* said once */
    (void)close(half);
    close_server();
}

/* A listener that goes leaves its connections alone. */
static void check_unlisten(void)
{
    open_default();
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    (void)expect(fd, 200, "/x");
    http_unlisten(&listener);
    TURN_UNTIL(&shard, listener_ends == 1);
    say_text(fd, GET("/y"));
    (void)expect(fd, 200, "/y");
    (void)close(fd);
    close_server();
}

/* --- TLS --- */

struct client {
    struct stream stream;
    uint8_t *got;
    size_t len;
    unsigned readies, closes;
    mx_err why;
};

static size_t client_input(struct stream *stream, struct slice in)
{
    struct client *client = mx_container_of(stream, struct client, stream);
    CHECK(client->len + in.len <= BIG + HEAD_TEXT_MAX);
    memcpy(client->got + client->len, in.ptr, in.len);
    client->len += in.len;
    return in.len;
}

static void client_ready(struct stream *stream)
{
    struct client *client = mx_container_of(stream, struct client, stream);
    if (client->readies++ == 0) {
        stream_start_tls(stream, client_ctx, SLICE_LITERAL("mx.example.org"));
    }
}

static void client_closed(struct stream *stream, mx_err why)
{
    struct client *client = mx_container_of(stream, struct client, stream);
    client->closes++;
    client->why = why;
}

static const struct stream_ops client_ops = {
    .input = client_input, .ready = client_ready, .closed = client_closed};

static void client_open(struct client *client)
{
    *client = (struct client){.got = calloc(1, BIG + HEAD_TEXT_MAX)};
    CHECK(client->got != NULL);
    stream_connect(&client->stream, &shard, &client_ops, &addr);
    TURN_UNTIL(&shard, client->readies == 2 || client->closes == 1);
}

static void check_tls(void)
{
    struct http_limits limits = http_limits_default();
    struct client client;
    open_server(&limits, true);
    client_open(&client);
    CHECK(stream_write(&client.stream, SLICE_LITERAL(GET("/one") POST(
                                           "/echo", "Content-Length: 3\r\n") "two")) == MX_OK);
    TURN_UNTIL(&shard,
               calls == 2 && client.len > 3 && memcmp(client.got + client.len - 3, "two", 3) == 0);
    CHECK(last_tls && strstr((char *)client.got, "\r\n\r\n/oneHTTP/1.1 200 OK\r\n") != NULL);
    client.len = 0;
    CHECK(stream_write(&client.stream, SLICE_LITERAL(GET("/big"))) == MX_OK);
    TURN_UNTIL(&shard, client.len > BIG && memcmp(client.got + client.len - BIG, big, BIG) == 0);
    stream_close(&client.stream);
    TURN_UNTIL(&shard, client.closes == 1 && server.conns_count == 0);
    free(client.got);
    /* Clear text to this port is not HTTP. */
    int fd = dial(&addr);
    say_text(fd, GET("/x"));
    expect_end(fd);
    CHECK(calls == 3);
    close_server();
}

static void check_tls_timeout(void)
{
    struct http_limits limits = http_limits_default();
    limits.head_ms = 1;
    open_server(&limits, true);
    int fd = dial(&addr);
    TURN_UNTIL(&shard, server.stats.timeouts == 1);
    TURN_UNTIL(&shard, server.conns_count == 0);
    (void)close(fd);
    close_server();
}

static void check_tls_limit(void)
{
    struct http_limits limits = http_limits_default();
    struct client first;
    limits.connections_max = 1;
    open_server(&limits, true);
    client_open(&first);
    int fd = dial(&addr);
    expect_end(fd);
    CHECK(server.stats.over_limit == 1);
    stream_close(&first.stream);
    TURN_UNTIL(&shard, first.closes == 1);
    free(first.got);
    close_server();
}

static void make_contexts(void)
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

int main(void)
{
    make_contexts();
    big = malloc(BIG);
    CHECK(big != NULL);
    fill_pattern(big, BIG, 7);
#define RUN(name) (printf("%s\n", #name), fflush(stdout), check_##name())
    RUN(keep_alive);
    RUN(bodiless);
    RUN(closing);
    RUN(pipelining);
    RUN(back_pressure);
    RUN(client_gone);
    RUN(large_bodies);
    RUN(body_budget);
    RUN(large_answers);
    RUN(unread_answers);
    RUN(bad_answers);
    RUN(refusals);
    RUN(continue);
    RUN(connection_limit);
    RUN(flood);
    RUN(slow_give_way);
    RUN(slow_bodies_give_way);
    RUN(head_timeout);
    RUN(idle_timeout);
    RUN(body_timeout);
    RUN(body_rate);
    RUN(answer_timeout);
    RUN(handler_has_time);
    RUN(stop);
    RUN(stop_while_sending);
    RUN(stop_forced);
    RUN(unlisten);
    RUN(tls);
    RUN(tls_timeout);
    RUN(tls_limit);
    tls_ctx_free(server_ctx);
    tls_ctx_free(client_ctx);
    free(big);
    printf("http connections: all good\n");
    return 0;
}
