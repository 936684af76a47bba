/* The start-up side of the journal: finding sets and segments, the epoch, and the scan. Blocks. */
#include "io/journal_private.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum { EPOCH_TEXT_MAX = 16, SCAN_BYTES = 2 * JOURNAL_GROUP_BYTES };

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
    if (segment->state == SEGMENT_EMPTY) {
        list_push_back(&set->empty, &segment->node);
    } else {
        segment_insert(store, segment);
    }
}

static mx_err header_read(struct jf_segment *out, uint64_t *out_size, const char *path)
{
    uint8_t block[JF_BLOCK_BYTES];
    size_t len = 0;
    int fd;
    mx_err err = sys_open(&fd, path, SYS_READ);
    if (err) {
        return err;
    }
    err = sys_pread(&len, fd, block, sizeof block, 0);
    if (!err) {
        err = sys_size(out_size, fd);
    }
    sys_close(fd);
    return err ? err : jf_segment_get(out, slice_of(block, len));
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
    mx_err err = header_read(&header, &segment->size, path);
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
        if (err) {
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

static uint64_t newest_segment_epoch(const struct journal_store *store)
{
    uint64_t newest = 0;
    struct list_node *node = list_first(&store->segments);
    for (; node != NULL; node = list_next(&store->segments, node)) {
        const struct segment *segment = mx_container_of(node, struct segment, node);
        newest = segment->epoch > newest ? segment->epoch : newest;
    }
    return newest;
}

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
    uint64_t newest = newest_segment_epoch(store);
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
        MX_ASSERT(deps != NULL); /* a few pointers; without them a finished message could return */
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

/* --- scan --------------------------------------------------------------------------------------
 */

struct scan {
    struct journal_store *store;
    const struct journal_scan_ops *ops;
    void *arg;
    struct journal_scan_result result;
    uint8_t *buf; /* SCAN_BYTES: a window on the file */
    uint64_t window_at;
    size_t window_len;
    const uint8_t *group; /* the group that was read last, in the window */
    /* of the segment under the scan: */
    struct segment *segment;
    char path[JOURNAL_PATH_MAX];
    int fd;
    uint64_t size;
};

/* Makes len bytes at offset (or what the file has of them) readable; one read serves many groups.
 */
static mx_err window_move(struct scan *scan, uint64_t offset, size_t len, struct slice *out)
{
    if (offset < scan->window_at || offset + len > scan->window_at + scan->window_len) {
        scan->window_at = offset;
        scan->window_len = 0;
        mx_err err = sys_pread(&scan->window_len, scan->fd, scan->buf, SCAN_BYTES, offset);
        if (err) {
            return err;
        }
    }
    size_t skip = (size_t)(offset - scan->window_at);
    *out = slice_first(slice_of(scan->buf + skip, scan->window_len - skip), len);
    return MX_OK;
}

/* Reads and verifies the group at offset, structure only. MX_ERR_DAMAGED: there is none. */
static mx_err group_read(struct scan *scan, uint64_t offset, uint64_t sequence_min,
                         struct jf_group *out)
{
    struct slice bytes;
    mx_err err = window_move(scan, offset, JF_BLOCK_BYTES, &bytes);
    if (err) {
        return err;
    }
    struct jf_group group;
    err = jf_group_peek(&group, bytes);
    if (err) {
        return MX_ERR_DAMAGED; /* segments of newer versions were refused before */
    }
    const struct segment *segment = scan->segment;
    if (group.set != segment->set || group.epoch != segment->epoch ||
        group.instance != segment->instance || group.sequence < sequence_min ||
        group.length > JOURNAL_GROUP_BYTES || offset + group.length > scan->size) {
        return MX_ERR_DAMAGED;
    }
    err = window_move(scan, offset, group.length, &bytes);
    if (!err) {
        err = jf_group_check(&group, bytes);
    }
    if (!err) {
        scan->group = bytes.ptr;
        *out = group;
    }
    return err;
}

/* Offset of the next valid group behind `from`, or size. */
static uint64_t find_later(struct scan *scan, uint64_t from, uint64_t sequence_min)
{
    struct jf_group group;
    for (uint64_t at = from; at + JF_BLOCK_BYTES <= scan->size; at += JF_BLOCK_BYTES) {
        if (group_read(scan, at, sequence_min, &group) == MX_OK) {
            return at;
        }
    }
    return scan->size;
}

/* Keeps the bytes of a damaged range; the name is made from the content, so repeats do not pile up.
 */
static void quarantine(struct scan *scan, uint64_t offset, uint64_t len)
{
    char dir[JOURNAL_PATH_MAX + 16], path[JOURNAL_PATH_MAX + 64];
    uint8_t *bytes = malloc(len);
    size_t got = 0;
    bool there = false;
    if (bytes == NULL || scan->store->readonly ||
        sys_pread(&got, scan->fd, bytes, len, offset) != MX_OK) {
        free(bytes);
        return;
    }
    (void)snprintf(dir, sizeof dir, "%s/quarantine", scan->store->dir);
    (void)snprintf(path, sizeof path, "%s/%016llx.bin", dir,
                   (unsigned long long)hash_checksum(slice_of(bytes, got)));
    mx_err err = sys_mkdirs(dir);
    if (!err && sys_exists(&there, path) == MX_OK && !there) {
        err = sys_replace_file(path, slice_of(bytes, got));
    }
    (void)err; /* a comfort: recovery goes on without it */
    free(bytes);
}

static void report(struct scan *scan, struct qid id, uint64_t offset, uint32_t len)
{
    scan->result.damaged_records++;
    scan->ops->damaged(scan->arg, id, scan->path, offset, len);
}

/* The range between two valid groups cannot be read as one: names the records in it that still have
 * a header. */
static void damaged_range(struct scan *scan, uint64_t from, uint64_t to)
{
    uint64_t found = 0;
    quarantine(scan, from, to - from);
    for (uint64_t at = from; at < to; at += JF_RECORD_ALIGN) {
        uint8_t header[JF_RECORD_HEADER_BYTES];
        struct jf_record record;
        size_t len = 0;
        if (sys_pread(&len, scan->fd, header, sizeof header, at) != MX_OK) {
            break;
        }
        if (jf_record_get(&record, slice_of(header, len)) == MX_OK) {
            report(scan, record.id, at, record.len);
            found++;
        }
    }
    if (found == 0) {
        report(scan, (struct qid){0}, from, (uint32_t)(to - from));
    }
}

static bool payloads_good(const struct scan *scan, const struct jf_group *group)
{
    struct slice bytes = slice_of(scan->group, group->length);
    size_t at = 0, payload_at;
    struct jf_record record;
    while (jf_group_next(bytes, &at, &record, &payload_at)) {
        if (!jf_payload_good(&record, slice_first(slice_from(bytes, payload_at), record.len))) {
            return false;
        }
    }
    return true;
}

static mx_err group_deliver(struct scan *scan, uint64_t offset, const struct jf_group *group)
{
    struct slice bytes = slice_of(scan->group, group->length);
    size_t at = 0, payload_at;
    struct jf_record record;
    scan->result.groups++;
    while (jf_group_next(bytes, &at, &record, &payload_at)) {
        struct slice payload = slice_first(slice_from(bytes, payload_at), record.len);
        if (!jf_payload_good(&record, payload)) {
            quarantine(scan, offset + payload_at, record.len);
            report(scan, record.id, offset + payload_at, record.len);
            continue;
        }
        struct journal_record out = {.type = record.type, .id = record.id, .payload = payload};
        out.ref = (struct journal_ref){scan->segment, (uint32_t)(offset + payload_at), record.len};
        scan->result.records++;
        mx_err err = scan->ops->record(scan->arg, &out);
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

/* A group whose payloads are not all good is a torn tail if nothing valid follows. */
static mx_err take_group(struct scan *scan, uint64_t *offset, const struct jf_group *group,
                         bool *out_end)
{
    uint64_t next = *offset + mx_round_up(group->length, JF_BLOCK_BYTES);
    if (!payloads_good(scan, group)) {
        if (find_later(scan, next, group->sequence + 1) == scan->size) {
            scan->result.torn_groups++;
            *out_end = true;
            return MX_OK;
        }
        struct jf_group again;
        mx_err err =
            group_read(scan, *offset, group->sequence, &again); /* the search moved the window */
        if (err) {
            return err;
        }
    }
    mx_err err = group_deliver(scan, *offset, group);
    *offset = next;
    return err;
}

static bool something_written(const struct scan *scan, uint64_t offset)
{
    uint8_t block[JF_BLOCK_BYTES];
    size_t len = 0;
    struct jf_group group;
    const struct segment *segment = scan->segment;
    return sys_pread(&len, scan->fd, block, sizeof block, offset) == MX_OK &&
           jf_group_peek(&group, slice_of(block, len)) == MX_OK && group.epoch == segment->epoch &&
           group.instance == segment->instance && group.set == segment->set;
}

static mx_err segment_scan(struct scan *scan)
{
    uint64_t offset = JF_BLOCK_BYTES;
    uint64_t sequence = 0;
    bool end = false;
    while (!end && offset + JF_BLOCK_BYTES <= scan->size) {
        struct jf_group group;
        mx_err err = group_read(scan, offset, sequence, &group);
        if (err == MX_OK) {
            sequence = group.sequence + 1;
            err = take_group(scan, &offset, &group, &end);
        } else if (err == MX_ERR_DAMAGED) {
            uint64_t later = find_later(scan, offset + JF_BLOCK_BYTES, sequence);
            end = later == scan->size;
            scan->result.torn_groups += end && something_written(scan, offset);
            if (!end) {
                damaged_range(scan, offset, later);
            }
            offset = later;
            err = MX_OK;
        }
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

static mx_err scan_one(struct scan *scan, struct segment *segment)
{
    scan->segment = segment;
    if (!store_segment_path(scan->path, sizeof scan->path, scan->store->dir, segment)) {
        return MX_ERR_RANGE;
    }
    mx_err err = sys_open(&scan->fd, scan->path, SYS_READ);
    if (err) {
        return err;
    }
    scan->size = segment->size;
    scan->window_at = 0;
    scan->window_len = 0;
    scan->result.segments++;
    err = segment_scan(scan);
    sys_close(scan->fd);
    return err;
}

mx_err journal_store_scan(struct journal_store *store, const struct journal_scan_ops *ops,
                          void *arg, struct journal_scan_result *out_result)
{
    struct scan scan = {.store = store, .ops = ops, .arg = arg};
    scan.buf = malloc(SCAN_BYTES);
    mx_err err = scan.buf == NULL ? MX_ERR_NOMEM : MX_OK;
    struct list_node *node = list_first(&store->segments);
    for (; !err && node != NULL; node = list_next(&store->segments, node)) {
        err = ops->progress == NULL
                  ? MX_OK
                  : ops->progress(arg, scan.result.segments, store->segment_count);
        if (!err) {
            err = scan_one(&scan, mx_container_of(node, struct segment, node));
        }
    }
    free(scan.buf);
    if (!err) {
        *out_result = scan.result;
    }
    return err;
}

mx_err journal_store_read(struct journal_store *store, struct journal_ref ref, void *buf)
{
    char path[JOURNAL_PATH_MAX];
    uint8_t header[JF_RECORD_HEADER_BYTES];
    struct jf_record record;
    size_t len = 0;
    int fd;
    if (!store_segment_path(path, sizeof path, store->dir, ref.segment)) {
        return MX_ERR_RANGE;
    }
    mx_err err = sys_open(&fd, path, SYS_READ);
    if (err) {
        return err;
    }
    err = sys_pread(&len, fd, header, sizeof header, ref.offset - sizeof header);
    if (!err) {
        err = jf_record_get(&record, slice_of(header, len));
    }
    if (!err) {
        err = sys_pread(&len, fd, buf, ref.len, ref.offset);
    }
    sys_close(fd);
    return !err && !jf_payload_good(&record, slice_of(buf, len)) ? MX_ERR_DAMAGED : err;
}
