/* The ring by itself: every operation, cancelling, running out of entries and of buffers. */
#include "tests/io/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/uio.h>

enum { REGISTER_FILES = 2 }; /* IORING_REGISTER_FILES of the kernel */

struct seen {
    struct op op;
    struct ring *ring;
    struct op_result last;
    unsigned calls;
    bool keep_buf;
    uint8_t bytes[64];
};

static void on_done(struct op *op, const struct op_result *result)
{
    struct seen *seen = mx_container_of(op, struct seen, op);
    CHECK(op->pending == result->more);
    seen->last = *result;
    seen->calls++;
    if (result->has_buf) {
        size_t len = mx_min_size((size_t)result->value, sizeof seen->bytes);
        memcpy(seen->bytes, ring_recv_buf(seen->ring, result->buf_id), len);
        if (!seen->keep_buf) {
            ring_recv_return(seen->ring, result->buf_id);
        }
    }
}

static struct seen seen_new(struct ring *ring)
{
    return (struct seen){.op = {.done = on_done}, .ring = ring};
}

static struct ring *ring_new(unsigned sq_entries, unsigned recv_bufs)
{
    struct ring *ring = NULL;
    struct ring_conf conf = {.sq_entries = sq_entries, .recv_bufs = recv_bufs};
    CHECK(ring_open(&ring, &conf) == MX_OK);
    CHECK(ring_pending(ring) == 0);
    return ring;
}

static void run_until(struct ring *ring, const struct seen *seen, unsigned calls)
{
    for (unsigned i = 0; seen->calls < calls; i++) {
        CHECK(i < 2000);
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 64);
    }
}

static void local_pair(int pair[2])
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
}

static void check_probe(void)
{
    struct ring_probe probe;
    ring_probe(&probe);
    CHECK(probe.err == MX_OK && probe.advice[0] == '\0');
    CHECK(probe.buf_ring && probe.accept_multishot && probe.release[0] != '\0');
    CHECK(!probe.defer_taskrun || probe.single_issuer);
}

static void check_send_recv(void)
{
    int pair[2];
    struct ring *ring = ring_new(0, 0);
    struct seen recv_seen = seen_new(ring);
    struct seen send_seen = seen_new(ring);
    local_pair(pair);
    ring_recv(ring, &recv_seen.op, pair[1], true);
    CHECK(ring_pending(ring) == 1);
    ring_send(ring, &send_seen.op, pair[0], SLICE_LITERAL("hello"));
    run_until(ring, &recv_seen, 1);
    run_until(ring, &send_seen, 1);
    CHECK(recv_seen.last.value == 5 && memcmp(recv_seen.bytes, "hello", 5) == 0);
    CHECK(send_seen.last.err == MX_OK && send_seen.last.value == 5);

    (void)close(pair[0]);
    ring_recv(ring, &recv_seen.op, pair[1], false);
    run_until(ring, &recv_seen, 2);
    CHECK(recv_seen.last.err == MX_OK && recv_seen.last.value == 0);
    /* To a closed socket: an error, and no signal. */
    ring_send(ring, &send_seen.op, pair[1], SLICE_LITERAL("x"));
    run_until(ring, &send_seen, 2);
    CHECK(send_seen.last.err == MX_ERR_CLOSED);
    CHECK(ring_pending(ring) == 0);
    (void)close(pair[1]);
    ring_close(ring);
}

/* One receive for all that comes, until the end. */
static void check_recv_multishot(void)
{
    enum { COUNT = 5 };
    int pair[2];
    struct ring *ring = ring_new(0, 0);
    struct seen recv_seen = seen_new(ring);
    struct seen send_seen = seen_new(ring);
    local_pair(pair);
    ring_recv_multishot(ring, &recv_seen.op, pair[1]);
    for (unsigned i = 1; i <= COUNT; i++) {
        ring_send(ring, &send_seen.op, pair[0], SLICE_LITERAL("again"));
        run_until(ring, &send_seen, i);
        run_until(ring, &recv_seen, i);
        CHECK(recv_seen.last.more && recv_seen.op.pending);
        CHECK(recv_seen.last.value == 5 && memcmp(recv_seen.bytes, "again", 5) == 0);
    }
    (void)close(pair[0]);
    run_until(ring, &recv_seen, COUNT + 1);
    CHECK(recv_seen.last.value == 0 && !recv_seen.last.more && !recv_seen.op.pending);
    CHECK(ring_pending(ring) == 0);
    (void)close(pair[1]);
    ring_close(ring);
}

/* More gathering sends in one go than the submission queue has entries. */
static void check_sendv_overflow(unsigned sq_entries)
{
    enum { COUNT = 100 };
    static struct seen sends[COUNT];
    int pairs[COUNT][2];
    struct ring *ring = ring_new(sq_entries, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        char head[16];
        char tail[16];
        struct iovec iov[2] = {{.iov_base = head}, {.iov_base = tail}};
        local_pair(pairs[i]);
        sends[i] = seen_new(ring);
        /* The bytes must stay; the list need not. One byte from static storage each. */
        static char letters[] = "abcdefghijklmnopqrstuvwxyz";
        iov[0] = (struct iovec){.iov_base = &letters[i % 26], .iov_len = 1};
        iov[1] = (struct iovec){.iov_base = &letters[25 - i % 26], .iov_len = 1};
        ring_sendv(ring, &sends[i].op, pairs[i][0], iov, 2);
        memset(iov, 0, sizeof iov);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        char got[4];
        run_until(ring, &sends[i], 1);
        CHECK(sends[i].last.value == 2);
        CHECK(recv(pairs[i][1], got, sizeof got, MSG_DONTWAIT) == 2);
        CHECK(got[0] == (char)('a' + i % 26) && got[1] == (char)('z' - i % 26));
        (void)close(pairs[i][0]);
        (void)close(pairs[i][1]);
    }
    ring_close(ring);
}

static void check_no_buffer(void)
{
    int a[2];
    int b[2];
    struct ring *ring = ring_new(0, 1);
    struct seen first = seen_new(ring);
    struct seen second = seen_new(ring);
    local_pair(a);
    local_pair(b);
    first.keep_buf = true;
    CHECK(ring_recv_free(ring) == 1);
    CHECK(send(a[0], "1", 1, 0) == 1 && send(b[0], "2", 1, 0) == 1);
    ring_recv(ring, &first.op, a[1], false);
    run_until(ring, &first, 1);
    CHECK(first.last.has_buf && ring_recv_free(ring) == 0);
    ring_recv(ring, &second.op, b[1], true);
    run_until(ring, &second, 1);
    CHECK(second.last.err == MX_ERR_AGAIN && !second.last.has_buf);
    struct ring_stats stats;
    ring_stats(ring, &stats);
    CHECK(stats.no_buffer > 0 && stats.recv_free == 0 && stats.recv_count == 1);
    ring_recv_return(ring, first.last.buf_id);
    CHECK(ring_recv_free(ring) == 1);
    ring_recv(ring, &second.op, b[1], true);
    run_until(ring, &second, 2);
    CHECK(second.last.value == 1 && second.bytes[0] == '2' && ring_recv_free(ring) == 1);
    for (unsigned i = 0; i < 2; i++) {
        (void)close(a[i]);
        (void)close(b[i]);
    }
    ring_close(ring);
}

static void check_sock_more(void)
{
    static uint8_t bytes[3 * RING_RECV_BYTES];
    int pair[2];
    struct ring *ring = ring_new(0, 4);
    struct seen seen = seen_new(ring);
    tcp_pair(pair);
    CHECK(send(pair[1], bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    size_t got = 0;
    for (unsigned calls = 1; got < sizeof bytes; calls++) {
        ring_recv(ring, &seen.op, pair[0], !seen.last.sock_more);
        run_until(ring, &seen, calls);
        CHECK(seen.last.value > 0 && seen.last.value <= RING_RECV_BYTES);
        got += (size_t)seen.last.value;
        CHECK(seen.last.sock_more || got == sizeof bytes || calls < 3);
    }
    CHECK(!seen.last.sock_more);
    (void)close(pair[0]);
    (void)close(pair[1]);
    ring_close(ring);
}

static void check_cancel(void)
{
    int pair[2];
    struct ring *ring = ring_new(0, 0);
    struct seen seen = seen_new(ring);
    local_pair(pair);
    ring_cancel(ring, &seen.op); /* nothing to do */
    ring_recv(ring, &seen.op, pair[1], true);
    ring_cancel(ring, &seen.op); /* not even submitted yet */
    run_until(ring, &seen, 1);
    CHECK(seen.last.err == MX_ERR_CANCELLED && !seen.op.pending);
    ring_recv(ring, &seen.op, pair[1], true);
    ring_wait(ring, 0);
    CHECK(ring_reap(ring, 8) == 0 && seen.op.pending);
    ring_cancel(ring, &seen.op);
    ring_cancel(ring, &seen.op);
    run_until(ring, &seen, 2);
    CHECK(seen.last.err == MX_ERR_CANCELLED);
    ring_wait(ring, 0);
    (void)ring_reap(ring, 8);
    CHECK(seen.calls == 2 && ring_pending(ring) == 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
    ring_close(ring);
}

static void check_close_pending(void)
{
    int pair[2];
    struct ring *ring = ring_new(0, 0);
    struct seen many[20];
    tcp_pair(pair);
    for (unsigned i = 0; i < mx_countof(many); i++) {
        many[i] = seen_new(ring);
        int fd = i % 2 == 0 ? pair[0] : pair[1];
        ring_recv(ring, &many[i].op, fd, true);
    }
    ring_close(ring); /* delivers all */
    for (unsigned i = 0; i < mx_countof(many); i++) {
        CHECK(many[i].calls == 1 && many[i].last.err == MX_ERR_CANCELLED);
    }
    (void)close(pair[0]);
    (void)close(pair[1]);
    ring_close(NULL);
}

static void check_accept_connect(void)
{
    struct ring_addr addr;
    struct ring_addr local;
    struct ring_addr peer;
    int listener = listen_any(&addr);
    struct ring *ring = ring_new(0, 0);
    struct seen accept_seen = seen_new(ring);
    ring_accept(ring, &accept_seen.op, listener);
    for (unsigned i = 1; i <= 3; i++) {
        int fd = -1;
        struct seen connect_seen = seen_new(ring);
        struct ring_addr to = addr;
        CHECK(ring_socket(&fd, AF_INET) == MX_OK);
        ring_connect(ring, &connect_seen.op, fd, (const void *)to.bytes, to.len);
        memset(&to, 0xff, sizeof to); /* the address was copied */
        run_until(ring, &connect_seen, 1);
        run_until(ring, &accept_seen, i);
        CHECK(connect_seen.last.err == MX_OK);
        CHECK(accept_seen.last.err == MX_OK && accept_seen.last.more);
        CHECK(ring_peer(&peer, accept_seen.last.value) == MX_OK);
        CHECK(ring_local(&local, fd) == MX_OK);
        CHECK(peer.len == local.len && memcmp(peer.bytes, local.bytes, peer.len) == 0);
        ring_close_fd(accept_seen.last.value);
        ring_close_fd(fd);
    }
    ring_cancel(ring, &accept_seen.op);
    run_until(ring, &accept_seen, 4);
    CHECK(accept_seen.last.err == MX_ERR_CANCELLED && !accept_seen.last.more);
    ring_close_fd(listener);

    int fd = -1;
    struct seen refused = seen_new(ring);
    CHECK(ring_socket(&fd, AF_INET) == MX_OK);
    ring_connect(ring, &refused.op, fd, (const void *)addr.bytes, addr.len);
    run_until(ring, &refused, 1);
    CHECK(refused.last.err == MX_ERR_REFUSED);
    CHECK(ring_peer(&peer, fd) == MX_ERR_CLOSED); /* not connected */
    ring_close_fd(fd);
    ring_close(ring);
}

static void check_addresses(void)
{
    struct netaddr v4 = {.family = 4, .bytes = {192, 0, 2, 1}, .port = 25};
    struct ring_addr addr = ring_addr_of(&v4);
    struct netaddr back = ring_addr_netaddr(&addr);
    CHECK(netaddr_equal(&v4, &back) && back.port == 25);

    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(26)};
    CHECK(inet_pton(AF_INET6, "::ffff:192.0.2.1", &in6.sin6_addr) == 1);
    memcpy(addr.bytes, &in6, sizeof in6);
    addr.len = sizeof in6;
    back = ring_addr_netaddr(&addr);
    CHECK(netaddr_equal(&v4, &back) && back.port == 26);

    struct netaddr none = {0};
    addr = ring_addr_of(&none);
    CHECK(addr.len == 0 && ring_addr_netaddr(&addr).family == 0);
}

static void check_listen_errors(void)
{
    struct ring_addr addr;
    int other = -1;
    int listener = listen_any(&addr);
    struct ring_listen_conf conf = {.addr = addr, .backlog = 8};
    CHECK(ring_listen(&other, &conf) == MX_ERR_INUSE && other == -1);
    ring_close_fd(listener);
    conf.reuse_port = true;
    int twice[2];
    CHECK(ring_listen(&twice[0], &conf) == MX_OK && ring_listen(&twice[1], &conf) == MX_OK);
    CHECK(ring_accept_now(&other, twice[0]) == MX_ERR_AGAIN);
    ring_close_fd(twice[0]);
    ring_close_fd(twice[1]);
}

static void check_file(void)
{
    char path[] = "/tmp/ringmx-ring-XXXXXX"; /* gone as soon as it is open */
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    (void)unlink(path);
    struct ring *ring = ring_new(0, 0);
    struct seen seen = seen_new(ring);
    char buf[8] = {0};
    ring_write(ring, &seen.op, fd, "durable", 7, 4096, true);
    run_until(ring, &seen, 1);
    CHECK(seen.last.err == MX_OK && seen.last.value == 7);
    ring_read(ring, &seen.op, fd, buf, sizeof buf, 4096);
    run_until(ring, &seen, 2);
    CHECK(seen.last.value == 7 && memcmp(buf, "durable", 7) == 0);
    ring_read(ring, &seen.op, -1, buf, sizeof buf, 0);
    run_until(ring, &seen, 3);
    CHECK(seen.last.err == MX_ERR_IO);
    (void)close(fd);
    ring_close(ring);
}

static void check_reap_bound(void)
{
    int pair[2];
    struct ring *ring = ring_new(0, 0);
    struct seen sends[10];
    local_pair(pair);
    for (unsigned i = 0; i < mx_countof(sends); i++) {
        sends[i] = seen_new(ring);
        ring_send(ring, &sends[i].op, pair[0], SLICE_LITERAL("x"));
    }
    ring_wait(ring, 0);
    CHECK(ring_reap(ring, 3) == 3 && ring_pending(ring) == 7);
    CHECK(ring_reap(ring, 100) == 7 && ring_pending(ring) == 0);
    (void)close(pair[0]);
    (void)close(pair[1]);
    ring_close(ring);
}

static atomic_bool woken;

static void *waker(void *arg)
{
    atomic_store(&woken, true);
    ring_wake(arg);
    return NULL;
}

static void check_wake(void)
{
    pthread_t thread;
    struct ring *ring = ring_new(0, 0);
    for (unsigned i = 0; i < 20; i++) {
        atomic_store(&woken, false);
        CHECK(pthread_create(&thread, NULL, waker, ring) == 0);
        while (!atomic_load(&woken)) {
            ring_wait(ring, UINT64_MAX); /* returns because of the wake alone */
            (void)ring_reap(ring, 8);
        }
        CHECK(pthread_join(thread, NULL) == 0);
        ring_wait(ring, 0);
        (void)ring_reap(ring, 8);
    }
    ring_wait(ring, MX_NS_PER_MS); /* nothing there: ends by time */
    CHECK(ring_reap(ring, 8) == 0);
    ring_close(ring);
}

/* More completions than the queue holds: kept by the kernel, counted, delivered. */
static void check_stats(void)
{
    enum { WRITES = 100 };
    struct ring *ring = NULL;
    struct ring_conf conf = {.sq_entries = 8, .cq_entries = 16, .recv_bufs = 8};
    static struct seen writes[WRITES];
    struct ring_stats stats;
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && ring_open(&ring, &conf) == MX_OK);
    ring_stats(ring, &stats);
    CHECK(stats.recv_count == 8 && stats.recv_free == 8 && stats.pending == 0);
    uint64_t before = stats.submissions;
    for (unsigned i = 0; i < WRITES; i++) {
        writes[i] = seen_new(ring);
        ring_write(ring, &writes[i].op, fd, "x", 1, 0, false);
    }
    ring_stats(ring, &stats);
    CHECK(stats.submissions == before + WRITES && stats.pending == WRITES);
    run_until(ring, &writes[WRITES - 1], 1);
    for (unsigned i = 0; i < WRITES; i++) {
        CHECK(writes[i].calls == 1 && writes[i].last.value == 1);
    }
    ring_stats(ring, &stats);
    CHECK(stats.completions >= WRITES && stats.enters > 1 && stats.overflowed > 0);
    ring_close(ring);
    CHECK(close(fd) == 0);
}

static int ring_descriptor(void)
{
    char path[64], target[64];
    for (int fd = 3; fd < 1024; fd++) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(path, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        if (strcmp(target, "anon_inode:[io_uring]") == 0) {
            return fd;
        }
    }
    return -1;
}

/* What ring_uring_open.c does not ask of a ring, nobody can: here, a file's descriptor of its own.
 */
static void check_restricted(void)
{
    struct ring *ring = ring_new(0, 8);
    int fd = ring_descriptor(), files[1] = {STDERR_FILENO};
    CHECK(fd >= 0);
    CHECK(syscall(SYS_io_uring_register, fd, REGISTER_FILES, files, 1) == -1 && errno == EACCES);
    ring_close(ring);
}

int main(void)
{
    check_probe();
    check_restricted();
    check_stats();
    check_send_recv();
    check_recv_multishot();
    check_sendv_overflow(0);
    check_sendv_overflow(8);
    check_sendv_overflow(5); /* not a power of two: the kernel makes it 8 */
    check_no_buffer();
    check_sock_more();
    check_cancel();
    check_close_pending();
    check_accept_connect();
    check_addresses();
    check_listen_errors();
    check_file();
    check_reap_bound();
    check_wake();
    printf("ring: all good\n");
    return 0;
}
