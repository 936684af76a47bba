/* The addresses of a host: a literal, the hosts file, then A and AAAA records. */
#pragma once

#include "io/dns.h"
#include "io/names.h"

enum address_families {
    ADDRESS_V4_THEN_V6,
    ADDRESS_V6_THEN_V4,
    ADDRESS_V4_ONLY,
    ADDRESS_V6_ONLY,
};

struct address_lookup {
    struct dns *dns;
    const struct names *names;
    enum address_families families;
    struct dns_name name;
    struct dns_name searched; /* to be asked when name is not there; len 0: no */
    struct dns_query v4, v6;
    unsigned waiting;
    bool failed_for_now; /* of one of the two, in this round */
    bool stopped;
    struct netaddr found4[NAMES_ADDRESSES_MAX], found6[NAMES_ADDRESSES_MAX];
    size_t count4, count6;
    /* The result: MX_OK and at least one address (without ports); MX_ERR_DNS_NOTFOUND: the name has
     * none, or is none; MX_ERR_DNS_TEMPORARY: nobody could say;
     * MX_ERR_SHUTDOWN. */
    mx_err err;
    struct netaddr addresses[NAMES_ADDRESSES_MAX];
    size_t count;
    const char *problem; /* static text */
    void (*done)(struct address_lookup *lookup);
    void *owner; /* the caller's */
};

/* Begins; done and owner are set before; done may be called from within. host: a name or a literal
 * address. with_search: a name without a dot is tried below the system's search domain first, as in
 * resolv.conf(5). The lookup belongs to the caller and stays until done or address_cancel. */
void address_find(struct address_lookup *lookup, struct dns *dns, const struct names *names,
                  struct slice host, enum address_families families, bool with_search);
void address_cancel(struct address_lookup *lookup);
