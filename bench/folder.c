#include "bench/folder.h"

#include "core/hash.h"
#include "core/text.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct walk {
    struct folder *folder;
    const char *path;
};

size_t folder_to_crlf(uint8_t *out, struct slice text)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.ptr[i];
        if (c == '\r') {
            if (i + 1 < text.len && text.ptr[i + 1] == '\n') {
                continue;
            }
            c = '\n';
        }
        if (c == '\n') {
            out[len++] = '\r';
        }
        out[len++] = c;
    }
    if (len == 0 || out[len - 1] != '\n') {
        out[len++] = '\r';
        out[len++] = '\n';
    }
    return len;
}

size_t folder_to_dotted(uint8_t *out, struct slice text)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '.' && (i == 0 || text.ptr[i - 1] == '\n')) {
            out[len++] = '.';
        }
        out[len++] = text.ptr[i];
    }
    return len;
}

static mx_err set_dotted(struct folder_message *message)
{
    struct slice bytes = message->bytes;
    uint8_t *dotted = malloc(2 * bytes.len);
    message->dotted = bytes;
    if (dotted == NULL) {
        return MX_ERR_NOMEM;
    }
    size_t len = folder_to_dotted(dotted, bytes);
    if (len == bytes.len) {
        free(dotted);
        return MX_OK;
    }
    uint8_t *cut = realloc(dotted, len);
    message->dotted = slice_of(cut != NULL ? cut : dotted, len);
    return MX_OK;
}

static mx_err add(struct folder *folder, struct slice text)
{
    if (folder->count == FOLDER_FILES_MAX || text.len > FOLDER_BYTES_MAX - folder->bytes) {
        return MX_ERR_LIMIT;
    }
    if (folder->count == folder->cap) {
        uint32_t cap = folder->cap == 0 ? 64 : folder->cap * 2;
        struct folder_message *grown = realloc(folder->messages, cap * sizeof *grown);
        if (grown == NULL) {
            return MX_ERR_NOMEM;
        }
        folder->messages = grown;
        folder->cap = cap;
    }
    uint8_t *bytes = malloc(2 * text.len + 2);
    if (bytes == NULL) {
        return MX_ERR_NOMEM;
    }
    struct folder_message *message = &folder->messages[folder->count++];
    size_t len = folder_to_crlf(bytes, text);
    uint8_t *cut = realloc(bytes, len);
    message->bytes = slice_of(cut != NULL ? cut : bytes, len);
    message->has_8bit = !text_is_ascii(message->bytes);
    struct hash_stream hash;
    hash_stream_init(&hash);
    hash_stream_add(&hash, message->bytes);
    message->hash = hash_stream_value(&hash);
    folder->bytes += len;
    return set_dotted(message);
}

static mx_err each(void *arg, const char *name)
{
    struct walk *walk = arg;
    char path[FOLDER_PATH_MAX];
    struct stat facts;
    uint8_t *bytes;
    size_t len;
    int wrote = snprintf(path, sizeof path, "%s/%s", walk->path, name);
    if (name[0] == '.' || wrote < 0 || (size_t)wrote >= sizeof path || stat(path, &facts) != 0 ||
        !S_ISREG(facts.st_mode)) {
        return MX_OK;
    }
    mx_err err = sys_read_file(&bytes, &len, path, FOLDER_FILE_MAX);
    if (!err) {
        err = len > 0 ? add(walk->folder, slice_of(bytes, len)) : MX_OK;
        free(bytes);
    }
    return err;
}

static int by_hash(const void *a, const void *b)
{
    const struct folder_message *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

mx_err folder_read(struct folder *folder, const char *path)
{
    static const char *const parts[] = {"", "/new", "/cur"};
    mx_err err = MX_OK;
    *folder = (struct folder){0};
    for (size_t i = 0; i < mx_countof(parts) && !err; i++) {
        char sub[FOLDER_PATH_MAX];
        int wrote = snprintf(sub, sizeof sub, "%s%s", path, parts[i]);
        if (wrote < 0 || (size_t)wrote >= sizeof sub) {
            return MX_ERR_LIMIT;
        }
        err = sys_list(sub, each, &(struct walk){folder, sub});
        err = err == MX_ERR_NOTFOUND && i > 0 ? MX_OK : err;
    }
    /* The order of a folder's entries is chance; what a seed decides must not depend on it. */
    if (folder->count > 0) {
        qsort(folder->messages, folder->count, sizeof *folder->messages, by_hash);
    }
    return err ? err : folder->count > 0 ? MX_OK : MX_ERR_NOTFOUND;
}

void folder_free(struct folder *folder)
{
    for (uint32_t i = 0; i < folder->count; i++) {
        const struct folder_message *message = &folder->messages[i];
        if (message->dotted.ptr != message->bytes.ptr) {
            free((void *)(uintptr_t)message->dotted.ptr);
        }
        free((void *)(uintptr_t)message->bytes.ptr);
    }
    free(folder->messages);
    *folder = (struct folder){0};
}
