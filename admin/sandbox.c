#include "admin/sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    LANDLOCK_OF_RENAME = 2, /* before it, no rename from one folder into another could be allowed */
    LANDLOCK_OF_TRUNCATE = 3,
};

/* Since version 3; the C library's headers of Debian 12 know two. */
static const uint64_t access_truncate = UINT64_C(1) << 14;

static const uint64_t access_inside =
    LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REFER;
static const uint64_t access_nowhere =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM;

static bool allow(int ruleset, const char *folder, uint64_t access)
{
    int fd = open(folder, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return true;
    }
    struct landlock_path_beneath_attr rule = {.allowed_access = access, .parent_fd = fd};
    long result = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    (void)close(fd);
    return result == 0;
}

bool sandbox_folders(struct sandbox *out, const char *const *folders, size_t count)
{
    out->landlock = 0;
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < LANDLOCK_OF_RENAME) {
        return false;
    }
    uint64_t inside = access_inside | (version >= LANDLOCK_OF_TRUNCATE ? access_truncate : 0);
    struct landlock_ruleset_attr attr = {.handled_access_fs = inside | access_nowhere};
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    bool good = ruleset >= 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    for (size_t i = 0; good && i < count; i++) {
        good = allow(ruleset, folders[i], inside);
    }
    good = good && syscall(SYS_landlock_restrict_self, ruleset, 0) == 0;
    if (ruleset >= 0) {
        (void)close(ruleset);
    }
    out->landlock = good ? (int)version : 0;
    return good;
}
