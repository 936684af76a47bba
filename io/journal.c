/* The running side of the journal: its life, its turns, and reading. One thread (its
 * shard). */
#include "io/journal_running.h"

#include "core/check.h"
#include "core/log.h"
#include "io/sys.h"

#include <stdlib.h>

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

void journal_trouble(struct journal *j, const char *event, const struct segment *segment,
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

void journal_wake_waiters(struct journal *j)
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

static void turn(struct shard_hook *hook)
{
    struct journal *j = mx_container_of(hook, struct journal, hook);
    journal_step_segments(j);
    journal_step_evict(j);
    if (j->flying == NULL && j->cut == NULL && journal_group_due(j)) {
        journal_group_write(j);
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
    if (j->make_later) {
        j->make_later = false;
        j->full = MX_OK; /* the next segment that is made tells */
        journal_make_start(j);
    }
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
        journal_group_reset(&j->groups[i]);
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
        err = journal_take_empty(j, set);
    }
    return err ? err : journal_make_first(j);
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
    journal_segments_init(j);
    journal_commit_init(j);
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
    journal_index_drop(j);
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
