/* Offences of clients on their way from a core to whoever counts them (admin/ban). A core notes
 * them here; the first is told at once, what follows is collected for OFFENCE_PAUSE_MS, so that a
 * flood costs few messages. A full batch goes earlier; at most one is on its way, and what does not
 * fit meanwhile is lost, which only postpones the ban of one of very many. */
#pragma once

#include "core/netaddr.h"
#include "core/wheel.h"
#include "io/mbox.h"

enum offence {
    OFFENCE_AUTH,   /* a sign-in failed */
    OFFENCE_ABUSE,  /* a recipient was refused: no such user, or relaying */
    OFFENCE_LOITER, /* a session without mail lasted too long, or one was too slow */
    OFFENCE_SCAN,   /* a command that nobody knows, or what is no HTTP */
    OFFENCE_COUNT,
};

enum { OFFENCE_NOTES_MAX = 64, OFFENCE_PAUSE_MS = 100 };

struct offence_note {
    struct netaddr client;
    enum offence kind;
    uint32_t count;
};

struct offence_batch {
    struct offence_note notes[OFFENCE_NOTES_MAX];
    uint32_t count;
};

struct offence_conf {
    struct mbox_hub *hub;
    unsigned from, to; /* threads */
    /* In the thread `to`: reads the sent batch, then calls offences_return. NULL: nobody counts. */
    void (*receive)(struct mbox_msg *msg, struct shard *at);
    void *owner; /* the receiver's */
};

struct offences {
    struct offence_conf conf;
    struct mbox_msg msg;
    struct mbox_msg back;
    struct offence_batch batches[2];
    unsigned filling; /* the other one is sent, or empty */
    bool sent;
    struct shard *shard;
    struct timer pause; /* armed: the next batch waits, unless it is full */
};

/* shard NULL: batches follow one another without a pause. */
void offences_init(struct offences *offences, const struct offence_conf *conf, struct shard *shard);
void offences_close(struct offences *offences);
void offences_note(struct offences *offences, enum offence kind, const struct netaddr *client,
                   uint32_t count);
/* In the receiving thread. */
const struct offence_batch *offences_sent(const struct offences *offences);
void offences_return(struct offences *offences);
