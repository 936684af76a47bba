/* Keys of tickets that the contexts of all cores share. */
#include "io/tls_boringssl_private.h"

#include "core/check.h"
#include "io/clock.h"

#include <openssl/mem.h>
#include <openssl/sha.h>

enum {
    KEYS_BYTES = 48,    /* as BoringSSL takes them: name, and keys of HMAC and AES */
    PERIODS_MAX = 1000, /* gone through one by one; more after a change of the clock */
};

static void make_keys(struct tls_ctx *ctx)
{
    uint8_t keys[SHA512_DIGEST_LENGTH];
    SHA512_CTX hash;
    SHA512_Init(&hash);
    SHA512_Update(&hash, "keys", 4);
    SHA512_Update(&hash, ctx->tickets.state, sizeof ctx->tickets.state);
    SHA512_Update(&hash, ctx->certificate, sizeof ctx->certificate);
    SHA512_Final(keys, &hash);
    MX_ASSERT(SSL_CTX_set_tlsext_ticket_keys(ctx->ssl_ctx, keys, KEYS_BYTES) == 1);
    OPENSSL_cleanse(keys, sizeof keys);
    OPENSSL_cleanse(&hash, sizeof hash);
}

void tls_tickets_renew(struct tls_ctx *ctx)
{
    struct tls_tickets *tickets = &ctx->tickets;
    uint64_t now = (uint64_t)clock_wall_ms() / TLS_TICKETS_PERIOD_MS;
    if (!ctx->shares_tickets || now <= tickets->period) {
        return;
    }
    for (unsigned i = 0; i < PERIODS_MAX && tickets->period < now; i++) {
        SHA256_CTX hash;
        SHA256_Init(&hash);
        SHA256_Update(&hash, "next", 4);
        SHA256_Update(&hash, tickets->state, sizeof tickets->state);
        SHA256_Final(tickets->state, &hash);
        OPENSSL_cleanse(&hash, sizeof hash);
        tickets->period++;
    }
    tickets->period = now;
    make_keys(ctx);
}

void tls_tickets_share(struct tls_ctx *ctx, const struct tls_server_conf *conf)
{
    bool goes_on = conf->before != NULL && conf->before->shares_tickets;
    const struct tls_tickets *from = goes_on ? &conf->before->tickets : conf->tickets;
    if (from != NULL) {
        ctx->shares_tickets = true;
        ctx->tickets = *from;
        SHA256(conf->cert_pem.ptr, conf->cert_pem.len, ctx->certificate);
        make_keys(ctx);
    }
}

void tls_tickets_forget(struct tls_ctx *ctx)
{
    OPENSSL_cleanse(&ctx->tickets, sizeof ctx->tickets);
}
