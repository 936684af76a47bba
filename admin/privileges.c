#include "admin/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool keep_bind_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    data[0].effective = 1u << CAP_NET_BIND_SERVICE;
    data[0].permitted = data[0].effective;
    return syscall(SYS_capset, &header, data) == 0;
}

void privileges_core_dumps(bool allowed)
{
#ifdef __SANITIZE_ADDRESS__ /* it looks for leaks by ptrace */
    allowed = true;
#endif
    (void)prctl(PR_SET_DUMPABLE, allowed, 0, 0, 0);
}

static const struct passwd *find(const char *user, FILE *err)
{
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL) {
        fprintf(err, "ringmx: --user %s: no such user\n", user);
    }
    return entry;
}

static bool failed(const char *user, const char *step, FILE *err)
{
    fprintf(err, "ringmx: --user %s: %s: %s (ringmx must be started as root for it)\n", user, step,
            strerror(errno));
    return false;
}

bool privileges_lend(const char *user, FILE *err)
{
    const struct passwd *entry = find(user, err);
    if (entry == NULL) {
        return false;
    }
    bool good = initgroups(user, entry->pw_gid) == 0 && setegid(entry->pw_gid) == 0 &&
                seteuid(entry->pw_uid) == 0;
    return good || failed(user, "acting as the user", err);
}

bool privileges_return(FILE *err)
{
    if (seteuid(getuid()) == 0 && setegid(getgid()) == 0) {
        return true;
    }
    fprintf(err, "ringmx: becoming root again: %s\n", strerror(errno));
    return false;
}

void privileges_sockets(const char *user)
{
    const struct passwd *entry = user == NULL ? NULL : getpwnam(user);
    (void)setfsuid(entry != NULL ? entry->pw_uid : geteuid());
}

bool privileges_drop(const char *user, FILE *err)
{
    const struct passwd *entry = find(user, err);
    if (entry == NULL) {
        return false;
    }
    const char *step = NULL;
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) {
        step = "keeping capabilities";
    } else if (initgroups(user, entry->pw_gid) != 0 || setgid(entry->pw_gid) != 0) {
        step = "changing the groups";
    } else if (setuid(entry->pw_uid) != 0) {
        step = "changing the user";
    } else if (!keep_bind_capability()) {
        step = "dropping capabilities";
    } else if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        step = "forbidding new privileges";
    }
    return step == NULL || failed(user, step, err);
}
