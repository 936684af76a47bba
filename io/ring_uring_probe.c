/* What the kernel gives: a trial ring that does what the real ones do. */
#include "io/ring.h"

#include "core/check.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

static int read_disabled(void)
{
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    char digit = 0;
    if (fd < 0) {
        return -1;
    }
    ssize_t got = read(fd, &digit, 1);
    (void)close(fd);
    return got == 1 && digit >= '0' && digit <= '9' ? digit - '0' : -1;
}

static const char *advice_for(mx_err err, int disabled)
{
    switch (err) {
    case MX_ERR_PERMISSION:
        if (disabled == 2) {
            return "the kernel forbids io_uring: set sysctl kernel.io_uring_disabled=0, or 1 and "
                   "put the user into the group that kernel.io_uring_group names";
        }
        if (disabled == 1) {
            return "the kernel allows io_uring to privileged processes and one group only: put the "
                   "user into the group that sysctl kernel.io_uring_group names, or set "
                   "kernel.io_uring_disabled=0";
        }
        return "a seccomp filter or security module forbids io_uring: allow io_uring_setup, "
               "io_uring_enter and io_uring_register (the default profiles of container engines "
               "do not: give the container a seccomp profile of its own)";
    case MX_ERR_UNSUPPORTED:
        return "no usable io_uring: the kernel is older than 6.1 or built without it, or a seccomp "
               "filter hides it (allow io_uring_setup, io_uring_enter, io_uring_register)";
    case MX_ERR_NOMEM:
        return "not enough locked memory for the rings: raise RLIMIT_MEMLOCK (systemd: "
               "LimitMEMLOCK=infinity; shell: ulimit -l unlimited)";
    case MX_ERR_NOFILES:
        return "out of file descriptors: raise RLIMIT_NOFILE (systemd: LimitNOFILE=1048576)";
    default:
        return "io_uring could not be set up";
    }
}

static bool flag_works(unsigned flags)
{
    struct io_uring uring;
    struct io_uring_params params = {.flags = flags};
    if (io_uring_queue_init_params(4, &uring, &params) < 0) {
        return false;
    }
    io_uring_queue_exit(&uring);
    return true;
}

enum { PROBE_WAITS_MAX = 100 };

/* One operation of the trial and what came of it. */
struct probe_op {
    struct op op;
    struct ring *ring;
    mx_err err;
    unsigned bytes;
    uint8_t byte;
    unsigned accepted;
};

static void probe_done(struct op *op, const struct op_result *result)
{
    struct probe_op *probe = mx_container_of(op, struct probe_op, op);
    probe->err = result->err;
    if (result->has_buf) {
        probe->bytes = (unsigned)result->value;
        probe->byte = ring_recv_buf(probe->ring, result->buf_id)[0];
        ring_recv_return(probe->ring, result->buf_id);
    }
}

static void probe_accepted(struct op *op, const struct op_result *result)
{
    struct probe_op *probe = mx_container_of(op, struct probe_op, op);
    if (result->err == MX_OK) {
        probe->accepted += result->more;
        (void)close(result->value);
    }
}

static void probe_finish(struct ring *ring, struct probe_op *probe)
{
    ring_cancel(ring, &probe->op);
    for (unsigned i = 0; i < PROBE_WAITS_MAX && probe->op.pending; i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
}

/* Sends a byte through a socket pair and receives it into a provided buffer. */
static bool exercise_recv(struct ring *ring)
{
    int pair[2];
    struct probe_op recv_op = {.op = {.done = probe_done}, .ring = ring};
    struct probe_op send_op = {.op = {.done = probe_done}, .ring = ring};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        return false;
    }
    ring_recv(ring, &recv_op.op, pair[1], true);
    ring_send(ring, &send_op.op, pair[0], SLICE_LITERAL("!"));
    for (unsigned i = 0; i < PROBE_WAITS_MAX && (recv_op.op.pending || send_op.op.pending); i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
    probe_finish(ring, &recv_op);
    probe_finish(ring, &send_op);
    (void)close(pair[0]);
    (void)close(pair[1]);
    return recv_op.err == MX_OK && recv_op.bytes == 1 && recv_op.byte == '!';
}

/* Two connections to a socket without a name in the file system, by one accept. */
static bool exercise_accept(struct ring *ring)
{
    enum { COUNT = 2 };
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof addr.sun_family; /* the kernel picks an abstract name */
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct probe_op accept_op = {.op = {.done = probe_accepted}, .ring = ring};
    bool good = listener >= 0 && bind(listener, (struct sockaddr *)&addr, len) == 0 &&
                listen(listener, COUNT) == 0;
    len = sizeof addr;
    good = good && getsockname(listener, (struct sockaddr *)&addr, &len) == 0;
    int clients[COUNT] = {-1, -1};
    if (good) {
        ring_accept(ring, &accept_op.op, listener);
    }
    for (unsigned i = 0; good && i < COUNT; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        good = clients[i] >= 0 && connect(clients[i], (struct sockaddr *)&addr, len) == 0;
    }
    for (unsigned i = 0;
         i < PROBE_WAITS_MAX && good && accept_op.op.pending && accept_op.accepted < COUNT; i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 16);
    }
    probe_finish(ring, &accept_op);
    for (unsigned i = 0; i < COUNT; i++) {
        if (clients[i] >= 0) {
            (void)close(clients[i]);
        }
    }
    if (listener >= 0) {
        (void)close(listener);
    }
    return accept_op.accepted == COUNT;
}

static void probe_opcodes(struct ring_probe *out)
{
    struct io_uring_probe *probe = io_uring_get_probe();
    if (probe != NULL) {
        out->msg_ring = io_uring_opcode_supported(probe, IORING_OP_MSG_RING);
        out->send_zc = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
        io_uring_free_probe(probe);
    }
}

static void probe_names(struct ring_probe *probe)
{
    struct utsname name;
    if (uname(&name) == 0) {
        (void)snprintf(probe->release, sizeof probe->release, "%s", name.release);
    }
    (void)snprintf(probe->liburing, sizeof probe->liburing, "%s", LIBURING_VERSION);
    probe->io_uring_disabled = read_disabled();
}

void ring_probe(struct ring_probe *out_probe)
{
    struct ring_probe probe = {.advice = ""};
    struct ring *ring = NULL;
    probe_names(&probe);
    probe.err = ring_open(&ring, &(struct ring_conf){0});
    if (probe.err == MX_OK) {
        probe.buf_ring = exercise_recv(ring);
        probe.accept_multishot = exercise_accept(ring);
        ring_close(ring);
        probe.single_issuer = flag_works(IORING_SETUP_SINGLE_ISSUER);
        probe.defer_taskrun = flag_works(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
        probe_opcodes(&probe);
        probe.err = probe.buf_ring && probe.accept_multishot ? MX_OK : MX_ERR_UNSUPPORTED;
    }
    if (probe.err) {
        probe.advice = advice_for(probe.err, probe.io_uring_disabled);
    }
    *out_probe = probe;
}
