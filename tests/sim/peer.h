/* What is on the other side of the network: clients that send, next hops that receive. */
#pragma once

#include "tests/sim/net.h"

/* A queue of bytes. */
struct bytes {
    uint8_t *at; /* the first of len */
    size_t len, cap;
    uint8_t *base;
};

void bytes_add(struct bytes *bytes, struct slice more);
void bytes_drop(struct bytes *bytes, size_t len);
void bytes_clear(struct bytes *bytes);

struct peer {
    struct peer *next;
    struct sock *sock; /* NULL: not connected */
    struct bytes in, out;
    bool poked;
    bool gone;       /* the connection has ended: in may still hold its last bytes */
    bool closing;    /* close when out is empty */
    uint64_t sent;   /* bytes written to the connection */
    uint64_t cut_at; /* > 0: cut the connection at this many bytes */
    uint64_t wake_ns;
    unsigned chunk; /* bytes per step, at most */
    void (*step)(struct peer *peer);
    void (*end)(struct peer *peer); /* gives up what it holds; may be NULL */
    bool finished;                  /* may be freed */
};

void peer_init(struct peer *peer, void (*step)(struct peer *peer));
void peer_poke(struct peer *peer);
/* Moves bytes in both directions; false when the connection has ended. */
bool peer_pump(struct peer *peer);
void peer_say(struct peer *peer, const char *format, ...) MX_PRINTF(2, 3);
/* The next whole line without its end; false when there is none. */
bool peer_line(struct peer *peer, struct slice *out_line, size_t *out_bytes);
void peer_close(struct peer *peer, bool abort);

void peers_reset(void);
unsigned peers_ready(uint64_t *next_ns);
void peers_step(unsigned n);

/* Clients (client.c): they send what the scenario gives them, each message once. */
struct client_plan {
    unsigned messages;
    size_t bytes_max;
    bool misbehave; /* cuts connections */
    bool second;    /* comes through a proxy now and then */
    uint8_t verify; /* enum dir_verify of the domains that relay: it tries who is accepted */
};
void client_start(const struct client_plan *plan);
bool clients_done(void);
void clients_reset(void);
void clients_stop(void); /* no new messages */

/* Next hops (hop.c). */
void hops_start(void);
