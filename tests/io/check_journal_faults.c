/* A start whose disk fails at one particular call, with the seam's calls wrapped (see
 * CMakeLists.txt). */
#include "tests/check.h"

#include "io/journal.h"
#include "io/shard.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGES = 30,
    MESSAGE_BYTES = 512 * 1024,
    SEGMENT_BYTES = 24 * 1024 * 1024,
    GROUP_AT = 4096,                              /* of the first group */
    GARBAGE_END = 3 * JOURNAL_GROUP_BYTES + 4096, /* farther than one read of a scan reaches */
    PATH_BYTES = 300,
};

static char dir[PATH_BYTES];
static struct shard shard;

/* --- what fails, and what was called -----------------------------------------------------------
 */

static uint64_t reads_fail_from = UINT64_MAX;
static unsigned reads_failed, dir_syncs, segment_syncs, overwrites;
static bool no_new_files;

mx_err __real_sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset);
mx_err __wrap_sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset);
mx_err __wrap_sys_pread(size_t *out_len, int fd, void *buf, size_t len, uint64_t offset)
{
    if (offset >= reads_fail_from && offset < GARBAGE_END) {
        reads_failed++;
        return MX_ERR_IO;
    }
    return __real_sys_pread(out_len, fd, buf, len, offset);
}

mx_err __real_sys_replace_file(const char *path, struct slice content);
mx_err __wrap_sys_replace_file(const char *path, struct slice content);
mx_err __wrap_sys_replace_file(const char *path, struct slice content)
{
    overwrites += no_new_files;
    return no_new_files ? MX_ERR_NOSPACE : __real_sys_replace_file(path, content);
}

mx_err __real_sys_sync(int fd);
mx_err __wrap_sys_sync(int fd);
mx_err __wrap_sys_sync(int fd)
{
    uint64_t size;
    CHECK(sys_size(&size, fd) == MX_OK);
    segment_syncs += size >= JOURNAL_GROUP_BYTES; /* no other file is so large */
    return __real_sys_sync(fd);
}

mx_err __real_sys_sync_dir(const char *path);
mx_err __wrap_sys_sync_dir(const char *path);
mx_err __wrap_sys_sync_dir(const char *path)
{
    dir_syncs += strcmp(path, dir) == 0;
    return __real_sys_sync_dir(path);
}

/* --- a journal with one segment, half full -----------------------------------------------------
 */

struct message {
    struct journal_append append;
    struct journal_resident resident;
    bool acked;
};

static struct message messages[MESSAGES];
static struct journal *journal;

static void acked(struct journal_append *append, mx_err err)
{
    struct message *m = mx_container_of(append, struct message, append);
    CHECK(err == MX_OK);
    m->acked = true;
    journal_settle(journal, &m->resident, append->ref);
}

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
static const struct journal_conf conf = {.node = 1,
                                         .first_segment_bytes = SEGMENT_BYTES,
                                         .segment_bytes = SEGMENT_BYTES,
                                         .reserve_bytes = 1};

static void write_messages(void)
{
    struct journal_store *store;
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    CHECK(journal_open(&journal, store, &shard, 0, &ops, NULL) == MX_OK);
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct message *m = &messages[i];
        struct writer payload;
        m->append.done = acked;
        mx_err err;
        while ((err = journal_append(journal, &m->append, 1, journal_next_id(journal),
                                     MESSAGE_BYTES, 0, &payload)) == MX_ERR_AGAIN) {
            shard_turn(&shard, MX_NS_PER_MS);
        }
        CHECK(err == MX_OK);
        for (unsigned n = 0; n < MESSAGE_BYTES; n++) {
            put_u8(&payload, (uint8_t)(n * 7 + i));
        }
        while (!m->acked) {
            shard_turn(&shard, MX_NS_PER_MS);
        }
    }
    while (!journal_quiet(journal)) {
        journal_flush(journal);
        shard_turn(&shard, MX_NS_PER_MS);
    }
    journal_close(journal);
    journal_store_close(store);
}

static unsigned records_found;

static mx_err on_record(void *arg, const struct journal_record *record)
{
    (void)arg;
    (void)record;
    records_found++;
    return MX_OK;
}

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    (void)arg;
    (void)id;
    (void)file;
    (void)offset;
    (void)len;
}

static mx_err scan(struct journal_scan_result *out)
{
    static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};
    struct journal_store *store;
    records_found = 0;
    reads_failed = 0;
    CHECK(journal_store_open_readonly(&store, dir, NULL) == MX_OK);
    mx_err err = journal_store_scan(store, &scan_ops, NULL, out);
    journal_store_close(store);
    return err;
}

static void shell(const char *format, unsigned number)
{
    char command[2 * PATH_BYTES];
    int len = snprintf(command, sizeof command, format, dir, number);
    CHECK(len > 0 && (size_t)len < sizeof command && system(command) == 0);
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* While the scan looked behind a damaged group for a valid one, an error of the disk counted as
 * "none here": a damaged group and a read error in one start, and the rest of the segment was taken
 * for a torn tail and given up. */
static void read_error_behind_a_damaged_group(void)
{
    struct journal_scan_result result;
    CHECK(scan(&result) == MX_OK && result.indexed == 0);
    CHECK(result.torn_groups == 0 && records_found == MESSAGES);
    /* From the payload of the first group on, then from its header on. */
    static const unsigned blocks[] = {GROUP_AT / 4096 + 1, GROUP_AT / 4096};
    for (unsigned i = 0; i < mx_countof(blocks); i++) {
        shell("for f in %1$s/set-*/*.seg; do dd if=/dev/zero of=$f bs=4096 "
              "seek=%2$u count=$((3 * 1024 - %2$u + 1)) conv=notrunc status=none; done",
              blocks[i]);
        CHECK(scan(&result) == MX_OK);
        CHECK(result.torn_groups == 0 && records_found > 0 && records_found < MESSAGES);
        reads_fail_from = GROUP_AT + JOURNAL_GROUP_BYTES;
        CHECK(scan(&result) == MX_ERR_IO && reads_failed > 0);
        reads_fail_from = UINT64_MAX;
    }
}

/* What a killed process had in flight may be readable and not be durable: whoever will rely on a
 * segment syncs it before it is read; who only looks does not. */
static void found_segments_are_synced(void)
{
    static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};
    struct journal_scan_result result;
    struct journal_store *store;
    segment_syncs = 0;
    CHECK(scan(&result) == MX_OK && segment_syncs == 0);
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    CHECK(journal_store_scan(store, &scan_ops, NULL, &result) == MX_OK);
    CHECK(result.segments > 0 && segment_syncs >= result.segments);
    journal_store_close(store);
}

/* On a full disk the number of the start is written over the old one, so no new file of the folder
 * is synced; a set that a killed process had made there could vanish at a power cut, with its mail.
 */
static void folder_of_the_sets_is_synced_on_a_full_disk(void)
{
    struct journal_store *store;
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    uint32_t epoch = journal_store_epoch(store);
    journal_store_close(store);
    no_new_files = true;
    dir_syncs = 0;
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    CHECK(overwrites == 1 && dir_syncs > 0);
    CHECK(journal_store_epoch(store) == epoch + 1);
    journal_store_close(store);
    no_new_files = false;
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    CHECK(journal_store_epoch(store) == epoch + 2); /* what was written over the old one is there */
    journal_store_close(store);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/ringmx-faults-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    CHECK(mkdtemp(dir) != NULL);
    struct shard_conf shard_conf = {
        .count = 1, .cpu = -1, .blocks_max = 64, .workers = 1, .log_level = LOG_ERROR};
    CHECK(shard_init(&shard, &shard_conf) == MX_OK);
    CHECK(shard_open(&shard) == MX_OK);
    write_messages();
    found_segments_are_synced();
    folder_of_the_sets_is_synced_on_a_full_disk();
    read_error_behind_a_damaged_group();
    shard_close(&shard);
    shard_fini(&shard);
    shell("rm -rf %s", 0);
    return 0;
}
