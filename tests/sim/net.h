/* The simulated network: listening sockets and connections as two byte pipes, and the peers on its
 * other side: simulated clients and next hops. */
#pragma once

#include "io/ring.h"

struct peer;

/* What is known of a connection after it has gone. Lives as long as the run. */
struct sock_past {
    uint64_t taken; /* bytes that the program has received */
};

enum { SOCK_BYTES_MAX = 64 * 1024, NET_HOP_FINAL = 4 /* 10.0.0.4 takes DSNs */ };

/* One end of a connection. */
struct sock {
    struct sock *other; /* NULL: closed */
    uint8_t *buf;       /* what has arrived and was not read */
    size_t from, len, cap;
    bool eof;   /* the other end has sent its last byte */
    bool reset; /* and nothing can be read or written any more */
    bool shut;  /* this end has sent its last byte */
    struct netaddr here, there;
    struct peer *peer; /* NULL: an end of the program */
    struct sock_past *past;
};

void net_reset(void);      /* a new run */
void net_after_kill(void); /* the program's sockets are gone */

/* For peers. NULL: refused. */
struct sock *net_connect(struct peer *peer, const struct netaddr *to);
struct sock *net_connect_from(struct peer *peer, const struct netaddr *from,
                              const struct netaddr *to);
size_t sock_read(struct sock *sock, void *buf, size_t len);
size_t sock_write(struct sock *sock, const void *bytes, size_t len); /* what there is room for */
void sock_shut(struct sock *sock);
void sock_close(struct sock *sock, bool abort);
/* A next hop listens here; the program's connections are given to `accept`. */
void net_listen(const struct netaddr *at, void (*accept)(void *arg, struct sock *sock), void *arg);
/* The name server (dns.c) answers. */
void dns_start(void);
/* The program's open descriptors of sockets; for leaks. */
unsigned net_open(void);
/* Those of them that listen. */
unsigned net_listening(void);
