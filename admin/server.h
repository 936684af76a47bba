/* `ringmx serve`: starts the cores, keeps the management loop (HTTP, signals, log lines), ends
 * them.
 */
#pragma once

#include "admin/log_output.h"
#include "core/base.h"

enum { SERVER_WRITABLE_MAX = 16 };

struct server_options {
    const char *data_dir;
    const char *user; /* to become after the ports are bound; NULL: stay */
    const char *http; /* "ADDRESS:PORT" of the management endpoint, or "off" */
    unsigned cores;   /* 0: one per CPU that the process may use */
    bool no_pin;
    bool core_dumps; /* a crash may leave a core */
    bool no_sandbox; /* for debuggers and the like */
    /* Folders that may be written beside the data folder, which links in it lead to. */
    const char *writable[SERVER_WRITABLE_MAX];
    unsigned writable_count;
    bool delivery_off;     /* accept and queue only */
    uint64_t retry_ms;     /* 0, or: every retry after this time (for tests) */
    uint64_t memory_bytes; /* per core, for content and output; 0: SERVER_MEMORY_BYTES */
    enum log_level log_level;
    struct log_output_conf log_output;
};

enum {
    SERVER_CORES_MAX = 256,
    /* A killed predecessor's port stays bound until the kernel has ended its rings. */
    SERVER_BIND_RETRY_MS = 5000,
    SERVER_HTTP_STOP_MS = 3000,           /* requests in progress get this long at shutdown */
    SERVER_HTTP_LINGER_MS = 200,          /* ... and what was answered, to reach its client */
    SERVER_MANAGEMENT_BLOCKS = 16 * 1024, /* memory of the management loop's streams, in blocks */
    SERVER_MANAGEMENT_RECV_BUFS = 32,
};

#define SERVER_HTTP_DEFAULT "127.0.0.1:8080"
#define SERVER_MEMORY_BYTES (UINT64_C(256) * 1024 * 1024)

/* Runs until a signal. Exit code: 0 after an orderly end, 1 when it could not start. */
int server_run(const struct server_options *options);
