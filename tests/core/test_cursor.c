/* The bounds of what is written. */
#include "core/cursor.h"

#include <criterion/criterion.h>

Test(cursor, slice16_that_its_length_cannot_tell)
{
    static uint8_t text[UINT16_MAX + 1], out[UINT16_MAX + 8];
    struct writer w = writer_init(out, sizeof out);
    put_slice16(&w, slice_of(text, UINT16_MAX + 1));
    cr_assert(w.overflow && w.len == 0);

    w = writer_init(out, sizeof out);
    put_slice16(&w, slice_of(text, UINT16_MAX));
    struct reader r = reader_init(writer_slice(&w));
    cr_assert(!w.overflow && get_slice16(&r).len == UINT16_MAX && !r.overrun);
}
