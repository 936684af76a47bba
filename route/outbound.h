/* How connections to other mail systems are made: the strategies among which the expressions of
 * MtaOutboundStrategy choose, for a recipient and a host. Part of the image. */
#pragma once

#include "core/netaddr.h"
#include "core/slice.h"
#include "route/expr.h"

enum start_tls {
    START_TLS_OPTIONAL, /* when it is offered; in clear when the handshake fails */
    START_TLS_REQUIRE,  /* no mail without it */
    START_TLS_DISABLE,
};

/* Two strategies with the same `effect` do the same, whatever they are called; it holds for
 * connections that outlive the image. */
struct tls_strategy {
    struct slice name;
    enum start_tls start_tls;
    bool allow_invalid_certs; /* where a certificate counts: STARTTLS required, or implicit TLS */
    uint32_t handshake_ms;
    uint64_t effect;
};

struct source_address {
    struct netaddr addr;
    struct slice ehlo_name; /* empty: as the strategy says */
};

/* How long the next hop may take, in ms. */
struct connection_times {
    uint32_t connect, greeting, ehlo, mail, rcpt, data;
};

struct connection_strategy {
    struct slice name;
    struct slice ehlo_name;               /* empty: the server's name */
    const struct source_address *sources; /* one of the family is taken by chance; none: any */
    uint32_t source_count;
    struct connection_times times;
    uint64_t effect;
};

/* Of hosts and recipients. A fixed strategy is what the program yields in any case. Programs:
 * context QHOST; they yield names of the lists. */
struct outbound_conf {
    const struct tls_strategy *tls;
    uint32_t tls_count;
    const struct expr_program *tls_program;
    const struct tls_strategy *tls_fixed; /* NULL: the program is asked */
    const struct connection_strategy *connections;
    uint32_t connection_count;
    const struct expr_program *connection_program;
    const struct connection_strategy *connection_fixed;
};

/* In force where nothing is configured. */
extern const struct tls_strategy outbound_tls_default;
extern const struct connection_strategy outbound_connection_default;

/* True when nothing has to be asked. */
static inline bool outbound_is_fixed(const struct outbound_conf *conf)
{
    return (conf->tls_program == NULL || conf->tls_fixed != NULL) &&
           (conf->connection_program == NULL || conf->connection_fixed != NULL);
}
/* NULL when there is none of that name; "default" always is. */
const struct tls_strategy *outbound_tls(const struct outbound_conf *conf, struct slice name);
const struct connection_strategy *outbound_connection(const struct outbound_conf *conf,
                                                      struct slice name);
/* What `effect` has to be. */
uint64_t tls_strategy_effect(const struct tls_strategy *strategy);
uint64_t connection_strategy_effect(const struct connection_strategy *strategy);
