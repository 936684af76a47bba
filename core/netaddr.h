/* IP addresses and networks as values and text. No kernel. */
#pragma once

#include "core/cursor.h"
#include "core/err.h"

/* family 0 = none. IPv4 uses the first four bytes. v4-mapped IPv6 is always stored as IPv4. */
struct netaddr {
    uint8_t family; /* 0, 4 or 6 */
    uint8_t bytes[16];
    uint16_t port; /* host order; 0 where it has no meaning */
};

struct netmask {
    struct netaddr addr; /* host bits zero */
    uint8_t bits;        /* 0..32 or 0..128 */
};

enum { NETADDR_TEXT_MAX = 48 };

/* "192.0.2.1" or "2001:db8::1" (RFC 5952 form); "unknown" for family 0. */
void put_netaddr(struct writer *w, const struct netaddr *addr);
/* "192.0.2.1:25" or "[2001:db8::1]:25" */
void put_netaddr_port(struct writer *w, const struct netaddr *addr);
MX_MUST_CHECK mx_err netaddr_parse(struct netaddr *out_addr, struct slice text);
/* "host:port" with a literal address, IPv6 in brackets. */
MX_MUST_CHECK mx_err netaddr_parse_port(struct netaddr *out_addr, struct slice text);
/* "192.0.2.0/24", "2001:db8::/32" or a bare address (/32, /128). Host bits are cleared.
 * "::ffff:192.0.2.0/120" is 192.0.2.0/24; a v4-mapped address with less than 96 is refused. */
MX_MUST_CHECK mx_err netmask_parse(struct netmask *out_mask, struct slice text);
/* The network of bits (cut to the family's) that the address is in. */
struct netmask netmask_of(const struct netaddr *addr, uint8_t bits);
bool netmask_contains(const struct netmask *mask, const struct netaddr *addr);
/* A v4-mapped address becomes the IPv4 address. */
void netaddr_unmap(struct netaddr *addr);
/* 127.0.0.0/8 or ::1 */
bool netaddr_is_loopback(const struct netaddr *addr);
/* None that a host can have: "this network" (0.0.0.0/8, ::), multicast (224.0.0.0/4, ff00::/8) and
 * the limited broadcast address (RFC 6890, RFC 5771, RFC 4291 section 2.7). */
bool netaddr_is_no_host(const struct netaddr *addr);
bool netaddr_equal(const struct netaddr *a, const struct netaddr *b); /* without the port */
