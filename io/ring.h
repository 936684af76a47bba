/* All kernel operations of a core thread. Part of the simulation seam: ring_uring*.c are the
 * production implementation and alone include liburing; the simulator links another file with the
 * same symbols. A ring belongs to the thread that made it.
 *
 * An operation in flight is a struct op embedded in its owner. The owner may not be freed or reuse
 * the op before its final completion (result.more == false) has been delivered; therefore the op's
 * address identifies it and a stale completion cannot meet a new owner. Cancelling is by op, never
 * by descriptor, and the cancelled op still completes (MX_ERR_CANCELLED or its own result).
 *
 * Submitting never fails: when the submission queue is full it is flushed; what the kernel refuses
 * for the moment waits in a bounded backlog in order. */
#pragma once

#include "core/err.h"
#include "core/netaddr.h"
#include "core/slice.h"

struct ring;
struct sockaddr;
struct iovec;

struct op_result {
    mx_err err;      /* MX_OK or why it failed */
    int32_t value;   /* bytes transferred, or the accepted descriptor */
    uint16_t buf_id; /* receive buffer, if has_buf */
    bool has_buf;
    bool more;      /* multishot goes on: the op is still pending */
    bool sock_more; /* the socket has more bytes waiting */
};

struct op {
    void (*done)(struct op *op, const struct op_result *result);
    bool pending; /* kept by the ring */
    uint8_t kind; /* private to the ring */
    uint16_t aux; /* private to the ring */
};

struct ring_conf {
    unsigned sq_entries;     /* default 512 */
    unsigned cq_entries;     /* default 8192 */
    unsigned recv_bufs;      /* default 128, at most RING_RECV_MAX */
    unsigned recv_buf_bytes; /* default RING_RECV_BYTES */
};

enum {
    RING_RECV_BYTES = 16896, /* 16.5 KiB: one full TLS record */
    RING_RECV_MAX = 4096,    /* buffers of a ring */
};

/* What the kernel gives, for `ringmx doctor` and the start-up line. */
struct ring_probe {
    mx_err err;            /* MX_OK: a ring with all we need can be made */
    const char *advice;    /* static text: what to do when it cannot (sysctl, seccomp, memlock) */
    char release[65];      /* uname -r */
    char liburing[16];     /* version of the library compiled against */
    int io_uring_disabled; /* kernel.io_uring_disabled, -1 unknown */
    bool single_issuer, defer_taskrun, buf_ring, accept_multishot, msg_ring, send_zc;
};

/* Makes a trial ring and exercises what is needed on local sockets. Never fails itself. */
void ring_probe(struct ring_probe *out_probe);

/* Fails with MX_ERR_PERMISSION / UNSUPPORTED / NOMEM (memlock) when io_uring cannot be had. Without
 * DEFER_TASKRUN it falls back to COOP_TASKRUN. */
MX_MUST_CHECK mx_err ring_open(struct ring **out_ring, const struct ring_conf *conf);
/* Cancels everything that is pending, delivers the completions, closes. NULL is fine. */
void ring_close(struct ring *ring);

/* Submits what is queued and waits until a completion is there or timeout_ns has passed
 * (UINT64_MAX: for ever; 0: only submit and look). */
void ring_wait(struct ring *ring, uint64_t timeout_ns);
/* Delivers at most max completions to their op->done; returns how many. */
unsigned ring_reap(struct ring *ring, unsigned max);
/* Wakes the ring from another thread (eventfd). Callable from any thread. */
void ring_wake(struct ring *ring);
/* Number of ops pending; for tests and shutdown. */
unsigned ring_pending(const struct ring *ring);

struct ring_stats {
    uint64_t enters;      /* of the kernel: submit and wait */
    uint64_t submissions; /* operations */
    uint64_t completions;
    uint64_t no_buffer;             /* receives that found no buffer (ENOBUFS) */
    uint64_t overflowed;            /* waits that found that the completion queue had been full */
    uint64_t pending;               /* operations now */
    uint64_t recv_free, recv_count; /* receive buffers that the kernel may fill now, and all */
};
void ring_stats(const struct ring *ring, struct ring_stats *out_stats);

/* --- operations; op->done must be set and op->pending false --- */

/* Multishot accept: one completion per connection with more == true; when more == false it must be
 * armed again. The peer's address: ring_peer. */
void ring_accept(struct ring *ring, struct op *op, int fd);
/* Single-shot receive into a buffer of the provided-buffer ring. poll_first: skip the first try.
 * value 0 = end of stream; MX_ERR_AGAIN = no buffer free (serve the op again after a
 * ring_recv_return). The buffer must be given back with ring_recv_return in the same turn. */
void ring_recv(struct ring *ring, struct op *op, int fd, bool poll_first);
/* The same again and again until more == false. The kernel goes on for a peer that streams before
 * others have their turn, so this is not for servers. */
void ring_recv_multishot(struct ring *ring, struct op *op, int fd);
const uint8_t *ring_recv_buf(const struct ring *ring, uint16_t buf_id);
void ring_recv_return(struct ring *ring, uint16_t buf_id);
/* Another number of buffers, from 1 to RING_RECV_MAX. Those that are too many go as they come back.
 */
void ring_recv_resize(struct ring *ring, unsigned count);
/* Buffers that the kernel may fill now. */
unsigned ring_recv_free(const struct ring *ring);
/* Sends all of bytes (MSG_WAITALL | MSG_NOSIGNAL); a short value means an error follows. */
void ring_send(struct ring *ring, struct op *op, int fd, struct slice bytes);
/* Gathering send; iov (at most 64 entries) is copied by the call. */
void ring_sendv(struct ring *ring, struct op *op, int fd, const struct iovec *iov, unsigned count);
/* addr (at most RING_ADDR_BYTES) is copied by the call. */
void ring_connect(struct ring *ring, struct op *op, int fd, const struct sockaddr *addr,
                  unsigned addr_len);
void ring_read(struct ring *ring, struct op *op, int fd, void *buf, uint32_t len, uint64_t offset);
/* dsync: durable when complete (RWF_DSYNC). */
void ring_write(struct ring *ring, struct op *op, int fd, const void *buf, uint32_t len,
                uint64_t offset, bool dsync);
/* Asks that op, if pending, completes soon. */
void ring_cancel(struct ring *ring, struct op *op);

/* --- immediate socket calls (microseconds, never blocking) --- */

enum { RING_ADDR_BYTES = 28 }; /* sockaddr_in6 */

struct ring_addr {
    uint8_t bytes[RING_ADDR_BYTES]; /* a sockaddr_in or sockaddr_in6 */
    uint8_t len;                    /* 0 = none */
};

/* Conversions; family 0 and len 0 correspond. v4-mapped IPv6 becomes IPv4. */
struct ring_addr ring_addr_of(const struct netaddr *addr);
struct netaddr ring_addr_netaddr(const struct ring_addr *addr);

struct ring_listen_conf {
    struct ring_addr addr;
    unsigned backlog;
    bool reuse_port;
    bool no_delay;
    unsigned recv_buf_bytes, send_buf_bytes; /* 0 = system default */
};

/* A listening TCP socket, close-on-exec, SO_REUSEADDR; MX_ERR_INUSE, MX_ERR_PERMISSION, ... */
MX_MUST_CHECK mx_err ring_listen(int *out_fd, const struct ring_listen_conf *conf);
/* An unconnected TCP socket for ring_connect, TCP_NODELAY. family is AF_INET or AF_INET6. */
MX_MUST_CHECK mx_err ring_socket(int *out_fd, int family);
/* The same, bound to an address of this machine; the port is chosen when it connects. */
MX_MUST_CHECK mx_err ring_socket_from(int *out_fd, const struct ring_addr *from);
/* A UDP socket at a port that the kernel picks at random, connected, so that only datagrams of that
 * address are received. For ring_send and ring_recv; an empty datagram has value 0 as well. */
MX_MUST_CHECK mx_err ring_udp(int *out_fd, const struct ring_addr *to);
/* One connection out of the accept queue, MX_ERR_AGAIN when it is empty. */
MX_MUST_CHECK mx_err ring_accept_now(int *out_fd, int fd);
/* Peer and local address of a connected socket; v4-mapped IPv6 is turned into IPv4. */
MX_MUST_CHECK mx_err ring_peer(struct ring_addr *out_peer, int fd);
MX_MUST_CHECK mx_err ring_local(struct ring_addr *out_local, int fd);
void ring_shutdown_write(int fd);
void ring_close_fd(int fd);
