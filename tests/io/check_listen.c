/* Listeners: pausing, running out of descriptors, closing with connections in the queue. */
#include "tests/io/support.h"

#include <sys/resource.h>

enum { FDS_MAX = 64 };

static struct shard shard;
static struct listener listener;
static int accepted_fds[FDS_MAX];
static unsigned accepted, closed;
static bool close_in_accepted;

static void on_accepted(struct listener *l, int fd)
{
    CHECK(l == &listener && accepted < FDS_MAX && closed == 0);
    accepted_fds[accepted++] = fd;
    if (close_in_accepted) {
        close_in_accepted = false;
        listener_close(l);
    }
}

static void on_closed(struct listener *l)
{
    CHECK(l == &listener && l->fd == -1);
    closed++;
}

static struct ring_addr open_listener(void)
{
    struct ring_addr addr;
    int fd = listen_any(&addr);
    accepted = 0;
    closed = 0;
    listener_open(&listener, &shard, fd, on_accepted);
    listener.closed = on_closed;
    return addr;
}

static void end(void)
{
    if (!listener.closing) {
        listener_close(&listener);
    }
    TURN_UNTIL(&shard, closed == 1);
    for (unsigned i = 0; i < accepted; i++) {
        ring_close_fd(accepted_fds[i]);
    }
    turn_some(&shard, 2);
    CHECK(closed == 1);
}

static void check_accept(void)
{
    struct ring_addr addr = open_listener();
    int fds[10];
    for (unsigned i = 0; i < 10; i++) {
        fds[i] = dial(&addr);
    }
    TURN_UNTIL(&shard, accepted == 10);
    for (unsigned i = 0; i < 10; i++) {
        (void)close(fds[i]);
    }
    end();
}

static void check_pause(void)
{
    struct ring_addr addr = open_listener();
    listener_pause(&listener);
    turn_some(&shard, 5);
    int one = dial(&addr);
    turn_some(&shard, 5);
    CHECK(accepted == 0); /* waits in the queue of the kernel */
    listener_resume(&listener);
    TURN_UNTIL(&shard, accepted == 1);
    listener_pause(&listener);
    listener_resume(&listener); /* while the cancel is on its way */
    int two = dial(&addr);
    TURN_UNTIL(&shard, accepted == 2);
    (void)close(one);
    (void)close(two);
    end();
}

/* Whoever is in the queue when the listener goes gets an answer, not a reset. */
static void check_close_with_queue(void)
{
    struct ring_addr addr = open_listener();
    listener_pause(&listener);
    turn_some(&shard, 5);
    int fds[5];
    for (unsigned i = 0; i < 5; i++) {
        fds[i] = dial(&addr);
    }
    listener_close(&listener);
    TURN_UNTIL(&shard, closed == 1);
    CHECK(accepted == 5);
    for (unsigned i = 0; i < 5; i++) {
        CHECK(send(accepted_fds[i], "421\r\n", 5, MSG_NOSIGNAL) == 5);
    }
    for (unsigned i = 0; i < 5; i++) {
        hear_text(&shard, fds[i], "421\r\n");
        (void)close(fds[i]);
    }
    end();
}

static void check_close_in_accepted(void)
{
    struct ring_addr addr = open_listener();
    close_in_accepted = true;
    int fd = dial(&addr);
    TURN_UNTIL(&shard, closed == 1);
    CHECK(accepted == 1);
    (void)close(fd);
    end();
}

static void check_out_of_files(void)
{
    struct rlimit before;
    struct ring_addr addr = open_listener();
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(client >= 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
    listener_pause(&listener); /* the limit is read when the accept is armed */
    turn_some(&shard, 5);
    struct rlimit tight = {.rlim_cur = (rlim_t)client, .rlim_max = before.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    listener_resume(&listener);
    CHECK(connect(client, (const void *)addr.bytes, addr.len) == 0);
    TURN_UNTIL(&shard, listener.out_of_files > 0);
    turn_some(&shard, 20);
    CHECK(accepted == 0);
    CHECK(listener.out_of_files < 5); /* it does not spin */
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    TURN_UNTIL(&shard, accepted == 1);
    (void)close(client);
    end();
}

int main(void)
{
    core_open(&shard, 0);
    check_accept();
    check_pause();
    check_close_with_queue();
    check_close_in_accepted();
    check_out_of_files();
    core_close(&shard);
    printf("listen: all good\n");
    return 0;
}
