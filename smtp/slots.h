/* Connections to a next hop, counted for the whole process without a lock: every connection needs a
 * slot, and the slots of a next hop belong to the core that its name hashes to, which lends them
 * (smtp/lending.h). A core with mail asks, uses, and gives back what it does not need; what is
 * asked back it gives when the connection is idle, or after its transaction when SLOT_TERM_MS are
 * over.
 *
 * Two messages: a report (what is wanted, given back, and how it went) to the lender, and a loan
 * (granted, asked back, or that there is no more) from it. What cannot be sent now is kept as
 * numbers and sent later, so nothing is lost. There is no other end of a loan by time: cores are
 * threads of one process, so a borrower never goes away alone. */
#pragma once

#include "core/err.h"
#include "core/list.h"
#include "core/slice.h"
#include "core/wheel.h"

struct deliver;
struct hop;
struct slots;

enum {
    SLOT_TERM_MS = 1000,      /* of a connection that is busy while another core waits */
    SLOT_ASK_AGAIN_MS = 5000, /* when nothing came */
    SLOT_QUIET_MS = 200,
    SLOT_RETRY_MS = 20,         /* after a message that could not be sent */
    SLOT_NAMES_MAX = 65536,     /* next hops that a core has, and lends, slots of */
    SLOT_LOANS_KEPT_MS = 60000, /* what is known of a next hop that nobody has mail for */
    SLOT_ACCOUNTS_KEPT_MS = 10000,
};

/* What a core has of one next hop; that of hops with the same name is one. */
struct slot_account {
    struct slot_account *next;
    uint64_t key;
    struct list hops; /* by hop->slot_node */
    struct list_node untold_node;
    uint32_t lent, used;
    uint32_t recalled, leaving; /* to be given back; connections that are ending for it */
    bool asked;                 /* the lender knows that more is wanted, and: */
    bool full;                  /* there was none when it was asked */
    uint64_t asked_ns;
    uint64_t quiet_ns; /* after a failure no more connections before, while there are some */
    uint64_t left_ns;  /* when the last hop went */
    /* to be told */
    bool asks;
    uint32_t wants, returned, failures, successes;
};

MX_MUST_CHECK mx_err slots_open(struct slots **out_slots, struct deliver *d);
void slots_close(struct slots *slots); /* NULL is fine */
/* An account for a hop; MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err slots_join(struct slots *slots, struct hop *hop);
void slots_leave(struct slots *slots, struct hop *hop);
/* A slot for one connection. False: none now; it is asked for. */
bool slot_take(struct hop *hop);
/* The connection has ended. Then, when it is clear whether its slot is needed: slots_settle. */
void slot_give(struct hop *hop);
/* Gives back what is not needed. */
void slots_settle(struct hop *hop);
/* A transaction, or a connection, went well or badly. */
void slot_worked(struct hop *hop);
void slot_failed(struct hop *hop);
/* True when the next hop bears no more connections, and all slots that there are here are taken:
 * one can only take the place of another. */
bool slot_is_wanting(const struct hop *hop);
/* True when a connection is to end for somebody else; it has been opened at opened_ns. */
bool slot_is_due(const struct hop *hop, uint64_t opened_ns, bool idle);
/* The configured limit is another one. */
void slots_limit(struct slots *slots);
