/* The start-up side of the journal: finding sets and segments, the epoch, handing over. Blocks. */
#include "io/journal_private.h"

#include "core/check.h"
#include "core/log.h"
#include "core/text.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum { EPOCH_TEXT_MAX = 16 };

bool store_set_path(char *out, size_t cap, const char *dir, uint16_t set, const char *name)
{
    int len = snprintf(out, cap, "%s/set-%04x%s%s", dir, set, name[0] != '\0' ? "/" : "", name);
    return len > 0 && (size_t)len < cap;
}

bool store_segment_path(char *out, size_t cap, const char *dir, const struct segment *segment)
{
    char name[24];
    (void)snprintf(name, sizeof name, "%08x.seg", segment->number);
    return store_set_path(out, cap, dir, segment->set, name);
}

/* --- finding -----------------------------------------------------------------------------------
 */

bool segment_older(const struct segment *a, const struct segment *b)
{
    return a->epoch != b->epoch ? a->epoch < b->epoch : a->instance < b->instance;
}

uint16_t segment_set(const struct segment *segment)
{
    return segment->set;
}

static void segment_insert(struct journal_store *store, struct segment *segment)
{
    struct list_node *at = store->segments.head.prev;
    while (at != &store->segments.head &&
           segment_older(segment, mx_container_of(at, struct segment, node))) {
        at = at->prev;
    }
    list_insert_before(at->next, &segment->node);
    store->segment_count++;
}

static void segment_found(struct journal_store *store, struct journal_set *set,
                          struct segment *segment)
{
    if (segment->number >= set->next_number) {
        set->next_number = segment->number + 1;
    }
    if (segment->instance >= set->next_instance) {
        set->next_instance = segment->instance + 1;
    }
    if (segment->epoch > store->newest_epoch) {
        store->newest_epoch = segment->epoch;
    }
    if (segment->state == SEGMENT_EMPTY) {
        list_push_back(&set->empty, &segment->node);
    } else {
        segment_insert(store, segment);
    }
}

/* A segment in the making has neither a header nor a group. One with a group and no valid header
 * has rotted: the group says whose it is, and nothing in it is given up. */
static mx_err header_from_group(struct jf_segment *out, struct slice block)
{
    struct jf_group group;
    mx_err err = jf_group_peek(&group, block);
    if (!err) {
        *out = (struct jf_segment){.state = JF_ACTIVE,
                                   .set = group.set,
                                   .node = group.node,
                                   .epoch = group.epoch,
                                   .instance = group.instance};
    }
    return err;
}

static mx_err header_read(struct jf_segment *out, uint64_t *out_size, struct journal_store *store,
                          const char *path)
{
    uint8_t blocks[2 * JF_BLOCK_BYTES];
    size_t len = 0;
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ);
    if (err) {
        return err;
    }
    /* What a killed process had in flight may be readable and not be durable; from here on it is
     * relied upon. */
    err = store->readonly ? MX_OK : sys_sync(fd);
    if (!err) {
        err = sys_pread(&len, fd, blocks, sizeof blocks, 0);
    }
    if (!err) {
        err = sys_size(out_size, fd);
    }
    sys_close(fd);
    struct slice bytes = slice_of(blocks, len);
    if (!err) {
        err = jf_segment_get(out, bytes);
    }
    if (err == MX_ERR_DAMAGED && len == sizeof blocks &&
        header_from_group(out, slice_from(bytes, JF_BLOCK_BYTES)) == MX_OK) {
        struct log_line *line = log_begin(store->log, LOG_ERROR, "journal-damaged");
        log_text(line, "file", path);
        log_text(line, "part", "segment header");
        log_text(line, "effect", "the records in it are read all the same");
        log_end(store->log, line);
        err = MX_OK;
    }
    if (!err && len == sizeof blocks && jf_blank_is(out, slice_from(bytes, JF_BLOCK_BYTES))) {
        out->state = JF_FREE; /* made ready by a process that ended before it wrote to it */
    }
    return err;
}

struct set_listing {
    struct journal_store *store;
    struct journal_set *set;
};

/* "%08x" followed by ".seg" */
static bool parse_number(uint32_t *out, const char *name)
{
    unsigned number;
    int used = 0;
    if (strlen(name) != 12 || sscanf(name, "%8x.seg%n", &number, &used) != 1 || used != 12) {
        return false;
    }
    *out = number;
    return true;
}

static mx_err each_file(void *arg, const char *name)
{
    struct set_listing *listing = arg;
    struct journal_store *store = listing->store;
    struct segment *segment = calloc(1, sizeof *segment);
    char path[JOURNAL_PATH_MAX];
    if (segment == NULL) {
        return MX_ERR_NOMEM;
    }
    segment->set = listing->set->id;
    segment->fd = -1;
    list_init(&segment->residents);
    if (!parse_number(&segment->number, name) ||
        !store_segment_path(path, sizeof path, store->dir, segment)) {
        free(segment);
        return MX_OK; /* not ours */
    }
    struct jf_segment header = {.state = JF_FREE};
    mx_err err = header_read(&header, &segment->size, store, path);
    if (err == MX_ERR_VERSION) {
        struct log_line *line = log_begin(store->log, LOG_ERROR, "journal-too-new");
        log_text(line, "file", path);
        log_text(line, "advice", "it was written by a newer ringmx: start that version");
        log_end(store->log, line);
        store->version_conflict = true;
    } else if (err == MX_ERR_DAMAGED) {
        header = (struct jf_segment){.state = JF_FREE}; /* in the making when the process ended */
        err = MX_OK;
    }
    segment->state = header.state == JF_ACTIVE ? SEGMENT_SEALED : SEGMENT_EMPTY;
    segment->epoch = header.epoch;
    segment->end = header.end;
    segment->instance = header.instance;
    segment_found(store, listing->set, segment);
    return err == MX_ERR_VERSION ? MX_OK : err;
}

/* Opens one set: lock, then its files. A set that another process uses is left alone. */
static mx_err set_open(struct journal_store *store, uint16_t id)
{
    char path[JOURNAL_PATH_MAX];
    int lock_fd = -1;
    mx_err err;
    store->set_used[id] = true;
    if (!store->readonly) {
        if (!store_set_path(path, sizeof path, store->dir, id, "lock")) {
            return MX_ERR_RANGE;
        }
        err = sys_lock(&lock_fd, path);
        if (err == MX_ERR_LOCKED) {
            return MX_OK;
        }
        /* Its files may have been made by a process that died before it synced the folder. */
        if (!err && store_set_path(path, sizeof path, store->dir, id, "")) {
            err = sys_sync_dir(path);
        }
        if (err) {
            sys_close(lock_fd);
            return err;
        }
    }
    struct journal_set *set = &store->sets[store->set_count++];
    *set = (struct journal_set){.id = id, .lock_fd = lock_fd, .next_instance = 1};
    list_init(&set->empty);
    struct set_listing listing = {.store = store, .set = set};
    if (!store_set_path(path, sizeof path, store->dir, id, "")) {
        return MX_ERR_RANGE;
    }
    return sys_list(path, each_file, &listing);
}

static mx_err each_set(void *arg, const char *name)
{
    unsigned id;
    int used = 0;
    if (strlen(name) != 8 || sscanf(name, "set-%4x%n", &id, &used) != 1 || used != 8 ||
        id >= JOURNAL_SETS_MAX) {
        return MX_OK;
    }
    return set_open(arg, (uint16_t)id);
}

/* --- epoch -------------------------------------------------------------------------------------
 */

/* Far beyond what a lost number can have been: one is used per start. */
enum { EPOCH_SKIP = 65536 };

static void report_epoch_unreadable(struct journal_store *store, const char *path, uint64_t value)
{
    struct log_line *line = log_begin(store->log, LOG_WARN, "journal-epoch-unreadable");
    log_text(line, "file", path);
    log_u64(line, "continuesAt", value);
    log_text(line, "advice", "nothing to do: a higher number was chosen, queue ids do not repeat");
    log_end(store->log, line);
}

/* A lost or damaged file must neither make queue ids repeat nor keep the server from starting. */
static mx_err epoch_read(struct journal_store *store)
{
    char path[JOURNAL_PATH_MAX + 8];
    uint8_t *text = NULL;
    size_t len = 0;
    uint64_t value = 0;
    uint64_t newest = store->newest_epoch;
    (void)snprintf(path, sizeof path, "%s/epoch", store->dir);
    mx_err err = sys_read_file(&text, &len, path, EPOCH_TEXT_MAX);
    if (err && err != MX_ERR_NOTFOUND && err != MX_ERR_LIMIT) {
        return err;
    }
    if (err == MX_OK) {
        while (len > 0 && text[len - 1] == '\n') {
            len--;
        }
        err = text_to_u64(&value, slice_of(text, len));
        err = !err && value >= UINT32_MAX ? MX_ERR_RANGE : err;
        free(text);
    }
    if (err && err != MX_ERR_NOTFOUND) {
        value = newest + EPOCH_SKIP;
        report_epoch_unreadable(store, path, value);
    }
    value = newest > value ? newest : value;
    store->epoch = (uint32_t)value;
    return value < UINT32_MAX ? MX_OK : MX_ERR_RANGE;
}

/* In place: a few bytes of one sector, and the number never gets shorter. */
static mx_err epoch_overwrite(const char *path, struct slice text)
{
    int fd;
    mx_err err = sys_open(&fd, path, SYS_WRITE);
    if (err) {
        return err;
    }
    err = sys_pwrite(fd, text.ptr, text.len, 0);
    if (!err) {
        err = sys_sync(fd);
    }
    sys_close(fd);
    return err;
}

static mx_err epoch_take(struct journal_store *store)
{
    char path[JOURNAL_PATH_MAX + 8];
    char text[EPOCH_TEXT_MAX];
    struct writer w = writer_init(text, sizeof text);
    (void)snprintf(path, sizeof path, "%s/epoch", store->dir);
    store->epoch++;
    put_decimal(&w, store->epoch);
    put_char(&w, '\n');
    mx_err err = sys_replace_file(path, writer_slice(&w));
    /* On a full disk: what is queued has to be delivered for space to become free. */
    return err == MX_ERR_NOSPACE ? epoch_overwrite(path, writer_slice(&w)) : err;
}

/* --- open and close ----------------------------------------------------------------------------
 */

static mx_err store_open(struct journal_store **out_store, const char *dir,
                         const struct journal_conf *conf, struct log *log, bool readonly)
{
    struct journal_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        return MX_ERR_NOMEM;
    }
    list_init(&store->segments);
    atomic_init(&store->next_set, 0);
    store->conf = *conf;
    store->log = log;
    store->readonly = readonly;
    int len = snprintf(store->dir, sizeof store->dir, "%s", dir);
    mx_err err = len < 0 || (size_t)len + 32 >= sizeof store->dir ? MX_ERR_RANGE : MX_OK;
    if (!err && !readonly) {
        err = sys_mkdirs(dir);
    }
    if (!err && !readonly) {
        err = sys_sync_dir(dir); /* sets that a process made and did not live to sync */
    }
    if (!err) {
        err = sys_list(dir, each_set, store);
    }
    if (!err) {
        err = store->version_conflict ? MX_ERR_VERSION : epoch_read(store);
    }
    if (!err && !readonly) {
        err = epoch_take(store);
    }
    if (err) {
        journal_store_close(store);
        return err;
    }
    *out_store = store;
    return MX_OK;
}

static struct journal_conf with_defaults(const struct journal_conf *conf)
{
    struct journal_conf full = *conf;
    if (full.first_segment_bytes == 0) {
        full.first_segment_bytes = UINT64_C(16) << 20;
    }
    if (full.segment_bytes == 0) {
        full.segment_bytes = UINT64_C(64) << 20;
    }
    if (full.first_segments == 0) {
        full.first_segments = 2;
    }
    if (full.reserve_bytes == 0) {
        full.reserve_bytes = UINT64_C(64) << 20;
    }
    if (full.group_bytes == 0) {
        full.group_bytes = JOURNAL_GROUP_BYTES;
    }
    if (full.kept_bytes == 0) {
        full.kept_bytes = UINT32_C(4) << 20;
    }
    return full;
}

mx_err journal_store_open(struct journal_store **out_store, const char *dir,
                          const struct journal_conf *conf, struct log *log)
{
    struct journal_conf full = with_defaults(conf);
    return store_open(out_store, dir, &full, log, false);
}

mx_err journal_store_open_readonly(struct journal_store **out_store, const char *dir,
                                   struct log *log)
{
    struct journal_conf full = with_defaults(&(struct journal_conf){0});
    return store_open(out_store, dir, &full, log, true);
}

void journal_store_close(struct journal_store *store)
{
    if (store == NULL) {
        return;
    }
    segments_free(&store->segments);
    for (unsigned i = 0; i < store->set_count; i++) {
        segments_free(&store->sets[i].empty);
        sys_close(store->sets[i].lock_fd);
    }
    free(store);
}

uint32_t journal_store_epoch(const struct journal_store *store)
{
    return store->epoch;
}

unsigned journal_store_sets(const struct journal_store *store, uint16_t *out_sets, unsigned max)
{
    unsigned count = store->set_count < max ? store->set_count : max;
    for (unsigned i = 0; i < count; i++) {
        out_sets[i] = store->sets[i].id;
    }
    return count;
}

unsigned store_starts(const struct journal_store *store, uint16_t set)
{
    unsigned count = 0;
    uint32_t last = 0;                                     /* the first epoch is 1 */
    struct list_node *node = list_first(&store->segments); /* in the order of epochs */
    for (; node != NULL; node = list_next(&store->segments, node)) {
        const struct segment *segment = mx_container_of(node, struct segment, node);
        if (segment->set == set && segment->epoch != last) {
            last = segment->epoch;
            count++;
        }
    }
    return count;
}

mx_err store_new_set(struct journal_store *store, uint16_t *out_set, int *out_lock_fd)
{
    char path[JOURNAL_PATH_MAX];
    for (;;) {
        unsigned id = atomic_fetch_add(&store->next_set, 1);
        if (id >= JOURNAL_SETS_MAX) {
            return MX_ERR_LIMIT;
        }
        if (store->set_used[id]) {
            continue;
        }
        if (!store_set_path(path, sizeof path, store->dir, (uint16_t)id, "")) {
            return MX_ERR_RANGE;
        }
        mx_err err = sys_mkdirs(path);
        if (!err && store_set_path(path, sizeof path, store->dir, (uint16_t)id, "lock")) {
            err = sys_lock(out_lock_fd, path);
        }
        if (err != MX_ERR_LOCKED) {
            *out_set = (uint16_t)id;
            return err;
        }
    }
}

/* --- handing over ------------------------------------------------------------------------------
 */

mx_err store_segment_open(const struct journal_store *store, struct segment *segment, bool *direct)
{
    char path[JOURNAL_PATH_MAX];
    if (!store_segment_path(path, sizeof path, store->dir, segment)) {
        return MX_ERR_RANGE;
    }
    if (*direct) {
        mx_err err = sys_open(&segment->fd, path, SYS_READ | SYS_WRITE | SYS_DIRECT);
        if (err != MX_ERR_INVALID && err != MX_ERR_UNSUPPORTED) {
            return err;
        }
        *direct = false;
    }
    return sys_open(&segment->fd, path, SYS_READ | SYS_WRITE);
}

void segments_free(struct list *segments)
{
    struct list_node *node;
    while ((node = list_pop_front(segments)) != NULL) {
        struct segment *segment = mx_container_of(node, struct segment, node);
        sys_close(segment->fd);
        free(segment->deps);
        free(segment);
    }
}

void segment_depend(struct segment *later, struct segment *of)
{
    if (later == of) {
        return;
    }
    MX_ASSERT(!segment_older(later, of));
    for (size_t i = later->dep_count; i > 0; i--) {
        if (later->deps[i - 1] == of) {
            return;
        }
    }
    if (later->dep_count == later->dep_cap) {
        size_t cap = later->dep_cap ? later->dep_cap * 2 : 8;
        struct segment **deps = realloc(later->deps, cap * sizeof(struct segment *));
        if (deps == NULL) {
            later->deps_lost = true;
            return;
        }
        later->deps = deps;
        later->dep_cap = cap;
    }
    later->deps[later->dep_count++] = of;
}

void journal_part_init(struct journal_part *part)
{
    *part = (struct journal_part){.count = 0};
    list_init(&part->segments);
}

void journal_part_free(struct journal_part *part)
{
    segments_free(&part->segments);
    part->count = 0;
}

static bool is_in(uint16_t set, const uint16_t *sets, unsigned set_count)
{
    for (unsigned i = 0; i < set_count; i++) {
        if (sets[i] == set) {
            return true;
        }
    }
    return false;
}

/* Nobody will write to these files again. */
static void remove_empty(const struct journal_store *store, struct journal_set *set)
{
    char path[JOURNAL_PATH_MAX];
    struct list_node *node = list_first(&set->empty);
    for (; node != NULL; node = list_next(&set->empty, node)) {
        const struct segment *segment = mx_container_of(node, struct segment, node);
        if (store_segment_path(path, sizeof path, store->dir, segment) &&
            sys_unlink(path) != MX_OK) {
            break; /* space that a later start may win */
        }
    }
    segments_free(&set->empty);
}

mx_err journal_store_take(struct journal_store *store, const uint16_t *sets, unsigned set_count,
                          struct journal_part *part)
{
    bool direct = !store->conf.no_direct;
    mx_err err = MX_OK;
    struct list_node *node = list_first(&store->segments);
    while (!err && node != NULL) {
        struct segment *segment = mx_container_of(node, struct segment, node);
        node = list_next(&store->segments, node);
        if (is_in(segment->set, sets, set_count)) {
            err = store_segment_open(store, segment, &direct);
            list_remove(&segment->node);
            list_push_back(&part->segments, &segment->node);
            part->count++;
        }
    }
    for (unsigned i = 0; !err && i < store->set_count; i++) {
        struct journal_set *set = &store->sets[i];
        if (!set->opened && is_in(set->id, sets, set_count)) {
            remove_empty(store, set);
        }
    }
    return err;
}
