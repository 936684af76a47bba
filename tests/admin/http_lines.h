/* Drives the HTTP engine over a connection's bytes, cut in any way, and writes what came of them as
 * text, one line per request or refusal, so that results can be compared. */
#pragma once

#include "admin/http_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HTTP_LINES_MAX = 1 << 16, HTTP_LINES_BODY_MAX = 64 };

struct http_lines {
    struct http_engine engine;
    uint8_t head[HTTP_HEAD_MAX];
    uint8_t body[HTTP_LINES_BODY_MAX];
    size_t body_len;
    char text[HTTP_LINES_MAX];
    size_t len;
    bool refused;
    void (*check)(const struct http_request *request); /* NULL: none */
};

static inline void http_lines_add(struct http_lines *l, const char *key, struct slice value)
{
    static const char hex[] = "0123456789abcdef";
    size_t room = sizeof l->text - l->len;
    int n = snprintf(l->text + l->len, room, "%s", key);
    l->len += (size_t)n;
    for (size_t i = 0; i < value.len && l->len + 8 < sizeof l->text; i++) {
        uint8_t c = value.ptr[i];
        if (c >= 0x20 && c < 0x7f && c != '\\') {
            l->text[l->len++] = (char)c;
        } else {
            l->text[l->len++] = '\\';
            l->text[l->len++] = hex[c >> 4];
            l->text[l->len++] = hex[c & 15];
        }
    }
    l->text[l->len] = 0;
}

static inline void http_lines_request(struct http_lines *l)
{
    const struct http_request *r = &l->engine.head.request;
    http_lines_add(l, "", r->method);
    http_lines_add(l, " ", r->path);
    if (r->query.len > 0) {
        http_lines_add(l, " ?", r->query);
    }
    http_lines_add(l, " @", r->host);
    const struct slice others[] = {r->authorization, r->content_type, r->accept_encoding,
                                   r->if_none_match};
    static const char *const names[] = {" auth=", " type=", " accept=", " match="};
    for (size_t i = 0; i < 4; i++) {
        if (others[i].len > 0) {
            http_lines_add(l, names[i], others[i]);
        }
    }
    http_lines_add(l, l->engine.head.keep_alive ? " keep" : " close", SLICE_EMPTY);
    if (l->body_len > 0) {
        http_lines_add(l, " body=", slice_of(l->body, l->body_len));
    }
    http_lines_add(l, "\n", SLICE_EMPTY);
}

static inline void http_lines_init(struct http_lines *l)
{
    l->body_len = l->len = 0;
    l->text[0] = 0;
    l->refused = false;
    http_engine_init(&l->engine);
}

/* Aborts when the engine breaks its contract. */
static inline void http_lines_feed(struct http_lines *l, struct slice in)
{
    struct http_engine *e = &l->engine;
    while (!l->refused) {
        if (http_engine_idle(e)) {
            if (in.len == 0) {
                return;
            }
            l->body_len = 0;
            http_engine_begin(e, l->head, sizeof l->head);
        }
        size_t before = in.len;
        enum http_act act = http_engine_next(e, &in);
        if (in.len > before || (act == HTTP_ACT_INPUT && in.len != 0)) {
            abort();
        }
        switch (act) {
        case HTTP_ACT_INPUT:
            return;
        case HTTP_ACT_HEAD:
            http_engine_body(e, HTTP_LINES_BODY_MAX);
            break;
        case HTTP_ACT_BODY:
            if (l->body_len + e->piece.len > sizeof l->body) {
                abort();
            }
            if (e->piece.len > 0) {
                memcpy(l->body + l->body_len, e->piece.ptr, e->piece.len);
            }
            l->body_len += e->piece.len;
            break;
        case HTTP_ACT_COMPLETE:
            if (l->check != NULL) {
                l->check(&e->head.request);
            }
            http_lines_request(l);
            http_engine_end(e);
            if (l->len > sizeof l->text / 2) {
                l->refused = true; /* enough was seen */
            }
            break;
        case HTTP_ACT_REFUSED:
        default: {
            char status[16];
            snprintf(status, sizeof status, "%u ", e->refusal.status);
            http_lines_add(l, status, slice_of_text(e->refusal.detail));
            http_lines_add(l, "\n", SLICE_EMPTY);
            l->refused = true;
            break;
        }
        }
    }
}
