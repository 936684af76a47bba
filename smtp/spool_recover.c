#include "smtp/spool_recover.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "io/shard.h"

#include <stdlib.h>

enum { ENTRIES_MAX = 64 * 1024 * 1024, REASON_MAX = RECORD_TEXT_MAX };

struct found_extent {
    struct found_extent *next;
    struct record_extent head;
    struct journal_ref ref;
};

struct entry {
    struct qid id;
    struct journal_ref ref; /* newest MESSAGE record; segment NULL: only extents so far */
    struct record_message head;
    struct rcpt_state *rcpts;
    struct slice *reasons; /* malloc'd texts, or NULL */
    struct found_extent *extents;
    bool incomplete;
};

/* The record in `later` must outlive segment `of`. */
struct dependency {
    struct segment *later, *of;
};

struct spool_part {
    struct spool_recovery *recovery;
    unsigned core;
    uint16_t sets[JOURNAL_SETS_MAX];
    unsigned set_count;
};

struct spool_recovery {
    struct journal_store *store;
    struct log *log;
    struct entry *entries;
    size_t entry_count, entry_cap;
    uint32_t *slots; /* index + 1 into entries */
    size_t slot_mask;
    struct dependency *deps;
    size_t dep_count, dep_cap;
    uint16_t set_parent[JOURNAL_SETS_MAX]; /* union-find */
    struct spool_part *parts;
    unsigned cores;
};

/* --- table of what was found -------------------------------------------------------------------
 */

static mx_err slots_grow(struct spool_recovery *rec)
{
    size_t count = rec->slot_mask ? (rec->slot_mask + 1) * 2 : 1024;
    uint32_t *slots = calloc(count, sizeof *slots);
    if (slots == NULL) {
        return MX_ERR_NOMEM;
    }
    free(rec->slots);
    rec->slots = slots;
    rec->slot_mask = count - 1;
    for (size_t i = 0; i < rec->entry_count; i++) {
        size_t at = qid_hash(rec->entries[i].id) & rec->slot_mask;
        while (slots[at] != 0) {
            at = (at + 1) & rec->slot_mask;
        }
        slots[at] = (uint32_t)i + 1;
    }
    return MX_OK;
}

static struct entry *entry_find(struct spool_recovery *rec, struct qid id)
{
    if (rec->slots == NULL) {
        return NULL;
    }
    size_t at = qid_hash(id) & rec->slot_mask;
    while (rec->slots[at] != 0) {
        struct entry *entry = &rec->entries[rec->slots[at] - 1];
        if (qid_equal(entry->id, id)) {
            return entry;
        }
        at = (at + 1) & rec->slot_mask;
    }
    return NULL;
}

static struct entry *entry_get(struct spool_recovery *rec, struct qid id)
{
    struct entry *entry = entry_find(rec, id);
    if (entry != NULL || rec->entry_count >= ENTRIES_MAX) {
        return entry;
    }
    if (rec->entry_count == rec->entry_cap) {
        size_t cap = rec->entry_cap ? rec->entry_cap * 2 : 1024;
        struct entry *entries = realloc(rec->entries, cap * sizeof *entries);
        if (entries == NULL) {
            return NULL;
        }
        rec->entries = entries;
        rec->entry_cap = cap;
    }
    if ((rec->entry_count + 1) * 2 > rec->slot_mask && slots_grow(rec)) {
        return NULL;
    }
    entry = &rec->entries[rec->entry_count++];
    *entry = (struct entry){.id = id};
    size_t at = qid_hash(id) & rec->slot_mask;
    while (rec->slots[at] != 0) {
        at = (at + 1) & rec->slot_mask;
    }
    rec->slots[at] = (uint32_t)rec->entry_count;
    return entry;
}

/* --- dependencies ------------------------------------------------------------------------------
 */

static uint16_t set_root(struct spool_recovery *rec, uint16_t set)
{
    while (rec->set_parent[set] != set) {
        rec->set_parent[set] = rec->set_parent[rec->set_parent[set]];
        set = rec->set_parent[set];
    }
    return set;
}

static mx_err depend(struct spool_recovery *rec, struct segment *later, struct segment *of)
{
    if (later == of || of == NULL) {
        return MX_OK;
    }
    rec->set_parent[set_root(rec, segment_set(later))] = set_root(rec, segment_set(of));
    for (size_t i = rec->dep_count; i > 0 && i + 8 > rec->dep_count; i--) {
        if (rec->deps[i - 1].later == later && rec->deps[i - 1].of == of) {
            return MX_OK; /* neighbours repeat */
        }
    }
    if (rec->dep_count == rec->dep_cap) {
        size_t cap = rec->dep_cap ? rec->dep_cap * 2 : 256;
        struct dependency *deps = realloc(rec->deps, cap * sizeof *deps);
        if (deps == NULL) {
            return MX_ERR_NOMEM;
        }
        rec->deps = deps;
        rec->dep_cap = cap;
    }
    rec->deps[rec->dep_count++] = (struct dependency){later, of};
    return MX_OK;
}

/* --- records -----------------------------------------------------------------------------------
 */

static void reason_set(struct entry *entry, uint32_t rcpt, struct slice text)
{
    if (text.len == 0) {
        return;
    }
    if (entry->reasons == NULL) {
        entry->reasons = calloc(entry->head.rcpt_count, sizeof *entry->reasons);
    }
    uint8_t *copy = entry->reasons != NULL ? malloc(text.len) : NULL;
    if (copy == NULL) {
        return; /* a reason is a comfort, not a need */
    }
    memcpy(copy, text.ptr, text.len);
    free((void *)(uintptr_t)entry->reasons[rcpt].ptr);
    entry->reasons[rcpt] = slice_of(copy, text.len);
}

/* Records of one recipient may come out of order: one whose write failed was written again later.
 * What is final stays, and attempts and notices only grow. */
static void state_merge(struct rcpt_state *state, const struct rcpt_state *other)
{
    uint8_t notified = mx_max_size(state->notified, other->notified) & UINT8_MAX;
    bool newer = other->status != RCPT_PENDING || other->attempts >= state->attempts;
    if (state->status == RCPT_PENDING && newer) {
        *state = *other;
    }
    state->notified = notified;
}

static mx_err apply_outcomes(struct spool_recovery *rec, struct qid id, struct reader *r,
                             uint32_t count, struct segment *segment)
{
    struct entry *entry = entry_find(rec, id);
    if (entry == NULL || entry->ref.segment == NULL) {
        return MX_OK; /* of a message whose segment is gone */
    }
    for (uint32_t i = 0; i < count && reader_left(r) > 0; i++) {
        struct record_outcome o;
        mx_err err = record_outcome_get(&o, r);
        if (err || o.rcpt >= entry->head.rcpt_count) {
            return MX_ERR_DAMAGED;
        }
        state_merge(&entry->rcpts[o.rcpt], &o.state);
        reason_set(entry, o.rcpt, o.text);
    }
    return depend(rec, segment, entry->ref.segment);
}

static mx_err states_read(struct entry *entry, const struct record_message *head, struct reader *r)
{
    struct rcpt_state *rcpts = calloc(head->rcpt_count ? head->rcpt_count : 1, sizeof *rcpts);
    if (rcpts == NULL) {
        return MX_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < head->rcpt_count; i++) {
        rcpts[i].due_ms = head->arrived_ms;
        if (head->has_states) {
            record_rcpt_get(&rcpts[i], r);
        }
    }
    if (r->overrun) {
        free(rcpts);
        return MX_ERR_DAMAGED;
    }
    free(entry->rcpts);
    entry->rcpts = rcpts;
    return MX_OK;
}

static mx_err on_message(struct spool_recovery *rec, const struct journal_record *record)
{
    struct record_message head;
    mx_err err = record_message_head_get(&head, record->payload);
    if (err || head.rcpt_count > ENVELOPE_RCPTS_MAX) {
        return err ? err : MX_ERR_DAMAGED;
    }
    if (record_message_bytes(&head) != record->payload.len) {
        return MX_ERR_DAMAGED;
    }
    struct entry *entry = entry_get(rec, record->id);
    if (entry == NULL) {
        return MX_ERR_NOMEM;
    }
    if (entry->ref.segment != NULL) {
        err = depend(rec, record->ref.segment, entry->ref.segment); /* a moved copy */
    }
    struct reader r = reader_init(slice_from(record->payload, RECORD_MESSAGE_HEAD_BYTES));
    struct reader marks = reader_init(get_bytes(&r, head.marks_bytes));
    if (!err) {
        err = states_read(entry, &head, &r);
    }
    if (!err) {
        entry->head = head;
        entry->ref = record->ref;
        err = apply_outcomes(rec, head.marks_of, &marks, head.mark_count, record->ref.segment);
    }
    return err;
}

static mx_err on_extent(struct spool_recovery *rec, const struct journal_record *record)
{
    struct record_extent head;
    mx_err err = record_extent_get(&head, record->payload);
    struct entry *entry = err ? NULL : entry_get(rec, record->id);
    if (entry == NULL) {
        return err ? err : MX_ERR_NOMEM;
    }
    struct found_extent **at = &entry->extents;
    while (*at != NULL && (*at)->head.number < head.number) {
        at = &(*at)->next;
    }
    if (*at != NULL && (*at)->head.number == head.number) {
        err = depend(rec, record->ref.segment, (*at)->ref.segment);
        (*at)->head = head;
        (*at)->ref = record->ref; /* a moved copy is newer */
        return err;
    }
    struct found_extent *extent = malloc(sizeof *extent);
    if (extent == NULL) {
        return MX_ERR_NOMEM;
    }
    *extent = (struct found_extent){.next = *at, .head = head, .ref = record->ref};
    *at = extent;
    return MX_OK;
}

static mx_err on_record(void *arg, const struct journal_record *record)
{
    struct spool_recovery *rec = arg;
    mx_err err = MX_OK;
    struct reader r = reader_init(record->payload);
    switch (record->type) {
    case RECORD_MESSAGE:
        err = on_message(rec, record);
        break;
    case RECORD_EXTENT:
        err = on_extent(rec, record);
        break;
    case RECORD_OUTCOME:
        err = apply_outcomes(rec, record->id, &r, UINT32_MAX, record->ref.segment);
        break;
    default:
        err = MX_ERR_VERSION;
    }
    if (err == MX_ERR_DAMAGED || err == MX_ERR_SYNTAX) {
        struct log_line *line = log_begin(rec->log, LOG_ERROR, "queue-record-malformed");
        log_qid(line, "id", record->id);
        log_u64(line, "type", record->type);
        log_end(rec->log, line);
        err = MX_OK;
    }
    return err;
}

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    struct spool_recovery *rec = arg;
    struct log_line *line = log_begin(rec->log, LOG_ERROR, "journal-damaged");
    log_qid(line, "id", id);
    log_text(line, "file", file);
    log_u64(line, "offset", offset);
    log_u64(line, "bytes", len);
    log_text(line, "effect",
             "this record is lost to the queue; its bytes are kept in the quarantine folder");
    log_end(rec->log, line);
}

/* --- judgement ---------------------------------------------------------------------------------
 */

static bool entry_alive(const struct entry *entry)
{
    for (uint32_t i = 0; entry->ref.segment != NULL && i < entry->head.rcpt_count; i++) {
        if (entry->rcpts[i].status == RCPT_PENDING) {
            return true;
        }
    }
    return false;
}

static bool entry_complete(const struct entry *entry)
{
    uint32_t number = 0;
    uint64_t bytes = entry->head.inline_bytes;
    const struct found_extent *e = entry->extents;
    for (; e != NULL && e->head.number == number; e = e->next) {
        bytes += e->head.len;
        number++;
    }
    return number == entry->head.extent_count && bytes == entry->head.body_bytes;
}

static void judge(struct spool_recovery *rec, struct spool_recovered *result)
{
    for (size_t i = 0; i < rec->entry_count; i++) {
        struct entry *entry = &rec->entries[i];
        if (!entry_alive(entry)) {
            result->finished += entry->ref.segment != NULL;
            continue;
        }
        result->messages++;
        for (const struct found_extent *e = entry->extents; e != NULL; e = e->next) {
            rec->set_parent[set_root(rec, segment_set(e->ref.segment))] =
                set_root(rec, segment_set(entry->ref.segment));
        }
        if (!entry_complete(entry)) {
            entry->incomplete = true;
            result->incomplete++;
            struct log_line *line = log_begin(rec->log, LOG_ERROR, "message-incomplete");
            log_qid(line, "id", entry->id);
            log_text(line, "effect",
                     "parts of its content are damaged; it is kept in the queue and not delivered");
            log_end(rec->log, line);
        }
    }
}

/* Sets that depend on each other go to one core; groups go round. */
static void divide(struct spool_recovery *rec)
{
    unsigned core_of_root[JOURNAL_SETS_MAX];
    unsigned next = 0;
    uint16_t sets[JOURNAL_SETS_MAX];
    unsigned set_count = journal_store_sets(rec->store, sets, JOURNAL_SETS_MAX);
    for (unsigned i = 0; i < JOURNAL_SETS_MAX; i++) {
        core_of_root[i] = UINT32_MAX;
    }
    for (unsigned i = 0; i < set_count; i++) {
        uint16_t set = sets[i];
        unsigned *core = &core_of_root[set_root(rec, set)];
        if (*core == UINT32_MAX) {
            *core = next++ % rec->cores;
        }
        struct spool_part *part = &rec->parts[*core];
        part->sets[part->set_count++] = set;
    }
}

mx_err spool_recover(struct spool_recovery **out_recovery, struct journal_store *store,
                     unsigned cores, struct log *log, struct spool_recovered *out_result)
{
    static const struct journal_scan_ops ops = {.record = on_record, .damaged = on_damaged};
    struct spool_recovery *rec = calloc(1, sizeof *rec);
    if (rec == NULL) {
        return MX_ERR_NOMEM;
    }
    rec->store = store;
    rec->log = log;
    rec->cores = cores;
    rec->parts = calloc(cores, sizeof *rec->parts);
    for (unsigned i = 0; i < JOURNAL_SETS_MAX; i++) {
        rec->set_parent[i] = (uint16_t)i;
    }
    for (unsigned i = 0; rec->parts != NULL && i < cores; i++) {
        rec->parts[i].recovery = rec;
        rec->parts[i].core = i;
    }
    struct spool_recovered result = {0};
    mx_err err =
        rec->parts == NULL ? MX_ERR_NOMEM : journal_store_scan(store, &ops, rec, &result.scan);
    if (err) {
        spool_recovery_free(rec);
        return err;
    }
    judge(rec, &result);
    divide(rec);
    *out_recovery = rec;
    *out_result = result;
    return MX_OK;
}

static void entry_fini(struct entry *entry)
{
    while (entry->extents != NULL) {
        struct found_extent *next = entry->extents->next;
        free(entry->extents);
        entry->extents = next;
    }
    for (uint32_t i = 0; entry->reasons != NULL && i < entry->head.rcpt_count; i++) {
        free((void *)(uintptr_t)entry->reasons[i].ptr);
    }
    free(entry->reasons);
    free(entry->rcpts);
}

void spool_recovery_free(struct spool_recovery *rec)
{
    if (rec == NULL) {
        return;
    }
    for (size_t i = 0; i < rec->entry_count; i++) {
        entry_fini(&rec->entries[i]);
    }
    free(rec->entries);
    free(rec->slots);
    free(rec->deps);
    free(rec->parts);
    free(rec);
}

struct spool_part *spool_recovery_part(struct spool_recovery *recovery, unsigned core)
{
    MX_ASSERT(core < recovery->cores);
    return &recovery->parts[core];
}

const uint16_t *spool_part_sets(const struct spool_part *part)
{
    return part->sets;
}

unsigned spool_part_set_count(const struct spool_part *part)
{
    return part->set_count;
}

/* --- taking over -------------------------------------------------------------------------------
 */

static bool part_has(const struct spool_part *part, const struct segment *segment)
{
    for (unsigned i = 0; i < part->set_count; i++) {
        if (part->sets[i] == segment_set(segment)) {
            return true;
        }
    }
    return false;
}

static mx_err adopt_extents(struct spool *spool, struct message *msg, const struct entry *entry)
{
    struct extent **tail = &msg->extents;
    for (const struct found_extent *e = entry->extents; e != NULL; e = e->next) {
        struct extent *extent = pool_acquire_zero(&spool->extents);
        if (extent == NULL) {
            return MX_ERR_NOMEM;
        }
        extent->res.is_extent = true;
        extent->message = msg;
        extent->number = e->head.number;
        extent->len = e->head.len;
        extent->checksum = e->head.checksum;
        journal_settle(spool->journal, &extent->res.resident, e->ref);
        *tail = extent;
        tail = &extent->next;
    }
    return MX_OK;
}

static mx_err adopt_message(struct spool *spool, const struct entry *entry)
{
    struct message *msg = pool_acquire_zero(&spool->messages);
    if (msg == NULL) {
        return MX_ERR_NOMEM;
    }
    uint32_t count = entry->head.rcpt_count;
    msg->rcpts = count > 1 ? calloc(count, sizeof *msg->rcpts) : &msg->one;
    if (msg->rcpts == NULL) {
        pool_release(&spool->messages, msg);
        return MX_ERR_NOMEM;
    }
    memcpy(msg->rcpts, entry->rcpts, count * sizeof *msg->rcpts);
    msg->id = entry->id;
    msg->arrived_ms = entry->head.arrived_ms;
    msg->body_bytes = entry->head.body_bytes;
    msg->rcpt_count = count;
    msg->envelope_bytes = entry->head.envelope_bytes;
    msg->inline_bytes = entry->head.inline_bytes;
    msg->extent_count = entry->head.extent_count;
    msg->recovered = true;
    msg->held = entry->incomplete;
    for (uint32_t i = 0; i < count; i++) {
        struct rcpt_state *state = &msg->rcpts[i];
        msg->rcpts_left += state->status == RCPT_PENDING;
        if (state->attempts == 0) {
            state->due_ms = msg->arrived_ms; /* it only waited for its turn */
        }
    }
    journal_settle(spool->journal, &msg->res.resident, entry->ref);
    list_push_back(&spool->all, &msg->all_node);
    spool->count++;
    return adopt_extents(spool, msg, entry);
}

mx_err spool_adopt(struct spool *spool, struct spool_part *part)
{
    struct spool_recovery *rec = part->recovery;
    for (size_t i = 0; i < rec->dep_count; i++) {
        if (part_has(part, rec->deps[i].later)) {
            journal_depend(spool->journal, rec->deps[i].later, rec->deps[i].of);
        }
    }
    mx_err err = MX_OK;
    for (size_t i = 0; !err && i < rec->entry_count; i++) {
        const struct entry *entry = &rec->entries[i];
        if (entry_alive(entry) && part_has(part, entry->ref.segment)) {
            err = adopt_message(spool, entry);
        }
    }
    return err;
}

void spool_recovery_each(struct spool_recovery *rec,
                         void (*each)(void *arg, const struct spool_listed *listed), void *arg)
{
    for (size_t i = 0; i < rec->entry_count; i++) {
        const struct entry *entry = &rec->entries[i];
        if (!entry_alive(entry)) {
            continue;
        }
        struct spool_listed listed = {
            .id = entry->id,
            .ref = entry->ref,
            .arrived_ms = entry->head.arrived_ms,
            .body_bytes = entry->head.body_bytes,
            .rcpt_count = entry->head.rcpt_count,
            .prefix_bytes = (uint32_t)record_message_prefix_bytes(&entry->head),
            .envelope_bytes = entry->head.envelope_bytes,
            .inline_bytes = entry->head.inline_bytes,
            .extent_count = entry->head.extent_count,
            .rcpts = entry->rcpts,
            .reasons = entry->reasons,
            .incomplete = entry->incomplete,
        };
        each(arg, &listed);
    }
}
