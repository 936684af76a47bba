/* Mail whose content looks like a part of the journal: it is content, wherever it comes to lie.
 * What passed for the index of a segment hid all records that are in there. */
#include "tests/io/journal_life.h"

#include "core/hash.h"
#include "io/journal_format.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SEGMENT_BYTES = 1024 * 1024,
    SMALL_BYTES = 100,
    /* One group from the third block of a segment to its end: behind header and first group. */
    LARGE_BYTES =
        SEGMENT_BYTES - 2 * JF_BLOCK_BYTES - JF_GROUP_HEADER_BYTES - JF_RECORD_HEADER_BYTES,
};

/* With so many segments there is no other operation than what the tests begin. */
static const struct journal_conf conf = {.node = 1,
                                         .first_segment_bytes = SEGMENT_BYTES,
                                         .segment_bytes = SEGMENT_BYTES,
                                         .first_segments = 4,
                                         .kept_bytes = 64 * 1024,
                                         .reserve_bytes = 1};

static void evict(void *arg, struct journal_resident *resident)
{
    (void)arg;
    (void)resident;
}

static uint32_t indexed(uint8_t type, struct slice payload)
{
    (void)type;
    (void)payload;
    return 0;
}

static const struct journal_ops ops = {.evict = evict, .indexed = indexed};

/* --- what is written ---------------------------------------------------------------------------
 */

struct message {
    struct journal_append append;
    struct journal_resident resident;
    uint8_t *bytes;
    uint32_t len;
    struct message *then; /* appended when this one is durable */
    bool acked;
};

static void append(struct message *m);

static void on_acked(struct journal_append *done, mx_err err)
{
    struct message *m = mx_container_of(done, struct message, append);
    CHECK(err == MX_OK);
    m->acked = true;
    journal_settle(journal, &m->resident, done->ref);
    if (m->then != NULL) {
        append(m->then);
    }
}

static void append(struct message *m)
{
    struct writer payload;
    m->append.done = on_acked;
    CHECK(journal_append(journal, &m->append, 1, journal_next_id(journal), m->len, 0, &payload) ==
          MX_OK);
    put_bytes(&payload, m->bytes, m->len);
    CHECK(!payload.overflow);
}

/* Ends in a block that says: this is the index of the segment, and there are no records. */
static struct message crafted(uint32_t len)
{
    struct message m = {.bytes = calloc(1, len), .len = len};
    struct jf_index nothing = {.set = 0,
                               .epoch = journal_store_epoch(store),
                               .instance = 1,
                               .checksum = hash_checksum(SLICE_EMPTY)};
    CHECK(m.bytes != NULL && len >= JF_BLOCK_BYTES);
    jf_index_put(m.bytes + len - JF_BLOCK_BYTES, &nothing);
    return m;
}

static void run_until(const struct message *m)
{
    while (!m->acked) {
        shard_turn(&shard, MX_NS_PER_S);
    }
}

/* --- what is found -----------------------------------------------------------------------------
 */

static mx_err on_record(void *arg, const struct journal_record *record)
{
    (void)arg;
    (void)record;
    return MX_OK;
}

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    (void)arg;
    (void)id;
    (void)offset;
    (void)len;
    printf("damaged: %s\n", file);
    CHECK(false);
}

static uint64_t records_found(void)
{
    static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};
    return scan_all(&scan_ops).records;
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* The second group is due when the first is durable; the next segment is not ready by then, as
 * making it ready begins in the same turn. That group would fit up to the end of the segment. */
static void last_block_is_the_trailers(void)
{
    open_all(&conf, &ops);
    struct message large = crafted(LARGE_BYTES);
    struct message small = {.bytes = calloc(1, SMALL_BYTES), .len = SMALL_BYTES, .then = &large};
    append(&small);
    run_until(&large);
    struct journal_ref ref = large.resident.ref;
    CHECK(ref.offset + ref.len <= SEGMENT_BYTES - JF_BLOCK_BYTES);
    end_all();
    CHECK(records_found() == 2);
    free(large.bytes);
    free(small.bytes);
    forget_journal();
}

/* Where a write has failed, the header says where the segment ends, so its last block is the end of
 * the group before. */
static void end_of_a_cut_segment_is_content(void)
{
    uint8_t block[JF_BLOCK_BYTES];
    char path[JF_BLOCK_BYTES];
    struct jf_segment header;
    size_t len;
    int fd;
    open_all(&conf, &ops);
    struct message m = crafted(4 * JF_BLOCK_BYTES - JF_GROUP_HEADER_BYTES - JF_RECORD_HEADER_BYTES);
    append(&m);
    run_until(&m);
    segment_path(m.resident.ref.segment, journal, path, sizeof path);
    end_all();
    CHECK(sys_open(&fd, path, SYS_READ | SYS_WRITE) == MX_OK);
    CHECK(sys_pread(&len, fd, block, sizeof block, 0) == MX_OK && len == sizeof block);
    CHECK(jf_segment_get(&header, slice_of(block, len)) == MX_OK && header.end == 0);
    CHECK(header.instance == 1);
    header.end = m.resident.ref.offset + m.resident.ref.len;
    CHECK(header.end == 5 * JF_BLOCK_BYTES);
    jf_segment_put(block, &header);
    CHECK(sys_pwrite(fd, block, sizeof block, 0) == MX_OK);
    sys_close(fd);
    CHECK(records_found() == 1);
    free(m.bytes);
    forget_journal();
}

int main(void)
{
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    char root[PATH_BYTES / 2], command[PATH_BYTES];
    snprintf(root, sizeof root, "%s/ringmx-crafted-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    CHECK(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/journal", root);
    last_block_is_the_trailers();
    end_of_a_cut_segment_is_content();
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK(system(command) == 0);
    return 0;
}
