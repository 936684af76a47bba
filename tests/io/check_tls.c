/* Client and server engines back to back through memory. */
#include "tests/io/tls_support.h"

#include <unistd.h>

enum { WIRE_MAX = 64 * 1024, BIG = 1024 * 1024 + 7, STEPS_MAX = 20 };

static struct tls_ctx *server_make(const struct pem *pem, bool no12, bool no13)
{
    struct tls_ctx *ctx = NULL;
    struct tls_server_conf conf = {.cert_pem = pem->cert_pem,
                                   .key_pem = pem->key_pem,
                                   .disable_tls12 = no12,
                                   .disable_tls13 = no13};
    CHECK(tls_server_ctx_new(&ctx, &conf) == MX_OK);
    return ctx;
}

static struct tls_ctx *client_make(bool verify, const char *ca_file)
{
    struct tls_ctx *ctx = NULL;
    struct tls_client_conf conf = {.verify = verify, .ca_file = slice_of_text(ca_file)};
    CHECK(tls_client_ctx_new(&ctx, &conf) == MX_OK);
    return ctx;
}

static struct tls *open_one(struct tls_ctx *ctx, const char *host)
{
    struct tls *tls = NULL;
    CHECK(tls_new(&tls, ctx, slice_of_text(host)) == MX_OK);
    return tls;
}

/* --- two engines -------------------------------------------------------------------------------
 */

struct pair {
    struct tls *client, *server;
    mx_err client_err, server_err; /* of the last handshake call */
    size_t chunk;                  /* bytes handed over at once; 0 = all */
    size_t split;                  /* or one cut at this offset of each direction; 0 = none */
    size_t sent[2];                /* bytes handed over by client and by server */
};

static struct pair pair_open(struct tls_ctx *client, struct tls_ctx *server, const char *host)
{
    return (struct pair){.client = open_one(client, host),
                         .server = open_one(server, ""),
                         .client_err = MX_ERR_AGAIN,
                         .server_err = MX_ERR_AGAIN};
}

static void pair_close(struct pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
}

static void step_on(struct tls *tls, mx_err *err)
{
    if (*err == MX_ERR_AGAIN) {
        *err = tls_handshake(tls);
    }
}

/* Hands over what waits in from, in the pieces that p asks for, with a handshake step after each;
 * returns the number of bytes. */
static size_t carry(struct pair *p, struct tls *from, struct tls *to, mx_err *to_err, size_t *sent)
{
    static uint8_t wire[WIRE_MAX];
    size_t len = tls_drain(from, wire, sizeof wire);
    CHECK(tls_waiting(from) == 0);
    for (size_t at = 0; at < len;) {
        size_t piece = p->chunk == 0 ? len - at : mx_min_size(p->chunk, len - at);
        if (p->split > *sent && p->split < *sent + piece) {
            piece = p->split - *sent;
        }
        CHECK(tls_feed(to, slice_of(wire + at, piece)) == MX_OK);
        step_on(to, to_err);
        at += piece;
        *sent += piece;
    }
    return len;
}

static void shake(struct pair *p)
{
    step_on(p->client, &p->client_err);
    step_on(p->server, &p->server_err);
    for (unsigned i = 0; i < STEPS_MAX; i++) {
        size_t moved = carry(p, p->client, p->server, &p->server_err, &p->sent[0]);
        moved += carry(p, p->server, p->client, &p->client_err, &p->sent[1]);
        if (moved == 0) {
            return;
        }
    }
    CHECK(!"the handshake ends");
}

/* Moves everything that waits, then reads all there is; the error that ended the reading. */
static mx_err receive(struct tls *from, struct tls *to, uint8_t *buf, size_t cap, size_t *out_len)
{
    uint8_t wire[777];
    size_t len, total = 0;
    mx_err err = MX_ERR_AGAIN;
    while ((len = tls_drain(from, wire, sizeof wire)) > 0) {
        CHECK(tls_feed(to, slice_of(wire, len)) == MX_OK);
        do {
            len = 0;
            err = cap > total ? tls_read(to, &len, buf + total, mx_min_size(cap - total, 5000))
                              : MX_ERR_AGAIN;
            total += len;
        } while (err == MX_OK);
    }
    *out_len = total;
    return err;
}

static void talk(struct pair *p)
{
    static const char hello[] = "220 mx.example.org ESMTP\r\n", quit[] = "QUIT\r\n";
    uint8_t buf[256];
    size_t len = 0;
    CHECK(tls_write(p->server, SLICE_LITERAL(hello)) == MX_OK);
    CHECK(receive(p->server, p->client, buf, sizeof buf, &len) == MX_ERR_AGAIN);
    CHECK(slice_equal(slice_of(buf, len), SLICE_LITERAL(hello)));
    CHECK(tls_write(p->client, SLICE_LITERAL(quit)) == MX_OK);
    CHECK(receive(p->client, p->server, buf, sizeof buf, &len) == MX_ERR_AGAIN);
    CHECK(slice_equal(slice_of(buf, len), SLICE_LITERAL(quit)));
}

/* --- scenes ------------------------------------------------------------------------------------
 */

static void check_handshake(struct tls_ctx *client, struct tls_ctx *server, const char *version)
{
    struct pair p = pair_open(client, server, "");
    shake(&p);
    CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
    CHECK(strcmp(tls_version(p.client), version) == 0);
    CHECK(strcmp(tls_version(p.server), version) == 0);
    CHECK(strncmp(tls_cipher(p.client), "TLS_", 4) == 0);
    CHECK(strcmp(tls_cipher(p.client), tls_cipher(p.server)) == 0);
    CHECK(!tls_verified(p.client) && !tls_verified(p.server));
    CHECK(tls_problem(p.client)[0] == '\0');
    talk(&p);
    size_t longest = mx_max_size(p.sent[0], p.sent[1]);
    pair_close(&p);

    p = pair_open(client, server, "");
    p.chunk = 1;
    shake(&p);
    CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
    talk(&p);
    pair_close(&p);

    for (size_t split = 1; split < longest; split++) {
        p = pair_open(client, server, "");
        p.split = split;
        shake(&p);
        CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
        talk(&p);
        pair_close(&p);
    }
}

static void check_handshakes(const struct pem *pem)
{
    static const struct {
        const char *version;
        bool no12, no13;
    } rows[] = {{"TLSv1.2", false, true}, {"TLSv1.3", true, false}, {"TLSv1.3", false, false}};
    struct tls_ctx *client = client_make(false, "");
    for (size_t i = 0; i < mx_countof(rows); i++) {
        scene = rows[i].version;
        struct tls_ctx *server = server_make(pem, rows[i].no12, rows[i].no13);
        check_handshake(client, server, rows[i].version);
        tls_ctx_free(server);
    }
    scene = "no version";
    struct tls_ctx *none = NULL;
    struct tls_server_conf conf = {pem->cert_pem, pem->key_pem, true, true};
    CHECK(tls_server_ctx_new(&none, &conf) == MX_ERR_INVALID);
    tls_ctx_free(client);
}

static void check_large(struct tls_ctx *client, struct tls_ctx *server)
{
    scene = "large write";
    struct pair p = pair_open(client, server, "");
    uint8_t *big = malloc(BIG), *got = malloc(BIG);
    uint32_t state = 1;
    size_t len = 0;
    CHECK(big != NULL && got != NULL);
    for (size_t i = 0; i < BIG; i++) {
        state = state * 1664525u + 1013904223u;
        big[i] = (uint8_t)(state >> 24);
    }
    shake(&p);
    CHECK(tls_write(p.client, slice_of(big, BIG)) == MX_OK);
    CHECK(tls_waiting(p.client) > BIG);
    CHECK(receive(p.client, p.server, got, BIG, &len) == MX_ERR_AGAIN);
    CHECK(len == BIG && memcmp(big, got, BIG) == 0);
    CHECK(tls_waiting(p.client) == 0);

    /* Draining in the middle of writing keeps the order. */
    uint8_t wire[100];
    size_t at = 0;
    for (size_t i = 0; i < 200; i++) {
        CHECK(tls_write(p.server, slice_of(big + i * 300, 300)) == MX_OK);
        size_t moved = tls_drain(p.server, wire, sizeof wire);
        CHECK(tls_feed(p.client, slice_of(wire, moved)) == MX_OK);
        mx_err err = tls_read(p.client, &len, got + at, BIG - at);
        CHECK(err == MX_OK || err == MX_ERR_AGAIN);
        at += err == MX_OK ? len : 0;
    }
    CHECK(receive(p.server, p.client, got + at, BIG - at, &len) == MX_ERR_AGAIN);
    CHECK(at + len == 60000 && memcmp(got, big, 60000) == 0);
    CHECK(tls_write(p.server, SLICE_EMPTY) == MX_OK && tls_waiting(p.server) == 0);
    free(big);
    free(got);
    pair_close(&p);
}

static void check_endings(struct tls_ctx *client, struct tls_ctx *server)
{
    uint8_t buf[64], wire[512];
    size_t len = 0;
    scene = "close_notify";
    struct pair p = pair_open(client, server, "");
    CHECK(tls_write(p.client, SLICE_LITERAL("early")) == MX_ERR_INVALID);
    shake(&p);
    CHECK(tls_write(p.client, SLICE_LITERAL("last")) == MX_OK);
    tls_shutdown(p.client);
    CHECK(receive(p.client, p.server, buf, sizeof buf, &len) == MX_ERR_CLOSED);
    CHECK(slice_equal(slice_of(buf, len), SLICE_LITERAL("last")));
    CHECK(tls_read(p.server, &len, buf, sizeof buf) == MX_ERR_CLOSED);
    /* The other direction still works. */
    CHECK(tls_write(p.server, SLICE_LITERAL("reply")) == MX_OK);
    tls_shutdown(p.server);
    CHECK(receive(p.server, p.client, buf, sizeof buf, &len) == MX_ERR_CLOSED);
    CHECK(slice_equal(slice_of(buf, len), SLICE_LITERAL("reply")));
    pair_close(&p);

    scene = "truncation";
    p = pair_open(client, server, "");
    shake(&p);
    CHECK(receive(p.server, p.client, buf, sizeof buf, &len) == MX_ERR_AGAIN);
    CHECK(tls_write(p.client, SLICE_LITERAL("half a record")) == MX_OK);
    size_t cut = tls_waiting(p.client) - 1;
    CHECK(tls_drain(p.client, wire, cut) == cut && tls_waiting(p.client) == 1);
    CHECK(tls_feed(p.server, slice_of(wire, cut)) == MX_OK);
    CHECK(tls_read(p.server, &len, buf, sizeof buf) == MX_ERR_AGAIN);
    CHECK(tls_read(p.server, &len, buf, sizeof buf) == MX_ERR_AGAIN);
    pair_close(&p);

    scene = "shutdown before the handshake";
    p = pair_open(client, server, "");
    tls_shutdown(p.server);
    CHECK(tls_waiting(p.server) == 0);
    pair_close(&p);
}

static void check_garbage(struct tls_ctx *client, struct tls_ctx *server)
{
    uint8_t buf[256], wire[512];
    size_t len = 0;
    static const char *const rubbish[] = {"EHLO client.example.org\r\n", "GET / HTTP/1.0\r\n\r\n",
                                          "\x16\x03\x01\xff\xff\x01\x02\x03",
                                          "\x16\x03\x01\x00\x04\x02\x00\x00\x00"};
    scene = "garbage instead of a handshake";
    for (size_t i = 0; i < mx_countof(rubbish); i++) {
        struct tls *tls = open_one(server, "");
        size_t bytes = i < 2 ? strlen(rubbish[i]) : i == 2 ? 8 : 9;
        CHECK(tls_feed(tls, slice_of(rubbish[i], bytes)) == MX_OK);
        CHECK(tls_handshake(tls) == MX_ERR_TLS);
        CHECK(strncmp(tls_problem(tls), "handshake: ", 11) == 0);
        CHECK(strlen(tls_problem(tls)) > 15 && strchr(tls_problem(tls), '_') == NULL);
        len = tls_drain(tls, buf, sizeof buf);
        CHECK(i == 1 ? len == 0 : len >= 7 && buf[0] == 21); /* an alert, except to HTTP */
        CHECK(tls_handshake(tls) == MX_ERR_TLS);
        tls_free(tls);
    }
    scene = "garbage instead of a server";
    struct tls *tls = open_one(client, "mx.example.org");
    CHECK(tls_handshake(tls) == MX_ERR_AGAIN);
    CHECK(tls_feed(tls, SLICE_LITERAL("220 mx.example.org ESMTP\r\n")) == MX_OK);
    CHECK(tls_handshake(tls) == MX_ERR_TLS && tls_problem(tls)[0] != '\0');
    tls_free(tls);

    scene = "damaged record";
    struct pair p = pair_open(client, server, "");
    shake(&p);
    CHECK(receive(p.server, p.client, buf, sizeof buf, &len) == MX_ERR_AGAIN);
    CHECK(tls_write(p.client, SLICE_LITERAL("MAIL FROM:<>\r\n")) == MX_OK);
    len = tls_drain(p.client, wire, sizeof wire);
    wire[len - 1] ^= 1;
    CHECK(tls_feed(p.server, slice_of(wire, len)) == MX_OK);
    CHECK(tls_read(p.server, &len, buf, sizeof buf) == MX_ERR_TLS);
    CHECK(strncmp(tls_problem(p.server), "receiving: ", 11) == 0);
    CHECK(tls_waiting(p.server) > 0);
    CHECK(receive(p.server, p.client, buf, sizeof buf, &len) == MX_ERR_TLS);
    CHECK(strstr(tls_problem(p.client), "the peer's alert: ") != NULL);
    pair_close(&p);
}

static void check_no_common_version(const struct pem *pem, struct tls_ctx *client)
{
    scene = "mute peer";
    struct tls_ctx *server = server_make(pem, false, false);
    struct tls *tls = open_one(server, "");
    CHECK(tls_handshake(tls) == MX_ERR_AGAIN && tls_waiting(tls) == 0);
    tls_free(tls);

    scene = "close during the handshake";
    tls = open_one(client, "");
    CHECK(tls_handshake(tls) == MX_ERR_AGAIN && tls_waiting(tls) > 0);
    CHECK(tls_feed(tls, SLICE_LITERAL("\x15\x03\x03\x00\x02\x01\x00")) == MX_OK);
    CHECK(tls_handshake(tls) == MX_ERR_TLS && tls_problem(tls)[0] != '\0');
    tls_free(tls);
    tls_ctx_free(server);
}

/* --- certificates ------------------------------------------------------------------------------
 */

static void write_file(const char *path, struct slice content)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL && fwrite(content.ptr, 1, content.len, file) == content.len);
    CHECK(file != NULL && fclose(file) == 0);
}

struct verify_row {
    const char *in_certificate, *asked;
    const char *problem; /* part of the reason, NULL = verified */
    int64_t age_years;
    bool trusted;
};

static const struct verify_row verify_rows[] = {
    {"mx.example.org", "mx.example.org", NULL, 0, true},
    {"mx.example.org", "MX.Example.Org", NULL, 0, true},
    {"mx.example.org", "mx.example.org.", NULL, 0, true},
    {"mx.example.org", "mx2.example.org", "ostname", 0, true},
    {"mx.example.org", "example.org", "ostname", 0, true},
    {"*.example.org", "mx.example.org", NULL, 0, true},
    {"*.example.org", "a.mx.example.org", "ostname", 0, true},
    {"mx.example.org", "192.0.2.1", "IP address", 0, true},
    {"127.0.0.1", "127.0.0.1", NULL, 0, true},
    {"127.0.0.1", "127.0.0.2", "IP address", 0, true},
    {"::1", "::1", NULL, 0, true},
    {"::1", "0:0:0:0:0:0:0:1", NULL, 0, true},
    {"::1", "::2", "IP address", 0, true},
    {"mx.example.org", "mx.example.org", "self signed", 0, false},
    {"mx.example.org", "mx.example.org", "expired", 40, true},
    {"mx.example.org", "mx.example.org", "not yet valid", -40, true},
};

static void check_verify_row(const struct verify_row *row, const char *path, bool no13)
{
    struct pem pem, other;
    scene = row->asked;
    pem_make(&pem, row->in_certificate, now_ms - row->age_years * INT64_C(31557600000));
    pem_make(&other, "ca.example.org", now_ms);
    write_file(path, row->trusted ? pem.cert_pem : other.cert_pem);
    struct tls_ctx *server = server_make(&pem, false, no13);
    struct tls_ctx *client = client_make(true, path);
    struct pair p = pair_open(client, server, row->asked);
    shake(&p);
    if (row->problem == NULL) {
        CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
        CHECK(tls_verified(p.client));
        talk(&p);
    } else {
        CHECK(p.client_err == MX_ERR_TLS && !tls_verified(p.client));
        CHECK(strstr(tls_problem(p.client), "certificate: ") != NULL);
        if (strstr(tls_problem(p.client), row->problem) == NULL) {
            fprintf(stderr, "%s: '%s' lacks '%s'\n", scene, tls_problem(p.client), row->problem);
            failures++;
        }
        /* The alert has reached the server. */
        CHECK(p.server_err == MX_ERR_TLS);
        CHECK(strstr(tls_problem(p.server), "the peer's alert: ") != NULL);
    }
    pair_close(&p);
    tls_ctx_free(client);
    tls_ctx_free(server);
}

static void check_verify(const char *path)
{
    for (size_t i = 0; i < mx_countof(verify_rows); i++) {
        check_verify_row(&verify_rows[i], path, true);
    }
    /* In TLS 1.3 the server is ready before the client has judged its certificate. */
    check_verify_row(&verify_rows[0], path, false);
    scene = "names";
    struct tls_ctx *client = client_make(true, path);
    struct tls *tls = NULL;
    char longest[300];
    memset(longest, 'a', sizeof longest);
    CHECK(tls_new(&tls, client, SLICE_EMPTY) == MX_ERR_INVALID);
    CHECK(tls_new(&tls, client, SLICE_LITERAL(".")) == MX_ERR_INVALID);
    CHECK(tls_new(&tls, client, SLICE_LITERAL("mx.example.org\0.evil.example")) == MX_ERR_INVALID);
    CHECK(tls_new(&tls, client, slice_of(longest, sizeof longest)) == MX_ERR_INVALID);
    CHECK(tls == NULL);
    tls_ctx_free(client);
    struct tls_client_conf conf = {.verify = true, .ca_file = SLICE_LITERAL("/nonexistent/ca.pem")};
    CHECK(tls_client_ctx_new(&client, &conf) == MX_ERR_NOTFOUND);
}

static void resume_scene(const struct pem *pem, const char *path, bool verify, bool no13)
{
    struct tls_ctx *server = server_make(pem, !no13, no13);
    struct tls_ctx *client = client_make(verify, verify ? path : "");
    for (unsigned i = 0; i < 4; i++) {
        /* The first connection, two that resume, and one to another name. */
        const char *host = i == 3 && !verify ? "other.example.org" : "mx.example.org";
        bool resumed = i > 0 && (i < 3 || verify);
        struct pair p = pair_open(client, server, host);
        shake(&p);
        CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
        CHECK(tls_resumed(p.client) == resumed && tls_resumed(p.server) == resumed);
        CHECK(tls_verified(p.client) == verify);
        talk(&p);
        pair_close(&p);
    }
    /* A server that does not know the ticket does a full handshake. */
    struct tls_ctx *restarted = server_make(pem, !no13, no13);
    struct pair p = pair_open(client, restarted, "mx.example.org");
    tls_ctx_free(client); /* connections may outlive it, and sessions that arrive are dropped */
    shake(&p);
    CHECK(p.client_err == MX_OK && p.server_err == MX_OK && !tls_resumed(p.client));
    talk(&p);
    pair_close(&p);
    tls_ctx_free(restarted);
    tls_ctx_free(server);
}

static void check_resumption(const struct pem *pem, const char *path)
{
    write_file(path, pem->cert_pem);
    for (unsigned i = 0; i < 4; i++) {
        scene = i & 1 ? "resumption in TLS 1.2" : "resumption in TLS 1.3";
        resume_scene(pem, path, i & 2, i & 1);
    }
    scene = "more hosts than kept sessions";
    struct tls_ctx *server = server_make(pem, false, false);
    struct tls_ctx *client = client_make(false, "");
    for (unsigned i = 0; i < 300; i++) {
        char host[32];
        (void)snprintf(host, sizeof host, "mx%u.example.org", i);
        struct pair p = pair_open(client, server, host);
        shake(&p);
        CHECK(p.client_err == MX_OK && p.server_err == MX_OK && !tls_resumed(p.client));
        talk(&p);
        pair_close(&p);
    }
    tls_ctx_free(client);
    tls_ctx_free(server);
}

static struct tls_ctx *sharing(const struct pem *pem, const struct tls_tickets *tickets,
                               const struct tls_ctx *before, bool no13)
{
    struct tls_ctx *ctx = NULL;
    struct tls_server_conf conf = {.cert_pem = pem->cert_pem,
                                   .key_pem = pem->key_pem,
                                   .disable_tls13 = no13,
                                   .tickets = tickets,
                                   .before = before};
    CHECK(tls_server_ctx_new(&ctx, &conf) == MX_OK);
    return ctx;
}

/* The client's next connection; whether its session was taken up. */
static bool resumes(struct tls_ctx *client, struct tls_ctx *server)
{
    struct pair p = pair_open(client, server, "mx.example.org");
    shake(&p);
    CHECK(p.client_err == MX_OK && p.server_err == MX_OK);
    bool resumed = tls_resumed(p.client);
    CHECK(tls_resumed(p.server) == resumed);
    talk(&p);
    pair_close(&p);
    return resumed;
}

/* Every core had keys of its own: with N of them a client took up its session once in N times. */
static void check_shared_tickets(const struct pem *pem)
{
    uint64_t period = (uint64_t)clock_wall_ms() / TLS_TICKETS_PERIOD_MS;
    struct tls_tickets now = {.period = period, .state = {1, 2, 3}};
    struct tls_tickets early = {.period = period - 3, .state = {1, 2, 3}};
    static struct pem other;
    pem_make(&other, "mx.example.org", now_ms);
    for (unsigned no13 = 0; no13 < 2; no13++) {
        scene = no13 ? "shared tickets in TLS 1.2" : "shared tickets in TLS 1.3";
        struct tls_ctx *client = client_make(false, "");
        struct tls_ctx *cores[] = {sharing(pem, &now, NULL, no13), sharing(pem, &now, NULL, no13)};
        struct tls_ctx *later[] = {sharing(pem, &early, NULL, no13),
                                   sharing(pem, &early, NULL, no13)};
        struct tls_ctx *same = sharing(pem, NULL, cores[0], no13);
        struct tls_ctx *changed[] = {sharing(&other, NULL, cores[0], no13),
                                     sharing(&other, NULL, cores[1], no13)};
        CHECK(!resumes(client, cores[0]) && resumes(client, cores[1]) && resumes(client, cores[0]));
        CHECK(resumes(client, same));
        /* The same bytes, gone on for three periods: other keys, the same ones for both. */
        CHECK(!resumes(client, later[0]) && resumes(client, later[1]));
        CHECK(!resumes(client, cores[0]));
        CHECK(!resumes(client, changed[0]) && resumes(client, changed[1]));
        tls_ctx_free(client);
        tls_ctx_free(same);
        for (unsigned i = 0; i < 2; i++) {
            tls_ctx_free(cores[i]);
            tls_ctx_free(later[i]);
            tls_ctx_free(changed[i]);
        }
    }
}

/* What a load generator asks for: three connections at once with one session, none with any, and a
 * version of its choice. */
static void check_client_choices(const struct pem *pem)
{
    struct tls_ctx *server = server_make(pem, false, false);
    for (unsigned i = 0; i < 8; i++) {
        bool no12 = i & 1, reuse = i & 2, none = i & 4;
        struct tls_client_conf conf = {.disable_tls12 = no12,
                                       .disable_tls13 = !no12,
                                       .reuse_sessions = reuse,
                                       .no_resumption = none};
        struct tls_ctx *client = NULL;
        struct pair pairs[4];
        scene = none ? "no resumption" : reuse ? "sessions used again" : "sessions used once";
        CHECK(tls_client_ctx_new(&client, &conf) == MX_OK);
        pairs[0] = pair_open(client, server, "mx.example.org");
        shake(&pairs[0]);
        talk(&pairs[0]);
        for (unsigned k = 1; k < 4; k++) { /* opened before any of them brings a new ticket */
            pairs[k] = pair_open(client, server, "mx.example.org");
        }
        for (unsigned k = 1; k < 4; k++) {
            shake(&pairs[k]);
            CHECK(pairs[k].client_err == MX_OK && pairs[k].server_err == MX_OK);
            CHECK(strcmp(tls_version(pairs[k].client), no12 ? "TLSv1.3" : "TLSv1.2") == 0);
            bool single_use = no12 && !reuse; /* a session of TLS 1.2 may always be used again */
            CHECK(tls_resumed(pairs[k].client) == (!none && (k == 1 || !single_use)));
        }
        for (unsigned k = 0; k < 4; k++) {
            pair_close(&pairs[k]);
        }
        tls_ctx_free(client);
    }
    struct tls_client_conf neither = {.disable_tls12 = true, .disable_tls13 = true};
    struct tls_ctx *client = NULL;
    scene = "no version is left";
    CHECK(tls_client_ctx_new(&client, &neither) == MX_ERR_INVALID && client == NULL);
    tls_ctx_free(server);
}

int main(void)
{
    char dir[] = "/tmp/check_tls.XXXXXX", path[64];
    struct pem pem;
    now_ms = clock_wall_ms() / 1000 * 1000;
    if (mkdtemp(dir) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    (void)snprintf(path, sizeof path, "%s/ca.pem", dir);
    pem_make(&pem, "mx.example.org", now_ms);
    struct tls_ctx *server = server_make(&pem, false, false);
    struct tls_ctx *client = client_make(false, "");
    check_handshakes(&pem);
    check_large(client, server);
    check_endings(client, server);
    check_garbage(client, server);
    check_no_common_version(&pem, client);
    check_verify(path);
    check_resumption(&pem, path);
    check_shared_tickets(&pem);
    check_client_choices(&pem);
    scene = "nothing to free";
    tls_free(NULL);
    tls_ctx_free(NULL);
    tls_ctx_free(client);
    tls_ctx_free(server);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
    if (failures > 0) {
        fprintf(stderr, "%u checks failed\n", failures);
    }
    return failures > 0 ? 1 : 0;
}
