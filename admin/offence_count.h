/* Offences of one kind, counted per client address and, where there is one, per login name, in
 * fixed windows. A bounded table: when a set is full its smallest count goes. Pure apart from its
 * seed. */
#pragma once

#include "core/netaddr.h"

enum {
    OFFENCE_SETS = 1024,
    OFFENCE_WAYS = 4,
    /* Over the rate of a login name an address is banned only if it failed so often itself: others
     * who guess must not lock out who mistypes once. */
    OFFENCE_NAME_OWN = 5,
};

struct offence_entry {
    uint64_t key;      /* 0: free */
    int64_t window_ms; /* start */
    uint32_t count;
};

struct offence_count {
    uint64_t seed;
    struct offence_entry entries[OFFENCE_SETS][OFFENCE_WAYS];
};

/* So many are tolerated in so long. */
struct offence_rate {
    uint32_t count; /* 0: any number */
    int64_t period_ms;
};

struct offence_total {
    uint32_t most; /* in this window, by the address or by the name */
    bool over;     /* the rate */
};

void offence_count_init(struct offence_count *counts, uint64_t seed);
/* The network that is counted as one client: the address itself, or the IPv6 network of so many
 * bits that it is in. */
struct netmask offence_client(const struct netaddr *peer, unsigned ipv6_bits);
/* Counts `more` for the client and, if not empty, for the name. Times are of a monotonic clock. */
struct offence_total offence_count_add(struct offence_count *counts, const struct netmask *client,
                                       struct slice name, uint32_t more,
                                       const struct offence_rate *rate, int64_t now_ms);
/* The client begins anew; the name's count stays. */
void offence_count_forget(struct offence_count *counts, const struct netmask *client);
