/* TLS 1.2 and 1.3 as an engine: ciphertext and plaintext go through memory, no socket is touched.
 * Part of the simulation seam: tls_boringssl*.c are the production implementation; in the simulator
 * TLS is a pass-through.
 *
 * A context and its connections belong to one thread. A connection that has nothing to decrypt or
 * to send holds no buffer. Sessions are resumed by ticket: servers keep no state, client contexts
 * keep a bounded number of sessions by host name. After MX_ERR_TLS only tls_drain (the alert),
 * tls_problem and tls_free are of use. The end of the transport without close_notify is the
 * caller's to judge; the engine just says MX_ERR_AGAIN. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

struct tls_ctx; /* settings, certificate, session cache; one per core and purpose */
struct tls;     /* one connection */

/* From what the keys of tickets are made, the same for all cores: a client resumes its session
 * whichever of them has its next connection. Every period has a key of its own, which a context
 * makes for its first connection in it; from what is kept then, earlier keys cannot be made. */
enum { TLS_TICKETS_BYTES = 32, TLS_TICKETS_PERIOD_MS = 12 * 3600 * 1000 };
struct tls_tickets {
    uint64_t period; /* of TLS_TICKETS_PERIOD_MS, since 1970 */
    uint8_t state[TLS_TICKETS_BYTES];
};

enum { TLS_PAIRS_MAX = 256 /* certificates of a server; more are not read */ };

struct tls_server_conf {
    /* Chains, each with its certificate first, and their keys; a certificate that belongs to one of
     * the keys begins a chain. The first pair is shown, but to clients that ask for a name (RFC
     * 6066 section 3) that another one is for, in full or by a wildcard. */
    struct slice cert_pem, key_pem;
    bool disable_tls12, disable_tls13;
    /* At most one of the two. NULL: the context has keys of its own. With another certificate, keys
     * are other ones too. */
    const struct tls_tickets *tickets; /* copied; unpredictable bytes for the period of now */
    const struct tls_ctx *before;      /* a context whose place it takes */
};

struct tls_client_conf {
    bool verify;          /* check the chain and the host name */
    struct slice ca_file; /* NUL-terminated path; empty = the system's store */
    bool disable_tls12, disable_tls13;
    /* For load generators: full handshakes only; or a session is offered again and again, although
     * that links connections (RFC 8446 appendix C.4). */
    bool no_resumption, reuse_sessions;
};

/* MX_ERR_TLS: certificate or key are of no use (tls_check_pair tells why); MX_ERR_INVALID: both
 * versions are disabled. */
MX_MUST_CHECK mx_err tls_server_ctx_new(struct tls_ctx **out_ctx,
                                        const struct tls_server_conf *conf);
/* MX_ERR_NOTFOUND: ca_file cannot be read; MX_ERR_INVALID: both versions are disabled. */
MX_MUST_CHECK mx_err tls_client_ctx_new(struct tls_ctx **out_ctx,
                                        const struct tls_client_conf *conf);
void tls_ctx_free(struct tls_ctx *ctx); /* NULL is fine; connections may outlive it */

/* A new connection; host (client only) is a DNS name, sent as SNI, or an IP literal; it is checked
 * when verifying. MX_ERR_INVALID: not a possible name, or empty while verifying. */
MX_MUST_CHECK mx_err tls_new(struct tls **out_tls, struct tls_ctx *ctx, struct slice host);
void tls_free(struct tls *tls); /* NULL is fine */

/* Hands received ciphertext over; all of it is taken (copied). */
MX_MUST_CHECK mx_err tls_feed(struct tls *tls, struct slice ciphertext);
/* Goes on with the handshake: MX_OK when complete, MX_ERR_AGAIN when the peer must speak first,
 * MX_ERR_TLS when it failed (tls_problem tells why). */
MX_MUST_CHECK mx_err tls_handshake(struct tls *tls);
/* Plaintext into buf: MX_OK with *out_len > 0; MX_ERR_AGAIN = needs more ciphertext; MX_ERR_CLOSED
 * = close_notify received; MX_ERR_TLS. */
MX_MUST_CHECK mx_err tls_read(struct tls *tls, size_t *out_len, void *buf, size_t cap);
/* Encrypts all of plain. MX_ERR_INVALID before the handshake is complete. */
MX_MUST_CHECK mx_err tls_write(struct tls *tls, struct slice plain);
/* Queues a close_notify. */
void tls_shutdown(struct tls *tls);
/* Moves at most cap bytes of waiting ciphertext into buf; returns how many. */
size_t tls_drain(struct tls *tls, void *buf, size_t cap);
size_t tls_waiting(const struct tls *tls); /* ciphertext bytes waiting for tls_drain */

const char *tls_version(const struct tls *tls); /* "TLSv1.3" */
const char *tls_cipher(const struct tls *tls);  /* "TLS_AES_128_GCM_SHA256" */
const char *tls_problem(const struct tls *tls); /* static or owned text: last failure, for logs */
bool tls_verified(const struct tls *tls);
/* Why the handshake failed, as a class. */
enum tls_failure {
    TLS_FAILURE_CLOSED,      /* the other side went away, or its time was over */
    TLS_FAILURE_ALERT,       /* the other side said that it does not want */
    TLS_FAILURE_NO_COMMON,   /* no protocol version or cipher in common */
    TLS_FAILURE_CERTIFICATE, /* the other side's certificate does not verify */
    TLS_FAILURE_PROTOCOL,    /* it does not speak TLS, or wrongly */
    TLS_FAILURES
};
enum tls_failure tls_failure(const struct tls *tls);
bool tls_resumed(const struct tls *tls); /* the handshake took up an earlier session */
const char *tls_library_version(void);

/* Makes a self-signed ECDSA P-256 certificate for host (name or IP literal, ASCII), valid from
 * wall_ms - 1 day for 10 years. MX_ERR_LIMIT when a writer has no room (4 KiB each are enough). */
MX_MUST_CHECK mx_err tls_self_signed(struct writer *cert_pem, struct writer *key_pem,
                                     struct slice host, int64_t wall_ms);
/* Checks that the first cert and key are readable and belong together; on success fills what is not
 * NULL: validity in ms. *out_problem (static text) says what is wrong. */
MX_MUST_CHECK mx_err tls_check_pair(struct slice cert_pem, struct slice key_pem,
                                    int64_t *out_not_before_ms, int64_t *out_not_after_ms,
                                    const char **out_problem);
/* Of the first certificate in cert_pem: the DNS names and IP addresses that it is for (RFC 5280
 * section 4.2.1.6), a line each, as far as the writer has room; and its issuer (RFC 4514), cut to
 * the room. Only printable ASCII comes out. MX_ERR_INVALID: not readable. */
MX_MUST_CHECK mx_err tls_certificate_names(struct writer *names, struct writer *issuer,
                                           struct slice cert_pem);
