/* Maildir batches on a real folder: names, repeats, damage, failures of one among many. */
#include "tests/check.h"

#include "core/hash.h"
#include "io/sys.h"
#include "smtp/maildir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 700 };

static char root[PATH_BYTES / 2];

static struct maildir_delivery delivery(const char *local, uint64_t sequence,
                                        const struct maildir_piece *pieces, uint32_t count)
{
    return (struct maildir_delivery){.mailbox_local = slice_of_text(local),
                                     .mailbox_domain = SLICE_LITERAL("example.org"),
                                     .id = {1, 0, 1, sequence},
                                     .arrived_wall_ms = 1790000000000,
                                     .pieces = pieces,
                                     .piece_count = count};
}

/* --- the seam's calls, wrapped (see CMakeLists.txt): folders that were synced, and what is asked
 * of them at the moment of a call
 */

enum { SYNCED_MAX = 64 };

static char synced[SYNCED_MAX][PATH_BYTES];
static unsigned synced_count;
static const char *watched; /* a mailbox: ROOT/DOMAIN/LOCAL */
static bool durable_before_tmp, durable_before_move;
static unsigned moves;

static bool was_synced(const char *folder)
{
    for (unsigned i = 0; i < synced_count; i++) {
        if (strcmp(synced[i], folder) == 0) {
            return true;
        }
    }
    return false;
}

/* The names of the folders that lead to new/, and of new/ itself. */
static bool path_is_durable(void)
{
    char domain[PATH_BYTES];
    snprintf(domain, sizeof domain, "%s/example.org", root);
    return was_synced(root) && was_synced(domain) && was_synced(watched);
}

static void watch(const char *mailbox)
{
    watched = mailbox;
    synced_count = moves = 0;
    durable_before_tmp = durable_before_move = false;
}

mx_err __real_sys_sync_dir(const char *path);
mx_err __wrap_sys_sync_dir(const char *path);
mx_err __wrap_sys_sync_dir(const char *path)
{
    mx_err err = __real_sys_sync_dir(path);
    if (watched != NULL && !err) {
        CHECK(synced_count < SYNCED_MAX);
        snprintf(synced[synced_count++], PATH_BYTES, "%s", path);
    }
    return err;
}

mx_err __real_sys_mkdir(const char *path);
mx_err __wrap_sys_mkdir(const char *path);
mx_err __wrap_sys_mkdir(const char *path)
{
    char tmp[PATH_BYTES], in_new[PATH_BYTES];
    bool exists = false;
    if (watched != NULL) {
        snprintf(tmp, sizeof tmp, "%s/tmp", watched);
        snprintf(in_new, sizeof in_new, "%s/new", watched);
        if (strcmp(path, tmp) == 0) {
            CHECK(sys_exists(&exists, in_new) == MX_OK);
            durable_before_tmp = exists && path_is_durable();
        }
    }
    return __real_sys_mkdir(path);
}

mx_err __real_sys_rename(const char *from, const char *to);
mx_err __wrap_sys_rename(const char *from, const char *to);
mx_err __wrap_sys_rename(const char *from, const char *to)
{
    durable_before_move = watched != NULL && path_is_durable();
    moves++;
    return __real_sys_rename(from, to);
}

/* --- a batch -----------------------------------------------------------------------------------
 */

static struct slice hostname = SLICE_LITERAL("mx/1:x.example");

static void run(struct maildir_delivery *deliveries, uint32_t count)
{
    struct maildir_batch batch = {
        .root = root, .hostname = hostname, .deliveries = deliveries, .count = count};
    maildir_batch_init(&batch);
    batch.job.run(&batch.job);
}

struct listing {
    unsigned count;
    char last[300];
};

static mx_err each(void *arg, const char *name)
{
    struct listing *listing = arg;
    listing->count++;
    snprintf(listing->last, sizeof listing->last, "%s", name);
    return MX_OK;
}

static struct listing list(const char *folder, const char *sub)
{
    struct listing listing = {0};
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/example.org/%s/%s", root, folder, sub);
    CHECK(sys_list(path, each, &listing) == MX_OK);
    return listing;
}

static void test_delivery_and_repeat(void)
{
    struct maildir_piece pieces[] = {{.bytes = SLICE_LITERAL("Return-Path: <>\r\n")},
                                     {.bytes = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n")}};
    struct maildir_delivery d = delivery("alice", 1, pieces, 2);
    char path[PATH_BYTES], other[PATH_BYTES];
    uint8_t *content;
    size_t len;
    run(&d, 1);
    CHECK(d.err == MX_OK && !d.was_there);
    struct listing in_new = list("alice", "new");
    CHECK(in_new.count == 1 && list("alice", "tmp").count == 0);
    CHECK(strcmp(in_new.last, "1790000000.Q1-0-1-1R0.mx_1_x.example,S=37") == 0);
    snprintf(path, sizeof path, "%s/example.org/alice/new/%s", root, in_new.last);
    CHECK(sys_read_file(&content, &len, path, 1000) == MX_OK);
    CHECK(slice_equal(slice_of(content, len),
                      SLICE_LITERAL("Return-Path: <>\r\nSubject: x\r\n\r\nbody\r\n")));
    free(content);
    /* A repeat finds its own file, also when a mail client has moved and flagged it. */
    d = delivery("alice", 1, pieces, 2);
    d.maybe_repeat = true;
    run(&d, 1);
    CHECK(d.err == MX_OK && d.was_there && list("alice", "new").count == 1);
    snprintf(other, sizeof other, "%s/example.org/alice/cur/%s:2,FS", root, in_new.last);
    CHECK(sys_rename(path, other) == MX_OK);
    d.was_there = false;
    run(&d, 1);
    CHECK(d.err == MX_OK && d.was_there && list("alice", "new").count == 0);
    /* Another recipient of the same message is another file. */
    d = delivery("alice", 1, pieces, 2);
    d.rcpt = 1;
    d.maybe_repeat = true;
    run(&d, 1);
    CHECK(d.err == MX_OK && !d.was_there && list("alice", "new").count == 1);
    /* What an interrupted attempt left in tmp/ is replaced. */
    snprintf(path, sizeof path, "%s/example.org/alice/tmp/1790000000.Q1-0-1-9R0.mx_1_x.example",
             root);
    CHECK(sys_replace_file(path, SLICE_LITERAL("half a mess")) == MX_OK);
    d = delivery("alice", 9, pieces, 2);
    run(&d, 1);
    CHECK(d.err == MX_OK && list("alice", "tmp").count == 0 && list("alice", "new").count == 2);
}

/* The process died behind the move, and the server was renamed before the repeat. */
static void test_repeat_under_another_name(void)
{
    struct maildir_piece piece = {.bytes = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n")};
    struct maildir_delivery d = delivery("renamed", 1, &piece, 1);
    struct slice former = hostname;
    run(&d, 1);
    CHECK(d.err == MX_OK && list("renamed", "new").count == 1);
    hostname = SLICE_LITERAL("another.example");
    d = delivery("renamed", 1, &piece, 1);
    d.maybe_repeat = true;
    run(&d, 1);
    CHECK(d.err == MX_OK && d.was_there && list("renamed", "new").count == 1);
    /* One whose number begins with the same digits is another. */
    d = delivery("renamed", 1, &piece, 1);
    d.rcpt = 12;
    d.maybe_repeat = true;
    run(&d, 1);
    CHECK(d.err == MX_OK && !d.was_there);
    d.rcpt = 1;
    run(&d, 1);
    CHECK(d.err == MX_OK && !d.was_there && list("renamed", "new").count == 3);
    hostname = former;
}

/* A mailbox whose making broke off at any of its folders is made whole by the next delivery. */
static void test_folders_broken_off(void)
{
    static const char *const subs[] = {"cur", "new", "tmp"};
    struct maildir_piece piece = {.bytes = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n")};
    for (size_t i = 0; i < mx_countof(subs); i++) {
        char name[16], path[PATH_BYTES];
        snprintf(name, sizeof name, "broken%zu", i);
        snprintf(path, sizeof path, "%s/example.org/%s", root, name);
        CHECK(sys_mkdirs(path) == MX_OK);
        /* Where the folder should be there is a file. */
        snprintf(path, sizeof path, "%s/example.org/%s/%s", root, name, subs[i]);
        CHECK(sys_replace_file(path, SLICE_EMPTY) == MX_OK);
        struct maildir_delivery d = delivery(name, 1, &piece, 1);
        run(&d, 1);
        CHECK(d.err != MX_OK);
        CHECK(sys_unlink(path) == MX_OK);
        d = delivery(name, 1, &piece, 1);
        run(&d, 1);
        CHECK(d.err == MX_OK);
        CHECK(list(name, "new").count == 1 && list(name, "cur").count == 0 &&
              list(name, "tmp").count == 0);
    }
}

/* Two workers can make one mailbox at the same time: the second found the folders there before the
 * first had synced their parents, and its delivery counted. tmp/, without which nobody delivers, is
 * made when the rest is durable; and whoever makes folders syncs the whole path. */
static void test_delivery_counts_only_in_durable_folders(void)
{
    struct maildir_piece piece = {.bytes = SLICE_LITERAL("Subject: x\r\n\r\nbody\r\n")};
    char mailbox[PATH_BYTES], path[PATH_BYTES + 8];
    snprintf(mailbox, sizeof mailbox, "%s/example.org/first", root);
    struct maildir_delivery d = delivery("first", 1, &piece, 1);
    watch(mailbox);
    run(&d, 1);
    CHECK(d.err == MX_OK && moves == 1);
    CHECK(durable_before_tmp && durable_before_move);
    /* Another worker has made all but tmp/ and not synced them yet. */
    snprintf(mailbox, sizeof mailbox, "%s/example.org/second", root);
    watched = NULL;
    CHECK(sys_mkdir(mailbox) == MX_OK);
    static const char *const subs[] = {"new", "cur"};
    for (size_t i = 0; i < mx_countof(subs); i++) {
        snprintf(path, sizeof path, "%s/%s", mailbox, subs[i]);
        CHECK(sys_mkdir(path) == MX_OK);
    }
    d = delivery("second", 1, &piece, 1);
    watch(mailbox);
    run(&d, 1);
    CHECK(d.err == MX_OK && list("second", "new").count == 1);
    CHECK(durable_before_tmp && durable_before_move);
    watched = NULL;
}

/* Hostile names stay inside their folder, and no two meet. */
static void test_names(void)
{
    static const char *const names[] = {".",        "..",  "../../etc", "a/b", "a%2fb",    "",
                                        "A",        "a",   ".hidden",   "-rf", "a b",      "a\nb",
                                        "\xc3\xa4", "%",   "%25",       "a.b", "user+tag", "tmp",
                                        "~",        "a%~", "con"};
    static char out[64][MAILDIR_NAME_MAX + 1];
    unsigned count = 0;
    char large[2][301];
    memset(large[0], 'x', 300);
    memset(large[1], 'x', 300);
    large[0][300] = large[1][300] = '\0';
    large[1][299] = 'y';
    for (size_t i = 0; i < mx_countof(names) + 2; i++) {
        const char *name = i < mx_countof(names) ? names[i] : large[i - mx_countof(names)];
        struct writer w = writer_init(out[count], MAILDIR_NAME_MAX);
        maildir_folder_name(&w, slice_of_text(name));
        CHECK(!w.overflow && w.len > 0);
        out[count][w.len] = '\0';
        CHECK(out[count][0] != '.' && strchr(out[count], '/') == NULL);
        for (unsigned k = 0; k < count; k++) {
            CHECK(strcmp(out[k], out[count]) != 0);
        }
        count++;
    }
    struct maildir_piece piece = {.bytes = SLICE_LITERAL("x\r\n")};
    struct maildir_delivery d = delivery("../../escape", 5, &piece, 1);
    run(&d, 1);
    CHECK(d.err == MX_OK && list("%2E.%2F..%2Fescape", "new").count == 1);
}

static void test_pieces_of_files(void)
{
    enum { LEN = 700000 };
    char path[PATH_BYTES];
    uint8_t *bytes = malloc(LEN), *content;
    size_t len;
    CHECK(bytes != NULL);
    for (size_t i = 0; i < LEN; i++) {
        bytes[i] = (uint8_t)(i * 11 + i / 1000);
    }
    snprintf(path, sizeof path, "%s/segment", root);
    CHECK(sys_replace_file(path, slice_of(bytes, LEN)) == MX_OK);
    struct maildir_piece pieces[] = {
        {.bytes = SLICE_LITERAL("head\r\n")},
        {.path = path,
         .offset = 100,
         .len = 262144,
         .checksum = hash_checksum(slice_of(bytes + 100, 262144))},
        {.path = path,
         .offset = 300000,
         .len = 399999,
         .checksum = hash_checksum(slice_of(bytes + 300000, 399999))},
        {.bytes = SLICE_LITERAL("tail\r\n")},
    };
    struct maildir_delivery d[3] = {delivery("bob", 1, pieces, 4), delivery("bob", 2, pieces, 4),
                                    delivery("bob", 3, pieces, 4)};
    struct maildir_piece damaged[4];
    memcpy(damaged, pieces, sizeof pieces);
    damaged[2].checksum ^= 1;
    d[1].pieces = damaged;
    run(d, 3);
    CHECK(d[0].err == MX_OK && d[1].err == MX_ERR_DAMAGED && d[2].err == MX_OK);
    struct listing in_new = list("bob", "new");
    CHECK(in_new.count == 2 && list("bob", "tmp").count == 0); /* nothing of the damaged one */
    snprintf(path, sizeof path, "%s/example.org/bob/new/%s", root, in_new.last);
    CHECK(sys_read_file(&content, &len, path, 2 * LEN) == MX_OK);
    CHECK(len == 6 + 262144 + 399999 + 6 && memcmp(content + 6, bytes + 100, 262144) == 0 &&
          memcmp(content + 6 + 262144, bytes + 300000, 399999) == 0);
    free(content);
    free(bytes);
}

/* One unusable mailbox among many harms none of the others. */
static void test_failures_stay_apart(void)
{
    char path[PATH_BYTES];
    struct maildir_piece piece = {.bytes = SLICE_LITERAL("x\r\n")};
    struct maildir_delivery d[MAILDIR_BATCH_MAX];
    char names[MAILDIR_BATCH_MAX][16];
    snprintf(path, sizeof path, "%s/example.org/blocked", root);
    CHECK(sys_replace_file(path, SLICE_LITERAL("a file where a folder should be")) == MX_OK);
    for (unsigned i = 0; i < MAILDIR_BATCH_MAX; i++) {
        snprintf(names[i], sizeof names[i], i == 7 ? "blocked" : "user%u", i % 5);
        d[i] = delivery(names[i], 100 + i, &piece, 1);
    }
    run(d, MAILDIR_BATCH_MAX);
    for (unsigned i = 0; i < MAILDIR_BATCH_MAX; i++) {
        CHECK((d[i].err == MX_OK) == (i != 7));
    }
    CHECK(list("user0", "new").count == 13);
}

int main(void)
{
    char command[PATH_BYTES];
    snprintf(root, sizeof root, "%s/ringmx-maildir-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
    CHECK(mkdtemp(root) != NULL);
    test_delivery_and_repeat();
    test_repeat_under_another_name();
    test_folders_broken_off();
    test_delivery_counts_only_in_durable_folders();
    test_names();
    test_pieces_of_files();
    test_failures_stay_apart();
    snprintf(command, sizeof command, "rm -rf %s", root);
    CHECK(system(command) == 0);
    return 0;
}
