/* File system calls: durability is not tested here, the errors and the edges are. */
#include "io/sys.h"
#include "tests/io/support.h"

#include <sys/stat.h>
#include <sys/wait.h>

static char base[64];
static char path_buf[4][128];

/* A path in the test's folder; n chooses the buffer. */
static const char *in_base(unsigned n, const char *name)
{
    int len = snprintf(path_buf[n], sizeof path_buf[n], "%s/%s", base, name);
    CHECK(len > 0 && (size_t)len < sizeof path_buf[n]);
    return path_buf[n];
}

static void write_file(const char *path, const char *text)
{
    int fd;
    CHECK(sys_open(&fd, path, SYS_WRITE | SYS_CREATE | SYS_TRUNCATE) == MX_OK);
    CHECK(sys_pwrite(fd, text, strlen(text), 0) == MX_OK && sys_sync(fd) == MX_OK);
    sys_close(fd);
}

static bool has_text(const char *path, const char *text)
{
    uint8_t *bytes;
    size_t len;
    CHECK(sys_read_file(&bytes, &len, path, 1000) == MX_OK);
    CHECK(bytes[len] == 0);
    bool same = len == strlen(text) && memcmp(bytes, text, len) == 0;
    free(bytes);
    return same;
}

static void check_open_read_write(void)
{
    const char *path = in_base(0, "file");
    int fd;
    CHECK(sys_open(&fd, path, SYS_READ) == MX_ERR_NOTFOUND);
    unsigned fresh = SYS_READ | SYS_WRITE | SYS_CREATE | SYS_EXCLUSIVE;
    CHECK(sys_open(&fd, path, fresh) == MX_OK);
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    int other;
    CHECK(sys_open(&other, path, fresh) == MX_ERR_EXISTS);
    CHECK(sys_pwrite(fd, "0123456789", 10, 5) == MX_OK);
    uint64_t size;
    CHECK(sys_size(&size, fd) == MX_OK && size == 15);
    char buf[20];
    size_t len = 0;
    CHECK(sys_pread(&len, fd, buf, sizeof buf, 10) == MX_OK && len == 5); /* the end comes first */
    CHECK(memcmp(buf, "56789", 5) == 0);
    CHECK(sys_pread(&len, fd, buf, sizeof buf, 100) == MX_OK && len == 0);
    CHECK(sys_allocate(fd, 65536) == MX_OK);
    sys_close(fd);
    CHECK(sys_unlink(path) == MX_OK && sys_unlink(path) == MX_ERR_NOTFOUND);
}

static void check_whole_files(void)
{
    const char *path = in_base(0, "whole");
    CHECK(sys_replace_file(path, SLICE_LITERAL("one")) == MX_OK && has_text(path, "one"));
    CHECK(sys_replace_file(path, SLICE_LITERAL("two!")) == MX_OK && has_text(path, "two!"));
    bool exists = true;
    CHECK(sys_exists(&exists, in_base(1, "whole.tmp")) == MX_OK && !exists);
    uint8_t *bytes = NULL;
    size_t len = 0;
    CHECK(sys_read_file(&bytes, &len, path, 3) == MX_ERR_LIMIT && bytes == NULL);
    CHECK(sys_read_file(&bytes, &len, path, 4) == MX_OK && len == 4);
    free(bytes);
    CHECK(sys_replace_file(path, SLICE_EMPTY) == MX_OK && has_text(path, ""));
    CHECK(sys_replace_file(in_base(1, "no/such/folder"), SLICE_EMPTY) == MX_ERR_NOTFOUND);
    CHECK(sys_unlink(path) == MX_OK);
}

static void check_rename(void)
{
    const char *a = in_base(0, "a");
    const char *b = in_base(1, "b");
    write_file(a, "a");
    write_file(b, "b");
    CHECK(sys_rename_new(a, b) == MX_ERR_EXISTS && has_text(a, "a") && has_text(b, "b"));
    CHECK(sys_rename(a, b) == MX_OK && has_text(b, "a"));
    CHECK(sys_rename(a, b) == MX_ERR_NOTFOUND);
    CHECK(sys_rename_new(b, a) == MX_OK && has_text(a, "a"));
    CHECK(sys_unlink(a) == MX_OK);
}

static mx_err count_name(void *arg, const char *name)
{
    unsigned *count = arg;
    CHECK(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
    ++*count;
    return *count == 3 ? MX_ERR_LIMIT : MX_OK;
}

static void check_folders(void)
{
    bool exists = true;
    CHECK(sys_exists(&exists, in_base(0, "x/y/z")) == MX_OK && !exists);
    CHECK(sys_mkdirs(in_base(0, "x//y/z/")) == MX_OK);
    CHECK(sys_mkdirs(in_base(0, "x/y/z")) == MX_OK); /* there already */
    CHECK(sys_exists(&exists, in_base(0, "x/y/z")) == MX_OK && exists);
    CHECK(sys_mkdir(in_base(0, "x")) == MX_ERR_EXISTS);
    CHECK(sys_mkdir(in_base(0, "p/q")) == MX_ERR_NOTFOUND);
    write_file(in_base(1, "x/file"), "");
    CHECK(sys_mkdirs(in_base(1, "x/file")) != MX_OK);
    CHECK(sys_mkdirs(in_base(1, "x/file/under")) != MX_OK);
    CHECK(sys_exists(&exists, in_base(1, "x/file/under")) == MX_OK && !exists);
    CHECK(sys_mkdirs("") != MX_OK);

    unsigned count = 0;
    CHECK(sys_list(in_base(0, "x"), count_name, &count) == MX_OK && count == 2);
    CHECK(sys_mkdir(in_base(1, "x/third")) == MX_OK);
    count = 0;
    CHECK(sys_list(in_base(0, "x"), count_name, &count) == MX_ERR_LIMIT && count == 3);
    CHECK(sys_list(in_base(0, "nowhere"), count_name, &count) == MX_ERR_NOTFOUND);
    CHECK(sys_sync_dir(in_base(0, "x")) == MX_OK);
    CHECK(sys_sync_dir(in_base(0, "x/file")) != MX_OK);
    uint64_t bytes = 0;
    CHECK(sys_free_bytes(&bytes, base) == MX_OK && bytes > 0);
    struct sys_room room = {0};
    CHECK(sys_room(&room, base) == MX_OK && room.bytes > 0 && room.files <= room.files_max);
    CHECK(sys_room(&room, in_base(0, "nowhere")) == MX_ERR_NOTFOUND);
    uint64_t before = 0, after = 0, max = 0;
    int fd = -1;
    CHECK(sys_descriptors(&before, &max) == MX_OK && before >= 3 && before < max);
    CHECK(sys_open(&fd, base, SYS_READ | SYS_DIRECTORY) == MX_OK);
    CHECK(sys_descriptors(&after, &max) == MX_OK && after == before + 1);
    sys_close(fd);

    CHECK(sys_unlink(in_base(0, "x/file")) == MX_OK);
    static const char *const folders[] = {"x/third", "x/y/z", "x/y", "x"};
    for (size_t i = 0; i < mx_countof(folders); i++) {
        CHECK(rmdir(in_base(0, folders[i])) == 0);
    }
}

static void check_lock(void)
{
    const char *path = in_base(0, "lock");
    CHECK(sys_lock_owner(path) == 0);
    int fd;
    CHECK(sys_lock(&fd, path) == MX_OK);
    CHECK(sys_lock_owner(path) == (int)getpid());
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        int own;
        _exit(sys_lock(&own, path) == MX_ERR_LOCKED ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(sys_lock_owner(path) == (int)getpid()); /* the failed attempt changed nothing */
    sys_close(fd);
    CHECK(sys_lock(&fd, path) == MX_OK);
    sys_close(fd);
    write_file(path, "nonsense");
    CHECK(sys_lock_owner(path) == 0);
    CHECK(sys_unlink(path) == MX_OK);
}

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    int len = snprintf(base, sizeof base, "%s/ringmx-sys-XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(len > 0 && (size_t)len < sizeof base && mkdtemp(base) != NULL);
    check_open_read_write();
    check_whole_files();
    check_rename();
    check_folders();
    check_lock();
    CHECK(rmdir(base) == 0); /* nothing was left behind */
    printf("sys: all good\n");
    return 0;
}
