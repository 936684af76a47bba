#include "admin/json_text.h"

#include "core/text.h"

#include <stdlib.h>

json_t *json_text(struct slice text)
{
    json_t *value = json_stringn(text.len > 0 ? (const char *)text.ptr : "", text.len);
    char *shown = value == NULL ? malloc(text.len) : NULL;
    if (shown == NULL) {
        return value;
    }
    for (size_t at = 0; at < text.len;) {
        size_t len = text_character(slice_from(text, at));
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
