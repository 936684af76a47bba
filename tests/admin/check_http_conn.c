/* The HTTP server over loopback on a core of its own: what clients send and get, byte for byte; how
 * it ends; TLS. */
#include "tests/admin/http_bed.h"

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

int main(void)
{
    bed_open();
    RUN(keep_alive);
    RUN(bodiless);
    RUN(closing);
    RUN(pipelining);
    RUN(back_pressure);
    RUN(client_gone);
    RUN(stop);
    RUN(stop_while_sending);
    RUN(stop_forced);
    RUN(unlisten);
    RUN(tls);
    RUN(tls_timeout);
    RUN(tls_limit);
    bed_close();
    printf("http connections: all good\n");
    return 0;
}
