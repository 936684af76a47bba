/* What the parts of the production implementation of io/tls.h share. */
#pragma once

#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

enum { TLS_HOST_MAX = 255 };

struct kept_session;
struct tls_names;

struct tls_ctx {
    SSL_CTX *ssl_ctx;
    struct tls_names *names;       /* of its certificates; NULL: there is one */
    struct kept_session *sessions; /* SESSIONS_MAX of them, chosen by hash; NULL for servers */
    bool server;
    bool verify;
    bool no_resumption, reuse_sessions;
    bool shares_tickets;
    struct tls_tickets tickets;
    uint8_t certificate[32]; /* its SHA-256 */
};

/* A context without certificate or trust. */
MX_MUST_CHECK mx_err tls_ctx_make(struct tls_ctx **out, bool server);
/* The first certificate with its chain and key; of tls_pairs_load all of them, the others for who
 * asks for their names. NULL or what is wrong. */
const char *tls_pair_load(SSL_CTX *ssl_ctx, struct slice cert_pem, struct slice key_pem);
const char *tls_pairs_load(struct tls_ctx *ctx, struct slice cert_pem, struct slice key_pem);
/* Of a context with several certificates; NULL is fine. */
void tls_names_hold(struct tls_names *names);
void tls_names_release(struct tls_names *names);
/* Since 1970; 0: no time. */
int64_t tls_time_ms(const ASN1_TIME *time);
/* Of memory that has to outlive it; NULL when there is none for it, or the text is too long. */
BIO *tls_pem_reader(struct slice pem);
/* Offers a kept session to the server. */
void tls_session_offer(SSL *ssl, struct tls_ctx *ctx, struct slice host);
/* From what the conf says, if anything; the certificate has been loaded. */
void tls_tickets_share(struct tls_ctx *ctx, const struct tls_server_conf *conf);
/* Goes on to the keys of now; a clock that goes back changes nothing. */
void tls_tickets_renew(struct tls_ctx *ctx);
void tls_tickets_forget(struct tls_ctx *ctx);
