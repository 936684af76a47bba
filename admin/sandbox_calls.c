#include "admin/sandbox.h"

#include "core/base.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* What is neither here nor in `limited` fails with EPERM: starting programs, other processes'
 * memory, namespaces, mounts, modules, keys, clocks, devices, changing users. Grouped by who asks.
 */
static const char *const allowed[] = {
    /* files: journal, Maildir, registry */
    "open",
    "openat",
    "close",
    "close_range",
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "preadv2",
    "pwritev2",
    "lseek",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "fadvise64",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getcwd",
    "fcntl",
    "flock",
    "umask",
    "dup",
    "dup2",
    "dup3",
    "pipe2",
    /* ... made, moved, removed: where Landlock lets them */
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "rmdir",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchown",
    "utimensat",
    /* sockets */
    "socketpair",
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "shutdown",
    "getsockname",
    "getpeername",
    "getsockopt",
    "setsockopt",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "recvfrom",
    "recvmsg",
    "recvmmsg",
    /* the rings, and waiting */
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "eventfd2",
    "signalfd4",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    /* memory */
    "munmap",
    "mremap",
    "madvise",
    "brk",
    "mlock",
    "munlock",
    "mincore",
    "membarrier",
    /* threads and signals */
    "exit",
    "exit_group",
    "futex",
    "futex_waitv",
    "set_robust_list",
    "rseq",
    "set_tid_address",
    "arch_prctl",
    "prctl",
    "gettid",
    "getpid",
    "getppid",
    "tgkill",
    "sched_yield",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_getscheduler",
    "sched_getattr",
    "sched_setattr",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "getpriority",
    "setpriority",
    "getcpu",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sigaltstack",
    "restart_syscall",
    "seccomp", /* of sandbox_last_ring */
    /* facts */
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "getrandom",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getgroups",
    "capget",
    "getrusage",
    "getrlimit",
    "setrlimit",
    "prlimit64",
    "sysinfo",
    "uname",
};

#define NEW_NAMESPACE                                                                             \
    (CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER | \
     CLONE_NEWUTS)

enum { WRITE_AND_EXECUTE = PROT_WRITE | PROT_EXEC };
#define LOW_HALF UINT32_MAX /* of an argument that is an int */

/* These work only if arguments, behind their masks, are as said; a row for each value. */
static const struct {
    const char *name;
    struct scmp_arg_cmp only[2];
    unsigned count;
} limited[] = {
    /* threads and no processes, in the namespaces that there are */
    {"clone", {{0, SCMP_CMP_MASKED_EQ, CLONE_THREAD | NEW_NAMESPACE, CLONE_THREAD}}, 1},
    /* nothing becomes executable that can be, or was, written to */
    {"mmap", {{2, SCMP_CMP_MASKED_EQ, WRITE_AND_EXECUTE, 0}}, 1},
    {"mmap", {{2, SCMP_CMP_MASKED_EQ, WRITE_AND_EXECUTE, PROT_WRITE}}, 1},
    {"mmap", {{2, SCMP_CMP_MASKED_EQ, WRITE_AND_EXECUTE, PROT_EXEC}}, 1},
    {"mprotect", {{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}}, 1},
    {"socket", {{0, SCMP_CMP_MASKED_EQ, LOW_HALF, AF_INET}}, 1},
    {"socket", {{0, SCMP_CMP_MASKED_EQ, LOW_HALF, AF_INET6}}, 1},
    {"socket", {{0, SCMP_CMP_MASKED_EQ, LOW_HALF, AF_UNIX}}, 1},
    /* which addresses are ours */
    {"socket",
     {{0, SCMP_CMP_MASKED_EQ, LOW_HALF, AF_NETLINK},
      {2, SCMP_CMP_MASKED_EQ, LOW_HALF, NETLINK_ROUTE}},
     2},
    /* is the log a terminal? */
    {"ioctl", {{1, SCMP_CMP_MASKED_EQ, LOW_HALF, TCGETS}}, 1},
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

/* False: this architecture, or this library, has no such call. */
static bool find(int *out_number, const char *name)
{
    *out_number = seccomp_syscall_resolve_name(name);
    return *out_number != __NR_SCMP_ERROR && *out_number >= 0;
}

/* The calls that are allowed are added to *count. */
static bool add_rules(scmp_filter_ctx filter, unsigned *count)
{
    int number;
    for (size_t i = 0; i < mx_countof(allowed); i++) {
        if (!find(&number, allowed[i])) {
            continue;
        }
        if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) != 0) {
            return false;
        }
        ++*count;
    }
    for (size_t i = 0; i < mx_countof(limited); i++) {
        if (!find(&number, limited[i].name)) {
            continue;
        }
        if (seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, limited[i].count,
                                   limited[i].only) != 0) {
            return false;
        }
        *count += i == 0 || strcmp(limited[i].name, limited[i - 1].name) != 0;
    }
    /* Its flags are in memory, where no filter can see them. With this error, and no other, the C
     * library makes its threads by clone(2). */
    return !find(&number, "clone3") ||
           seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0) == 0;
}

bool sandbox_system_calls(struct sandbox *out)
{
    out->filters = 0;
    scmp_filter_ctx filter = is_sanitized ? NULL : seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return false;
    }
    unsigned count = 0;
    bool good = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0 && /* a search tree */
                add_rules(filter, &count) && seccomp_load(filter) == 0;
    seccomp_release(filter);
    out->filters = good ? count : 0;
    return good;
}

bool sandbox_last_ring(void)
{
    scmp_filter_ctx filter = is_sanitized ? NULL : seccomp_init(SCMP_ACT_ALLOW);
    if (filter == NULL) {
        return false;
    }
    int number;
    bool good = find(&number, "io_uring_setup") &&
                seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 &&
                seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0) == 0 &&
                seccomp_load(filter) == 0;
    seccomp_release(filter);
    return good;
}
