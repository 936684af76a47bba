#include "core/cursor.h"

struct writer writer_init(void *buf, size_t cap)
{
    return (struct writer){.buf = buf, .len = 0, .cap = cap, .overflow = false};
}

void put_bytes(struct writer *w, const void *bytes, size_t len)
{
    if (w->overflow || len > w->cap - w->len) {
        w->overflow = true;
        return;
    }
    if (len > 0) {
        memcpy(w->buf + w->len, bytes, len);
        w->len += len;
    }
}

void put_slice(struct writer *w, struct slice s)
{
    put_bytes(w, s.ptr, s.len);
}

void put_text(struct writer *w, const char *text)
{
    put_bytes(w, text, strlen(text));
}

void put_char(struct writer *w, char c)
{
    put_bytes(w, &c, 1);
}

void put_u8(struct writer *w, uint8_t v)
{
    put_bytes(w, &v, 1);
}

static void put_le(struct writer *w, uint64_t v, unsigned len)
{
    uint8_t bytes[8];
    for (unsigned i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(v >> (8 * i));
    }
    put_bytes(w, bytes, len);
}

void put_u16(struct writer *w, uint16_t v)
{
    put_le(w, v, 2);
}

void put_u32(struct writer *w, uint32_t v)
{
    put_le(w, v, 4);
}

void put_u64(struct writer *w, uint64_t v)
{
    put_le(w, v, 8);
}

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
    char digits[24];
    unsigned n = 0;
    do {
        digits[sizeof digits - ++n] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    while (n < width && n < sizeof digits) {
        digits[sizeof digits - ++n] = '0';
    }
    put_bytes(w, digits + sizeof digits - n, n);
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

struct reader reader_init(struct slice in)
{
    return (struct reader){.in = in, .pos = 0, .overrun = false};
}

struct slice get_bytes(struct reader *r, size_t len)
{
    if (r->overrun || len > r->in.len - r->pos) {
        r->overrun = true;
        return SLICE_EMPTY;
    }
    struct slice s = slice_of(r->in.ptr + r->pos, len);
    r->pos += len;
    return s;
}

static uint64_t get_le(struct reader *r, unsigned len)
{
    struct slice s = get_bytes(r, len);
    uint64_t v = 0;
    for (unsigned i = 0; i < s.len; i++) {
        v |= (uint64_t)s.ptr[i] << (8 * i);
    }
    return v;
}

uint8_t get_u8(struct reader *r)
{
    return (uint8_t)get_le(r, 1);
}

uint16_t get_u16(struct reader *r)
{
    return (uint16_t)get_le(r, 2);
}

uint32_t get_u32(struct reader *r)
{
    return (uint32_t)get_le(r, 4);
}

uint64_t get_u64(struct reader *r)
{
    return get_le(r, 8);
}

struct slice get_slice16(struct reader *r)
{
    uint16_t len = get_u16(r);
    return get_bytes(r, len);
}
