/* Random conversations with the HTTP server: clients send random requests in random pieces, read at
 * random times or go away; the handler answers at once or at some time, in any order. Whatever
 * happens, a client sees exactly the answers to its requests, in order, up to a point; who stays
 * sees all of them; and at the end everything was given back.
 *
 *   check_http_random [SEED]
 */
#include "admin/http_conn.h"
#include "tests/io/support.h"

enum {
    ROUNDS = 60,
    CLIENTS = 12,
    REQUESTS_MAX = 25,
    BODY_MAX = 200000,
    TEXT_MAX = 600000,
    STEPS_PER_WAIT = 50,
    STEPS_MAX = TURNS_MAX * STEPS_PER_WAIT,
};

struct client {
    int fd; /* -1: gone */
    char *said, *expected, *heard;
    size_t said_len, sent, expected_len, heard_len;
    bool leaves;  /* at some time */
    bool refused; /* its last request is malformed */
};

static struct shard shard;
static struct http_server server;
static struct http_exchange *held[CLIENTS];
static unsigned stops;
static uint64_t seed;
static uint8_t bytes[BODY_MAX];

static uint64_t next_random(void)
{
    seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static size_t below(size_t n)
{
    return (size_t)(next_random() % n);
}

/* --- the server's side --- */

/* The answer is the path, its length as a number of bytes of the pattern, and the body. */
static void answer(struct http_exchange *exchange)
{
    const struct http_request *request = &exchange->request;
    struct http_answer a = {.status = 200, .content_type = "text/plain"};
    a.len = request->path.len + request->body.len;
    a.body = malloc(a.len);
    CHECK(a.body != NULL);
    memcpy(a.body, request->path.ptr, request->path.len);
    if (request->body.len > 0) {
        memcpy(a.body + request->path.len, request->body.ptr, request->body.len);
    }
    http_answer(exchange, &a);
}

static void on_request(void *arg, struct http_exchange *exchange)
{
    (void)arg;
    for (unsigned i = 0; i < CLIENTS && below(2) == 0; i++) {
        if (held[i] == NULL) {
            held[i] = exchange;
            return;
        }
    }
    answer(exchange);
}

static void answer_some(void)
{
    size_t i = below(CLIENTS);
    if (held[i] != NULL) {
        struct http_exchange *exchange = held[i];
        held[i] = NULL;
        answer(exchange);
    }
}

static void on_stopped(void *arg)
{
    (void)arg;
    stops++;
}

/* --- the client's side --- */

static void add(char *text, size_t *len, const void *more, size_t more_len)
{
    CHECK(*len + more_len < TEXT_MAX);
    memcpy(text + *len, more, more_len);
    *len += more_len;
}

static void add_text(char *text, size_t *len, const char *more)
{
    add(text, len, more, strlen(more));
}

static void add_chunks(struct client *c, size_t body_len)
{
    char line[32];
    for (size_t done = 0; done < body_len;) {
        size_t n = 1 + below(body_len - done);
        sprintf(line, "%zX%s\r\n", n, below(2) == 0 ? ";x=y" : "");
        add_text(c->said, &c->said_len, line);
        add(c->said, &c->said_len, bytes + done, n);
        add_text(c->said, &c->said_len, "\r\n");
        done += n;
    }
    add_text(c->said, &c->said_len, below(2) == 0 ? "0\r\n\r\n" : "0\r\nT: u\r\n\r\n");
}

static void add_request(struct client *c, unsigned number)
{
    char text[256];
    char path[32];
    size_t body_len = below(4) == 0 ? below(below(8) == 0 ? BODY_MAX / 4 : 300) : 0;
    bool chunked = below(2) == 0;
    bool head = below(6) == 0;
    sprintf(path, "/%u/%zu", number, below(100000));
    sprintf(text, "%s %s HTTP/1.1\r\nHost: a\r\n", head ? "HEAD" : "POST", path);
    add_text(c->said, &c->said_len, text);
    if (chunked) {
        add_text(c->said, &c->said_len, "Transfer-Encoding: chunked\r\n\r\n");
        add_chunks(c, body_len);
    } else {
        sprintf(text, "Content-Length: %zu\r\n\r\n", body_len);
        add_text(c->said, &c->said_len, text);
        add(c->said, &c->said_len, bytes, body_len);
    }
    sprintf(text, "200 %zu\n", strlen(path) + body_len);
    add_text(c->expected, &c->expected_len, text);
    if (!head) {
        add_text(c->expected, &c->expected_len, path);
        add(c->expected, &c->expected_len, bytes, body_len);
    }
}

static void client_open(struct client *c, const struct ring_addr *addr)
{
    char *memory = calloc(3, TEXT_MAX);
    CHECK(memory != NULL);
    *c = (struct client){.fd = dial(addr),
                         .said = memory,
                         .expected = memory + TEXT_MAX,
                         .heard = memory + (size_t)2 * TEXT_MAX,
                         .leaves = below(4) == 0,
                         .refused = below(2) == 0};
    unsigned requests = 1 + (unsigned)below(REQUESTS_MAX);
    for (unsigned i = 0; i < requests && c->said_len < TEXT_MAX / 2; i++) {
        add_request(c, i);
    }
    if (c->refused) {
        add_text(c->said, &c->said_len,
                 "GET / HTTP/1.1\r\n Host: a\r\n\r\nGET /never HTTP/1.1\r\n");
        add_text(c->expected, &c->expected_len, "400\n");
    } else {
        add_text(c->said, &c->said_len, "GET /end HTTP/1.0\r\n\r\n");
        add_text(c->expected, &c->expected_len, "200 4\n/end");
    }
}

static void client_say(struct client *c)
{
    size_t n = mx_min_size(c->said_len - c->sent, 1 + below(below(2) == 0 ? 20 : 70000));
    ssize_t sent = n > 0 ? send(c->fd, c->said + c->sent, n, MSG_NOSIGNAL) : 0;
    CHECK(sent >= 0 || errno == EAGAIN || c->refused);
    c->sent += sent > 0 ? (size_t)sent : 0;
}

/* True at the end of the stream. */
static bool client_hear(struct client *c)
{
    size_t n = 1 + below(below(2) == 0 ? 50 : 100000);
    CHECK(c->heard_len < TEXT_MAX);
    ssize_t got = recv(c->fd, c->heard + c->heard_len, mx_min_size(n, TEXT_MAX - c->heard_len), 0);
    CHECK(got >= 0 || errno == EAGAIN);
    c->heard_len += got > 0 ? (size_t)got : 0;
    return got == 0;
}

/* What was heard, reduced to what expected says: status, length, body. HEAD: by the expectation. */
static void client_check(const struct client *c, bool whole)
{
    size_t at = 0;
    size_t want = 0;
    while (want < c->expected_len) {
        const char *head = c->heard + at;
        const char *end = memmem(head, c->heard_len - at, "\r\n\r\n", 4);
        if (end == NULL) {
            break;
        }
        char line[64];
        unsigned status = 0;
        size_t len = 0;
        const char *length = memmem(head, c->heard_len - at, "\r\nContent-Length: ", 18);
        CHECK(length != NULL && length < end && sscanf(head, "HTTP/1.1 %u", &status) == 1 &&
              sscanf(length, "\r\nContent-Length: %zu", &len) == 1);
        at = (size_t)(end - c->heard) + 4;
        if (status == 400) {
            CHECK(c->refused && want + 4 == c->expected_len &&
                  memcmp(c->expected + want, "400\n", 4) == 0);
            CHECK(!whole || at + len == c->heard_len);
            return;
        }
        int n = sprintf(line, "%u %zu\n", status, len);
        CHECK(want + (size_t)n <= c->expected_len &&
              memcmp(c->expected + want, line, (size_t)n) == 0);
        want += (size_t)n;
        if (want < c->expected_len && c->expected[want] == '/') { /* else it was HEAD */
            size_t here = mx_min_size(len, c->heard_len - at);
            CHECK(memcmp(c->expected + want, c->heard + at, here) == 0);
            at += here;
            want += len;
            if (here < len) {
                CHECK(!whole);
                return;
            }
        }
    }
    CHECK(!whole || (want == c->expected_len && at == c->heard_len));
}

static void client_close(struct client *c, bool whole)
{
    client_check(c, whole);
    (void)close(c->fd);
    free(c->said);
    c->fd = -1;
}

static void client_step(struct client *c)
{
    if (c->fd < 0) {
        return;
    }
    if (c->leaves && below(60) == 0) {
        client_close(c, false);
        return;
    }
    if (below(3) > 0) {
        client_say(c);
    }
    if (below(3) > 0 && client_hear(c)) {
        client_close(c, true);
    }
}

static unsigned clients_left(const struct client *clients)
{
    unsigned left = 0;
    for (unsigned i = 0; i < CLIENTS; i++) {
        left += clients[i].fd >= 0;
    }
    return left;
}

static void round_of_clients(void)
{
    static struct client clients[CLIENTS];
    struct http_server_conf conf = {.shard = &shard,
                                    .limits = http_limits_default(),
                                    .request = on_request,
                                    .stopped = on_stopped};
    struct ring_addr addr;
    struct http_listener listener = {.closed = NULL};
    core_open(&shard, 0);
    CHECK(http_server_init(&server, &conf) == MX_OK);
    http_listen(&listener, &server, listen_any(&addr), NULL);
    for (unsigned i = 0; i < CLIENTS; i++) {
        client_open(&clients[i], &addr);
    }
    for (unsigned steps = 0; clients_left(clients) > 0; steps++) {
        CHECK(steps < STEPS_MAX);
        client_step(&clients[below(CLIENTS)]);
        if (below(2) == 0) {
            answer_some();
        }
        if (steps % STEPS_PER_WAIT == 0) {
            shard_turn(&shard, TURN_WAIT_NS); /* the kernel needs time as well */
        } else if (below(3) == 0) {
            shard_turn(&shard, 0);
        }
    }
    http_server_stop(&server, below(2) == 0);
    for (unsigned steps = 0; stops == 0; steps++) {
        CHECK(steps < STEPS_MAX);
        answer_some();
        shard_turn(&shard, TURN_WAIT_NS);
    }
    stops = 0;
    http_server_fini(&server);
    core_close(&shard);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    unsigned rounds = argc > 1 ? 1 : ROUNDS;
    fill_pattern(bytes, sizeof bytes, 3);
    for (unsigned i = 0; i < rounds; i++) {
        seed = first + i;
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        round_of_clients();
    }
    printf("random http: all good\n");
    return 0;
}
