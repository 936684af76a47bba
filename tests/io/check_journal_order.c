/* The order in which segments are freed, where memory to note what depends on what runs out; and
 * what is moved out of the oldest one. */
#include "tests/io/journal_life.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEGMENT_BYTES = 256 * 1024,
    PAYLOAD_BYTES = 3000,
    RESIDENTS = 20,
    SEGMENTS = 6, /* more than are left alone */
    EVICTED = 16, /* at a time */
    TYPE_MESSAGE = 1,
    TYPE_OUTCOME = 2,
    TYPE_DEAD = 3,
    TYPES,
};

static const struct journal_conf conf = {.node = 1,
                                         .first_segment_bytes = SEGMENT_BYTES,
                                         .segment_bytes = SEGMENT_BYTES,
                                         .group_bytes = SEGMENT_BYTES / 4,
                                         .kept_bytes = 16 * 1024,
                                         .reserve_bytes = 1};

/* --- memory ------------------------------------------------------------------------------------
 */

static bool memory_is_out;
static unsigned refused;

void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes)
{
    refused += memory_is_out;
    return memory_is_out ? NULL : __real_realloc(old, bytes);
}

static void depend_without_memory(struct segment *later, struct segment *of)
{
    memory_is_out = true;
    journal_depend(journal, later, of);
    memory_is_out = false;
    CHECK(later != of && refused == 1);
    refused = 0;
}

/* --- a journal ---------------------------------------------------------------------------------
 */

static unsigned evicted;

static void evict(void *arg, struct journal_resident *resident)
{
    (void)arg;
    (void)resident;
    evicted++;
}

static const struct journal_ops ops = {.evict = evict};

struct record {
    struct journal_append append;
    struct journal_resident resident;
    bool durable;
};

static void on_durable(struct journal_append *append, mx_err err)
{
    struct record *record = mx_container_of(append, struct record, append);
    CHECK(err == MX_OK);
    record->durable = true;
}

static struct journal_ref record_write(uint8_t type)
{
    struct record record = {.append.done = on_durable};
    struct writer payload;
    mx_err err;
    while ((err = journal_append(journal, &record.append, type, journal_next_id(journal),
                                 PAYLOAD_BYTES, 0, &payload)) == MX_ERR_AGAIN) {
        shard_turn(&shard, MX_NS_PER_MS);
    }
    CHECK(err == MX_OK);
    for (unsigned i = 0; i < PAYLOAD_BYTES; i++) {
        put_u8(&payload, type);
    }
    while (!record.durable) {
        shard_turn(&shard, MX_NS_PER_MS);
    }
    return record.append.ref;
}

/* Writes what nobody needs until another segment is the one that is written to. */
static void segment_fill(const struct segment *segment)
{
    while (record_write(TYPE_DEAD).segment == segment) {
    }
}

/* All that can be freed now is: each turn begins the next one, while there is one. */
static void free_what_can_be(void)
{
    for (unsigned i = 0; i < 2 * SEGMENTS; i++) {
        shard_turn(&shard, MX_NS_PER_MS);
        while (!journal_quiet(journal)) {
            shard_turn(&shard, MX_NS_PER_MS);
        }
    }
}

static unsigned found[TYPES];
static struct journal_ref found_message;

static mx_err on_record(void *arg, const struct journal_record *record)
{
    (void)arg;
    CHECK(record->type < TYPES);
    found[record->type]++;
    if (record->type == TYPE_MESSAGE) {
        found_message = record->ref;
    }
    return MX_OK;
}

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    (void)arg;
    (void)id;
    CHECK(!"damaged");
    printf("%s %llu %u\n", file, (unsigned long long)offset, len);
}

static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};

static void find_all(void)
{
    memset(found, 0, sizeof found);
    (void)scan_all(&scan_ops);
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* The segment with an outcome stays while an older one does, whatever that is: it was not noted
 * which of them it depends on. */
static void older_ones_go_first(void)
{
    struct record keeper = {.durable = false};
    open_all(&conf, &ops);
    struct journal_ref message = record_write(TYPE_MESSAGE);
    journal_settle(journal, &keeper.resident, record_write(TYPE_MESSAGE));
    CHECK(keeper.resident.ref.segment == message.segment);
    segment_fill(message.segment);
    struct journal_ref outcome = record_write(TYPE_OUTCOME);
    depend_without_memory(outcome.segment, message.segment);
    segment_fill(outcome.segment);
    free_what_can_be();
    end_all();
    find_all();
    CHECK(found[TYPE_MESSAGE] == 2 && found[TYPE_OUTCOME] == 1);
    forget_journal();

    open_all(&conf, &ops);
    message = record_write(TYPE_MESSAGE);
    keeper = (struct record){.durable = false};
    journal_settle(journal, &keeper.resident, message);
    segment_fill(message.segment);
    outcome = record_write(TYPE_OUTCOME);
    depend_without_memory(outcome.segment, message.segment);
    segment_fill(outcome.segment);
    journal_leave(journal, &keeper.resident);
    free_what_can_be();
    end_all();
    find_all();
    CHECK(found[TYPE_MESSAGE] == 0 && found[TYPE_OUTCOME] == 0);
    forget_journal();
}

/* The same while the older ones are being taken over: the oldest of this start's own is not the
 * oldest of all. It was freed, and after a crash the message was there again. */
static void adopted_ones_go_first(void)
{
    struct journal_scan_result result;
    struct journal_part part;
    uint16_t sets[1];
    open_all(&conf, &ops);
    (void)record_write(TYPE_MESSAGE);
    end_all();
    open_all(&conf, &ops);
    CHECK(journal_store_scan(store, &scan_ops, NULL, &result) == MX_OK && result.records == 1);
    journal_part_init(&part);
    CHECK(journal_store_take(store, sets, journal_store_sets(store, sets, 1), &part) == MX_OK);
    journal_adopt(journal, &part);
    struct journal_ref outcome = record_write(TYPE_OUTCOME);
    depend_without_memory(outcome.segment, found_message.segment);
    segment_fill(outcome.segment);
    free_what_can_be();
    find_all();
    CHECK(found[TYPE_MESSAGE] == 1 && found[TYPE_OUTCOME] == 1);
    journal_adopted(journal);
    free_what_can_be();
    end_all();
    find_all();
    CHECK(found[TYPE_MESSAGE] == 0 && found[TYPE_OUTCOME] == 0);
    forget_journal();
}

/* Copies of small records share a write only when their originals are moved together. */
static void many_are_moved_together(void)
{
    static struct record residents[RESIDENTS];
    open_all(&conf, &ops);
    for (unsigned i = 0; i < RESIDENTS; i++) {
        residents[i] = (struct record){.durable = false};
        journal_settle(journal, &residents[i].resident, record_write(TYPE_MESSAGE));
    }
    struct record others[SEGMENTS] = {0};
    struct segment *segment = residents[0].resident.ref.segment;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        segment_fill(segment);
        journal_settle(journal, &others[i].resident, record_write(TYPE_MESSAGE));
        segment = others[i].resident.ref.segment;
    }
    evicted = 0;
    shard_turn(&shard, 0);
    CHECK(evicted == EVICTED);
    end_all();
    forget_journal();
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/ringmx-order-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    CHECK(mkdtemp(dir) != NULL);
    older_ones_go_first();
    adopted_ones_go_first();
    many_are_moved_together();
    return 0;
}
