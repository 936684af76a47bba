#include "bench/null.h"

enum { PLAIN_BYTES = 16384 };

void null_peer_begin(struct null_peer *peer)
{
    struct writer out = writer_init(peer->out, sizeof peer->out);
    peer->tls = NULL;
    peer->handshake = false;
    peer->quit = false;
    null_begin(&peer->session, &out);
    peer->out_len = out.len;
}

static bool collect(struct null_peer *peer)
{
    peer->out_len +=
        tls_drain(peer->tls, peer->out + peer->out_len, sizeof peer->out - peer->out_len);
    return tls_waiting(peer->tls) == 0;
}

/* Plaintext in, replies into out; false: drop. */
static bool feed(struct null_peer *peer, const struct null_server *server, struct slice in,
                 struct writer *out)
{
    switch (null_feed(&peer->session, &server->conf, &in, out)) {
    case NULL_MORE:
        return true;
    case NULL_QUIT:
        peer->quit = true;
        return true;
    case NULL_START_TLS:
        peer->handshake = true;
        return server->tls != NULL && peer->tls == NULL &&
               tls_new(&peer->tls, server->tls, SLICE_EMPTY) == MX_OK;
    default:
        return false;
    }
}

static bool feed_plain(struct null_peer *peer, const struct null_server *server, struct slice in)
{
    struct writer out = {.buf = peer->out, .len = peer->out_len, .cap = sizeof peer->out};
    bool good = feed(peer, server, in, &out);
    peer->out_len = out.len;
    return good;
}

/* Decrypts all that is there. */
static bool feed_records(struct null_peer *peer, const struct null_server *server)
{
    uint8_t plain[PLAIN_BYTES], replies[NULL_OUT_BYTES];
    struct writer out = writer_init(replies, sizeof replies);
    mx_err err = MX_OK;
    while (!err && !peer->quit) {
        size_t len = 0;
        err = tls_read(peer->tls, &len, plain, sizeof plain);
        if (!err && !feed(peer, server, slice_of(plain, len), &out)) {
            return false;
        }
    }
    if (err && err != MX_ERR_AGAIN) {
        return false;
    }
    if (out.len > 0 && tls_write(peer->tls, writer_slice(&out)) != MX_OK) {
        return false;
    }
    if (peer->quit) {
        tls_shutdown(peer->tls);
    }
    return collect(peer);
}

bool null_peer_input(struct null_peer *peer, const struct null_server *server, struct slice in)
{
    if (peer->quit) {
        return true;
    }
    if (peer->tls == NULL) {
        return feed_plain(peer, server, in);
    }
    if (tls_feed(peer->tls, in) != MX_OK) {
        return false;
    }
    if (peer->handshake) {
        mx_err err = tls_handshake(peer->tls);
        if (err) {
            return err == MX_ERR_AGAIN && collect(peer);
        }
        peer->handshake = false;
        null_tls_started(&peer->session);
    }
    return feed_records(peer, server);
}
