/* The connections of a sink: pumps between streams and bench/sink_engine; what was taken goes into
 * a ledger before its reply leaves. */
#pragma once

#include "bench/ledger.h"
#include "bench/mark.h"
#include "bench/sink_engine.h"
#include "io/listen.h"
#include "io/shard.h"
#include "io/stream.h"

enum {
    SINK_SESSIONS_MAX = 16384,
    SINK_ENVELOPE_MAX = 512 * 1024,       /* bytes of sender and recipients */
    SINK_CONTENT_MAX = 128 * 1024 * 1024, /* bytes of a message that is kept */
    SINK_STOP_MS = 200, /* replies that were noted leave, and are read, before the sink ends */
};

struct sink {
    struct shard shard;
    struct shard_hook hook;
    struct listener listener;
    struct sink_engine_conf conf;
    struct fault_plan faults;
    struct ledger ledger;
    struct pool sessions;
    const char *dir; /* NULL: messages are not kept */
    bool quiet;
    bool stopping; /* nothing more is read */
    mx_err err;    /* of keeping or of the ledger: what is counted is not complete */
    uint64_t messages, recipients, bytes;
    uint64_t altered; /* the hash in the mark is not that of the content */
    uint64_t unmarked;
};

/* Size of a slot of sink->sessions. */
size_t sink_session_bytes(void);
/* The shard is open; fd is a listening socket. */
void sink_listen(struct sink *sink, int fd);
/* Takes nothing more, and lets the replies to what was taken leave. */
void sink_stop(struct sink *sink);
