#include "bench/dial.h"

#include "bench/proxy_header.h"
#include "io/shard.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

struct netaddr dial_draw(const struct netmask *mask, struct dice *dice)
{
    struct netaddr addr = mask->addr;
    unsigned len = addr.family == 4 ? 4 : 16;
    for (unsigned i = 0; i < len; i++) {
        unsigned fixed = mask->bits > i * 8 ? mask->bits - i * 8U : 0;
        uint8_t host = (uint8_t)(fixed >= 8 ? 0U : 0xffU >> fixed);
        addr.bytes[i] = (uint8_t)(addr.bytes[i] | (dice_next(dice) & host));
    }
    addr.port = (uint16_t)dice_between(dice, 1024, 65535);
    return addr;
}

/* A system's default may pace what it sends by timers (BBR), which costs CPU time and says nothing
 * on loopback. */
static void avoid_pacing(int fd)
{
    static const char cubic[] = "cubic", reno[] = "reno";
    if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cubic, sizeof cubic - 1) != 0) {
        (void)setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
    }
}

/* The port is chosen when it connects, so that one address has as many as the kernel has. */
static mx_err bind_source(struct dial *dial, int fd)
{
    struct netaddr from = dial_draw(&dial->source, &dial->dice);
    from.port = 0;
    struct ring_addr addr = ring_addr_of(&from);
    int on = 1;
    (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, (const void *)addr.bytes, addr.len) == 0 ? MX_OK : MX_ERR_INVALID;
}

void dial_connect(struct dial *dial, struct stream *stream, struct shard *shard,
                  const struct stream_ops *ops, int buf_bytes)
{
    struct ring_addr to = ring_addr_of(&dial->to);
    int fd = -1;
    mx_err err = ring_socket(&fd, dial->to.family == 4 ? AF_INET : AF_INET6);
    if (!err && netaddr_is_loopback(&dial->to)) {
        avoid_pacing(fd);
    }
    if (!err && buf_bytes > 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buf_bytes, sizeof buf_bytes);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buf_bytes, sizeof buf_bytes);
    }
    if (!err && dial->has_source) {
        err = bind_source(dial, fd);
    }
    if (err) {
        dial->err = err;
        if (fd >= 0) {
            ring_close_fd(fd);
        }
        fd = -1;
    }
    stream_connect_fd(stream, shard, ops, &to, fd);
}

void dial_header(struct dial *dial, struct stream *stream)
{
    uint8_t buf[PROXY_HEADER_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    if (dial->proxy == 0) {
        return;
    }
    struct netaddr from = dial_draw(&dial->clients, &dial->dice);
    (dial->proxy == 1 ? put_proxy_v1 : put_proxy_v2)(&w, &from, &dial->to);
    if (stream_write(stream, writer_slice(&w)) != MX_OK) {
        stream_abort(stream, MX_ERR_NOMEM);
    }
}
