#include "admin/bindings.h"

#include "admin/inherited.h"
#include "core/check.h"
#include "io/clock.h"
#include "io/ring.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RETRY_US = 20 * 1000 };

static bool same(const struct netaddr *a, const struct netaddr *b)
{
    return netaddr_equal(a, b) && a->port == b->port;
}

/* 0.0.0.0 or :: */
static bool is_wildcard(const struct netaddr *addr)
{
    static const uint8_t zero[sizeof addr->bytes];
    return memcmp(addr->bytes, zero, addr->family == 4 ? 4 : sizeof zero) == 0;
}

/* Cannot both be listened on without SO_REUSEPORT: `::` takes IPv4 as well. */
static bool overlap(const struct netaddr *a, const struct netaddr *b)
{
    bool wide_a = is_wildcard(a) && (a->family == 6 || b->family == 4);
    bool wide_b = is_wildcard(b) && (b->family == 6 || a->family == 4);
    return a->port == b->port && (wide_a || wide_b || netaddr_equal(a, b));
}

static const struct listener_conf *find_overlap(const struct listener_conf *list, uint32_t count,
                                                const struct netaddr *addr, bool but_itself)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t b = 0; b < list[i].bind_count; b++) {
            const struct netaddr *bind = &list[i].binds[b];
            if (overlap(bind, addr) && !(but_itself && same(bind, addr))) {
                return &list[i];
            }
        }
    }
    return NULL;
}

/* Whose listener of the image, of whatever protocol, listens where this address is; but_itself: not
 * counting this very address. */
static const struct listener_conf *overlapping(const struct image *image,
                                               const struct netaddr *addr, bool but_itself)
{
    const struct listener_conf *mail =
        find_overlap(image->listeners, image->listener_count, addr, but_itself);
    return mail != NULL
               ? mail
               : find_overlap(image->http_listeners, image->http_listener_count, addr, but_itself);
}

/* Replies are short, and who does not read them keeps no more of the kernel's memory than this. */
enum { SEND_BUF_BYTES = 16 * 1024 };

/* Has the address, or one that takes it in, been ours until this change, and is not after it? */
static bool passes_over(const struct image *image, const struct image *present,
                        const struct netaddr *addr)
{
    return present != NULL && overlapping(present, addr, false) != NULL &&
           overlapping(image, addr, true) == NULL;
}

static mx_err listen_once(int *out_fd, const struct listener_conf *conf, const struct netaddr *addr,
                          bool reuse_port)
{
    struct ring_listen_conf listen_conf = {.addr = ring_addr_of(addr),
                                           .backlog = conf->backlog,
                                           .reuse_port = reuse_port,
                                           .send_buf_bytes = SEND_BUF_BYTES,
                                           .no_delay = true};
    return ring_listen(out_fd, &listen_conf);
}

/* Without SO_REUSEPORT first: with it, a second server would silently share the port. */
static mx_err check_free(const struct listener_conf *conf, const struct netaddr *addr,
                         unsigned patience_ms)
{
    uint64_t until_ns = clock_monotonic_ns() + patience_ms * MX_NS_PER_MS;
    for (;;) {
        int fd;
        mx_err err = listen_once(&fd, conf, addr, false);
        if (err == MX_OK) {
            ring_close_fd(fd);
        }
        if (err != MX_ERR_INUSE || clock_monotonic_ns() > until_ns) {
            return err;
        }
        usleep(RETRY_US);
    }
}

/* Does the image bind this address for mail under this name? */
static bool has_binding(const struct image *image, struct slice name, const struct netaddr *addr)
{
    for (uint32_t i = 0; image != NULL && i < image->listener_count; i++) {
        const struct listener_conf *conf = &image->listeners[i];
        for (uint32_t b = 0; b < conf->bind_count; b++) {
            if (same(&conf->binds[b], addr) && slice_equal(conf->name, name)) {
                return true;
            }
        }
    }
    return false;
}

static void explain(struct config_problem *problem, const struct image *image,
                    const struct listener_conf *conf, const struct netaddr *addr, mx_err err)
{
    char text[NETADDR_TEXT_MAX + 8];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr_port(&w, addr);
    struct slice where = writer_slice(&w);
    const struct listener_conf *other = overlapping(image, addr, true);
    if (err == MX_ERR_INUSE && other != NULL) {
        config_problem_set(problem,
                           "NetworkListener '%.*s': cannot listen on %.*s: NetworkListener '%.*s' "
                           "listens on all addresses of this port, or on one of them",
                           SLICE_ARGS(conf->name), SLICE_ARGS(where), SLICE_ARGS(other->name));
    } else {
        config_problem_set(
            problem, "NetworkListener '%.*s': cannot listen on %.*s: %s; %s",
            SLICE_ARGS(conf->name), SLICE_ARGS(where),
            err == MX_ERR_INUSE ? "the port is in use by another program, or by serve --http"
                                : err_text(err),
            err == MX_ERR_PERMISSION ? "start as root, or give CAP_NET_BIND_SERVICE"
            : err == MX_ERR_INUSE    ? "change the NetworkListener or stop the other program"
                                     : "is it an address of this machine?");
    }
    config_problem_at(problem, conf->name, "bind");
}

static mx_err listen_own(int *fds, size_t step, unsigned count, const struct listener_conf *conf,
                         const struct netaddr *addr, const struct bindings_change *change)
{
    mx_err err = passes_over(change->image, change->present, addr)
                     ? MX_OK
                     : check_free(conf, addr, change->patience_ms);
    for (unsigned i = 0; !err && i < count; i++) {
        err = listen_once(&fds[i * step], conf, addr, true);
    }
    return err;
}

/* One socket that all cores accept from; the kernel gives each connection to one of them. */
static mx_err listen_inherited(int *fds, size_t step, unsigned count, const struct netaddr *addr)
{
    struct ring_addr where = ring_addr_of(addr);
    for (unsigned i = 0; i < count; i++) {
        int fd = inherited_take(&where);
        if (fd < 0) {
            return i == 0 ? MX_ERR_NOTFOUND : MX_ERR_NOFILES;
        }
        fds[i * step] = fd;
    }
    return MX_OK;
}

mx_err bindings_listen(int *fds, size_t step, unsigned count, const struct listener_conf *conf,
                       const struct netaddr *addr, const struct bindings_change *change,
                       struct config_problem *problem)
{
    mx_err err = listen_inherited(fds, step, count, addr);
    if (err == MX_ERR_NOTFOUND) {
        err = listen_own(fds, step, count, conf, addr, change);
    }
    if (err) {
        explain(problem, change->image, conf, addr, err);
    }
    return err;
}

mx_err bindings_open(struct bindings *out, const struct image *image, const struct image *present,
                     unsigned cores, unsigned patience_ms, struct config_problem *problem)
{
    struct bindings made = {.cores = cores};
    struct bindings_change change = {
        .image = image, .present = present, .patience_ms = patience_ms};
    for (uint32_t i = 0; i < image->listener_count; i++) {
        made.count += image->listeners[i].bind_count;
    }
    size_t total = (size_t)made.count * cores;
    made.fds = malloc((total + 1) * sizeof *made.fds);
    if (made.fds == NULL) {
        config_problem_set(problem, "%s", err_text(MX_ERR_NOMEM));
        return MX_ERR_NOMEM;
    }
    for (size_t i = 0; i < total; i++) {
        made.fds[i] = -1;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < image->listener_count; i++) {
        const struct listener_conf *conf = &image->listeners[i];
        for (uint32_t b = 0; b < conf->bind_count; b++, at++) {
            const struct netaddr *addr = &conf->binds[b];
            if (has_binding(present, conf->name, addr)) {
                continue;
            }
            mx_err err =
                bindings_listen(&made.fds[at], made.count, cores, conf, addr, &change, problem);
            if (err) {
                bindings_close(&made);
                return err;
            }
        }
    }
    *out = made;
    return MX_OK;
}

void bindings_free(struct bindings *bindings)
{
    free(bindings->fds);
    *bindings = (struct bindings){0};
}

void bindings_shut(struct bindings *bindings)
{
    for (size_t i = 0; !bindings->shut && i < (size_t)bindings->count * bindings->cores; i++) {
        if (bindings->fds[i] >= 0) {
            ring_close_fd(bindings->fds[i]);
        }
    }
    bindings->shut = true;
}

void bindings_close(struct bindings *bindings)
{
    bindings_shut(bindings);
    bindings_free(bindings);
}
