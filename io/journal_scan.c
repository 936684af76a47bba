/* Reading what earlier processes left: by the index at the end of a segment, or group by group.
 * Blocks.
 */
#include "io/journal_private.h"

#include "core/check.h"
#include "core/hash.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum { SCAN_BYTES = 2 * JOURNAL_GROUP_BYTES };

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

/* Offset of the next valid group behind `from`, or size. What cannot be read just now is no end: an
 * error of the disk is one of the scan. */
static mx_err find_later(struct scan *scan, uint64_t from, uint64_t sequence_min, uint64_t *out_at)
{
    struct jf_group group;
    *out_at = scan->size;
    for (uint64_t at = from; at + JF_BLOCK_BYTES <= scan->size; at += JF_BLOCK_BYTES) {
        mx_err err = group_read(scan, at, sequence_min, &group);
        if (err != MX_ERR_DAMAGED) {
            *out_at = err ? scan->size : at;
            return err;
        }
    }
    return MX_OK;
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
        uint64_t later;
        mx_err err = find_later(scan, next, group->sequence + 1, &later);
        if (!err && later == scan->size) {
            scan->result.torn_groups++;
            *out_end = true;
            return MX_OK;
        }
        struct jf_group again;
        if (!err) { /* the search moved the window */
            err = group_read(scan, *offset, group->sequence, &again);
        }
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
            uint64_t later;
            err = find_later(scan, offset + JF_BLOCK_BYTES, sequence, &later);
            if (err) {
                return err;
            }
            end = later == scan->size;
            scan->result.torn_groups += end && something_written(scan, offset);
            if (!end) {
                damaged_range(scan, offset, later);
            }
            offset = later;
        }
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

/* --- by index ----------------------------------------------------------------------------------
 */

/* The entries of the segment's index, malloc'd; false: it has none that can be used. One that a
 * failed write has cut never gets any, and what lies at its end is content. */
static bool index_read(const struct scan *scan, struct jf_index *out_index, uint8_t **out_entries)
{
    uint8_t block[JF_BLOCK_BYTES];
    const struct segment *segment = scan->segment;
    struct jf_index index;
    size_t len = 0;
    if (segment->end != 0 || scan->size < 3 * JF_BLOCK_BYTES ||
        sys_pread(&len, scan->fd, block, sizeof block, scan->size - sizeof block) != MX_OK ||
        jf_index_get(&index, slice_of(block, len)) != MX_OK || index.set != segment->set ||
        index.epoch != segment->epoch || index.instance != segment->instance ||
        index.length > scan->size - 2 * JF_BLOCK_BYTES) {
        return false;
    }
    uint8_t *entries = malloc(index.length > 0 ? index.length : 1);
    uint64_t at = scan->size - JF_BLOCK_BYTES - mx_round_up(index.length, JF_BLOCK_BYTES);
    if (entries == NULL || sys_pread(&len, scan->fd, entries, index.length, at) != MX_OK ||
        !jf_index_good(&index, slice_of(entries, len))) {
        free(entries);
        return false;
    }
    *out_index = index;
    *out_entries = entries;
    return true;
}

static mx_err index_deliver(struct scan *scan, const struct jf_index *index, const uint8_t *bytes)
{
    struct slice entries = slice_of(bytes, index->length);
    struct jf_index_entry entry;
    size_t at = 0;
    mx_err err = MX_OK;
    while (!err && jf_index_next(entries, &at, &entry)) {
        struct journal_record out = {
            .type = entry.record.type, .id = entry.record.id, .payload = entry.kept};
        out.ref = (struct journal_ref){scan->segment, entry.offset, entry.record.len};
        scan->result.records++;
        err = scan->ops->record(scan->arg, &out);
    }
    scan->result.groups += index->groups;
    scan->result.indexed++;
    return err;
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
    if (segment->end != 0 && segment->end < scan->size) {
        scan->size = segment->end; /* behind it lies a write that was reported as failed */
    }
    scan->window_at = 0;
    scan->window_len = 0;
    scan->result.segments++;
    struct jf_index index;
    uint8_t *entries = NULL;
    if (index_read(scan, &index, &entries)) {
        err = index_deliver(scan, &index, entries);
        free(entries);
    } else {
        err = segment_scan(scan);
    }
    sys_close(scan->fd);
    return err;
}

static mx_err scan_progress(const struct scan *scan)
{
    return scan->ops->progress == NULL
               ? MX_OK
               : scan->ops->progress(scan->arg, scan->result.segments, scan->store->segment_count);
}

mx_err journal_store_scan(struct journal_store *store, const struct journal_scan_ops *ops,
                          void *arg, struct journal_scan_result *out_result)
{
    struct scan scan = {.store = store, .ops = ops, .arg = arg};
    scan.buf = malloc(SCAN_BYTES);
    mx_err err = scan.buf == NULL ? MX_ERR_NOMEM : scan_progress(&scan);
    struct list_node *node = list_first(&store->segments);
    for (; !err && node != NULL; node = list_next(&store->segments, node)) {
        err = scan_one(&scan, mx_container_of(node, struct segment, node));
        err = err ? err : scan_progress(&scan);
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
