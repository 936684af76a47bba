/* What the parts of smtp/slots.c need of each other: the core that lends slots of a next hop
 * (smtp/slots_lend.c), and the cores that borrow them (smtp/slots.c). */
#pragma once

#include "io/mbox.h"
#include "smtp/deliver.h"
#include "smtp/lending.h"
#include "smtp/slots.h"

enum { SLOT_BUCKETS = 4096 }; /* power of two */

/* What the lender has of one next hop. */
struct loans {
    struct loans *next;
    uint64_t key;
    uint64_t used_ns;
    struct list_node untold_node;
    struct lending lending;
    struct loan_untold {
        uint16_t granted, recalled;
        bool full; /* it wants more, and there is no more */
    } * untold;    /* by core */
};

struct slots {
    struct deliver *d;
    struct slot_account *accounts[SLOT_BUCKETS];
    struct loans *loans[SLOT_BUCKETS];
    struct list untold_accounts, untold_loans;
    struct list kept; /* struct loan_msg that found no memory for their account */
    struct timer again, sweep, quiet;
    unsigned self, cores;
    size_t account_count, loans_count;
};

struct report_msg {
    struct mbox_msg msg;
    unsigned from;
    uint64_t key;
    struct lending_report report;
};

struct loan_msg {
    struct mbox_msg msg;
    struct list_node node;
    uint64_t key;
    struct loan_untold loan;
};

static inline unsigned slots_bucket(uint64_t key)
{
    return (unsigned)(key >> 32) & (SLOT_BUCKETS - 1);
}

/* --- smtp/slots_lend.c */
/* What a core tells about a next hop whose slots are lent here. */
void slots_report(struct slots *slots, uint64_t key, unsigned from,
                  const struct lending_report *told);
void slots_report_receive(struct mbox_msg *msg, struct shard *at);
/* Tells the cores what they do not know; what cannot be told now is told later. */
void slots_tell(struct slots *slots, struct loans *loans);
/* Frees what nobody has or wants. True: something is left. */
bool slots_sweep_loans(struct slots *slots, uint64_t now_ns);

/* --- smtp/slots.c */
/* The slots of a core, when it delivers. */
struct slots *slots_at(struct shard *at);
/* What a lender tells. False: no memory. Without a grant there is nothing left that could be given
 * back. */
bool slots_loan(struct slots *slots, uint64_t key, struct loan_untold loan);
void slots_loan_receive(struct mbox_msg *msg, struct shard *at);
void slots_sweep_later(struct slots *slots);
void slots_retry_later(struct slots *slots);
