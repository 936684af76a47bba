/* Responses, whole and byte by byte. */
#include "support.h"
#include "tools/cli/http_reply.h"

struct reply_case {
    const char *text;
    unsigned status; /* 0: refused */
    const char *body, *location, *encoding;
    bool keep_alive;
    bool closed; /* the connection ends after text */
};

static const struct reply_case cases[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok", "", "", true},
    {"HTTP/1.1 302 Found\r\nLocation:  /api/schema/x \r\nContent-Length: 0\r\n\r\n", 302, "",
     "/api/schema/x", "", true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\ncontent-encoding: gzip\r\n\r\n"
     "3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
     200, "abcd", "", "gzip", true},
    {"HTTP/1.1 100 Continue\r\nLocation: /no\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, "", "",
     "", true},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx", 200, "x", "", "", false},
    {"HTTP/1.0 200 OK\r\n\r\nuntil the end", 200, "until the end", "", "", false, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 0, "", "", "", false, true},
    {"HTTP/1.1 200 OK\r\nContent-Le", 0, "", "", "", false, true},
    {"", 0, "", "", "", false, true},
    {"SSH-2.0-x\r\n", 0},
    {"HTTP/1.1 xyz\r\n\r\n", 0},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 0},
};

static void run(const struct reply_case *c, size_t step)
{
    struct http_reply reply;
    const char *problem = NULL;
    size_t len = strlen(c->text);
    http_reply_init(&reply);
    for (size_t at = 0; at < len && problem == NULL && !reply.complete; at += step) {
        problem = http_reply_feed(&reply, c->text + at, mx_min_size(step, len - at));
    }
    if (c->closed && problem == NULL && !reply.complete) {
        problem = http_reply_feed(&reply, "", 0);
    }
    CHECK((problem != NULL) == (c->status == 0), c->text);
    if (c->status != 0) {
        CHECK(reply.complete && reply.status == c->status, c->text);
        CHECK(reply.keep_alive == c->keep_alive, c->text);
        CHECK_TEXT(buf_text(&reply.body), c->body, c->text);
        CHECK_TEXT(buf_text(&reply.location), c->location, c->text);
        CHECK_TEXT(buf_text(&reply.encoding), c->encoding, c->text);
    }
    http_reply_free(&reply);
}

static void bounds(void)
{
    struct http_reply reply;
    char line[1000];
    const char *problem = NULL;
    memset(line, 'a', sizeof line);
    memcpy(line, "X: ", 3);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    http_reply_init(&reply);
    problem = http_reply_feed(&reply, "HTTP/1.1 200 OK\r\n", 17);
    size_t fed = 0;
    while (problem == NULL && fed < 10 * HTTP_REPLY_HEAD_MAX) {
        problem = http_reply_feed(&reply, line, sizeof line);
        fed += sizeof line;
    }
    CHECK(problem != NULL, "a head without an end");
    http_reply_free(&reply);
}

int main(void)
{
    for (size_t i = 0; i < mx_countof(cases); i++) {
        run(&cases[i], SIZE_MAX / 2);
        run(&cases[i], 1);
        run(&cases[i], 7);
    }
    bounds();
    return failures != 0;
}
