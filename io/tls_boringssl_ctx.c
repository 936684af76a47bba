/* Contexts: versions, ciphers, certificate and key, trust, and the sessions that clients keep. */
#include "io/tls_boringssl_private.h"

#include "core/check.h"
#include "core/hash.h"

#include <openssl/err.h>
#include <openssl/x509.h>

#include <stdlib.h>

enum {
    CHAIN_BYTES_MAX = 64 * 1024,   /* a peer's chain on the wire */
    SESSIONS_MAX = 64,             /* sessions that a client context keeps for resumption */
    SESSION_SECONDS = 2 * 60 * 60, /* no ticket lives longer: what was verified is verified again */
};

static const char *const trust_files[] = {"/etc/ssl/certs/ca-certificates.crt"};

/* All that speaks TLS 1.2 at all, forward secrecy and AEAD first; mail that finds no common cipher
 * would go in clear. TLS 1.3 suites are not in this list; they are always there. */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:RSA+AESGCM:RSA+AES:!PSK:!3DES";

/* A session of an earlier connection to host. */
struct kept_session {
    SSL_SESSION *session; /* owned; NULL = free */
    uint8_t host_len;
    char host[TLS_HOST_MAX];
};

static struct kept_session *session_slot(struct tls_ctx *ctx, struct slice host)
{
    return &ctx->sessions[hash_seeded(host, 0) % SESSIONS_MAX];
}

static void session_forget(struct kept_session *kept)
{
    SSL_SESSION_free(kept->session);
    *kept = (struct kept_session){0};
}

/* Called for every new session of a client, for TLS 1.3 whenever a ticket arrives. 1 = taken. */
static int session_new(SSL *ssl, SSL_SESSION *session)
{
    struct tls_ctx *ctx = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct slice host = slice_of_text(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
    if (ctx == NULL || ctx->no_resumption || host.len == 0 || host.len > TLS_HOST_MAX) {
        return 0;
    }
    struct kept_session *kept = session_slot(ctx, host);
    session_forget(kept);
    kept->session = session;
    kept->host_len = (uint8_t)host.len;
    memcpy(kept->host, host.ptr, host.len);
    return 1;
}

void tls_session_offer(SSL *ssl, struct tls_ctx *ctx, struct slice host)
{
    struct kept_session *kept = session_slot(ctx, host);
    if (kept->session == NULL || !slice_equal(slice_of(kept->host, kept->host_len), host)) {
        return;
    }
    (void)SSL_set_session(ssl, kept->session); /* without it: a full handshake */
    if (SSL_SESSION_should_be_single_use(kept->session) && !ctx->reuse_sessions) {
        session_forget(kept); /* RFC 8446 appendix C.4: a reused ticket links connections */
    }
}

static bool sessions_set_up(struct tls_ctx *ctx)
{
    SSL_CTX *ssl_ctx = ctx->ssl_ctx;
    SSL_CTX_set_timeout(ssl_ctx, SESSION_SECONDS);
    SSL_CTX_set_session_psk_dhe_timeout(ssl_ctx, SESSION_SECONDS);
    if (ctx->server) {
        /* Tickets only: the clients keep the state. */
        SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_OFF);
        return SSL_CTX_set_num_tickets(ssl_ctx, 1) == 1;
    }
    ctx->sessions = calloc(SESSIONS_MAX, sizeof *ctx->sessions);
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl_ctx, session_new);
    return ctx->sessions != NULL && SSL_CTX_set_app_data(ssl_ctx, ctx) == 1;
}

mx_err tls_ctx_make(struct tls_ctx **out, bool server)
{
    struct tls_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL) {
        return MX_ERR_NOMEM;
    }
    ctx->server = server;
    ctx->ssl_ctx = SSL_CTX_new(TLS_method());
    if (ctx->ssl_ctx == NULL || !sessions_set_up(ctx) ||
        SSL_CTX_set_strict_cipher_list(ctx->ssl_ctx, ciphers) != 1) {
        tls_ctx_free(ctx);
        ERR_clear_error();
        return MX_ERR_NOMEM;
    }
    SSL_CTX_set_min_proto_version(ctx->ssl_ctx, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx->ssl_ctx, TLS1_3_VERSION);
    SSL_CTX_set_mode(ctx->ssl_ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(ctx->ssl_ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_max_cert_list(ctx->ssl_ctx, CHAIN_BYTES_MAX);
    *out = ctx;
    return MX_OK;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    if (ctx == NULL) {
        return;
    }
    if (ctx->ssl_ctx != NULL) {
        SSL_CTX_set_app_data(ctx->ssl_ctx, NULL); /* connections may outlive us */
    }
    for (unsigned i = 0; ctx->sessions != NULL && i < SESSIONS_MAX; i++) {
        session_forget(&ctx->sessions[i]);
    }
    SSL_CTX_free(ctx->ssl_ctx);
    tls_names_release(ctx->names);
    free(ctx->sessions);
    tls_tickets_forget(ctx);
    free(ctx);
}

static void set_versions(struct tls_ctx *ctx, bool disable_tls12, bool disable_tls13)
{
    if (disable_tls12) {
        SSL_CTX_set_min_proto_version(ctx->ssl_ctx, TLS1_3_VERSION);
    }
    if (disable_tls13) {
        SSL_CTX_set_max_proto_version(ctx->ssl_ctx, TLS1_2_VERSION);
    }
}

mx_err tls_server_ctx_new(struct tls_ctx **out_ctx, const struct tls_server_conf *conf)
{
    struct tls_ctx *ctx;
    if (conf->disable_tls12 && conf->disable_tls13) {
        return MX_ERR_INVALID;
    }
    mx_err err = tls_ctx_make(&ctx, true);
    if (err) {
        return err;
    }
    if (tls_pairs_load(ctx, conf->cert_pem, conf->key_pem) != NULL) {
        tls_ctx_free(ctx);
        return MX_ERR_TLS;
    }
    set_versions(ctx, conf->disable_tls12, conf->disable_tls13);
    tls_tickets_share(ctx, conf);
    *out_ctx = ctx;
    return MX_OK;
}

static bool trust_load(SSL_CTX *ssl_ctx, struct slice ca_file)
{
    if (ca_file.len > 0) {
        return SSL_CTX_load_verify_locations(ssl_ctx, (const char *)ca_file.ptr, NULL) == 1;
    }
    for (size_t i = 0; i < mx_countof(trust_files); i++) {
        if (SSL_CTX_load_verify_locations(ssl_ctx, trust_files[i], NULL) == 1) {
            return true;
        }
    }
    return SSL_CTX_set_default_verify_paths(ssl_ctx) == 1;
}

mx_err tls_client_ctx_new(struct tls_ctx **out_ctx, const struct tls_client_conf *conf)
{
    struct tls_ctx *ctx;
    if (conf->disable_tls12 && conf->disable_tls13) {
        return MX_ERR_INVALID;
    }
    mx_err err = tls_ctx_make(&ctx, false);
    if (err) {
        return err;
    }
    ctx->verify = conf->verify;
    ctx->no_resumption = conf->no_resumption;
    ctx->reuse_sessions = conf->reuse_sessions;
    set_versions(ctx, conf->disable_tls12, conf->disable_tls13);
    SSL_CTX_set_verify(ctx->ssl_ctx, conf->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    bool trusted = !conf->verify || trust_load(ctx->ssl_ctx, conf->ca_file);
    ERR_clear_error();
    if (!trusted && conf->ca_file.len > 0) {
        tls_ctx_free(ctx);
        return MX_ERR_NOTFOUND;
    }
    *out_ctx = ctx; /* without any trust store every certificate is refused, as it must be */
    return MX_OK;
}
