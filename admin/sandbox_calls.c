#include "admin/sandbox.h"

#include "core/base.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

/* What is not here fails with EPERM: starting programs, other processes' memory and namespaces,
 * mounts, modules, keys, clocks, devices, changing users. Grouped by who asks. */
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
    "ioctl",
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
    "socket",
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
    "mmap",
    "munmap",
    "mprotect",
    "mremap",
    "madvise",
    "brk",
    "mlock",
    "munlock",
    "mincore",
    "membarrier",
    /* threads and signals */
    "clone",
    "clone3",
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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool is_sanitized = true;
#else
static const bool is_sanitized = false;
#endif

bool sandbox_system_calls(struct sandbox *out)
{
    out->filters = 0;
    scmp_filter_ctx filter = is_sanitized ? NULL : seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return false;
    }
    unsigned count = 0;
    bool good = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0; /* a search tree */
    for (size_t i = 0; good && i < mx_countof(allowed); i++) {
        int number = seccomp_syscall_resolve_name(allowed[i]);
        if (number == __NR_SCMP_ERROR || number < 0) {
            continue; /* this architecture, or this library, has no such call */
        }
        good = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0) == 0;
        count++;
    }
    good = good && seccomp_load(filter) == 0;
    seccomp_release(filter);
    out->filters = good ? count : 0;
    return good;
}
