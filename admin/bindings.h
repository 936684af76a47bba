/* Listening sockets of the cores: one per listener, bound address and core (SO_REUSEPORT), or the
 * one that the process inherited for the address, shared by all cores. */
#pragma once

#include "admin/config.h"

/* One descriptor per listener and bound address, in the image's order; -1: the cores have it. */
struct bindings {
    int *fds; /* [core * count + binding] */
    uint32_t count;
    unsigned cores;
    bool shut; /* see bindings_shut */
};

/* Opens what image has and present (may be NULL) has not. A port that another program uses is
 * found, although SO_REUSEPORT would share it; patience_ms: how long such a port is tried again (a
 * killed predecessor's stays bound for a moment). On failure everything is closed and *problem says
 * which listener, which address and why. Blocks for patience_ms at most. */
MX_MUST_CHECK mx_err bindings_open(struct bindings *out, const struct image *image,
                                   const struct image *present, unsigned cores,
                                   unsigned patience_ms, struct config_problem *problem);
/* What a listener takes over: from present (NULL: none) to image. */
struct bindings_change {
    const struct image *image, *present;
    unsigned patience_ms;
};
/* `count` sockets that listen on one address of conf, to fds[0], fds[step], ...; what was opened
 * before a failure is there. An address that present listens on, whatever its protocol, passes over
 * when image does not any more: both listen until the old one is closed. */
MX_MUST_CHECK mx_err bindings_listen(int *fds, size_t step, unsigned count,
                                     const struct listener_conf *conf, const struct netaddr *addr,
                                     const struct bindings_change *change,
                                     struct config_problem *problem);
/* The descriptors of one core. */
static inline const int *bindings_of(const struct bindings *bindings, unsigned core)
{
    return bindings->fds + (size_t)core * bindings->count;
}
/* Frees the list; the descriptors live on with the cores. A zeroed list is fine. */
void bindings_free(struct bindings *bindings);
/* Closes the descriptors and keeps the list, which a core that has not answered may still read: it
 * does nothing with them before it is told to apply. */
void bindings_shut(struct bindings *bindings);
/* Closes the descriptors as well, unless they are shut. */
void bindings_close(struct bindings *bindings);
