/* The sandbox, each rule tried in a process of its own: what the server does still works, what it
 * never does is refused, by system call and by ring. */
#include "admin/sandbox.h"
#include "core/base.h"
#include "io/ring.h"
#include "io/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond)                                                                      \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
            exit(1);                                                                     \
        }                                                                                \
    } while (0)

enum { SKIPPED = 77 };

static char inside[] = "/tmp/ringmx-sandbox-XXXXXX", outside[] = "/tmp/ringmx-sandbox-XXXXXX";

static void make(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

static char *in(const char *folder, const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % mx_countof(paths)];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static bool refused(int result)
{
    return result == -1 && (errno == EACCES || errno == EPERM || errno == EXDEV);
}

/* Of Maildir, journal and registry. */
static void check_work_inside(void)
{
    CHECK(mkdir(in(inside, "tmp"), 0700) == 0 && mkdir(in(inside, "new"), 0700) == 0);
    make(in(inside, "tmp/a"));
    CHECK(rename(in(inside, "tmp/a"), in(inside, "new/a")) == 0);
    CHECK(truncate(in(inside, "new/a"), 0) == 0);
    CHECK(unlink(in(inside, "new/a")) == 0);
    CHECK(rmdir(in(inside, "new")) == 0 && rmdir(in(inside, "tmp")) == 0);
}

static void check_nothing_outside(void)
{
    char secret[16];
    int fd = open(in(outside, "there"), O_RDONLY); /* reading is the file modes' business */
    CHECK(fd >= 0 && read(fd, secret, sizeof secret) == 1);
    CHECK(refused(open(in(outside, "there"), O_WRONLY)));
    CHECK(refused(open(in(outside, "made"), O_WRONLY | O_CREAT, 0600)));
    CHECK(refused(unlink(in(outside, "there"))));
    CHECK(refused(mkdir(in(outside, "folder"), 0700)));
    CHECK(refused(rename(in(outside, "there"), in(inside, "there"))));
    CHECK(refused(symlink("/etc", in(inside, "link"))));
    CHECK(refused(execl("/bin/true", "true", (char *)NULL)));
}

static int folders_child(void)
{
    const char *const folders[] = {inside, "/no/such/folder"};
    struct sandbox sandbox;
    if (!sandbox_folders(&sandbox, folders, mx_countof(folders))) {
        CHECK(sandbox.landlock == 0);
        return SKIPPED;
    }
    CHECK(sandbox.landlock >= 2);
    check_work_inside();
    check_nothing_outside();
    return 0;
}

static long got;

static void on_done(struct op *op, const struct op_result *result)
{
    (void)op;
    got = result->err == MX_OK ? (long)result->value : -1;
}

/* A ring that is made under the filter works. */
static void check_ring(void)
{
    struct ring *ring = NULL;
    struct ring_conf conf = {.sq_entries = 8, .recv_bufs = 4};
    char byte = 0;
    struct op op = {.done = on_done};
    int fd = open(in(outside, "there"), O_RDONLY);
    CHECK(fd >= 0 && ring_open(&ring, &conf) == MX_OK);
    ring_read(ring, &op, fd, &byte, 1, 0);
    for (unsigned i = 0; op.pending && i < 1000; i++) {
        ring_wait(ring, 10 * MX_NS_PER_MS);
        (void)ring_reap(ring, 8);
    }
    CHECK(got == 1 && byte == 'x');
    ring_close(ring);
}

/* What is allowed for some arguments only. */
static void check_arguments(void)
{
    const int memory = MAP_PRIVATE | MAP_ANONYMOUS, both = PROT_WRITE | PROT_EXEC;
    struct clone_args args = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    CHECK(refused((int)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL)));
    CHECK(refused((int)syscall(SYS_clone, CLONE_THREAD | CLONE_NEWNET, NULL, NULL, NULL, NULL)));
    CHECK(refused((int)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL)));
    CHECK(syscall(SYS_clone3, &args, sizeof args) == -1 && errno == ENOSYS);
    struct netaddr own[4];
    CHECK(sys_own_addresses(own, mx_countof(own)) > 0);
    CHECK(refused(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT)));
    CHECK(refused(socket(AF_PACKET, SOCK_RAW, 0)));
    CHECK(refused(ioctl(STDIN_FILENO, TIOCSTI, "x")));
    CHECK(mmap(NULL, 4096, PROT_READ | both, memory, -1, 0) == MAP_FAILED && errno == EPERM);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, memory, -1, 0);
    CHECK(page != MAP_FAILED && refused(mprotect(page, 4096, PROT_READ | PROT_EXEC)));
    CHECK(mprotect(page, 4096, PROT_READ) == 0 && munmap(page, 4096) == 0);
}

static void *thread_run(void *arg)
{
    return arg;
}

static void check_threads(void)
{
    pthread_t thread;
    void *result = NULL;
    CHECK(pthread_create(&thread, NULL, thread_run, &got) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == &got);
}

static void check_no_ring(void)
{
    struct ring *ring = NULL;
    struct ring_conf conf = {.sq_entries = 8, .recv_bufs = 4};
    CHECK(ring_open(&ring, &conf) != MX_OK && errno == EPERM);
    check_threads();
}

static int calls_child(void)
{
    struct sandbox sandbox;
    if (!sandbox_system_calls(&sandbox)) {
        CHECK(sandbox.filters == 0);
        return SKIPPED;
    }
    CHECK(sandbox.filters > 50);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0 && close(fd) == 0);
    check_ring();
    CHECK(refused(execl("/bin/true", "true", (char *)NULL)));
    CHECK(refused((int)ptrace(PTRACE_TRACEME, 0, NULL, NULL)));
    CHECK(refused(mount("none", inside, "tmpfs", 0, NULL)));
    CHECK(refused(chroot(inside)));
    CHECK(refused(kill(getppid(), 0)));
    CHECK(refused((int)syscall(SYS_unshare, 0)));
    CHECK(refused((int)syscall(SYS_bpf, 0, NULL, 0)));
    CHECK(refused((int)syscall(SYS_keyctl, 0, 0)));
    check_arguments();
    check_threads();
    CHECK(sandbox_last_ring());
    check_no_ring();
    return 0;
}

static void run(const char *what, int (*child)(void))
{
    int status = 0;
    (void)fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        _exit(child());
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WEXITSTATUS(status) == SKIPPED) {
        printf(
            "sandbox: %s: not in force here (old kernel, or a sanitizer); the rest is not tried\n",
            what);
        return;
    }
    CHECK(WEXITSTATUS(status) == 0);
    printf("sandbox: %s: all good\n", what);
}

int main(void)
{
    CHECK(mkdtemp(inside) != NULL && mkdtemp(outside) != NULL);
    make(in(outside, "there"));
    run("folders", folders_child);
    run("system calls", calls_child);
    CHECK(unlink(in(outside, "there")) == 0 && rmdir(outside) == 0 && rmdir(inside) == 0);
    return 0;
}
