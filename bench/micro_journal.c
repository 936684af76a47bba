/* The journal: records appended to a real one on a real ring; groups and indexes in memory. */
#include "bench/micro.h"
#include "core/check.h"
#include "io/journal.h"
#include "io/journal_format.h"
#include "io/shard.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    RECORDS = 64, /* of a group in memory */
    PAYLOAD = 4096,
    KEPT_BYTES = 192, /* of a record in an index: envelope and states */
    GROUP_BYTES = JF_GROUP_HEADER_BYTES + RECORDS * (JF_RECORD_HEADER_BYTES + PAYLOAD),
    INDEX_BYTES = RECORDS * (JF_INDEX_ENTRY_BYTES + KEPT_BYTES),
    APPENDS = 1000,
    APPENDED = 256, /* payload */
    SEGMENT_BYTES = 8 * 1024 * 1024,
    TURNS_MAX = 200000,
    TYPE = 1,
};

static const struct qid id = {.set = 1, .node = 1, .epoch = 1, .sequence = 7};

/* --- groups and indexes in memory --------------------------------------------------------------
 */

struct groups {
    struct jf_group group;
    uint8_t bytes[GROUP_BYTES], entries[INDEX_BYTES];
};

static void put_records(struct groups *g)
{
    struct writer w = writer_init(g->bytes, sizeof g->bytes);
    w.len = JF_GROUP_HEADER_BYTES;
    for (unsigned i = 0; i < RECORDS; i++) {
        jf_record_put(&w, &(struct jf_record){.type = TYPE, .len = PAYLOAD, .id = id});
        memset(w.buf + w.len, (int)i, PAYLOAD);
        w.len += PAYLOAD;
    }
    MX_ASSERT(!w.overflow && w.len == GROUP_BYTES);
}

static void put_index(struct groups *g)
{
    struct writer w = writer_init(g->entries, sizeof g->entries);
    for (unsigned i = 0; i < RECORDS; i++) {
        size_t at = JF_GROUP_HEADER_BYTES + (size_t)i * (JF_RECORD_HEADER_BYTES + PAYLOAD);
        const uint8_t *header = g->bytes + at;
        jf_index_add(&w, (uint32_t)(at + JF_RECORD_HEADER_BYTES), header,
                     slice_of(header + JF_RECORD_HEADER_BYTES, KEPT_BYTES));
    }
    MX_ASSERT(!w.overflow && w.len == INDEX_BYTES);
}

static void *make_groups(uint64_t size)
{
    struct groups *g = micro_take(sizeof *g);
    (void)size;
    g->group = (struct jf_group){.set = 1,
                                 .node = 1,
                                 .epoch = 1,
                                 .instance = 3,
                                 .sequence = 9,
                                 .length = GROUP_BYTES,
                                 .records = RECORDS};
    put_records(g);
    jf_group_seal(g->bytes, &g->group);
    put_index(g);
    return g;
}

static void run_seal(void *state)
{
    struct groups *g = state;
    jf_group_seal(g->bytes, &g->group);
}

/* As a start reads a segment without an index: everything is verified. */
static void run_scan(void *state)
{
    const struct groups *g = state;
    struct slice bytes = slice_of(g->bytes, sizeof g->bytes);
    struct jf_group group;
    struct jf_record record;
    size_t at = 0, payload_at;
    unsigned records = 0;
    MX_ASSERT(jf_group_peek(&group, bytes) == MX_OK && jf_group_check(&group, bytes) == MX_OK);
    while (jf_group_next(bytes, &at, &record, &payload_at)) {
        MX_ASSERT(jf_payload_good(&record, slice_of(g->bytes + payload_at, record.len)));
        records++;
    }
    MX_ASSERT(records == RECORDS);
}

static void run_index(void *state)
{
    struct groups *g = state;
    struct jf_index_entry entry;
    size_t at = 0;
    unsigned records = 0;
    put_index(g);
    while (jf_index_next(slice_of(g->entries, sizeof g->entries), &at, &entry)) {
        MX_ASSERT(entry.kept.len == KEPT_BYTES && entry.record.len == PAYLOAD);
        records++;
    }
    MX_ASSERT(records == RECORDS);
}

/* --- a journal ---------------------------------------------------------------------------------
 */

struct running {
    char dir[64];
    struct shard shard;
    struct journal_store *store;
    struct journal *journal;
    struct journal_append appends[APPENDS];
    uint8_t payload[APPENDED];
};

static void done(struct journal_append *append, mx_err err)
{
    MX_ASSERT(err == MX_OK && append->ref.len == APPENDED);
}

static const struct journal_ops ops = {0};

/* Until all is written. Without waiting in the kernel, where valgrind lets no other thread run. */
static void settle(struct running *r)
{
    static const struct timespec nap = {.tv_nsec = 20000};
    for (unsigned i = 0; !journal_quiet(r->journal); i++) {
        MX_ASSERT(i < TURNS_MAX);
        journal_flush(r->journal);
        shard_turn(&r->shard, 0);
        (void)nanosleep(&nap, NULL);
    }
}

static void *make_journal(uint64_t size)
{
    struct running *r = micro_take(sizeof *r);
    const char *folder = getenv("TMPDIR");
    struct shard_conf conf = {
        .count = 1, .cpu = -1, .blocks_max = 64, .workers = 1, .log_level = LOG_ERROR};
    struct journal_conf journal = {.node = 1,
                                   .first_segment_bytes = SEGMENT_BYTES,
                                   .segment_bytes = SEGMENT_BYTES,
                                   .reserve_bytes = 1};
    int len = snprintf(r->dir, sizeof r->dir, "%s/ringmx-micro.XXXXXX", folder ? folder : "/tmp");
    (void)size;
    MX_ASSERT(len > 0 && (size_t)len < sizeof r->dir && mkdtemp(r->dir) != NULL);
    MX_ASSERT(shard_init(&r->shard, &conf) == MX_OK);
    MX_ASSERT(shard_open(&r->shard) == MX_OK);
    MX_ASSERT(journal_store_open(&r->store, r->dir, &journal, &r->shard.log) == MX_OK);
    MX_ASSERT(journal_open(&r->journal, r->store, &r->shard, 0, &ops, r) == MX_OK);
    for (unsigned i = 0; i < APPENDS; i++) {
        r->appends[i].done = done;
    }
    return r;
}

static int remove_one(const char *path, const struct stat *about, int type, struct FTW *ftw)
{
    (void)about;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void end_journal(void *state)
{
    struct running *r = state;
    settle(r);
    journal_close(r->journal);
    journal_store_close(r->store);
    shard_close(&r->shard);
    shard_fini(&r->shard);
    (void)nftw(r->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(r);
}

static void ready_append(void *state)
{
    settle(state);
}

static void run_append(void *state)
{
    struct running *r = state;
    for (unsigned i = 0; i < APPENDS; i++) {
        struct writer payload;
        MX_ASSERT(journal_append(r->journal, &r->appends[i], TYPE, journal_next_id(r->journal),
                                 APPENDED, JOURNAL_LAZY, &payload) == MX_OK);
        put_bytes(&payload, r->payload, sizeof r->payload);
    }
}

static const struct micro items[] = {
    {"journal-append-256", "a record of 256 bytes put into the forming group", APPENDS, 0, false,
     make_journal, ready_append, run_append, end_journal},
    {"journal-seal-4k", "its part of sealing a group: checksums of 4 KiB and head", RECORDS, 0,
     false, make_groups, NULL, run_seal, free},
    {"journal-scan-4k", "a record of 4 KiB found and verified at a start", RECORDS, 0, false,
     make_groups, NULL, run_scan, free},
    {"journal-index", "an entry of a segment's index written and read", RECORDS, 0, false,
     make_groups, NULL, run_index, free},
};
const struct micro_group micro_journal = {items, mx_countof(items)};
