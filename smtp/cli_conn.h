/* A connection to a next hop as its client: its life from the dial to the end, TLS as its strategy
 * says (smtp/strategy.h), and the pump of the engine (smtp/cli_engine.h). What goes over it is the
 * business of its owner, who embeds it: mail (smtp/relay.c), or questions about recipients
 * (smtp/verify_conn.c).
 *
 *   init -> the owner chooses its strategy -> dial -> ops->ready, where the owner begins something,
 * lets it rest or quits -> ... -> ops->closed, once */
#pragma once

#include "io/stream.h"
#include "smtp/strategy.h"

enum {
    CLI_CONNECT_NEXT_MS = 10000, /* while there is another address */
    CLI_QUIT_MS = 2000,          /* for the other side to answer QUIT */
    CLI_OUT_BYTES = 16 * 1024,   /* encoded per step */
    CLI_UNREAD_MAX = 512,        /* of a reply that came too early */
};

struct cli_conn;
/* The owner's part. All but `closed` are called from cli_conn_drive only. */
struct cli_conn_ops {
    /* No transaction is under way. True: something was begun, or the end. */
    bool (*ready)(struct cli_conn *conn);
    /* Encodes content (cli_body). False: something else has to happen before cli_conn_drive.
     * NULL: nothing is ever sent. */
    bool (*body)(struct cli_conn *conn, struct writer *out);
    /* cli_outcome is that of one recipient. */
    void (*outcome)(struct cli_conn *conn);
    /* All recipients of the transaction have had theirs. */
    void (*done)(struct cli_conn *conn);
    /* It is over, and in no list any more; MX_OK: closed by either side. */
    void (*closed)(struct cli_conn *conn, mx_err why);
};

struct cli_conn {
    struct stream stream;
    const struct cli_conn_ops *ops;
    struct hop *hop;
    struct list_node all_node; /* in the owner's list of all */
    struct list_node node;     /* in the owner's list of those at rest */
    struct cli *cli;
    struct cli_conf cli_conf;
    struct strategy_kept strategy;
    struct timer timer;
    /* For making it, and for each transaction, altogether; 0: every step as the strategy says. */
    uint64_t limit_ms;
    uint64_t progress; /* cli_progress when the timer was set; 0: not yet */
    unsigned address;  /* index in hop->addresses */
    struct netaddr peer;
    bool up;         /* connected, and through an implicit handshake */
    bool ever_ready; /* has reached CLI_READY; the owner's to set */
    bool handshaking;
    bool without_tls;                  /* a handshake failed, this one takes its place */
    bool busy;                         /* in a transaction */
    bool rest_timed;                   /* the timer says how long it is kept */
    bool ending;                       /* QUIT is on its way, or the other side spoke unasked */
    bool aborting;                     /* cut: nothing more is decided */
    bool gone;                         /* closed */
    char remote[NETADDR_TEXT_MAX + 8]; /* address and port, for the log */
    uint8_t host[DOMAIN_MAX];          /* its name, or a literal address */
    uint8_t host_len;
    uint16_t unread_len; /* what came while content was leaving, cut */
    uint8_t unread[CLI_UNREAD_MAX];
};

/* For one of the hop's addresses; conn is zeroed. False: no memory. Then either dial, or fini. */
bool cli_conn_init(struct cli_conn *conn, const struct cli_conn_ops *ops, struct hop *hop,
                   unsigned address);
/* Before it was dialled, or after ops->closed. */
void cli_conn_fini(struct cli_conn *conn);
/* By its strategy, into the owner's list of all. without_tls: a handshake with this host failed. */
void cli_conn_dial(struct cli_conn *conn, struct list *conns, bool without_tls);
/* Runs the engine until it has to wait. in may be NULL. */
void cli_conn_drive(struct cli_conn *conn, struct slice *in);
/* Only in ops->ready. msg and states as for cli_begin. */
void cli_conn_begin(struct cli_conn *conn, const struct cli_message *msg, uint8_t *states);
/* The same: it is kept for a while; the owner has put conn->node into its list. */
void cli_conn_rest(struct cli_conn *conn);
/* The time that connections are kept has changed: it begins anew, of one that rests. */
void cli_conn_rest_again(struct cli_conn *conn);
/* In ops->ready, or of one that rests and was taken out of the list, then cli_conn_drive. */
void cli_conn_quit(struct cli_conn *conn);
/* In ops->closed of one that was busy: the rest of its outcomes is told by cli_next. */
void cli_conn_lost(struct cli_conn *conn, mx_err why);
/* Cuts it; ops->closed follows later. */
void cli_conn_abort(struct cli_conn *conn);

/* Its name, or a literal address. */
struct slice cli_conn_host(const struct cli_conn *conn);
/* For programs; of its own address only what is configured. */
struct routing_host cli_conn_routing(const struct cli_conn *conn);
/* It has ended between STARTTLS and the first transaction, and another one may do without TLS in
 * its place. */
bool cli_conn_may_go_clear(const struct cli_conn *conn);
/* Why there was no session. Text in w's memory, which has room for CLI_TEXT_MAX, or the engine's.
 */
struct outcome cli_conn_problem(const struct cli_conn *conn, struct writer *w, mx_err why);
