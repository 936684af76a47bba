#include "smtp/spool_recover_private.h"

#include "core/check.h"
#include "core/hash.h"
#include "core/log.h"
#include "io/clock.h"

#include <stdlib.h>

enum { ENTRIES_MAX = 64 * 1024 * 1024 };

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

/* The record in `later` must outlive segment `of`. */
static void depend(struct spool_recovery *rec, struct segment *later, struct segment *of)
{
    if (later == of || of == NULL) {
        return;
    }
    rec->set_parent[set_root(rec, segment_set(later))] = set_root(rec, segment_set(of));
    segment_depend(later, of);
}

/* --- records -----------------------------------------------------------------------------------
 */

/* Records of one recipient may come out of order: one whose write failed was written again later.
 * What is final stays, and attempts, notices and what a list has expanded to only grow; what was
 * reported once is not due any more. Returns whether the record's text is about the state now. */
static bool state_merge(struct rcpt_state *state, const struct rcpt_state *other)
{
    uint32_t reply = state->reply, hop = state->hop, queue = state->queue;
    uint8_t notified = mx_max_size(state->notified, other->notified) & UINT8_MAX;
    uint8_t expanded = mx_max_size(state->expanded, other->expanded) & UINT8_MAX;
    bool newer = other->status != RCPT_PENDING || other->attempts >= state->attempts;
    newer = newer && state->status == RCPT_PENDING;
    if (newer) {
        *state = *other;
    }
    bool reported =
        state->status != RCPT_PENDING && other->status != RCPT_PENDING && other->report == 0;
    state->report = reported ? 0 : state->report;
    state->notified = notified;
    state->expanded = expanded;
    state->reply = reply;
    state->hop = hop;
    state->queue = queue;
    return newer;
}

static void text_set(struct spool_recovery *rec, text_id *id, struct slice text)
{
    if (text.len > 0) {
        texts_drop(&rec->texts, *id);
        *id = texts_hold(&rec->texts, text);
    }
}

static void texts_set(struct spool_recovery *rec, struct rcpt_state *state,
                      const struct record_outcome *o)
{
    text_set(rec, &state->reply, o->text);
    text_set(rec, &state->hop, o->hop);
    text_set(rec, &state->queue, o->queue);
}

/* What is said next, and of whom; NULL: the record is damaged. */
static struct rcpt_state *outcome_read(struct record_outcome *o, struct entry *entry,
                                       struct reader *r)
{
    bool whole = record_outcome_get(o, r) == MX_OK && o->rcpt < entry->rcpt_count;
    return whole ? &entry_rcpts(entry)[o->rcpt] : NULL;
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
        struct rcpt_state *state = outcome_read(&o, entry, r);
        if (state == NULL) {
            return MX_ERR_DAMAGED;
        }
        if (state_merge(state, &o.state)) {
            texts_set(rec, state, &o);
        }
    }
    depend(rec, segment, entry->ref.segment);
    return MX_OK;
}

/* Replaces what an earlier copy of the record said, but for the texts, which come as marks. */
static mx_err states_read(struct entry *entry, const struct record_message *head, struct reader *r)
{
    struct rcpt_state *rcpts = &entry->one;
    if (head->rcpt_count > 1) {
        rcpts = calloc(head->rcpt_count, sizeof *rcpts);
        if (rcpts == NULL) {
            return MX_ERR_NOMEM;
        }
    }
    for (uint32_t i = 0; i < head->rcpt_count; i++) {
        bool known = entry->ref.segment != NULL;
        struct rcpt_state before = known ? entry_rcpts(entry)[i] : (struct rcpt_state){0};
        rcpts[i] = (struct rcpt_state){.due_ms = head->arrived_ms};
        if (head->has_states) {
            record_rcpt_get(&rcpts[i], r);
        }
        rcpts[i].reply = before.reply;
        rcpts[i].hop = before.hop;
        rcpts[i].queue = before.queue;
    }
    free(entry->rcpts);
    entry->rcpts = rcpts == &entry->one ? NULL : rcpts;
    return r->overrun ? MX_ERR_DAMAGED : MX_OK;
}

/* The texts of a copy (smtp/spool_move). */
static mx_err texts_read(struct spool_recovery *rec, struct entry *entry, uint32_t count,
                         struct reader *r)
{
    for (uint32_t i = 0; i < count && reader_left(r) > 0; i++) {
        struct record_outcome o;
        struct rcpt_state *state = outcome_read(&o, entry, r);
        if (state == NULL) {
            return MX_ERR_DAMAGED;
        }
        texts_set(rec, state, &o);
    }
    return MX_OK;
}

/* The same in every copy. */
static mx_err charges_read(struct entry *entry, uint32_t count, struct reader *r)
{
    uint64_t *charges = count == 0 ? NULL : calloc(count, sizeof *charges);
    if (count > 0 && charges == NULL) {
        return MX_ERR_NOMEM;
    }
    for (uint32_t i = 0; i < count; i++) {
        charges[i] = get_u64(r);
    }
    free(entry->charges);
    entry->charges = charges;
    entry->charge_count = count;
    return r->overrun ? MX_ERR_DAMAGED : MX_OK;
}

static void head_note(struct entry *entry, const struct record_message *head)
{
    entry->arrived_ms = head->arrived_ms;
    entry->body_bytes = head->body_bytes;
    entry->rcpt_count = head->rcpt_count;
    entry->prefix_bytes = (uint32_t)record_message_prefix_bytes(head);
    entry->envelope_bytes = head->envelope_bytes;
    entry->inline_bytes = head->inline_bytes;
    entry->extent_count = head->extent_count;
}

static mx_err on_message(struct spool_recovery *rec, const struct journal_record *record)
{
    struct record_message head;
    mx_err err = record_message_head_get(&head, record->payload);
    if (err || head.rcpt_count > ENVELOPE_RCPTS_MAX) {
        return err ? err : MX_ERR_DAMAGED;
    }
    if (record_message_bytes(&head) != record->ref.len ||
        record_message_prefix_bytes(&head) > record->payload.len) {
        return MX_ERR_DAMAGED; /* so the sections before the envelope are there as well */
    }
    struct entry *entry = entry_get(rec, record->id);
    if (entry == NULL) {
        return MX_ERR_NOMEM;
    }
    if (entry->ref.segment != NULL) {
        depend(rec, record->ref.segment, entry->ref.segment); /* a moved copy */
        if (head.rcpt_count != entry->rcpt_count) {
            return MX_ERR_DAMAGED; /* a copy has the same recipients */
        }
    }
    struct reader r = reader_init(slice_from(record->payload, RECORD_MESSAGE_HEAD_BYTES));
    err = charges_read(entry, head.charge_count, &r);
    struct reader marks = reader_init(get_bytes(&r, head.marks_bytes));
    err = err ? err : states_read(entry, &head, &r);
    if (!err) {
        head_note(entry, &head);
        entry->ref = record->ref;
        err =
            qid_equal(head.marks_of, record->id)
                ? texts_read(rec, entry, head.mark_count, &marks)
                : apply_outcomes(rec, head.marks_of, &marks, head.mark_count, record->ref.segment);
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
        depend(rec, record->ref.segment, (*at)->ref.segment);
        (*at)->head = head;
        (*at)->ref = record->ref; /* a moved copy is newer */
        return MX_OK;
    }
    struct found_extent *extent = malloc(sizeof *extent);
    if (extent == NULL) {
        return MX_ERR_NOMEM;
    }
    *extent = (struct found_extent){.next = *at, .head = head, .ref = record->ref};
    *at = extent;
    return MX_OK;
}

static mx_err on_history(struct spool_recovery *rec, const struct journal_record *record)
{
    struct reader r = reader_init(record->payload);
    uint32_t number = get_u32(&r);
    struct entry *entry = r.overrun ? NULL : entry_get(rec, record->id);
    if (entry == NULL) {
        return r.overrun ? MX_ERR_DAMAGED : MX_ERR_NOMEM;
    }
    if (entry->history.segment == NULL || number >= entry->history_number) {
        entry->history = record->ref;
        entry->history_number = number;
    }
    return MX_OK;
}

static struct log_line *log_error(struct spool_recovery *rec, const char *event)
{
    rec->conf.log->wall_ms = clock_wall_ms();
    return log_begin(rec->conf.log, LOG_ERROR, event);
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
    case RECORD_HISTORY:
        err = on_history(rec, record);
        break;
    case RECORD_OUTCOME:
        err = apply_outcomes(rec, record->id, &r, UINT32_MAX, record->ref.segment);
        break;
    default:
        err = MX_ERR_VERSION;
    }
    if (err == MX_ERR_DAMAGED || err == MX_ERR_SYNTAX) {
        struct log_line *line = log_error(rec, "queue-record-malformed");
        log_qid(line, "id", record->id);
        log_u64(line, "type", record->type);
        log_end(rec->conf.log, line);
        err = MX_OK;
    }
    return err;
}

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    struct spool_recovery *rec = arg;
    struct log_line *line = log_error(rec, "journal-damaged");
    log_qid(line, "id", id);
    log_text(line, "file", file);
    log_u64(line, "offset", offset);
    log_u64(line, "bytes", len);
    log_text(line, "effect",
             "this record is lost to the queue; its bytes are kept in the quarantine folder");
    log_end(rec->conf.log, line);
}

static mx_err on_progress(void *arg, uint64_t done, uint64_t total)
{
    struct spool_recovery *rec = arg;
    return rec->conf.progress(rec->conf.arg, done, total);
}

/* --- judgement ---------------------------------------------------------------------------------
 */

bool entry_alive(const struct entry *entry)
{
    const struct rcpt_state *rcpts = entry->rcpts != NULL ? entry->rcpts : &entry->one;
    for (uint32_t i = 0; entry->ref.segment != NULL && i < entry->rcpt_count; i++) {
        if (rcpt_open(&rcpts[i])) {
            return true;
        }
    }
    return false;
}

static bool entry_complete(const struct entry *entry)
{
    uint32_t number = 0;
    uint64_t bytes = entry->inline_bytes;
    const struct found_extent *e = entry->extents;
    for (; e != NULL && e->head.number == number; e = e->next) {
        bytes += e->head.len;
        number++;
    }
    return number == entry->extent_count && bytes == entry->body_bytes;
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
        if (entry->history.segment != NULL) {
            rec->set_parent[set_root(rec, segment_set(entry->history.segment))] =
                set_root(rec, segment_set(entry->ref.segment));
        }
        if (!entry_complete(entry)) {
            entry->incomplete = true;
            result->incomplete++;
            struct log_line *line = log_error(rec, "message-incomplete");
            log_qid(line, "id", entry->id);
            log_text(line, "effect",
                     "parts of its content are damaged; it is kept in the queue and not delivered");
            log_end(rec->conf.log, line);
        }
    }
}

mx_err spool_recover(struct spool_recovery **out_recovery, struct journal_store *store,
                     const struct spool_recover_conf *conf, struct spool_recovered *out_result)
{
    struct journal_scan_ops ops = {.record = on_record,
                                   .damaged = on_damaged,
                                   .progress = conf->progress ? on_progress : NULL};
    struct spool_recovery *rec = calloc(1, sizeof *rec);
    if (rec == NULL) {
        return MX_ERR_NOMEM;
    }
    rec->store = store;
    rec->conf = *conf;
    for (unsigned i = 0; i < JOURNAL_SETS_MAX; i++) {
        rec->set_parent[i] = (uint16_t)i;
    }
    struct spool_recovered result = {.scan = {0}};
    mx_err err = texts_init(&rec->texts);
    err = err ? err : journal_store_scan(store, &ops, rec, &result.scan);
    if (err) {
        spool_recovery_free(rec);
        return err;
    }
    judge(rec, &result);
    *out_recovery = rec;
    *out_result = result;
    return MX_OK;
}

/* --- dividing ----------------------------------------------------------------------------------
 */

/* Sets that depend on each other go to one core: that which writes to one of them, since there
 * freed segments are used again; without one, round and round. */
static void divide_sets(struct spool_recovery *rec, unsigned cores)
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
            *core = i < cores ? i : next++ % cores;
        }
        struct spool_part *part = &rec->parts[*core];
        part->sets[part->set_count++] = set;
        rec->core_of_set[set] = *core;
    }
}

static void divide_entries(struct spool_recovery *rec)
{
    for (size_t i = rec->entry_count; i > 0; i--) {
        struct entry *entry = &rec->entries[i - 1];
        if (entry_alive(entry)) {
            struct spool_part *part =
                &rec->parts[rec->core_of_set[segment_set(entry->ref.segment)]];
            entry->next = part->first;
            part->first = (uint32_t)i;
            part->messages++;
        }
    }
}

mx_err spool_recovery_divide(struct spool_recovery *rec, unsigned cores)
{
    MX_ASSERT(rec->parts == NULL && cores > 0);
    rec->parts = calloc(cores, sizeof *rec->parts);
    if (rec->parts == NULL) {
        return MX_ERR_NOMEM;
    }
    rec->cores = cores;
    for (unsigned i = 0; i < cores; i++) {
        rec->parts[i].recovery = rec;
        journal_part_init(&rec->parts[i].segments);
    }
    divide_sets(rec, cores);
    divide_entries(rec);
    mx_err err = MX_OK;
    for (unsigned i = 0; !err && i < cores; i++) {
        struct spool_part *part = &rec->parts[i];
        err = journal_store_take(rec->store, part->sets, part->set_count, &part->segments);
    }
    return err;
}

struct spool_part *spool_recovery_part(struct spool_recovery *recovery, unsigned core)
{
    MX_ASSERT(core < recovery->cores);
    return &recovery->parts[core];
}

/* --- freeing and listing -----------------------------------------------------------------------
 */

static void entry_fini(struct entry *entry)
{
    while (entry->extents != NULL) {
        struct found_extent *next = entry->extents->next;
        free(entry->extents);
        entry->extents = next;
    }
    free(entry->rcpts);
    free(entry->charges);
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
    texts_fini(&rec->texts);
    for (unsigned i = 0; i < rec->cores; i++) {
        journal_part_free(&rec->parts[i].segments);
    }
    free(rec->parts);
    free(rec);
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
            .arrived_ms = entry->arrived_ms,
            .body_bytes = entry->body_bytes,
            .rcpt_count = entry->rcpt_count,
            .prefix_bytes = entry->prefix_bytes,
            .envelope_bytes = entry->envelope_bytes,
            .inline_bytes = entry->inline_bytes,
            .extent_count = entry->extent_count,
            .rcpts = entry->rcpts != NULL ? entry->rcpts : &entry->one,
            .texts = &rec->texts,
            .incomplete = entry->incomplete,
        };
        each(arg, &listed);
    }
}
