/* The running side of the journal: groups, commits, the life of segments. One thread (its shard).
 */
#include "io/journal_index.h"
#include "io/journal_private.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "io/clock.h"
#include "io/shard.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MAKE_STEP_BYTES = 1024 * 1024,
    MAKE_RETRY_MS = 1000,
    CUT_RETRY_MS = 1000,
    CUT_TRIES_MAX = 30,
    SPARE_SEGMENTS = 1, /* with fewer than this and the prepared one, the next is made */
    FLOOR_SEGMENTS = 4, /* below it nothing is moved to free space */
    INDEX_WRITES_MAX = 2,
    EVICT_PER_TURN = 4,
};

/* Records that form or are being written. */
struct group {
    uint8_t *bytes; /* conf.group_bytes, aligned */
    size_t len;
    uint32_t records, counted;
    bool urgent;
    uint64_t oldest_ns; /* of the first lazy record */
    struct list appends;
};

struct journal {
    struct journal_store *store;
    struct shard *shard;
    const struct journal_ops *ops;
    void *arg;
    struct shard_hook hook;
    uint16_t set;           /* that we write */
    int lock_fd;            /* of a set of our own making, else -1 */
    uint64_t next_sequence; /* of queue ids */
    uint64_t next_instance;
    uint32_t next_number;
    struct list segments; /* all but the empty ones, oldest first */
    struct list adopting; /* older ones, until journal_adopted */
    unsigned adopting_count;
    struct list empty;
    unsigned empty_count, segment_count;
    struct segment *active, *prepared;
    uint64_t active_at;          /* where the next group goes */
    uint64_t sequence;           /* of the next group in the active segment */
    struct segment_index *index; /* of the active segment, or NULL: it gets none */
    unsigned index_writes;
    struct group groups[2];
    struct group *forming, *flying;
    struct op write_op;
    bool flush_wanted;
    struct list waiters;
    /* one header block at a time is being written */
    struct op header_op;
    uint8_t *header; /* two aligned blocks: header and blank */
    uint32_t header_bytes;
    struct segment *header_of;
    struct segment *cut; /* nothing is written before its header says where it ends */
    unsigned cut_tries;
    struct timer cut_retry;
    bool check_free; /* some segment may have become free */
    /* making segments */
    struct work_job make_job;
    struct segment *making;
    uint64_t make_bytes;
    mx_err make_err;
    bool make_first; /* ignore the disk reserve */
    mx_err full;     /* why no segment could be made last time */
    struct timer make_retry;
    struct timer lazy; /* ends the wait of lazy records */
    bool broken;       /* the last write failed and no segment is ready */
    bool direct;
    unsigned reads;
    struct journal_tuning tuning;
    struct journal_stats stats;
};

static void make_start(struct journal *j);
static void journal_free(struct journal *j);

/* --- small things ------------------------------------------------------------------------------
 */

struct qid journal_next_id(struct journal *j)
{
    return (struct qid){.node = j->store->conf.node,
                        .set = j->set,
                        .epoch = j->store->epoch,
                        .sequence = ++j->next_sequence};
}

void segment_path(const struct segment *segment, const struct journal *journal, char *out,
                  size_t cap)
{
    bool fits = store_segment_path(out, cap, journal->store->dir, segment);
    MX_ASSERT(fits); /* checked when the store was opened */
}

static void log_trouble(struct journal *j, const char *event, const struct segment *segment,
                        mx_err err, const char *effect)
{
    char path[JOURNAL_PATH_MAX];
    struct log *log = &j->shard->log;
    struct log_line *line = log_begin(log, LOG_ERROR, event);
    if (segment != NULL) {
        segment_path(segment, j, path, sizeof path);
        log_text(line, "file", path);
    }
    log_err(line, "reason", err);
    log_text(line, "effect", effect);
    log_end(log, line);
}

static mx_err segment_open_fd(struct journal *j, struct segment *segment)
{
    bool direct = j->direct;
    mx_err err = store_segment_open(j->store, segment, &direct);
    if (j->direct && !direct) {
        char path[JOURNAL_PATH_MAX];
        segment_path(segment, j, path, sizeof path);
        struct log_line *line = log_begin(&j->shard->log, LOG_WARN, "journal-not-direct");
        log_text(line, "file", path);
        log_text(line, "effect", "the file system has no O_DIRECT: writes are buffered and synced");
        log_end(&j->shard->log, line);
        j->direct = false;
    }
    return err;
}

/* --- dependencies and freeing ------------------------------------------------------------------
 */

void journal_settle(struct journal *j, struct journal_resident *resident, struct journal_ref ref)
{
    MX_ASSERT(!list_linked(&resident->node));
    resident->ref = ref;
    list_push_back(&ref.segment->residents, &resident->node);
    ref.segment->live_bytes += jf_record_bytes(ref.len);
    j->stats.live_bytes += jf_record_bytes(ref.len);
    j->stats.residents++;
}

void journal_leave(struct journal *j, struct journal_resident *resident)
{
    if (!list_linked(&resident->node)) {
        return;
    }
    struct segment *segment = resident->ref.segment;
    list_remove(&resident->node);
    segment->live_bytes -= jf_record_bytes(resident->ref.len);
    j->stats.live_bytes -= jf_record_bytes(resident->ref.len);
    j->stats.residents--;
    j->check_free = j->check_free || list_empty(&segment->residents);
}

void journal_depend(struct journal *j, struct segment *later, struct segment *of)
{
    (void)j;
    segment_depend(later, of);
}

static void forget_dependency(struct journal *j, const struct segment *freed)
{
    struct list_node *node = list_first(&j->segments);
    for (; node != NULL; node = list_next(&j->segments, node)) {
        struct segment *segment = mx_container_of(node, struct segment, node);
        for (size_t i = 0; i < segment->dep_count; i++) {
            if (segment->deps[i] == freed) {
                segment->deps[i] = segment->deps[--segment->dep_count];
                break;
            }
        }
    }
}

static bool can_free(const struct journal *j, const struct segment *segment)
{
    if (segment->deps_lost && list_first(&j->segments) != &segment->node) {
        return false;
    }
    return segment->state == SEGMENT_SEALED && list_empty(&segment->residents) &&
           segment->dep_count == 0 && segment->reads == 0;
}

static void header_write(struct journal *j, struct segment *segment, enum jf_state state)
{
    struct jf_segment header = {.state = state,
                                .set = segment->set,
                                .node = j->store->conf.node,
                                .epoch = segment->epoch,
                                .end = segment->end,
                                .instance = segment->instance,
                                .size = segment->size};
    MX_ASSERT(j->header_of == NULL);
    jf_segment_put(j->header, &header);
    jf_blank_put(j->header + JF_BLOCK_BYTES, &header);
    j->header_of = segment;
    /* The blank goes with the header of one that is prepared, and is never written later. */
    j->header_bytes = segment->state == SEGMENT_EMPTY ? 2 * JF_BLOCK_BYTES : JF_BLOCK_BYTES;
    ring_write(j->shard->ring, &j->header_op, segment->fd, j->header, j->header_bytes, 0, true);
}

static void segment_discard(struct journal *j, struct segment *segment)
{
    char path[JOURNAL_PATH_MAX];
    segment_path(segment, j, path, sizeof path);
    sys_close(segment->fd);
    mx_err err = sys_unlink(path); /* a few microseconds; happens once per adopted segment */
    (void)err;
    free(segment->deps);
    free(segment);
}

static void wake_waiters(struct journal *j)
{
    struct list waiting;
    list_init(&waiting);
    list_splice(&waiting, &j->waiters);
    struct list_node *node;
    while ((node = list_pop_front(&waiting)) != NULL) {
        struct journal_waiter *waiter = mx_container_of(node, struct journal_waiter, node);
        waiter->ready(waiter);
    }
}

static void segment_available(struct journal *j, struct segment *segment)
{
    segment->state = SEGMENT_EMPTY;
    segment->dep_count = 0;
    segment->deps_lost = false;
    segment->live_bytes = 0;
    list_push_back(&j->empty, &segment->node);
    j->empty_count++;
}

static void freed(struct journal *j, struct segment *segment)
{
    list_remove(&segment->node);
    j->segment_count--;
    j->stats.capacity_bytes -= segment->size;
    forget_dependency(j, segment);
    j->check_free = true;
    if (segment->set == j->set) {
        segment_available(j, segment);
    } else {
        segment_discard(j, segment);
    }
    wake_waiters(j);
}

static void prepared_done(struct journal *j, struct segment *segment, mx_err err)
{
    if (err) {
        log_trouble(j, "journal-segment-failed", segment, err,
                    "this segment is not used; mail is answered 451 until another one is ready");
        j->broken = true;
        j->full = err;
        segment_discard(j, segment);
        shard_after(j->shard, &j->make_retry, MAKE_RETRY_MS * MX_NS_PER_MS);
        return;
    }
    segment->state = SEGMENT_PREPARED;
    list_push_back(&j->segments, &segment->node);
    j->segment_count++;
    j->stats.capacity_bytes += segment->size;
    j->prepared = segment;
    if (j->broken) {
        j->broken = false;
        j->full = MX_OK;
        if (j->ops->recovered != NULL) {
            j->ops->recovered(j->arg);
        }
    }
    wake_waiters(j);
}

/* Appending goes on when the failed write cannot come back. After many tries it goes on all the
 * same: then what was reported as failed may be found by the next start. */
static void cut_done(struct journal *j, struct segment *segment, mx_err err)
{
    if (err && ++j->cut_tries < CUT_TRIES_MAX) {
        shard_after(j->shard, &j->cut_retry, CUT_RETRY_MS * MX_NS_PER_MS);
        return;
    }
    if (err) {
        log_trouble(j, "journal-segment-failed", segment, err,
                    "a write that was reported as failed may come back at the next start");
    }
    segment->state = SEGMENT_SEALED;
    j->cut = NULL;
    j->cut_tries = 0;
    j->check_free = true;
    wake_waiters(j);
}

static void header_done(struct op *op, const struct op_result *result)
{
    struct journal *j = mx_container_of(op, struct journal, header_op);
    struct segment *segment = j->header_of;
    bool whole = (uint64_t)result->value == j->header_bytes;
    mx_err err = result->err ? result->err : whole ? MX_OK : MX_ERR_IO;
    j->header_of = NULL;
    if (segment->state == SEGMENT_CUT) {
        cut_done(j, segment, err);
    } else if (segment->state != SEGMENT_FREEING) {
        prepared_done(j, segment, err);
    } else if (err) {
        segment->state = SEGMENT_SEALED; /* tried again at the next turn that frees something */
        log_trouble(j, "journal-segment-failed", segment, err, "it cannot be reused yet");
    } else {
        freed(j, segment);
    }
}

/* One header write at a time: what a failed write left comes first, then preparing the next
 * segment. */
static void step_segments(struct journal *j)
{
    if (j->header_of == NULL && j->cut != NULL && !timer_armed(&j->cut_retry)) {
        header_write(j, j->cut, JF_ACTIVE);
    }
    if (j->header_of == NULL && j->prepared == NULL && j->empty_count > 0) {
        struct segment *segment = mx_container_of(list_pop_front(&j->empty), struct segment, node);
        j->empty_count--;
        segment->epoch = j->store->epoch;
        segment->end = 0;
        segment->instance = j->next_instance++;
        header_write(j, segment, JF_ACTIVE);
    }
    if (j->header_of != NULL || !j->check_free) {
        return;
    }
    j->check_free = false;
    struct list_node *node = list_first(&j->segments);
    for (; node != NULL; node = list_next(&j->segments, node)) {
        struct segment *segment = mx_container_of(node, struct segment, node);
        if (can_free(j, segment)) {
            segment->state = SEGMENT_FREEING;
            header_write(j, segment, JF_FREE);
            return;
        }
    }
}

/* --- making segments ---------------------------------------------------------------------------
 */

static mx_err write_zeros(int fd, uint64_t bytes)
{
    void *zeros = aligned_alloc(JF_BLOCK_BYTES, MAKE_STEP_BYTES);
    if (zeros == NULL) {
        return MX_ERR_NOMEM;
    }
    mx_err err = MX_OK;
    memset(zeros, 0, MAKE_STEP_BYTES);
    for (uint64_t at = 0; !err && at < bytes; at += MAKE_STEP_BYTES) {
        uint64_t left = bytes - at;
        err = sys_pwrite(fd, zeros, left < MAKE_STEP_BYTES ? left : MAKE_STEP_BYTES, at);
    }
    free(zeros);
    return err;
}

/* Past the page cache where that can be had: pages that are in it would have to be thrown out again
 * by the first write to each, which the kernel then hands to a thread. */
static mx_err segment_create(const struct journal *j, int *out_fd, const char *path)
{
    unsigned flags = SYS_READ | SYS_WRITE | SYS_CREATE;
    if (j->store->conf.no_direct) {
        return sys_open(out_fd, path, flags | SYS_EXCLUSIVE);
    }
    mx_err err = sys_open(out_fd, path, flags | SYS_EXCLUSIVE | SYS_DIRECT);
    if (err == MX_ERR_INVALID || err == MX_ERR_UNSUPPORTED) {
        err = sys_open(out_fd, path, flags); /* it may have been made all the same */
    }
    return err;
}

static mx_err segment_make(struct journal *j, struct segment *segment, uint64_t bytes)
{
    char path[JOURNAL_PATH_MAX], dir[JOURNAL_PATH_MAX];
    uint64_t available = 0;
    int fd;
    segment_path(segment, j, path, sizeof path);
    bool fits = store_set_path(dir, sizeof dir, j->store->dir, segment->set, "");
    mx_err err = fits ? sys_free_bytes(&available, dir) : MX_ERR_RANGE;
    if (!err && available < bytes + (j->make_first ? 0 : j->store->conf.reserve_bytes)) {
        err = MX_ERR_NOSPACE;
    }
    if (!err) {
        err = segment_create(j, &fd, path);
    }
    if (err) {
        return err;
    }
    err = sys_allocate(fd, bytes);
    if (!err) {
        err = write_zeros(fd, bytes);
    }
    if (!err) {
        err = sys_sync(fd);
    }
    sys_close(fd);
    if (!err) {
        err = sys_sync_dir(dir);
    }
    if (err && sys_unlink(path) != MX_OK) {
        return err; /* the file stays behind as an empty segment of the next start */
    }
    segment->size = bytes;
    return err;
}

/* On a worker thread: touches only what belongs to the making. */
static void make_run(struct work_job *job)
{
    struct journal *j = mx_container_of(job, struct journal, make_job);
    j->make_err = segment_make(j, j->making, j->make_bytes);
    if (j->make_err == MX_ERR_NOSPACE && j->make_bytes > j->store->conf.first_segment_bytes) {
        j->make_err = segment_make(j, j->making, j->store->conf.first_segment_bytes);
    }
}

static struct segment *segment_new(struct journal *j)
{
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment != NULL) {
        segment->set = j->set;
        segment->number = j->next_number++;
        segment->fd = -1;
        list_init(&segment->residents);
    }
    return segment;
}

static mx_err make_end(struct journal *j)
{
    struct segment *segment = j->making;
    j->making = NULL;
    mx_err err = j->make_err;
    if (!err) {
        err = segment_open_fd(j, segment);
    }
    if (err) {
        free(segment);
        return err;
    }
    segment_available(j, segment);
    return MX_OK;
}

static void make_done(struct work_job *job)
{
    struct journal *j = mx_container_of(job, struct journal, make_job);
    mx_err err = make_end(j);
    if (err && j->full == MX_OK) {
        log_trouble(
            j, "journal-cannot-grow", NULL, err,
            err == MX_ERR_NOSPACE
                ? "new mail is answered 452 when the present segments are full; free disk space"
                : "new mail is answered 451 when the present segments are full");
    }
    if (!err && j->full != MX_OK) {
        struct log_line *line = log_begin(&j->shard->log, LOG_INFO, "journal-grows-again");
        log_end(&j->shard->log, line);
    }
    j->full = err;
    if (err) {
        shard_after(j->shard, &j->make_retry, MAKE_RETRY_MS * MX_NS_PER_MS);
        wake_waiters(j); /* they learn that it is full */
        return;
    }
    step_segments(j);
    make_start(j);
}

static void make_retry(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    make_start(mx_container_of(timer, struct journal, make_retry));
}

static void make_start(struct journal *j)
{
    unsigned ready = j->empty_count + (j->prepared != NULL);
    if (j->making != NULL || ready > SPARE_SEGMENTS || timer_armed(&j->make_retry) ||
        j->segment_count + j->empty_count >= JOURNAL_SEGMENTS_MAX) {
        return;
    }
    j->making = segment_new(j);
    if (j->making == NULL) {
        shard_after(j->shard, &j->make_retry, MAKE_RETRY_MS * MX_NS_PER_MS);
        return;
    }
    j->make_first = false;
    j->make_bytes = j->store->conf.segment_bytes;
    j->make_job.run = make_run;
    j->make_job.done = make_done;
    if (work_submit(j->shard->work, &j->make_job, 0) != MX_OK) {
        free(j->making);
        j->making = NULL;
        shard_after(j->shard, &j->make_retry, MAKE_RETRY_MS * MX_NS_PER_MS);
    }
}

/* --- appending ---------------------------------------------------------------------------------
 */

static uint64_t room_bytes(const struct journal *j)
{
    uint64_t room = j->active != NULL ? j->active->size - j->active_at : 0;
    room += j->prepared != NULL ? j->prepared->size - JF_BLOCK_BYTES : 0;
    struct list_node *node = list_first(&j->empty);
    for (; node != NULL; node = list_next(&j->empty, node)) {
        room += mx_container_of(node, struct segment, node)->size - JF_BLOCK_BYTES;
    }
    uint64_t taken = j->forming->len + JF_BLOCK_BYTES;
    /* A group does not cross segments: the rest of one may stay unused. */
    taken += j->forming->len;
    return room > taken ? room - taken : 0;
}

/* Of what is kept back, for outcomes alone: only they free segments. */
static uint64_t last_kept_bytes(const struct journal *j)
{
    return j->store->conf.kept_bytes / 2;
}

static mx_err room_check(const struct journal *j, uint64_t bytes, unsigned flags)
{
    uint64_t kept = (flags & JOURNAL_LAST_RESERVE) != 0 ? JF_BLOCK_BYTES
                    : (flags & JOURNAL_RESERVE) != 0    ? last_kept_bytes(j)
                                                        : j->store->conf.kept_bytes;
    if (room_bytes(j) >= bytes + kept) {
        return MX_OK;
    }
    return j->full != MX_OK ? j->full : MX_ERR_AGAIN;
}

mx_err journal_room(const struct journal *j, uint64_t bytes)
{
    if (j->cut != NULL || (j->broken && j->active == NULL)) {
        return MX_ERR_IO;
    }
    mx_err err = room_check(j, bytes + JF_BLOCK_BYTES, 0);
    return err == MX_ERR_AGAIN ? MX_OK : err;
}

mx_err journal_append(struct journal *j, struct journal_append *append, uint8_t type, struct qid id,
                      uint32_t payload_len, unsigned flags, struct writer *out_payload)
{
    struct group *group = j->forming;
    size_t bytes = jf_record_bytes(payload_len);
    MX_ASSERT(payload_len <= JOURNAL_RECORD_MAX && append->done != NULL);
    if (j->cut != NULL || (j->broken && j->active == NULL && j->prepared == NULL)) {
        return MX_ERR_IO;
    }
    if (group->records >= j->tuning.group_records ||
        bytes > j->store->conf.group_bytes - group->len) {
        return MX_ERR_AGAIN;
    }
    mx_err err = room_check(j, bytes, flags);
    if (err) {
        return err;
    }
    struct writer w = {.buf = group->bytes, .len = group->len, .cap = j->store->conf.group_bytes};
    jf_record_put(&w, &(struct jf_record){.type = type, .len = payload_len, .id = id});
    *out_payload = writer_init(group->bytes + w.len, payload_len);
    memset(group->bytes + w.len + payload_len, 0, bytes - JF_RECORD_HEADER_BYTES - payload_len);
    append->ref = (struct journal_ref){.offset = (uint32_t)w.len, .len = payload_len};
    list_push_back(&group->appends, &append->node);
    if (group->records == 0) {
        group->oldest_ns = j->shard->now_ns;
    }
    group->urgent = group->urgent || (flags & JOURNAL_LAZY) == 0;
    group->records++;
    group->counted += (flags & JOURNAL_COUNTED) != 0;
    group->len += bytes;
    return MX_OK;
}

void journal_wait(struct journal *j, struct journal_waiter *waiter)
{
    list_remove(&waiter->node);
    list_push_back(&j->waiters, &waiter->node);
}

void journal_unwait(struct journal_waiter *waiter)
{
    list_remove(&waiter->node);
}

/* --- committing --------------------------------------------------------------------------------
 */

static void group_reset(struct group *group)
{
    group->len = JF_GROUP_HEADER_BYTES;
    group->records = 0;
    group->counted = 0;
    group->urgent = false;
    group->oldest_ns = 0;
    list_init(&group->appends);
}

static void index_drop(struct journal *j)
{
    segment_index_free(j->index);
    j->index = NULL;
}

static void index_written(struct op *op, const struct op_result *result)
{
    struct segment_index *index = mx_container_of(op, struct segment_index, op);
    struct journal *j = index->owner;
    (void)result; /* without it the segment is read at the next start */
    MX_ASSERT(index->segment->reads > 0);
    index->segment->reads--;
    j->index_writes--;
    j->check_free = true;
    segment_index_free(index);
}

static void index_finish(struct journal *j)
{
    struct segment_index *index = j->index;
    if (index == NULL || j->index_writes >= INDEX_WRITES_MAX ||
        j->active_at + segment_index_bytes(index) > j->active->size) {
        index_drop(j);
        return;
    }
    j->index = NULL;
    j->index_writes++;
    j->active->reads++; /* it is not freed before */
    index->owner = j;
    segment_index_write(index, j->shard->ring, index_written);
}

static void seal_active(struct journal *j)
{
    if (j->active != NULL) {
        index_finish(j);
        j->active->state = SEGMENT_SEALED;
        j->active = NULL;
        j->check_free = true;
    }
}

/* The group, and in any case the index, fit into the active segment. */
static bool fits_with_index(const struct journal *j, uint64_t bytes)
{
    uint64_t index_bytes = j->index == NULL
                               ? 0
                               : segment_index_bytes(j->index) +
                                     (uint64_t)j->forming->records * JOURNAL_INDEX_RECORD_BYTES;
    return j->active_at + bytes + index_bytes <= j->active->size;
}

/* Makes a segment active that takes the forming group; false when none is prepared yet. */
static bool place_group(struct journal *j, uint64_t bytes)
{
    if (j->active != NULL && fits_with_index(j, bytes)) {
        return true;
    }
    if (j->prepared == NULL) {
        /* Records have precedence over the index. */
        bool fits = j->active != NULL && j->active_at + bytes <= j->active->size;
        if (fits) {
            index_drop(j);
        }
        return fits;
    }
    seal_active(j);
    j->active = j->prepared;
    j->prepared = NULL;
    j->active->state = SEGMENT_ACTIVE;
    j->active_at = JF_BLOCK_BYTES;
    j->sequence = 0;
    j->index = j->ops->indexed != NULL ? segment_index_new(j->active) : NULL;
    make_start(j);
    return j->active_at + bytes <= j->active->size;
}

static void group_done(struct journal *j, mx_err err)
{
    struct group *group = j->flying;
    uint64_t took_ns = clock_monotonic_ns() - group->oldest_ns;
    j->flying = NULL;
    hdr_add(&j->stats.sync_ns, took_ns);
    hdr_add(&j->stats.group_records, group->records);
    hdr_add(&j->stats.group_counted, group->counted);
    count_one(&j->stats.groups);
    count_add(&j->stats.failed_groups, err != MX_OK);
    count_add(&j->stats.records, group->records);
    count_add(&j->stats.bytes, group->len);
    struct list appends;
    list_init(&appends);
    list_splice(&appends, &group->appends);
    group_reset(group);
    struct list_node *node;
    while ((node = list_pop_front(&appends)) != NULL) {
        struct journal_append *append = mx_container_of(node, struct journal_append, node);
        append->done(append, err);
    }
    wake_waiters(j);
}

static void write_done(struct op *op, const struct op_result *result)
{
    struct journal *j = mx_container_of(op, struct journal, write_op);
    uint64_t bytes = mx_round_up(j->flying->len, JF_BLOCK_BYTES);
    mx_err err = result->err;
    if (!err && (uint64_t)result->value != bytes) {
        err = MX_ERR_IO;
    }
    if (err) {
        log_trouble(j, "journal-write-failed", j->active, err,
                    "the messages of this write were answered 451; another segment is tried");
        /* What is on the disk there is unknown: nothing follows it, no index speaks of it, and it
         * may not come back after it was reported as failed. */
        index_drop(j);
        struct segment *segment = j->active;
        seal_active(j);
        segment->state = SEGMENT_CUT;
        segment->end = (uint32_t)j->active_at;
        j->cut = segment;
        j->broken = j->prepared == NULL;
        make_start(j);
        group_done(j, err == MX_ERR_NOSPACE ? err : MX_ERR_IO);
        return;
    }
    j->active_at += bytes;
    j->sequence++;
    group_done(j, MX_OK);
}

static void group_write(struct journal *j)
{
    struct group *group = j->forming;
    uint64_t bytes = mx_round_up(group->len, JF_BLOCK_BYTES);
    if (!place_group(j, bytes)) {
        return; /* when a segment is prepared */
    }
    struct jf_group header = {.set = j->set,
                              .node = j->store->conf.node,
                              .epoch = j->active->epoch,
                              .instance = j->active->instance,
                              .sequence = j->sequence,
                              .length = (uint32_t)group->len,
                              .records = group->records};
    jf_group_seal(group->bytes, &header);
    if (j->index != NULL &&
        !segment_index_add(j->index, j->ops, slice_of(group->bytes, group->len), j->active_at)) {
        index_drop(j);
    }
    memset(group->bytes + group->len, 0, bytes - group->len);
    struct list_node *node = list_first(&group->appends);
    for (; node != NULL; node = list_next(&group->appends, node)) {
        struct journal_append *append = mx_container_of(node, struct journal_append, node);
        append->ref.segment = j->active;
        append->ref.offset += (uint32_t)j->active_at;
    }
    group->oldest_ns = clock_monotonic_ns();
    j->flying = group;
    j->forming = group == &j->groups[0] ? &j->groups[1] : &j->groups[0];
    j->flush_wanted = false;
    ring_write(j->shard->ring, &j->write_op, j->active->fd, group->bytes, (uint32_t)bytes,
               j->active_at, true);
}

static bool group_due(const struct journal *j)
{
    const struct group *group = j->forming;
    uint64_t age_ns = j->shard->now_ns - group->oldest_ns;
    uint64_t wait_ns = group->urgent ? j->tuning.commit_delay_ns : j->tuning.lazy_ns;
    return group->records > 0 &&
           (j->flush_wanted || age_ns >= wait_ns || group->records >= j->tuning.group_records);
}

/* --- eviction ----------------------------------------------------------------------------------
 */

/* Living records of a mostly dead old segment are moved forward. */
static void step_evict(struct journal *j)
{
    struct list_node *node = list_first(&j->segments);
    bool scarce = j->full != MX_OK;
    if (node == NULL || (j->segment_count <= FLOOR_SEGMENTS && !scarce)) {
        return;
    }
    struct segment *oldest = mx_container_of(node, struct segment, node);
    if (oldest->state != SEGMENT_SEALED || oldest->live_bytes * 2 > oldest->size ||
        list_empty(&oldest->residents)) {
        return;
    }
    if (scarce && room_bytes(j) < oldest->live_bytes + last_kept_bytes(j)) {
        return; /* moving half of it would use up room and free none */
    }
    struct list_node *resident = list_first(&oldest->residents);
    for (unsigned i = 0; i < EVICT_PER_TURN && resident != NULL; i++) {
        struct list_node *next = list_next(&oldest->residents, resident);
        j->ops->evict(j->arg, mx_container_of(resident, struct journal_resident, node));
        resident = next;
    }
}

static void turn(struct shard_hook *hook)
{
    struct journal *j = mx_container_of(hook, struct journal, hook);
    step_segments(j);
    step_evict(j);
    if (j->flying == NULL && j->cut == NULL && group_due(j)) {
        group_write(j);
    }
    const struct group *group = j->forming;
    if (group->records > 0 && !group->urgent && !timer_armed(&j->lazy)) {
        shard_after(j->shard, &j->lazy, j->tuning.lazy_ns);
    }
    if (group->urgent && j->flying == NULL && j->tuning.commit_delay_ns > 0) {
        uint64_t age_ns = j->shard->now_ns - group->oldest_ns;
        uint64_t delay_ns = j->tuning.commit_delay_ns;
        shard_within(j->shard, age_ns < delay_ns ? delay_ns - age_ns : 0);
    }
}

/* --- reading -----------------------------------------------------------------------------------
 */

static uint64_t read_start(struct journal_ref ref)
{
    return (ref.offset - JF_RECORD_HEADER_BYTES) / JF_BLOCK_BYTES * JF_BLOCK_BYTES;
}

size_t journal_read_bytes(struct journal_ref ref)
{
    return (size_t)(mx_round_up((uint64_t)ref.offset + ref.len, JF_BLOCK_BYTES) - read_start(ref));
}

static void read_done(struct op *op, const struct op_result *result)
{
    struct journal_read *read = mx_container_of(op, struct journal_read, op);
    struct journal *j = read->journal;
    struct segment *segment = read->ref.segment;
    size_t skip = read->ref.offset - read_start(read->ref);
    struct slice bytes = slice_of(read->buf, (size_t)result->value);
    mx_err err = result->err;
    j->reads--;
    segment->reads--;
    j->check_free = j->check_free || segment->reads == 0;
    if (!err && bytes.len < skip + read->ref.len) {
        err = MX_ERR_IO;
    }
    struct jf_record record;
    if (!err) {
        err = jf_record_get(&record, slice_from(bytes, skip - JF_RECORD_HEADER_BYTES));
    }
    if (!err) {
        read->payload = slice_first(slice_from(bytes, skip), read->ref.len);
        err = jf_payload_good(&record, read->payload) ? MX_OK : MX_ERR_DAMAGED;
    }
    read->done(read, err);
}

void journal_read(struct journal *j, struct journal_read *read)
{
    struct segment *segment = read->ref.segment;
    read->journal = j;
    read->op = (struct op){.done = read_done};
    j->reads++;
    count_one(&j->stats.reads);
    segment->reads++;
    ring_read(j->shard->ring, &read->op, segment->fd, read->buf,
              (uint32_t)journal_read_bytes(read->ref), read_start(read->ref));
}

/* --- opening and closing -----------------------------------------------------------------------
 */

/* Segments without records, which an earlier process left in the set that we write to: also those
 * that it had made ready, so starts that end early use the same ones again and again. */
static mx_err empty_take(struct journal *j, struct journal_set *set)
{
    struct list_node *node;
    while ((node = list_pop_front(&set->empty)) != NULL) {
        struct segment *segment = mx_container_of(node, struct segment, node);
        bool whole = segment->size >= j->store->conf.first_segment_bytes &&
                     segment->size % JF_BLOCK_BYTES == 0;
        mx_err err = segment_open_fd(j, segment);
        if (err) {
            list_push_back(&set->empty, &segment->node);
            return err;
        }
        if (whole) {
            segment_available(j, segment);
        } else {
            segment_discard(j, segment); /* unfinished when its process ended */
        }
    }
    return MX_OK;
}

void journal_adopt(struct journal *j, struct journal_part *part)
{
    MX_ASSERT(list_empty(&j->adopting));
    struct list_node *node = list_first(&part->segments);
    for (; node != NULL; node = list_next(&part->segments, node)) {
        j->stats.capacity_bytes += mx_container_of(node, struct segment, node)->size;
    }
    list_splice(&j->adopting, &part->segments);
    j->adopting_count = (unsigned)part->count;
    part->count = 0;
}

void journal_adopted(struct journal *j)
{
    struct list younger;
    list_init(&younger);
    list_splice(&younger, &j->segments);
    list_splice(&j->segments, &j->adopting);
    list_splice(&j->segments, &younger);
    j->segment_count += j->adopting_count;
    j->adopting_count = 0;
    j->check_free = true;
}

static mx_err first_segments(struct journal *j)
{
    j->make_first = true;
    j->make_bytes = j->store->conf.first_segment_bytes;
    while (j->empty_count < j->store->conf.first_segments) {
        j->making = segment_new(j);
        if (j->making == NULL) {
            return MX_ERR_NOMEM;
        }
        j->make_err = segment_make(j, j->making, j->make_bytes);
        mx_err err = make_end(j);
        if (err == MX_ERR_NOSPACE) {
            j->full = err; /* starts all the same: delivering what is queued frees space */
            shard_after(j->shard, &j->make_retry, MAKE_RETRY_MS * MX_NS_PER_MS);
            return MX_OK;
        }
        if (err) {
            return err;
        }
    }
    return MX_OK;
}

static void lazy_fire(struct timer *timer, uint64_t now_ns)
{
    (void)timer;
    (void)now_ns; /* it only ends the wait; the hook sees what is due */
}

static mx_err buffers_open(struct journal *j)
{
    for (unsigned i = 0; i < 2; i++) {
        j->groups[i].bytes =
            aligned_alloc(JF_BLOCK_BYTES, mx_round_up(j->store->conf.group_bytes, JF_BLOCK_BYTES));
        if (j->groups[i].bytes == NULL) {
            return MX_ERR_NOMEM;
        }
        group_reset(&j->groups[i]);
    }
    j->forming = &j->groups[0];
    j->header = aligned_alloc(JF_BLOCK_BYTES, (size_t)2 * JF_BLOCK_BYTES);
    return j->header == NULL ? MX_ERR_NOMEM : MX_OK;
}

static void buffers_close(struct journal *j)
{
    free(j->groups[0].bytes);
    free(j->groups[1].bytes);
    free(j->header);
}

static mx_err parts_open(struct journal *j, unsigned index)
{
    mx_err err = buffers_open(j);
    if (err) {
        return err;
    }
    if (index >= j->store->set_count) {
        err = store_new_set(j->store, &j->set, &j->lock_fd);
    } else {
        struct journal_set *set = &j->store->sets[index];
        MX_ASSERT(!set->opened);
        set->opened = true;
        j->set = set->id;
        j->next_number = set->next_number;
        j->next_instance = set->next_instance;
        err = empty_take(j, set);
    }
    return err ? err : first_segments(j);
}

mx_err journal_open(struct journal **out_journal, struct journal_store *store, struct shard *shard,
                    unsigned index, const struct journal_ops *ops, void *arg)
{
    struct journal *j = calloc(1, sizeof *j);
    if (j == NULL) {
        return MX_ERR_NOMEM;
    }
    j->store = store;
    j->shard = shard;
    j->ops = ops;
    j->arg = arg;
    j->lock_fd = -1;
    j->direct = !store->conf.no_direct;
    j->next_instance = 1;
    j->tuning = (struct journal_tuning){.lazy_ns = JOURNAL_LAZY_MS * MX_NS_PER_MS,
                                        .group_records = JOURNAL_GROUP_RECORDS};
    list_init(&j->segments);
    list_init(&j->adopting);
    list_init(&j->empty);
    list_init(&j->waiters);
    j->write_op.done = write_done;
    j->header_op.done = header_done;
    j->make_retry.fire = make_retry;
    j->lazy.fire = lazy_fire;
    j->cut_retry.fire = lazy_fire;
    mx_err err = parts_open(j, index);
    if (err) {
        journal_free(j);
        return err;
    }
    j->hook.turn = turn;
    shard_add_hook(shard, &j->hook);
    *out_journal = j;
    return MX_OK;
}

static void journal_free(struct journal *j)
{
    wheel_cancel(&j->shard->wheel, &j->make_retry);
    wheel_cancel(&j->shard->wheel, &j->lazy);
    wheel_cancel(&j->shard->wheel, &j->cut_retry);
    segments_free(&j->segments);
    segments_free(&j->adopting);
    segments_free(&j->empty);
    index_drop(j);
    buffers_close(j);
    sys_close(j->lock_fd);
    free(j);
}

bool journal_quiet(const struct journal *j)
{
    return j->flying == NULL && j->forming->records == 0 && j->header_of == NULL &&
           j->making == NULL && j->reads == 0 && j->index_writes == 0;
}

void journal_flush(struct journal *j)
{
    j->flush_wanted = true;
}

void journal_close(struct journal *j)
{
    MX_ASSERT(journal_quiet(j));
    journal_free(j);
}

void journal_tune(struct journal *j, const struct journal_tuning *tuning)
{
    MX_ASSERT(tuning->group_records > 0 && tuning->group_records <= JOURNAL_GROUP_RECORDS);
    j->tuning = *tuning;
}

void journal_stats(const struct journal *j, struct journal_stats *out_stats)
{
    *out_stats = j->stats;
    out_stats->segments = j->segment_count;
    out_stats->segments_free = j->empty_count;
    out_stats->direct = j->direct;
}
