/* `ringmx-bench null`: answers SMTP with constants and stores nothing, as cheaply as can be done on
 * a kernel. The measure for the cost of a real server (bench/null_engine). */
#pragma once

#include "bench/null_engine.h"
#include "io/tls.h"

enum {
    NULL_CONNS_MAX = 65536,
    NULL_OUT_BYTES = 8192, /* of one connection; a client with more replies waiting is dropped */
    NULL_RECV_BYTES = 16896,
};

struct null_server {
    struct null_conf conf;
    int listen_fd;
    struct tls_ctx *tls; /* NULL: none */
    const volatile int *stop;
    uint64_t connections, messages, dropped;
};

/* argv[0] is "null". */
int null_command(int argc, char **argv);

/* The loops; each runs until *stop and returns 0 or an errno value. */
int null_run_uring(struct null_server *server);
int null_run_epoll(struct null_server *server);

/* One connection's protocol, with or without TLS, apart from the sockets. */
struct null_peer {
    struct null_session session;
    struct tls *tls;
    bool handshake;
    bool quit;
    size_t out_len;
    uint8_t out[NULL_OUT_BYTES]; /* to be sent */
};

void null_peer_begin(struct null_peer *peer);
/* Takes what was received; false: drop the connection. */
bool null_peer_input(struct null_peer *peer, const struct null_server *server, struct slice in);
