/* The journal on a real ring and a real disk, under a small queue of its own: messages that live,
 * end by an outcome record, and are moved. At random moments the folder is copied as a crash would
 * leave it, and recovery of the copy is compared with what had been acknowledged. Prints its seed;
 * give one as argument to repeat a run. */
#include "io/clock.h"
#include "io/journal.h"
#include "io/shard.h"
#include "io/sys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    MESSAGES_MAX = 40000,
    PAYLOAD_MAX = 60000,
    TYPE_MESSAGE = 1,
    TYPE_OUTCOME = 3,
    SEGMENT_BYTES = 8 * 1024 * 1024,
    PATH_BYTES = 600,
    INDEXED_BYTES = 24, /* of a payload */
};

#define CHECK(cond)                                                           \
    do {                                                                      \
        if (!(cond)) {                                                        \
            printf("%s:%d: %s (seed %u)\n", __FILE__, __LINE__, #cond, seed); \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static unsigned seed;
static uint64_t random_state;

static uint32_t rnd(uint32_t below)
{
    random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(random_state >> 33) % below;
}

/* --- the small queue ---------------------------------------------------------------------------
 */

enum life { UNUSED, WRITING, ALIVE, ENDING, ENDED };

struct message {
    struct journal_resident resident;
    struct journal_append append, outcome, move;
    struct qid id;
    uint32_t len;
    enum life life;
    bool acked; /* its record was reported durable */
    bool ended; /* its outcome was reported durable */
    bool moving;
    bool waits; /* of an earlier process, not adopted yet */
    bool found; /* by the recovery under way */
    bool found_outcome;
    unsigned found_copies;
};

static struct message messages[MESSAGES_MAX];
static unsigned message_count;
static struct journal *journal;
static struct shard shard;
static uint64_t evictions;

static uint8_t pattern(const struct message *m, size_t i)
{
    return (uint8_t)(m->id.sequence * 31 + m->id.set * 7 + m->id.epoch * 13 +
                     i * (1 + m->id.sequence % 5));
}

static void fill(struct writer *w, const struct message *m)
{
    for (uint32_t i = 0; i < m->len; i++) {
        put_u8(w, pattern(m, i));
    }
}

static void message_done(struct journal_append *append, mx_err err)
{
    struct message *m = mx_container_of(append, struct message, append);
    CHECK(err == MX_OK);
    m->acked = true;
    m->life = ALIVE;
    journal_settle(journal, &m->resident, append->ref);
}

static bool message_add(void)
{
    struct message *m = &messages[message_count];
    struct writer payload;
    *m = (struct message){
        .append = {.done = message_done}, .id = journal_next_id(journal), .len = rnd(PAYLOAD_MAX)};
    mx_err err = journal_append(journal, &m->append, TYPE_MESSAGE, m->id, m->len, 0, &payload);
    CHECK(err == MX_OK || err == MX_ERR_AGAIN);
    if (err) {
        return false;
    }
    fill(&payload, m);
    CHECK(!payload.overflow && payload.len == m->len);
    m->life = WRITING;
    message_count++;
    return true;
}

static void finish(struct message *m)
{
    if (m->ended && !m->moving) {
        journal_leave(journal, &m->resident);
        m->life = ENDED;
    }
}

static void outcome_done(struct journal_append *append, mx_err err)
{
    struct message *m = mx_container_of(append, struct message, outcome);
    CHECK(err == MX_OK);
    m->ended = true;
    journal_depend(journal, append->ref.segment, m->resident.ref.segment);
    finish(m);
}

static void message_end(struct message *m)
{
    struct writer payload;
    m->outcome.done = outcome_done;
    mx_err err = journal_append(journal, &m->outcome, TYPE_OUTCOME, m->id, 8,
                                JOURNAL_LAZY | JOURNAL_RESERVE, &payload);
    if (err == MX_OK) {
        put_u64(&payload, 1);
        m->life = ENDING;
    }
}

static void move_done(struct journal_append *append, mx_err err)
{
    struct message *m = mx_container_of(append, struct message, move);
    CHECK(err == MX_OK);
    journal_depend(journal, append->ref.segment, m->resident.ref.segment);
    journal_leave(journal, &m->resident);
    journal_settle(journal, &m->resident, append->ref);
    m->moving = false;
    finish(m);
}

static void evict(void *arg, struct journal_resident *resident)
{
    struct message *m = mx_container_of(resident, struct message, resident);
    struct writer payload;
    (void)arg;
    /* A copy written behind the outcome would outlive it: the record here carries no states. */
    if (m->moving || m->life == ENDING) {
        return;
    }
    m->move.done = move_done;
    if (journal_append(journal, &m->move, TYPE_MESSAGE, m->id, m->len, JOURNAL_RESERVE, &payload) ==
        MX_OK) {
        fill(&payload, m);
        m->moving = true;
        evictions++;
    }
}

static uint32_t indexed(uint8_t type, struct slice payload)
{
    CHECK(type == TYPE_MESSAGE || type == TYPE_OUTCOME);
    return (uint32_t)mx_min_size(payload.len, INDEXED_BYTES);
}

static const struct journal_ops ops = {.evict = evict, .indexed = indexed};

/* They are in the order of their ids: one set, epochs and sequences that grow. */
static bool id_before(struct qid a, struct qid b)
{
    return a.epoch != b.epoch ? a.epoch < b.epoch : a.sequence < b.sequence;
}

static struct message *by_id(struct qid id)
{
    unsigned low = 0, high = message_count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (id_before(messages[middle].id, id)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < message_count && qid_equal(messages[low].id, id) ? &messages[low] : NULL;
}

/* --- recovery ----------------------------------------------------------------------------------
 */

static mx_err on_record(void *arg, const struct journal_record *record)
{
    struct message *m = by_id(record->id);
    (void)arg;
    CHECK(m != NULL); /* nothing is there that was never written */
    if (record->type == TYPE_OUTCOME) {
        m->found_outcome = true;
        return MX_OK;
    }
    CHECK(record->type == TYPE_MESSAGE && record->ref.len == m->len);
    CHECK(record->payload.len == m->len || record->payload.len == INDEXED_BYTES);
    for (uint32_t i = 0; i < record->payload.len; i++) {
        CHECK(record->payload.ptr[i] == pattern(m, i));
    }
    m->found = true;
    m->found_copies++;
    return MX_OK;
}

static uint64_t damaged;

static void on_damaged(void *arg, struct qid id, const char *file, uint64_t offset, uint32_t len)
{
    (void)arg;
    (void)id;
    (void)len;
    CHECK(strstr(file, ".seg") != NULL && offset > 0);
    damaged++;
}

static const struct journal_scan_ops scan_ops = {.record = on_record, .damaged = on_damaged};

static void scan(const char *dir, struct journal_scan_result *out)
{
    struct journal_store *store;
    for (unsigned i = 0; i < message_count; i++) {
        messages[i].found = false;
        messages[i].found_outcome = false;
        messages[i].found_copies = 0;
    }
    damaged = 0;
    CHECK(journal_store_open_readonly(&store, dir, NULL) == MX_OK);
    CHECK(journal_store_scan(store, &scan_ops, NULL, out) == MX_OK);
    journal_store_close(store);
}

static void forget_indexes(const char *dir)
{
    char command[PATH_BYTES + 200];
    snprintf(
        command, sizeof command,
        "for f in %s/set-*/*.seg; do dd if=/dev/zero of=$f bs=4096 count=1 seek=%u conv=notrunc "
        "status=none; done",
        dir, SEGMENT_BYTES / 4096 - 1);
    CHECK(system(command) == 0);
}

/* The indexes say what the groups say: without them the same is found. */
static void check_indexes(const char *image)
{
    struct journal_scan_result with, without;
    static unsigned copies[MESSAGES_MAX];
    static bool outcome[MESSAGES_MAX];
    scan(image, &with);
    for (unsigned i = 0; i < message_count; i++) {
        copies[i] = messages[i].found_copies;
        outcome[i] = messages[i].found_outcome;
    }
    forget_indexes(image);
    scan(image, &without);
    CHECK(with.indexed > 0 && with.indexed < with.segments && without.indexed == 0);
    CHECK(with.records == without.records && with.groups == without.groups);
    for (unsigned i = 0; i < message_count; i++) {
        CHECK(messages[i].found_copies == copies[i] && messages[i].found_outcome == outcome[i]);
    }
}

/* What a crash at this moment would leave, is enough and not too much. */
static void check_crash(const char *dir)
{
    struct journal_scan_result result;
    scan(dir, &result);
    CHECK(damaged == 0);
    for (unsigned i = 0; i < message_count; i++) {
        const struct message *m = &messages[i];
        bool alive = m->found && !m->found_outcome;
        if (m->acked && m->life == ALIVE) {
            CHECK(alive);
        }
        if (m->ended) {
            CHECK(!alive); /* a finished message never comes back */
        }
    }
}

static void copy(const char *from, const char *to)
{
    char command[PATH_BYTES * 3 + 64];
    int len =
        snprintf(command, sizeof command, "rm -rf %s && cp -r --sparse=never %s %s", to, from, to);
    CHECK(len > 0 && (size_t)len < sizeof command);
    CHECK(system(command) == 0);
}

/* --- running -----------------------------------------------------------------------------------
 */

static struct journal_store *store_open(const char *dir)
{
    struct journal_store *store;
    struct journal_conf conf = {.node = 1,
                                .first_segment_bytes = SEGMENT_BYTES,
                                .segment_bytes = SEGMENT_BYTES,
                                .reserve_bytes = 1};
    CHECK(journal_store_open(&store, dir, &conf, &shard.log) == MX_OK);
    return store;
}

static void shard_up(void)
{
    struct shard_conf conf = {
        .count = 1, .cpu = -1, .blocks_max = 64, .workers = 1, .log_level = LOG_ERROR};
    CHECK(shard_init(&shard, &conf) == MX_OK);
    CHECK(shard_open(&shard) == MX_OK);
}

static void settle_down(void)
{
    for (unsigned i = 0; !journal_quiet(journal); i++) {
        CHECK(i < 10000);
        journal_flush(journal);
        shard_turn(&shard, 10 * MX_NS_PER_MS);
    }
}

static void shard_down(struct journal_store *store)
{
    settle_down();
    journal_close(journal);
    journal_store_close(store);
    shard_close(&shard);
    shard_fini(&shard);
}

/* Ends old messages at random, but keeps some alive for long. */
static void end_some(unsigned percent)
{
    for (unsigned n = 0; n < 30 && message_count > 0; n++) {
        struct message *m = &messages[rnd(message_count)];
        bool keeper = m->id.sequence % 97 == 0;
        if (m->life == ALIVE && !m->waits && !keeper && rnd(100) < percent) {
            message_end(m);
        }
    }
}

static void work(const char *dir, const char *image, unsigned turns, unsigned crashes)
{
    for (unsigned t = 0; t < turns; t++) {
        for (unsigned n = rnd(12); n > 0 && message_count < MESSAGES_MAX - 1 && message_add();
             n--) {
        }
        end_some(80);
        shard_turn(&shard, rnd(2) * MX_NS_PER_MS);
        if (turns / crashes > 0 && t % (turns / crashes) == turns / crashes - 1) {
            copy(dir, image);
            check_crash(image);
        }
    }
}

/* Takes over what the scan of the folder itself finds, as a restart does. */
struct adoption {
    struct journal_ref refs[MESSAGES_MAX];
    struct segment *outcomes[MESSAGES_MAX];
    struct {
        struct segment *later, *of;
    } moved[MESSAGES_MAX];
    unsigned moved_count;
};

static struct adoption adoption;

static mx_err adopt_record(void *arg, const struct journal_record *record)
{
    struct message *m = by_id(record->id);
    (void)arg;
    CHECK(m != NULL);
    unsigned i = (unsigned)(m - messages);
    if (record->type == TYPE_OUTCOME) {
        adoption.outcomes[i] = record->ref.segment;
        return MX_OK;
    }
    if (adoption.refs[i].segment != NULL) {
        adoption.moved[adoption.moved_count].later = record->ref.segment;
        adoption.moved[adoption.moved_count++].of = adoption.refs[i].segment;
    }
    adoption.refs[i] = record->ref;
    return MX_OK;
}

static void settle_found(struct message *m, unsigned i)
{
    bool alive = adoption.refs[i].segment != NULL && adoption.outcomes[i] == NULL;
    if (adoption.refs[i].segment != NULL && adoption.outcomes[i] != NULL) {
        segment_depend(adoption.outcomes[i], adoption.refs[i].segment);
    }
    m->life = alive ? ALIVE : ENDED;
    m->acked = alive;
    m->ended = !alive && m->ended;
    m->waits = false;
    if (alive) {
        journal_settle(journal, &m->resident, adoption.refs[i]);
    }
}

/* As the spool does it: messages are taken before, during and after the adoption of the old ones,
 * of which some are settled per turn; a crash at any of these moments loses nothing. */
static struct journal_store *restart(const char *dir, const char *image)
{
    static const struct journal_scan_ops adopt_ops = {.record = adopt_record,
                                                      .damaged = on_damaged};
    struct journal_scan_result result;
    struct journal_part part;
    uint16_t sets[8];
    unsigned old_count = message_count;
    shard_up();
    struct journal_store *store = store_open(dir);
    memset(&adoption, 0, sizeof adoption);
    for (unsigned i = 0; i < old_count; i++) {
        messages[i].resident = (struct journal_resident){0};
        messages[i].moving = false;
        messages[i].waits = true;
    }
    CHECK(journal_open(&journal, store, &shard, 0, &ops, NULL) == MX_OK);
    work(dir, image, 60, 1);
    CHECK(journal_store_scan(store, &adopt_ops, NULL, &result) == MX_OK);
    for (unsigned i = 0; i < adoption.moved_count; i++) {
        segment_depend(adoption.moved[i].later, adoption.moved[i].of);
    }
    unsigned count = journal_store_sets(store, sets, 8);
    journal_part_init(&part);
    CHECK(journal_store_take(store, sets, count, &part) == MX_OK);
    CHECK(part.count == result.segments);
    journal_adopt(journal, &part);
    for (unsigned i = 0; i < old_count; i++) {
        settle_found(&messages[i], i);
        if (i % (old_count / 3 + 1) == 0) {
            work(dir, image, 10, 1);
        }
    }
    journal_adopted(journal);
    return store;
}

/* Reading back through the ring, and a payload that rots on the disk. */
static bool read_finished;
static mx_err read_result;

static void on_read(struct journal_read *read, mx_err err)
{
    (void)read;
    read_finished = true;
    read_result = err;
}

static mx_err read_back(struct message *m)
{
    struct journal_read read = {.done = on_read, .ref = m->resident.ref};
    read.buf = aligned_alloc(JOURNAL_BLOCK_BYTES,
                             mx_round_up(journal_read_bytes(read.ref), JOURNAL_BLOCK_BYTES));
    CHECK(read.buf != NULL);
    read_finished = false;
    journal_read(journal, &read);
    while (!read_finished) {
        shard_turn(&shard, 10 * MX_NS_PER_MS);
    }
    if (read_result == MX_OK) {
        CHECK(read.payload.len == m->len);
        for (uint32_t i = 0; i < m->len; i++) {
            CHECK(read.payload.ptr[i] == pattern(m, i));
        }
    }
    free(read.buf);
    return read_result;
}

static void flip_byte(const struct message *m)
{
    char path[PATH_BYTES];
    uint8_t byte;
    int fd;
    size_t len;
    segment_path(m->resident.ref.segment, journal, path, sizeof path);
    CHECK(sys_open(&fd, path, SYS_READ | SYS_WRITE) == MX_OK);
    CHECK(sys_pread(&len, fd, &byte, 1, m->resident.ref.offset + m->len / 2) == MX_OK);
    byte ^= 0x40;
    CHECK(sys_pwrite(fd, &byte, 1, m->resident.ref.offset + m->len / 2) == MX_OK);
    CHECK(sys_sync(fd) == MX_OK);
    sys_close(fd);
}

static struct message *some_alive(void)
{
    for (;;) {
        struct message *m = &messages[rnd(message_count)];
        if (m->life == ALIVE && !m->moving && m->len > 100) {
            return m;
        }
    }
}

static void test_reading_and_rot(const char *dir, const char *image)
{
    for (unsigned i = 0; i < 50; i++) {
        CHECK(read_back(some_alive()) == MX_OK);
    }
    settle_down();
    struct message *m = some_alive();
    flip_byte(m);
    CHECK(read_back(m) == MX_ERR_DAMAGED);
    struct journal_scan_result result;
    copy(dir, image);
    forget_indexes(image);
    scan(image, &result);
    /* Either one record is reported, or it was in the very last group and looks like a torn tail.
     */
    CHECK(!m->found && (damaged == 1 || result.torn_groups > 0));
    flip_byte(m);
    CHECK(read_back(m) == MX_OK);
}

/* Random damage anywhere: no crash, and no payload that was not written (on_record compares). */
static void test_garbage(const char *image)
{
    char command[PATH_BYTES + 300];
    for (unsigned round = 0; round < 12; round++) {
        char copy_dir[PATH_BYTES + 16];
        struct journal_scan_result result;
        snprintf(copy_dir, sizeof copy_dir, "%s-garbage", image);
        copy(image, copy_dir);
        snprintf(command, sizeof command,
                 "for f in %s/set-*/*.seg; do "
                 "dd if=/dev/urandom of=$f bs=512 count=%u seek=%u conv=notrunc status=none; done",
                 copy_dir, 1 + rnd(20), rnd(SEGMENT_BYTES / 512 - 40));
        CHECK(system(command) == 0);
        scan(copy_dir, &result);
        snprintf(command, sizeof command, "rm -rf %s", copy_dir);
        CHECK(system(command) == 0);
    }
}

/* The number that makes queue ids unique survives the loss or the damage of its file. */
static void test_epoch_file(const char *dir)
{
    static const char *const contents[] = {
        "", "\n", "12x\n", "99999999999999999999\n", "4294967295\n", NULL};
    char path[PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/epoch", dir);
    shard_up();
    struct journal_store *store = store_open(dir);
    uint32_t last = journal_store_epoch(store);
    journal_store_close(store);
    for (unsigned i = 0; i < mx_countof(contents); i++) {
        if (contents[i] == NULL) {
            CHECK(unlink(path) == 0);
        } else {
            CHECK(sys_replace_file(path, slice_of_text(contents[i])) == MX_OK);
        }
        store = store_open(dir);
        /* Without the file only what segments carry is known, and no id of theirs may repeat. */
        CHECK(journal_store_epoch(store) > (contents[i] == NULL ? 4 : last));
        last = contents[i] == NULL ? journal_store_epoch(store) : last;
        journal_store_close(store);
    }
    store = store_open(dir);
    CHECK(journal_store_epoch(store) == last + 1);
    journal_store_close(store);
    shard_close(&shard);
    shard_fini(&shard);
}

int main(int argc, char **argv)
{
    char root[PATH_BYTES / 2], dir[PATH_BYTES], image[PATH_BYTES], command[PATH_BYTES];
    const char *tmp = getenv("TMPDIR");
    seed = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : (unsigned)clock_wall_ms();
    random_state = seed;
    printf("seed %u\n", seed);
    snprintf(root, sizeof root, "%s/ringmx-journal-XXXXXX", tmp != NULL ? tmp : "/var/tmp");
    if (mkdtemp(root) == NULL) {
        printf("cannot make a folder\n");
        return 1;
    }
    snprintf(dir, sizeof dir, "%s/journal", root);
    snprintf(image, sizeof image, "%s/image", root);

    shard_up();
    struct journal_store *store = store_open(dir);
    CHECK(journal_open(&journal, store, &shard, 0, &ops, NULL) == MX_OK);
    work(dir, image, 400, 8);
    settle_down();
    struct journal_stats stats;
    journal_stats(journal, &stats);
    CHECK(stats.records > stats.groups * 2); /* commits were shared */
    test_reading_and_rot(dir, image);
    shard_down(store);
    for (unsigned start = 0; start < 3; start++) {
        check_crash(dir);
        store = restart(dir, image);
        work(dir, image, 300, 4);
        settle_down();
        journal_stats(journal, &stats);
        /* Space is used again: what lives is far less than what was written. */
        CHECK(stats.segments + stats.segments_free < 24);
        shard_down(store);
    }
    CHECK(evictions > 0); /* the long-lived ones were moved */
    check_crash(dir);
    copy(dir, image);
    check_indexes(image);
    copy(dir, image);
    test_epoch_file(dir);
    test_garbage(image);
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK(system(command) == 0);
    printf("%u messages, %llu moves\n", message_count, (unsigned long long)evictions);
    return 0;
}
