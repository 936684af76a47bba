/* Bounded writing and reading. A writer that runs out of room remembers it (overflow) and drops the
 * whole item, so a sequence of writes is checked once at its end. A reader that runs out of bytes
 * does the same and yields zeros. Integers are little-endian. No allocation.
 *
 * What is small is inline: a message takes hundreds of these, most of them of a length that is
 * known when it is compiled. */
#pragma once

#include "core/slice.h"

struct writer {
    uint8_t *buf;
    size_t len; /* bytes written */
    size_t cap;
    bool overflow;
};

struct reader {
    struct slice in;
    size_t pos;
    bool overrun;
};

/* To little-endian, and back. */
static inline uint64_t cursor_little(uint64_t v, size_t bytes)
{
    bool same = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
    return same ? v : __builtin_bswap64(v) >> (64 - 8 * bytes);
}

/* --- writing -----------------------------------------------------------------------------------
 */

static inline struct writer writer_init(void *buf, size_t cap)
{
    return (struct writer){.buf = buf, .len = 0, .cap = cap, .overflow = false};
}
static inline struct slice writer_slice(const struct writer *w)
{
    return slice_of(w->buf, w->len);
}
static inline size_t writer_room(const struct writer *w)
{
    return w->cap - w->len;
}

static inline void put_bytes(struct writer *w, const void *bytes, size_t len)
{
    if (MX_UNLIKELY(w->overflow || len > w->cap - w->len)) {
        w->overflow = true;
    } else if (len > 0) {
        memcpy(w->buf + w->len, bytes, len);
        w->len += len;
    }
}
static inline void put_slice(struct writer *w, struct slice s)
{
    put_bytes(w, s.ptr, s.len);
}
static inline void put_text(struct writer *w, const char *text)
{
    put_bytes(w, text, strlen(text));
}
static inline void put_char(struct writer *w, char c)
{
    put_bytes(w, &c, 1);
}
static inline void put_u8(struct writer *w, uint8_t v)
{
    put_bytes(w, &v, 1);
}
static inline void put_u16(struct writer *w, uint16_t v)
{
    v = (uint16_t)cursor_little(v, sizeof v);
    put_bytes(w, &v, sizeof v);
}
static inline void put_u32(struct writer *w, uint32_t v)
{
    v = (uint32_t)cursor_little(v, sizeof v);
    put_bytes(w, &v, sizeof v);
}
static inline void put_u64(struct writer *w, uint64_t v)
{
    v = cursor_little(v, sizeof v);
    put_bytes(w, &v, sizeof v);
}
/* Length (u16) and bytes; overflow when longer than 65,535. */
void put_slice16(struct writer *w, struct slice s);
void put_decimal(struct writer *w, uint64_t v);
/* Decimal with at least width digits, zero-padded. */
void put_decimal_padded(struct writer *w, uint64_t v, unsigned width);
/* Lower-case hex without leading zeros ("0" for 0). */
void put_hex(struct writer *w, uint64_t v);

/* --- reading -----------------------------------------------------------------------------------
 */

static inline struct reader reader_init(struct slice in)
{
    return (struct reader){.in = in, .pos = 0, .overrun = false};
}
static inline size_t reader_left(const struct reader *r)
{
    return r->in.len - r->pos;
}

/* Borrows len bytes of the input. */
static inline struct slice get_bytes(struct reader *r, size_t len)
{
    if (MX_UNLIKELY(r->overrun || len > reader_left(r))) {
        r->overrun = true;
        return SLICE_EMPTY;
    }
    struct slice s = slice_of(r->in.ptr + r->pos, len);
    r->pos += len;
    return s;
}
/* Copies them; zeros behind the end. */
static inline void get_copy(struct reader *r, void *to, size_t len)
{
    struct slice s = get_bytes(r, len);
    if (MX_UNLIKELY(s.len < len)) {
        memset(to, 0, len);
    } else {
        memcpy(to, s.ptr, len);
    }
}
static inline uint8_t get_u8(struct reader *r)
{
    uint8_t v;
    get_copy(r, &v, sizeof v);
    return v;
}
static inline uint16_t get_u16(struct reader *r)
{
    uint16_t v;
    get_copy(r, &v, sizeof v);
    return (uint16_t)cursor_little(v, sizeof v);
}
static inline uint32_t get_u32(struct reader *r)
{
    uint32_t v;
    get_copy(r, &v, sizeof v);
    return (uint32_t)cursor_little(v, sizeof v);
}
static inline uint64_t get_u64(struct reader *r)
{
    uint64_t v;
    get_copy(r, &v, sizeof v);
    return cursor_little(v, sizeof v);
}
struct slice get_slice16(struct reader *r);
