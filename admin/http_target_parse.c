#include "admin/http_target_parse.h"

#include "core/text.h"

#include <string.h>

/* pchar of RFC 3986 section 3.3 without escapes, and '/'. */
static bool is_path_char(uint8_t c)
{
    return ascii_is_alnum(c) || (c != 0 && strchr("-._~!$&'()*+,;=:@/", c) != NULL);
}

/* RFC 3986 section 3.4, and what browsers leave as it is. */
static bool is_query_char(uint8_t c)
{
    return is_path_char(c) || (c != 0 && strchr("?[]{}|^`\"<>\\", c) != NULL);
}

static int hex_value(uint8_t c)
{
    if (ascii_is_digit(c)) {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that an escape stands for, or -1. in begins behind the '%'. */
static int escaped(struct slice in)
{
    if (in.len < 2 || hex_value(in.ptr[0]) < 0 || hex_value(in.ptr[1]) < 0) {
        return -1;
    }
    return hex_value(in.ptr[0]) * 16 + hex_value(in.ptr[1]);
}

static const char *decode_path(size_t *out_len, uint8_t *path, size_t len)
{
    size_t kept = 0;
    for (size_t i = 0; i < len; i++) {
        int c = path[i];
        if (c == '%') {
            c = escaped(slice_of(path + i + 1, len - i - 1));
            i += 2;
            if (c < 0) {
                return "malformed percent escape";
            }
            if (c < 0x20 || c == 0x7f || c == '/' || c == '\\') {
                return "escaped separator or control character";
            }
        } else if (!is_path_char((uint8_t)c)) {
            return "character that must be escaped";
        }
        path[kept++] = (uint8_t)c;
    }
    *out_len = kept;
    return NULL;
}

static const char *check_query(struct slice query)
{
    for (size_t i = 0; i < query.len; i++) {
        uint8_t c = query.ptr[i];
        if (c == '%') {
            if (escaped(slice_from(query, i + 1)) < 0) {
                return "malformed percent escape";
            }
        } else if (!is_query_char(c)) {
            return "character that must be escaped";
        }
    }
    return NULL;
}

static bool has_dot_segment(struct slice path)
{
    while (path.len > 0) {
        path = slice_from(path, 1); /* the '/' */
        struct slice segment = slice_first(path, slice_find(path, '/'));
        if (slice_equal(segment, SLICE_LITERAL(".")) || slice_equal(segment, SLICE_LITERAL(".."))) {
            return true;
        }
        path = slice_from(path, segment.len);
    }
    return false;
}

mx_err http_target_parse(struct slice *out_path, struct slice *out_query, const char **out_problem,
                         uint8_t *target, size_t len)
{
    struct slice whole = slice_of(target, len);
    if (len == 0 || target[0] != '/') {
        *out_problem = "the request target must begin with a slash";
        return MX_ERR_SYNTAX;
    }
    size_t path_len = slice_find(whole, '?');
    struct slice query = path_len < len ? slice_from(whole, path_len + 1) : SLICE_EMPTY;
    size_t decoded_len = 0;
    const char *problem = check_query(query);
    if (problem == NULL) {
        problem = decode_path(&decoded_len, target, path_len);
    }
    struct slice path = slice_of(target, decoded_len);
    if (problem == NULL && has_dot_segment(path)) {
        problem = "dot segment in the path";
    }
    if (problem == NULL && !text_is_utf8(path)) {
        problem = "the path is not UTF-8";
    }
    if (problem != NULL) {
        *out_problem = problem;
        return MX_ERR_SYNTAX;
    }
    *out_path = path;
    *out_query = query;
    return MX_OK;
}

static bool port_valid(struct slice port)
{
    uint64_t value = 0;
    return port.len <= 5 && text_to_u64(&value, port) == MX_OK && value <= UINT16_MAX;
}

static bool is_name_char(uint8_t c)
{
    return ascii_is_alnum(c) || c == '-' || c == '.' || c == '_';
}

static bool is_literal_char(uint8_t c)
{
    return hex_value(c) >= 0 || c == ':' || c == '.';
}

bool http_host_valid(struct slice host)
{
    bool literal = host.len > 0 && host.ptr[0] == '[';
    bool (*is_valid)(uint8_t) = literal ? is_literal_char : is_name_char;
    size_t i = literal;
    size_t begin = i;
    while (i < host.len && is_valid(host.ptr[i])) {
        i++;
    }
    if (i == begin || host.len > HTTP_HOST_MAX) {
        return false;
    }
    if (literal && (i == host.len || host.ptr[i++] != ']')) {
        return false;
    }
    return i == host.len || (host.ptr[i] == ':' && port_valid(slice_from(host, i + 1)));
}
