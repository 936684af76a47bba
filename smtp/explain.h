/* What would become of a recipient, and why: the resolver and the route program as they decide over
 * mail, with every value that the program looked at. Asked of a core by message, or of any
 * configuration without one. */
#pragma once

#include "io/mbox.h"
#include "smtp/deliver.h"
#include "smtp/reply.h"

enum {
    EXPLAIN_STEPS_MAX = 512, /* of the program; what is more is left out */
    EXPLAIN_TEXT_BYTES = 32768,
    EXPLAIN_VALUE_MAX = 512, /* of one value */
};

/* Texts stay until the answer. */
struct explain_query {
    struct slice rcpt;
    struct slice sender;   /* empty: the null sender */
    struct slice listener; /* name; empty: none is asked about */
    struct netaddr client; /* family 0: none is asked about */
    uint64_t size;         /* as declared at MAIL; 0: none */
};

enum explain_outcome { EXPLAIN_DELIVERED, EXPLAIN_RELAYED, EXPLAIN_REFUSED, EXPLAIN_TEMPORARY };

struct explain_step {
    uint32_t part, start, end; /* as in struct expr_step */
    bool decides, result;
    struct slice value; /* as text */
    bool truthy;
};

/* The next hop as the core sees it. */
struct explain_hop {
    bool known; /* there is one */
    bool down;
    uint32_t failures;
    unsigned connections, connections_max;
    size_t waiting; /* messages */
    char problem[256];
};

/* What its relay says of the recipient. */
struct explain_verify {
    bool asks;                /* it is asked before the recipient is accepted */
    enum verify_answer known; /* what the core knows by now; VERIFY_LATER: nothing */
    uint64_t left_ms;         /* for how long */
};

struct explanation {
    mx_err err; /* MX_ERR_AGAIN: the core does not serve now; nothing else is set */
    const struct image *image;
    const struct listener_conf *listener; /* NULL: no such, or not asked */
    bool blocked;                         /* the client: closed without a word */
    const char *stage; /* "connect", "MAIL", "RCPT": where reply is given; NULL: accepted */
    enum reply reply;
    enum explain_outcome outcome;
    const char *reason; /* static text for people; NULL: none needed */
    struct routing routing;
    struct explain_verify verify;
    struct session_limits limits; /* of a session of this client at this listener */
    struct schedule schedule;
    bool paused; /* delivery rests */
    struct explain_hop hop;
    uint32_t step_count;
    bool steps_cut;
    struct explain_step steps[EXPLAIN_STEPS_MAX];
    size_t text_len;
    uint8_t text[EXPLAIN_TEXT_BYTES];
};

/* By a configuration. Borrows from image and directory, so it is to be read before they change. */
void explain(struct explanation *out, const struct explain_query *query,
             const struct routing_context *context);

/* One question to one core. Belongs to the core from mbox_send of msg until the reply arrives. */
struct explain_request {
    struct mbox_msg msg; /* receive = explain_request_receive */
    unsigned reply_to;
    struct mbox_msg reply; /* receive is the asker's */
    struct explain_query query;
    struct explanation out;
};
/* What out borrows stays until a new configuration is published: by the one thread that does it. */
void explain_request_receive(struct mbox_msg *msg, struct shard *at);
