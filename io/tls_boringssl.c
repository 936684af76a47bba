/* The only file that includes BoringSSL. Everything goes through memory BIOs. */
#include "io/tls.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/netaddr.h"
#include "core/text.h"
#include "io/clock.h"
#include "io/digest.h"
#include "io/random.h"

#include <openssl/bio.h>
#include <openssl/buf.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <stdlib.h>

enum {
    PROBLEM_MAX = 200,
    HOST_MAX = 255,
    CHAIN_MAX = 16,                /* certificates in a chain */
    CHAIN_BYTES_MAX = 64 * 1024,   /* a peer's chain on the wire */
    SESSIONS_MAX = 64,             /* sessions that a client context keeps for resumption */
    SESSION_SECONDS = 2 * 60 * 60, /* no ticket lives longer: what was verified is verified again */
    TICKET_KEYS_BYTES = 48,        /* as BoringSSL takes them */
    TICKET_PERIODS_MAX = 1000,     /* gone through one by one; more after a change of the clock */
    COMMON_NAME_MAX = 64,          /* X.520 */
    SELF_SIGNED_DAYS = 3650,
    DAY_S = 86400,
};

static const char *const trust_files[] = {"/etc/ssl/certs/ca-certificates.crt"};

/* All that speaks TLS 1.2 at all, forward secrecy and AEAD first; mail that finds no common cipher
 * would go in clear. TLS 1.3 suites are not in this list; they are always there. */
static const char ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:RSA+AESGCM:RSA+AES:!PSK:!3DES";

/* A session of an earlier connection to host. */
struct kept_session {
    SSL_SESSION *session; /* owned; NULL = free */
    uint8_t host_len;
    char host[HOST_MAX];
};

struct tls_ctx {
    SSL_CTX *ssl_ctx;
    struct kept_session *sessions; /* SESSIONS_MAX of them, chosen by hash; NULL for servers */
    bool server;
    bool verify;
    bool no_resumption, reuse_sessions;
    bool shares_tickets;
    struct tls_tickets tickets;
    uint8_t certificate[SHA256_DIGEST_LENGTH]; /* its hash */
};

struct tls {
    SSL *ssl;
    BIO *from_peer; /* owned by ssl */
    BIO *to_peer;
    size_t drained; /* bytes at the front of to_peer that are gone already */
    bool verify;
    enum tls_failure failure;
    char problem[PROBLEM_MAX];
};

/* --- contexts ----------------------------------------------------------------------------------
 */

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
    if (ctx == NULL || ctx->no_resumption || host.len == 0 || host.len > HOST_MAX) {
        return 0;
    }
    struct kept_session *kept = session_slot(ctx, host);
    session_forget(kept);
    kept->session = session;
    kept->host_len = (uint8_t)host.len;
    memcpy(kept->host, host.ptr, host.len);
    return 1;
}

/* Offers a kept session to the server. */
static void session_offer(struct tls *tls, struct tls_ctx *ctx, struct slice host)
{
    struct kept_session *kept = session_slot(ctx, host);
    if (kept->session == NULL || !slice_equal(slice_of(kept->host, kept->host_len), host)) {
        return;
    }
    (void)SSL_set_session(tls->ssl, kept->session); /* without it: a full handshake */
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

/* --- keys of tickets ---------------------------------------------------------------------------
 */

static void tickets_key(struct tls_ctx *ctx)
{
    uint8_t keys[SHA512_DIGEST_LENGTH];
    SHA512_CTX hash;
    SHA512_Init(&hash);
    SHA512_Update(&hash, "keys", 4);
    SHA512_Update(&hash, ctx->tickets.state, sizeof ctx->tickets.state);
    SHA512_Update(&hash, ctx->certificate, sizeof ctx->certificate);
    SHA512_Final(keys, &hash);
    /* Name, and keys of HMAC and AES, 16 bytes each. */
    MX_ASSERT(SSL_CTX_set_tlsext_ticket_keys(ctx->ssl_ctx, keys, TICKET_KEYS_BYTES) == 1);
    OPENSSL_cleanse(keys, sizeof keys);
    OPENSSL_cleanse(&hash, sizeof hash);
}

/* Goes on to the period of now; a clock that goes back changes nothing. */
static void tickets_renew(struct tls_ctx *ctx)
{
    struct tls_tickets *tickets = &ctx->tickets;
    uint64_t now = (uint64_t)clock_wall_ms() / TLS_TICKETS_PERIOD_MS;
    if (!ctx->shares_tickets || now <= tickets->period) {
        return;
    }
    for (unsigned i = 0; i < TICKET_PERIODS_MAX && tickets->period < now; i++) {
        SHA256_CTX hash;
        SHA256_Init(&hash);
        SHA256_Update(&hash, "next", 4);
        SHA256_Update(&hash, tickets->state, sizeof tickets->state);
        SHA256_Final(tickets->state, &hash);
        OPENSSL_cleanse(&hash, sizeof hash);
        tickets->period++;
    }
    tickets->period = now;
    tickets_key(ctx);
}

static void tickets_share(struct tls_ctx *ctx, const struct tls_server_conf *conf)
{
    const struct tls_tickets *from = conf->before != NULL && conf->before->shares_tickets
                                         ? &conf->before->tickets
                                         : conf->tickets;
    if (from != NULL) {
        ctx->shares_tickets = true;
        ctx->tickets = *from;
        SHA256(conf->cert_pem.ptr, conf->cert_pem.len, ctx->certificate);
        tickets_key(ctx);
    }
}

static mx_err ctx_new(struct tls_ctx **out, bool server)
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
    free(ctx->sessions);
    OPENSSL_cleanse(&ctx->tickets, sizeof ctx->tickets);
    free(ctx);
}

static BIO *reader_of(struct slice pem)
{
    return pem.len > INT32_MAX ? NULL : BIO_new_mem_buf(pem.ptr, (int)pem.len);
}

/* Leaf first, then the chain. NULL or what is wrong. */
static const char *chain_read(SSL_CTX *ssl_ctx, BIO *bio)
{
    for (unsigned i = 0; i < CHAIN_MAX; i++) {
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
        if (cert == NULL) {
            uint32_t code = ERR_peek_last_error();
            bool end =
                ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
            return i == 0 ? "the certificate is not readable PEM"
                   : end  ? NULL
                          : "a certificate of the chain is not readable PEM";
        }
        int good = i == 0 ? SSL_CTX_use_certificate(ssl_ctx, cert)
                          : SSL_CTX_add1_chain_cert(ssl_ctx, cert);
        X509_free(cert);
        if (!good) {
            return "the certificate cannot be used";
        }
    }
    return "the certificate chain is too long";
}

static const char *chain_load(SSL_CTX *ssl_ctx, struct slice pem)
{
    BIO *bio = reader_of(pem);
    const char *problem = bio == NULL ? "the certificate is too large" : chain_read(ssl_ctx, bio);
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
    mx_err err = ctx_new(&ctx, true);
    if (err) {
        return err;
    }
    if (chain_load(ctx->ssl_ctx, conf->cert_pem) != NULL ||
        key_load(ctx->ssl_ctx, conf->key_pem) != NULL) {
        tls_ctx_free(ctx);
        return MX_ERR_TLS;
    }
    set_versions(ctx, conf->disable_tls12, conf->disable_tls13);
    tickets_share(ctx, conf);
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
    mx_err err = ctx_new(&ctx, false);
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

/* --- connections -------------------------------------------------------------------------------
 */

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
    char name[HOST_MAX + 1];
    struct netaddr addr;
    if (host.len > 0 && host.ptr[host.len - 1] == '.') {
        host.len--; /* RFC 6066 section 3: without the trailing dot */
    }
    if (host.len == 0) {
        return ctx->verify ? MX_ERR_INVALID : MX_OK;
    }
    if (host.len > HOST_MAX || slice_find(host, '\0') < host.len) {
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
    session_offer(tls, ctx, slice_of(name, host.len));
    return MX_OK;
}

mx_err tls_new(struct tls **out_tls, struct tls_ctx *ctx, struct slice host)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL) {
        return MX_ERR_NOMEM;
    }
    tickets_renew(ctx);
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

static GENERAL_NAME *alternative_name(struct slice host)
{
    struct netaddr addr;
    bool is_ip = netaddr_parse(&addr, host) == MX_OK;
    struct slice value = is_ip ? slice_of(addr.bytes, addr.family == 4 ? 4 : 16) : host;
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_STRING *text = ASN1_STRING_type_new(is_ip ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);
    if (name == NULL || text == NULL || !ASN1_STRING_set(text, value.ptr, (int)value.len)) {
        GENERAL_NAME_free(name);
        ASN1_STRING_free(text);
        return NULL;
    }
    GENERAL_NAME_set0_value(name, is_ip ? GEN_IPADD : GEN_DNS, text);
    return name;
}

static bool names_add(X509 *cert, struct slice host)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    /* What counts is the alternative name; a long one does not fit in the common name. */
    struct slice common = host.len <= COMMON_NAME_MAX ? host : SLICE_LITERAL("ringmx");
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = alternative_name(host);
    bool good = names != NULL && name != NULL &&
                X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, common.ptr,
                                           (int)common.len, -1, 0) &&
                X509_set_issuer_name(cert, subject) && sk_GENERAL_NAME_push(names, name) > 0;
    if (!good) {
        GENERAL_NAME_free(name);
    }
    good = good && X509_add1_ext_i2d(cert, NID_subject_alt_name, names, 0, 0) == 1;
    GENERAL_NAMES_free(names);
    return good;
}

static X509 *cert_make(EVP_PKEY *key, struct slice host, int64_t wall_ms)
{
    X509 *cert = X509_new();
    int64_t begin_s = wall_ms / 1000 - DAY_S;
    bool good = cert != NULL && X509_set_version(cert, X509_VERSION_3) &&
                ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), random_u64() >> 1) &&
                ASN1_TIME_set(X509_getm_notBefore(cert), begin_s) != NULL &&
                ASN1_TIME_set(X509_getm_notAfter(cert),
                              begin_s + (int64_t)SELF_SIGNED_DAYS * DAY_S) != NULL &&
                names_add(cert, host) && X509_set_pubkey(cert, key) &&
                X509_sign(cert, key, EVP_sha256()) > 0;
    if (!good) {
        X509_free(cert);
        cert = NULL;
    }
    return cert;
}

static struct slice bio_slice(BIO *bio)
{
    const uint8_t *bytes = NULL;
    size_t len = 0;
    return BIO_mem_contents(bio, &bytes, &len) == 1 ? slice_of(bytes, len) : SLICE_EMPTY;
}

static mx_err pair_print(struct writer *cert_pem, struct writer *key_pem, BIO *cert_bio,
                         BIO *key_bio)
{
    struct slice cert = bio_slice(cert_bio), key = bio_slice(key_bio);
    if (cert.len > writer_room(cert_pem) || key.len > writer_room(key_pem)) {
        return MX_ERR_LIMIT;
    }
    put_slice(cert_pem, cert);
    put_slice(key_pem, key);
    return MX_OK;
}

mx_err tls_self_signed(struct writer *cert_pem, struct writer *key_pem, struct slice host,
                       int64_t wall_ms)
{
    if (host.len == 0 || host.len > HOST_MAX || !text_is_ascii(host)) {
        return MX_ERR_INVALID;
    }
    EVP_PKEY *key = key_make();
    X509 *cert = key == NULL ? NULL : cert_make(key, host, wall_ms);
    BIO *cert_bio = BIO_new(BIO_s_mem());
    BIO *key_bio = BIO_new(BIO_s_mem());
    mx_err err = MX_ERR_TLS;
    if (cert != NULL && cert_bio != NULL && key_bio != NULL && PEM_write_bio_X509(cert_bio, cert) &&
        PEM_write_bio_PKCS8PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL)) {
        err = pair_print(cert_pem, key_pem, cert_bio, key_bio);
    }
    BIO_free(cert_bio);
    BIO_free(key_bio);
    X509_free(cert);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return err;
}

static int64_t time_ms(const ASN1_TIME *time)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int good = epoch != NULL && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return good ? ((int64_t)days * DAY_S + seconds) * 1000 : 0;
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

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (!ascii_is_graph(text.ptr[i]) && text.ptr[i] != ' ') {
            return false;
        }
    }
    return text.len > 0;
}

static void put_general_name(struct writer *w, const GENERAL_NAME *name)
{
    char buf[NETADDR_TEXT_MAX];
    struct slice text = SLICE_EMPTY;
    if (name->type == GEN_DNS) {
        text = slice_of(ASN1_STRING_get0_data(name->d.dNSName),
                        (size_t)ASN1_STRING_length(name->d.dNSName));
    } else if (name->type == GEN_IPADD) {
        struct netaddr addr = {0};
        size_t len = (size_t)ASN1_STRING_length(name->d.iPAddress);
        if (len == 4 || len == 16) {
            struct writer ip = writer_init(buf, sizeof buf);
            addr.family = len == 4 ? 4 : 6;
            memcpy(addr.bytes, ASN1_STRING_get0_data(name->d.iPAddress), len);
            put_netaddr(&ip, &addr);
            text = writer_slice(&ip);
        }
    }
    if (is_printable(text) && text.len < writer_room(w)) {
        put_slice(w, text);
        put_char(w, '\n');
    }
}

static void put_issuer(struct writer *w, const X509 *cert)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio != NULL &&
        X509_NAME_print_ex(bio, X509_get_issuer_name(cert), 0, XN_FLAG_RFC2253) > 0) {
        struct slice text = slice_first(bio_slice(bio), writer_room(w));
        put_slice(w, is_printable(text) ? text : SLICE_EMPTY);
    }
    BIO_free(bio);
}

mx_err tls_certificate_names(struct writer *names, struct writer *issuer, struct slice cert_pem)
{
    BIO *bio = reader_of(cert_pem);
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);
    GENERAL_NAMES *all =
        cert == NULL ? NULL : X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (size_t i = 0; all != NULL && i < sk_GENERAL_NAME_num(all); i++) {
        put_general_name(names, sk_GENERAL_NAME_value(all, i));
    }
    if (cert != NULL) {
        put_issuer(issuer, cert);
    }
    mx_err err = cert == NULL ? MX_ERR_INVALID : MX_OK;
    GENERAL_NAMES_free(all);
    X509_free(cert);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

void digest_sha256(uint8_t out[DIGEST_SHA256_BYTES], struct slice bytes)
{
    SHA256(bytes.ptr, bytes.len, out);
}

void digest_hmac(uint8_t out[DIGEST_SHA256_BYTES], struct slice key, struct slice bytes)
{
    unsigned len = 0;
    MX_ASSERT(HMAC(EVP_sha256(), key.ptr, key.len, bytes.ptr, bytes.len, out, &len) != NULL);
    MX_ASSERT(len == DIGEST_SHA256_BYTES);
}

bool digest_equal(struct slice a, struct slice b)
{
    return a.len == b.len && CRYPTO_memcmp(a.ptr, b.ptr, a.len) == 0;
}

size_t digest_named(uint8_t out[DIGEST_BYTES_MAX], struct slice name, struct slice bytes)
{
    static const struct {
        const char *name;
        const EVP_MD *(*digest)(void);
    } digests[] = {
        {"md5", EVP_md5}, {"sha1", EVP_sha1}, {"sha256", EVP_sha256}, {"sha512", EVP_sha512}};
    unsigned len = 0;
    for (size_t i = 0; i < mx_countof(digests); i++) {
        if (slice_equal(name, slice_of_text(digests[i].name))) {
            MX_ASSERT(EVP_Digest(bytes.ptr, bytes.len, out, &len, digests[i].digest(), NULL) == 1);
        }
    }
    return len;
}
