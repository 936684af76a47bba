#include "admin/log_output.h"

#include "core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640,
    LOG_OUTPUT_ROUNDS = 1024, /* fillings of the buffer in one turn */
};

/* --- opening -----------------------------------------------------------------------------------
 */

/* "DEVICE:INODE" of what systemd has given as standard output or error. */
static bool is_journal(const struct stat *st)
{
    char own[64];
    const char *stream = getenv("JOURNAL_STREAM");
    (void)snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino);
    return stream != NULL && strcmp(stream, own) == 0;
}

/* A pipe is opened once more, since O_NONBLOCK would hold for all that share the descriptor. */
static void open_standard_error(struct log_output *out)
{
    struct stat st;
    out->fd = STDERR_FILENO;
    out->polls = true;
    if (fstat(STDERR_FILENO, &st) != 0) {
        return;
    }
    out->style.priority = is_journal(&st);
    out->is_socket = S_ISSOCK(st.st_mode);
    if (S_ISFIFO(st.st_mode)) {
        int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        out->is_own = fd >= 0;
        out->polls = fd < 0;
        out->fd = fd >= 0 ? fd : STDERR_FILENO;
    }
}

/* O_NONBLOCK: a pipe of that name without a reader is an error, not a wait. */
static int open_file(const char *path)
{
    int flags = O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    return open(path, flags, FILE_MODE);
}

/* The folder in which the file is made anew when it was renamed. That of all folders is no such. */
static bool find_folder(struct log_output *out)
{
    const char *path = out->conf.path;
    const char *slash = strrchr(path, '/');
    if (path[0] != '/' || slash == path || strlen(path) >= sizeof out->folder) {
        return false;
    }
    memcpy(out->folder, path, (size_t)(slash - path));
    return true;
}

bool log_output_open(struct log_output *out, const struct log_output_conf *conf, FILE *err)
{
    *out = (struct log_output){.conf = *conf, .style.format = conf->format, .fd = -1};
    if (conf->path == NULL) {
        open_standard_error(out);
        return true;
    }
    if (!find_folder(out)) {
        fprintf(err, "ringmx: --log-file %s: must be a path from / on, in a folder below it\n",
                conf->path);
        return false;
    }
    out->fd = open_file(conf->path);
    if (out->fd < 0) {
        fprintf(err, "ringmx: --log-file %s: %s\n", conf->path, strerror(errno));
        return false;
    }
    out->is_own = true;
    return true;
}

void log_output_close(struct log_output *out)
{
    if (out->is_own) {
        (void)close(out->fd);
    }
    out->is_own = false;
    out->fd = -1;
}

mx_err log_output_reopen(struct log_output *out)
{
    if (out->conf.path == NULL) {
        return MX_OK;
    }
    int fd = open_file(out->conf.path);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    (void)close(out->fd);
    out->fd = fd;
    out->done = 0;
    return MX_OK;
}

/* --- writing -----------------------------------------------------------------------------------
 */

static ssize_t write_some(const struct log_output *out, const uint8_t *bytes, size_t len)
{
    if (out->is_socket) {
        return send(out->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    if (out->polls) {
        struct pollfd ready = {.fd = out->fd, .events = POLLOUT};
        if (poll(&ready, 1, 0) != 1 || (ready.revents & POLLOUT) == 0) {
            return -1;
        }
    }
    return write(out->fd, bytes, len);
}

/* Whole lines of at most PIPE_BUF bytes, which a pipe takes as a whole or not at all; a line that
 * is longer than that alone. */
static size_t piece(struct slice rest)
{
    if (rest.len <= PIPE_BUF) {
        return rest.len;
    }
    const uint8_t *end = memrchr(rest.ptr, '\n', PIPE_BUF);
    end = end != NULL ? end : memchr(rest.ptr, '\n', rest.len);
    return (size_t)(end - rest.ptr) + 1;
}

/* The line that was written in part stays whole: another file would get all of it. */
static void forget_written(struct log_output *out)
{
    const uint8_t *end = out->done > 0 ? memrchr(out->buf, '\n', out->done) : NULL;
    if (end != NULL) {
        size_t lines = (size_t)(end - out->buf) + 1;
        out->len -= lines;
        out->done -= lines;
        memmove(out->buf, out->buf + lines, out->len);
    }
}

/* False: it takes no more now. */
static bool write_out(struct log_output *out)
{
    ssize_t written = 0;
    while (out->done < out->len && written >= 0) {
        struct slice rest = slice_of(out->buf + out->done, out->len - out->done);
        written = write_some(out, rest.ptr, piece(rest));
        out->done += written > 0 ? (size_t)written : 0;
        if (written == 0) {
            break;
        }
    }
    forget_written(out);
    return out->len == 0;
}

/* One line; false: none waits. */
static bool take(struct log_output *out, struct log *log)
{
    struct writer w = writer_init(out->buf + out->len, sizeof out->buf - out->len);
    bool taken = log_take_as(log, &out->style, &w);
    MX_ASSERT(!w.overflow);
    out->len += w.len;
    return taken;
}

/* As many lines as the buffer has room for. False: none waited. */
static bool fill(struct log_output *out, struct log *const *logs, unsigned count)
{
    bool any = false;
    for (unsigned i = 0; i < count; i++) {
        struct log *log = logs[(out->next + i) % count];
        while (sizeof out->buf - out->len >= LOG_TEXT_BYTES && take(out, log)) {
            any = true;
        }
    }
    out->next = (out->next + 1) % count;
    return any;
}

void log_output_write(struct log_output *out, struct log *const *logs, unsigned count)
{
    /* More than this came meanwhile, and has its turn later. */
    for (unsigned n = 0; n < LOG_OUTPUT_ROUNDS; n++) {
        if (!write_out(out) || !fill(out, logs, count)) {
            return;
        }
    }
    (void)write_out(out);
}
