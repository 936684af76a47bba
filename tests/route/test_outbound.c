/* Strategies by name, and when two of them do the same: connections of one then serve the other. */
#include <criterion/criterion.h>

#include "route/outbound.h"

Test(outbound, by_name)
{
    static const struct tls_strategy tls[] = {{.name = SLICE_LITERAL("strict")},
                                              {.name = SLICE_LITERAL("none")}};
    static const struct connection_strategy connections[] = {{.name = SLICE_LITERAL("slow")},
                                                             {.name = SLICE_LITERAL("default")}};
    const struct outbound_conf conf = {
        .tls = tls, .tls_count = 2, .connections = connections, .connection_count = 2};
    const struct outbound_conf nothing = {0};
    cr_assert(outbound_tls(&conf, SLICE_LITERAL("none")) == &tls[1]);
    cr_assert(outbound_tls(&conf, SLICE_LITERAL("default")) == &outbound_tls_default);
    cr_assert_null(outbound_tls(&conf, SLICE_LITERAL("Strict")));
    cr_assert_null(outbound_tls(&conf, SLICE_EMPTY));
    cr_assert(outbound_connection(&conf, SLICE_LITERAL("slow")) == &connections[0]);
    cr_assert(outbound_connection(&conf, SLICE_LITERAL("default")) == &connections[1],
              "one that is configured comes first");
    cr_assert(outbound_connection(&nothing, SLICE_LITERAL("default")) ==
              &outbound_connection_default);
    cr_assert_null(outbound_connection(&nothing, SLICE_LITERAL("slow")));
}

Test(outbound, effect_of_tls)
{
    const struct tls_strategy a = {.name = SLICE_LITERAL("a"), .handshake_ms = 1000};
    struct tls_strategy b = a;
    b.name = SLICE_LITERAL("b");
    cr_assert(tls_strategy_effect(&a) == tls_strategy_effect(&b), "a name does nothing");
    b.handshake_ms++;
    cr_assert(tls_strategy_effect(&a) != tls_strategy_effect(&b));
    b = a;
    b.allow_invalid_certs = true;
    cr_assert(tls_strategy_effect(&a) != tls_strategy_effect(&b));
    b = a;
    b.start_tls = START_TLS_DISABLE;
    cr_assert(tls_strategy_effect(&a) != tls_strategy_effect(&b));
}

Test(outbound, effect_of_connections)
{
    struct source_address source = {.ehlo_name = SLICE_LITERAL("a.example")};
    struct source_address other = source;
    struct connection_strategy a = {.sources = &source, .source_count = 1};
    struct connection_strategy b = {.sources = &other, .source_count = 1};
    uint32_t *const times[] = {&b.times.connect, &b.times.greeting, &b.times.ehlo,
                               &b.times.mail,    &b.times.rcpt,     &b.times.data};
    cr_assert(connection_strategy_effect(&a) == connection_strategy_effect(&b));
    for (size_t i = 0; i < mx_countof(times); i++) {
        *times[i] = 7;
        cr_assert(connection_strategy_effect(&a) != connection_strategy_effect(&b), "time %zu", i);
        *times[i] = 0;
    }
    b.ehlo_name = SLICE_LITERAL("b.example");
    cr_assert(connection_strategy_effect(&a) != connection_strategy_effect(&b));
    b.ehlo_name = SLICE_EMPTY;
    other.ehlo_name = SLICE_EMPTY;
    cr_assert(connection_strategy_effect(&a) != connection_strategy_effect(&b));
    /* The same bytes, another address. */
    other = source;
    cr_assert(netaddr_parse(&source.addr, SLICE_LITERAL("127.0.0.1")) == MX_OK);
    cr_assert(netaddr_parse(&other.addr, SLICE_LITERAL("7f00:1::")) == MX_OK);
    cr_assert(connection_strategy_effect(&a) != connection_strategy_effect(&b));
}
