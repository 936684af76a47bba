/* Appending records to groups, and writing these. */
#include "io/journal_running.h"

#include "core/check.h"
#include "io/clock.h"

enum { INDEX_WRITES_MAX = 2 };

/* --- appending ---------------------------------------------------------------------------------
 */

/* Where the groups of a segment end at the latest. */
static uint64_t groups_end(const struct segment *segment)
{
    return segment->size - JOURNAL_INDEX_TRAILER_BYTES;
}

uint64_t journal_room_bytes(const struct journal *j)
{
    uint64_t room = j->active != NULL ? groups_end(j->active) - j->active_at : 0;
    room += j->prepared != NULL ? groups_end(j->prepared) - JF_BLOCK_BYTES : 0;
    struct list_node *node = list_first(&j->empty);
    for (; node != NULL; node = list_next(&j->empty, node)) {
        room += groups_end(mx_container_of(node, struct segment, node)) - JF_BLOCK_BYTES;
    }
    uint64_t taken = j->forming->len + JF_BLOCK_BYTES;
    /* A group does not cross segments: the rest of one may stay unused. */
    taken += j->forming->len;
    return room > taken ? room - taken : 0;
}

/* Of what is kept back, for outcomes alone: only they free segments. */
uint64_t journal_last_kept_bytes(const struct journal *j)
{
    return j->store->conf.kept_bytes / 2;
}

void journal_expect(struct journal *j, uint64_t messages)
{
    j->expected = messages;
}

/* What records with these flags leave free. */
static uint64_t kept_bytes(const struct journal *j, unsigned flags)
{
    uint64_t last = journal_last_kept_bytes(j);
    if ((flags & JOURNAL_LAST_RESERVE) != 0) {
        return JF_BLOCK_BYTES;
    }
    if ((flags & JOURNAL_REPORT) != 0) {
        return j->expected < last / JF_BLOCK_BYTES ? (j->expected + 1) * JF_BLOCK_BYTES : last;
    }
    return (flags & JOURNAL_RESERVE) != 0 ? last : j->store->conf.kept_bytes;
}

static mx_err room_check(const struct journal *j, uint64_t bytes, unsigned flags)
{
    if (journal_room_bytes(j) >= bytes + kept_bytes(j, flags)) {
        return MX_OK;
    }
    return j->full != MX_OK ? j->full : MX_ERR_AGAIN;
}

mx_err journal_room(const struct journal *j, uint64_t bytes, unsigned flags)
{
    if (j->cut != NULL || (j->broken && j->active == NULL)) {
        return MX_ERR_IO;
    }
    mx_err err = room_check(j, bytes + JF_BLOCK_BYTES, flags);
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

void journal_group_reset(struct group *group)
{
    group->len = JF_GROUP_HEADER_BYTES;
    group->records = 0;
    group->counted = 0;
    group->urgent = false;
    group->oldest_ns = 0;
    list_init(&group->appends);
}

void journal_index_drop(struct journal *j)
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
        journal_index_drop(j);
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
                               ? JOURNAL_INDEX_TRAILER_BYTES
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
        bool fits = j->active != NULL && j->active_at + bytes <= groups_end(j->active);
        if (fits) {
            journal_index_drop(j);
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
    journal_make_start(j);
    return j->active_at + bytes <= groups_end(j->active);
}

static void group_done(struct journal *j, mx_err err)
{
    struct group *group = j->flying;
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t took_ns = now_ns - group->oldest_ns;
    j->flying = NULL;
    pulse_synced(&j->shard->pulse, now_ns);
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
    journal_group_reset(group);
    struct list_node *node;
    while ((node = list_pop_front(&appends)) != NULL) {
        struct journal_append *append = mx_container_of(node, struct journal_append, node);
        append->done(append, err);
    }
    journal_wake_waiters(j);
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
        journal_trouble(j, "journal-write-failed", j->active, err,
                        "the messages of this write were answered 451; another segment is tried");
        /* What is on the disk there is unknown: nothing follows it, no index speaks of it, and it
         * may not come back after it was reported as failed. */
        journal_index_drop(j);
        struct segment *segment = j->active;
        seal_active(j);
        segment->state = SEGMENT_CUT;
        segment->end = (uint32_t)j->active_at;
        j->cut = segment;
        j->broken = j->prepared == NULL;
        journal_make_start(j);
        group_done(j, err == MX_ERR_NOSPACE ? err : MX_ERR_IO);
        return;
    }
    j->active_at += bytes;
    j->sequence++;
    group_done(j, MX_OK);
}

void journal_group_write(struct journal *j)
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
        journal_index_drop(j);
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

bool journal_group_due(const struct journal *j)
{
    const struct group *group = j->forming;
    uint64_t age_ns = j->shard->now_ns - group->oldest_ns;
    uint64_t wait_ns = group->urgent ? j->tuning.commit_delay_ns : j->tuning.lazy_ns;
    return group->records > 0 &&
           (j->flush_wanted || age_ns >= wait_ns || group->records >= j->tuning.group_records);
}

void journal_commit_init(struct journal *j)
{
    list_init(&j->waiters);
    j->write_op.done = write_done;
}
