/* The data folder: what lies where, and its lock. */
#pragma once

#include "core/err.h"

#include <stdio.h>

enum { DATA_PATH_MAX = 1024 };

struct data_dir {
    char root[DATA_PATH_MAX];
    char journal[DATA_PATH_MAX + 16]; /* root/journal */
    char mail[DATA_PATH_MAX + 16];    /* root/mail */
    char tls[DATA_PATH_MAX + 16];     /* root/tls */
    int lock_fd;                      /* -1: not locked */
};

/* Makes the folder when absent and takes its lock. Prints to err what is wrong: another process
 * (with its pid), no permission, path too long. */
MX_MUST_CHECK mx_err data_dir_open(struct data_dir *dir, const char *root, FILE *err);
void data_dir_close(struct data_dir *dir);
