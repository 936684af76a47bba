/* One SMTP connection that asks at fixed times, whatever the server is busy with, and measures one
 * step of the conversation. When an answer comes so late that the next question is overdue, the
 * delay of that question counts as well: otherwise a server that stops for a while would be
 * measured once and not as often as it made others wait. */
#include "bench/probe.h"

#include "bench/args.h"
#include "bench/histogram.h"
#include "bench/process.h"
#include "core/cursor.h"
#include "core/text.h"
#include "io/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PROBE_LINE_MAX = 1024,
    PROBE_TIMEOUT_S = 30,
    PROBE_SIZE_MAX = 64 * 1024,
    PROBE_RCPTS = 50, /* of one transaction that is never completed */
};

struct probe {
    const volatile int *stop;
    struct netaddr to;
    const char *from, *rcpt;
    bool messages; /* else RCPT */
    uint64_t rate, seconds, size;
    int fd;
    char in[PROBE_LINE_MAX];
    size_t in_len;
    unsigned rcpts; /* of the open transaction */
    uint8_t content[PROBE_SIZE_MAX + 64];
    size_t content_len;
    uint64_t overdue; /* questions that were */
    const char *failed;
    char last[PROBE_LINE_MAX]; /* reply */
    struct histogram times_ns;
};

/* --- conversation ------------------------------------------------------------------------------
 */

static bool put(struct probe *p, const void *bytes, size_t len)
{
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(p->fd, at, len, MSG_NOSIGNAL);
        if (sent <= 0 && errno != EINTR) {
            p->failed = "the connection was lost";
            return false;
        }
        if (sent > 0) {
            at += sent;
            len -= (size_t)sent;
        }
    }
    return true;
}

static bool put_line(struct probe *p, const char *before, const char *text, const char *after)
{
    char line[PROBE_LINE_MAX];
    struct writer w = writer_init(line, sizeof line);
    put_text(&w, before);
    put_text(&w, text);
    put_text(&w, after);
    put_text(&w, "\r\n");
    return put(p, line, w.len);
}

/* One line without its end, in p->last. */
static bool take_line(struct probe *p)
{
    for (;;) {
        char *end = memchr(p->in, '\n', p->in_len);
        if (end != NULL) {
            size_t len = (size_t)(end - p->in) + 1;
            memcpy(p->last, p->in, len);
            p->last[len - 1] = '\0';
            p->in_len -= len;
            memmove(p->in, p->in + len, p->in_len);
            return true;
        }
        ssize_t got = p->in_len == sizeof p->in
                          ? 0
                          : recv(p->fd, p->in + p->in_len, sizeof p->in - p->in_len, 0);
        if (got <= 0 && (got == 0 || errno != EINTR)) {
            p->failed = got == 0 ? "the server closed the connection" : "no answer in time";
            return false;
        }
        p->in_len += got > 0 ? (size_t)got : 0;
    }
}

/* A whole reply, which must begin with this digit. */
static bool take_reply(struct probe *p, char digit)
{
    do {
        if (!take_line(p)) {
            return false;
        }
    } while (strlen(p->last) > 3 && p->last[3] == '-');
    if (p->last[0] != digit) {
        p->failed = "the server refused";
        return false;
    }
    return true;
}

static bool probe_open(struct probe *p)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(p->to.port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(p->to.port)};
    struct timeval timeout = {.tv_sec = PROBE_TIMEOUT_S};
    bool is_four = p->to.family == 4;
    memcpy(is_four ? (void *)&four.sin_addr : (void *)&six.sin6_addr, p->to.bytes,
           is_four ? 4 : 16);
    p->fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 ||
        connect(p->fd, is_four ? (struct sockaddr *)&four : (struct sockaddr *)&six,
                is_four ? sizeof four : sizeof six) != 0 ||
        setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) != 0 ||
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) != 0) {
        p->failed = strerror(errno);
        return false;
    }
    return take_reply(p, '2') && put_line(p, "EHLO probe.example", "", "") && take_reply(p, '2');
}

static bool begin(struct probe *p)
{
    p->rcpts = 0;
    return put_line(p, "MAIL FROM:<", p->from, ">") && take_reply(p, '2');
}

/* --- what is measured --------------------------------------------------------------------------
 */

static bool ask_rcpt(struct probe *p, uint64_t *out_ns)
{
    if (p->rcpts == PROBE_RCPTS &&
        !(put_line(p, "RSET", "", "") && take_reply(p, '2') && begin(p))) {
        return false;
    }
    p->rcpts++;
    uint64_t began_ns = clock_monotonic_ns();
    bool good = put_line(p, "RCPT TO:<", p->rcpt, ">") && take_reply(p, '2');
    *out_ns = clock_monotonic_ns() - began_ns;
    return good;
}

/* From the content's first byte to the 250. */
static bool ask_message(struct probe *p, uint64_t *out_ns)
{
    if (!begin(p) || !put_line(p, "RCPT TO:<", p->rcpt, ">") || !take_reply(p, '2') ||
        !put_line(p, "DATA", "", "") || !take_reply(p, '3')) {
        return false;
    }
    uint64_t began_ns = clock_monotonic_ns();
    bool good = put(p, p->content, p->content_len) && take_reply(p, '2');
    *out_ns = clock_monotonic_ns() - began_ns;
    return good;
}

static void sleep_until(const struct probe *p, uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / MX_NS_PER_S),
                          .tv_nsec = (long)(at_ns % MX_NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR && !*p->stop) {
    }
}

static bool measure(struct probe *p)
{
    uint64_t step_ns = MX_NS_PER_S / p->rate;
    uint64_t due_ns = clock_monotonic_ns() + step_ns;
    uint64_t until_ns = p->seconds == 0 ? UINT64_MAX : due_ns + p->seconds * MX_NS_PER_S;
    for (; !*p->stop && due_ns < until_ns; due_ns += step_ns) {
        uint64_t now_ns = clock_monotonic_ns(), took_ns, late_ns = 0;
        if (now_ns < due_ns) {
            sleep_until(p, due_ns);
        } else {
            late_ns = now_ns - due_ns;
            p->overdue++;
        }
        if (*p->stop) {
            break;
        }
        if (!(p->messages ? ask_message : ask_rcpt)(p, &took_ns)) {
            return false;
        }
        histogram_add(&p->times_ns, took_ns + late_ns);
    }
    return true;
}

/* --- command -----------------------------------------------------------------------------------
 */

static int help(int code)
{
    fprintf(code == 0 ? stdout : stderr,
            "usage: ringmx-bench probe --to ADDRESS:PORT --from SENDER --rcpt RECIPIENT [options]\n"
            "  --what rcpt|message  what is measured (default rcpt): RCPT to its answer, or the\n"
            "                       content's first byte to the 250\n"
            "  --rate N             questions in a second (default 200)\n"
            "  --seconds N          for so long (default 10); 0: until SIGTERM\n"
            "  --size N             bytes of a message (default 4096)\n"
            "One connection asks at fixed times; when an answer is so late that the next question\n"
            "is overdue, its delay is part of its time. Prints one JSON line, times in ns.\n"
            "Exit code: 0 if every answer was positive.\n");
    return code;
}

static void content_make(struct probe *p)
{
    struct writer w = writer_init(p->content, sizeof p->content);
    put_text(&w, "Subject: probe\r\n\r\n");
    while (w.len < p->size) {
        put_text(&w, w.len + 64 <= p->size
                         ? "The quick brown fox jumps over the lazy dog, again and again.\r\n"
                         : "x\r\n");
    }
    put_text(&w, ".\r\n");
    p->content_len = w.len;
}

static void print_json(const struct probe *p)
{
    const struct histogram *h = &p->times_ns;
    printf("{\"what\":\"%s\",\"count\":%llu,\"overdue\":%llu,\"p50_ns\":%llu,\"p90_ns\":%llu,"
           "\"p99_ns\":%llu,\"p999_ns\":%llu,\"max_ns\":%llu}\n",
           p->messages ? "message" : "rcpt", (unsigned long long)h->count,
           (unsigned long long)p->overdue, (unsigned long long)histogram_percentile(h, 50),
           (unsigned long long)histogram_percentile(h, 90),
           (unsigned long long)histogram_percentile(h, 99),
           (unsigned long long)histogram_percentile(h, 99.9), (unsigned long long)h->max);
}

static int run(struct probe *p)
{
    p->stop = process_stop(PROCESS_WAITS_END);
    content_make(p);
    bool good = probe_open(p) && (p->messages || begin(p)) && measure(p);
    if (!good) {
        fprintf(stderr, "ringmx-bench: probe: %s; last reply: %s\n", p->failed, p->last);
    }
    print_json(p);
    if (p->fd >= 0) {
        close(p->fd);
    }
    return good ? 0 : 1;
}

int probe_command(int argc, char **argv)
{
    static struct probe p = {.rate = 200, .seconds = 10, .size = 4096, .fd = -1};
    struct args args;
    const char *what = "rcpt";
    args_init(&args, argc, argv);
    while (args_next(&args)) {
        if (args_is(&args, "--to")) {
            p.to = args_address(&args);
        } else if (args_is(&args, "--from")) {
            p.from = args_text(&args);
        } else if (args_is(&args, "--rcpt")) {
            p.rcpt = args_text(&args);
        } else if (args_is(&args, "--what")) {
            what = args_text(&args);
        } else if (args_is(&args, "--rate")) {
            p.rate = args_number(&args, 1, 100000);
        } else if (args_is(&args, "--seconds")) {
            p.seconds = args_number(&args, 0, 86400);
        } else if (args_is(&args, "--size")) {
            p.size = args_number(&args, 64, PROBE_SIZE_MAX);
        } else if (args_is(&args, "--help")) {
            return help(0);
        } else {
            args_unknown(&args);
        }
    }
    p.messages = strcmp(what, "message") == 0;
    bool known = p.messages || strcmp(what, "rcpt") == 0;
    if (args.failed || !known || p.to.family == 0 || p.from == NULL || p.rcpt == NULL) {
        return help(2);
    }
    if (strlen(p.from) > 255 || strlen(p.rcpt) > 255 || !args_loopback(&p.to)) {
        fprintf(stderr, "ringmx-bench: addresses of up to 255 bytes, and only loopback\n");
        return 2;
    }
    return run(&p);
}
