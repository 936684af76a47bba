/* io/tls.h as a pass-through: a handshake of one byte each way, then bytes as they are. */
#include "io/tls.h"
#include "io/digest.h"

#include "core/check.h"
#include "tests/sim/tls_seen.h"

#include <stdlib.h>

enum { HELLO = 0x16, WELCOME = 0x17 };

struct tls_ctx {
    bool client;
    char certificate[64];
};

struct buffer {
    uint8_t *at;
    size_t len;
};

struct tls {
    bool client, hello_sent, ready;
    struct buffer in, out;
};

static mx_err add(struct buffer *b, const void *bytes, size_t len)
{
    uint8_t *at = realloc(b->at, b->len + len + 1);
    if (at == NULL) {
        return MX_ERR_NOMEM;
    }
    memcpy(at + b->len, bytes, len);
    b->at = at;
    b->len += len;
    return MX_OK;
}

static size_t take(struct buffer *b, void *buf, size_t cap)
{
    size_t n = mx_min_size(cap, b->len);
    if (n > 0) {
        memcpy(buf, b->at, n);
        memmove(b->at, b->at + n, b->len - n);
        b->len -= n;
    }
    if (b->len == 0) {
        free(b->at);
        b->at = NULL;
    }
    return n;
}

static mx_err ctx_new(struct tls_ctx **out_ctx, bool client, struct slice certificate)
{
    struct tls_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL) {
        return MX_ERR_NOMEM;
    }
    ctx->client = client;
    MX_ASSERT(certificate.len < sizeof ctx->certificate);
    if (certificate.len > 0) {
        memcpy(ctx->certificate, certificate.ptr, certificate.len);
    }
    *out_ctx = ctx;
    return MX_OK;
}

mx_err tls_server_ctx_new(struct tls_ctx **out_ctx, const struct tls_server_conf *conf)
{
    return ctx_new(out_ctx, false, conf->cert_pem);
}

mx_err tls_client_ctx_new(struct tls_ctx **out_ctx, const struct tls_client_conf *conf)
{
    (void)conf;
    return ctx_new(out_ctx, true, SLICE_EMPTY);
}

const char *tls_seen_certificate(const struct tls_ctx *ctx)
{
    return ctx->certificate;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    free(ctx);
}

mx_err tls_new(struct tls **out_tls, struct tls_ctx *ctx, struct slice host)
{
    (void)host;
    *out_tls = calloc(1, sizeof **out_tls);
    if (*out_tls == NULL) {
        return MX_ERR_NOMEM;
    }
    (*out_tls)->client = ctx->client;
    return MX_OK;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        free(tls->in.at);
        free(tls->out.at);
        free(tls);
    }
}

mx_err tls_feed(struct tls *tls, struct slice ciphertext)
{
    return add(&tls->in, ciphertext.ptr, ciphertext.len);
}

mx_err tls_handshake(struct tls *tls)
{
    uint8_t byte = HELLO;
    if (tls->ready) {
        return MX_OK;
    }
    if (tls->client && !tls->hello_sent) {
        if (add(&tls->out, &byte, 1) != MX_OK) {
            return MX_ERR_TLS;
        }
        tls->hello_sent = true;
    }
    if (take(&tls->in, &byte, 1) == 0) {
        return MX_ERR_AGAIN;
    }
    if (byte != (tls->client ? WELCOME : HELLO)) {
        return MX_ERR_TLS;
    }
    if (!tls->client) {
        byte = WELCOME;
        if (add(&tls->out, &byte, 1) != MX_OK) {
            return MX_ERR_TLS;
        }
    }
    tls->ready = true;
    return MX_OK;
}

mx_err tls_read(struct tls *tls, size_t *out_len, void *buf, size_t cap)
{
    *out_len = take(&tls->in, buf, cap);
    return *out_len > 0 ? MX_OK : MX_ERR_AGAIN;
}

mx_err tls_write(struct tls *tls, struct slice plain)
{
    if (!tls->ready) {
        return MX_ERR_INVALID;
    }
    return add(&tls->out, plain.ptr, plain.len);
}

void tls_shutdown(struct tls *tls)
{
    (void)tls;
}

size_t tls_drain(struct tls *tls, void *buf, size_t cap)
{
    return take(&tls->out, buf, cap);
}

size_t tls_waiting(const struct tls *tls)
{
    return tls->out.len;
}

const char *tls_version(const struct tls *tls)
{
    (void)tls;
    return "TLSv1.3";
}

const char *tls_cipher(const struct tls *tls)
{
    (void)tls;
    return "NONE";
}

const char *tls_problem(const struct tls *tls)
{
    (void)tls;
    return "simulated";
}

bool tls_verified(const struct tls *tls)
{
    (void)tls;
    return false;
}

bool tls_resumed(const struct tls *tls)
{
    (void)tls;
    return false;
}

const char *tls_library_version(void)
{
    return "simulated";
}

/* No expression of a scenario looks at it. */
size_t digest_named(uint8_t out[DIGEST_BYTES_MAX], struct slice name, struct slice bytes)
{
    (void)name;
    memset(out, 0, DIGEST_BYTES_MAX);
    return bytes.len % DIGEST_BYTES_MAX;
}
