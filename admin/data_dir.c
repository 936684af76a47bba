#include "admin/data_dir.h"

#include "io/sys.h"

#include <string.h>

static bool path_join(char *out, size_t cap, const char *root, const char *name)
{
    int len = snprintf(out, cap, "%s/%s", root, name);
    return len > 0 && (size_t)len < cap;
}

mx_err data_dir_open(struct data_dir *dir, const char *root, FILE *err)
{
    char lock[DATA_PATH_MAX + 16];
    *dir = (struct data_dir){.lock_fd = -1};
    if (root[0] == '\0' || strlen(root) >= sizeof dir->root ||
        !path_join(dir->journal, sizeof dir->journal, root, "journal") ||
        !path_join(dir->mail, sizeof dir->mail, root, "mail") ||
        !path_join(dir->tls, sizeof dir->tls, root, "tls") ||
        !path_join(lock, sizeof lock, root, "lock")) {
        fprintf(err, "ringmx: data folder '%s': the path is empty or too long\n", root);
        return MX_ERR_RANGE;
    }
    memcpy(dir->root, root, strlen(root) + 1);
    mx_err problem = sys_mkdirs(root);
    if (problem && problem != MX_ERR_EXISTS) {
        fprintf(err, "ringmx: data folder '%s': %s\n", root, err_text(problem));
        return problem;
    }
    problem = sys_lock(&dir->lock_fd, lock);
    if (problem == MX_ERR_LOCKED) {
        fprintf(err, "ringmx: data folder '%s' is in use by process %d: stop that server first\n",
                root, sys_lock_owner(lock));
    } else if (problem) {
        fprintf(err, "ringmx: data folder '%s': cannot lock it: %s\n", root, err_text(problem));
    }
    return problem;
}

void data_dir_close(struct data_dir *dir)
{
    if (dir->lock_fd >= 0) {
        sys_close(dir->lock_fd);
        dir->lock_fd = -1;
    }
}
