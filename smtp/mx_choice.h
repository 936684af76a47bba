/* Which hosts take mail for a domain, and in which order (RFC 5321 section 5.1, RFC 7505). Pure. */
#pragma once

#include "io/dns_codec.h"

enum {
    MX_RECORDS_MAX = 64, /* of one domain, those with the lowest preference */
    MX_HOSTS_MAX = 10,   /* tried */
};

enum mx_verdict {
    MX_HOSTS,    /* hosts holds them */
    MX_IMPLICIT, /* there is no MX record: the domain is its own host */
    MX_NULL,     /* the domain takes no mail */
    MX_LOOP,     /* we are its best host ourselves, and it is not local here */
};

struct mx_host {
    uint16_t preference;
    uint64_t key; /* chance decides among equal preferences */
    bool shares;  /* with another host, also one that is left out for max: chance decided */
    struct slice name;
};

struct mx_choice {
    enum mx_verdict verdict;
    unsigned count;
    struct mx_host hosts[MX_RECORDS_MAX]; /* the first count; names are borrowed from the answer */
};

/* own: our host name; it and every host that is not better than it are left out, so mail cannot go
 * in circles. max: hosts wanted, at most MX_HOSTS_MAX. */
void mx_choose(struct mx_choice *choice, const struct dns_answer *answer, struct slice own,
               unsigned max, uint64_t random);
