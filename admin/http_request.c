#include "admin/http_request.h"

#include "core/text.h"

/* "0", "0.", "0.000": not acceptable. */
static bool is_zero_weight(struct slice parameters)
{
    struct slice p = text_trim(parameters);
    if (!text_starts_nocase(p, SLICE_LITERAL("q="))) {
        return false;
    }
    for (size_t i = 2; i < p.len; i++) {
        if (p.ptr[i] != '0' && p.ptr[i] != '.') {
            return false;
        }
    }
    return p.len > 2;
}

bool http_accepts_gzip(struct slice accept_encoding)
{
    bool any = false;
    while (accept_encoding.len > 0) {
        size_t len = slice_find(accept_encoding, ',');
        struct slice item = slice_first(accept_encoding, len);
        size_t name_len = slice_find(item, ';');
        struct slice name = text_trim(slice_first(item, name_len));
        bool yes = name_len == item.len || !is_zero_weight(slice_from(item, name_len + 1));
        if (text_equal_nocase(name, SLICE_LITERAL("gzip")) ||
            text_equal_nocase(name, SLICE_LITERAL("x-gzip"))) {
            return yes; /* named: this counts */
        }
        any = any || (slice_equal(name, SLICE_LITERAL("*")) && yes);
        accept_encoding = slice_from(accept_encoding, len < accept_encoding.len ? len + 1 : len);
    }
    return any;
}
