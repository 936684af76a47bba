#include "admin/json_text.h"

#include "core/text.h"

#include <stdlib.h>

enum { CHARACTER_MAX = 4 };

/* Bytes of the first character; 0: it is none. */
static size_t character_length(struct slice text)
{
    size_t len = 1;
    while (len <= CHARACTER_MAX && len <= text.len && !text_is_utf8(slice_first(text, len))) {
        len++;
    }
    return len <= CHARACTER_MAX && len <= text.len ? len : 0;
}

json_t *json_text(struct slice text)
{
    json_t *value = json_stringn(text.len > 0 ? (const char *)text.ptr : "", text.len);
    char *shown = value == NULL ? malloc(text.len) : NULL;
    if (shown == NULL) {
        return value;
    }
    for (size_t at = 0; at < text.len;) {
        size_t len = character_length(slice_from(text, at));
        if (len == 0) {
            shown[at++] = '?';
        } else {
            memcpy(shown + at, text.ptr + at, len);
            at += len;
        }
    }
    value = json_stringn(shown, text.len);
    free(shown);
    return value;
}
