#include "admin/http_head_parse.h"

#include "admin/http_target_parse.h"
#include "core/check.h"
#include "core/text.h"

#include <http_parser.h>

const char http_allowed_methods[] = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

static const char *const verbs[HTTP_VERB_COUNT] = {
    [HTTP_VERB_GET] = "GET",         [HTTP_VERB_HEAD] = "HEAD",   [HTTP_VERB_POST] = "POST",
    [HTTP_VERB_PUT] = "PUT",         [HTTP_VERB_PATCH] = "PATCH", [HTTP_VERB_DELETE] = "DELETE",
    [HTTP_VERB_OPTIONS] = "OPTIONS",
};

static const struct http_refusal accepted = {0, NULL};

static struct http_refusal refuse(unsigned status, const char *detail)
{
    return (struct http_refusal){status, detail};
}

const char *http_reason(unsigned status)
{
    return http_status_str((enum http_status)status);
}

/* --- characters --- */

static bool is_token_char(uint8_t c)
{
    return ascii_is_alnum(c) || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool is_token(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (!is_token_char(s.ptr[i])) {
            return false;
        }
    }
    return s.len > 0;
}

/* --- lines --- */

struct request_line {
    struct slice method, target, version;
};

static bool split_line(struct request_line *out_line, struct slice line)
{
    size_t method_len = slice_find(line, ' ');
    if (method_len == line.len) {
        return false;
    }
    struct slice rest = slice_from(line, method_len + 1);
    size_t target_len = slice_find(rest, ' ');
    if (target_len == rest.len) {
        return false;
    }
    *out_line = (struct request_line){slice_first(line, method_len), slice_first(rest, target_len),
                                      slice_from(rest, target_len + 1)};
    return true;
}

static struct http_refusal check_version(struct slice version)
{
    struct slice name = SLICE_LITERAL("HTTP/");
    if (version.len != name.len + 3 || !slice_equal(slice_first(version, name.len), name) ||
        !ascii_is_digit(version.ptr[5]) || version.ptr[6] != '.' ||
        !ascii_is_digit(version.ptr[7])) {
        return refuse(400, "malformed HTTP version");
    }
    return version.ptr[5] == '1' ? accepted : refuse(505, "only HTTP/1.1 and HTTP/1.0 are spoken");
}

static enum http_verb verb_of(struct slice method)
{
    unsigned verb = 0;
    while (verb < HTTP_VERB_COUNT && !slice_equal(method, slice_of_text(verbs[verb]))) {
        verb++;
    }
    return (enum http_verb)verb;
}

static struct http_refusal check_method(struct slice method)
{
    if (!is_token(method)) {
        return refuse(400, "malformed method");
    }
    if (slice_equal(method, SLICE_LITERAL("CONNECT")) ||
        slice_equal(method, SLICE_LITERAL("TRACE"))) {
        return refuse(405, "the method is not allowed here");
    }
    return verb_of(method) == HTTP_VERB_COUNT ? refuse(501, "the method is not known") : accepted;
}

struct http_refusal http_line_check(struct slice line)
{
    struct request_line parts;
    if (!split_line(&parts, line) || parts.target.len == 0) {
        return refuse(400, "malformed request line");
    }
    for (size_t i = 0; i < parts.target.len; i++) {
        if (!ascii_is_graph(parts.target.ptr[i])) {
            return refuse(400, "character in the request target that must be escaped");
        }
    }
    struct http_refusal refusal = check_version(parts.version);
    if (refusal.status == 0) {
        refusal = check_method(parts.method);
    }
    if (refusal.status == 0 && parts.target.len > HTTP_TARGET_MAX) {
        refusal = refuse(414, "the request target is too long");
    }
    return refusal;
}

struct http_refusal http_field_check(struct slice line)
{
    size_t name_len = slice_find(line, ':');
    if (line.len > 0 && (line.ptr[0] == ' ' || line.ptr[0] == '\t')) {
        return refuse(400, "folded header field");
    }
    if (name_len == line.len || !is_token(slice_first(line, name_len))) {
        return refuse(400, "malformed header field name");
    }
    for (size_t i = name_len + 1; i < line.len; i++) {
        uint8_t c = line.ptr[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return refuse(400, "control character in a header field");
        }
    }
    return accepted;
}

/* --- fields --- */

struct reading {
    struct http_head *head;
    struct http_refusal refusal;
    struct slice target, name;
    unsigned fields;
    bool has_length, has_coding, has_host;
    bool says_close, says_keep_alive;
};

/* Fields that are kept; those that tell who asks for what may not occur twice. */
static const struct {
    struct slice name;
    size_t offset;
    bool once;
} kept_fields[] = {
    {SLICE_LITERAL("host"), offsetof(struct http_request, host), true},
    {SLICE_LITERAL("authorization"), offsetof(struct http_request, authorization), true},
    {SLICE_LITERAL("content-type"), offsetof(struct http_request, content_type), true},
    {SLICE_LITERAL("accept-encoding"), offsetof(struct http_request, accept_encoding), false},
    {SLICE_LITERAL("if-none-match"), offsetof(struct http_request, if_none_match), false},
};

static void take_length(struct reading *r, struct slice value)
{
    if (r->has_length) {
        r->refusal = refuse(400, "more than one Content-Length");
    } else if (text_to_u64(&r->head->body_len, value) != MX_OK) {
        r->refusal = refuse(400, "malformed Content-Length");
    }
    r->has_length = true;
}

static void take_coding(struct reading *r, struct slice value)
{
    if (r->has_coding || !text_equal_nocase(value, SLICE_LITERAL("chunked"))) {
        r->refusal = refuse(400, "the only known transfer coding is chunked, once");
    }
    r->has_coding = true;
    r->head->chunked = true;
}

static void take_expect(struct reading *r, struct slice value)
{
    if (!text_equal_nocase(value, SLICE_LITERAL("100-continue"))) {
        r->refusal = refuse(417, "the only known expectation is 100-continue");
    }
    r->head->expect_continue = true;
}

static void take_connection(struct reading *r, struct slice value)
{
    while (value.len > 0) {
        size_t len = slice_find(value, ',');
        struct slice option = text_trim(slice_first(value, len));
        r->says_close = r->says_close || text_equal_nocase(option, SLICE_LITERAL("close"));
        r->says_keep_alive =
            r->says_keep_alive || text_equal_nocase(option, SLICE_LITERAL("keep-alive"));
        value = slice_from(value, len < value.len ? len + 1 : len);
    }
}

static const struct {
    struct slice name;
    void (*take)(struct reading *r, struct slice value);
} acting_fields[] = {
    {SLICE_LITERAL("content-length"), take_length},
    {SLICE_LITERAL("transfer-encoding"), take_coding},
    {SLICE_LITERAL("expect"), take_expect},
    {SLICE_LITERAL("connection"), take_connection},
};

static void keep_field(struct reading *r, size_t i, struct slice value)
{
    struct slice *place =
        (struct slice *)(void *)((uint8_t *)&r->head->request + kept_fields[i].offset);
    if (place->ptr == NULL) {
        *place = value;
    } else if (kept_fields[i].once) {
        r->refusal = refuse(400, "Host, Authorization or Content-Type more than once");
    }
    r->has_host = r->has_host || place == &r->head->request.host;
}

static void take_field(struct reading *r, struct slice value)
{
    for (size_t i = 0; i < mx_countof(kept_fields); i++) {
        if (text_equal_nocase(r->name, kept_fields[i].name)) {
            keep_field(r, i, value);
        }
    }
    for (size_t i = 0; i < mx_countof(acting_fields); i++) {
        if (text_equal_nocase(r->name, acting_fields[i].name)) {
            acting_fields[i].take(r, value);
        }
    }
}

/* --- http-parser: the whole head is in one piece, so every part comes in one call --- */

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct reading *r = parser->data;
    r->target = slice_of(at, len);
    return 0;
}

static int on_name(http_parser *parser, const char *at, size_t len)
{
    struct reading *r = parser->data;
    r->name = slice_of(at, len);
    if (++r->fields > HTTP_FIELDS_MAX) {
        r->refusal = refuse(431, "too many header fields");
    }
    return r->refusal.status != 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    struct reading *r = parser->data;
    take_field(r, text_trim(slice_of(at, len)));
    return r->refusal.status != 0;
}

static int on_complete(http_parser *parser)
{
    (void)parser;
    return 1; /* the body is not its concern */
}

static const http_parser_settings callbacks = {.on_url = on_url,
                                               .on_header_field = on_name,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_complete};

/* --- the whole --- */

static struct http_refusal check_framing(struct reading *r, bool old)
{
    struct http_head *head = r->head;
    if (r->has_length && r->has_coding) {
        return refuse(400, "both Content-Length and Transfer-Encoding");
    }
    if (r->has_coding && old) {
        return refuse(400, "Transfer-Encoding in HTTP/1.0");
    }
    if ((r->has_host || !old) && !http_host_valid(head->request.host)) {
        return refuse(400, "Host is missing or malformed");
    }
    head->keep_alive = !r->says_close && (!old || r->says_keep_alive);
    head->expect_continue = head->expect_continue && !old;
    return accepted;
}

static struct http_refusal take_target(struct http_request *request, uint8_t *target, size_t len)
{
    const char *problem = NULL;
    if (request->verb == HTTP_VERB_OPTIONS && len == 1 && target[0] == '*') {
        request->path = slice_of(target, 1);
        return accepted;
    }
    mx_err err = http_target_parse(&request->path, &request->query, &problem, target, len);
    return err ? refuse(400, problem) : accepted;
}

struct http_refusal http_head_parse(struct http_head *out_head, uint8_t *bytes, size_t len)
{
    struct http_head head = {0};
    struct reading r = {.head = &head};
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &r;
    size_t used = http_parser_execute(&parser, &callbacks, (const char *)bytes, len);
    if (r.refusal.status == 0 && (used != len || HTTP_PARSER_ERRNO(&parser) != HPE_OK)) {
        r.refusal = refuse(400, used != len && HTTP_PARSER_ERRNO(&parser) == HPE_OK
                                    ? "malformed head"
                                    : http_errno_description(HTTP_PARSER_ERRNO(&parser)));
    }
    if (r.refusal.status == 0) {
        r.refusal = check_framing(&r, parser.http_minor == 0);
    }
    if (r.refusal.status == 0) {
        MX_ASSERT(r.target.ptr > bytes && r.target.ptr + r.target.len < bytes + len);
        struct slice line = slice_of(bytes, len);
        head.request.method = slice_first(line, slice_find(line, ' '));
        head.request.verb = verb_of(head.request.method);
        MX_ASSERT(head.request.verb < HTTP_VERB_COUNT);
        r.refusal = take_target(&head.request, bytes + (r.target.ptr - bytes), r.target.len);
    }
    if (r.refusal.status == 0) {
        *out_head = head;
    }
    return r.refusal;
}
