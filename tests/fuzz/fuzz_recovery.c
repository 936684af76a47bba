/* A whole queue on disk (two segment files and the epoch), changed as the input says, then opened
 * and recovered as at a start. What comes back is what was written, each message at most once; a
 * second start finds the same; an unchanged queue is whole. */
#include "core/hash.h"
#include "fuzz.h"
#include "io/journal.h"
#include "io/journal_format.h"
#include "io/sys.h"
#include "smtp/spool_recover.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILES = 2,
    FILE_BYTES = 8 * JF_BLOCK_BYTES,
    MESSAGES = 5, /* 1 inline, 2 with an extent, 3 finished, 4 partly finished, 5 moved */
    INLINE_BYTES = 30,
    EXTENT_LEN = 3000,
    PATH_BYTES = 512,
};

static char root[PATH_BYTES - 64];
static uint8_t original[FILES][FILE_BYTES];
static struct log journal_log;

/* --- what is written ---------------------------------------------------------------------------
 */

static const struct envelope_rcpt rcpts[2] = {{.address = SLICE_LITERAL("a@x.example")},
                                              {.address = SLICE_LITERAL("b@x.example")}};

static struct envelope envelope_of(unsigned number)
{
    static const char *const senders[MESSAGES + 1] = {"", "1@s", "22@s", "333@s", "4@s", "55555@s"};
    return (struct envelope){.sender = slice_of_text(senders[number]),
                             .rcpts = rcpts,
                             .rcpt_count = 2,
                             .prefix = SLICE_LITERAL("Received: x\r\n")};
}

static struct qid id_of(unsigned number)
{
    return (struct qid){.node = 1, .set = 1, .epoch = 1, .sequence = number};
}

struct group {
    uint8_t *bytes;
    struct writer w;
    struct jf_group head;
};

static struct group group_begin(uint8_t *file, size_t at, uint64_t instance, uint64_t sequence)
{
    return (struct group){
        .bytes = file + at,
        .w = {.buf = file + at, .len = JF_GROUP_HEADER_BYTES, .cap = JF_BLOCK_BYTES},
        .head = {.set = 1, .node = 1, .epoch = 1, .instance = instance, .sequence = sequence}};
}

static void record_begin(struct group *g, uint8_t type, unsigned number, size_t len)
{
    jf_record_put(&g->w,
                  &(struct jf_record){.type = type, .len = (uint32_t)len, .id = id_of(number)});
    g->head.records++;
}

static void record_end(struct group *g)
{
    while (g->w.len % JF_RECORD_ALIGN != 0) {
        put_u8(&g->w, 0);
    }
    FUZZ_CHECK(!g->w.overflow);
}

static void group_end(struct group *g)
{
    g->head.length = (uint32_t)g->w.len;
    jf_group_seal(g->bytes, &g->head);
}

static void put_inline(struct writer *w, unsigned number)
{
    for (unsigned i = 0; i < INLINE_BYTES; i++) {
        put_u8(w, (uint8_t)(number * 37 + i));
    }
}

static void put_message(struct group *g, unsigned number, bool extent, bool states)
{
    struct envelope env = envelope_of(number);
    struct record_message head = {.rcpt_count = 2,
                                  .envelope_bytes = (uint32_t)envelope_bytes(&env),
                                  .inline_bytes = INLINE_BYTES,
                                  .extent_count = extent,
                                  .body_bytes = INLINE_BYTES + (extent ? EXTENT_LEN : 0),
                                  .has_states = states};
    struct record_outcome said = {.rcpt = 1, .text = SLICE_LITERAL("later")};
    if (states) { /* a copy, with its texts */
        head.mark_count = 1;
        head.marks_bytes = (uint32_t)record_outcome_bytes(&said);
        head.marks_of = id_of(number);
    }
    record_begin(g, RECORD_MESSAGE, number, record_message_bytes(&head));
    record_message_head_put(&g->w, &head);
    if (states) {
        record_outcome_put(&g->w, &said);
    }
    for (unsigned i = 0; states && i < 2; i++) {
        record_rcpt_put(&g->w, &(struct rcpt_state){.attempts = 3, .status = i == 0});
    }
    envelope_encode(&g->w, &env);
    put_inline(&g->w, number);
    record_end(g);
}

static void put_extent(struct group *g, unsigned number)
{
    uint8_t body[EXTENT_LEN];
    memset(body, 'e', sizeof body);
    record_begin(g, RECORD_EXTENT, number, RECORD_EXTENT_HEAD_BYTES + sizeof body);
    record_extent_put(
        &g->w, &(struct record_extent){.len = sizeof body,
                                       .checksum = hash_checksum(slice_of(body, sizeof body))});
    put_bytes(&g->w, body, sizeof body);
    record_end(g);
}

static void put_outcome(struct group *g, unsigned number, uint32_t rcpt)
{
    struct record_outcome o = {.rcpt = rcpt,
                               .state = {.status = RCPT_DELIVERED, .attempts = 1, .code = 250},
                               .text = SLICE_LITERAL("taken")};
    record_begin(g, RECORD_OUTCOME, number, record_outcome_bytes(&o));
    record_outcome_put(&g->w, &o);
    record_end(g);
}

static void put_history(struct group *g, unsigned number, uint32_t history)
{
    record_begin(g, RECORD_HISTORY, number, RECORD_HISTORY_HEAD_BYTES + 4);
    put_u32(&g->w, history);
    put_text(&g->w, "old!");
    record_end(g);
}

static void make(void)
{
    for (unsigned i = 0; i < FILES; i++) {
        jf_segment_put(original[i], &(struct jf_segment){.state = JF_ACTIVE,
                                                         .set = 1,
                                                         .node = 1,
                                                         .epoch = 1,
                                                         .instance = i + 1,
                                                         .size = FILE_BYTES});
    }
    struct group g = group_begin(original[0], JF_BLOCK_BYTES, 1, 0);
    put_message(&g, 1, false, false);
    put_extent(&g, 2);
    group_end(&g);
    g = group_begin(original[0], 2 * JF_BLOCK_BYTES, 1, 1);
    put_message(&g, 2, true, false);
    put_message(&g, 3, false, false);
    put_message(&g, 5, false, false);
    group_end(&g);
    g = group_begin(original[0], 3 * JF_BLOCK_BYTES, 1, 2);
    put_message(&g, 4, false, false);
    put_outcome(&g, 3, 0);
    put_history(&g, 4, 2);
    group_end(&g);
    g = group_begin(original[1], JF_BLOCK_BYTES, 2, 0);
    put_outcome(&g, 3, 1);
    put_outcome(&g, 4, 1);
    put_history(&g, 4, 1);
    put_history(&g, 9, 1); /* of nobody */
    put_message(&g, 5, false, true);
    group_end(&g);
}

/* --- the files ---------------------------------------------------------------------------------
 */

static int remove_entry(const char *path, const struct stat *stat, int flag, struct FTW *ftw)
{
    (void)stat;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void root_remove(void)
{
    (void)nftw(root, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void file_write(const char *name, const void *bytes, size_t len)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file != NULL && fwrite(bytes, 1, len, file) == len && fclose(file) == 0);
}

static void root_make(void)
{
    static bool made;
    if (!made) {
        const char *base = getenv("TMPDIR");
        snprintf(root, sizeof root, "%s/ringmx-fuzz-XXXXXX",
                 base != NULL                    ? base
                 : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                                 : "/tmp");
        FUZZ_CHECK(mkdtemp(root) != NULL && atexit(root_remove) == 0);
        FUZZ_CHECK(log_init(&journal_log, -1, LOG_ERROR) == MX_OK);
        make();
        made = true;
    }
    char path[PATH_BYTES];
    root_remove();
    snprintf(path, sizeof path, "%s/set-0001", root);
    FUZZ_CHECK(mkdir(root, 0700) == 0 && mkdir(path, 0700) == 0);
}

/* Damage, moves and copies as the input wants; every step takes five bytes of it. */
static void change(uint8_t files[FILES][FILE_BYTES], size_t lens[FILES], struct fuzz_source *s)
{
    while (s->left.len >= 5) {
        uint8_t what = fuzz_byte(s), file = fuzz_byte(s) % FILES;
        size_t at = ((size_t)fuzz_byte(s) << 8 | fuzz_byte(s)) % FILE_BYTES;
        uint8_t value = fuzz_byte(s);
        uint8_t *block = files[file] + at / JF_BLOCK_BYTES * JF_BLOCK_BYTES;
        switch (what % 6) {
        case 0:
            files[file][at] ^= value;
            break;
        case 1:
            lens[file] = at;
            break;
        case 2:
            memset(block, value, JF_BLOCK_BYTES);
            break;
        case 3: /* a block that was written to another place */
            memcpy(block, original[value % FILES] + (size_t)value / FILES % 8 * JF_BLOCK_BYTES,
                   JF_BLOCK_BYTES);
            break;
        case 4: /* torn at a sector: the rest is as before the write */
            memset(files[file] + at / 512 * 512, 0, FILE_BYTES - at / 512 * 512);
            break;
        default: { /* bytes of the input */
            struct slice piece = slice_first(slice_first(s->left, value), FILE_BYTES - at);
            memcpy(files[file] + at, piece.ptr != NULL ? piece.ptr : (const uint8_t *)"",
                   piece.len);
            s->left = slice_from(s->left, piece.len);
            break;
        }
        }
    }
}

/* --- one start ---------------------------------------------------------------------------------
 */

struct found {
    struct journal_store *store;
    unsigned count[MESSAGES + 1];
    bool incomplete[MESSAGES + 1];
    struct spool_recovered result;
};

static void each(void *arg, const struct spool_listed *listed)
{
    static uint8_t payload[JOURNAL_RECORD_MAX];
    struct found *found = arg;
    uint32_t number = (uint32_t)listed->id.sequence;
    struct envelope env, wanted;
    struct envelope_rcpt room[2];
    FUZZ_CHECK(number >= 1 && number <= MESSAGES && listed->rcpt_count == 2);
    FUZZ_CHECK(listed->id.set == 1 && listed->id.epoch == 1 && listed->id.node == 1);
    FUZZ_CHECK(found->count[number]++ == 0);
    found->incomplete[number] = listed->incomplete;
    FUZZ_CHECK(listed->ref.len <= sizeof payload);
    FUZZ_CHECK(journal_store_read(found->store, listed->ref, payload) == MX_OK);
    struct slice bytes = slice_from(slice_of(payload, listed->ref.len), listed->prefix_bytes);
    FUZZ_CHECK(envelope_decode(&env, room, 2, slice_first(bytes, listed->envelope_bytes)) == MX_OK);
    wanted = envelope_of(number);
    FUZZ_CHECK(slice_equal(env.sender, wanted.sender) && env.rcpt_count == 2);
    uint8_t content[INLINE_BYTES];
    struct writer w = writer_init(content, sizeof content);
    put_inline(&w, number);
    FUZZ_CHECK(slice_equal(slice_from(bytes, listed->envelope_bytes), writer_slice(&w)));
    unsigned pending = 0;
    for (unsigned i = 0; i < 2; i++) {
        pending += listed->rcpts[i].status == RCPT_PENDING;
    }
    FUZZ_CHECK(pending > 0);
}

static mx_err start(struct found *found)
{
    struct journal_conf conf = {.node = 1};
    struct spool_recovery *recovery = NULL;
    struct spool_recover_conf recover = {.log = &journal_log};
    *found = (struct found){0};
    mx_err err = journal_store_open(&found->store, root, &conf, &journal_log);
    if (err) {
        return err;
    }
    err = spool_recover(&recovery, found->store, &recover, &found->result);
    if (!err) {
        spool_recovery_each(recovery, each, found);
        unsigned count = 0;
        for (unsigned i = 1; i <= MESSAGES; i++) {
            count += found->count[i];
        }
        FUZZ_CHECK(count == found->result.messages);
    }
    spool_recovery_free(recovery);
    journal_store_close(found->store);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t files[FILES][FILE_BYTES];
    size_t lens[FILES] = {FILE_BYTES, FILE_BYTES};
    struct fuzz_source source = {slice_of(data, size)};
    root_make();
    memcpy(files, original, sizeof files);
    uint8_t epoch = fuzz_byte(&source);
    change(files, lens, &source);
    bool same = memcmp(files, original, sizeof files) == 0 && lens[0] == FILE_BYTES &&
                lens[1] == FILE_BYTES;
    if (epoch % 4 != 0) {
        file_write("epoch", epoch % 4 == 1 ? "1\n" : (const char *)&epoch, epoch % 4 == 1 ? 2 : 1);
    }
    file_write("set-0001/00000001.seg", files[0], lens[0]);
    file_write("set-0001/00000002.seg", files[1], lens[1]);
    struct found first, second;
    mx_err err = start(&first);
    if (same) {
        FUZZ_CHECK(err == MX_OK && first.result.messages == 4 && first.result.finished == 1);
        FUZZ_CHECK(first.result.incomplete == 0 && first.result.scan.damaged_records == 0);
        FUZZ_CHECK(first.count[3] == 0);
    }
    mx_err again = start(&second);
    FUZZ_CHECK(again == err);
    if (!err) {
        FUZZ_CHECK(memcmp(first.count, second.count, sizeof first.count) == 0);
        FUZZ_CHECK(memcmp(first.incomplete, second.incomplete, sizeof first.incomplete) == 0);
    }
    return 0;
}
