/* How names become addresses on this system: the hosts file, then DNS. Made once from the system's
 * files, immutable, shared by all cores. */
#pragma once

#include "io/resolv_parse.h"

enum {
    NAMES_ADDRESSES_MAX = 16, /* of one name */
    NAMES_OWN_MAX = 128,      /* addresses of this machine */
};

struct host_entry {
    struct dns_name name; /* lower case */
    struct netaddr addr;
};

struct names {
    struct resolv_conf resolv;
    struct host_entry *hosts; /* sorted by name, else in the file's order */
    size_t host_count;
    struct netaddr own[NAMES_OWN_MAX]; /* of its interfaces */
    size_t own_count;
};

/* Takes the texts of resolv.conf and hosts (either may be empty). "localhost" and names below it
 * are always this host (RFC 6761). MX_ERR_NOMEM. */
MX_MUST_CHECK mx_err names_make(struct names *out, struct slice resolv_text,
                                struct slice hosts_text);
/* Reads /etc/resolv.conf and /etc/hosts; a file that is not there is empty. And the addresses of
 * this machine, as they are now. */
MX_MUST_CHECK mx_err names_read(struct names *out);
void names_free(struct names *names);
/* True for an address of one of this machine's interfaces. */
bool names_is_own(const struct names *names, const struct netaddr *addr);
/* Copies at most max addresses of a name that the hosts file has; 0: it has none. */
size_t names_hosts(const struct names *names, const struct dns_name *name, struct netaddr *out,
                   size_t max);
