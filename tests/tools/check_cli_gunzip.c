/* What a server compressed, whole, cut at every byte, damaged, and a small answer that would fill
 * the memory. */
#include "support.h"
#include "tools/cli/gunzip.h"

#include <zlib.h>

enum { WINDOW_GZIP = 15 + 16, TEXT_BYTES = 40000 };

static struct buf zipped;

/* count times the text. */
static void zip(const void *text, size_t len, size_t count)
{
    uint8_t chunk[16 * 1024];
    z_stream z = {0};
    buf_free(&zipped);
    CHECK(deflateInit2(&z, 6, Z_DEFLATED, WINDOW_GZIP, 8, Z_DEFAULT_STRATEGY) == Z_OK, "begins");
    for (size_t i = 0; i < count; i++) {
        z.next_in = (uint8_t *)(uintptr_t)text;
        z.avail_in = (unsigned)len;
        do {
            z.next_out = chunk;
            z.avail_out = sizeof chunk;
            CHECK(deflate(&z, i + 1 == count ? Z_FINISH : Z_NO_FLUSH) != Z_STREAM_ERROR, "goes on");
            buf_bytes(&zipped, chunk, sizeof chunk - z.avail_out);
        } while (z.avail_out == 0);
    }
    deflateEnd(&z);
}

static const char *unzip(struct buf *out, size_t len)
{
    buf_free(out);
    return gunzip(out, slice_of(zipped.at, len));
}

static void whole_and_cut(void)
{
    static char text[TEXT_BYTES];
    struct buf out = {0};
    for (unsigned i = 0; i < TEXT_BYTES; i++) {
        text[i] = (char)('a' + i * i % 23);
    }
    zip(text, sizeof text, 1);
    CHECK(is_gzip(slice_of(zipped.at, zipped.len)), "has its magic number");
    CHECK(!is_gzip(slice_of(zipped.at, 1)) && !is_gzip(SLICE_LITERAL("{}")), "others have not");
    CHECK(unzip(&out, zipped.len) == NULL, "is unpacked");
    CHECK(out.len == sizeof text && memcmp(out.at, text, sizeof text) == 0, "as it was");
    for (size_t len = 0; len < zipped.len; len++) {
        const char *problem = unzip(&out, len);
        CHECK(problem != NULL && strstr(problem, "not whole") != NULL, "cut");
    }
    zipped.at[zipped.len - 8] ^= 1; /* of the checksum */
    CHECK(unzip(&out, zipped.len) != NULL, "damaged");
    CHECK(gunzip(&out, SLICE_LITERAL("plain text")) != NULL, "no gzip");
    /* More than zlib counts in one step; nothing is read. */
    CHECK(gunzip(&out, slice_of(zipped.at, (size_t)UINT32_MAX + 1)) != NULL, "too long");
    buf_free(&out);
}

static void too_much(void)
{
    static const char zeros[1024 * 1024];
    struct buf out = {0};
    zip(zeros, sizeof zeros, GUNZIP_MAX / sizeof zeros + 2);
    const char *problem = unzip(&out, zipped.len);
    CHECK(problem != NULL && strcmp(problem, "is too large") == 0, "a small answer, much memory");
    CHECK(out.len <= GUNZIP_MAX + 16 * 1024, "stops at the bound");
    buf_free(&out);
}

int main(void)
{
    whole_and_cut();
    too_much();
    buf_free(&zipped);
    return failures == 0 ? 0 : 1;
}
