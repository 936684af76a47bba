#include "admin/http_answer.h"

#include "admin/http_head_parse.h"
#include "core/timefmt.h"

#include <stdlib.h>
#include <string.h>

struct slice http_answer_body(const struct http_answer *answer)
{
    return answer->body != NULL ? slice_of(answer->body, answer->len) : answer->body_static;
}

void http_answer_drop(uint8_t *body, size_t len)
{
    if (body != NULL) {
        explicit_bzero(body, len);
        free(body);
    }
}

bool http_status_has_body(unsigned status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* A value with line ends would be another field, or another answer. */
static bool is_safe(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < 0x20 || value.ptr[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

struct fields {
    struct writer *out;
    bool unsafe;
};

static void put_field(struct fields *fields, const char *name, struct slice value)
{
    if (value.len == 0) {
        return;
    }
    fields->unsafe = fields->unsafe || !is_safe(value);
    put_text(fields->out, name);
    put_text(fields->out, ": ");
    put_slice(fields->out, value);
    put_text(fields->out, "\r\n");
}

static void put_field_text(struct fields *fields, const char *name, const char *value)
{
    put_field(fields, name, slice_of_text(value));
}

static void put_start(struct writer *out, unsigned status, int64_t wall_ms)
{
    put_text(out, "HTTP/1.1 ");
    put_decimal(out, status);
    put_char(out, ' ');
    put_text(out, http_reason(status));
    put_text(out, "\r\nDate: ");
    put_imf_fixdate(out, wall_ms);
    put_text(out, "\r\n");
}

static void put_length(struct writer *out, size_t len)
{
    put_text(out, "Content-Length: ");
    put_decimal(out, len);
    put_text(out, "\r\n");
}

static void put_what_it_is(struct fields *f, const struct http_answer *answer)
{
    if (!http_status_has_body(answer->status)) {
        return;
    }
    put_length(f->out, http_answer_body(answer).len);
    put_field_text(f, "Content-Type", answer->content_type);
    if (answer->gzip) {
        put_field_text(f, "Content-Encoding", "gzip");
        put_field_text(f, "Vary", "Accept-Encoding");
    }
}

mx_err http_answer_head(struct writer *out, const struct http_answer *answer, bool keep_alive,
                        int64_t wall_ms)
{
    struct fields f = {.out = out};
    put_start(out, answer->status, wall_ms);
    put_field_text(&f, "Connection", keep_alive ? "keep-alive" : "close");
    put_what_it_is(&f, answer);
    put_field(&f, "Cache-Control",
              answer->cache_control.len > 0 ? answer->cache_control : SLICE_LITERAL("no-store"));
    put_field_text(&f, "X-Content-Type-Options", "nosniff");
    put_field(&f, "Location", answer->location);
    put_field(&f, "ETag", answer->etag);
    for (size_t i = 0; i < HTTP_CHALLENGES_MAX; i++) {
        put_field_text(&f, "WWW-Authenticate", answer->www_authenticate[i]);
    }
    for (size_t i = 0; i < answer->field_count; i++) {
        put_field(&f, answer->fields[i].name, answer->fields[i].value);
    }
    if (answer->status == 405) {
        put_field_text(&f, "Allow", answer->allow != NULL ? answer->allow : http_allowed_methods);
    }
    put_text(out, "\r\n");
    if (out->overflow) {
        return MX_ERR_LIMIT;
    }
    return f.unsafe ? MX_ERR_INVALID : MX_OK;
}

/* --- problem documents --- */

static void put_json_text(struct writer *out, const char *text)
{
    put_char(out, '"');
    for (; *text != 0; text++) {
        if (*text == '"' || *text == '\\') {
            put_char(out, '\\');
        }
        put_char(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
    put_char(out, '"');
}

static void put_problem(struct writer *out, unsigned status, const char *detail)
{
    put_text(out, "{\"type\":\"about:blank\",\"status\":");
    put_decimal(out, status);
    put_text(out, ",\"title\":");
    put_json_text(out, http_reason(status));
    if (detail != NULL) {
        put_text(out, ",\"detail\":");
        put_json_text(out, detail);
    }
    put_char(out, '}');
}

void http_problem_put(struct writer *out, unsigned status, const char *detail)
{
    uint8_t buf[HTTP_PROBLEM_MAX];
    struct writer w = writer_init(buf, sizeof buf);
    put_problem(&w, status, detail);
    if (w.overflow) {
        w = writer_init(buf, sizeof buf);
        put_problem(&w, status, NULL);
    }
    put_slice(out, writer_slice(&w));
}

struct http_answer http_problem(unsigned status, const char *detail)
{
    struct http_answer answer = {.status = status, .content_type = "application/problem+json"};
    struct writer out = writer_init(malloc(HTTP_PROBLEM_MAX), HTTP_PROBLEM_MAX);
    if (out.buf != NULL) {
        http_problem_put(&out, status, detail);
        answer.body = out.buf;
        answer.len = out.len;
    }
    return answer;
}
