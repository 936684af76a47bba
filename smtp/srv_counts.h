/* What the server session counts: sessions by state, and every reply by the command that it
 * answers. One per core; the engine adds to it where its configuration names one. */
#pragma once

#include "core/count.h"
#include "smtp/reply.h"

/* What a reply answers: nothing yet (the banner), a command that is not known, or verb.def in its
 * order. The reply at the end of content counts for DATA or BDAT. */
enum {
    SRV_VERB_CONNECT,
    SRV_VERB_UNKNOWN,
    SRV_VERB_FIRST,
    SRV_VERBS = SRV_VERB_FIRST
#define VERB(text, states, argument, drops, waits, check, act) +1
#include "smtp/verb.def"
#undef VERB
    ,
    SRV_STATES = 12,
};

struct srv_counts {
    uint64_t states[SRV_STATES]; /* sessions now, by enum srv_state */
    uint64_t replies[SRV_VERBS][REPLY_COUNT];
};

/* Label values, static. */
const char *srv_verb_name(unsigned verb);
const char *srv_state_name(unsigned state);
