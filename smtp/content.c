#include "smtp/content.h"

struct slice content_head(const struct active *active, uint8_t *buf, size_t cap)
{
    struct writer w = writer_init(buf, cap);
    put_slice(&w, slice_first(active->txn->env.prefix, writer_room(&w)));
    if (active->head != NULL) {
        put_slice(&w, slice_first(slice_of(active->head, active->head_len), writer_room(&w)));
    } else if (active->loaded != NULL) {
        put_slice(&w, slice_first(active->inline_content, writer_room(&w)));
    }
    for (const struct block *b = active->content.head; b != NULL && writer_room(&w) > 0;
         b = b->next) {
        put_slice(&w, slice_first(block_slice(b), writer_room(&w)));
    }
    return writer_slice(&w);
}

size_t content_header_end(struct slice content)
{
    for (size_t i = 0; i + 4 <= content.len; i++) {
        if (memcmp(content.ptr + i, "\r\n\r\n", 4) == 0) {
            return i + 2;
        }
    }
    return content.len;
}
