/* The limits of the HTTP server: sizes, connections, time, and what is refused. Times are made
 * short by the limits; nothing sleeps. */
#include "tests/admin/http_bed.h"

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

int main(void)
{
    bed_open();
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
    bed_close();
    printf("http limits: all good\n");
    return 0;
}
