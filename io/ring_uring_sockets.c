/* The immediate socket calls of io/ring.h, and its addresses. */
#include "io/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static mx_err last_error(void)
{
    return err_from_errno(errno);
}

struct ring_addr ring_addr_of(const struct netaddr *addr)
{
    struct ring_addr out = {.len = 0};
    if (addr->family == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
        memcpy(&in.sin_addr, addr->bytes, 4);
        memcpy(out.bytes, &in, sizeof in);
        out.len = sizeof in;
    } else if (addr->family == 6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};
        memcpy(&in6.sin6_addr, addr->bytes, 16);
        memcpy(out.bytes, &in6, sizeof in6);
        out.len = sizeof in6;
    }
    return out;
}

struct netaddr ring_addr_netaddr(const struct ring_addr *addr)
{
    struct netaddr out = {0};
    if (addr->len == sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;
        memcpy(&in, addr->bytes, sizeof in);
        out.family = 4;
        out.port = ntohs(in.sin_port);
        memcpy(out.bytes, &in.sin_addr, 4);
    } else if (addr->len == sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;
        memcpy(&in6, addr->bytes, sizeof in6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
        out.family = mapped ? 4 : 6;
        out.port = ntohs(in6.sin6_port);
        memcpy(out.bytes, (const uint8_t *)&in6.sin6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    }
    return out;
}

static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof value); /* tuning: its absence is no error */
}

mx_err ring_listen(int *out_fd, const struct ring_listen_conf *conf)
{
    const struct sockaddr *addr = (const void *)conf->addr.bytes;
    int family = conf->addr.len == sizeof(struct sockaddr_in) ? AF_INET : AF_INET6;
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (conf->reuse_port) {
        set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (conf->no_delay) {
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* inherited by accepted sockets */
    }
    if (conf->recv_buf_bytes > 0) {
        set_option(fd, SOL_SOCKET, SO_RCVBUF, (int)conf->recv_buf_bytes);
    }
    if (conf->send_buf_bytes > 0) {
        set_option(fd, SOL_SOCKET, SO_SNDBUF, (int)conf->send_buf_bytes);
    }
    if (bind(fd, addr, conf->addr.len) != 0 || listen(fd, (int)conf->backlog) != 0) {
        mx_err err = last_error();
        (void)close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_socket(int *out_fd, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_socket_from(int *out_fd, const struct ring_addr *from)
{
    struct sockaddr_storage storage = {0};
    memcpy(&storage, from->bytes, from->len);
    int fd = -1;
    mx_err err = ring_socket(&fd, storage.ss_family);
    if (err) {
        return err;
    }
    /* Otherwise bind would take a port that no connection to anywhere else may use. */
    set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    if (bind(fd, (struct sockaddr *)&storage, from->len) != 0) {
        err = last_error();
        close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

mx_err ring_udp(int *out_fd, const struct ring_addr *to)
{
    struct sockaddr_storage storage = {0};
    memcpy(&storage, to->bytes, to->len);
    const struct sockaddr *addr = (const void *)&storage;
    int fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return last_error();
    }
    if (connect(fd, addr, to->len) != 0) {
        mx_err err = last_error();
        (void)close(fd);
        return err;
    }
    *out_fd = fd;
    return MX_OK;
}

static mx_err name_of(struct ring_addr *out, int fd,
                      int (*get)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    if (get(fd, (struct sockaddr *)&storage, &len) != 0) {
        return last_error();
    }
    if (len != sizeof(struct sockaddr_in) && len != sizeof(struct sockaddr_in6)) {
        return MX_ERR_UNSUPPORTED;
    }
    memcpy(out->bytes, &storage, len);
    out->len = (uint8_t)len;
    struct netaddr unmapped = ring_addr_netaddr(out);
    *out = ring_addr_of(&unmapped);
    return MX_OK;
}

mx_err ring_peer(struct ring_addr *out_peer, int fd)
{
    return name_of(out_peer, fd, getpeername);
}

mx_err ring_local(struct ring_addr *out_local, int fd)
{
    return name_of(out_local, fd, getsockname);
}

mx_err ring_accept_now(int *out_fd, int fd)
{
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (accepted < 0) {
        return last_error();
    }
    *out_fd = accepted;
    return MX_OK;
}

void ring_shutdown_write(int fd)
{
    (void)shutdown(fd, SHUT_WR);
}

void ring_close_fd(int fd)
{
    (void)close(fd);
}
