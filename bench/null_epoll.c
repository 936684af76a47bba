/* The same with epoll: level-triggered, one receive and one send per event. */
#include "bench/null.h"

#include "core/pool.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 256 };

struct conn {
    struct null_peer peer;
    int fd;
};

struct loop {
    struct null_server *server;
    struct pool conns;
    int epoll_fd;
    uint8_t buf[NULL_RECV_BYTES];
};

static void drop(struct loop *loop, struct conn *conn)
{
    loop->server->messages += conn->peer.session.messages;
    (void)close(conn->fd);
    tls_free(conn->peer.tls);
    pool_release(&loop->conns, conn);
}

/* A client that does not read its replies is dropped: the socket's buffer holds more than a turn
 * produces. */
static bool flush(struct conn *conn)
{
    size_t len = conn->peer.out_len;
    conn->peer.out_len = 0;
    return len == 0 || send(conn->fd, conn->peer.out, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void accept_one(struct loop *loop)
{
    int fd = accept4(loop->server->listen_fd, NULL, NULL, SOCK_NONBLOCK);
    struct conn *conn = fd < 0 ? NULL : pool_acquire(&loop->conns);
    if (conn == NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    loop->server->connections++;
    conn->fd = fd;
    null_peer_begin(&conn->peer);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0 || !flush(conn)) {
        drop(loop, conn);
    }
}

static void readable(struct loop *loop, struct conn *conn)
{
    ssize_t got = recv(conn->fd, loop->buf, sizeof loop->buf, 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        drop(loop, conn);
        return;
    }
    bool good =
        null_peer_input(&conn->peer, loop->server, slice_of(loop->buf, (size_t)got)) && flush(conn);
    loop->server->dropped += !good;
    if (!good || conn->peer.quit) {
        drop(loop, conn);
    }
}

int null_run_epoll(struct null_server *server)
{
    static struct loop loop; /* the process ends with it */
    struct epoll_event events[EVENTS_MAX] = {{.events = EPOLLIN}};
    loop.server = server;
    loop.epoll_fd = epoll_create1(0);
    if (loop.epoll_fd < 0 ||
        pool_init(&loop.conns, "null", sizeof(struct conn), NULL_CONNS_MAX) != MX_OK ||
        epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, server->listen_fd, &events[0]) != 0) {
        return ENOMEM;
    }
    while (!*server->stop) {
        int count = epoll_wait(loop.epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) {
                accept_one(&loop);
            } else {
                readable(&loop, events[i].data.ptr);
            }
        }
    }
    return 0;
}
