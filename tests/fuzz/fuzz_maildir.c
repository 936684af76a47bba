/* Mailboxes: folder names are safe, injective and bounded for any address; a delivery into a folder
 * that already holds anything (also what looks like its own file) writes exactly its content, once,
 * and touches nothing else. */
#include "core/cursor.h"
#include "fuzz.h"
#include "smtp/maildir.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 1200, FILES_MAX = 16 };

static char root[PATH_BYTES / 2];

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

static void root_make(void)
{
    if (root[0] == '\0') {
        const char *base = getenv("TMPDIR");
        snprintf(root, sizeof root, "%s/ringmx-fuzz-XXXXXX",
                 base != NULL                    ? base
                 : access("/dev/shm", W_OK) == 0 ? "/dev/shm"
                                                 : "/tmp");
        FUZZ_CHECK(mkdtemp(root) != NULL && atexit(root_remove) == 0);
    }
    root_remove();
    FUZZ_CHECK(mkdir(root, 0700) == 0);
}

/* --- names -------------------------------------------------------------------------------------
 */

static struct slice name_of(uint8_t room[MAILDIR_NAME_MAX], struct slice part)
{
    struct writer w = writer_init(room, MAILDIR_NAME_MAX);
    maildir_folder_name(&w, part);
    FUZZ_CHECK(!w.overflow && w.len > 0);
    for (size_t i = 0; i < w.len; i++) {
        FUZZ_CHECK(room[i] > ' ' && room[i] < 0x7f && room[i] != '/' && room[i] != '\\');
    }
    FUZZ_CHECK(room[0] != '.' && room[0] != '-');
    return writer_slice(&w);
}

static void names(struct slice a, struct slice b)
{
    uint8_t room_a[MAILDIR_NAME_MAX], room_b[MAILDIR_NAME_MAX];
    struct slice name_a = name_of(room_a, a), name_b = name_of(room_b, b);
    FUZZ_CHECK(slice_equal(name_a, name_b) == slice_equal(a, b));
}

/* --- a delivery --------------------------------------------------------------------------------
 */

static void no_done(struct work_job *job)
{
    (void)job;
}

static unsigned files_with(const char *folder, const char *stem, struct slice content,
                           unsigned *out_whole)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    *out_whole = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char path[PATH_BYTES + 300];
        uint8_t bytes[4096];
        if (strncmp(entry->d_name, stem, strlen(stem)) != 0 || entry->d_name[strlen(stem)] != ',') {
            continue;
        }
        count++;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = fopen(path, "rb");
        FUZZ_CHECK(file != NULL);
        size_t len = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        *out_whole += slice_equal(slice_of(bytes, len), content);
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

/* Files of any name in new/ and cur/; half of the names begin as the delivery's own would. True: a
 * repeat has to find one, whatever the server was called then. */
static bool prefill(const char *mailbox, const char *stem, const char *unique,
                    struct fuzz_source *s)
{
    bool own = false;
    for (unsigned i = fuzz_byte(s) % FILES_MAX; i > 0; i--) {
        uint8_t how = fuzz_byte(s);
        struct slice tail = slice_first(fuzz_piece(s), 80);
        char path[PATH_BYTES + 300], name[200];
        size_t len = 0;
        for (size_t k = 0; k < tail.len; k++) {
            name[len++] = tail.ptr[k] == '/' || tail.ptr[k] == 0 ? '_' : (char)tail.ptr[k];
        }
        name[len] = '\0';
        if ((how & 2) == 0 && len == 0) {
            continue;
        }
        snprintf(path, sizeof path, "%s/%s/%s%s", mailbox, how & 1 ? "cur" : "new",
                 how & 2 ? stem : "", name);
        FILE *file = fopen(path, "wb");
        if (file != NULL) {
            FUZZ_CHECK(fputs("other", file) >= 0 && fclose(file) == 0);
            const char *whole = strrchr(path, '/') + 1;
            own = own || (strncmp(whole, unique, strlen(unique)) == 0 && whole[strlen(unique)]);
        }
    }
    return own;
}

static void delivery(struct fuzz_source *s)
{
    static const char stem[] = "1790000000.Q1-0-1-9R3.mx.example";
    struct slice header = SLICE_LITERAL("Subject: x\r\n\r\n");
    bool maybe_repeat = fuzz_byte(s) % 2;
    struct slice local = slice_first(fuzz_piece(s), 64), body = slice_first(fuzz_piece(s), 200);
    uint8_t room[MAILDIR_NAME_MAX];
    struct slice folder = name_of(room, local);
    char mailbox[PATH_BYTES], path[PATH_BYTES + 8];
    snprintf(mailbox, sizeof mailbox, "%s/x.example", root);
    FUZZ_CHECK(mkdir(mailbox, 0700) == 0);
    snprintf(mailbox, sizeof mailbox, "%s/x.example/%.*s", root, SLICE_ARGS(folder));
    FUZZ_CHECK(mkdir(mailbox, 0700) == 0);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const subs[] = {"tmp", "new", "cur"};
        snprintf(path, sizeof path, "%s/%s", mailbox, subs[i]);
        FUZZ_CHECK(mkdir(path, 0700) == 0);
    }
    bool own = prefill(mailbox, stem, "1790000000.Q1-0-1-9R3.", s);
    uint8_t whole[512];
    struct writer w = writer_init(whole, sizeof whole);
    put_slice(&w, header);
    put_slice(&w, body);
    struct maildir_piece pieces[] = {{.bytes = header}, {.bytes = body}};
    struct maildir_delivery d = {.mailbox_local = local,
                                 .mailbox_domain = SLICE_LITERAL("x.example"),
                                 .id = {.node = 1, .epoch = 1, .sequence = 9},
                                 .rcpt = 3,
                                 .arrived_wall_ms = 1790000000000,
                                 .pieces = pieces,
                                 .piece_count = 2,
                                 .maybe_repeat = maybe_repeat};
    struct maildir_batch batch = {
        .root = root, .hostname = SLICE_LITERAL("mx.example"), .deliveries = &d, .count = 1};
    maildir_batch_init(&batch);
    batch.job.done = no_done;
    unsigned whole_before, whole_new, whole_cur;
    snprintf(path, sizeof path, "%s/cur", mailbox);
    unsigned cur_before = files_with(path, stem, writer_slice(&w), &whole_before);
    batch.job.run(&batch.job);
    FUZZ_CHECK(d.err == MX_OK);
    FUZZ_CHECK(d.was_there == (maybe_repeat && own));
    unsigned cur_after = files_with(path, stem, writer_slice(&w), &whole_cur);
    FUZZ_CHECK(cur_before == cur_after && whole_before == whole_cur);
    snprintf(path, sizeof path, "%s/new", mailbox);
    (void)files_with(path, stem, writer_slice(&w), &whole_new);
    FUZZ_CHECK(d.was_there || whole_new == 1);
    /* A repetition finds it. */
    d.maybe_repeat = true;
    batch.job.run(&batch.job);
    FUZZ_CHECK(d.err == MX_OK && d.was_there);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_source source = {slice_of(data, size)};
    struct slice a = fuzz_piece(&source), b = fuzz_piece(&source);
    names(a, b);
    root_make();
    delivery(&source);
    return 0;
}
