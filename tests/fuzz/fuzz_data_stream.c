/* The decoder of content against a slow one that follows the rule letter by letter: the end is
 * CRLF.CRLF (or .CRLF at the very start), a dot at the start of a line is dropped, and how the
 * bytes are cut makes no difference. */
#include "fuzz.h"
#include "smtp/data_stream.h"

struct result {
    uint8_t out[1 << 16];
    size_t len, used;
    bool done;
};

static void slow(struct result *r, struct slice in)
{
    bool line_start = true;
    r->len = r->used = 0;
    r->done = false;
    for (size_t i = 0; i < in.len; i++) {
        if (line_start && in.ptr[i] == '.') {
            if (i + 2 < in.len && in.ptr[i + 1] == '\r' && in.ptr[i + 2] == '\n') {
                r->used = i + 3;
                r->done = true;
                return;
            }
            line_start = false;
            continue; /* the stuffed dot */
        }
        r->out[r->len++] = in.ptr[i];
        line_start = in.ptr[i] == '\n' && i > 0 && in.ptr[i - 1] == '\r';
    }
    r->used = in.len;
}

static void fast(struct result *r, struct slice in, struct fuzz_source *cuts)
{
    struct data_stream ds;
    size_t given = 0, held = 0;
    data_stream_init(&ds, 0, true, false, false);
    r->len = 0;
    while (!ds.done && given < in.len) {
        size_t n = mx_min_size(in.len - given, 1u + fuzz_byte(cuts) % 7);
        struct slice piece = slice_of(in.ptr + given, n);
        for (;;) {
            struct slice part = data_stream_next(&ds, &piece);
            if (part.len == 0) {
                break;
            }
            memcpy(r->out + r->len, part.ptr, part.len);
            r->len += part.len;
        }
        FUZZ_CHECK(ds.done || piece.len == 0);
        given += n - piece.len;
        held = piece.len;
    }
    (void)held;
    r->used = given;
    r->done = ds.done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct result a, b;
    struct fuzz_source cuts = {slice_first(slice_of(data, size), size / 4)};
    struct slice in = slice_first(slice_from(slice_of(data, size), size / 4), 30000);
    slow(&a, in);
    fast(&b, in, &cuts);
    FUZZ_CHECK(a.done == b.done);
    if (a.done) {
        FUZZ_CHECK(a.used == b.used && a.len == b.len && memcmp(a.out, b.out, a.len) == 0);
    } else {
        /* The fast one may still hold a line end or a dot back. */
        FUZZ_CHECK(b.len <= a.len + 3 && memcmp(a.out, b.out, mx_min_size(a.len, b.len)) == 0);
    }
    return 0;
}
