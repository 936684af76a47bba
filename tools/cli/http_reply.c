#include "tools/cli/http_reply.h"

#include "core/text.h"
#include "tools/cli/fail.h"

#include <http_parser.h>
#include <stdlib.h>

static int on_begin(http_parser *parser)
{
    struct http_reply *reply = parser->data;
    buf_free(&reply->location);
    buf_free(&reply->encoding);
    buf_free(&reply->content_type);
    reply->head_len = 0;
    return 0;
}

static void field_take(struct http_reply *reply)
{
    static const struct {
        const char *name;
        size_t offset;
    } wanted[] = {
        {"Location", offsetof(struct http_reply, location)},
        {"Content-Encoding", offsetof(struct http_reply, encoding)},
        {"Content-Type", offsetof(struct http_reply, content_type)},
    };
    struct slice name = slice_of_text(buf_text(&reply->name));
    struct slice value = text_trim(slice_of_text(buf_text(&reply->value)));
    for (size_t i = 0; i < mx_countof(wanted); i++) {
        struct buf *to = (struct buf *)(void *)((char *)reply + wanted[i].offset);
        if (text_equal_nocase(name, slice_of_text(wanted[i].name)) && to->len == 0) {
            buf_bytes(to, value.ptr, value.len);
        }
    }
    buf_free(&reply->name);
    buf_free(&reply->value);
    reply->in_value = false;
}

static int head_bytes(struct http_reply *reply, struct buf *to, const char *at, size_t len)
{
    reply->head_len += len;
    if (reply->head_len > HTTP_REPLY_HEAD_MAX) {
        return 1;
    }
    buf_bytes(to, at, len);
    return 0;
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct http_reply *reply = parser->data;
    if (reply->in_value) {
        field_take(reply);
    }
    return head_bytes(reply, &reply->name, at, len);
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct http_reply *reply = parser->data;
    reply->in_value = true;
    return head_bytes(reply, &reply->value, at, len);
}

static int on_head(http_parser *parser)
{
    field_take(parser->data);
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct http_reply *reply = parser->data;
    if (len > HTTP_REPLY_BODY_MAX - reply->body.len) {
        return 1;
    }
    buf_bytes(&reply->body, at, len);
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct http_reply *reply = parser->data;
    if (parser->status_code / 100 == 1) {
        return 0; /* the final response follows (RFC 9110 section 15.2) */
    }
    reply->status = parser->status_code;
    reply->keep_alive = http_should_keep_alive(parser) != 0;
    reply->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

void http_reply_init(struct http_reply *reply)
{
    *reply = (struct http_reply){0};
    http_parser *parser = need(calloc(1, sizeof *parser));
    http_parser_init(parser, HTTP_RESPONSE);
    parser->data = reply;
    reply->parser = parser;
}

void http_reply_free(struct http_reply *reply)
{
    struct buf *parts[] = {&reply->location, &reply->encoding, &reply->content_type,
                           &reply->body,     &reply->name,     &reply->value};
    for (size_t i = 0; i < mx_countof(parts); i++) {
        buf_free(parts[i]);
    }
    free(reply->parser);
    reply->parser = NULL;
}

const char *http_reply_feed(struct http_reply *reply, const void *bytes, size_t len)
{
    static const http_parser_settings settings = {
        .on_message_begin = on_begin,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_head,
        .on_body = on_body,
        .on_message_complete = on_complete,
    };
    http_parser *parser = reply->parser;
    size_t used = http_parser_execute(parser, &settings, bytes, len);
    if (reply->complete) {
        reply->keep_alive = reply->keep_alive && used == len; /* nothing was asked for after it */
        return NULL;
    }
    if (HTTP_PARSER_ERRNO(parser) != HPE_OK) {
        return http_errno_description(HTTP_PARSER_ERRNO(parser));
    }
    return len == 0 ? "the connection was closed before the response ended" : NULL;
}
