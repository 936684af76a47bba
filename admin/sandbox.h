/* What the process gives up for good once it has what it needs. Before its first thread and ring:
 * both keep the rights of their maker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sandbox {
    int landlock;     /* version of the kernel's Landlock; 0: not in force */
    unsigned filters; /* system calls that are allowed; 0: no filter */
};

/* From here on nothing is executed, and nothing is written, made, renamed or removed outside the
 * folders (those that do not exist are left out): by system call or by a ring. Landlock,
 * landlock(7), from Linux 5.19. Files that are open stay usable. False: the kernel has no such
 * thing, or an older one that would forbid renaming between folders. */
bool sandbox_folders(struct sandbox *out, const char *const *folders, size_t count);
/* Every system call that the server does not need fails with EPERM; those of the ring are
 * restricted in io/ring_uring_open.c, since a filter does not see them. seccomp(2). False: not in
 * force; always so under a sanitizer, whose runtime needs more. */
bool sandbox_system_calls(struct sandbox *out);
/* After sandbox_system_calls, when all rings exist: no thread of the process makes another. A ring
 * of its own would have no restrictions. False: not in force. */
bool sandbox_last_ring(void);
