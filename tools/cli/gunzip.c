#include "tools/cli/gunzip.h"

#include <zlib.h>

enum { WINDOW_GZIP = 15 + 16 }; /* zlib: the largest window, gzip's format only */

bool is_gzip(struct slice bytes)
{
    return bytes.len >= 2 && bytes.ptr[0] == 0x1f && bytes.ptr[1] == 0x8b;
}

const char *gunzip(struct buf *out, struct slice bytes)
{
    uint8_t chunk[16 * 1024];
    z_stream z = {.next_in = (uint8_t *)(uintptr_t)bytes.ptr, .avail_in = (unsigned)bytes.len};
    if (bytes.len > UINT32_MAX || inflateInit2(&z, WINDOW_GZIP) != Z_OK) {
        return "cannot be unpacked";
    }
    int result = Z_OK;
    while (result == Z_OK && out->len <= GUNZIP_MAX) {
        z.next_out = chunk;
        z.avail_out = sizeof chunk;
        result = inflate(&z, Z_NO_FLUSH);
        buf_bytes(out, chunk, sizeof chunk - z.avail_out);
    }
    inflateEnd(&z);
    return out->len > GUNZIP_MAX    ? "is too large"
           : result != Z_STREAM_END ? "is not whole, or not gzip"
                                    : NULL;
}
