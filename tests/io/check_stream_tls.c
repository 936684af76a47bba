/* Streams with TLS, both ends of them in one core: what is decrypted may wait, nothing is lost,
 * and every end is told apart. */
#include "io/clock.h"
#include "tests/io/support.h"

enum { PEM_MAX = 4096, LEN = 600 * 1000 };

enum how { WHOLE, A_LINE_PER_TURN };

struct end {
    struct stream stream;
    bool server;
    enum how how;
    uint8_t *got; /* plaintext received after TLS began */
    size_t got_len;
    size_t clear_len; /* ... and before */
    unsigned readies, eofs, drains, closes;
    bool tls, keep_on_eof;
    mx_err why;
};

static struct shard shard;
static struct tls_ctx *server_ctx, *client_ctx;

static size_t take_tls(struct end *end, struct slice in)
{
    size_t len = in.len;
    if (end->how == A_LINE_PER_TURN) {
        len = slice_find(in, '\n');
        if (len == in.len) {
            return 0;
        }
        len++;
        stream_pause(&end->stream);
        stream_resume(&end->stream);
    }
    CHECK(end->got_len + len <= LEN);
    memcpy(end->got + end->got_len, in.ptr, len);
    end->got_len += len;
    return len;
}

/* In clear: the server waits for "STARTTLS\n" and answers "GO\n", the client waits for that. */
static size_t on_input(struct stream *stream, struct slice in)
{
    struct end *end = mx_container_of(stream, struct end, stream);
    CHECK(end->closes == 0);
    if (end->tls) {
        return take_tls(end, in);
    }
    size_t used = slice_find(in, '\n');
    if (used == in.len) {
        return 0;
    }
    used++;
    end->clear_len += used;
    end->tls = true;
    if (end->server) {
        CHECK(stream_write(stream, SLICE_LITERAL("GO\n")) == MX_OK);
        stream_start_tls(stream, server_ctx, SLICE_EMPTY);
    } else {
        stream_start_tls(stream, client_ctx, SLICE_LITERAL("mx.example.org"));
    }
    CHECK(in.ptr[used - 1] == '\n'); /* still readable in here */
    return used;
}

static void on_eof(struct stream *stream)
{
    struct end *end = mx_container_of(stream, struct end, stream);
    end->eofs++;
    if (!end->keep_on_eof) {
        stream_close(stream);
    }
}

static void on_ready(struct stream *stream)
{
    mx_container_of(stream, struct end, stream)->readies++;
}

static void on_drained(struct stream *stream)
{
    mx_container_of(stream, struct end, stream)->drains++;
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct end *end = mx_container_of(stream, struct end, stream);
    end->closes++;
    end->why = why;
}

static const struct stream_ops ops = {.input = on_input,
                                      .eof = on_eof,
                                      .ready = on_ready,
                                      .drained = on_drained,
                                      .closed = on_closed};

static struct end *end_new(bool server, int fd)
{
    struct end *end = calloc(1, sizeof *end);
    CHECK(end != NULL && (end->got = malloc(LEN)) != NULL);
    end->server = server;
    stream_open(&end->stream, &shard, &ops, fd);
    return end;
}

static void end_free(struct end *end, mx_err why)
{
    TURN_UNTIL(&shard, end->closes == 1);
    if (end->why != why) {
        printf("closed with \"%s\", expected \"%s\"\n", err_text(end->why), err_text(why));
        exit(1);
    }
    free(end->got);
    free(end);
}

/* Two streams after the handshake. */
static void open_both(struct end **server, struct end **client)
{
    int pair[2];
    tcp_pair(pair);
    *server = end_new(true, pair[0]);
    *client = end_new(false, pair[1]);
    CHECK(stream_write(&(*client)->stream, SLICE_LITERAL("STARTTLS\n")) == MX_OK);
    TURN_UNTIL(&shard, (*server)->readies == 1 && (*client)->readies == 1);
    CHECK((*server)->clear_len == 9 && (*client)->clear_len == 3);
}

static void close_both(struct end *server, struct end *client)
{
    stream_close(&client->stream);
    TURN_UNTIL(&shard, server->closes == 1 && client->closes == 1);
    CHECK(server->eofs == 1 && client->eofs == 0);
    end_free(server, MX_OK);
    end_free(client, MX_OK);
}

static void send_all(struct end *from, const uint8_t *bytes, size_t len, size_t step)
{
    for (size_t done = 0; done < len;) {
        size_t n = mx_min_size(step, len - done);
        mx_err err = stream_write(&from->stream, slice_of(bytes + done, n));
        CHECK(err == MX_OK || err == MX_ERR_AGAIN);
        done += err == MX_OK ? n : 0;
        if (err) {
            shard_turn(&shard, TURN_WAIT_NS);
        }
    }
}

static void check_both_ways(void)
{
    static uint8_t bytes[LEN];
    struct end *server;
    struct end *client;
    open_both(&server, &client);
    fill_pattern(bytes, LEN, 1);
    send_all(client, bytes, LEN, 30000);
    TURN_UNTIL(&shard, server->got_len == LEN);
    CHECK(memcmp(server->got, bytes, LEN) == 0);
    send_all(server, bytes, LEN, 777);
    TURN_UNTIL(&shard, client->got_len == LEN);
    CHECK(memcmp(client->got, bytes, LEN) == 0);
    CHECK(server->drains > 0 || client->drains > 0);
    turn_some(&shard, 2);
    CHECK(shard.blocks.used == 0 && shard.park_blocks.used == 0); /* idle: nothing is held */
    close_both(server, client);
}

/* Many lines in one record, and the owner takes one per turn. */
static void check_a_line_per_turn(void)
{
    enum { LINES = 900, LINE = 17 };
    static uint8_t bytes[LINES * LINE];
    struct end *server;
    struct end *client;
    open_both(&server, &client);
    server->how = A_LINE_PER_TURN;
    for (unsigned i = 0; i < LINES; i++) {
        memset(bytes + i * LINE, 'a' + (int)(i % 26), LINE - 1);
        bytes[i * LINE + LINE - 1] = '\n';
    }
    CHECK(stream_write(&client->stream, slice_of(bytes, sizeof bytes)) == MX_OK);
    TURN_UNTIL(&shard, server->got_len == sizeof bytes);
    CHECK(memcmp(server->got, bytes, sizeof bytes) == 0);
    close_both(server, client);
}

/* Decrypted bytes and the end wait while the owner is paused, in order. */
static void check_pause(void)
{
    static uint8_t bytes[100000];
    struct end *server;
    struct end *client;
    open_both(&server, &client);
    fill_pattern(bytes, sizeof bytes, 2);
    stream_pause(&server->stream);
    CHECK(stream_write(&client->stream, slice_of(bytes, sizeof bytes)) == MX_OK);
    stream_close(&client->stream);
    turn_some(&shard, 20);
    CHECK(server->got_len == 0 && server->eofs == 0);
    CHECK(server->stream.bytes_in <= 3 * RING_RECV_BYTES);
    stream_resume(&server->stream);
    CHECK(server->got_len == 0); /* never from within */
    TURN_UNTIL(&shard, server->eofs == 1);
    CHECK(server->got_len == sizeof bytes && memcmp(server->got, bytes, sizeof bytes) == 0);
    end_free(server, MX_OK);
    end_free(client, MX_OK);
}

/* The peer has said its last word; ours still reaches it. */
static void check_half_close(void)
{
    struct end *server;
    struct end *client;
    open_both(&server, &client);
    server->keep_on_eof = true;
    CHECK(stream_write(&client->stream, SLICE_LITERAL("QUIT")) == MX_OK);
    turn_some(&shard, 3);
    /* A connection cut without close_notify ends the input just the same. */
    CHECK(shutdown(client->stream.fd, SHUT_WR) == 0);
    TURN_UNTIL(&shard, server->eofs == 1);
    CHECK(server->got_len == 4);
    turn_some(&shard, 5);
    CHECK(server->eofs == 1);
    CHECK(stream_write(&server->stream, SLICE_LITERAL("221")) == MX_OK);
    stream_close(&server->stream);
    TURN_UNTIL(&shard, client->got_len == 3);
    TURN_UNTIL(&shard, client->eofs == 1);
    end_free(server, MX_OK);
    TURN_UNTIL(&shard, client->closes == 1); /* its own last bytes cannot leave any more */
    free(client->got);
    free(client);
}

static struct end *open_raw(int *out_fd)
{
    int pair[2];
    tcp_pair(pair);
    *out_fd = pair[1];
    return end_new(true, pair[0]);
}

/* What was sent in clear behind STARTTLS is never seen, and the alert for nonsense goes out. */
static void check_injection_and_alert(void)
{
    int fd;
    struct end *server = open_raw(&fd);
    say(&shard, fd, "STARTTLS\nMAIL FROM:<evil>\n", 26);
    hear_text(&shard, fd, "GO\n");
    turn_some(&shard, 5);
    CHECK(server->got_len == 0 && server->clear_len == 9 && server->readies == 0);
    say(&shard, fd, "this is no handshake\n", 21);
    uint8_t alert[7];
    hear(&shard, fd, alert, sizeof alert);
    CHECK(alert[0] == 0x15 && alert[5] == 2); /* alert, fatal */
    CHECK(hear_end(&shard, fd) == 0);
    (void)close(fd);
    CHECK(server->got_len == 0);
    end_free(server, MX_ERR_TLS);
}

/* Also when the nonsense was parked by a paused owner before. */
static void check_injection_parked(void)
{
    int fd;
    struct end *server = open_raw(&fd);
    turn_some(&shard, 2);
    stream_pause(&server->stream);
    say(&shard, fd, "STARTTLS\nRCPT TO:<x>\n", 21);
    turn_some(&shard, 3);
    stream_resume(&server->stream);
    hear_text(&shard, fd, "GO\n");
    CHECK(server->clear_len == 9 && server->stream.park == NULL);
    (void)close(fd);
    end_free(server, MX_ERR_TLS); /* gone in the handshake */
    CHECK(shard.park_small.used == 0);
}

/* A record that was tampered with, after the handshake. */
static void check_bad_record(void)
{
    static const uint8_t record[] = {0x17, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8,
                                     9,    0, 1, 2, 3,  4, 5, 6, 7, 8, 9, 0};
    struct end *server;
    struct end *client;
    open_both(&server, &client);
    turn_some(&shard, 3);
    CHECK(send(client->stream.fd, record, sizeof record, MSG_NOSIGNAL) == sizeof record);
    end_free(server, MX_ERR_TLS);
    /* The client got the alert, or the end. */
    TURN_UNTIL(&shard, client->closes == 1);
    CHECK(client->why == MX_ERR_TLS);
    free(client->got);
    free(client);
}

static void check_close_in_handshake(void)
{
    int fd;
    struct end *server = open_raw(&fd);
    say(&shard, fd, "STARTTLS\n", 9);
    hear_text(&shard, fd, "GO\n");
    stream_close(&server->stream);
    end_free(server, MX_ERR_CANCELLED);
    (void)close(fd);
}

static void make_contexts(void)
{
    static uint8_t cert[PEM_MAX];
    static uint8_t key[PEM_MAX];
    struct writer cert_pem = writer_init(cert, sizeof cert);
    struct writer key_pem = writer_init(key, sizeof key);
    struct slice host = SLICE_LITERAL("mx.example.org");
    CHECK(tls_self_signed(&cert_pem, &key_pem, host, clock_wall_ms()) == MX_OK);
    struct tls_server_conf server = {.cert_pem = writer_slice(&cert_pem),
                                     .key_pem = writer_slice(&key_pem)};
    struct tls_client_conf client = {.verify = false};
    CHECK(tls_server_ctx_new(&server_ctx, &server) == MX_OK);
    CHECK(tls_client_ctx_new(&client_ctx, &client) == MX_OK);
}

static void run(const char *name, void (*check)(void))
{
    printf("%s\n", name);
    fflush(stdout);
    core_open(&shard, 0);
    check();
    core_close(&shard);
}

int main(void)
{
    make_contexts();
#define RUN(name) run(#name, check_##name)
    RUN(both_ways);
    RUN(a_line_per_turn);
    RUN(pause);
    RUN(half_close);
    RUN(injection_and_alert);
    RUN(injection_parked);
    RUN(bad_record);
    RUN(close_in_handshake);
    tls_ctx_free(server_ctx);
    tls_ctx_free(client_ctx);
    printf("stream with TLS: all good\n");
    return 0;
}
