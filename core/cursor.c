#include "core/cursor.h"

void put_slice16(struct writer *w, struct slice s)
{
    if (s.len > UINT16_MAX) {
        w->overflow = true;
        return;
    }
    put_u16(w, (uint16_t)s.len);
    put_slice(w, s);
}

void put_decimal(struct writer *w, uint64_t v)
{
    put_decimal_padded(w, v, 1);
}

void put_decimal_padded(struct writer *w, uint64_t v, unsigned width)
{
    unsigned n = 1;
    for (uint64_t rest = v; rest >= 10; rest /= 10) {
        n++;
    }
    n = n > width ? n : width;
    if (w->overflow || n > writer_room(w)) {
        w->overflow = true;
        return;
    }
    w->len += n;
    for (uint8_t *digit = w->buf + w->len; n > 0; n--) {
        *--digit = (uint8_t)('0' + v % 10);
        v /= 10;
    }
}

void put_hex(struct writer *w, uint64_t v)
{
    char digits[16];
    unsigned n = 0;
    do {
        digits[sizeof digits - ++n] = "0123456789abcdef"[v & 15];
        v >>= 4;
    } while (v != 0);
    put_bytes(w, digits + sizeof digits - n, n);
}

struct slice get_slice16(struct reader *r)
{
    uint16_t len = get_u16(r);
    return get_bytes(r, len);
}
