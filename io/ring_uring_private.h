/* The ring of the production implementation: for io/ring_uring*.c alone. */
#pragma once

#include "io/ring.h"

#include <liburing.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    RING_BUF_GROUP = 1,
    RING_IOV_MAX = 64,
};

_Static_assert(RING_ADDR_BYTES <= RING_IOV_MAX * sizeof(struct iovec), "an address fits in a slot");

struct ring {
    struct io_uring uring;
    struct io_uring_buf_ring *bufs;
    uint8_t
        *buf_memory; /* address space for RING_RECV_MAX buffers; memory is taken as it is used */
    size_t buf_ring_bytes, buf_memory_bytes;
    bool *buf_there;    /* the kernel has it, or whoever receives */
    unsigned buf_count; /* wanted: those with lower numbers */
    unsigned buf_bytes;
    unsigned buf_free;
    unsigned pending;
    bool closing;
    int wake_fd;
    uint64_t wake_value;
    struct op wake_op;
    /* Arguments of operations that were queued and not yet submitted: gather lists, addresses. The
     * kernel copies them at submission. As many as the submission queue has entries. */
    struct msghdr *messages;
    struct iovec (*vectors)[RING_IOV_MAX];
    unsigned vectors_used;
    unsigned vectors_count;
    struct ring_stats stats;
};
