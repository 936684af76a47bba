/* Listening sockets that were bound by whoever started the process: systemd's socket activation,
 * sd_listen_fds(3). Ports below 1024 then need no root, and connections wait in the kernel while
 * the server restarts. */
#pragma once

#include "io/ring.h"

enum { INHERITED_MAX = 64 };

/* Takes what LISTEN_FDS announces and removes the announcement. Once, before the first thread.
 * Returns how many there are; *problem: NULL, or what is wrong with one of them. */
unsigned inherited_open(const char **problem);
/* A descriptor of its own of the inherited socket that listens on addr; -1: there is none, or no
 * descriptor is left. The socket stays for the next. Any thread. */
int inherited_take(const struct ring_addr *addr);
/* The first that nobody has taken, to addr, for a word in the log; false: none. */
bool inherited_unused(unsigned *at, struct ring_addr *addr);
