/* PROXY protocol headers as a load balancer writes them (haproxy.org, doc/proxy-protocol.txt).
 * Pure.
 */
#pragma once

#include "core/cursor.h"
#include "core/netaddr.h"

enum { PROXY_HEADER_MAX = 128 };

/* from and to have the same family. */
void put_proxy_v1(struct writer *w, const struct netaddr *from, const struct netaddr *to);
void put_proxy_v2(struct writer *w, const struct netaddr *from, const struct netaddr *to);
