/* What would become of a recipient, and why: the resolver and every program as they decide over
 * mail, with every value that the programs looked at. Asked of a core by message, which also asks
 * the DNS, or of any configuration without one. */
#pragma once

#include "io/mbox.h"
#include "smtp/deliver.h"
#include "smtp/explain_rates.h"
#include "smtp/reply.h"
#include "smtp/strategy.h"

enum {
    EXPLAIN_STEPS_MAX = 512, /* of all programs; what is more is left out */
    EXPLAIN_TEXT_BYTES = 32768,
    EXPLAIN_VALUE_MAX = 512, /* of one value */
    EXPLAIN_DECISIONS_MAX = 32,
    EXPLAIN_ADDRESSES_MAX = HOP_ADDRESSES_MAX,
    EXPLAIN_DNS_NAMES_MAX = 64,
    EXPLAIN_WAIT_MS = 3000, /* for the DNS; then it is explained without */
};

/* Texts stay until the answer. */
struct explain_query {
    struct slice rcpt;
    struct slice sender;   /* empty: the null sender */
    struct slice listener; /* name; empty: none is asked about */
    struct slice helo;     /* name at EHLO; empty: none is asked about */
    struct netaddr client; /* family 0: none is asked about */
    uint64_t size;         /* as declared at MAIL; 0: none */
};

enum explain_outcome { EXPLAIN_DELIVERED, EXPLAIN_RELAYED, EXPLAIN_REFUSED, EXPLAIN_TEMPORARY };

struct explain_step {
    const struct expr_program *program;
    uint32_t part, start, end; /* as in struct expr_step */
    bool decides, result;
    struct slice value; /* as text */
    bool truthy;
};

/* One program that was asked. */
struct explain_decision {
    const char *stage; /* where: "connect", "EHLO", "MAIL", "RCPT", "queue", "host" */
    const char *object, *setting;
    const struct expr_program *program;
    bool cut;            /* some of its steps are left out */
    const char *problem; /* static text: it could not be evaluated; NULL: it was */
};

/* The next hop as the core sees it. */
struct explain_address {
    struct netaddr addr;
    char host[256]; /* its name, or empty */
    int preference; /* as in hop_address; the order that chance decides is one of those that mail */
    bool by_chance; /* may get */
    /* What holds for the recipient there. */
    struct strategy_pick strategy; /* NULLs: it could not be told */
    uint64_t throttles;            /* bits of MtaOutboundThrottle */
};
struct explain_hop {
    bool known; /* there is one */
    bool down;
    uint32_t failures;
    unsigned connections, connections_max;
    unsigned slots_lent, slots_used; /* of those, at this core */
    size_t waiting;                  /* messages */
    unsigned address_count;          /* in the order in which they are tried */
    struct explain_address addresses[EXPLAIN_ADDRESSES_MAX];
    char problem[256];         /* why it is down */
    const char *names_problem; /* static text: why there are no addresses; NULL: there are, or
                                  nobody was asked */
    unsigned queue_workers, queue_used; /* of the virtual queue, at this core */
};

/* What its relay says of the recipient. */
struct explain_verify {
    bool asks;                /* it is asked before the recipient is accepted */
    enum verify_answer known; /* what the core knows by now; VERIFY_LATER: nothing */
    uint64_t left_ms;         /* for how long */
};

struct explanation {
    mx_err err; /* MX_ERR_AGAIN: the core does not serve now; nothing else is set */
    bool waits; /* something is asked: to be explained again */
    const struct image *image;
    const struct listener_conf *listener; /* NULL: no such, or not asked */
    bool blocked;                         /* the client: closed without a word */
    const char *stage; /* "connect", "EHLO", "MAIL", "RCPT": where reply is given; NULL: accepted */
    enum reply reply;
    enum explain_outcome outcome;
    const char *reason;        /* static text for people; NULL: none needed */
    struct slice sender, rcpt; /* as rewritten; in text_of, or the query's */
    uint8_t text_of[2][ADDRESS_MAX];
    struct routing routing;
    /* The host of which the programs of context QHOST were asked: the first that is tried. Families
     * 0: not known. */
    bool has_host; /* another system gets it */
    struct slice host_mx;
    struct netaddr host_remote, host_local;
    struct strategy_pick strategy; /* at that host; NULLs: of no host, or it could not be told */
    struct explain_verify verify;
    struct explain_rates rates;   /* outbound ones: where another system gets it */
    struct session_limits limits; /* of a session of this client at this listener */
    uint32_t client_connections_max, network_connections_max; /* 0: none, or not of this client */
    struct schedule schedule;
    bool paused; /* delivery rests */
    struct explain_hop hop;
    uint32_t decision_count;
    struct explain_decision decisions[EXPLAIN_DECISIONS_MAX];
    uint32_t step_count;
    bool steps_cut;
    struct explain_step steps[EXPLAIN_STEPS_MAX];
    size_t text_len;
    uint8_t text[EXPLAIN_TEXT_BYTES];
};

/* By a configuration. Borrows from image and directory, so it is to be read before they change. out
 * ->hop stays as it is: what is known of the addresses of the next hop. The context's asker says
 * what programs that ask get. */
void explain(struct explanation *out, const struct explain_query *query,
             const struct routing_context *context);

/* A configuration that is only tried: no core has it in force. Not used by anybody else meanwhile.
 */
struct explain_config {
    const struct image *image;
    const struct directory *directory;
};

/* One question to one core. Belongs to the core from mbox_send of msg until the reply arrives. */
struct explain_lookup;
struct explain_request {
    struct mbox_msg msg; /* receive = explain_request_receive */
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the asker's */
    struct explain_query query;
    /* Instead of the core's own; then nothing is told of the state of the next hop, of pauses and
     * of what relays have said. NULL: the core's. */
    const struct explain_config *config;
    struct explanation out;
    /* The core's. */
    struct shard *at;
    struct timer timer;
    struct dns_answers *answers;
    struct explain_lookup *lookup;
};
/* What out borrows stays until a new configuration is published: by the one thread that does it. */
void explain_request_receive(struct mbox_msg *msg, struct shard *at);
