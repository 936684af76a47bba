/* What the parts of the mail client need of each other: smtp/relay.c (the connections of a next
 * hop), _txn (one message over one of them), _content (what it consists of). */
#pragma once

#include "smtp/cli_conn.h"
#include "smtp/relay.h"

struct relay_conn {
    struct cli_conn client; /* its node is in hop->idle, its all_node in hop->conns */
    unsigned transactions;
    bool leaving;  /* for another core */
    bool yields;   /* to a connection of another strategy: counted in hop->yielding */
    bool moves_on; /* what is reserved goes to the next address when it ends */
    bool zombie;   /* closed, but a read is still in flight */
    uint64_t opened_ns;
    char literal[NETADDR_TEXT_MAX + 8]; /* as a DSN names a host without name */
    struct delivery *reserved;          /* waits for this connection, not in the hop's queue */
    uint64_t chosen_of;                 /* generation of the image whose strategies it has */
    /* the transaction */
    struct delivery *delivery;
    uint64_t delivery_ns; /* when it began */
    bool refused_mail;    /* it goes to the next address */
    bool used_up;         /* no more on this connection: it goes to a fresh one */
    struct cli_message msg;
    uint32_t rcpts[DELIVER_RCPTS_MAX];
    uint32_t positions[DELIVER_RCPTS_MAX]; /* in delivery->rcpts */
    uint8_t rcpt_states[DELIVER_RCPTS_MAX];
    /* where the content is */
    unsigned part; /* 0 prefix, 1 extents, 2 last part */
    const struct extent *extent;
    const struct block *block;
    struct slice piece; /* what is left of the current piece */
    struct journal_read read;
    bool reading;
};

/* --- smtp/relay.c */
/* For this delivery, or for what waits. False: no slot or no memory now; every turn tries again
 * what still waits. */
bool relay_open(struct hop *hop, unsigned address, struct delivery *reserved, bool without_tls);
void relay_conn_free(struct relay_conn *conn);

/* --- smtp/relay_txn.c */
/* As reports name the host: by its name, or as an address literal, in the connection's memory. */
struct slice relay_host_name(struct relay_conn *conn);
void relay_txn_begin(struct relay_conn *conn, struct delivery *delivery);
/* cli_conn_ops.outcome and .done */
void relay_txn_outcome(struct cli_conn *client);
void relay_txn_end(struct cli_conn *client);
/* The connection has ended in the middle of it. */
void relay_txn_lost(struct relay_conn *conn, mx_err why);
/* To the next address: this one said 4xx to MAIL. The addresses may have changed meanwhile. Without
 * a slot it waits for that of this connection, which has nothing more to do. */
void relay_go_elsewhere(struct relay_conn *conn, struct delivery *delivery);
/* It waits for its next time. Back in the queue, the next idle connection would try it at once. */
void relay_put_off(struct delivery *delivery, const struct outcome *problem);
/* What would otherwise be seen only when all addresses have failed. */
void relay_log_passed_over(const struct relay_conn *conn, struct slice reason, const char *effect);

/* --- smtp/relay_content.c */
void relay_content_begin(struct relay_conn *conn);
/* cli_conn_ops.body */
bool relay_content_step(struct cli_conn *client, struct writer *out);
/* The transaction has ended. What is being read is given up when it is there. */
void relay_content_end(struct relay_conn *conn);
