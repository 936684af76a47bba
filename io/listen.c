#include "io/listen.h"

#include "core/check.h"
#include "io/shard.h"

enum { RETRY_MS = 100, CLOSE_ACCEPTS_MAX = 1024, LOG_EVERY = 100 };

static void arm(struct listener *listener)
{
    if (!listener->paused && !listener->closing && !listener->accept_op.pending) {
        ring_accept(listener->shard->ring, &listener->accept_op, listener->fd);
    }
}

static void give(struct listener *listener, int fd)
{
    listener->in_accepted = true;
    listener->accepted(listener, fd);
    listener->in_accepted = false;
}

/* The queue is emptied by hand: a connection that nobody accepts would be reset by the close. */
static void close_now(struct listener *listener)
{
    int fd;
    for (unsigned i = 0; i < CLOSE_ACCEPTS_MAX && ring_accept_now(&fd, listener->fd) == MX_OK;
         i++) {
        give(listener, fd);
    }
    ring_close_fd(listener->fd);
    listener->fd = -1;
    wheel_cancel(&listener->shard->wheel, &listener->retry);
    if (listener->closed != NULL) {
        listener->closed(listener);
    }
}

static void retry_fire(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    arm(mx_container_of(timer, struct listener, retry));
}

/* Once per ten seconds of shortage. */
static void log_shortage(struct listener *listener, mx_err err)
{
    struct log *log = &listener->shard->log;
    if (listener->out_of_files++ % LOG_EVERY == 0) {
        struct log_line *line = log_begin(log, LOG_WARN, "cannot-accept");
        log_err(line, "reason", err);
        log_text(line, "effect", "new connections wait in the kernel; it is tried again by itself");
        log_text(line, "advice", "raise the limit of open files (ulimit -n, LimitNOFILE)");
        log_end(log, line);
    }
}

static void accept_done(struct op *op, const struct op_result *result)
{
    struct listener *listener = mx_container_of(op, struct listener, accept_op);
    if (result->err == MX_OK) {
        give(listener, result->value);
    } else if (result->err != MX_ERR_CANCELLED && result->err != MX_ERR_RESET) {
        log_shortage(listener, result->err);
        if (!timer_armed(&listener->retry)) {
            shard_after(listener->shard, &listener->retry, RETRY_MS * MX_NS_PER_MS);
        }
    }
    if (result->more) {
        return;
    }
    if (listener->closing) {
        close_now(listener);
    } else if (!timer_armed(&listener->retry)) {
        arm(listener);
    }
}

void listener_open(struct listener *listener, struct shard *shard, int fd,
                   void (*accepted)(struct listener *listener, int fd))
{
    *listener = (struct listener){.shard = shard, .accepted = accepted, .fd = fd};
    listener->accept_op.done = accept_done;
    listener->retry.fire = retry_fire;
    arm(listener);
}

void listener_pause(struct listener *listener)
{
    listener->paused = true;
    ring_cancel(listener->shard->ring, &listener->accept_op);
}

void listener_resume(struct listener *listener)
{
    listener->paused = false;
    arm(listener);
}

void listener_close(struct listener *listener)
{
    MX_ASSERT(!listener->closing);
    listener->closing = true;
    if (listener->accept_op.pending) {
        ring_cancel(listener->shard->ring, &listener->accept_op);
    } else if (!listener->in_accepted) {
        close_now(listener);
    }
}
