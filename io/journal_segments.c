/* The life of segments: made, prepared, freed, and emptied of what still lives in old ones. */
#include "io/journal_running.h"

#include "core/check.h"
#include "core/log.h"
#include "io/sys.h"

#include <stdlib.h>

enum {
    MAKE_STEP_BYTES = 1024 * 1024,
    MAKE_RETRY_MS = 1000,
    CUT_RETRY_MS = 1000,
    CUT_TRIES_MAX = 30,
    SPARE_SEGMENTS = 1,  /* with fewer than this and the prepared one, the next is made */
    FLOOR_SEGMENTS = 4,  /* below it nothing is moved to free space */
    EVICT_PER_TURN = 16, /* their copies share a block or few, or little room is won */
};

/* --- dependencies and freeing ------------------------------------------------------------------
 */

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
    /* Those that are being adopted are older than all others. */
    bool oldest = list_empty(&j->adopting) && list_first(&j->segments) == &segment->node;
    if (segment->deps_lost && !oldest) {
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
    mx_err err = sys_unlink(path); /* once for each that is adopted, or one too many */
    (void)err;
    free(segment->deps);
    free(segment);
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
    if (segment->set == j->set && j->empty_count < JOURNAL_EMPTY_MAX) {
        segment_available(j, segment);
    } else {
        segment_discard(j, segment);
    }
    journal_wake_waiters(j);
}

static void prepared_done(struct journal *j, struct segment *segment, mx_err err)
{
    if (err) {
        journal_trouble(
            j, "journal-segment-failed", segment, err,
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
    journal_wake_waiters(j);
}

/* Of the group that failed the first block, without which nothing of it is read. */
static void wipe_write(struct journal *j, struct segment *segment)
{
    memset(j->header, 0, JF_BLOCK_BYTES);
    j->header_of = segment;
    j->header_bytes = JF_BLOCK_BYTES;
    ring_write(j->shard->ring, &j->header_op, segment->fd, j->header, j->header_bytes, segment->end,
               true);
}

static bool is_only_one(const struct journal *j, const struct segment *segment)
{
    /* With no group in it, a start knows it by its blank. */
    return j->active == NULL && j->prepared == NULL && j->empty_count == 0 &&
           segment->end > JF_BLOCK_BYTES;
}

static void cut_end(struct journal *j, struct segment *segment)
{
    segment->state = SEGMENT_SEALED;
    j->cut = NULL;
    j->cut_tries = 0;
    j->check_free = true;
    journal_wake_waiters(j);
}

/* On a full disk the rest of the segment is all the room there is, with what is kept in it for
 * outcomes: groups follow in the place of the one that failed. */
static void open_again(struct journal *j, struct segment *segment, mx_err err)
{
    if (!err && segment->state == SEGMENT_WIPING) {
        segment->state = SEGMENT_OPENING;
        return;
    }
    if (err || !is_only_one(j, segment)) {
        cut_end(j, segment); /* nothing is behind its last group, whatever its header says */
        return;
    }
    j->active = segment;
    j->active_at = segment->end;
    segment->end = 0;
    j->broken = false;
    cut_end(j, segment);
    segment->state = SEGMENT_ACTIVE;
    if (j->ops->recovered != NULL) {
        j->ops->recovered(j->arg);
    }
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
        journal_trouble(j, "journal-segment-failed", segment, err,
                        "a write that was reported as failed may come back at the next start");
    }
    if (!err && is_only_one(j, segment)) {
        segment->state = SEGMENT_WIPING;
        return;
    }
    cut_end(j, segment);
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
    } else if (segment->state == SEGMENT_WIPING || segment->state == SEGMENT_OPENING) {
        open_again(j, segment, err);
    } else if (segment->state != SEGMENT_FREEING) {
        prepared_done(j, segment, err);
    } else if (err) {
        segment->state = SEGMENT_SEALED; /* tried again at the next turn that frees something */
        journal_trouble(j, "journal-segment-failed", segment, err, "it cannot be reused yet");
    } else {
        freed(j, segment);
    }
}

static void cut_write(struct journal *j, struct segment *segment)
{
    uint32_t end = segment->end;
    if (segment->state == SEGMENT_WIPING) {
        wipe_write(j, segment);
        return;
    }
    segment->end = segment->state == SEGMENT_OPENING ? 0 : end;
    header_write(j, segment, JF_ACTIVE);
    segment->end = end;
}

/* One header write at a time: what a failed write left comes first, then preparing the next
 * segment. */
void journal_step_segments(struct journal *j)
{
    if (j->header_of == NULL && j->cut != NULL && !timer_armed(&j->cut_retry)) {
        cut_write(j, j->cut);
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

/* --- making ------------------------------------------------------------------------------------
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
        journal_trouble(
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
        journal_wake_waiters(j); /* they learn that it is full */
        return;
    }
    journal_step_segments(j);
    journal_make_start(j);
    journal_wake_waiters(j); /* there is more room, also when the next one is prepared already */
}

static void make_retry(struct timer *timer, uint64_t now_ns)
{
    (void)now_ns;
    journal_make_start(mx_container_of(timer, struct journal, make_retry));
}

void journal_make_start(struct journal *j)
{
    unsigned ready = j->empty_count + (j->prepared != NULL);
    if (j->making != NULL || j->make_later || ready > SPARE_SEGMENTS ||
        timer_armed(&j->make_retry) || j->segment_count + j->empty_count >= JOURNAL_SEGMENTS_MAX) {
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

/* --- at the start ------------------------------------------------------------------------------
 */

/* Segments without records, which an earlier process left in the set that we write to: also those
 * that it had made ready, so starts that end early use the same ones again and again. */
mx_err journal_take_empty(struct journal *j, struct journal_set *set)
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
        if (whole && j->empty_count < JOURNAL_EMPTY_MAX) {
            segment_available(j, segment);
        } else {
            segment_discard(j, segment); /* unfinished when its process ended, or one of many */
        }
    }
    return MX_OK;
}

mx_err journal_make_first(struct journal *j)
{
    unsigned starts = store_starts(j->store, j->set);
    if (starts >= JOURNAL_STARTS_MAX) {
        j->make_later = true;
        j->full = MX_ERR_NOSPACE;
        struct log_line *line = log_begin(&j->shard->log, LOG_WARN, "journal-waits");
        log_u64(line, "set", j->set);
        log_u64(line, "starts", starts);
        log_text(line, "reason", "it is not known yet what of their mail is still queued");
        log_text(line, "effect",
                 "new mail is answered 452 until it has been read, when there is no segment left");
        log_end(&j->shard->log, line);
        return MX_OK;
    }
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

/* --- moving ------------------------------------------------------------------------------------
 */

/* Living records of a mostly dead old segment are moved forward. */
void journal_step_evict(struct journal *j)
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
    if (scarce && journal_room_bytes(j) < oldest->live_bytes + journal_last_kept_bytes(j)) {
        return; /* moving half of it would use up room and free none */
    }
    struct list_node *resident = list_first(&oldest->residents);
    for (unsigned i = 0; i < EVICT_PER_TURN && resident != NULL; i++) {
        struct list_node *next = list_next(&oldest->residents, resident);
        j->ops->evict(j->arg, mx_container_of(resident, struct journal_resident, node));
        resident = next;
    }
}

void journal_segments_init(struct journal *j)
{
    list_init(&j->segments);
    list_init(&j->adopting);
    list_init(&j->empty);
    j->header_op.done = header_done;
    j->make_retry.fire = make_retry;
}
