/* The system's resolver configuration: resolv.conf(5) and hosts(5). Pure. What is not understood is
 * passed over, as the C library does. */
#pragma once

#include "core/netaddr.h"
#include "io/dns_codec.h"

enum {
    RESOLV_SERVERS_MAX = 8,
    RESOLV_TIMEOUT_DEFAULT_MS = 3000, /* until the next server is asked */
    RESOLV_TIMEOUT_MAX_MS = 30000,
    RESOLV_ATTEMPTS_DEFAULT = 2, /* of every server */
    RESOLV_ATTEMPTS_MAX = 10,
    RESOLV_FILE_MAX = 1024 * 1024,
    HOSTS_MAX = 4096, /* names */
};

/* Which name servers are asked, and how. */
struct resolv_conf {
    struct netaddr servers[RESOLV_SERVERS_MAX];
    unsigned server_count; /* 0: names are not looked up */
    unsigned timeout_ms;
    unsigned attempts;
    bool trust_ad; /* the way to the servers is safe: what they say they validated counts */
    bool tcp_only;
    struct dns_name search; /* of names without a dot in a relay's address; len 0: none */
};

/* Defaults, and what the text of a resolv.conf says; text may be empty. Without a nameserver line
 * it is the one on this host, as resolv.conf(5) says. */
void resolv_parse(struct resolv_conf *out, struct slice text);

/* The same for servers that somebody names, at most RESOLV_SERVERS_MAX; what else out holds stays.
 */
void resolv_custom(struct resolv_conf *out, const struct netaddr *servers, unsigned count);
bool resolv_equal(const struct resolv_conf *a, const struct resolv_conf *b);

/* Calls each(arg, name, addr) for every name of every line of a hosts file, until it returns
 * false. */
void hosts_parse(struct slice text,
                 bool (*each)(void *arg, struct slice name, const struct netaddr *addr), void *arg);
