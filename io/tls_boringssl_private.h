/* What the parts of the production implementation of io/tls.h share. */
#pragma once

#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/ssl.h>

enum { TLS_HOST_MAX = 255 };

struct kept_session;

struct tls_ctx {
    SSL_CTX *ssl_ctx;
    struct kept_session *sessions; /* SESSIONS_MAX of them, chosen by hash; NULL for servers */
    bool server;
    bool verify;
    bool no_resumption, reuse_sessions;
};

/* A context without certificate or trust. */
MX_MUST_CHECK mx_err tls_ctx_make(struct tls_ctx **out, bool server);
/* NULL or what is wrong. */
const char *tls_chain_load(SSL_CTX *ssl_ctx, struct slice pem);
const char *tls_key_load(SSL_CTX *ssl_ctx, struct slice pem);
/* Of memory that has to outlive it; NULL when there is none for it, or the text is too long. */
BIO *tls_pem_reader(struct slice pem);
/* Offers a kept session to the server. */
void tls_session_offer(SSL *ssl, struct tls_ctx *ctx, struct slice host);
