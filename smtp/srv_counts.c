#include "smtp/srv_counts.h"

#include "core/check.h"
#include "smtp/srv_verbs.h"

_Static_assert(SRV_STATE_CLOSED + 1 == SRV_STATES, "sessions are counted by state");

static const char *const states[] = {
    [SRV_STATE_START] = "start",       [SRV_STATE_BANNERED] = "bannered",
    [SRV_STATE_GREETED] = "greeted",   [SRV_STATE_MAIL] = "mail",
    [SRV_STATE_RCPT] = "rcpt",         [SRV_STATE_DATA] = "data",
    [SRV_STATE_CHUNK] = "chunk",       [SRV_STATE_CHUNKED] = "chunked",
    [SRV_STATE_SKIP] = "skip",         [SRV_STATE_CHUNK_FAILED] = "chunk_failed",
    [SRV_STATE_TLS] = "tls_handshake", [SRV_STATE_CLOSED] = "closed",
};
_Static_assert(mx_countof(states) == SRV_STATES, "every state has a name");

static const char *const verbs[] = {
    [SRV_VERB_CONNECT] = "connect",
    [SRV_VERB_UNKNOWN] = "unknown",
#define VERB(text, states, argument, drops, waits, check, act) text,
#include "smtp/verb.def"
#undef VERB
};
_Static_assert(mx_countof(verbs) == SRV_VERBS, "every verb has a name");

const char *srv_verb_name(unsigned verb)
{
    MX_ASSERT(verb < SRV_VERBS);
    return verbs[verb];
}

const char *srv_state_name(unsigned state)
{
    MX_ASSERT(state < SRV_STATES);
    return states[state];
}
