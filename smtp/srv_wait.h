/* A command of a session whose answer waits for somebody else: what the engine's question borrowed
 * from the input is kept meanwhile, and when the answer is there the question is answered from the
 * beginning, by the configuration that is in force then. */
#pragma once

#include "core/slice.h"
#include "smtp/envelope.h"
#include "smtp/verify.h"

struct routing;
struct dns_answers;
struct srv_conn;

enum {
    SRV_WAITS_MAX = 65536, /* per core */
    SRV_AHEAD_MAX = 32,    /* pipelined recipients that are asked about ahead of their turn */
};

struct srv_wait {
    struct srv_conn *conn;
    struct verify_waiter verify;
    struct dns_answers *dns; /* what an expression has asked; NULL: nothing */
    uint8_t text[ADDRESS_MAX];
    uint8_t orcpt[ORCPT_MAX];
};

/* Asks what is not known about a recipient (its address is copied), for the open question of the
 * session, whose texts are kept then. VERIFY_LATER: done is called, conn->wait is set. */
enum verify_answer srv_wait_verify(struct srv_conn *conn, const struct routing *routing,
                                   struct slice address,
                                   void (*done)(struct verify_waiter *waiter));
/* Where an expression's questions to the DNS are kept; the open question's texts are kept as well.
 * NULL: no memory. */
struct dns_answers *srv_wait_dns(struct srv_conn *conn, void (*again)(void *conn));
/* The question is answered, or the session is over. Harmless without one. */
void srv_wait_end(struct srv_conn *conn);
/* Asks about the recipients that follow in the input, so that their answers come together. */
void srv_wait_look_ahead(struct srv_conn *conn, struct slice in);
