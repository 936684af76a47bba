/* A listening socket of one core with a multishot accept. Accepting pauses and resumes by itself
 * when descriptors run out, and on request (connection limits). */
#pragma once

#include "core/wheel.h"
#include "io/ring.h"

struct shard;

struct listener {
    struct shard *shard;
    /* A new connection; the callee owns fd and must keep or close it. */
    void (*accepted)(struct listener *listener, int fd);
    int fd;
    struct op accept_op;
    struct timer retry; /* re-arms after EMFILE and the like, once per 100 ms at most */
    bool paused;
    bool closing;
    bool in_accepted; /* the accepted function is running */
    void *owner;
    void (*closed)(
        struct listener *listener); /* after listener_close: all has ended; may be NULL */
    uint64_t out_of_files;          /* times accept failed for lack of descriptors or memory */
};

/* fd is a listening socket (ring_listen); arms the accept. */
void listener_open(struct listener *listener, struct shard *shard, int fd,
                   void (*accepted)(struct listener *listener, int fd));
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);
/* Cancels the accept, takes what is in the accept queue (given to accepted, which should answer
 * 421), closes the socket, then calls closed (from within this call when no accept is armed). */
void listener_close(struct listener *listener);
