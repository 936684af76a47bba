#include "tools/cli/source.h"

#include "tools/cli/fail.h"

#include <errno.h>
#include <stdio.h>

static bool read_all(FILE *file, const char *name, struct buf *out, size_t max)
{
    char bytes[16 * 1024];
    for (size_t len; (len = fread(bytes, 1, sizeof bytes, file)) > 0;) {
        buf_bytes(out, bytes, len);
        if (out->len > max) {
            return fail("%s: larger than %zu bytes", name, max);
        }
    }
    return !ferror(file) || fail("%s: %s", name, strerror(errno));
}

bool source_file(const char *path, struct buf *out, size_t max)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return fail("%s: %s", path, strerror(errno));
    }
    bool good = read_all(file, path, out, max);
    fclose(file);
    return good;
}

bool source_stdin(struct buf *out, size_t max)
{
    return read_all(stdin, "standard input", out, max);
}
