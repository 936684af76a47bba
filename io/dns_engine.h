/* One lookup, without sockets and clocks: which server is asked next and how, and what becomes of
 * what it says. Against forged answers: a random id, the case of the letters of the name chosen at
 * random (draft-vixie-dnsext-dns0x20), and, by the pump, a socket of its own for every query. A
 * server that does not give the case back is asked by TCP. */
#pragma once

#include "io/dns_codec.h"
#include "io/resolv_parse.h"

enum {
    DNS_ALIASES_MAX = 8, /* questions after each other, each for the alias that the last led to */
};

enum dns_step {
    DNS_STEP_ASK,    /* send query to server, by TCP if tcp is set, within conf->timeout_ms */
    DNS_STEP_WAIT,   /* not what was asked for: go on listening */
    DNS_STEP_DONE,   /* answer holds it */
    DNS_STEP_FAILED, /* nobody could say; problem tells */
};

struct dns_engine {
    const struct resolv_conf *conf;
    struct dns_question question;
    unsigned first; /* server to begin with */
    unsigned tries; /* made, over all servers */
    unsigned aliases;
    bool aliases_authentic; /* all answers that led here */
    uint32_t aliases_ttl_s; /* unlimited in the first question */
    bool tcp;
    bool no_edns;
    uint8_t query[DNS_QUERY_BYTES];
    size_t query_len;
    const char *problem; /* static text, of the last try */
};

/* conf stays until the lookup ends; first: index of the server that is asked first. */
void dns_engine_init(struct dns_engine *e, const struct resolv_conf *conf,
                     const struct dns_name *name, enum dns_type type, unsigned first);
/* The first step; entropy is unpredictable. */
enum dns_step dns_engine_begin(struct dns_engine *e, const uint64_t entropy[5]);
/* What the asked server sent. answer has room for DNS_ANSWER_BYTES behind its head and is valid
 * when the step is DNS_STEP_DONE. */
enum dns_step dns_engine_response(struct dns_engine *e, struct slice message,
                                  struct dns_answer *answer, const uint64_t entropy[5]);
/* The asked server did not answer: refused, unreachable, closed, or the time is over. problem is
 * static text. */
enum dns_step dns_engine_silent(struct dns_engine *e, const char *problem,
                                const uint64_t entropy[5]);
/* Index of the server that is asked now. */
unsigned dns_engine_server(const struct dns_engine *e);
