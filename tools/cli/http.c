#include "tools/cli/http.h"

#include "tools/cli/fail.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 16 * 1024 };

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void http_close(struct http *http)
{
    tls_free(http->tls);
    http->tls = NULL;
    if (http->connected) {
        close(http->fd);
    }
    http->connected = false;
}

void http_free(struct http *http)
{
    http_close(http);
    tls_ctx_free(http->tls_ctx);
    http->tls_ctx = NULL;
    free(http->authorization);
    http->authorization = NULL;
}

/* --- the socket --------------------------------------------------------------------------------
 */

static bool lost(const struct http *http, const char *why)
{
    return fail("%s: %s", http->url.text, why);
}

static bool await(struct http *http, int64_t deadline_ms, short events)
{
    struct pollfd poll_fd = {.fd = http->fd, .events = events};
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        int got = left <= 0 ? 0 : poll(&poll_fd, 1, (int)left);
        if (got > 0) {
            return true;
        }
        if (got == 0) {
            return lost(http, "timed out");
        }
        if (errno != EINTR) {
            return lost(http, strerror(errno));
        }
    }
}

static bool send_all(struct http *http, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(http->fd, bytes, len, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes += sent;
            len -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!await(http, http->deadline_ms, POLLOUT)) {
                return false;
            }
        } else if (errno != EINTR) {
            return lost(http, strerror(errno));
        }
    }
    return true;
}

/* *out_len 0: closed by the server. */
static bool receive(struct http *http, uint8_t *bytes, size_t cap, size_t *out_len)
{
    for (;;) {
        ssize_t got = recv(http->fd, bytes, cap, 0);
        if (got >= 0) {
            *out_len = (size_t)got;
            return true;
        }
        if (errno == EAGAIN) {
            if (!await(http, http->deadline_ms, POLLIN)) {
                return false;
            }
        } else if (errno != EINTR) {
            return lost(http, strerror(errno));
        }
    }
}

static bool connect_one(struct http *http, const struct addrinfo *to, int64_t deadline_ms)
{
    http->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (http->fd < 0) {
        return lost(http, strerror(errno));
    }
    http->connected = true;
    int error = connect(http->fd, to->ai_addr, to->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        socklen_t len = sizeof error;
        if (!await(http, deadline_ms, POLLOUT)) {
            http_close(http);
            return false;
        }
        getsockopt(http->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    }
    if (error != 0) {
        http_close(http);
        return lost(http, strerror(error));
    }
    setsockopt(http->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return true;
}

static bool connect_any(struct http *http)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(http->url.host, http->url.port, &hints, &found);
    if (error != 0) {
        return lost(http, gai_strerror(error));
    }
    int64_t deadline_ms = now_ms() + HTTP_CONNECT_MS;
    bool good = false;
    for (const struct addrinfo *to = found; to != NULL && !good; to = to->ai_next) {
        good = connect_one(http, to, deadline_ms);
    }
    freeaddrinfo(found);
    return good;
}

/* --- TLS ---------------------------------------------------------------------------------------
 */

static bool tls_flush(struct http *http)
{
    uint8_t bytes[CHUNK];
    for (size_t len; (len = tls_drain(http->tls, bytes, sizeof bytes)) > 0;) {
        if (!send_all(http, bytes, len)) {
            return false;
        }
    }
    return true;
}

static bool tls_failed(struct http *http)
{
    (void)tls_flush(http); /* the alert */
    return fail("%s: TLS: %s", http->url.text, tls_problem(http->tls));
}

/* Takes ciphertext from the server; false also when it has closed the connection. */
static bool tls_more(struct http *http, size_t *out_len)
{
    uint8_t bytes[CHUNK];
    if (!receive(http, bytes, sizeof bytes, out_len)) {
        return false;
    }
    return *out_len == 0 || tls_feed(http->tls, slice_of(bytes, *out_len)) == MX_OK ||
           tls_failed(http);
}

static bool tls_start(struct http *http)
{
    const char *ca_file = getenv("SSL_CERT_FILE");
    struct tls_client_conf conf = {.verify = !http->insecure, .ca_file = slice_of_text(ca_file)};
    if (http->tls_ctx == NULL && tls_client_ctx_new(&http->tls_ctx, &conf) != MX_OK) {
        http->tls_ctx = NULL;
        return fail("TLS: the trusted certificates cannot be read");
    }
    if (tls_new(&http->tls, http->tls_ctx, slice_of_text(http->url.host)) != MX_OK) {
        http->tls = NULL;
        return lost(http, "TLS cannot be used with this host");
    }
    for (;;) {
        mx_err err = tls_handshake(http->tls);
        if (err == MX_OK) {
            return tls_flush(http);
        }
        size_t len;
        if (err != MX_ERR_AGAIN) {
            return tls_failed(http);
        }
        if (!tls_flush(http) || !tls_more(http, &len)) {
            return false;
        }
        if (len == 0) {
            return lost(http, "the server closed the connection during the TLS handshake");
        }
    }
}

/* --- requests ----------------------------------------------------------------------------------
 */

/* A connection at rest that has something to say was closed by the server. */
static void drop_stale(struct http *http)
{
    struct pollfd poll_fd = {.fd = http->fd, .events = POLLIN};
    if (http->connected && poll(&poll_fd, 1, 0) != 0) {
        http_close(http);
    }
}

static bool open_connection(struct http *http)
{
    drop_stale(http);
    if (http->connected) {
        return true;
    }
    if (!connect_any(http)) {
        return false;
    }
    http->deadline_ms = now_ms() + HTTP_CALL_MS;
    return !http->url.tls || tls_start(http);
}

static bool write_request(struct http *http, const struct buf *request)
{
    if (!http->url.tls) {
        return send_all(http, (const uint8_t *)request->at, request->len);
    }
    if (tls_write(http->tls, slice_of(request->at, request->len)) != MX_OK) {
        return tls_failed(http);
    }
    return tls_flush(http);
}

/* Plaintext; *out_len 0: closed by the server. */
static bool read_some(struct http *http, uint8_t *bytes, size_t cap, size_t *out_len)
{
    if (!http->url.tls) {
        return receive(http, bytes, cap, out_len);
    }
    for (;;) {
        mx_err err = tls_read(http->tls, out_len, bytes, cap);
        if (err == MX_OK) {
            return true;
        }
        *out_len = 0;
        if (err == MX_ERR_CLOSED) {
            return true;
        }
        if (err != MX_ERR_AGAIN) {
            return tls_failed(http);
        }
        if (!tls_more(http, out_len)) {
            return false;
        }
        if (*out_len == 0) {
            return true;
        }
    }
}

static bool read_reply(struct http *http, struct http_reply *reply)
{
    uint8_t bytes[CHUNK];
    while (!reply->complete) {
        size_t len;
        if (!read_some(http, bytes, sizeof bytes, &len)) {
            return false;
        }
        const char *problem = http_reply_feed(reply, bytes, len);
        if (problem != NULL) {
            return lost(http, problem);
        }
    }
    return true;
}

static void put_request(struct buf *out, const struct http *http, const char *method,
                        const char *path, const struct buf *body)
{
    buf_format(out, "%s %s%s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n", method, http->url.path, path,
               http->url.authority);
    if (http->authorization != NULL) {
        buf_format(out, "Authorization: %s\r\n", http->authorization);
    }
    if (body != NULL) {
        buf_format(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body->len);
    }
    buf_add(out, "\r\n");
    if (body != NULL) {
        buf_bytes(out, body->at, body->len);
    }
}

bool http_call(struct http *http, const char *method, const char *path, const struct buf *body,
               struct http_reply *reply)
{
    int64_t began_ms = now_ms();
    http_reply_init(reply);
    if (http->debug) {
        fprintf(stderr, "> %s %s%s (%zu bytes)\n", method, http->url.text, path,
                body ? body->len : 0);
    }
    http->deadline_ms = began_ms + HTTP_CALL_MS;
    struct buf request = {0};
    put_request(&request, http, method, path, body);
    bool good = open_connection(http) && write_request(http, &request) && read_reply(http, reply);
    buf_free(&request);
    if (!good || !reply->keep_alive) {
        http_close(http);
    }
    if (http->debug && good) {
        fprintf(stderr, "< %u %s (%zu bytes, %lld ms)\n", reply->status,
                buf_text(&reply->content_type), reply->body.len, (long long)(now_ms() - began_ms));
    } else if (http->debug) {
        fprintf(stderr, "< failed after %lld ms\n", (long long)(now_ms() - began_ms));
    }
    return good;
}
