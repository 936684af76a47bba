/* Outgoing connections of a load: from which address, with which PROXY header. */
#pragma once

#include "bench/dice.h"
#include "core/netaddr.h"
#include "io/stream.h"

struct dial {
    struct netaddr to;
    bool has_source;
    struct netmask source;  /* each connection comes from a drawn address of it */
    unsigned proxy;         /* version of the PROXY protocol, 0 = none */
    struct netmask clients; /* the header names a drawn address of it */
    struct dice dice;
    mx_err err; /* why the last socket could not be made or bound */
};

/* Connects; ops as in stream_connect. buf_bytes: of the socket, each way, 0 = the system's default.
 */
void dial_connect(struct dial *dial, struct stream *stream, struct shard *shard,
                  const struct stream_ops *ops, int buf_bytes);
/* Writes the PROXY header, if there is to be one; the first thing when the stream is up. */
void dial_header(struct dial *dial, struct stream *stream);
/* An address of the network, host bits drawn; port 1024..65535. */
struct netaddr dial_draw(const struct netmask *mask, struct dice *dice);
