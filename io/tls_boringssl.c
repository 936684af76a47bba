/* Connections. Everything goes through memory BIOs. Only files of this name (io/tls_boringssl*) and
 * io/digest_boringssl.c include BoringSSL. */
#include "io/tls_boringssl_private.h"

#include "core/check.h"
#include "core/netaddr.h"
#include "core/text.h"

#include <openssl/buf.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>

enum { PROBLEM_MAX = 200 };

struct tls {
    SSL *ssl;
    struct tls_names *names; /* held */
    BIO *from_peer;          /* owned by ssl */
    BIO *to_peer;
    size_t drained; /* bytes at the front of to_peer that are gone already */
    bool verify;
    enum tls_failure failure;
    char problem[PROBLEM_MAX];
};

/* "WRONG_VERSION_NUMBER" as words. */
static void put_reason(struct writer *w, const char *reason)
{
    for (const char *at = reason; *at != '\0'; at++) {
        put_char(w, *at == '_' ? ' ' : (char)ascii_lower((uint8_t)*at));
    }
}

static enum tls_failure failure_of(int reason)
{
    if (reason >= SSL_AD_REASON_OFFSET) {
        return TLS_FAILURE_ALERT;
    }
    switch (reason) {
    case SSL_R_HANDSHAKE_FAILURE_ON_CLIENT_HELLO:
        return TLS_FAILURE_ALERT;
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return TLS_FAILURE_CERTIFICATE;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SHARED_GROUP:
    case SSL_R_NO_COMMON_SIGNATURE_ALGORITHMS:
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_SUPPORTED_VERSIONS_ENABLED:
        return TLS_FAILURE_NO_COMMON;
    default:
        return TLS_FAILURE_PROTOCOL;
    }
}

/* Keeps the reason of a failure for tls_problem and empties BoringSSL's error queue. */
static void remember(struct tls *tls, const char *what)
{
    uint32_t code = ERR_peek_last_error();
    int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    const char *name = ERR_reason_error_string(code);
    struct writer w = writer_init(tls->problem, sizeof tls->problem - 1);
    tls->failure = failure_of(reason);
    put_text(&w, what);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        put_text(&w, "certificate: ");
        put_text(&w, X509_verify_cert_error_string(SSL_get_verify_result(tls->ssl)));
    } else if (reason >= SSL_AD_REASON_OFFSET) {
        put_text(&w, "the peer's alert: ");
        put_text(&w, SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    } else {
        put_reason(&w, name != NULL ? name : "unknown reason");
    }
    tls->problem[w.len] = '\0';
    ERR_clear_error();
}

/* Name for SNI and for the check; an IP literal is checked as such and not sent. */
static mx_err host_set(struct tls *tls, struct tls_ctx *ctx, struct slice host)
{
    char name[TLS_HOST_MAX + 1];
    struct netaddr addr;
    if (host.len > 0 && host.ptr[host.len - 1] == '.') {
        host.len--; /* RFC 6066 section 3: without the trailing dot */
    }
    if (host.len == 0) {
        return ctx->verify ? MX_ERR_INVALID : MX_OK;
    }
    if (host.len > TLS_HOST_MAX || slice_find(host, '\0') < host.len) {
        return MX_ERR_INVALID;
    }
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    if (netaddr_parse(&addr, host) == MX_OK) {
        bool set = X509_VERIFY_PARAM_set1_ip(param, addr.bytes, addr.family == 4 ? 4 : 16) == 1;
        return set ? MX_OK : MX_ERR_NOMEM;
    }
    text_lower((uint8_t *)name, host);
    name[host.len] = '\0';
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (ctx->verify && X509_VERIFY_PARAM_set1_host(param, name, host.len) != 1) {
        return MX_ERR_INVALID;
    }
    if (SSL_set_tlsext_host_name(tls->ssl, name) != 1) {
        return MX_ERR_INVALID;
    }
    tls_session_offer(tls->ssl, ctx, slice_of(name, host.len));
    return MX_OK;
}

mx_err tls_new(struct tls **out_tls, struct tls_ctx *ctx, struct slice host)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return MX_ERR_NOMEM;
    }
    tls_tickets_renew(ctx);
    tls->verify = ctx->verify;
    tls->ssl = SSL_new(ctx->ssl_ctx);
    tls->from_peer = BIO_new(BIO_s_mem());
    tls->to_peer = BIO_new(BIO_s_mem());
    if (tls->ssl == NULL || tls->from_peer == NULL || tls->to_peer == NULL) {
        BIO_free(tls->from_peer);
        BIO_free(tls->to_peer);
        SSL_free(tls->ssl);
        free(tls);
        ERR_clear_error();
        return MX_ERR_NOMEM;
    }
    tls->names = ctx->names;
    tls_names_hold(tls->names);
    BIO_set_mem_eof_return(tls->from_peer, -1); /* empty = come back later */
    SSL_set_bio(tls->ssl, tls->from_peer, tls->to_peer);
    SSL_set_shed_handshake_config(tls->ssl, 1);
    if (ctx->server) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
        mx_err err = host_set(tls, ctx, host);
        if (err) {
            tls_free(tls);
            ERR_clear_error();
            return err;
        }
    }
    *out_tls = tls;
    return MX_OK;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        tls_names_release(tls->names);
        free(tls);
    }
}

/* An empty memory BIO keeps the largest buffer that it ever had: given back, so that an idle
 * connection holds none. */
static void bio_release(BIO *bio)
{
    BUF_MEM *mem = NULL;
    if (BIO_get_mem_ptr(bio, &mem) == 1) {
        OPENSSL_free(mem->data);
        *mem = (BUF_MEM){0};
    }
}

static void input_trim(struct tls *tls)
{
    if (BIO_ctrl_pending(tls->from_peer) == 0) {
        bio_release(tls->from_peer);
    }
}

mx_err tls_feed(struct tls *tls, struct slice ciphertext)
{
    MX_ASSERT(ciphertext.len <= INT32_MAX);
    int put =
        ciphertext.len == 0 ? 0 : BIO_write(tls->from_peer, ciphertext.ptr, (int)ciphertext.len);
    ERR_clear_error();
    return put == (int)ciphertext.len ? MX_OK : MX_ERR_NOMEM;
}

/* What a failed call means. */
static mx_err judge(struct tls *tls, int result, const char *what)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        ERR_clear_error();
        return MX_ERR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        ERR_clear_error();
        return MX_ERR_CLOSED;
    default:
        remember(tls, what);
        return MX_ERR_TLS;
    }
}

mx_err tls_handshake(struct tls *tls)
{
    ERR_clear_error();
    int result = SSL_do_handshake(tls->ssl);
    mx_err err = result == 1 ? MX_OK : judge(tls, result, "handshake: ");
    input_trim(tls);
    if (err == MX_ERR_CLOSED) {
        (void)snprintf(tls->problem, sizeof tls->problem, "handshake: the peer closed");
        return MX_ERR_TLS;
    }
    return err;
}

mx_err tls_read(struct tls *tls, size_t *out_len, void *buf, size_t cap)
{
    MX_ASSERT(cap > 0);
    ERR_clear_error();
    int result = SSL_read(tls->ssl, buf, cap > INT32_MAX ? INT32_MAX : (int)cap);
    if (result > 0) {
        *out_len = (size_t)result;
        return MX_OK;
    }
    mx_err err = judge(tls, result, "receiving: ");
    input_trim(tls);
    return err;
}

mx_err tls_write(struct tls *tls, struct slice plain)
{
    MX_ASSERT(plain.len <= INT32_MAX);
    if (!SSL_is_init_finished(tls->ssl)) {
        return MX_ERR_INVALID;
    }
    ERR_clear_error();
    if (plain.len == 0) {
        return MX_OK;
    }
    int result = SSL_write(tls->ssl, plain.ptr, (int)plain.len);
    if (result == (int)plain.len) {
        return MX_OK;
    }
    mx_err err = judge(tls, result, "sending: ");
    return err == MX_ERR_AGAIN ? MX_ERR_NOMEM : err;
}

void tls_shutdown(struct tls *tls)
{
    if (SSL_is_init_finished(tls->ssl)) {
        (void)SSL_shutdown(tls->ssl);
    }
    ERR_clear_error();
}

size_t tls_drain(struct tls *tls, void *buf, size_t cap)
{
    /* Not BIO_read, which moves the whole rest to the front each time. */
    const uint8_t *bytes = NULL;
    size_t len = 0;
    if (BIO_mem_contents(tls->to_peer, &bytes, &len) != 1 || len == tls->drained) {
        return 0;
    }
    size_t take = mx_min_size(cap, len - tls->drained);
    memcpy(buf, bytes + tls->drained, take);
    tls->drained += take;
    if (tls->drained == len) {
        tls->drained = 0;
        bio_release(tls->to_peer);
    }
    return take;
}

size_t tls_waiting(const struct tls *tls)
{
    return BIO_ctrl_pending(tls->to_peer) - tls->drained;
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(tls->ssl);
    const char *name = cipher != NULL ? SSL_CIPHER_standard_name(cipher) : NULL;
    return name != NULL ? name : "";
}

const char *tls_problem(const struct tls *tls)
{
    return tls->problem;
}

enum tls_failure tls_failure(const struct tls *tls)
{
    return tls->failure;
}

bool tls_verified(const struct tls *tls)
{
    return tls->verify && SSL_is_init_finished(tls->ssl) &&
           SSL_get_verify_result(tls->ssl) == X509_V_OK;
}

bool tls_resumed(const struct tls *tls)
{
    return SSL_is_init_finished(tls->ssl) && SSL_session_reused(tls->ssl);
}

const char *tls_library_version(void)
{
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
    return "BoringSSL API " TEXT(BORINGSSL_API_VERSION);
}
