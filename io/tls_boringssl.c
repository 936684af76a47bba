/* The only file that includes BoringSSL. Everything goes through memory BIOs. */
#include "io/tls.h"

#include "core/check.h"
#include "io/random.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROBLEM_MAX = 200,
    HOST_MAX = 255,
    CHAIN_MAX = 16,
    SELF_SIGNED_DAYS = 3650,
};

static const char *const trust_files[] = {"/etc/ssl/certs/ca-certificates.crt"};

struct tls_ctx {
    SSL_CTX *ssl_ctx;
    bool server;
    bool verify;
};

struct tls {
    SSL *ssl;
    BIO *from_peer; /* owned by ssl */
    BIO *to_peer;
    bool verify;
    char problem[PROBLEM_MAX];
};

/* --- contexts ----------------------------------------------------------------------------------
 */

static mx_err ctx_new(struct tls_ctx **out, bool server)
{
    struct tls_ctx *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL) {
        return MX_ERR_NOMEM;
    }
    ctx->server = server;
    ctx->ssl_ctx = SSL_CTX_new(TLS_method());
    if (ctx->ssl_ctx == NULL) {
        free(ctx);
        ERR_clear_error();
        return MX_ERR_NOMEM;
    }
    SSL_CTX_set_min_proto_version(ctx->ssl_ctx, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx->ssl_ctx, TLS1_3_VERSION);
    SSL_CTX_set_mode(ctx->ssl_ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_quiet_shutdown(ctx->ssl_ctx, 0);
    *out = ctx;
    return MX_OK;
}

void tls_ctx_free(struct tls_ctx *ctx)
{
    if (ctx != NULL) {
        SSL_CTX_free(ctx->ssl_ctx);
        free(ctx);
    }
}

static BIO *reader_of(struct slice pem)
{
    return pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.ptr, (int)pem.len);
}

/* Leaf first, then the chain. */
static const char *chain_load(SSL_CTX *ssl_ctx, struct slice pem)
{
    const char *problem = "the certificate is not readable PEM";
    BIO *bio = reader_of(pem);
    for (unsigned i = 0; bio != NULL && i < CHAIN_MAX; i++) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (cert == NULL) {
            break;
        }
        int good = i == 0 ? SSL_CTX_use_certificate(ssl_ctx, cert)
                          : SSL_CTX_add1_chain_cert(ssl_ctx, cert);
        X509_free(cert);
        if (!good) {
            problem = "the certificate cannot be used";
            break;
        }
        problem = NULL;
    }
    BIO_free(bio);
    ERR_clear_error();
    return problem;
}

static const char *key_load(SSL_CTX *ssl_ctx, struct slice pem)
{
    const char *problem = "the private key is not readable PEM (or is protected by a password)";
    BIO *bio = reader_of(pem);
    EVP_PKEY *key =
        bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "");
    if (key != NULL) {
        problem = SSL_CTX_use_PrivateKey(ssl_ctx, key) && SSL_CTX_check_private_key(ssl_ctx)
                      ? NULL
                      : "the private key does not belong to the certificate";
    }
    EVP_PKEY_free(key);
    BIO_free(bio);
    ERR_clear_error();
    return problem;
}

mx_err tls_server_ctx_new(struct tls_ctx **out_ctx, const struct tls_server_conf *conf)
{
    struct tls_ctx *ctx;
    mx_err err = ctx_new(&ctx, true);
    if (err) {
        return err;
    }
    if (chain_load(ctx->ssl_ctx, conf->cert_pem) != NULL ||
        key_load(ctx->ssl_ctx, conf->key_pem) != NULL) {
        tls_ctx_free(ctx);
        return MX_ERR_TLS;
    }
    if (conf->disable_tls12) {
        SSL_CTX_set_min_proto_version(ctx->ssl_ctx, TLS1_3_VERSION);
    }
    if (conf->disable_tls13) {
        SSL_CTX_set_max_proto_version(ctx->ssl_ctx, TLS1_2_VERSION);
    }
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
    mx_err err = ctx_new(&ctx, false);
    if (err) {
        return err;
    }
    ctx->verify = conf->verify;
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

/* --- connections -------------------------------------------------------------------------------
 */

static void remember(struct tls *tls, const char *what)
{
    uint32_t code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    long verify = tls->verify ? SSL_get_verify_result(tls->ssl) : X509_V_OK;
    if (verify != X509_V_OK) {
        (void)snprintf(tls->problem, sizeof tls->problem, "%s: certificate: %s", what,
                       X509_verify_cert_error_string(verify));
    } else {
        (void)snprintf(tls->problem, sizeof tls->problem, "%s: %s", what,
                       reason != NULL ? reason : "the other side broke off");
    }
    ERR_clear_error();
}

/* Name for SNI and for the check; an IP literal is checked as such and not sent. */
static bool host_set(struct tls *tls, struct slice host, bool verify)
{
    char name[HOST_MAX + 1];
    uint8_t addr[16];
    if (host.len == 0) {
        return !verify;
    }
    if (host.len > HOST_MAX) {
        return false;
    }
    memcpy(name, host.ptr, host.len);
    name[host.len] = '\0';
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    bool is_ip = inet_pton(AF_INET, name, addr) == 1 || inet_pton(AF_INET6, name, addr) == 1;
    if (is_ip) {
        return !verify || X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    }
    if (verify && X509_VERIFY_PARAM_set1_host(param, name, host.len) != 1) {
        return false;
    }
    return SSL_set_tlsext_host_name(tls->ssl, name) == 1;
}

mx_err tls_new(struct tls **out_tls, struct tls_ctx *ctx, struct slice host)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return MX_ERR_NOMEM;
    }
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
    BIO_set_mem_eof_return(tls->from_peer, -1); /* empty = come back later */
    SSL_set_bio(tls->ssl, tls->from_peer, tls->to_peer);
    if (ctx->server) {
        SSL_set_accept_state(tls->ssl);
    } else {
        SSL_set_connect_state(tls->ssl);
        if (!host_set(tls, host, ctx->verify)) {
            tls_free(tls);
            ERR_clear_error();
            return MX_ERR_INVALID;
        }
    }
    *out_tls = tls;
    return MX_OK;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        SSL_free(tls->ssl);
        free(tls);
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
    if (result == 1) {
        return MX_OK;
    }
    mx_err err = judge(tls, result, "handshake");
    return err == MX_ERR_CLOSED ? MX_ERR_TLS : err;
}

mx_err tls_read(struct tls *tls, size_t *out_len, void *buf, size_t cap)
{
    ERR_clear_error();
    int result = SSL_read(tls->ssl, buf, cap > INT32_MAX ? INT32_MAX : (int)cap);
    if (result > 0) {
        *out_len = (size_t)result;
        return MX_OK;
    }
    return judge(tls, result, "receiving");
}

mx_err tls_write(struct tls *tls, struct slice plain)
{
    MX_ASSERT(plain.len <= INT32_MAX);
    ERR_clear_error();
    if (plain.len == 0) {
        return MX_OK;
    }
    int result = SSL_write(tls->ssl, plain.ptr, (int)plain.len);
    if (result == (int)plain.len) {
        return MX_OK;
    }
    mx_err err = judge(tls, result, "sending");
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
    int got = BIO_read(tls->to_peer, buf, cap > INT32_MAX ? INT32_MAX : (int)cap);
    ERR_clear_error();
    return got > 0 ? (size_t)got : 0;
}

size_t tls_waiting(const struct tls *tls)
{
    return BIO_ctrl_pending(tls->to_peer);
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

bool tls_verified(const struct tls *tls)
{
    return tls->verify && SSL_is_init_finished(tls->ssl) &&
           SSL_get_verify_result(tls->ssl) == X509_V_OK;
}

const char *tls_library_version(void)
{
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
    return "BoringSSL API " TEXT(BORINGSSL_API_VERSION);
}

/* --- certificates ------------------------------------------------------------------------------
 */

static EVP_PKEY *key_make(void)
{
    EVP_PKEY *key = EVP_PKEY_new();
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    if (key == NULL || ec == NULL || !EC_KEY_generate_key(ec) || !EVP_PKEY_set1_EC_KEY(key, ec)) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EC_KEY_free(ec);
    return key;
}

static bool names_add(X509 *cert, struct slice host)
{
    X509_NAME *name = X509_get_subject_name(cert);
    /* A common name is at most 64 bytes; what counts is the alternative name. */
    struct slice common = host.len <= 64 ? host : SLICE_LITERAL("ringmx");
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *general = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    bool good =
        names != NULL && general != NULL && text != NULL &&
        ASN1_STRING_set(text, host.ptr, (int)host.len) &&
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8,
                                   (uint8_t *)(uintptr_t)common.ptr, (int)common.len, -1, 0) &&
        X509_set_issuer_name(cert, name);
    if (good) {
        GENERAL_NAME_set0_value(general, GEN_DNS, text);
        text = NULL;
        good = sk_GENERAL_NAME_push(names, general) > 0;
        general = good ? NULL : general;
    }
    good = good && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    ASN1_IA5STRING_free(text);
    GENERAL_NAME_free(general);
    GENERAL_NAMES_free(names);
    return good;
}

static X509 *cert_make(EVP_PKEY *key, struct slice host, int64_t wall_ms)
{
    X509 *cert = X509_new();
    int64_t begin_s = wall_ms / 1000 - 86400;
    bool good = cert != NULL && X509_set_version(cert, X509_VERSION_3) &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), random_u64() >> 1) &&
                ASN1_TIME_set(X509_getm_notBefore(cert), begin_s) != NULL &&
                ASN1_TIME_set(X509_getm_notAfter(cert),
                              begin_s + SELF_SIGNED_DAYS * INT64_C(86400)) != NULL &&
                names_add(cert, host) && X509_set_pubkey(cert, key) &&
                X509_sign(cert, key, EVP_sha256()) > 0;
    if (!good) {
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}

static bool bio_to_writer(BIO *bio, struct writer *out)
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    bool good = BIO_mem_contents(bio, &bytes, &len) == 1;
    put_bytes(out, bytes, good ? len : 0);
    return good && !out->overflow;
}

mx_err tls_self_signed(struct writer *cert_pem, struct writer *key_pem, struct slice host,
                       int64_t wall_ms)
{
    EVP_PKEY *key = key_make();
    X509 *cert = key == NULL ? NULL : cert_make(key, host, wall_ms);
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_mem());
    bool good = cert != NULL && cert_bio != NULL && key_bio != NULL &&
                PEM_write_bio_X509(cert_bio, cert) &&
                PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL) &&
                bio_to_writer(cert_bio, cert_pem) && bio_to_writer(key_bio, key_pem);
    BIO_free(cert_bio);
    BIO_free(key_bio);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return good ? MX_OK : MX_ERR_TLS;
}

static int64_t time_ms(const ASN1_TIME *time)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return good ? (days * INT64_C(86400) + seconds) * 1000 : 0;
}

mx_err tls_check_pair(struct slice cert_pem, struct slice key_pem, int64_t *out_not_before_ms,
                      int64_t *out_not_after_ms, const char **out_problem)
{
    struct tls_ctx *ctx;
    mx_err err = ctx_new(&ctx, true);
    if (err) {
        *out_problem = "out of memory";
        return err;
    }
    const char *problem = chain_load(ctx->ssl_ctx, cert_pem);
    if (problem == NULL) {
        problem = key_load(ctx->ssl_ctx, key_pem);
    }
    X509 *cert = problem == NULL ? SSL_CTX_get0_certificate(ctx->ssl_ctx) : NULL;
    if (cert != NULL && out_not_before_ms != NULL) {
        *out_not_before_ms = time_ms(X509_get0_notBefore(cert));
    }
    if (cert != NULL && out_not_after_ms != NULL) {
        *out_not_after_ms = time_ms(X509_get0_notAfter(cert));
    }
    tls_ctx_free(ctx);
    if (problem != NULL) {
        *out_problem = problem;
        return MX_ERR_INVALID;
    }
    return MX_OK;
}
