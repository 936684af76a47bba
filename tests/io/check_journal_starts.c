/* Starts that end early, again and again, before anybody has read what earlier ones left: the
 * journal does not grow by them, and loses nothing. */
#include "tests/io/journal_life.h"

#include "io/journal_format.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STARTS = 200,
    SEGMENT_BYTES = 1024 * 1024,
    PAYLOAD_BYTES = 3000,
};

static const struct journal_conf conf = {.node = 1,
                                         .first_segment_bytes = SEGMENT_BYTES,
                                         .segment_bytes = SEGMENT_BYTES,
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
    return (uint32_t)payload.len;
}

static const struct journal_ops ops = {.evict = evict, .indexed = indexed};

/* --- lives -------------------------------------------------------------------------------------
 */

/* Until its next segment is ready to be written to. */
static void life_without_mail(void)
{
    struct journal_stats stats;
    open_all(&conf, &ops);
    do {
        shard_turn(&shard, MX_NS_PER_MS);
        journal_stats(journal, &stats);
    } while (stats.segments == 0);
    end_all();
}

struct message {
    struct journal_append append;
    struct journal_resident resident;
    bool acked;
};

static void on_acked(struct journal_append *append, mx_err err)
{
    struct message *m = mx_container_of(append, struct message, append);
    CHECK(err == MX_OK);
    m->acked = true;
    journal_settle(journal, &m->resident, append->ref);
}

static mx_err message_try(struct message *m, uint8_t fill)
{
    struct writer payload;
    *m = (struct message){.append.done = on_acked};
    mx_err err = journal_append(journal, &m->append, 1, journal_next_id(journal), PAYLOAD_BYTES, 0,
                                &payload);
    if (err) {
        return err;
    }
    for (unsigned i = 0; i < PAYLOAD_BYTES; i++) {
        put_u8(&payload, fill);
    }
    while (!m->acked) {
        shard_turn(&shard, MX_NS_PER_MS);
    }
    return MX_OK;
}

static void message_write(struct message *m, uint8_t fill)
{
    CHECK(message_try(m, fill) == MX_OK);
}

/* --- what is on the disk -----------------------------------------------------------------------
 */

struct usage {
    unsigned files;
    uint64_t bytes;
};

static mx_err each_file(void *arg, const char *name)
{
    struct usage *usage = arg;
    char path[2 * PATH_BYTES];
    uint64_t size = 0;
    int fd;
    if (strstr(name, ".seg") == NULL) {
        return MX_OK;
    }
    snprintf(path, sizeof path, "%s/set-0000/%s", dir, name);
    CHECK(sys_open(&fd, path, SYS_READ) == MX_OK && sys_size(&size, fd) == MX_OK);
    sys_close(fd);
    usage->files++;
    usage->bytes += size;
    return MX_OK;
}

static struct usage usage_now(void)
{
    struct usage usage = {0};
    char path[2 * PATH_BYTES];
    snprintf(path, sizeof path, "%s/set-0000", dir);
    CHECK(sys_list(path, each_file, &usage) == MX_OK);
    return usage;
}

static unsigned records_found;

static mx_err on_record(void *arg, const struct journal_record *record)
{
    (void)arg;
    CHECK(record->payload.len == PAYLOAD_BYTES);
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

static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};

static uint64_t segments_with_records(void)
{
    records_found = 0;
    return scan_all(&scan_ops).segments;
}

/* --- tests -------------------------------------------------------------------------------------
 */

/* Each start made a segment ready, and the next one took that for one with mail in it: a service
 * that was restarted in a loop filled the disk. */
static void starts_without_mail_leave_nothing(void)
{
    life_without_mail();
    struct usage first = usage_now();
    for (unsigned i = 0; i < STARTS; i++) {
        life_without_mail();
    }
    struct usage last = usage_now();
    CHECK(last.files == first.files && last.bytes == first.bytes);
    CHECK(segments_with_records() == 0);
    forget_journal();
}

/* Takes over all that earlier starts left, nothing of which is alive: that is up to the spool. */
static void adopt_all(void)
{
    struct journal_scan_result result;
    struct journal_part part;
    uint16_t sets[2];
    CHECK(journal_store_scan(store, &scan_ops, NULL, &result) == MX_OK);
    journal_part_init(&part);
    CHECK(journal_store_take(store, sets, journal_store_sets(store, sets, 2), &part) == MX_OK);
    journal_adopt(journal, &part);
    journal_adopted(journal);
}

/* Each start stores a message and leaves it in a segment of its own, up to a bound: then new mail
 * has to wait. Nothing is lost, and when the old queue has been read all goes on, and the segments
 * of it are given back. */
static void starts_with_mail_are_bounded(void)
{
    struct message m;
    unsigned stored = 0, refused = 0;
    for (unsigned i = 0; i < STARTS; i++) {
        open_all(&conf, &ops);
        mx_err err = message_try(&m, 7);
        CHECK(err == MX_OK || err == MX_ERR_NOSPACE);
        CHECK(journal_room(journal, PAYLOAD_BYTES, 0) == err);
        stored += err == MX_OK;
        refused += err != MX_OK;
        end_all();
    }
    CHECK(stored >= JOURNAL_STARTS_MAX && refused > STARTS / 2);
    CHECK(usage_now().files <= JOURNAL_STARTS_MAX + 4);
    CHECK(segments_with_records() == stored && records_found == stored);
    open_all(&conf, &ops);
    CHECK(message_try(&m, 7) == MX_ERR_NOSPACE);
    adopt_all();
    struct journal_stats stats;
    do {
        shard_turn(&shard, MX_NS_PER_MS);
        journal_stats(journal, &stats);
    } while (stats.segments > 2 || journal_room(journal, PAYLOAD_BYTES, 0) != MX_OK);
    message_write(&m, 8);
    end_all();
    CHECK(usage_now().files <= JOURNAL_EMPTY_MAX + 4);
    CHECK(segments_with_records() == 1 && records_found == 1);
    forget_journal();
}

/* A segment that was made ready, then used: it is not blank any more, and neither is one that was
 * used, freed and made ready again before. */
static void segment_that_was_used_is_kept(void)
{
    struct message m;
    for (unsigned i = 0; i < 3; i++) {
        open_all(&conf, &ops);
        message_write(&m, 7);
        end_all();
        CHECK(segments_with_records() == i + 1 && records_found == i + 1);
    }
    forget_journal();
}

/* That a block is no group does not say that there is none: it may have rotted, and others follow.
 */
static void segment_whose_first_group_has_rotted_is_kept(void)
{
    static const uint8_t zeros[JOURNAL_BLOCK_BYTES];
    struct message first, second;
    char path[JOURNAL_BLOCK_BYTES];
    int fd;
    open_all(&conf, &ops);
    message_write(&first, 7);
    message_write(&second, 8);
    segment_path(second.resident.ref.segment, journal, path, sizeof path);
    end_all();
    CHECK(sys_open(&fd, path, SYS_WRITE) == MX_OK);
    CHECK(sys_pwrite(fd, zeros, sizeof zeros, JOURNAL_BLOCK_BYTES) == MX_OK);
    sys_close(fd);
    life_without_mail();
    CHECK(segments_with_records() == 1 && records_found == 1);
    forget_journal();
}

/* The mark of a blank segment is that of one use of one file. */
static void blank_of_another_use_says_nothing(void)
{
    uint8_t block[JF_BLOCK_BYTES];
    struct jf_segment segment = {.set = 3, .node = 1, .epoch = 9, .instance = 77};
    jf_blank_put(block, &segment);
    struct slice bytes = slice_of(block, sizeof block);
    struct jf_group group;
    CHECK(jf_blank_is(&segment, bytes) && jf_group_peek(&group, bytes) == MX_ERR_DAMAGED);
    struct jf_segment later = segment, elsewhere = segment, newer = segment;
    later.instance++;
    elsewhere.set++;
    newer.epoch++;
    CHECK(!jf_blank_is(&later, bytes) && !jf_blank_is(&elsewhere, bytes) &&
          !jf_blank_is(&newer, bytes));
    for (unsigned i = 0; i < 32; i++) {
        block[i] ^= 0x10;
        CHECK(!jf_blank_is(&segment, bytes));
        block[i] ^= 0x10;
    }
    CHECK(!jf_blank_is(&segment, slice_first(bytes, 31)));
}

static uint64_t progress_calls, progress_total, progress_end;

static mx_err on_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    CHECK(done == progress_calls++ && (done == 0 || total == progress_total));
    progress_total = total;
    return done == progress_end ? MX_ERR_SHUTDOWN : MX_OK;
}

/* It was told before each segment only: who wanted it to end could not say so in the last one. */
static void scan_is_ended_behind_any_segment(void)
{
    static const struct journal_scan_ops progress_ops = {
        .record = on_record, .damaged = on_damaged, .progress = on_progress};
    enum { LIVES = 3 };
    struct message m;
    for (unsigned i = 0; i < LIVES; i++) {
        open_all(&conf, &ops);
        message_write(&m, 7);
        end_all();
    }
    for (progress_end = 0; progress_end <= LIVES + 1; progress_end++) {
        struct journal_store *found;
        struct journal_scan_result result = {.segments = LIVES + 1};
        progress_calls = records_found = 0;
        CHECK(journal_store_open_readonly(&found, dir, NULL) == MX_OK);
        mx_err err = journal_store_scan(found, &progress_ops, NULL, &result);
        journal_store_close(found);
        if (progress_end <= LIVES) {
            CHECK(err == MX_ERR_SHUTDOWN && result.segments == LIVES + 1);
            CHECK(progress_calls == progress_end + 1 && records_found == progress_end);
        } else {
            CHECK(err == MX_OK && result.segments == LIVES && progress_calls == LIVES + 1);
        }
    }
    forget_journal();
}

int main(void)
{
    /* Where that is in memory, hundreds of starts with their syncs take no time. */
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR");
    char root[PATH_BYTES / 2], command[PATH_BYTES];
    snprintf(root, sizeof root, "%s/ringmx-starts-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    CHECK(mkdtemp(root) != NULL);
    snprintf(dir, sizeof dir, "%s/journal", root);
    starts_without_mail_leave_nothing();
    starts_with_mail_are_bounded();
    segment_that_was_used_is_kept();
    segment_whose_first_group_has_rotted_is_kept();
    blank_of_another_use_says_nothing();
    scan_is_ended_behind_any_segment();
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK(system(command) == 0);
    return 0;
}
