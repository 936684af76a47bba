/* TLS by our engine, client and server back to back through memory. */
#include "bench/micro.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/tls.h"

#include <stdlib.h>
#include <string.h>

enum {
    PEM_BYTES = 4096,
    RECORDS = 64,
    PLAIN_MAX = 16384,
    SEALED_MAX = PLAIN_MAX + 256,
    STEPS = 20
};

struct tls_pair {
    uint8_t cert[PEM_BYTES], key[PEM_BYTES];
    struct tls_ctx *server_ctx, *client_ctx, *fresh_ctx; /* the last: full handshakes only */
    struct tls *server, *client;
    uint32_t plain_len;
    uint8_t plain[PLAIN_MAX], read[PLAIN_MAX];
    uint8_t wire[SEALED_MAX];
    uint8_t sealed[RECORDS * SEALED_MAX]; /* records behind each other */
    size_t sealed_len[RECORDS];
};

/* What the one has to send is fed to the other. */
static size_t carry(struct tls_pair *p, struct tls *from, struct tls *to)
{
    size_t len = tls_drain(from, p->wire, SEALED_MAX);
    if (len > 0) {
        MX_ASSERT(tls_feed(to, slice_of(p->wire, len)) == MX_OK);
    }
    return len;
}

/* Reads what only the engine wants: tickets. */
static void read_nothing(struct tls_pair *p, struct tls *tls)
{
    size_t len;
    MX_ASSERT(tls_read(tls, &len, p->read, sizeof p->read) == MX_ERR_AGAIN);
}

static void shake(struct tls_pair *p, struct tls_ctx *client_ctx)
{
    mx_err client = MX_ERR_AGAIN, server = MX_ERR_AGAIN;
    MX_ASSERT(tls_new(&p->client, client_ctx, SLICE_LITERAL("mx.example.org")) == MX_OK);
    MX_ASSERT(tls_new(&p->server, p->server_ctx, SLICE_EMPTY) == MX_OK);
    for (unsigned i = 0; i < STEPS && (client || server); i++) {
        client = client ? tls_handshake(p->client) : MX_OK;
        (void)carry(p, p->client, p->server);
        server = server ? tls_handshake(p->server) : MX_OK;
        (void)carry(p, p->server, p->client);
    }
    MX_ASSERT(client == MX_OK && server == MX_OK);
    read_nothing(p, p->client);
    read_nothing(p, p->server);
}

/* The server's ticket comes with the first that it says. */
static void learn(struct tls_pair *p)
{
    size_t len = 0;
    MX_ASSERT(tls_write(p->server, SLICE_LITERAL("x")) == MX_OK);
    (void)carry(p, p->server, p->client);
    MX_ASSERT(tls_read(p->client, &len, p->read, sizeof p->read) == MX_OK && len == 1);
}

static void part(struct tls_pair *p)
{
    tls_free(p->client);
    tls_free(p->server);
    p->client = p->server = NULL;
}

static void *make(uint64_t size)
{
    struct tls_pair *p = micro_take(sizeof *p);
    struct writer cert = writer_init(p->cert, sizeof p->cert);
    struct writer key = writer_init(p->key, sizeof p->key);
    p->plain_len = (uint32_t)size;
    memset(p->plain, 'x', sizeof p->plain);
    MX_ASSERT(tls_self_signed(&cert, &key, SLICE_LITERAL("mx.example.org"), clock_wall_ms()) ==
              MX_OK);
    struct tls_server_conf server = {.cert_pem = writer_slice(&cert),
                                     .key_pem = writer_slice(&key)};
    struct tls_client_conf again = {.reuse_sessions = true}, fresh = {.no_resumption = true};
    MX_ASSERT(tls_server_ctx_new(&p->server_ctx, &server) == MX_OK);
    MX_ASSERT(tls_client_ctx_new(&p->client_ctx, &again) == MX_OK);
    MX_ASSERT(tls_client_ctx_new(&p->fresh_ctx, &fresh) == MX_OK);
    shake(p, p->client_ctx);
    learn(p);
    return p;
}

static void end(void *state)
{
    struct tls_pair *p = state;
    part(p);
    tls_ctx_free(p->server_ctx);
    tls_ctx_free(p->client_ctx);
    tls_ctx_free(p->fresh_ctx);
    free(p);
}

/* --- records -----------------------------------------------------------------------------------
 */

static void seal(struct tls_pair *p, struct tls *from)
{
    uint8_t *at = p->sealed;
    for (unsigned i = 0; i < RECORDS; i++, at += p->sealed_len[i - 1]) {
        MX_ASSERT(tls_write(from, slice_of(p->plain, p->plain_len)) == MX_OK);
        p->sealed_len[i] = tls_drain(from, at, SEALED_MAX);
        MX_ASSERT(p->sealed_len[i] > p->plain_len && tls_waiting(from) == 0);
    }
}

static void open_all(struct tls_pair *p, struct tls *to)
{
    const uint8_t *at = p->sealed;
    for (unsigned i = 0; i < RECORDS; i++, at += p->sealed_len[i - 1]) {
        size_t len = 0;
        MX_ASSERT(tls_feed(to, slice_of(at, p->sealed_len[i])) == MX_OK);
        MX_ASSERT(tls_read(to, &len, p->read, sizeof p->read) == MX_OK && len == p->plain_len);
    }
    MX_ASSERT(memcmp(p->read, p->plain, p->plain_len) == 0);
}

static void run_encrypt(void *state)
{
    struct tls_pair *p = state;
    seal(p, p->server);
}

/* A new connection: nobody reads what the last run has sent. */
static void ready_encrypt(void *state)
{
    struct tls_pair *p = state;
    part(p);
    shake(p, p->client_ctx);
}

static void ready_decrypt(void *state)
{
    struct tls_pair *p = state;
    seal(p, p->client);
}

static void run_decrypt(void *state)
{
    struct tls_pair *p = state;
    open_all(p, p->server);
}

/* --- handshakes --------------------------------------------------------------------------------
 */

static void run_handshake(void *state)
{
    struct tls_pair *p = state;
    part(p);
    shake(p, p->fresh_ctx);
    MX_ASSERT(!tls_resumed(p->server));
}

static void run_resumed(void *state)
{
    struct tls_pair *p = state;
    part(p);
    shake(p, p->client_ctx);
    MX_ASSERT(tls_resumed(p->server));
}

static const struct micro items[] = {
    {"tls-encrypt-64", "a reply of 64 bytes encrypted", RECORDS, 64, false, make, ready_encrypt,
     run_encrypt, end},
    {"tls-decrypt-64", "64 bytes decrypted", RECORDS, 64, false, make, ready_decrypt, run_decrypt,
     end},
    {"tls-encrypt-4k", "4 KiB encrypted", RECORDS, 4096, false, make, ready_encrypt, run_encrypt,
     end},
    {"tls-decrypt-4k", "4 KiB decrypted", RECORDS, 4096, false, make, ready_decrypt, run_decrypt,
     end},
    {"tls-full", "a full handshake, both sides", 1, 4096, false, make, NULL, run_handshake, end},
    {"tls-resumed", "a resumed handshake, both sides", 1, 4096, false, make, NULL, run_resumed,
     end},
};
const struct micro_group micro_tls = {items, mx_countof(items)};
