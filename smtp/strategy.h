/* Which strategies (route/outbound.h) hold for recipients at a host, and what a connection keeps of
 * its own: images go, connections stay. */
#pragma once

#include "smtp/deliver.h"

/* Of one connection. */
struct strategy_kept {
    uint64_t tls_effect, connection_effect;
    enum start_tls start_tls;
    bool allow_invalid_certs;
    uint32_t handshake_ms;
    struct connection_times times;
    struct netaddr source; /* family 0: the system chooses */
    struct slice ehlo_name;
    uint8_t ehlo_text[DOMAIN_MAX];
};

/* What holds for a recipient at a host. */
struct strategy_pick {
    const struct tls_strategy *tls;
    const struct connection_strategy *connection;
};
struct strategy_question {
    const struct routing_context *context; /* with a trace, what is fixed is worked out as well */
    const struct routing_host *host;
    struct slice rcpt;
    const struct envelope *env;
};
/* EXPR_FAILED: it cannot be worked out. */
enum expr_status strategy_pick(struct strategy_pick *out, const struct strategy_question *q);
/* Where such a connection comes from; NULL: the system, or chance, decides. */
const struct netaddr *strategy_local(const struct connection_strategy *connection,
                                     const struct netaddr *remote);
/* The strategies for the delivery's first recipient without outcome at this host. Recipients for
 * whom others hold become a delivery of their own, in front of the hop's queue. Without a delivery,
 * what holds for everybody. False: nothing can be chosen, and nothing is left of the delivery, or
 * it waits for the DNS (hop_ask). */
bool strategy_choose(struct strategy_kept *out, struct hop *hop, struct delivery *delivery,
                     const struct routing_host *host);
/* For a question about a recipient (smtp/verify), which the null sender asks. asker: as for
 * programs. */
enum expr_status strategy_of_question(struct strategy_pick *out, struct hop *hop, struct slice rcpt,
                                      const struct expr_asker *asker,
                                      const struct routing_host *host);
/* What a connection keeps of it. */
void strategy_keep(struct strategy_kept *out, struct hop *hop, const struct strategy_pick *pick,
                   const struct netaddr *remote);
/* True when a connection with these is one as picked. */
bool strategy_is(const struct strategy_kept *kept, const struct strategy_pick *pick);
/* True when the delivery may go over a connection with these: recipients who may not become a
 * delivery of their own, in front of the queue. False: none may, it is as it was. */
bool strategy_fits(const struct strategy_kept *kept, struct delivery *delivery,
                   const struct routing_host *host);
/* False: the image in force has no such strategies any more, so nothing fits ever again. */
bool strategy_is_there(const struct strategy_kept *kept, const struct hop *hop);
/* True when connections with these are made alike. */
bool strategy_is_like(const struct strategy_kept *a, const struct strategy_kept *b);
/* True when it is the same for everybody, so that no delivery has to be looked at. */
bool strategy_is_fixed(const struct hop *hop);
/* Without TLS there is no session. */
bool strategy_needs_tls(const struct strategy_kept *kept, const struct route_conf *route);
/* ... and its certificate has to verify. Optional TLS takes any: refusing one would mean clear
 * text. */
bool strategy_verifies(const struct strategy_kept *kept, const struct route_conf *route);
/* What the client engine is told; in_clear: a handshake failed, this connection takes its place. */
enum cli_tls_mode strategy_tls_mode(const struct strategy_kept *kept,
                                    const struct route_conf *route, bool in_clear);
/* How long the other side may take now, in ms. */
uint64_t strategy_phase_ms(const struct strategy_kept *kept, enum cli_phase phase);
