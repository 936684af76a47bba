/* Bounded writing and reading. A writer that runs out of room remembers it (overflow) and drops the
 * whole item, so a sequence of writes is checked once at its end. A reader that runs out of bytes
 * does the same and yields zeros. Integers are little-endian. No allocation. */
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

struct writer writer_init(void *buf, size_t cap);
static inline struct slice writer_slice(const struct writer *w)
{
    return slice_of(w->buf, w->len);
}
static inline size_t writer_room(const struct writer *w)
{
    return w->cap - w->len;
}

void put_bytes(struct writer *w, const void *bytes, size_t len);
void put_slice(struct writer *w, struct slice s);
void put_text(struct writer *w, const char *text);
void put_char(struct writer *w, char c);
void put_u8(struct writer *w, uint8_t v);
void put_u16(struct writer *w, uint16_t v);
void put_u32(struct writer *w, uint32_t v);
void put_u64(struct writer *w, uint64_t v);
/* Length (u16) and bytes; overflow when longer than 65,535. */
void put_slice16(struct writer *w, struct slice s);
void put_decimal(struct writer *w, uint64_t v);
/* Decimal with at least width digits, zero-padded. */
void put_decimal_padded(struct writer *w, uint64_t v, unsigned width);
/* Lower-case hex without leading zeros ("0" for 0). */
void put_hex(struct writer *w, uint64_t v);

struct reader reader_init(struct slice in);
uint8_t get_u8(struct reader *r);
uint16_t get_u16(struct reader *r);
uint32_t get_u32(struct reader *r);
uint64_t get_u64(struct reader *r);
/* Borrows len bytes of the input. */
struct slice get_bytes(struct reader *r, size_t len);
struct slice get_slice16(struct reader *r);
static inline size_t reader_left(const struct reader *r)
{
    return r->in.len - r->pos;
}
