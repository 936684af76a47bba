#include "bench/sink.h"

#include "bench/args.h"
#include "io/listen.h"
#include "io/shard.h"
#include "io/stream.h"
#include "io/sys.h"
#include "smtp/srv_engine.h"

#include <signal.h>
#include <stdlib.h>

enum {
    SESSIONS_MAX = 16384,
    OUT_BYTES = 8192,
    PATH_BYTES = 1024,
    ENVELOPE_BYTES_MAX = 512 * 1024,
    CONTENT_BYTES_MAX = 128 * 1024 * 1024,
};

struct sink {
    struct shard shard;
    struct listener listener;
    struct srv_conf conf;
    struct pool sessions;
    const char *dir; /* NULL: only count */
    bool quiet;
    uint64_t messages, recipients, bytes;
};

/* Text that grows up to a bound. */
struct buffer {
    uint8_t *bytes;
    size_t len, cap;
};

struct session {
    struct stream stream;
    struct srv srv;
    struct sink *sink;
    struct buffer envelope, content; /* of the message under way, when kept */
    bool store_failed;
};

/* A signal handler can reach nothing else. */
static volatile sig_atomic_t stop_wanted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop_wanted = 1;
}

/* --- keeping -----------------------------------------------------------------------------------
 */

static bool buffer_add(struct buffer *b, struct slice bytes, size_t max)
{
    if (bytes.len > max - b->len) {
        return false;
    }
    if (b->len + bytes.len > b->cap) {
        size_t cap = mx_min_size(max, (b->len + bytes.len) * 2);
        uint8_t *grown = realloc(b->bytes, cap);
        if (grown == NULL) {
            return false;
        }
        b->bytes = grown;
        b->cap = cap;
    }
    if (bytes.len > 0) {
        memcpy(b->bytes + b->len, bytes.ptr, bytes.len);
        b->len += bytes.len;
    }
    return true;
}

static void envelope_line(struct session *s, const char *what, struct slice address)
{
    bool good = buffer_add(&s->envelope, slice_of_text(what), ENVELOPE_BYTES_MAX) &&
                buffer_add(&s->envelope, address, ENVELOPE_BYTES_MAX) &&
                buffer_add(&s->envelope, SLICE_LITERAL("\n"), ENVELOPE_BYTES_MAX);
    s->store_failed = s->store_failed || !good;
}

static void forget(struct session *s)
{
    s->envelope.len = 0;
    s->content.len = 0;
    s->store_failed = false;
}

/* The envelope first: whoever sees NAME.eml finds NAME.env. This blocks; keeping mail is for tests.
 */
static bool keep(const struct session *s, uint64_t number)
{
    char path[PATH_BYTES];
    const struct sink *sink = s->sink;
    (void)snprintf(path, sizeof path, "%s/%08llu.env", sink->dir, (unsigned long long)number);
    mx_err err = sys_replace_file(path, slice_of(s->envelope.bytes, s->envelope.len));
    if (!err) {
        (void)snprintf(path, sizeof path, "%s/%08llu.eml", sink->dir, (unsigned long long)number);
        err = sys_replace_file(path, slice_of(s->content.bytes, s->content.len));
    }
    return err == MX_OK && !s->store_failed;
}

/* --- session -----------------------------------------------------------------------------------
 */

static enum reply on_end(struct session *s)
{
    struct sink *sink = s->sink;
    if (sink->dir != NULL && !keep(s, sink->messages + 1)) {
        return REPLY_IO_ERROR;
    }
    sink->messages++;
    if (!sink->quiet) {
        printf("message %llu\n%.*s", (unsigned long long)sink->messages, (int)s->envelope.len,
               (const char *)s->envelope.bytes);
        fflush(stdout);
    }
    forget(s);
    return REPLY_OK;
}

static void answer(struct session *s, struct writer *out)
{
    const struct srv_ask *ask = &s->srv.ask;
    struct sink *sink = s->sink;
    enum reply reply = REPLY_OK;
    switch (ask->kind) {
    case SRV_ASK_MAIL:
        forget(s);
        envelope_line(s, "from ", ask->text);
        break;
    case SRV_ASK_RCPT:
        sink->recipients++;
        envelope_line(s, "to ", ask->text);
        break;
    case SRV_ASK_BODY:
        sink->bytes += ask->text.len;
        if (sink->dir != NULL && !buffer_add(&s->content, ask->text, CONTENT_BYTES_MAX)) {
            s->store_failed = true;
        }
        break;
    case SRV_ASK_END:
        reply = on_end(s);
        break;
    case SRV_ASK_ABORT:
        forget(s);
        break;
    default:
        break;
    }
    srv_answer(&s->srv, reply, SLICE_LITERAL("sink"), out);
}

static bool flush(struct session *s, struct writer *out)
{
    mx_err err = out->len > 0 ? stream_write(&s->stream, writer_slice(out)) : MX_OK;
    out->len = 0;
    if (err) {
        stream_abort(&s->stream, err);
    }
    return err == MX_OK;
}

static void pump(struct session *s, struct slice *in)
{
    uint8_t buf[OUT_BYTES];
    struct writer out = writer_init(buf, sizeof buf);
    enum srv_act act;
    do {
        if (writer_room(&out) < SRV_REPLY_MAX * 2 && !flush(s, &out)) {
            in->len = 0;
            return;
        }
        act = srv_next(&s->srv, in, &out);
        if (act == SRV_ASK) {
            answer(s, &out);
        }
    } while (act == SRV_ASK || act == SRV_FLUSH);
    if (!flush(s, &out) || act == SRV_CLOSE) {
        in->len = 0;
        stream_close(&s->stream);
    }
}

static size_t on_input(struct stream *stream, struct slice in)
{
    size_t len = in.len;
    pump(mx_container_of(stream, struct session, stream), &in);
    return len - in.len;
}

static void on_closed(struct stream *stream, mx_err why)
{
    struct session *s = mx_container_of(stream, struct session, stream);
    (void)why;
    free(s->envelope.bytes);
    free(s->content.bytes);
    pool_release(&s->sink->sessions, s);
}

static const struct stream_ops callbacks = {.input = on_input, .closed = on_closed};

static void on_accepted(struct listener *listener, int fd)
{
    struct sink *sink = mx_container_of(listener, struct sink, listener);
    struct session *s = pool_acquire_zero(&sink->sessions);
    struct slice none = SLICE_EMPTY;
    if (s == NULL) {
        ring_close_fd(fd);
        return;
    }
    s->sink = sink;
    srv_init(&s->srv, &sink->conf, false);
    stream_open(&s->stream, &sink->shard, &callbacks, fd);
    pump(s, &none);
}

/* --- command -----------------------------------------------------------------------------------
 */

static int help(int code)
{
    fprintf(code == 0 ? stdout : stderr,
            "usage: ringmx-bench sink --listen ADDRESS:PORT [options]\n"
            "  --dir DIR         keep every message as NUMBER.eml (exact content) and NUMBER.env\n"
            "  --quiet           do not print every message\n"
            "  --no-pipelining   do not offer PIPELINING\n"
            "  --no-chunking     do not offer CHUNKING\n"
            "  --no-dsn          do not offer DSN\n"
            "  --size BYTES      largest message (default 104857600)\n"
            "  --allow-remote    listen on other addresses than loopback\n");
    return code;
}

static mx_err open_all(struct sink *sink, const struct netaddr *addr, int *out_fd)
{
    struct shard_conf conf = {.count = 1, .cpu = -1, .blocks_max = 65536, .log_level = LOG_WARN};
    struct ring_listen_conf listen_conf = {
        .addr = ring_addr_of(addr), .backlog = 1024, .no_delay = true};
    mx_err err = pool_init(&sink->sessions, "sessions", sizeof(struct session), SESSIONS_MAX);
    if (!err && sink->dir != NULL) {
        err = sys_mkdirs(sink->dir);
    }
    if (!err) {
        err = ring_listen(out_fd, &listen_conf);
    }
    if (!err) {
        err = shard_init(&sink->shard, &conf);
    }
    return err ? err : shard_open(&sink->shard);
}

static int serve(struct sink *sink, const struct netaddr *addr)
{
    int fd = -1;
    mx_err err = open_all(sink, addr, &fd);
    if (err) {
        fprintf(stderr, "ringmx-bench: cannot start the sink: %s\n",
                err == MX_ERR_INUSE ? "the port is in use" : err_text(err));
        return 1;
    }
    listener_open(&sink->listener, &sink->shard, fd, on_accepted);
    printf("sink ready\n");
    fflush(stdout);
    while (!stop_wanted) {
        shard_turn(&sink->shard, 200 * MX_NS_PER_MS);
    }
    printf("sink: %llu messages, %llu recipients, %llu bytes\n", (unsigned long long)sink->messages,
           (unsigned long long)sink->recipients, (unsigned long long)sink->bytes);
    return 0;
}

static bool extension_option(struct args *args, struct srv_limits *limits)
{
    if (args_is(args, "--no-pipelining")) {
        limits->offer_pipelining = false;
    } else if (args_is(args, "--no-chunking")) {
        limits->offer_chunking = false;
    } else if (args_is(args, "--no-dsn")) {
        limits->offer_dsn = false;
    } else if (args_is(args, "--size")) {
        limits->size_bytes_max = args_number(args, 1, CONTENT_BYTES_MAX);
    } else {
        return false;
    }
    return true;
}

int sink_command(int argc, char **argv)
{
    static struct sink sink; /* too large for the stack; lives as long as the process */
    struct args args;
    struct netaddr addr = {0};
    bool allow_remote = false;
    sink.conf.hostname = SLICE_LITERAL("sink.invalid");
    sink.conf.limits = (struct srv_limits){.line_bytes_max = 4096,
                                           .rcpts_max = 1000,
                                           .size_bytes_max = 100 * 1024 * 1024,
                                           .offer_pipelining = true,
                                           .offer_chunking = true,
                                           .offer_dsn = true};
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--listen")) {
            addr = args_address(&args);
        } else if (args_is(&args, "--dir")) {
            sink.dir = args_text(&args);
        } else if (args_is(&args, "--quiet")) {
            sink.quiet = true;
        } else if (args_is(&args, "--allow-remote")) {
            allow_remote = true;
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else if (!extension_option(&args, &sink.conf.limits)) {
            args_unknown(&args);
        }
    }
    if (args.failed || addr.family == 0) {
        return help(2);
    }
    if (!args_loopback(&addr) && !allow_remote) {
        fprintf(stderr, "ringmx-bench: only loopback addresses without --allow-remote\n");
        return 2;
    }
    (void)signal(SIGTERM, on_signal);
    (void)signal(SIGINT, on_signal);
    return serve(&sink, &addr);
}
