#include "tools/cli/cache.h"

#include "core/hash.h"
#include "core/text.h"
#include "tools/cli/gunzip.h"
#include "tools/cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_MAX_LEN = 100 };

bool cache_name_is_fit(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++) {
        if (!ascii_is_alnum((uint8_t)name[i]) && name[i] != '-' && name[i] != '_') {
            return false;
        }
    }
    return len > 0 && len <= NAME_MAX_LEN;
}

/* The folder for a server; false: neither variable is set. */
static bool folder_of(struct buf *out, const char *url)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache != NULL && cache[0] == '/') { /* relative paths are to be ignored */
        buf_add(out, cache);
    } else if (home != NULL && home[0] != '\0') {
        buf_format(out, "%s/.cache", home);
    } else {
        return false;
    }
    buf_format(out, "/ringmx-cli/%016llx", (unsigned long long)hash_checksum(slice_of_text(url)));
    return true;
}

static bool make_folders(const char *path)
{
    struct buf part = {0};
    bool good = true;
    for (const char *end = path + 1; good && end[-1] != '\0'; end++) {
        if (*end == '/' || *end == '\0') {
            buf_free(&part);
            buf_bytes(&part, path, (size_t)(end - path));
            good = mkdir(part.at, 0700) == 0 || errno == EEXIST;
        }
    }
    buf_free(&part);
    return good;
}

/* Whole or not at all: a new file takes the name. */
static bool write_file(const char *path, const char *bytes, size_t len)
{
    struct buf temporary = {0};
    buf_format(&temporary, "%s.%ld", path, (long)getpid());
    int fd = open(temporary.at, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    for (size_t done = 0; good && done < len;) {
        ssize_t wrote = write(fd, bytes + done, len - done);
        good = wrote >= 0 || errno == EINTR;
        done += wrote > 0 ? (size_t)wrote : 0;
    }
    if (fd >= 0) {
        good = close(fd) == 0 && good;
    }
    good = good && rename(temporary.at, path) == 0;
    if (!good && fd >= 0) {
        int error = errno;
        unlink(temporary.at);
        errno = error;
    }
    buf_free(&temporary);
    return good;
}

bool cache_latest(const char *url, struct buf *out_name)
{
    struct buf path = {0};
    bool good = folder_of(&path, url);
    buf_add(&path, "/latest");
    good = good && source_file(path.at, out_name, NAME_MAX_LEN);
    buf_free(&path);
    return good && cache_name_is_fit(buf_text(out_name));
}

bool cache_read(const char *url, const char *name, struct buf *out_document)
{
    struct buf path = {0};
    bool good = folder_of(&path, url);
    buf_format(&path, "/schema-%s.json", name);
    good = good && source_file(path.at, out_document, GUNZIP_MAX);
    buf_free(&path);
    return good;
}

void cache_write(const char *url, const char *name, const struct buf *document)
{
    struct buf folder = {0}, path = {0}, latest = {0};
    bool have = folder_of(&folder, url);
    buf_format(&path, "%s/schema-%s.json", buf_text(&folder), name);
    buf_format(&latest, "%s/latest", buf_text(&folder));
    if (!have) {
        fputs("warning: the schema is not kept: neither XDG_CACHE_HOME nor HOME is set\n", stderr);
    } else if (!make_folders(folder.at) || !write_file(path.at, document->at, document->len) ||
               !write_file(latest.at, name, strlen(name))) {
        fprintf(stderr, "warning: the schema is not kept: %s: %s\n", folder.at, strerror(errno));
    }
    buf_free(&folder);
    buf_free(&path);
    buf_free(&latest);
}
