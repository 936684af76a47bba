#include "admin/bindings.h"

#include "core/check.h"
#include "io/clock.h"
#include "io/ring.h"

#include <stdlib.h>
#include <unistd.h>

enum { RETRY_US = 20 * 1000 };

static mx_err listen_once(int *out_fd, const struct listener_conf *conf, const struct netaddr *addr,
                          bool reuse_port)
{
    struct ring_listen_conf listen_conf = {.addr = ring_addr_of(addr),
                                           .backlog = conf->backlog,
                                           .reuse_port = reuse_port,
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

/* Does the image bind this address; under this name, when one is given? */
static bool has_binding(const struct image *image, const struct slice *name,
                        const struct netaddr *addr)
{
    for (uint32_t i = 0; image != NULL && i < image->listener_count; i++) {
        const struct listener_conf *conf = &image->listeners[i];
        for (uint32_t b = 0; b < conf->bind_count; b++) {
            if (netaddr_equal(&conf->binds[b], addr) && conf->binds[b].port == addr->port &&
                (name == NULL || slice_equal(conf->name, *name))) {
                return true;
            }
        }
    }
    return false;
}

static void explain(struct config_problem *problem, const struct listener_conf *conf,
                    const struct netaddr *addr, mx_err err)
{
    char text[NETADDR_TEXT_MAX + 8];
    struct writer w = writer_init(text, sizeof text);
    put_netaddr_port(&w, addr);
    config_problem_set(
        problem, "NetworkListener '%.*s': cannot listen on %.*s: %s; %s", SLICE_ARGS(conf->name),
        SLICE_ARGS(writer_slice(&w)),
        err == MX_ERR_INUSE ? "the port is in use by another program" : err_text(err),
        err == MX_ERR_PERMISSION ? "start as root, or give CAP_NET_BIND_SERVICE"
                                 : "change the NetworkListener or stop the other program");
}

static mx_err bind_one(struct bindings *out, uint32_t at, const struct listener_conf *conf,
                       const struct netaddr *addr)
{
    mx_err err = MX_OK;
    for (unsigned core = 0; !err && core < out->cores; core++) {
        err = listen_once(&out->fds[core * out->count + at], conf, addr, true);
    }
    return err;
}

mx_err bindings_open(struct bindings *out, const struct image *image, const struct image *present,
                     unsigned cores, unsigned patience_ms, struct config_problem *problem)
{
    struct bindings made = {.cores = cores};
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
            if (has_binding(present, &conf->name, addr)) {
                continue;
            }
            mx_err err =
                has_binding(present, NULL, addr) ? MX_OK : check_free(conf, addr, patience_ms);
            err = err ? err : bind_one(&made, at, conf, addr);
            if (err) {
                explain(problem, conf, addr, err);
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

void bindings_close(struct bindings *bindings)
{
    for (size_t i = 0; i < (size_t)bindings->count * bindings->cores; i++) {
        if (bindings->fds[i] >= 0) {
            ring_close_fd(bindings->fds[i]);
        }
    }
    bindings_free(bindings);
}
