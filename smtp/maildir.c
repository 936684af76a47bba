#include "smtp/maildir.h"

#include "core/check.h"
#include "core/cursor.h"
#include "core/hash.h"
#include "core/text.h"
#include "io/sys.h"

#include <stdlib.h>

enum {
    STEP_BYTES = 256 * 1024,
    NAME_PLAIN_MAX = 200,
    FILE_NAME_MAX = 255,
};

/* --- names -------------------------------------------------------------------------------------
 */

static bool is_plain(uint8_t c, bool first)
{
    if (ascii_is_digit(c) || (c >= 'a' && c <= 'z')) {
        return true;
    }
    return !first && (c == '.' || c == '_' || c == '+' || c == '-' || c == '=');
}

/* %XX for everything that is not plain, '%' included, so that no two names meet. Long names end in
 * '%' "~" and a hash, which no escape looks like. */
void maildir_folder_name(struct writer *out, struct slice part)
{
    size_t start = out->len;
    for (size_t i = 0; i < part.len && out->len - start < NAME_PLAIN_MAX; i++) {
        if (is_plain(part.ptr[i], i == 0)) {
            put_u8(out, part.ptr[i]);
        } else {
            put_char(out, '%');
            put_char(out, "0123456789ABCDEF"[part.ptr[i] >> 4]);
            put_char(out, "0123456789ABCDEF"[part.ptr[i] & 15]);
        }
        if (out->len - start >= NAME_PLAIN_MAX && i + 1 < part.len) {
            put_text(out, "%~");
            put_hex(out, hash_checksum(part));
            put_char(out, '-');
            put_hex(out, hash_checksum_next(part.len, part));
        }
    }
    if (part.len == 0) {
        put_text(out, "%");
    }
}

/* Host names go into file names, where '/' and ':' have a meaning. */
static void put_host(struct writer *w, struct slice hostname)
{
    for (size_t i = 0; i < hostname.len && i < 64; i++) {
        uint8_t c = hostname.ptr[i];
        put_u8(w, ascii_is_alnum(c) || c == '.' || c == '-' ? c : '_');
    }
}

/* The part of the file name that says which delivery it is, whatever the server is called now: what
 * a repeat looks for. */
static void put_unique(struct writer *w, const struct maildir_delivery *d)
{
    put_decimal(w, d->arrived_wall_ms < 0 ? 0 : (uint64_t)d->arrived_wall_ms / 1000);
    put_text(w, ".Q");
    qid_print(w, d->id);
    put_char(w, 'R');
    put_decimal(w, d->rcpt);
    put_char(w, '.');
}

/* --- paths -------------------------------------------------------------------------------------
 */

struct paths {
    char folder[MAILDIR_PATH_MAX];
    char tmp[MAILDIR_PATH_MAX];
    char final[MAILDIR_PATH_MAX];
    char unique[FILE_NAME_MAX];
    size_t unique_len;
};

static mx_err join(char *out, const char *folder, const char *sub, struct slice name)
{
    struct writer w = writer_init(out, MAILDIR_PATH_MAX - 1);
    put_text(&w, folder);
    put_char(&w, '/');
    put_text(&w, sub);
    if (name.len > 0) {
        put_char(&w, '/');
        put_slice(&w, name);
    }
    out[w.len] = '\0';
    return w.overflow ? MX_ERR_RANGE : MX_OK;
}

static uint64_t total_bytes(const struct maildir_delivery *d)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < d->piece_count; i++) {
        total += d->pieces[i].path != NULL ? d->pieces[i].len : d->pieces[i].bytes.len;
    }
    return total;
}

static mx_err paths_make(struct paths *paths, const struct maildir_batch *batch,
                         const struct maildir_delivery *d)
{
    struct writer w = writer_init(paths->folder, sizeof paths->folder - 1);
    put_text(&w, batch->root);
    put_char(&w, '/');
    maildir_folder_name(&w, d->mailbox_domain);
    put_char(&w, '/');
    maildir_folder_name(&w, d->mailbox_local);
    paths->folder[w.len] = '\0';
    struct writer unique = writer_init(paths->unique, sizeof paths->unique);
    put_unique(&unique, d);
    paths->unique_len = unique.len;
    char name[FILE_NAME_MAX];
    struct writer full = writer_init(name, sizeof name);
    put_slice(&full, writer_slice(&unique));
    put_host(&full, batch->hostname);
    struct slice stem = writer_slice(&full);
    put_text(&full, ",S=");
    put_decimal(&full, total_bytes(d));
    mx_err err = w.overflow || unique.overflow || full.overflow ? MX_ERR_RANGE : MX_OK;
    if (!err) {
        err = join(paths->tmp, paths->folder, "tmp", stem);
    }
    return err ? err : join(paths->final, paths->folder, "new", writer_slice(&full));
}

static mx_err folders_make(const struct paths *paths)
{
    /* tmp last: while it is missing nobody delivers here, so no delivery counts before the folders
     * that it needs are durable. */
    static const char *const subs[] = {"new", "cur", "tmp"};
    for (size_t i = 0; i < mx_countof(subs); i++) {
        char path[MAILDIR_PATH_MAX];
        mx_err err = join(path, paths->folder, subs[i], SLICE_EMPTY);
        if (!err) {
            err = sys_mkdirs(path);
        }
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

/* --- earlier attempts --------------------------------------------------------------------------
 */

/* One mailbox of the batch. */
struct search {
    struct maildir_batch *batch;
    const struct paths *paths;
    const char *folder;
};

static bool same_folder(const struct search *search, uint32_t i)
{
    return search->batch->deliveries[i].err == MX_OK &&
           strcmp(search->paths[i].folder, search->folder) == 0;
}

/* Behind the unique part comes a host name, then ",S=", in cur/ also ":2,FLAGS". */
static mx_err each_name(void *arg, const char *name)
{
    const struct search *search = arg;
    struct slice text = slice_of_text(name);
    for (uint32_t i = 0; i < search->batch->count; i++) {
        struct maildir_delivery *d = &search->batch->deliveries[i];
        size_t len = search->paths[i].unique_len;
        if (d->maybe_repeat && text.len > len &&
            memcmp(text.ptr, search->paths[i].unique, len) == 0 && same_folder(search, i)) {
            d->was_there = true;
        }
    }
    return MX_OK;
}

static void search_folder(const struct search *search)
{
    static const char *const subs[] = {"new", "cur"};
    for (size_t i = 0; i < mx_countof(subs); i++) {
        char path[MAILDIR_PATH_MAX];
        mx_err err = join(path, search->folder, subs[i], SLICE_EMPTY);
        if (!err) {
            err = sys_list(path, each_name, (void *)(uintptr_t)search);
        }
        for (uint32_t k = 0; err && err != MX_ERR_NOTFOUND && k < search->batch->count; k++) {
            if (search->batch->deliveries[k].maybe_repeat && same_folder(search, k)) {
                search->batch->deliveries[k].err = err;
            }
        }
    }
}

/* Mailboxes may be large, so every one is listed once for the whole batch. */
static void find_repeats(struct maildir_batch *batch, const struct paths *paths)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        struct search search = {.batch = batch, .paths = paths, .folder = paths[i].folder};
        bool first = batch->deliveries[i].maybe_repeat && batch->deliveries[i].err == MX_OK;
        for (uint32_t k = 0; first && k < i; k++) {
            first = !batch->deliveries[k].maybe_repeat || !same_folder(&search, k);
        }
        if (first) {
            search_folder(&search);
        }
    }
}

/* --- writing -----------------------------------------------------------------------------------
 */

/* The checksum covers the whole piece, so the piece is read whole. */
static mx_err copy_range(int to, uint64_t at, const struct maildir_piece *piece)
{
    int from;
    size_t len = 0;
    mx_err err = sys_open(&from, piece->path, SYS_READ);
    if (err) {
        return err;
    }
    uint8_t *buf = malloc(piece->len > 0 ? piece->len : 1);
    err = buf == NULL ? MX_ERR_NOMEM : sys_pread(&len, from, buf, piece->len, piece->offset);
    sys_close(from);
    if (!err && (len != piece->len || hash_checksum(slice_of(buf, len)) != piece->checksum)) {
        err = MX_ERR_DAMAGED;
    }
    if (!err) {
        err = sys_pwrite(to, buf, len, at);
    }
    free(buf);
    return err;
}

/* Small pieces are joined before they are written. */
struct joined {
    int fd;
    uint64_t at;
    size_t len;
    uint8_t *buf; /* STEP_BYTES */
};

static mx_err joined_flush(struct joined *out)
{
    mx_err err = out->len == 0 ? MX_OK : sys_pwrite(out->fd, out->buf, out->len, out->at);
    out->at += out->len;
    out->len = 0;
    return err;
}

static mx_err joined_put(struct joined *out, struct slice bytes)
{
    while (bytes.len > 0) {
        size_t n = mx_min_size(bytes.len, STEP_BYTES - out->len);
        memcpy(out->buf + out->len, bytes.ptr, n);
        out->len += n;
        bytes = slice_from(bytes, n);
        mx_err err = out->len == STEP_BYTES ? joined_flush(out) : MX_OK;
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

static mx_err pieces_write(int fd, const struct maildir_delivery *d, uint8_t *buf)
{
    struct joined out = {.fd = fd, .buf = buf};
    mx_err err = MX_OK;
    for (uint32_t i = 0; !err && i < d->piece_count; i++) {
        const struct maildir_piece *piece = &d->pieces[i];
        if (piece->path == NULL) {
            err = joined_put(&out, piece->bytes);
            continue;
        }
        err = joined_flush(&out);
        if (!err) {
            err = copy_range(fd, out.at, piece);
            out.at += piece->len;
        }
    }
    return err ? err : joined_flush(&out);
}

static mx_err tmp_open(int *out_fd, const struct paths *paths)
{
    /* What an interrupted attempt left is ours to replace. */
    mx_err err = sys_open(out_fd, paths->tmp, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE);
    if (err == MX_ERR_NOTFOUND) {
        err = folders_make(paths);
        if (!err) {
            err = sys_open(out_fd, paths->tmp, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE);
        }
    }
    return err;
}

/* Into tmp/, durably. */
static mx_err tmp_write(const struct paths *paths, const struct maildir_delivery *d, uint8_t *buf)
{
    int fd;
    mx_err err = tmp_open(&fd, paths);
    if (err) {
        return err;
    }
    err = pieces_write(fd, d, buf);
    if (!err) {
        err = sys_sync(fd);
    }
    sys_close(fd);
    if (err) {
        (void)!sys_unlink(paths->tmp); /* else the next attempt replaces it */
    }
    return err;
}

/* Others make mailboxes too: new/ may be missing although tmp/ is there. */
static mx_err move_to_new(const struct paths *paths)
{
    mx_err err = sys_rename(paths->tmp, paths->final);
    if (err == MX_ERR_NOTFOUND) {
        err = folders_make(paths);
        if (!err) {
            err = sys_rename(paths->tmp, paths->final);
        }
    }
    return err;
}

/* Syncs every new/ of the batch once. */
static void sync_folders(struct maildir_batch *batch, const struct paths *paths)
{
    for (uint32_t i = 0; i < batch->count; i++) {
        char path[MAILDIR_PATH_MAX];
        bool first = batch->deliveries[i].err == MX_OK;
        for (uint32_t k = 0; first && k < i; k++) {
            first =
                batch->deliveries[k].err != MX_OK || strcmp(paths[k].folder, paths[i].folder) != 0;
        }
        if (!first) {
            continue;
        }
        mx_err err = join(path, paths[i].folder, "new", SLICE_EMPTY);
        if (!err) {
            err = sys_sync_dir(path);
        }
        for (uint32_t k = i; err && k < batch->count; k++) {
            if (strcmp(paths[k].folder, paths[i].folder) == 0) {
                batch->deliveries[k].err = err;
            }
        }
    }
}

static void batch_run(struct work_job *job)
{
    struct maildir_batch *batch = mx_container_of(job, struct maildir_batch, job);
    struct paths *paths = calloc(batch->count > 0 ? batch->count : 1, sizeof *paths);
    uint8_t *buf = malloc(STEP_BYTES);
    if (paths == NULL || buf == NULL) {
        for (uint32_t i = 0; i < batch->count; i++) {
            batch->deliveries[i].err = MX_ERR_NOMEM;
        }
        free(paths);
        free(buf);
        return;
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        batch->deliveries[i].was_there = false;
        batch->deliveries[i].err = paths_make(&paths[i], batch, &batch->deliveries[i]);
    }
    find_repeats(batch, paths);
    for (uint32_t i = 0; i < batch->count; i++) {
        struct maildir_delivery *d = &batch->deliveries[i];
        if (d->err == MX_OK && !d->was_there) {
            d->err = tmp_write(&paths[i], d, buf);
        }
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        struct maildir_delivery *d = &batch->deliveries[i];
        if (d->err == MX_OK && !d->was_there) {
            d->err = move_to_new(&paths[i]);
        }
    }
    sync_folders(batch, paths);
    free(paths);
    free(buf);
}

void maildir_batch_init(struct maildir_batch *batch)
{
    batch->job.run = batch_run;
}
